"""Holds events, a JSON document a line, against the published OCSF schema of their version and class.

Prints the classes that were seen, and ends with 1 where an event does not fit.
"""

import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

schemas = {}


def schema_of(version, uid):
    if (version, uid) not in schemas:
        book = OcsfJsonSchemaEmbedded(get_ocsf_schema(version))
        schema = book.get_class_schema(book.lookup_class_name_from_uid(uid))
        schemas[version, uid] = Draft202012Validator(schema)
    return schemas[version, uid]


wrong, seen = 0, {}
for line in sys.stdin:
    event = json.loads(line)
    code, uid = event["metadata"]["event_code"], event["class_uid"]
    faults = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in schema_of(event["metadata"]["version"], uid).iter_errors(event)
    ]
    if event["type_uid"] != uid * 100 + event["activity_id"]:
        faults.append("type_uid is not class and activity")
    if event["category_uid"] != uid // 1000:
        faults.append("category_uid is not the class's")
    for fault in faults:
        print(f"{code} ({uid}): {fault}", file=sys.stderr)
    wrong += bool(faults)
    seen[uid] = seen.get(uid, 0) + 1
print(json.dumps({"events": sum(seen.values()), "classes": sorted(seen), "wrong": wrong}))
sys.exit(1 if wrong else 0)
