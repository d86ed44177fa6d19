#!/usr/bin/env python3
"""Start to first answer, and resident memory when idle, of the real binary.

Makes a house with `init` in a folder of its own, starts `serve`, asks for the sign-in page until it
answers, waits until nothing is left to do, and reads VmRSS. Beside it: the same for a no-op start of
the same binary (`--version`), so that the cost of starting any process can be subtracted.

    python3 bench/start_idle.py target/release/stagedoor [runs]
"""
import json, os, ssl, statistics, subprocess, sys, tempfile, time, urllib.request

import house


def answer(context):
    with urllib.request.urlopen("https://localhost:18443/auth/sign-in", context=context, timeout=5) as page:
        assert page.status == 200


def run(binary, folder, context):
    began = time.perf_counter()
    program = subprocess.Popen([binary, "--json", "serve"], cwd=folder,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                answer(context)
                break
            except OSError:
                if time.perf_counter() - began > 30:
                    raise
                time.sleep(0.002)
        first_ms = (time.perf_counter() - began) * 1000
        time.sleep(3)
        status = open(f"/proc/{program.pid}/status").read()
        rss_kb = int(status.split("VmRSS:")[1].split()[0])
        ticks = [int(open(f"/proc/{program.pid}/stat").read().split()[i]) for i in (13, 14)]
        time.sleep(5)
        after = [int(open(f"/proc/{program.pid}/stat").read().split()[i]) for i in (13, 14)]
        idle_cpu = (sum(after) - sum(ticks)) / os.sysconf("SC_CLK_TCK") / 5
    finally:
        program.terminate()
        program.wait()
    return first_ms, rss_kb / 1024, idle_cpu


def control(binary):
    began = time.perf_counter()
    subprocess.run([binary, "--version"], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def main():
    binary = os.path.abspath(sys.argv[1])
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # this house's own self-signed certificate
    with tempfile.TemporaryDirectory() as folder:
        house.make(binary, folder, house.listen(18443, 18444))
        rows = [run(binary, folder, context) for _ in range(runs)]
        plain = statistics.median(control(binary) for _ in range(runs))
    median = [statistics.median(column) for column in zip(*rows)]
    print(f"start to first answer: {median[0]:.0f} ms (bar 300; `--version` alone: {plain:.0f} ms)")
    print(f"resident when idle:    {median[1]:.1f} MB (bar 40)")
    print(f"CPU when idle:         {median[2] * 100:.1f} % of one core")
    print(json.dumps({"first_ms": median[0], "rss_mb": median[1], "idle_cpu": median[2]}))


main()
