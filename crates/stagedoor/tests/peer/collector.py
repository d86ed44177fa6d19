"""A collector: prints what is posted to it, one JSON document a line, and refuses the first batches.

collector.py REFUSALS: so many POSTs are answered by 503 first.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

refusals = int(sys.argv[1])


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        global refusals
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        taken = refusals <= 0
        refusals -= 1
        head = {"taken": taken, "path": self.path, "type": self.headers["content-type"]}
        head["token"] = self.headers["authorization"]
        print(json.dumps({**head, "lines": body.splitlines()}), flush=True)
        self.send_response(200 if taken else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(f"listening {server.server_port}", flush=True)
server.serve_forever()
