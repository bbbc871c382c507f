"""LangSmith runs: JSON lines, lists, answers of ``/runs/query``, and rows of the bulk export in Parquet.

Field meanings: ``schemas.Run`` of the langsmith SDK 0.14. Every run is a span; runs of type ``llm`` and
``embedding`` are calls, all others repeat the sums of what lies below them. A child run does not always repeat the
metadata of its root: the root run stands for LangSmith's record of the trace. The top-level ``session_id`` is the
tracing project and nobody's session; times have no zone and are UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any

import msgspec
import orjson

from auditor.load.builder import BatchBuilder, count_of, flag_of, text_of
from auditor.load.foreign_ids import SPAN_BYTES, TRACE_BYTES, KnownIds
from auditor.load.metadata_objects import MetadataObjects
from auditor.load.moments import iso_nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, JSON_VALUES, UNDECODABLE, decode_json
from auditor.load.plain_values import cost_of, object_of, raw_of
from auditor.load.row_lines import take_rows
from auditor.load.sources import Lines
from auditor.load.span_writer import SpanWriter, held, opens_list, plain_reason
from auditor.model.spans import TRACE_RECORD

BILLABLE = frozenset({"llm", "embedding"})
SCOPE = "langsmith"
CACHED_KINDS = 256
UUID_LENGTH = 36
"""What a segment of ``dotted_order`` ends in, behind its time."""


class Parameters(msgspec.Struct, gc=False):
    """What the provider was asked for, besides the prompt."""

    model: Any = None
    model_name: Any = None
    stream: Any = None
    service_tier: Any = None


class Extra(msgspec.Struct, gc=False):
    """What is known of a run besides its fields; the runtime is skipped."""

    metadata: dict[str, msgspec.Raw] | None = None
    invocation_params: Parameters | None = None


class Run(msgspec.Struct, gc=False):
    """The fields of a run that an audit needs; inputs and most of the outputs are skipped."""

    id: Any = None
    name: Any = None
    run_type: Any = None
    start_time: Any = None
    end_time: Any = None
    status: Any = None
    error: msgspec.Raw = ABSENT
    trace_id: Any = None
    dotted_order: Any = None
    parent_run_id: Any = None
    extra: Extra | str | None = None
    outputs: msgspec.Raw = ABSENT
    tags: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    prompt_token_details: Any = None
    completion_token_details: Any = None
    total_cost: Any = None
    first_token_time: Any = None
    runs: msgspec.Raw = ABSENT
    """It is no run, but an answer of the API."""


class Outputs(msgspec.Struct, gc=False):
    """Where an answer may hold its usage."""

    usage_metadata: Any = None
    llm_output: Any = None


class Page(msgspec.Struct, gc=False):
    """An answer of the API."""

    runs: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


_value = msgspec.json.Decoder()
_run = msgspec.json.Decoder(Run)
_extra = msgspec.json.Decoder(Extra)
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


Read = tuple[str, Span, Hashable]
"""Scope and span, and what the meaning of the span depends on, as ``SpanWriter.add_alone`` takes it."""


class LangSmithReader:
    """Reads runs into a ``BatchBuilder``."""

    takes_lines = True

    def __init__(self, builder: BatchBuilder) -> None:
        self._writer = SpanWriter(builder, values=JSON_VALUES)
        self._resource = builder.resource(())
        self._metadata = MetadataObjects(builder.lexicon, "langsmith.metadata")
        self._kinds: dict[str, KeyValue] = {}
        self._span_ids = KnownIds(SPAN_BYTES)
        self._trace_ids = KnownIds(TRACE_BYTES)

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        if isinstance(record, bytes):
            try:
                if self._is_added(_run.decode(record), len(record), line, byte):
                    return
            except msgspec.ValidationError:
                pass
        with self._writer.record(record, line, byte):
            for row in self._rows(record):
                try:
                    read = self._span(_run_of(row))
                except msgspec.ValidationError as error:
                    self._writer.reject(plain_reason(error))
                    continue
                if read is None:
                    self._writer.reject("a run without an id, a trace or a type")
                else:
                    scope, span, _ = read
                    self._writer.add(self._resource, scope, span)

    def read_lines(self, lines: Lines) -> Collection[int]:
        """Read lines of one run each; says by number which of them take a closer look."""
        return take_rows(lines, _run, self._is_added, self._writer)

    def _is_added(self, run: Run, size: int, line: int, byte: int) -> bool:
        """Take over a run from a record of so many bytes; leaves one that is odd, and what is no run."""
        if len(run.runs) or (read := self._span(run)) is None:
            return False
        self._writer.add_alone(size, line, byte, self._resource, *read)
        return True

    def _rows(self, record: bytes | memoryview) -> list[Any]:
        if opens_list(record):
            return _rows.decode(record)
        try:
            runs = _page.decode(record).runs
        except msgspec.ValidationError:
            runs = msgspec.UNSET
        return [record] if runs is msgspec.UNSET else runs

    def _span(self, run: Run) -> Read | None:
        """Scope and span of a run, and what its meaning depends on; ``None`` if it lacks an id, a trace or a type."""
        run_id = text_of(run.id)
        kind = text_of(run.run_type).lower()
        parent, trace = text_of(run.parent_run_id), text_of(run.trace_id)
        if not parent or not trace:
            path = [segment[-UUID_LENGTH:] for segment in text_of(run.dotted_order).split(".") if segment]
            parent = parent or (path[-2] if len(path) > 1 else "")
            trace = trace or (path[0] if path else "") or ("" if parent else run_id)
        if not run_id or not trace or not kind:
            return None
        is_call = kind in BILLABLE
        extra = run.extra if isinstance(run.extra, Extra) else _extra_of(run.extra)
        failed = bytes(run.error) not in _NO_ERROR or text_of(run.status).lower() == "error"
        left, attributes = self._metadata.read(extra.metadata) if extra.metadata else (b"", [])
        asked = None if is_call or run.tags or len(attributes) > bool(left) else (kind, left, failed)
        attributes.append(self._kind(kind))
        if run.tags:
            attributes.append(KeyValue("langsmith.span.tags", raw_of(run.tags)))
        if is_call:
            attributes += [
                KeyValue(key, raw_of(value)) for key, value in _call(run, extra).items() if value not in (None, "")
            ]
        span = Span(
            traceId=self._trace_ids[trace],
            spanId=self._span_ids[run_id],
            parentSpanId=self._span_ids[parent] if parent else "",
            name=text_of(run.name),
            startTimeUnixNano=iso_nanoseconds(run.start_time),
            endTimeUnixNano=iso_nanoseconds(run.end_time),
            attributes=attributes,
            status=_STATUS[failed],
        )
        may_be_sampled = self._writer.uses(span.spanId) is self._writer.told
        return TRACE_RECORD if not parent and not is_call else SCOPE, span, None if may_be_sampled else asked

    def _kind(self, kind: str) -> KeyValue:
        """The type of a run as an attribute; there are few."""
        found = self._kinds.get(kind)
        if found is None:
            found = KeyValue("langsmith.span.kind", raw_of(kind))
            if len(self._kinds) < CACHED_KINDS:
                self._kinds[kind] = found
        return found


def _run_of(row: bytes | memoryview | msgspec.Raw) -> Run:
    """Decode a run; objects that are written as text, or are none, are brought into shape."""
    try:
        return _run.decode(row)
    except msgspec.ValidationError:
        run = _value.decode(row)
        if not isinstance(run, dict):
            raise
        run["extra"] = _plain(object_of(run.get("extra")))
        return _run.decode(msgspec.json.encode(run))


def _extra_of(text: str | None) -> Extra:
    """What is known of a run, where it is written as text."""
    if text is None or text[:1] != "{":
        return Extra()
    try:
        return _extra.decode(text)
    except msgspec.ValidationError:
        return _extra.decode(msgspec.json.encode(_plain(object_of(text))))
    except UNDECODABLE:
        return Extra()


def _plain(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that are read, as objects."""
    return {key: object_of(extra.get(key)) for key in ("metadata", "invocation_params")}


def _call(run: Run, extra: Extra) -> dict[str, Any]:
    metadata, parameters = extra.metadata or {}, extra.invocation_params or Parameters()
    counts = {key: value for key, value in _usage(run).items() if value is not None}
    is_streamed = run.first_token_time is not None or flag_of(parameters.stream) or None
    return {
        "langsmith.metadata.ls_provider": _text(metadata.get("ls_provider")),
        "langsmith.metadata.ls_model_name": _text(metadata.get("ls_model_name"))
        or text_of(parameters.model)
        or text_of(parameters.model_name),
        "langsmith.request.streaming": is_streamed,
        "langsmith.run.first_token_time": text_of(run.first_token_time),
        "langsmith.run.service_tier": text_of(parameters.service_tier),
        "langsmith.run.total_cost": cost_of(run.total_cost),
        # LangSmith writes zeros where it knows nothing.
        **(counts if counts.get(_INPUT) or counts.get(_OUTPUT) else {}),
    }


def _text(raw: msgspec.Raw | None) -> str:
    return "" if raw is None else text_of(decode_json(bytes(raw)))


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


_STATUS = (Status(), Status(code=2))
_NO_ERROR = (b"null", b"", b'""')
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
