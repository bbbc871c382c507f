"""Sum the tokens of model spans without a tenant with DuckDB: ``duckdb_query.py auto|typed FILE``."""

from __future__ import annotations

import json
import sys

import duckdb
from keys import INPUT_KEYS, KINDS, NO_TENANT, OPERATIONS, OUTPUT_KEYS, TENANT_KEYS

ATTRIBUTES = 'STRUCT("key" VARCHAR, "value" STRUCT(stringValue VARCHAR, intValue VARCHAR))[]'
SPANS = f"STRUCT(traceId VARCHAR, spanId VARCHAR, attributes {ATTRIBUTES})[]"
COLUMNS = {
    "resourceSpans": f"STRUCT(resource STRUCT(attributes {ATTRIBUTES}), scopeSpans STRUCT(spans {SPANS})[])[]",
}
typed = f", columns = {COLUMNS}" if sys.argv[1] == "typed" else ""


def coalesced(keys: tuple[str, ...], field: str) -> str:
    """Give an expression for the first of some attributes that is there."""
    found = (f"attribute(attributes, '{key}').{field}" for key in keys)
    return f"coalesce({', '.join(found)})"


QUERY = f"""
with resources as (
    select unnest(resourceSpans) as r
    from read_json('{sys.argv[2]}', format = 'newline_delimited'{typed})
), scopes as (
    select r.resource.attributes as resource, unnest(r.scopeSpans) as s from resources
), spans as (
    select resource, unnest(s.spans) as span from scopes
), calls as (
    select
        span.traceId, span.spanId, span.attributes as attributes,
        attribute(resource, 'tenant.id').stringValue as of_resource
    from spans
    where attribute(span.attributes, 'gen_ai.operation.name').stringValue in {OPERATIONS}
        or attribute(span.attributes, 'openinference.span.kind').stringValue in {KINDS}
        or attribute(span.attributes, 'llm.request.type').stringValue = 'chat'
), without as (
    select distinct
        traceId, spanId,
        cast({coalesced(INPUT_KEYS, "intValue")} as bigint) as tokens_in,
        cast({coalesced(OUTPUT_KEYS, "intValue")} as bigint) as tokens_out
    from calls
    where coalesce(
        {coalesced(TENANT_KEYS, "stringValue")},
        json_extract_string(attribute(attributes, 'metadata').stringValue, '$.tenant_id'),
        of_resource,
        '{NO_TENANT}'
    ) = '{NO_TENANT}'
)
select count(*), sum(tokens_in), sum(tokens_out) from without
"""

database = duckdb.connect()
database.execute("set threads = 1")
database.execute("create macro attribute(list, name) as list_filter(list, lambda a: a.key = name)[1].value")
print(json.dumps([int(value) for value in database.execute(QUERY).fetchone()]))
