#!/usr/bin/env python3
"""Three nodes of the real binary on one PostgreSQL and one Redis: how soon what one commits holds at
the others, beside a control; what a cut costs; how soon all is well after it.

Makes a database, a Redis of its own and an upstream, puts a cutting proxy between each node and its
servers, and measures from the answer of the node that ended a session to the first refusal at the
others. The control is the same measuring of the same request where nothing was ended.

    python3 bench/nodes/run.py target/release/stagedoor [sessions] [postgres://root@127.0.0.1:5432]
"""
import http.client, http.server, json, os, socket, ssl, statistics, subprocess, sys, tempfile
import threading, time

PASSWORD = "four words make one door"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Cut:
    """A TCP proxy that can be cut: connections end, new ones are refused."""

    def __init__(self, port):
        self.target, self.open, self.lost, self.lock = port, set(), False, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            if self.lost:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open |= {client, server}
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def lose(self):
        self.lost = True
        with self.lock:
            for one in self.open:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.open.clear()

    def mend(self):
        self.lost = False


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one packet: no waiting for the other side's late ACK

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Client:
    """One connection to a node, kept open."""

    def __init__(self, port, context):
        self.port, self.context, self.line = port, context, None

    def ask(self, method, path, token=None, body=None):
        headers = {"content-type": "application/json"} if body is not None else {}
        if token:
            headers["authorization"] = "Bearer " + token
        for again in (True, False):
            try:
                if self.line is None:
                    self.line = http.client.HTTPSConnection("localhost", self.port, context=self.context, timeout=20)
                    self.line.connect()
                    self.line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.line.request(method, path, body and json.dumps(body), headers)
                answer = self.line.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self.line = None
                if not again:
                    raise


def main():
    binary = os.path.abspath(sys.argv[1])
    sessions = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    postgres = sys.argv[3] if len(sys.argv) > 3 else "postgres://root@127.0.0.1:5432"
    name = f"sdbench_nodes_{os.getpid()}"
    psql = lambda text: subprocess.run(["psql", "-q", postgres + "/postgres", "-c", text], check=True)
    psql(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'")
    redis_port = free_port()
    redis = subprocess.Popen(["redis-server", "--bind", "127.0.0.1", "--port", str(redis_port), "--save", "",
                              "--appendonly", "no"], stdout=subprocess.DEVNULL)
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    running = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            nodes = make(binary, folder, postgres, name, redis_port, upstream.server_address[1], running)
            measure(binary, folder, nodes, sessions, running)
            for node in running:
                node.terminate()
            for node in running:
                node.wait()
            running.clear()
    finally:
        for node in running:
            node.kill()
            node.wait()
        redis.kill()
        redis.wait()
        psql(f"DROP DATABASE {name} WITH (FORCE)")


def make(binary, folder, postgres, name, redis_port, upstream, running):
    run = lambda *args: subprocess.run([binary, "--json", *args], cwd=folder, check=True, capture_output=True).stdout
    user, place = postgres.split("@")
    pg_port = int(place.rsplit(":", 1)[1])
    url = f"{postgres}/{name}"
    run("init", "--name", "Bench", "--url", "https://localhost", "--upstream", f"http://127.0.0.1:{upstream}",
        "--operator", "ops@bench.example", "--database", url)
    path = os.path.join(folder, "stagedoor.toml")
    text = open(path).read().replace("requests = 600", "requests = 1000000").replace("requests = 60\n", "requests = 1000000\n")
    budget = "{ burst = 1000000, refill_s = 1 }"
    text = text.replace("[identity.mail]", f"[identity.attempts]\nclient = {budget}\nopen = {budget}\n"
                        f"account = {budget}\npair = {budget}\n\n[identity.mail]")
    text += '\n[[route]]\nname = "orders"\nprefix = "/orders"\nupstream = "shop"\n'
    text = text.replace("0.0.0.0:8443", "127.0.0.1:0").replace("127.0.0.1:8444", "127.0.0.1:0")
    open(path, "w").write(text)
    run("config", "apply")
    open(os.path.join(folder, "pw"), "w").write(PASSWORD)
    run("user", "add", "ada@bench.example", "--password-file", "pw")
    nodes = []
    for number in (1, 2, 3):
        database, link = Cut(pg_port), Cut(redis_port)
        folder_line = '"var"' if number == 1 else f'"var-{number}"'
        mine = text.replace(url, f"{user}@127.0.0.1:{database.port}/{name}")
        mine = mine.replace('dir = "var"', f'dir = {folder_line}\nnode = "node-{number}"\nkeys_dir = "var/keys"')
        if number > 1:
            mine = mine.replace("# cert_file = \"tls/chain.pem", "cert_file = \"var/self-signed.crt")
            mine = mine.replace("# key_file = \"tls/key.pem", "key_file = \"var/self-signed.key")
        mine += f'\n[redis]\nurl = "redis://127.0.0.1:{link.port}"\n'
        open(os.path.join(folder, f"node-{number}.toml"), "w").write(mine)
        nodes.append({"name": f"node-{number}", "database": database, "redis": link})
        start(binary, folder, nodes[-1], running)
    wait_whole(binary, folder)
    return nodes


def start(binary, folder, node, running):
    log = open(os.path.join(folder, node["name"] + ".log"), "a")
    program = subprocess.Popen([binary, "--json", "-c", node["name"] + ".toml", "serve"], cwd=folder,
                               stdout=subprocess.PIPE, stderr=log)
    running.append(program)
    door = json.loads(program.stdout.readline())["door"]
    context = ssl.create_default_context(cafile=os.path.join(folder, "var/self-signed.crt"))
    node.update(program=program, client=Client(int(door.rsplit(":", 1)[1]), context))


def wait_whole(binary, folder):
    while True:
        rows = json.loads(subprocess.run([binary, "--json", "node", "list"], cwd=folder, check=True,
                                         capture_output=True).stdout)["nodes"]
        peers = [peer for row in rows for peer in row["report"].get("peers", [])]
        if len(peers) == 6 and all(peer["lag_ms"] is not None and not peer["gap"] for peer in peers):
            return
        time.sleep(0.2)


def sign_in(node):
    status, body = node["client"].ask("POST", "/v1/sign-in", body={"email": "ada@bench.example", "password": PASSWORD})
    assert status == 200, body
    return json.loads(body)["access_token"]


def own_session(node, token):
    status, body = node["client"].ask("GET", "/v1/sessions", token)
    assert status == 200, body
    return next(row["id"] for row in json.loads(body) if row["current"])


def until(node, token, path, wanted, client=None):
    client = client or node["client"]
    while client.ask("GET", path, token)[0] != wanted:
        pass
    return time.perf_counter()


def percentiles(title, values, bar=None):
    values = sorted(values)
    at = lambda part: values[min(len(values) - 1, int(len(values) * part))]
    shown = f"{title}: p50 {at(.5):.1f} ms, p99 {at(.99):.1f} ms, max {values[-1]:.1f} ms of {len(values)}"
    print(shown + (f" (bar: p99 <= {bar} ms: {'HOLDS' if at(.99) <= bar else 'BROKEN'})" if bar else ""), flush=True)


def one_end(nodes, ends):
    """Signs in, ends the session at node 1 where `ends`; the times until nodes 2 and 3 gave their answer."""
    token = sign_in(nodes[0])
    for node in nodes[1:]:
        assert node["client"].ask("GET", "/orders", token)[0] == 200
    if ends:
        session = own_session(nodes[0], token)
        status, body = nodes[0]["client"].ask("DELETE", f"/v1/sessions/{session}", token)
        assert status < 300, body
    began, took = time.perf_counter(), [None, None]

    def watch(at):
        took[at] = (until(nodes[at + 1], token, "/orders", 401 if ends else 200) - began) * 1000

    watching = [threading.Thread(target=watch, args=(at,)) for at in (0, 1)]
    [one.start() for one in watching]
    [one.join() for one in watching]
    return took


def measure(binary, folder, nodes, sessions, running):
    print(f"load average {os.getloadavg()[0]:.1f}", flush=True)
    one_end(nodes, True)
    control, ended = [], []
    for _ in range(sessions):
        # in turn, so that both meet the same machine
        control += one_end(nodes, False)
        ended += one_end(nodes, True)
    percentiles("control, the same request with nothing ended", control)
    percentiles("ended at node 1, refused at nodes 2 and 3", ended, 250)
    third = nodes[2]
    opened, closed, known = [], [], []
    for _ in range(5):
        token, ending = sign_in(nodes[0]), sign_in(nodes[0])
        session = own_session(nodes[0], ending)
        until(third, token, "/checkout", 200)
        third["redis"].lose(), third["database"].lose()
        began = time.perf_counter()
        closed.append((until(third, token, "/checkout", 503) - began) * 1000)
        assert nodes[0]["client"].ask("DELETE", f"/v1/sessions/{session}", ending)[0] < 300
        time.sleep(2)
        assert third["client"].ask("GET", "/orders", token)[0] == 200, "the others go on"
        third["redis"].mend(), third["database"].mend()
        began = time.perf_counter()
        known.append((until(third, ending, "/orders", 401) - began) * 1000)
        opened.append((until(third, token, "/checkout", 200) - began) * 1000)
        wait_whole(binary, folder)
    percentiles("cut from both, a sensitive route refuses after", closed)
    percentiles("healed, what ended meanwhile is refused after", known, 1000)
    percentiles("healed, the sensitive route is open after", opened)
    without = []
    third["redis"].lose()
    time.sleep(1)
    for _ in range(20):
        token = sign_in(nodes[0])
        until(third, token, "/orders", 200)
        session = own_session(nodes[0], token)
        assert nodes[0]["client"].ask("DELETE", f"/v1/sessions/{session}", token)[0] < 300
        began = time.perf_counter()
        without.append((until(third, token, "/orders", 401) - began) * 1000)
    third["redis"].mend()
    percentiles("without Redis, refused through the database after", without)
    wait_whole(binary, folder)
    taken = []
    for _ in range(3):
        look = lambda: json.loads(subprocess.run([binary, "--json", "node", "list"], cwd=folder, check=True,
                                                 capture_output=True).stdout)
        leader = next(row["node"] for row in look()["nodes"] if row["leads"])
        dying = next(node for node in nodes if node["name"] == leader)
        dying["program"].kill()
        dying["program"].wait()
        running.remove(dying["program"])
        began = time.perf_counter()
        sign_in(next(node for node in nodes if node is not dying))
        while (now := look())["pending"] > 0 or any(row["leads"] and row["node"] == leader for row in now["nodes"]):
            pass
        taken.append((time.perf_counter() - began) * 1000)
        start(binary, folder, dying, running)
        wait_whole(binary, folder)
    percentiles("the sequencer killed, another has sequenced what waited after", taken)


main()
