#!/usr/bin/env python3
"""What separate processes cost: CPU per request to one of our own paths, time to open, memory.

Makes a house with `init`, serves it as one process and then as separate ones, asks for the public keys
over one connection that is kept, and reads CPU time and VmRSS of all its processes. Not run as root it
measures the same without users of their own.

    python3 bench/processes.py target/release/stagedoor [requests]
"""
import http.client, json, os, ssl, subprocess, sys, tempfile, time

import house

PATH = "/.well-known/jwks.json"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def family(process):
    """The process and what it started."""
    found = [process]
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            status = open(f"/proc/{entry}/status").read()
        except OSError:
            continue
        if f"\nPPid:\t{process}\n" in status:
            found.append(int(entry))
    return found


def cpu_s(processes):
    fields = [open(f"/proc/{one}/stat").read().rsplit(")", 1)[1].split() for one in processes]
    return sum(int(of[11]) + int(of[12]) for of in fields) * TICK_S


def resident_mb(processes):
    lines = [line for one in processes for line in open(f"/proc/{one}/status") if "VmRSS" in line]
    return sum(int(line.split()[1]) for line in lines) / 1024


def measure(binary, folder, requests):
    began = time.perf_counter()
    program = subprocess.Popen([binary, "--json", "serve"], cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    try:
        port = json.loads(program.stdout.readline())["door"].rsplit(":", 1)[1]
        opened_ms = (time.perf_counter() - began) * 1000
        context = ssl.create_default_context(cafile=os.path.join(folder, "var/self-signed.crt"))
        door = http.client.HTTPSConnection("localhost", int(port), context=context, timeout=10)

        def ask(times):
            for _ in range(times):
                door.request("GET", PATH)
                answer = door.getresponse()
                answer.read()
                assert answer.status == 200, answer.status

        ask(requests // 10)
        processes = family(program.pid)
        before = cpu_s(processes)
        began = time.perf_counter()
        ask(requests)
        wall_us = (time.perf_counter() - began) / requests * 1e6
        cpu_us = (cpu_s(processes) - before) / requests * 1e6
        return cpu_us, wall_us, opened_ms, resident_mb(processes)
    finally:
        program.terminate()
        program.wait()


def main():
    binary, requests = os.path.abspath(sys.argv[1]), int((sys.argv[2:] or ["20000"])[0])
    with tempfile.TemporaryDirectory() as folder:
        house.make(binary, folder, house.listen(0, 0) + [('limits = ["sign-in"]', "limits = []")])
        subprocess.run([binary, "config", "apply"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        rows = [("one process", measure(binary, folder, requests))]
        with open(os.path.join(folder, "stagedoor.toml"), "a") as file:
            file.write("\n[processes]\nseparate = true\n")
            if os.getuid() == 0:
                file.write('edge_user = "61001"\ncore_user = "61002"\n')
        if os.getuid() == 0:
            os.chmod(folder, 0o711)
            subprocess.run(["chown", "-R", "61002:61002", os.path.join(folder, "var")], check=True)
        rows.append(("separate processes", measure(binary, folder, requests)))
    for name, (cpu_us, wall_us, opened_ms, resident) in rows:
        print(f"{name}: {cpu_us:.0f} µs of CPU and {wall_us:.0f} µs a request, open after "
              f"{opened_ms:.0f} ms, {resident:.0f} MB")
    print(f"{rows[1][1][0] / rows[0][1][0]:.2f} × the CPU")


main()
