"""Langfuse: downloads of the UI, answers of its API, and the files of its blob storage export.

Field meanings: ``fern/apis/server/definition/commons.yml`` and ``packages/shared/src/domain`` of langfuse/langfuse
(outside ``ee/``). Every observation is a span, every trace record too: a span of its own whose tenant, user and
session hold for the whole trace. It meets the observations by the trace's id, so that the two files of a blob
export may come in any order. Only generations and embeddings are calls.

Usage stands in buckets that exclude each other. Where the instrumentation's own attributes came along and say
nothing of usage, the buckets are Langfuse's estimate by its own tokenizer and are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import count
from typing import Any, Literal, NamedTuple

import msgspec

from auditor.load.builder import CALL_FROM, NO_PARENT, PRESENCE_BELOW, BatchBuilder, ResourceFacts, count_of, text_of
from auditor.load.foreign_ids import SPAN_BYTES, TRACE_BYTES, KnownIds, record_id
from auditor.load.key_sets import KeySets, Picked, picks
from auditor.load.meanings import CACHED_MEANINGS
from auditor.load.metadata_objects import KnownObjects, MetadataObjects, entries_of
from auditor.load.moments import iso_columns, iso_nanoseconds
from auditor.load.otlp_spans import Group
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, JSON_VALUES, UNDECODABLE, decode_json
from auditor.load.plain_values import READ_AT_ONCE, cost_of, object_of, raw_of
from auditor.load.row_lines import Place, WaitingRows
from auditor.load.sources import Lines
from auditor.load.span_writer import NOTHING, SpanWriter, held, opens_list, plain_reason
from auditor.model.lexicon import RANKS, USAGE_FIELDS, Field
from auditor.model.spans import TRACE_RECORD

GENERATIONS = frozenset({"GENERATION", "EMBEDDING"})
DEFAULT_ENVIRONMENT = "default"
"""What Langfuse writes where none was set."""
WITHOUT_USAGE = (
    "a generation without usage fields: export with fields=core,basic,time,model,usage,metadata,trace_context"
)
"""The API leaves out usage and metadata unless it is asked for them; then an empty usage would say nothing."""
WITHOUT_IDS = "an observation without an id, a trace or a type"
UNREADABLE = "neither an observation nor a trace of Langfuse"
CACHED = 1 << 12
"""Resources and scopes that are remembered."""
CACHED_BYTES = 4096
"""Longest of them."""
TEXTS = (
    "id", "trace_id", "parent_observation_id", "type", "level", "environment", "user_id", "session_id",
)  # fmt: skip
"""Fields that have to be texts."""


class Observation(msgspec.Struct, gc=False):
    """The fields of an observation that an audit needs, in the spelling of the blob export; prompts are skipped."""

    id: str | None = None
    trace_id: str | None = None
    parent_observation_id: str | None = None
    type: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    completion_start_time: Any = None
    time_to_first_token: Any = None
    name: str | None = None
    level: str | None = None
    environment: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    tags: msgspec.Raw = ABSENT
    trace_tags: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT
    model: str | None = None
    provided_model_name: str | None = None
    usage_details: msgspec.Raw = ABSENT
    provided_usage_details: msgspec.Raw = ABSENT
    total_cost: Any = None
    usage: msgspec.Raw = ABSENT
    trace: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    """It is no observation, but a download or an answer of the API."""


class Trace(msgspec.Struct, gc=False):
    """The fields of a trace record that an audit needs."""

    id: Any = None
    timestamp: Any = None
    name: Any = None
    user_id: Any = None
    session_id: Any = None
    environment: Any = None
    tags: Any = None
    metadata: msgspec.Raw = ABSENT


class Parts(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What metadata holds of the span that an observation was made of, where it holds nothing else."""

    attributes: msgspec.Raw = ABSENT
    resourceAttributes: msgspec.Raw = ABSENT  # noqa: N815  # Langfuse's spelling
    scope: msgspec.Raw = ABSENT


class Download(msgspec.Struct, gc=False):
    """What the UI's download button gives."""

    trace: msgspec.Raw
    observations: list[msgspec.Raw]


class Page(msgspec.Struct, gc=False):
    """An answer of the API, row by row."""

    data: list[msgspec.Raw]


class Keys(msgspec.Struct, gc=False):
    """What tells an observation from a trace, and one spelling from the other."""

    type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    trace_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    traceId: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815  # the API's spelling
    project_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    user_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    trace: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _of_any_type(kind: type[msgspec.Struct], rename: Literal["camel"] | None = None) -> msgspec.json.Decoder[Any]:
    """A decoder of the same fields, in this spelling, whatever their types: other programs write some as numbers."""
    fields = [
        (field.name, msgspec.Raw if field.type is msgspec.Raw else Any, field.default)
        for field in msgspec.structs.fields(kind)
    ]
    return msgspec.json.Decoder(msgspec.defstruct(kind.__name__, fields, rename=rename, gc=False))


_keys = msgspec.json.Decoder(Keys)
_download = msgspec.json.Decoder(Download)
_page = msgspec.json.Decoder(Page)
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_parts = msgspec.json.Decoder(Parts)
_observation = msgspec.json.Decoder(Observation)
_any_observation = _of_any_type(Observation)
_api_observation = _of_any_type(Observation, "camel")
_trace = msgspec.json.Decoder(Trace)
_api_trace = _of_any_type(Trace, "camel")


def is_langfuse(value: Any) -> bool:
    """Say whether the first JSON value of an input is a download, an answer of the API, or a row of an export."""
    if isinstance(value, list):
        return bool(value) and _is_row(value[0])
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("trace"), dict) and isinstance(value.get("observations"), list):
        return True
    data = value.get("data")
    return _is_row(data[0]) if isinstance(data, list) and data else _is_row(value)


def _is_row(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    keys = value.keys()
    return (
        {"id", "type", "traceId", "parentObservationId"} <= keys
        or {"id", "type", "trace_id", "parent_observation_id"} <= keys
        or {"id", "timestamp", "userId", "sessionId", "tags"} <= keys
        or {"id", "timestamp", "user_id", "session_id", "tags"} <= keys
    )


class Instrumented(NamedTuple):
    """What one sequence of attribute keys of the span says that an observation was made of."""

    number: int
    keys: list[str]
    values: Picked
    deciding: Picked
    """Takes those of which the value counts, and not only that they are there."""
    keys_of_call: list[str]
    values_of_call: Picked
    repeats: bool
    """None of the values is an id, unless of a call: there are few different ones."""
    has_usage: bool
    is_silent: bool
    """It names the model or the provider, and has no usage."""


class Said(NamedTuple):
    """What the attributes of the span say that an observation was made of."""

    attributes: list[KeyValue]
    """Those that are known, its type left out, which has been decided already."""
    number: int | None
    """Of all that counts here for what the span means; ``None`` where it is hardly ever the same twice."""
    has_usage: bool
    is_silent: bool
    """It is a model call's, and says nothing about usage."""


class LangfuseReader:
    """Reads downloads, answers and rows into a ``BatchBuilder``."""

    takes_lines = True

    def __init__(self, builder: BatchBuilder) -> None:
        self._writer = SpanWriter(builder, values=JSON_VALUES)
        self._codes = builder.lexicon.span_codes
        self._numbers = count()
        self._instrumented = KeySets(self._instrumented_of)
        self._metadata = MetadataObjects(builder.lexicon, "langfuse.observation.metadata")
        self._trace_metadata = MetadataObjects(builder.lexicon, "langfuse.trace.metadata")
        self._resources: dict[bytes, ResourceFacts] = {}
        self._scopes: dict[bytes, str] = {}
        self._types: dict[str, KeyValue] = {}
        self._span_ids = KnownIds(SPAN_BYTES)
        self._trace_ids = KnownIds(TRACE_BYTES)
        self._models: dict[tuple[str, str], list[KeyValue]] = {}
        self._said = KnownObjects(partial(self._original, is_call=False), lambda said: said.number is not None)
        self._told: dict[tuple[int, bytes], int] = {}
        self._waiting = WaitingRows(self._writer, self._walked)

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._waiting.end()
        self._writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        if isinstance(record, bytes):
            try:
                observation = _observation.decode(record)
                if _is_whole(observation):
                    self._writer.builder.records += 1
                    self._waiting.add(observation, line, byte)
                    return
            except msgspec.DecodeError:
                pass
        self._waiting.end()
        with self._writer.record(record, line, byte):
            try:
                if opens_list(record):
                    for row in _rows.decode(record):
                        self._read_row(row, line, byte)
                else:
                    self._read_value(record, line, byte)
            except msgspec.ValidationError as error:
                self._writer.reject(plain_reason(error))
            self._waiting.end()

    def read_lines(self, lines: Lines) -> Collection[int]:
        """Read lines of one observation each; says by number which of them take a closer look."""
        return self._waiting.take(lines, _observation, _is_whole)

    def _read_value(self, record: bytes | memoryview, line: int, byte: int) -> None:
        keys = _keys.decode(record)
        if keys.trace is not msgspec.UNSET:
            download = _download.decode(record)
            trace = _api_trace.decode(download.trace)
            self._add_trace(trace)
            for row in download.observations:
                observation = _api_observation.decode(row)
                observation.user_id = observation.user_id or trace.user_id
                observation.session_id = observation.session_id or trace.session_id
                self._add(observation, line, byte)
        elif keys.data is not msgspec.UNSET:
            for row in _page.decode(record).data:
                self._read_row(row, line, byte)
        else:
            self._add_row(keys, record, line, byte)

    def _read_row(self, row: msgspec.Raw, line: int, byte: int) -> None:
        try:
            self._add_row(_keys.decode(row), row, line, byte)
        except msgspec.ValidationError as error:
            self._writer.reject(plain_reason(error))

    def _add_row(self, keys: Keys, row: bytes | memoryview | msgspec.Raw, line: int, byte: int) -> None:
        if keys.trace_id is not msgspec.UNSET:
            self._add(_any_observation.decode(row), line, byte)
        elif keys.traceId is not msgspec.UNSET:
            self._add(_api_observation.decode(row), line, byte)
        elif keys.type is msgspec.UNSET:
            self._add_trace((_api_trace if keys.user_id is msgspec.UNSET else _trace).decode(row))
        else:
            self._writer.reject(UNREADABLE)

    # -- spans ---------------------------------------------------------------------------------------

    def _add_trace(self, trace: Trace) -> None:
        trace_id = self._trace_ids[text_of(trace.id)]
        if not trace_id:
            self._writer.reject("a trace without an id")
            return
        self._waiting.end()
        metadata = entries_of(trace.metadata)
        original = self._original(bytes(metadata.get("attributes", ABSENT)), is_call=False).attributes
        _, plain = self._trace_metadata.read(metadata)
        start = iso_nanoseconds(trace.timestamp)
        self._writer.add(
            self._resource(bytes(metadata.get("resourceAttributes", ABSENT))),
            TRACE_RECORD,
            Span(
                traceId=trace_id,
                spanId=record_id(trace_id),
                name=text_of(trace.name),
                startTimeUnixNano=start,
                endTimeUnixNano=start,
                attributes=[
                    *plain,
                    *original,
                    *_identities(trace.user_id, trace.session_id, trace.environment, raw_of(trace.tags or None)),
                ],
            ),
        )

    def _add(self, observation: Any, line: int, byte: int) -> None:
        """Take over an observation whose fields are of any type."""
        for field in TEXTS:
            setattr(observation, field, text_of(getattr(observation, field)))
        if reason := _reason_against(observation):
            self._writer.reject(reason)
        else:
            self._waiting.add(observation, line, byte)

    def _walked(self, observations: Sequence[Observation], places: Sequence[Place]) -> Iterator[Group]:
        """Spans whose meaning is not known; the others become rows."""
        begin_record, meanings, builder = self._writer.begin_record, self._writer.meanings, self._writer.builder
        resources, scopes = self._resources, self._scopes
        starts, ends = iso_columns([row.start_time for row in observations], [row.end_time for row in observations])
        columns = zip(
            places,
            observations,
            self._span_ids.column([row.id for row in observations]),
            self._trace_ids.column([row.trace_id for row in observations]),
            self._span_ids.column([row.parent_observation_id for row in observations]),
            starts,
            ends,
            strict=True,
        )
        for (line, byte), row, own, trace, parent, start, end in columns:
            kind = _kind_of(row.type)
            is_call = kind in GENERATIONS
            try:
                parts, left = _parts.decode(row.metadata), b""
                attributes: list[KeyValue] = []
            except UNDECODABLE:
                metadata = entries_of(row.metadata)
                parts = Parts(*[metadata.get(field, ABSENT) for field in Parts.__struct_fields__])
                left, attributes = self._metadata.read(metadata)
            raw = bytes(parts.resourceAttributes)
            resource = resources.get(raw) or self._resource(raw)
            raw = bytes(parts.scope)
            scope = scopes.get(raw) or self._scope(raw)
            raw = bytes(parts.attributes)
            said = self._original(raw, is_call=True) if is_call else self._said[raw]
            level, place = row.level, row.environment
            tags = b"" if row.tags is ABSENT and row.trace_tags is ABSENT else _tags_of(row)
            has_failed = level != "DEFAULT" and text_of(level).upper() == "ERROR"
            is_anonymous = not row.user_id and not row.session_id
            asked = None
            if said.number is not None and is_anonymous and len(attributes) <= bool(left) and trace and own:
                asked = said.number, id(resource), scope, left, kind, has_failed, place, tags
                may_be_sampled = own <= builder.sample_mark
                if meanings.add_known(asked, trace, own, parent or NO_PARENT, start, end, may_be_sampled):
                    continue
            begin_record(line, byte)
            attributes += said.attributes
            if not is_anonymous or tags or place != DEFAULT_ENVIRONMENT:
                attributes += _identities(row.user_id, row.session_id, place, tags)
            if is_call:
                attributes += self._call(row, kind, said)
            else:
                attributes.append(self._type(kind))
            status = _STATUS[has_failed]
            span = Span(trace, own, parent, 0, text_of(row.name), 0, start, end, attributes, ABSENT, ABSENT, status)
            yield from meanings.learned(asked, resource, scope, span)

    def _call(self, row: Observation, kind: str, said: Said) -> list[KeyValue]:
        model = text_of(row.provided_model_name) or text_of(row.model)
        first_token = row.completion_start_time or row.time_to_first_token
        # What came from an instrumentation names the model or the provider.
        is_estimate = said.is_silent
        provided = row.provided_usage_details
        if len(provided) and not object_of(decode_json(bytes(provided))):
            is_estimate = True
        found = [*self._model(kind, model)]
        if not (said.has_usage or is_estimate):
            usage = row.usage_details if len(row.usage_details) else row.usage
            if counts := buckets(object_of(decode_json(bytes(usage)))):
                found.append(KeyValue("langfuse.observation.usage_details", raw_of(counts)))
        if first_token is not None and (moment := text_of(first_token)):
            found.append(KeyValue("langfuse.observation.completion_start_time", raw_of(moment)))
        if not is_estimate and row.total_cost and (cost := cost_of(row.total_cost)) is not None:
            found.append(KeyValue("langfuse.observation.total_cost", raw_of(cost)))
        return found

    def _model(self, kind: str, model: str) -> list[KeyValue]:
        """What a call is and which model it names, as attributes; there are few."""
        found = self._models.get((kind, model))
        if found is None:
            is_embedding = "embed" in model.lower() or kind == "EMBEDDING"
            found = [KeyValue("langfuse.observation.type", raw_of("embedding" if is_embedding else "generation"))]
            if model:
                found.append(KeyValue("langfuse.observation.model.name", raw_of(model)))
            if len(self._models) < CACHED:
                self._models[kind, model] = found
        return found

    def _type(self, kind: str) -> KeyValue:
        """The type of an observation that is no call as an attribute; there are few."""
        found = self._types.get(kind)
        if found is None:
            found = KeyValue("langfuse.observation.type", raw_of(kind.lower()))
            if len(self._types) < CACHED:
                self._types[kind] = found
        return found

    # -- what came along -----------------------------------------------------------------------------

    def _resource(self, raw: bytes) -> ResourceFacts:
        found = self._resources.get(raw)
        if found is None:
            given = object_of(decode_json(raw))
            found = self._writer.resource(*((key, value) for key, value in given.items() if isinstance(value, str)))
            if len(raw) <= CACHED_BYTES and len(self._resources) < CACHED:
                self._resources[raw] = found
        return found

    def _scope(self, raw: bytes) -> str:
        found = self._scopes.get(raw)
        if found is None:
            found = text_of(object_of(decode_json(raw)).get("name"))
            if len(raw) <= CACHED_BYTES and len(self._scopes) < CACHED:
                self._scopes[raw] = found
        return found

    def _original(self, raw: bytes, *, is_call: bool) -> Said:
        given = entries_of(raw)
        known = self._instrumented[tuple(given)]
        is_silent = known.is_silent
        if b"null" in raw:
            given = {key: value for key, value in given.items() if value != _null}
            known = self._instrumented[tuple(given)]
        if is_call:
            values = known.values_of_call(given)
            return Said(list(map(KeyValue, known.keys_of_call, values)), None, known.has_usage, is_silent)
        attributes = list(map(KeyValue, known.keys, known.values(given)))
        number = None
        if known.repeats:
            told = known.number, b"\n".join(known.deciding(given))
            number = self._told.get(told)
            if number is None:
                if len(self._told) >= CACHED_MEANINGS:
                    self._told.clear()
                number = self._told[told] = next(self._numbers)
        return Said(attributes, number, known.has_usage, is_silent)

    def _instrumented_of(self, keys: Sequence[str]) -> Instrumented:
        codes = {key: self._codes[key] for key in keys if key in self._codes}
        fields = {code // RANKS for code in codes.values()}
        of_call = [key for key, code in codes.items() if code // RANKS not in _DECIDED]
        of_others = [key for key in of_call if codes[key] < CALL_FROM]
        return Instrumented(
            next(self._numbers),
            of_others,
            picks(of_others),
            picks([key for key in of_others if codes[key] >= PRESENCE_BELOW]),
            of_call,
            picks(of_call),
            repeats=not any(codes[key] // RANKS in READ_AT_ONCE for key in of_others),
            has_usage=any(codes[key] // RANKS in USAGE_FIELDS for key in of_call),
            is_silent=not fields & USAGE_FIELDS and bool(fields & _CALL_FIELDS),
        )


def _is_whole(row: Observation) -> bool:
    return not _reason_against(row)


def _reason_against(row: Observation) -> str:
    """Why an observation cannot be read; empty for one that can."""
    if not (row.id and row.trace_id and row.type):
        return WITHOUT_IDS
    if row.usage_details is ABSENT and row.usage in _NULL and _kind_of(row.type) in GENERATIONS:
        return WITHOUT_USAGE
    return "" if row.trace is ABSENT and row.data is ABSENT else UNREADABLE


@lru_cache(maxsize=64)
def _kind_of(kind: str | None) -> str:
    return text_of(kind).upper()


def _tags_of(row: Observation) -> bytes:
    """The tags of an observation, or of its trace."""
    both = bytes(row.tags), bytes(row.trace_tags)
    return next((tags for tags in both if len(tags) > NOTHING and tags != _null), b"")


def buckets(usage: Mapping[str, Any]) -> dict[str, int]:
    """Counts under the names of Langfuse's own buckets, which exclude each other; only those that are there.

    A total that is input and output alone shows that the caller's input holds the cached tokens (and output the
    reasoning), as do names of OpenInference: then they are taken out. Names that Langfuse does not know count as
    what they begin with; totals are not counted.
    """
    found: dict[str, int] = {}
    for key, value in usage.items():
        bucket = _BUCKETS.get(key)
        count = count_of(value)
        if bucket is not None and count is not None:
            found[bucket] = found.get(bucket, 0) + count
    if not any(found.values()):
        return {}
    cached = sum(found.get(bucket, 0) for bucket in _CACHED)
    reasoning = found.get("output_reasoning", 0)
    given, output = found.get("input", 0), found.get("output", 0)
    total = count_of(usage.get("total", usage.get("total_tokens")))
    names_say_so = any(key.startswith(("prompt_details.", "completion_details.")) for key in usage)
    is_inclusive = total == given + output if total is not None else names_say_so
    if is_inclusive and cached <= given and reasoning <= output:
        found["input"] = given - cached
        found["output"] = output - reasoning
    return found


_null = msgspec.Raw(b"null")
_NULL = (ABSENT, _null)
_STATUS = (Status(), Status(code=2))
_DECIDED = frozenset({Field.OPERATION, Field.REPORTED_COST, Field.USAGE_DETAILS})
"""What an observation says itself."""
_CALL_FIELDS = frozenset({Field.REQUEST_MODEL, Field.RESPONSE_MODEL, Field.PROVIDER})
_CACHED = ("input_cached_tokens", "input_cache_creation", "input_cache_creation_1h")
_BUCKETS = {
    "input": "input",
    "input_tokens": "input",
    "prompt_tokens": "input",
    "input_audio": "input",
    "input_audio_tokens": "input",
    "output": "output",
    "output_tokens": "output",
    "completion_tokens": "output",
    "output_audio": "output",
    "output_audio_tokens": "output",
    "input_cached_tokens": "input_cached_tokens",
    "input_cache_read": "input_cached_tokens",
    "cache_read_input_tokens": "input_cached_tokens",
    "prompt_details.cache_read": "input_cached_tokens",
    "prompt_details.cache_input": "input_cached_tokens",
    "input_cache_creation": "input_cache_creation",
    "input_cache_creation_5m": "input_cache_creation",
    "cache_creation_input_tokens": "input_cache_creation",
    "prompt_details.cache_write": "input_cache_creation",
    "input_cache_creation_1h": "input_cache_creation_1h",
    "output_reasoning": "output_reasoning",
    "output_reasoning_tokens": "output_reasoning",
    "completion_details.reasoning": "output_reasoning",
}


def _identities(user: Any, session: Any, environment: Any, tags: bytes | msgspec.Raw) -> list[KeyValue]:
    """Who a trace is for, as far as the record says."""
    found = []
    if tags:
        found.append(KeyValue("langfuse.trace.tags", msgspec.Raw(tags)))
    if user := text_of(user):
        found.append(KeyValue("langfuse.user.id", raw_of(user)))
    if session := text_of(session):
        found.append(KeyValue("langfuse.session.id", raw_of(session)))
    if (place := text_of(environment)) and place != DEFAULT_ENVIRONMENT:
        found.append(KeyValue("langfuse.environment", raw_of(place)))
    return found
