"""Sum the tokens of model spans without a tenant with pandas: ``pandas_query.py FILE``."""

from __future__ import annotations

import json
import sys

import pandas as pd
from keys import INPUT_KEYS, KINDS, NO_TENANT, OPERATIONS, OUTPUT_KEYS, TENANT_KEYS


def named(attributes):  # noqa: ANN001, ANN201
    """Turn a list of attributes into a dictionary."""
    return {entry["key"]: next(iter(entry["value"].values())) for entry in attributes}


def first(keys):  # noqa: ANN001, ANN201
    """Give the first of some attributes that is there, for each span."""
    return pd.concat([attributes.str.get(key) for key in keys], axis=1).bfill(axis=1).iloc[:, 0]


groups = pd.DataFrame(pd.read_json(sys.argv[1], lines=True)["resourceSpans"].explode().tolist())
groups["resource_tenant"] = groups["resource"].str["attributes"].map(named).str.get("tenant.id")
scopes = groups[["resource_tenant", "scopeSpans"]].explode("scopeSpans", ignore_index=True)
scopes["spans"] = scopes["scopeSpans"].str["spans"]
exploded = scopes[["resource_tenant", "spans"]].explode("spans", ignore_index=True)
spans = pd.DataFrame(exploded["spans"].tolist())[["traceId", "spanId", "attributes"]]
attributes = spans["attributes"].map(named)
metadata = attributes.str.get("metadata").map(lambda text: json.loads(text)["tenant_id"], na_action="ignore")
tenant = first(TENANT_KEYS).fillna(metadata).fillna(exploded["resource_tenant"]).fillna(NO_TENANT)
is_call = (
    attributes.str.get("gen_ai.operation.name").isin(OPERATIONS)
    | attributes.str.get("openinference.span.kind").isin(KINDS)
    | (attributes.str.get("llm.request.type") == "chat")
)
spans["input"] = pd.to_numeric(first(INPUT_KEYS)).fillna(0)
spans["output"] = pd.to_numeric(first(OUTPUT_KEYS)).fillna(0)
without = spans[is_call & (tenant == NO_TENANT)].drop_duplicates(["traceId", "spanId"])
print(json.dumps([len(without), int(without["input"].sum()), int(without["output"].sum())]))
