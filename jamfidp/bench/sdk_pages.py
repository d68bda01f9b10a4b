"""Parse pages of people with msgraph-sdk, in a virtual environment that has it.

Run as a script; what is measured is parsing alone, without asking.
"""

import http.client
import json
import ssl
import statistics
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from kiota_serialization_json.json_parse_node_factory import JsonParseNodeFactory
from msgraph.generated.users.delta.delta_get_response import DeltaGetResponse


def measure(told: dict[str, Any]) -> float:
    facts, target, taken = told["facts"], told["start"], []
    connection = http.client.HTTPSConnection(
        "127.0.0.1",
        urlsplit(facts["url"]).port,
        context=ssl.create_default_context(cafile=facts["ca_file"]),
    )
    for _ in range(told["pages"]):
        headers = {"Authorization": f"Bearer {told['token']}"}
        connection.request("GET", target, headers=headers)
        content = connection.getresponse().read()
        began = time.perf_counter()
        node = JsonParseNodeFactory().get_root_parse_node("application/json", content)
        page: Any = node.get_object_value(DeltaGetResponse)
        taken.append(time.perf_counter() - began)
        if not page.value or page.value[0].id is None:
            raise RuntimeError("msgraph-sdk understood nothing")
        if not page.odata_next_link:
            break
        target = page.odata_next_link[page.odata_next_link.index("/v1.0/") :]
    return statistics.median(taken)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.load(sys.stdin))))
