"""LangSmith runs: JSON lines, lists, answers of ``/runs/query``, and rows of the bulk export in Parquet.

Field meanings: ``schemas.Run`` of the langsmith SDK 0.14. Every run is a span; runs of type ``llm`` and
``embedding`` are calls, all others repeat the sums of what lies below them. A child run does not always repeat the
metadata of its root: the root run stands for LangSmith's record of the trace. The top-level ``session_id`` is the
tracing project and nobody's session; times have no zone and are UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, count_of, flag_of, text_of
from auditor.load.foreign_ids import SPAN_BYTES, TRACE_BYTES, KnownIds
from auditor.load.meanings import CACHED_MEANINGS
from auditor.load.metadata_objects import KnownObjects, MetadataObjects, entries_of
from auditor.load.moments import iso_columns
from auditor.load.otlp_spans import Group
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, JSON_VALUES, UNDECODABLE, decode_json
from auditor.load.plain_values import cost_of, object_of, raw_of
from auditor.load.row_lines import Place, WaitingRows
from auditor.load.sources import Lines
from auditor.load.span_writer import SpanWriter, held, opens_list, plain_reason
from auditor.model.spans import TRACE_RECORD

BILLABLE = frozenset({"llm", "embedding"})
SCOPE = "langsmith"
CACHED_KINDS = 256
TEXTS = ("id", "name", "run_type", "start_time", "end_time", "status", "trace_id", "dotted_order", "parent_run_id")
"""Fields that have to be texts."""
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

    metadata: msgspec.Raw = ABSENT
    invocation_params: Parameters | None = None


class Run(msgspec.Struct, gc=False):
    """The fields of a run that an audit needs; inputs and most of the outputs are skipped."""

    id: str | None = None
    name: str | None = None
    run_type: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    status: str | None = None
    error: msgspec.Raw = ABSENT
    trace_id: str | None = None
    dotted_order: str | None = None
    parent_run_id: str | None = None
    extra: Extra | str | None = None
    outputs: msgspec.Raw = ABSENT
    tags: msgspec.Raw = ABSENT
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


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
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


class Said(NamedTuple):
    """What the metadata of a run says."""

    number: int
    """Of what is left of it when the ids are taken out."""
    attributes: list[KeyValue]
    has_ids: bool


class LangSmithReader:
    """Reads runs into a ``BatchBuilder``."""

    takes_lines = True

    def __init__(self, builder: BatchBuilder) -> None:
        self._writer = SpanWriter(builder, values=JSON_VALUES)
        self._waiting = WaitingRows(self._writer, self._walked)
        self._resource = builder.resource(())
        self._metadata = MetadataObjects(builder.lexicon, "langsmith.metadata")
        self._said = KnownObjects(self._read_metadata, lambda said: not said.has_ids)
        self._left: dict[bytes, int] = {}
        self._numbers = count()
        self._kinds: dict[str, KeyValue] = {}
        self._span_ids = KnownIds(SPAN_BYTES)
        self._trace_ids = KnownIds(TRACE_BYTES)

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._waiting.end()
        self._writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        if isinstance(record, bytes):
            try:
                run = _run.decode(record)
                if _is_run(run):
                    self._writer.builder.records += 1
                    self._waiting.add(run, line, byte)
                    return
            except msgspec.DecodeError:
                pass
        self._waiting.end()
        with self._writer.record(record, line, byte):
            for row in self._rows(record):
                try:
                    run = _run_of(row)
                except msgspec.ValidationError as error:
                    self._writer.reject(plain_reason(error))
                    continue
                if _is_whole(run):
                    self._waiting.add(run, line, byte)
                else:
                    self._writer.reject("a run without an id, a trace or a type")
            self._waiting.end()

    def read_lines(self, lines: Lines) -> Collection[int]:
        """Read lines of one run each; says by number which of them take a closer look."""
        return self._waiting.take(lines, _run, _is_run)

    def _rows(self, record: bytes | memoryview) -> list[Any]:
        if opens_list(record):
            return _rows.decode(record)
        try:
            runs = _page.decode(record).runs
        except msgspec.ValidationError:
            runs = msgspec.UNSET
        return [record] if runs is msgspec.UNSET else runs

    def _walked(self, runs: Sequence[Run], places: Sequence[Place]) -> Iterator[Group]:
        """Spans whose meaning is not known; the others become rows."""
        begin_record, meanings, builder = self._writer.begin_record, self._writer.meanings, self._writer.builder
        starts, ends = iso_columns([run.start_time for run in runs], [run.end_time for run in runs])
        columns = zip(
            places,
            runs,
            self._span_ids.column([run.id for run in runs]),
            self._trace_ids.column([run.trace_id for run in runs]),
            self._span_ids.column([run.parent_run_id for run in runs]),
            starts,
            ends,
            strict=True,
        )
        for (line, byte), run, own, trace, parent, start, end in columns:
            kind = _kind_of(run.run_type)
            is_call = kind in BILLABLE
            extra = run.extra if isinstance(run.extra, Extra) else _extra_of(run.extra)
            error, tags = run.error, run.tags
            has_failed = (error is not ABSENT and bytes(error) not in _NO_ERROR) or _is_error(run.status)
            has_tags = tags is not ABSENT and bytes(tags) not in _NO_TAGS
            scope = TRACE_RECORD if not parent and not is_call else SCOPE
            if is_call:
                metadata = entries_of(extra.metadata)
                begin_record(line, byte)
                _, attributes = self._metadata.read(metadata)
                attributes.append(self._kind(kind))
                if has_tags:
                    attributes.append(KeyValue("langsmith.span.tags", tags))
                attributes += _call(run, metadata, extra.invocation_params or _NO_PARAMETERS)
                status = _STATUS[has_failed]
                span = Span(trace, own, parent, 0, text_of(run.name), 0, start, end, attributes, ABSENT, ABSENT, status)
                yield self._resource, scope, (span,)
                continue
            said = self._said[bytes(extra.metadata)]
            asked = None
            if not (has_tags or said.has_ids) and trace and own:
                asked = scope, kind, said.number, has_failed
                may_be_sampled = own <= builder.sample_mark
                if meanings.add_known(asked, trace, own, parent or NO_PARENT, start, end, may_be_sampled):
                    continue
            begin_record(line, byte)
            attributes = [*said.attributes, self._kind(kind)]
            if has_tags:
                attributes.append(KeyValue("langsmith.span.tags", tags))
            status = _STATUS[has_failed]
            span = Span(trace, own, parent, 0, text_of(run.name), 0, start, end, attributes, ABSENT, ABSENT, status)
            yield from meanings.learned(asked, self._resource, scope, span)

    def _read_metadata(self, raw: bytes) -> Said:
        left, attributes = self._metadata.read(entries_of(raw))
        number = self._left.get(left)
        if number is None:
            if len(self._left) >= CACHED_MEANINGS:
                self._left.clear()
            number = self._left[left] = next(self._numbers)
        return Said(number, attributes, len(attributes) > bool(left))

    def _kind(self, kind: str) -> KeyValue:
        """The type of a run as an attribute; there are few."""
        found = self._kinds.get(kind)
        if found is None:
            found = KeyValue("langsmith.span.kind", raw_of(kind))
            if len(self._kinds) < CACHED_KINDS:
                self._kinds[kind] = found
        return found


def _is_run(run: Run) -> bool:
    """Say whether a record is a run by itself, and a whole one."""
    return run.runs is ABSENT and _is_whole(run)


def _is_whole(run: Run) -> bool:
    """Say whether a run has an id, a trace and a type; those of its trace and parent may stand in its order."""
    if not run.parent_run_id or not run.trace_id:
        path = [segment[-UUID_LENGTH:] for segment in text_of(run.dotted_order).split(".") if segment]
        run.parent_run_id = run.parent_run_id or (path[-2] if len(path) > 1 else "")
        run.trace_id = run.trace_id or (path[0] if path else "") or ("" if run.parent_run_id else run.id)
    return bool(run.id and run.trace_id and run.run_type)


@lru_cache(maxsize=64)
def _kind_of(kind: str | None) -> str:
    return text_of(kind).lower()


@lru_cache(maxsize=64)
def _is_error(status: str | None) -> bool:
    return text_of(status).lower() == "error"


def _run_of(row: bytes | memoryview | msgspec.Raw) -> Run:
    """Decode a run; what should be a text or an object, and is not, is brought into shape."""
    try:
        return _run.decode(row)
    except msgspec.ValidationError:
        run = {key: decode_json(bytes(raw)) for key, raw in _object.decode(row).items()}
        run |= {key: text_of(run[key]) for key in TEXTS if key in run}
        run["extra"] = _plain(object_of(run.get("extra")))
        return _run.decode(msgspec.json.encode(run))


def _extra_of(text: str | None) -> Extra:
    """What is known of a run, where it is written as text."""
    if text is None or text[:1] != "{":
        return Extra()
    try:
        return _extra.decode(text.encode("utf-8", "surrogatepass"))
    except msgspec.ValidationError:
        return _extra.decode(msgspec.json.encode(_plain(object_of(text))))
    except UNDECODABLE:
        return Extra()


def _plain(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that are read, as objects."""
    return {key: object_of(extra.get(key)) for key in ("metadata", "invocation_params")}


def _call(run: Run, metadata: Mapping[str, msgspec.Raw], parameters: Parameters) -> list[KeyValue]:
    """What a run says of its call."""
    said: list[tuple[str, Any]] = [
        ("langsmith.metadata.ls_provider", _text(metadata.get("ls_provider"))),
        (
            "langsmith.metadata.ls_model_name",
            _text(metadata.get("ls_model_name")) or text_of(parameters.model) or text_of(parameters.model_name),
        ),
        ("langsmith.run.service_tier", text_of(parameters.service_tier)),
        ("langsmith.run.total_cost", cost_of(run.total_cost) if run.total_cost else None),
    ]
    if run.first_token_time is not None or flag_of(parameters.stream):
        said.append(("langsmith.request.streaming", True))
        said.append(("langsmith.run.first_token_time", text_of(run.first_token_time)))
    counts = _usage(run)
    # LangSmith writes zeros where it knows nothing.
    if counts[_INPUT] or counts[_OUTPUT]:
        said += counts.items()
    return [KeyValue(key, raw_of(value)) for key, value in said if value is not None and value != ""]


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


_NO_PARAMETERS = Parameters()
_STATUS = (Status(), Status(code=2))
_NO_ERROR = (b"null", b"", b'""')
_NO_TAGS = (b"[]", b"null", b"", b'""', b"{}")
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
