#!/usr/bin/env python3
"""CPU per request of the edge beside nginx, in one run on one machine.

Every server has one worker on core 0; wrk and the upstream share core 1. The figure is the CPU
time of the server's process (user and system, from /proc/PID/schedstat of its threads) divided by
the requests that wrk counted, so that the load of other processes disturbs it little. Passes are
interleaved and the median is taken. Only 127.0.0.1 is loaded, for a bounded time.

    cargo build --profile dist -p edge --example bench_edge
    python3 bench/edge/run.py target/dist/examples/bench_edge [--seconds 4] [--passes 3]
"""
import argparse
import glob
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
UPSTREAM, PLAIN, TLS, EDGE = 20180, 20181, 20182, 20190
BODY = "x" * 1011


def nginx(directory, role, block):
    text = (HERE / "nginx.conf").read_text()
    text = text.replace("BLOCK", block).replace("ROLE", role).replace("DIR", str(directory))
    path = directory / f"{role}.conf"
    path.write_text(text)
    core = "1" if role == "upstream" else "0"
    command = ["taskset", "-c", core, "nginx", "-p", str(directory), "-c", str(path)]
    return subprocess.Popen(command)


def proxy_block(listen, more=""):
    return (
        f"upstream u {{ server 127.0.0.1:{UPSTREAM}; keepalive 128; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{listen}; {more}\n location / {{ proxy_pass http://u;"
        " proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host;"
        " proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        " proxy_set_header X-Forwarded-Proto $scheme; } }"
    )


def certificate(directory):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")],
        check=True, stderr=subprocess.DEVNULL)
    return (f"ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;"
            " ssl_protocols TLSv1.3;")


def edge(binary, directory, name, port, mode, tls):
    command = ["taskset", "-c", "0", binary, f"127.0.0.1:{port}", f"127.0.0.1:{UPSTREAM}", mode]
    process = subprocess.Popen(command + (["tls"] if tls else []), stdout=subprocess.PIPE, text=True)
    (directory / f"{name}.token").write_text(process.stdout.readline())
    if process.stdout.readline().strip() != "ready":
        sys.exit(f"{name} did not start")
    return process


def family(pid):
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [pid] + [int(child) for child in children.split()]


def cpu_ns(pid):
    """CPU time of a process, its threads and its children."""
    total = 0
    for one in family(pid):
        for path in glob.glob(f"/proc/{one}/task/*/schedstat"):
            total += int(open(path).read().split()[0])
    return total


def load(url, seconds, token=None):
    env = dict(os.environ)
    if token:
        env["TOKEN_FILE"] = str(token)
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{seconds}s", "--latency",
               "-s", str(HERE / "get.lua"), url]
    out = subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout
    requests, duration_us, errors = map(int, re.search(r"RESULT (\d+) (\d+) (\d+)", out).groups())
    p99 = re.search(r"\n\s+99%\s+([\d.]+[a-z]+)", out)
    return requests, duration_us / 1e6, errors, p99.group(1) if p99 else "?"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--passes", type=int, default=3)
    options = parser.parse_args()
    for tool in ("nginx", "wrk", "taskset", "openssl", "pgrep"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed: nothing was measured")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="edge-bench-"))
    processes = []
    try:
        block = f"server {{ listen 127.0.0.1:{UPSTREAM}; location / {{ return 200 '{{\"data\":\"{BODY}\"}}'; }} }}"
        processes.append(nginx(directory, "upstream", block))
        plain = nginx(directory, "plain", proxy_block(PLAIN))
        tls = nginx(directory, "tls", proxy_block(f"{TLS} ssl", certificate(directory)))
        processes += [plain, tls]
        subjects = [("nginx proxy", plain, f"http://127.0.0.1:{PLAIN}", None, None),
                    ("nginx proxy, TLS", tls, f"https://127.0.0.1:{TLS}", None, None)]
        variants = [("edge proxy", "plain", False, "nginx proxy"),
                    ("edge proxy, TLS", "plain", True, "nginx proxy, TLS"),
                    ("edge, all steps", "full", False, "nginx proxy"),
                    ("edge, all steps, TLS", "full", True, "nginx proxy, TLS")]
        for at, (name, mode, with_tls, beside) in enumerate(variants):
            port = EDGE + at
            process = edge(options.binary, directory, name.replace(" ", "_"), port, mode, with_tls)
            processes.append(process)
            token = directory / f"{name.replace(' ', '_')}.token" if mode == "full" else None
            scheme = "https" if with_tls else "http"
            subjects.append((name, process, f"{scheme}://127.0.0.1:{port}", token, beside))
        time.sleep(1)
        measure(subjects, options)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=5)
        shutil.rmtree(directory, ignore_errors=True)


def measure(subjects, options):
    costs = {name: [] for name, *_ in subjects}
    notes = {}
    for name, _, url, token, _ in subjects:
        load(url, 1, token)
    for _ in range(options.passes):
        for name, process, url, token, _ in subjects:
            before = cpu_ns(process.pid)
            requests, seconds, errors, p99 = load(url, options.seconds, token)
            spent = cpu_ns(process.pid) - before
            if errors or not requests:
                sys.exit(f"{name}: {errors} of {requests} requests failed; the figures mean nothing")
            costs[name].append(spent / requests / 1000)
            notes[name] = (round(requests / seconds), p99)
    medians = {name: statistics.median(values) for name, values in costs.items()}
    print(f"load average {os.getloadavg()[0]:.1f}; {options.passes} passes of {options.seconds} s")
    print("| server | CPU us/request | passes | x nginx beside it | req/s | p99 |")
    print("|---|---|---|---|---|---|")
    for name, _, _, _, beside in subjects:
        passes = " ".join(f"{value:.1f}" for value in costs[name])
        # The ratio of each pass to its neighbour in time disturbs less than that of medians.
        ratio = "1.00"
        if beside:
            ratio = f"{statistics.median(a / b for a, b in zip(costs[name], costs[beside])):.2f}"
        print(f"| {name} | {medians[name]:.1f} | {passes} | {ratio} | {notes[name][0]} | {notes[name][1]} |")


if __name__ == "__main__":
    main()
