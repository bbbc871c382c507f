"""The generated spans as other systems export them, written after their formats and not with the readers.

    python bench/other_writers.py SPANS.jsonl FORMAT OUT

Every format gets the same spans, in the same order and in batches of the same size where it has batches; what a
format has no place for is left out.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
SERVER, CLIENT = 2, 3
ANSWERED_TRACES = 20
"""Traces of one answer of a store."""
TABLE_ROWS = 50_000
"""Rows of a row group of Parquet."""
CONTENT = ("gen_ai.input.messages", "gen_ai.output.messages", "input.value", "output.value", "gen_ai.prompt.0.content",
           "gen_ai.completion.0.content")  # fmt: skip
"""Attributes that products for model calls keep in fields of their own."""


@dataclass(slots=True)
class Entry:
    """A span, with attributes as plain values and times in nanoseconds."""

    resource: dict[str, Any]
    scope: str
    trace: str
    id: str
    parent: str
    name: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[tuple[str, int, dict[str, Any]]]
    links: list[tuple[str, str]]
    failed: bool

    @property
    def service(self) -> str:
        """Name of the service."""
        return str(self.resource["service.name"])


class Usage(NamedTuple):
    """What a call used."""

    model: str
    provider: str
    input: int
    output: int
    cached: int


def plain(value: Mapping[str, Any]) -> Any:
    """An attribute value of the protocol as a plain one."""
    (kind, inner), *_ = value.items()
    if kind == "intValue":
        return int(inner)
    if kind == "arrayValue":
        return [plain(entry) for entry in inner["values"]]
    return inner


def attributes_of(pairs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Attributes as an object."""
    return {pair["key"]: plain(pair["value"]) for pair in pairs}


def batches(path: Path) -> Iterator[list[Entry]]:
    """Spans of the generated export, one list for each of its requests."""
    with path.open("rb") as file:
        for line in file:
            found = []
            for part in json.loads(line)["resourceSpans"]:
                resource = attributes_of(part["resource"]["attributes"])
                for scope in part["scopeSpans"]:
                    found += [_entry(resource, scope["scope"]["name"], span) for span in scope["spans"]]
            yield found


def _entry(resource: dict[str, Any], scope: str, span: Mapping[str, Any]) -> Entry:
    return Entry(
        resource,
        scope,
        span["traceId"],
        span["spanId"],
        span["parentSpanId"],
        span["name"],
        span["kind"],
        int(span["startTimeUnixNano"]),
        int(span["endTimeUnixNano"]),
        attributes_of(span["attributes"]),
        [(e["name"], int(e["timeUnixNano"]), attributes_of(e["attributes"])) for e in span.get("events", ())],
        [(link["traceId"], link["spanId"]) for link in span.get("links", ())],
        span["status"].get("code") == 2,
    )


def traces(path: Path) -> list[list[Entry]]:
    """The same spans, trace by trace."""
    found: dict[str, list[Entry]] = {}
    for batch in batches(path):
        for entry in batch:
            found.setdefault(entry.trace, []).append(entry)
    return list(found.values())


def groups(entries: list[Any], size: int) -> Iterator[list[Any]]:
    """Some at a time."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def text(value: Any) -> str:
    """A value where only texts have a place: lists and numbers as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def iso(nanoseconds: int, end: str = "Z") -> str:
    """A moment to the microsecond."""
    seconds = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    return f"{seconds:%Y-%m-%dT%H:%M:%S}.{nanoseconds // 1000 % 1_000_000:06d}{end}"


def usage(entry: Entry) -> Usage | None:
    """What a model call says of itself; ``None`` for other spans."""
    told = entry.attributes
    if "llm.model_name" not in told and "embedding.model_name" not in told:
        operation = told.get("gen_ai.operation.name", told.get("llm.request.type"))
        if operation not in {"chat", "embeddings"} or entry.kind != CLIENT:
            return None
    first = _first(told, "gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "embedding.model_name")
    return Usage(
        str(first),
        str(_first(told, "gen_ai.provider.name", "gen_ai.system", "llm.provider")).lower(),
        int(_first(told, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt") or 0),
        int(
            _first(told, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
            or 0
        ),
        int(
            _first(
                told,
                "gen_ai.usage.cache_read.input_tokens",
                "gen_ai.usage.cache_read_input_tokens",
                "llm.token_count.prompt_details.cache_read",
            )
            or 0
        ),
    )


def _first(told: Mapping[str, Any], *keys: str) -> Any:
    return next((told[key] for key in keys if key in told), None)


# -- tracing systems ---------------------------------------------------------------------------------


def jaeger(path: Path) -> Iterator[Any]:
    """Answers of the query API."""
    for some in groups(traces(path), ANSWERED_TRACES):
        yield {"data": [_jaeger_trace(trace) for trace in some], "total": 0, "limit": 0, "offset": 0, "errors": None}


def _tag(key: str, value: Any) -> dict[str, Any]:
    names = {bool: "bool", int: "int64", float: "float64"}
    kind = names.get(type(value), "string")
    return {"key": key, "type": kind, "value": text(value) if kind == "string" else value}


def _jaeger_trace(trace: list[Entry]) -> dict[str, Any]:
    processes: dict[str, str] = {}
    spans = []
    for entry in trace:
        rest = [_tag(key, value) for key, value in entry.resource.items() if key != "service.name"]
        process = json.dumps({"serviceName": entry.service, "tags": rest})
        tags = [_tag(key, value) for key, value in entry.attributes.items()]
        tags += [_tag("otel.scope.name", entry.scope), _tag("span.kind", KINDS[entry.kind].lower())]
        if entry.failed:
            tags += [_tag("otel.status_code", "ERROR"), _tag("error", value=True)]
        references = [{"refType": "CHILD_OF", "traceID": entry.trace, "spanID": entry.parent}] if entry.parent else []
        references += [{"refType": "FOLLOWS_FROM", "traceID": trace, "spanID": span} for trace, span in entry.links]
        spans.append(
            {
                "traceID": entry.trace,
                "spanID": entry.id,
                "operationName": entry.name,
                "references": references,
                "startTime": entry.start // 1000,
                "duration": (entry.end - entry.start) // 1000,
                "tags": tags,
                "logs": [
                    {"timestamp": at // 1000, "fields": [_tag("event", name), *(_tag(k, v) for k, v in told.items())]}
                    for name, at, told in entry.events
                ],
                "processID": processes.setdefault(process, f"p{len(processes) + 1}"),
                "warnings": None,
            }
        )
    table = {name: json.loads(process) for process, name in processes.items()}
    return {"traceID": trace[0].trace, "spans": spans, "processes": table, "warnings": None}


def jaeger_v3(path: Path) -> Iterator[Any]:
    """Answers of the API v3: OTLP in an object."""
    with path.open("rb") as file:
        for line in file:
            yield {"result": json.loads(line)}


def tempo(path: Path) -> Iterator[Any]:
    """Answers of Tempo: OTLP as protobuf's own JSON printer writes it."""
    with path.open("rb") as file:
        for line in file:
            parts = json.loads(line)["resourceSpans"]
            for span in (span for part in parts for scope in part["scopeSpans"] for span in scope["spans"]):
                for place in (span, *span.get("links", ())):
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if place.get(key):
                            place[key] = base64.b64encode(bytes.fromhex(place[key])).decode()
                        else:
                            place.pop(key, None)
                span["kind"] = f"SPAN_KIND_{KINDS[span['kind']]}"
                if span["status"].get("code") == 2:
                    span["status"]["code"] = "STATUS_CODE_ERROR"
                else:
                    span["status"] = {}
            yield {"batches": parts}


def zipkin(path: Path) -> Iterator[Any]:
    """Lists of spans as the Collector's exporter writes them: resource and scope among the tags."""
    for batch in batches(path):
        yield [_zipkin_span(entry) for entry in batch]


def _zipkin_span(entry: Entry) -> dict[str, Any]:
    tags = {**entry.attributes, **entry.resource, "otel.library.name": entry.scope, "otel.scope.name": entry.scope}
    if entry.failed:
        tags |= {"otel.status_code": "ERROR", "error": "it broke"}
    return {
        "traceId": entry.trace,
        **({"parentId": entry.parent} if entry.parent else {}),
        "id": entry.id,
        **({"kind": KINDS[entry.kind]} if entry.kind > 1 else {}),
        "name": entry.name,
        "timestamp": entry.start // 1000,
        "duration": max(1, (entry.end - entry.start) // 1000),
        "localEndpoint": {"serviceName": entry.service},
        "tags": {key: text(value) for key, value in tags.items()},
        "annotations": [
            {"timestamp": at // 1000, "value": f"{name}|{json.dumps(told)}"} for name, at, told in entry.events
        ],
    }


def console(path: Path) -> Iterator[str]:
    """Spans printed by Python's SDK, over many lines each."""
    for batch in batches(path):
        for entry in batch:
            yield json.dumps(
                {
                    "name": entry.name,
                    "context": {"trace_id": f"0x{entry.trace}", "span_id": f"0x{entry.id}", "trace_state": "[]"},
                    "kind": f"SpanKind.{KINDS[entry.kind]}",
                    "parent_id": f"0x{entry.parent}" if entry.parent else None,
                    "start_time": iso(entry.start),
                    "end_time": iso(entry.end),
                    "status": {"status_code": "ERROR" if entry.failed else "UNSET"},
                    "attributes": entry.attributes,
                    "events": [
                        {"name": name, "timestamp": iso(at), "attributes": told} for name, at, told in entry.events
                    ],
                    "links": [
                        {"context": {"trace_id": f"0x{trace}", "span_id": f"0x{span}"}, "attributes": {}}
                        for trace, span in entry.links
                    ],
                    "resource": {"attributes": entry.resource, "schema_url": ""},
                },
                indent=4,
            )


def datadog(path: Path) -> Iterator[Any]:
    """What tracers send to the agent: the traces of a batch."""
    for batch in batches(path):
        found: dict[str, list[Entry]] = {}
        for entry in batch:
            found.setdefault(entry.trace, []).append(entry)
        yield [[_datadog_span(entry) for entry in trace] for trace in found.values()]


def _datadog_span(entry: Entry) -> dict[str, Any]:
    told = entry.attributes
    return {
        "name": entry.name,
        "resource": entry.name,
        "service": entry.service,
        "type": "web" if entry.kind == SERVER else "",
        "trace_id": int(entry.trace[16:], 16),
        "span_id": int(entry.id, 16),
        "parent_id": int(entry.parent or "0", 16),
        "start": entry.start,
        "duration": entry.end - entry.start,
        "error": int(entry.failed),
        "meta": {
            "_dd.p.tid": entry.trace[:16],
            "runtime-id": entry.resource["service.instance.id"],
            "language": entry.resource["telemetry.sdk.language"],
            "env": entry.resource["deployment.environment.name"],
            "span.kind": KINDS[entry.kind].lower(),
            "component": entry.scope,
            **{key: text(value) for key, value in told.items() if not _is_number(value)},
        },
        "metrics": {
            "_sampling_priority_v1": 1.0,
            **{key: float(value) for key, value in told.items() if _is_number(value)},
        },
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def xray(path: Path) -> Iterator[Any]:
    """Answers of ``BatchGetTraces``: served requests are segments, all else subsegments that were sent alone."""
    for some in groups(traces(path), 5):
        yield {
            "Traces": [
                {
                    "Id": _xray_id(trace[0]),
                    "Segments": [{"Id": entry.id, "Document": json.dumps(_segment(entry))} for entry in trace],
                }
                for trace in some
            ],
            "UnprocessedTraceIds": [],
        }


def _xray_id(entry: Entry) -> str:
    return f"1-{entry.trace[:8]}-{entry.trace[8:]}"


def _segment(entry: Entry) -> dict[str, Any]:
    is_segment = entry.kind == SERVER or not entry.parent
    metadata = dict(entry.attributes)
    if is_segment:
        metadata |= {f"otel.resource.{key}": value for key, value in entry.resource.items()}
    return {
        "id": entry.id,
        "trace_id": _xray_id(entry),
        "name": entry.service if is_segment else entry.name,
        "start_time": entry.start / 1e9,
        "end_time": entry.end / 1e9,
        "fault": entry.failed,
        **({"parent_id": entry.parent} if entry.parent else {}),
        **({} if is_segment else {"type": "subsegment"}),
        **({"namespace": "remote"} if entry.kind == CLIENT else {}),
        "aws": {"xray": {"sdk": f"opentelemetry for {entry.resource['telemetry.sdk.language']}"}},
        "metadata": {"default": metadata},
    }


# -- stores and products -----------------------------------------------------------------------------


def clickhouse(path: Path) -> Iterator[Any]:
    """Rows of ``otel_traces`` as JSONEachRow."""
    for batch in batches(path):
        for entry in batch:
            yield {
                "Timestamp": iso(entry.start, "").replace("T", " ") + f"{entry.start % 1000:03d}",
                "TraceId": entry.trace,
                "SpanId": entry.id,
                "ParentSpanId": entry.parent,
                "TraceState": "",
                "SpanName": entry.name,
                "SpanKind": KINDS[entry.kind].capitalize(),
                "ServiceName": entry.service,
                "ResourceAttributes": entry.resource,
                "ScopeName": entry.scope,
                "ScopeVersion": "",
                "SpanAttributes": {key: text(value) for key, value in entry.attributes.items()},
                "Duration": str(entry.end - entry.start),
                "StatusCode": "Error" if entry.failed else "Unset",
                "StatusMessage": "",
                "Events.Timestamp": [iso(at, "").replace("T", " ") for _, at, _ in entry.events],
                "Events.Name": [name for name, _, _ in entry.events],
                "Events.Attributes": [{k: text(v) for k, v in told.items()} for _, _, told in entry.events],
                "Links.TraceId": [trace for trace, _ in entry.links],
                "Links.SpanId": [span for _, span in entry.links],
            }


def clickhouse_parquet(path: Path, out: Path) -> None:
    """The same table as Parquet."""
    import pyarrow as pa  # noqa: PLC0415  # an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    texts = pa.map_(pa.string(), pa.string())
    lists = pa.list_(pa.string())
    schema = pa.schema(
        [
            ("Timestamp", pa.timestamp("ns")), ("TraceId", pa.string()), ("SpanId", pa.string()),
            ("ParentSpanId", pa.string()), ("SpanName", pa.string()), ("SpanKind", pa.string()),
            ("ServiceName", pa.string()), ("ResourceAttributes", texts), ("ScopeName", pa.string()),
            ("SpanAttributes", texts), ("Duration", pa.uint64()), ("StatusCode", pa.string()),
            ("Events.Name", lists), ("Events.Attributes", pa.list_(texts)), ("Links.TraceId", lists),
            ("Links.SpanId", lists),
        ]
    )  # fmt: skip
    with pq.ParquetWriter(out, schema) as writer:
        entries = (entry for batch in batches(path) for entry in batch)
        for rows in _chunks(zip(clickhouse(path), entries, strict=True)):
            columns = {name: [row.get(name) for row, _ in rows] for name in schema.names}
            columns["Timestamp"] = [entry.start for _, entry in rows]
            columns["Duration"] = [entry.end - entry.start for _, entry in rows]
            for name in ("ResourceAttributes", "SpanAttributes"):
                columns[name] = [list(value.items()) for value in columns[name]]
            columns["Events.Attributes"] = [
                [list(told.items()) for told in value] for value in columns["Events.Attributes"]
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _chunks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    held = []
    for row in rows:
        held.append(row)
        if len(held) == TABLE_ROWS:
            yield held
            held = []
    if held:
        yield held


def duckdb_table(path: Path, out: Path) -> None:
    """The same table in a DuckDB database."""
    import duckdb  # noqa: PLC0415  # an extra

    parquet = out.with_name(out.name + ".rows")
    clickhouse_parquet(path, parquet)
    with duckdb.connect(str(out)) as database:
        database.execute("CREATE TABLE otel_traces AS SELECT * FROM read_parquet(?)", [str(parquet)])
    parquet.unlink()


def phoenix(path: Path) -> Iterator[Any]:
    """Rows of ``get_spans_dataframe``, absent columns left out."""
    for batch in batches(path):
        for entry in batch:
            kind = entry.attributes.get("openinference.span.kind") or ("LLM" if usage(entry) else "UNKNOWN")
            yield {
                "name": entry.name,
                "span_kind": kind,
                "parent_id": entry.parent or None,
                "start_time": iso(entry.start, "+00:00"),
                "end_time": iso(entry.end, "+00:00"),
                "status_code": "ERROR" if entry.failed else "UNSET",
                "status_message": "",
                "events": [{"name": n, "timestamp": iso(at), "attributes": told} for n, at, told in entry.events],
                "context.span_id": entry.id,
                "context.trace_id": entry.trace,
                **{f"attributes.{key}": value for key, value in entry.attributes.items()},
            }


def mlflow(path: Path) -> Iterator[Any]:
    """One trace a line, as ``Trace.to_json`` writes version 3."""
    for trace in traces(path):
        first = trace[0]
        spans = [
            {
                "trace_id": _base64(entry.trace),
                "span_id": _base64(entry.id),
                "parent_span_id": _base64(entry.parent) if entry.parent else None,
                "name": entry.name,
                "start_time_unix_nano": entry.start,
                "end_time_unix_nano": entry.end,
                "events": [{"name": n, "time_unix_nano": at, "attributes": told} for n, at, told in entry.events],
                "status": {"code": "STATUS_CODE_ERROR" if entry.failed else "STATUS_CODE_OK", "message": ""},
                "attributes": {key: json.dumps(value) for key, value in entry.attributes.items()},
            }
            for entry in trace
        ]
        yield {
            "info": {
                "trace_id": f"tr-{first.trace}",
                "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
                "trace_metadata": {"mlflow.trace_schema.version": "3"},
                "tags": {"mlflow.traceName": first.name, "service.name": first.service},
                "state": "OK",
            },
            "data": {"spans": spans},
        }


def _base64(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()


def langfuse(path: Path) -> Iterator[Any]:
    """Observations of the blob export; what instrumentations set, prompts excepted, came along as metadata."""
    for batch in batches(path):
        for entry in batch:
            told = usage(entry)
            given = told.input - told.cached if told else 0
            rest = {key: text(value) for key, value in entry.attributes.items() if key not in CONTENT}
            content = [text(entry.attributes[key]) for key in CONTENT if key in entry.attributes]
            yield {
                "id": entry.id,
                "trace_id": entry.trace,
                "project_id": "project",
                "environment": "default",
                "type": "GENERATION" if told else "SPAN",
                "parent_observation_id": entry.parent or None,
                "start_time": iso(entry.start),
                "end_time": iso(entry.end),
                "name": entry.name,
                "metadata": {"attributes": rest, "resourceAttributes": entry.resource, "scope": {"name": entry.scope}},
                "level": "ERROR" if entry.failed else "DEFAULT",
                "provided_model_name": told.model if told else None,
                "usage_details": {"input": given, "input_cached_tokens": told.cached, "output": told.output,
                                  "total": told.input + told.output} if told and told.input else {},
                "provided_usage_details": {"input": given, "output": told.output} if told and told.input else {},
                "input": content[0] if content else None,
                "output": content[-1] if content else None,
            }  # fmt: skip


def langsmith(path: Path) -> Iterator[Any]:
    """Runs, one a line."""
    for batch in batches(path):
        for entry in batch:
            told = usage(entry)
            model = {"ls_provider": told.provider, "ls_model_name": told.model, "ls_model_type": "chat"} if told else {}
            counts: dict[str, Any] = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
            if told is not None and told.input:
                counts = {
                    "prompt_tokens": told.input,
                    "completion_tokens": told.output,
                    "total_tokens": told.input + told.output,
                    "prompt_token_details": {"cache_read": told.cached},
                }
            content = [text(entry.attributes[key]) for key in CONTENT if key in entry.attributes]
            rest = {key: value for key, value in entry.attributes.items() if key not in CONTENT}
            yield {
                "id": _uuid(entry.id.rjust(32, "0")),
                "trace_id": _uuid(entry.trace),
                "parent_run_id": _uuid(entry.parent.rjust(32, "0")) if entry.parent else None,
                "name": entry.name,
                "run_type": "llm" if told else "chain",
                "start_time": iso(entry.start, ""),
                "end_time": iso(entry.end, ""),
                "status": "error" if entry.failed else "success",
                "error": "it broke" if entry.failed else None,
                "extra": {"metadata": {**rest, **model}, "runtime": entry.resource},
                "inputs": {"messages": content[:1]},
                "outputs": {"messages": content[1:]},
                "tags": [],
                **counts,
            }


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


# -- protobuf ----------------------------------------------------------------------------------------


def _messages(path: Path) -> Iterator[bytes]:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue  # noqa: PLC0415  # an extra
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData  # noqa: PLC0415

    def value_of(value: Any) -> AnyValue:
        if isinstance(value, list):
            return AnyValue(array_value=ArrayValue(values=map(value_of, value)))
        names = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
        return AnyValue(**{names[type(value)]: value})

    def pairs(told: Mapping[str, Any]) -> list[KeyValue]:
        return [KeyValue(key=key, value=value_of(value)) for key, value in told.items()]

    for batch in batches(path):
        message = TracesData()
        part = scope = None
        resource: dict[str, Any] | None = None
        for entry in batch:
            if part is None or entry.resource is not resource:
                part, scope, resource = message.resource_spans.add(), None, entry.resource
                part.resource.attributes.extend(pairs(entry.resource))
            if scope is None or scope.scope.name != entry.scope:
                scope = part.scope_spans.add()
                scope.scope.name = entry.scope
            span = scope.spans.add(
                trace_id=bytes.fromhex(entry.trace),
                span_id=bytes.fromhex(entry.id),
                parent_span_id=bytes.fromhex(entry.parent),
                name=entry.name,
                kind=entry.kind,
                start_time_unix_nano=entry.start,
                end_time_unix_nano=entry.end,
                attributes=pairs(entry.attributes),
            )
            for name, at, told in entry.events:
                span.events.add(name=name, time_unix_nano=at, attributes=pairs(told))
            for trace, linked in entry.links:
                span.links.add(trace_id=bytes.fromhex(trace), span_id=bytes.fromhex(linked))
            if entry.failed:
                span.status.code = 2
        yield message.SerializeToString()


def proto(path: Path, out: Path) -> None:
    """Bare messages back to back."""
    with out.open("wb") as file:
        file.writelines(_messages(path))


def collector_file(path: Path, out: Path) -> None:
    """Messages behind their lengths, as the Collector's file exporter writes them."""
    with out.open("wb") as file:
        for message in _messages(path):
            file.write(len(message).to_bytes(4, "big") + message)


def phoenix_parquet(path: Path, out: Path) -> None:
    """The dataframe as Parquet: a column for each attribute."""
    import pyarrow as pa  # noqa: PLC0415  # an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = list(phoenix(path))
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, Any] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if name in {"start_time", "end_time"}:
            columns[name] = pa.array([datetime.fromisoformat(value) for value in values], pa.timestamp("us", tz="UTC"))
        elif all(value is None or _is_number(value) for value in values):
            # What is absent is NaN in a dataframe.
            columns[name] = pa.array([math.nan if value is None else float(value) for value in values])
        elif name == "events":
            columns[name] = pa.array([[{"name": event["name"]} for event in value] for value in values])
        else:
            columns[name] = pa.array(values)
    pq.write_table(pa.table(columns), out, row_group_size=TABLE_ROWS)


AS_JSON: dict[str, Callable[[Path], Iterator[Any]]] = {
    "jaeger": jaeger,
    "jaeger-v3": jaeger_v3,
    "tempo": tempo,
    "zipkin": zipkin,
    "python-console": console,
    "datadog-apm": datadog,
    "xray": xray,
    "clickhouse": clickhouse,
    "phoenix": phoenix,
    "mlflow": mlflow,
    "langfuse": langfuse,
    "langsmith": langsmith,
}
"""Formats that are JSON values, by the name that the auditor gives them."""
AS_FILES: dict[str, Callable[[Path, Path], None]] = {
    "otlp-proto": proto,
    "collector-file": collector_file,
    "parquet": clickhouse_parquet,
    "parquet (Phoenix)": phoenix_parquet,
    "duckdb": duckdb_table,
}
WRITTEN = (*AS_JSON, *AS_FILES)


def write(path: Path, form: str, out: Path) -> None:
    """Write one of the formats."""
    if form in AS_FILES:
        AS_FILES[form](path, out)
        return
    with out.open("w", encoding="utf-8") as file:
        for value in AS_JSON[form](path):
            file.write(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            file.write("\n")


def main() -> None:
    """Read the arguments, write the export."""
    parser = argparse.ArgumentParser(description="Write the generated spans in another format.")
    parser.add_argument("spans", type=Path, help="an export of bench/generate.py, one request a line")
    parser.add_argument("form", choices=WRITTEN)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    write(given.spans, given.form, given.out)


if __name__ == "__main__":
    main()
