#!/usr/bin/env python3
"""Time and memory of moving, backing up and restoring a house with many rows.

Makes a house with `init`, lets the shop tell facts until there are about as many rows as asked for, and
runs each command with its own clock; peak resident memory is the kernel's (ru_maxrss). With a
PostgreSQL server where databases may be made, moves there and back.

    python3 bench/keep.py target/release/stagedoor [rows] [postgres://user@host]
"""
import json, os, resource, ssl, subprocess, sys, tempfile, time, urllib.request

import house

PORT = 18543


def init(binary, folder):
    house.make(binary, folder, house.listen(PORT, PORT + 1) + [
        ("[backup]\n", '[backup]\npassphrase_file = "pw"\n'),
        ("requests = 600", "requests = 100000"), ("requests = 60\n", "requests = 100000\n")])
    open(os.path.join(folder, "pw"), "w").write("a lamp behind the curtain")
    subprocess.run([binary, "config", "apply"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def fill(binary, folder, rows):
    key = subprocess.run([binary, "--json", "service", "add", "backend"], cwd=folder, check=True,
                         capture_output=True, text=True)
    key = json.loads(key.stdout)["key"]
    program = subprocess.Popen([binary, "--json", "serve"], cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    program.stdout.readline()
    context = ssl.create_default_context(cafile=os.path.join(folder, "var/self-signed.crt"))
    told = 0
    # each fact is a row of its own and a leaf
    while told * 2 < rows:
        facts = [{"id": f"f{told + n}", "kind": "order.paid", "customer": f"c{n}",
                  "fields": {"order": str(told + n), "amount_minor": 100, "currency": "EUR"}}
                 for n in range(500)]
        request = urllib.request.Request(
            f"https://localhost:{PORT}/v1/facts", json.dumps({"facts": facts}).encode(),
            {"authorization": f"Bearer {key}", "content-type": "application/json"})
        urllib.request.urlopen(request, context=context, timeout=60).read()
        told += 500
    program.terminate()
    program.wait()


def timed(binary, folder, *args):
    began = time.perf_counter()
    process = subprocess.Popen([binary, "--json", *args], cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    assert status == 0, out + err
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{' '.join(args)[:60]:<60} {took:7.2f} s {cpu:7.2f} s CPU {usage.ru_maxrss / 1024:6.1f} MiB")
    return json.loads(out.splitlines()[-1])


def main():
    binary = os.path.abspath(sys.argv[1])
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    server = sys.argv[3] if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as place:
        init(binary, folder)
        fill(binary, folder, rows)
        os.makedirs(os.path.join(folder, "out/keys"))
        timed(binary, folder, "user", "list")
        taken = timed(binary, folder, "backup", "out/data.backup", "--keys", "out/keys/keys.backup")
        print(f"  {taken['rows']} rows, {taken['bytes'] / 2**20:.1f} MiB")
        timed(binary, folder, "backup", "verify", "out/data.backup")
        for name in ("stagedoor.toml", "pw"):
            subprocess.run(["cp", os.path.join(folder, name), place], check=True)
        os.makedirs(os.path.join(place, "var"), mode=0o700)
        subprocess.run(["cp", os.path.join(folder, "var/header-shop.key"), place + "/var/"], check=True)
        out = os.path.join(folder, "out")
        timed(binary, place, "restore", out + "/data.backup", "--keys", out + "/keys/keys.backup",
              "--none-erased")
        timed(binary, folder, "restore", "drill", "out/data.backup", "--keys",
              "out/keys/keys.backup", "--none-erased")
        if server:
            name = f"keep_bench_{os.getpid()}"
            psql = ["psql", "-q", server + "/postgres", "-c"]
            subprocess.run(psql + [f"CREATE DATABASE {name} TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'"], check=True)
            try:
                url = f"{server}/{name}"
                timed(binary, folder, "db", "move", "--to", url)
                house.edit(folder, [("[data]\n", f'[data]\ndatabase_url = "{url}"\n')])
                timed(binary, folder, "backup", "out/pg.backup")
                back = f"sqlite://{folder}/var/back.db"
                timed(binary, folder, "db", "move", "--to", back)
            finally:
                subprocess.run(psql + [f"DROP DATABASE {name} WITH (FORCE)"], check=True)


main()
