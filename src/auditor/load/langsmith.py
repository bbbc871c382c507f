"""LangSmith runs: JSON lines, lists, answers of ``/runs/query``, and rows of the bulk export in Parquet.

Field meanings: ``schemas.Run`` of the langsmith SDK 0.14. Every run is a span; runs of type ``llm`` and
``embedding`` are calls, all others repeat the sums of what lies below them. A child run does not always repeat the
metadata of its root: the root run stands for LangSmith's record of the trace. The top-level ``session_id`` is the
tracing project and nobody's session; times have no zone and are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from auditor.load.builder import BatchBuilder, count_of, flag_of, text_of
from auditor.load.foreign_ids import SPAN_BYTES, TRACE_BYTES, id_of
from auditor.load.moments import iso_nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import JSON_VALUES, UNDECODABLE
from auditor.load.plain_values import cost_of, is_short, object_of, raw_of
from auditor.load.span_writer import SpanWriter, held, opens_list, plain_reason
from auditor.model.spans import TRACE_RECORD

BILLABLE = frozenset({"llm", "embedding"})
SCOPE = "langsmith"
UUID_LENGTH = 36
"""What a segment of ``dotted_order`` ends in, behind its time."""


class Run(msgspec.Struct, gc=False):
    """The fields of a run that an audit needs; inputs and most of the outputs are skipped."""

    id: Any = None
    name: Any = None
    run_type: Any = None
    start_time: Any = None
    end_time: Any = None
    status: Any = None
    error: msgspec.Raw = msgspec.Raw(b"")
    trace_id: Any = None
    dotted_order: Any = None
    parent_run_id: Any = None
    extra: Any = None
    outputs: msgspec.Raw = msgspec.Raw(b"")
    tags: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    prompt_token_details: Any = None
    completion_token_details: Any = None
    total_cost: Any = None
    first_token_time: Any = None


class Outputs(msgspec.Struct, gc=False):
    """Where an answer may hold its usage."""

    usage_metadata: Any = None
    llm_output: Any = None


class Page(msgspec.Struct, gc=False):
    """An answer of the API."""

    runs: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


_run = msgspec.json.Decoder(Run)
_outputs = msgspec.json.Decoder(Outputs)
_page = msgspec.json.Decoder(Page)
_rows = msgspec.json.Decoder(list[msgspec.Raw])


def is_langsmith(value: Any) -> bool:
    """Say whether the first JSON value of an input is a run, a list of runs, or an answer with runs."""
    if isinstance(value, dict) and isinstance(value.get("runs"), list):
        value = value["runs"]
    if isinstance(value, list):
        value = value[0] if value else None
    return (
        isinstance(value, dict)
        and {"id", "run_type"} <= value.keys()
        and bool(value.keys() & {"dotted_order", "trace_id", "parent_run_id"})
    )


class LangSmithReader:
    """Reads runs into a ``BatchBuilder``."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._writer = SpanWriter(builder, values=JSON_VALUES)
        self._resource = builder.resource(())
        self._metadata_fields = builder.lexicon.metadata_fields

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        with self._writer.record(record, line, byte):
            for row in self._rows(record):
                try:
                    self._add(_run.decode(row))
                except msgspec.ValidationError as error:
                    self._writer.reject(plain_reason(error))

    def _rows(self, record: bytes | memoryview) -> list[Any]:
        if opens_list(record):
            return _rows.decode(record)
        try:
            runs = _page.decode(record).runs
        except msgspec.ValidationError:
            runs = msgspec.UNSET
        return [record] if runs is msgspec.UNSET else runs

    def _add(self, run: Run) -> None:
        run_id = text_of(run.id)
        kind = text_of(run.run_type).lower()
        path = [segment[-UUID_LENGTH:] for segment in text_of(run.dotted_order).split(".") if segment]
        parent = text_of(run.parent_run_id) or (path[-2] if len(path) > 1 else "")
        trace = text_of(run.trace_id) or (path[0] if path else "") or ("" if parent else run_id)
        if not run_id or not trace or not kind:
            self._writer.reject("a run without an id, a trace or a type")
            return
        is_call = kind in BILLABLE
        extra = object_of(run.extra)
        metadata = object_of(extra.get("metadata"))
        facts: dict[str, Any] = {
            "langsmith.span.kind": kind,
            "langsmith.metadata": self._plain(metadata),
            "langsmith.span.tags": run.tags or None,
        }
        if is_call:
            facts |= _call(run, metadata, object_of(extra.get("invocation_params")))
        failed = text_of(run.status).lower() == "error" or bytes(run.error) not in (b"", b"null", b'""')
        self._writer.add(
            self._resource,
            TRACE_RECORD if not parent and not is_call else SCOPE,
            Span(
                traceId=id_of(trace, TRACE_BYTES),
                spanId=id_of(run_id, SPAN_BYTES),
                parentSpanId=id_of(parent, SPAN_BYTES),
                name=text_of(run.name),
                startTimeUnixNano=iso_nanoseconds(run.start_time),
                endTimeUnixNano=iso_nanoseconds(run.end_time),
                attributes=[KeyValue(key, raw_of(value)) for key, value in facts.items() if value not in (None, "")],
                status=Status(2 if failed else 0),
            ),
        )

    def _plain(self, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
        """Entries that may name somebody; everything longer or deeper stays behind."""
        known = self._metadata_fields
        return {key: value for key, value in metadata.items() if key.lower() in known and is_short(value)} or None


def _call(run: Run, metadata: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    counts = {key: value for key, value in _usage(run).items() if value is not None}
    is_streamed = run.first_token_time is not None or flag_of(parameters.get("stream")) or None
    return {
        "langsmith.metadata.ls_provider": text_of(metadata.get("ls_provider")),
        "langsmith.metadata.ls_model_name": text_of(metadata.get("ls_model_name"))
        or text_of(parameters.get("model"))
        or text_of(parameters.get("model_name")),
        "langsmith.request.streaming": is_streamed,
        "langsmith.run.first_token_time": text_of(run.first_token_time),
        "langsmith.run.service_tier": text_of(parameters.get("service_tier")),
        "langsmith.run.total_cost": cost_of(run.total_cost),
        # LangSmith writes zeros where it knows nothing.
        **(counts if counts.get(_INPUT) or counts.get(_OUTPUT) else {}),
    }


def _usage(run: Run) -> dict[str, int | None]:
    """Counts by attribute: those of the run, or of its answer where the run has none."""
    given, output, total = count_of(run.prompt_tokens), count_of(run.completion_tokens), count_of(run.total_tokens)
    before, after = object_of(run.prompt_token_details), object_of(run.completion_token_details)
    if not given and not output:
        usage = _usage_of_outputs(run.outputs)
        given = count_of(usage.get("input_tokens", usage.get("prompt_tokens")))
        output = count_of(usage.get("output_tokens", usage.get("completion_tokens")))
        total = count_of(usage.get("total_tokens"))
        before = object_of(usage.get("input_token_details", usage.get("prompt_tokens_details")))
        after = object_of(usage.get("output_token_details", usage.get("completion_tokens_details")))
    one_hour = count_of(before.get("ephemeral_1h_input_tokens"))
    written = count_of(before.get("cache_creation"))
    short = count_of(before.get("ephemeral_5m_input_tokens"))
    return {
        _INPUT: given,
        _OUTPUT: output,
        "langsmith.run.total_tokens": total,
        "langsmith.run.cache_read": count_of(before.get("cache_read", before.get("cached_tokens"))),
        # The sum of both lifetimes, or each by itself.
        "langsmith.run.cache_creation": short if short is not None else written if not one_hour else None,
        "langsmith.run.cache_creation_1h": one_hour,
        "langsmith.run.reasoning": count_of(after.get("reasoning", after.get("reasoning_tokens"))),
    }


_INPUT = "langsmith.run.prompt_tokens"
_OUTPUT = "langsmith.run.completion_tokens"


def _usage_of_outputs(raw: msgspec.Raw) -> dict[str, Any]:
    data = bytes(raw)
    try:
        if data[:1] == b'"':
            data = orjson.loads(data).encode()
        outputs = _outputs.decode(data)
    except (msgspec.DecodeError, *UNDECODABLE):
        return {}
    return object_of(outputs.usage_metadata) or object_of(object_of(outputs.llm_output).get("token_usage"))
