/* Preloaded into the program: ends it with SIGKILL just before its n-th step towards the disk, once
   the file that STAGEDOOR_TEST_DEATH names is there and says n. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long left = -1;

static void step(void)
{
    if (atomic_load(&left) < 0) {
        const char *named = getenv("STAGEDOOR_TEST_DEATH");
        int file = named ? open(named, O_RDONLY) : -1;
        char text[16] = {0};
        if (file < 0)
            return;
        if (read(file, text, sizeof text - 1) > 0) {
            long none = -1;
            atomic_compare_exchange_strong(&left, &none, atol(text));
        }
        close(file);
    }
    if (atomic_fetch_sub(&left, 1) == 0)
        kill(getpid(), SIGKILL);
}

#define STEP(type, name, params, args)                  \
    type name params                                    \
    {                                                   \
        type(*next) params = dlsym(RTLD_NEXT, #name);   \
        step();                                         \
        return next args;                               \
    }

STEP(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o))
STEP(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o))
STEP(int, fsync, (int f), (f))
STEP(int, fdatasync, (int f), (f))
STEP(int, ftruncate, (int f, off_t n), (f, n))
STEP(int, ftruncate64, (int f, off64_t n), (f, n))
STEP(int, rename, (const char *from, const char *to), (from, to))
