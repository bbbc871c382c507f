"""The formats that are read: how each is recognised, cut into records and read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from auditor.errors import InputError
from auditor.load.builder import BatchBuilder
from auditor.load.clickhouse import ClickHouseReader, is_clickhouse
from auditor.load.clickhouse_parquet import ClickHouseParquetReader
from auditor.load.console import (
    ConsoleReader,
    is_console,
    is_console_head,
    is_javascript_console_head,
    refuse_javascript,
)
from auditor.load.csv_rows import csv_records, has_columns
from auditor.load.datadog import DatadogReader, is_datadog
from auditor.load.datadog_llmobs import LlmObsReader, is_llmobs
from auditor.load.duckdb_sql import duckdb_records, is_duckdb
from auditor.load.gaps import Gap
from auditor.load.gateways.table import ROW_FORMATS
from auditor.load.jaeger import JaegerReader, JaegerV3Reader, is_jaeger, is_jaeger_v3, is_jaeger_v3_head
from auditor.load.langfuse import LangfuseReader, is_langfuse
from auditor.load.langsmith import LangSmithReader, is_langsmith
from auditor.load.mlflow import MlflowReader, is_mlflow
from auditor.load.otlp_json import is_otlp
from auditor.load.otlp_logs import OtlpReader
from auditor.load.otlp_proto import (
    CollectorFileReader,
    OtlpProtoReader,
    frames,
    is_collector_file,
    is_proto,
    resource_spans,
)
from auditor.load.parquet import is_parquet
from auditor.load.parquet_tables import ParquetReader, parquet_records
from auditor.load.phoenix import PhoenixReader, is_phoenix
from auditor.load.sources import Lines, Opened, Record
from auditor.load.tempo import TempoReader, is_tempo, is_tempo_head
from auditor.load.xray import XRayReader, is_xray
from auditor.load.zipkin import ZipkinReader, is_zipkin


class Reader(Protocol):
    """Reads the records of one format into a builder."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""

    def finish(self) -> None:
        """Take over what was held back until the end of the input."""


@runtime_checkable
class LinesReader(Reader, Protocol):
    """Reads many lines of one JSON object each at once."""

    takes_lines: bool
    """Whether it does, with the settings of this run."""

    def read_lines(self, lines: Lines) -> Collection[int]:
        """Read lines; says by number, in order, which of them are for ``read``."""


@runtime_checkable
class PrintedReader(Reader, Protocol):
    """Reads many objects at once that are printed over many lines each."""

    def read_printed(self, lines: Lines) -> Collection[int]:
        """Read objects; says by number, in order, which of them are for ``read``."""


@dataclass(frozen=True, slots=True)
class Format:
    """One export format."""

    name: str
    recognises: Callable[[Any], bool]
    """Say whether the first JSON value of an input looks like this format."""
    reader: Callable[[BatchBuilder], Reader]
    marks: tuple[bytes, ...] = ()
    """What the head of an input holds whose first value is too large, or too broken, to be looked at whole."""
    is_framed_as: Callable[[bytes], bool] | None = None
    """Say whether the first bytes of an input are this format's, for one that is not written as JSON values."""
    records: Callable[[Opened], Iterator[Record]] = Opened.records
    """How the input is cut into records."""
    title: str = ""
    """What it is, for people."""
    recognised_by: str = ""
    """What tells it from all others, in words."""
    cannot_tell: tuple[Gap, ...] = ()
    """What an audit asks for and this format has no place for."""
    cap: int = 0
    """Rows at which exports of this kind are cut off; 0 for none."""
    caution: str = ""
    """What every report on such an input should say."""
    is_splittable: bool = False
    """Its records stand for themselves: read apart from each other, they come to the same. So do those of a reader
    that remembers what few-valued fields mean, and not those of one that joins records or waits for the end."""


def _never(_: Any) -> bool:
    """For a format that is no JSON."""
    return False


def _refusal(what: str, hint: str) -> Callable[[Opened], Iterator[Record]]:
    """For a table that is known and holds no calls."""

    def records(opened: Opened) -> Iterator[Record]:
        raise InputError(f"{opened.source.name}: {what}", hint=hint)

    return records


FORMATS: tuple[Format, ...] = (
    Format(
        "collector-file",
        _never,
        CollectorFileReader,
        is_framed_as=is_collector_file,
        records=frames,
        title="OTLP protobuf (or compressed JSON) as the Collector's file exporter frames it",
        recognised_by="four bytes of length before each message of protobuf, JSON or zstd",
    ),
    Format(
        "otlp-proto",
        _never,
        OtlpProtoReader,
        is_framed_as=is_proto,
        records=resource_spans,
        title="OTLP protobuf: a TracesData or ExportTraceServiceRequest message",
        recognised_by="protobuf whose first field holds a resource or spans of a scope",
    ),
    Format(
        "jaeger-v3",
        is_jaeger_v3,
        JaegerV3Reader,
        is_framed_as=is_jaeger_v3_head,
        title="Jaeger API v3: OTLP in the answer's result",
        recognised_by="an object whose result has resourceSpans",
        is_splittable=True,
    ),
    Format(
        "tempo",
        is_tempo,
        TempoReader,
        is_framed_as=is_tempo_head,
        title="Tempo API v1 and v2, and Grafana's downloads of traces",
        recognised_by="an object with batches, or with a trace that has resourceSpans",
        is_splittable=True,
    ),
    Format(
        "otlp-json",
        is_otlp,
        OtlpReader,
        marks=(b'"resourceSpans"', b'"resource_spans"', b'"resourceLogs"', b'"resourceMetrics"'),
        title="OTLP as JSON: one request, one a line, or several back to back",
        recognised_by="an object with resourceSpans (or resource_spans), or with resourceLogs",
        is_splittable=True,
    ),
    Format(
        "clickhouse",
        is_clickhouse,
        ClickHouseReader,
        marks=(b'"SpanAttributes"',),
        title="The Collector's ClickHouse table otel_traces as JSONEachRow or FORMAT JSON",
        recognised_by="rows with TraceId and SpanId, or an answer whose meta names them",
        is_splittable=True,
    ),
    Format(
        "phoenix",
        is_phoenix,
        PhoenixReader,
        marks=(b'"context.trace_id"',),
        title="Arize Phoenix: dataframes of spans as JSON, answers of the REST API",
        recognised_by="rows or columns with context.trace_id; spans with a context, a span_kind and attributes",
        cannot_tell=(Gap.KINDS, Gap.PROCESSES, Gap.SCOPES, Gap.LINKS),
        is_splittable=True,
    ),
    Format(
        "parquet",
        _never,
        ParquetReader,
        is_framed_as=is_parquet,
        records=parquet_records,
        title="Parquet: otel_traces, Phoenix dataframes, LangSmith's bulk export, Langfuse's blob export",
        recognised_by="a file that begins with PAR1, and the columns in it",
    ),
    Format(
        "duckdb",
        _never,
        ClickHouseParquetReader,
        is_framed_as=is_duckdb,
        records=duckdb_records,
        title="The table otel_traces, or one like it, in a DuckDB database: duckdb:///file.db?table=otel_traces",
        recognised_by="a DuckDB database",
    ),
    Format(
        "langfuse",
        is_langfuse,
        LangfuseReader,
        marks=(b'"parentObservationId"', b'"parent_observation_id"'),
        title="Langfuse: downloads of the UI, answers of the API, observations and traces of the blob export",
        recognised_by="observations with a trace id, a type and a parentObservationId; trace records with a session",
        cannot_tell=(Gap.KINDS, Gap.PROCESSES, Gap.LINKS, Gap.EVENTS, Gap.TENANT_OF_SPANS, Gap.TIME_OF_DAY),
        is_splittable=True,
    ),
    Format(
        "langsmith",
        is_langsmith,
        LangSmithReader,
        marks=(b'"dotted_order"',),
        title="LangSmith runs: one a line, a list, an answer of the API",
        recognised_by="runs with a run_type and a trace_id, parent_run_id or dotted_order",
        cannot_tell=(
            Gap.KINDS,
            Gap.PROCESSES,
            Gap.SCOPES,
            Gap.LINKS,
            Gap.EVENTS,
            Gap.TENANT_OF_SPANS,
            Gap.TIME_OF_DAY,
        ),
        is_splittable=True,
    ),
    Format(
        "jaeger",
        is_jaeger,
        JaegerReader,
        marks=(b'"traceID"',),
        title="Jaeger JSON: answers of the query API, downloads of the UI, lists of spans",
        recognised_by="spans with traceID and spanID",
        cannot_tell=(Gap.TIME_OF_DAY,),
        is_splittable=True,
    ),
    Format(
        "zipkin",
        is_zipkin,
        ZipkinReader,
        marks=(b'"localEndpoint"',),
        title="Zipkin v2 JSON: lists of spans or of traces, or one span a line",
        recognised_by="spans with traceId, id and localEndpoint, or a timestamp that is a number",
        cannot_tell=(Gap.LINKS, Gap.RESOURCES, Gap.TIME_OF_DAY),
        is_splittable=True,
    ),
    Format(
        "python-console",
        is_console,
        ConsoleReader,
        is_framed_as=is_console_head,
        title="Output of OpenTelemetry's console exporter for Python, other output between the spans included",
        recognised_by="objects whose context has a trace_id with 0x",
        cannot_tell=(Gap.SCOPES, Gap.TIME_OF_DAY),
    ),
    Format(
        "javascript-console",
        _never,
        ConsoleReader,
        is_framed_as=is_javascript_console_head,
        records=refuse_javascript,
        title="Output of OpenTelemetry's console exporter for JavaScript: refused, it is not JSON",
        recognised_by="objects without quotes that have a traceId",
    ),
    Format(
        "datadog-llmobs",
        is_llmobs,
        LlmObsReader,
        marks=(b'"start_ns"',),
        title="Datadog LLM Observability spans: answers of the export API, intake requests, one span a line",
        recognised_by="spans with span_id, trace_id and start_ns",
        cannot_tell=(Gap.KINDS, Gap.PROCESSES, Gap.SCOPES, Gap.LINKS, Gap.EVENTS),
        is_splittable=True,
    ),
    Format(
        "datadog-apm",
        is_datadog,
        DatadogReader,
        marks=(b'"_dd.p.', b'"_sampling_priority_v1"'),
        title="Datadog APM traces: lists of traces, answers of the span search",
        recognised_by="spans with trace_id, span_id, start and meta or metrics",
        cannot_tell=(Gap.EVENTS,),
        is_splittable=True,
    ),
    Format(
        "mlflow",
        is_mlflow,
        MlflowReader,
        marks=(b'"mlflow.trace_schema.version"', b'"mlflow.traceName"'),
        title="MLflow traces as JSON, versions 2 and 3",
        recognised_by="an object with info and data.spans",
        cannot_tell=(Gap.KINDS, Gap.PROCESSES),
        is_splittable=True,
    ),
    Format(
        "xray",
        is_xray,
        XRayReader,
        marks=(b'"Document"', b'"subsegments"'),
        title="AWS X-Ray: segments, the daemon's datagrams, answers of BatchGetTraces",
        recognised_by="segments with trace_id, id, name and start_time, or objects with Traces or Segments",
        cannot_tell=(Gap.SCOPES, Gap.EVENTS, Gap.TIME_OF_DAY),
    ),
    *(
        Format(
            entry.name,
            entry.recognises,
            entry.reader,
            marks=entry.marks,
            is_framed_as=has_columns(*entry.columns) if entry.columns else None,
            records=_refusal(*entry.refused) if entry.refused else csv_records if entry.columns else Opened.records,
            title=entry.title,
            recognised_by=entry.recognised_by,
            cannot_tell=(Gap.PATHS,) if entry.shows_callers else (Gap.PATHS, Gap.CALLERS),
            cap=entry.cap,
            caution=entry.caution,
            is_splittable=entry.is_splittable,
        )
        for entry in ROW_FORMATS
    ),
)
REFUSED = (
    (
        {"startTime", "spend", "users", "models"},
        "LiteLLM's daily summary holds no calls",
        "export rows: /spend/logs?summarize=false",
    ),
    ({"TraceId", "Start", "End"}, "the time index of otel_traces holds no spans", "export the table otel_traces"),
    ({"group_by_day", "teams"}, "a LiteLLM spend report holds no calls", "export rows: /spend/logs/v2"),
    (
        {"Gateway", "Provider", "Model", "StatusCode"},
        "Cloudflare's Logpush records hold no tokens that can be read: they are encrypted",
        "export from the logs API of the gateway",
    ),
    (
        {"model_permaslug", "byok_usage_inference", "requests"},
        "OpenRouter's activity sums the calls of a day and holds none",
        "collect generation records by their ids",
    ),
    (
        {"start_time", "end_time", "results"},
        "a usage or cost report of OpenAI sums many calls and holds none",
        "audit what made the calls: traces, a gateway's log, batch files",
    ),
    (
        {"starting_at", "ending_at", "results"},
        "a usage or cost report of Anthropic sums many calls and holds none",
        "audit what made the calls: traces, a gateway's log, batch files",
    ),
)
"""What is recognised and holds no calls: its keys, what it is, what to export instead."""
