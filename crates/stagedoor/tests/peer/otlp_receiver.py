"""A receiver of OTLP over HTTP in JSON: reads each export by the official protobuf schema, and prints
each span as a JSON document a line.

OTLP writes ids in hexadecimal where protobuf's own JSON has base64; all else is protobuf's.
"""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def with_base64(value):
    if isinstance(value, list):
        return [with_base64(one) for one in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        key: base64.b64encode(bytes.fromhex(one)).decode() if key in ids else with_base64(one)
        for key, one in value.items()
    }


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        export = json_format.ParseDict(with_base64(json.loads(body)), ExportTraceServiceRequest())
        for of_resource in export.resource_spans:
            resource = {one.key: value_of(one.value) for one in of_resource.resource.attributes}
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    told = {
                        "path": self.path,
                        "resource": resource,
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "kind": span.kind,
                        "took_ns": span.end_time_unix_nano - span.start_time_unix_nano,
                        "status": span.status.code,
                        "attributes": {one.key: value_of(one.value) for one in span.attributes},
                    }
                    print(json.dumps(told), flush=True)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(f"listening {server.server_port}", flush=True)
server.serve_forever()
