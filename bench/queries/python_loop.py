"""Sum the tokens of model spans without a tenant in a plain loop: ``python_loop.py orjson|json FILE``."""

from __future__ import annotations

import json
import sys

from keys import INPUT_KEYS, KINDS, NO_TENANT, OPERATIONS, OUTPUT_KEYS, TENANT_KEYS

if sys.argv[1] == "orjson":
    from orjson import loads
else:
    from json import loads


def named(attributes):  # noqa: ANN001, ANN201
    """Turn a list of attributes into a dictionary."""
    return {entry["key"]: next(iter(entry["value"].values())) for entry in attributes}


def first(found, keys):  # noqa: ANN001, ANN201
    """Give the first value that is there."""
    return next((found[key] for key in keys if key in found), None)


seen = set()
tokens_in = tokens_out = 0
with open(sys.argv[2], "rb") as lines:  # noqa: PTH123
    for line in lines:
        for group in loads(line)["resourceSpans"]:
            resource = named(group["resource"]["attributes"])
            for scope in group["scopeSpans"]:
                for span in scope["spans"]:
                    found = named(span["attributes"])
                    if not (
                        found.get("gen_ai.operation.name") in OPERATIONS
                        or found.get("openinference.span.kind") in KINDS
                        or found.get("llm.request.type") == "chat"
                    ):
                        continue
                    tenant = first(found, TENANT_KEYS)
                    if tenant is None and "metadata" in found:
                        tenant = loads(found["metadata"])["tenant_id"]
                    tenant = tenant or resource.get("tenant.id")
                    if tenant not in {None, NO_TENANT} or (span["traceId"], span["spanId"]) in seen:
                        continue
                    seen.add((span["traceId"], span["spanId"]))
                    tokens_in += int(first(found, INPUT_KEYS) or 0)
                    tokens_out += int(first(found, OUTPUT_KEYS) or 0)
print(json.dumps([len(seen), tokens_in, tokens_out]))
