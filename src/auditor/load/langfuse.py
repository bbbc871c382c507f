"""Langfuse: downloads of the UI, answers of its API, and the files of its blob storage export.

Field meanings: ``fern/apis/server/definition/commons.yml`` and ``packages/shared/src/domain`` of langfuse/langfuse
(outside ``ee/``). Every observation is a span, every trace record too: a span of its own whose tenant, user and
session hold for the whole trace. It meets the observations by the trace's id, so that the two files of a blob
export may come in any order. Only generations and embeddings are calls.

Usage stands in buckets that exclude each other. Where the instrumentation's own attributes came along and say
nothing of usage, the buckets are Langfuse's estimate by its own tokenizer and are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import msgspec
import orjson

from auditor.load.builder import CALL_FROM, BatchBuilder, ResourceFacts, count_of, text_of
from auditor.load.foreign_ids import SPAN_BYTES, TRACE_BYTES, KnownIds, record_id
from auditor.load.key_sets import KeySets, Picked, picks
from auditor.load.metadata_objects import MetadataObjects
from auditor.load.moments import iso_nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, JSON_VALUES, UNDECODABLE, decode_json
from auditor.load.plain_values import cost_of, object_of, raw_of
from auditor.load.row_lines import take_rows
from auditor.load.sources import Lines
from auditor.load.span_writer import SpanWriter, held, opens_list, plain_reason
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
OBJECT, TEXT = ord("{"), ord('"')

Object = dict[str, msgspec.Raw] | list[msgspec.Raw] | str | bool | int | float | None
"""What may hold an object: itself, or its JSON text; anything else is none."""


class Observation(msgspec.Struct, gc=False):
    """The fields of an observation that an audit needs, in the spelling of the blob export; prompts are skipped."""

    id: Any = None
    trace_id: Any = None
    parent_observation_id: Any = None
    type: Any = None
    start_time: Any = None
    end_time: Any = None
    completion_start_time: Any = None
    time_to_first_token: Any = None
    name: Any = None
    level: Any = None
    environment: Any = None
    user_id: Any = None
    session_id: Any = None
    tags: Any = None
    trace_tags: Any = None
    metadata: Object = None
    model: Any = None
    provided_model_name: Any = None
    usage_details: Any = msgspec.UNSET
    provided_usage_details: Any = msgspec.UNSET
    total_cost: Any = None
    usage: Any = None
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
    metadata: Object = None


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


def _in_camel_case(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """A decoder of the same fields in the API's spelling."""
    fields = [(field.name, field.type, field.default) for field in msgspec.structs.fields(kind)]
    return msgspec.json.Decoder(msgspec.defstruct(kind.__name__, fields, rename="camel", gc=False))


_keys = msgspec.json.Decoder(Keys)
_download = msgspec.json.Decoder(Download)
_page = msgspec.json.Decoder(Page)
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_observation = msgspec.json.Decoder(Observation)
_api_observation = _in_camel_case(Observation)
_trace = msgspec.json.Decoder(Trace)
_api_trace = _in_camel_case(Trace)


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


Read = tuple[ResourceFacts, str, Span, Hashable]
"""Resource, scope and span, and what the meaning of the span depends on, as ``SpanWriter.add_alone`` takes it."""


class Instrumented(NamedTuple):
    """What one sequence of attribute keys of the span says that an observation was made of."""

    number: int
    keys: list[str]
    values: Picked
    keys_of_call: list[str]
    values_of_call: Picked
    is_silent: bool
    """It names the model or the provider, and has no usage."""


class Original(NamedTuple):
    """What came along of the span that an observation was made of."""

    is_silent: bool
    """It is a model call's, and says nothing about usage."""
    told: tuple[int, bytes]
    """What tells its attributes apart from others."""
    attributes: list[KeyValue]
    """Those that are known; its type has been decided already."""


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

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        if isinstance(record, bytes):
            try:
                if self._is_added(_observation.decode(record), len(record), line, byte):
                    return
            except msgspec.ValidationError:
                pass
        with self._writer.record(record, line, byte):
            try:
                if opens_list(record):
                    for row in _rows.decode(record):
                        self._read_row(row)
                else:
                    self._read_value(record)
            except msgspec.ValidationError as error:
                self._writer.reject(plain_reason(error))

    def read_lines(self, lines: Lines) -> Collection[int]:
        """Read lines of one observation each; says by number which of them take a closer look."""
        return take_rows(lines, _observation, self._is_added, self._writer)

    def _is_added(self, observation: Observation, size: int, line: int, byte: int) -> bool:
        """Take over a row from a record of so many bytes; leaves one that is odd, and what is no observation."""
        if observation.trace_id is None or len(observation.trace) or len(observation.data):
            return False
        read = self._span(observation)
        if isinstance(read, str):
            return False
        self._writer.add_alone(size, line, byte, *read)
        return True

    def _read_value(self, record: bytes | memoryview) -> None:
        keys = _keys.decode(record)
        if keys.trace is not msgspec.UNSET:
            download = _download.decode(record)
            trace = _api_trace.decode(download.trace)
            self._add_trace(trace)
            for row in download.observations:
                self._add(_api_observation.decode(row), trace)
        elif keys.data is not msgspec.UNSET:
            for row in _page.decode(record).data:
                self._read_row(row)
        else:
            self._add_row(keys, record)

    def _read_row(self, row: msgspec.Raw) -> None:
        try:
            self._add_row(_keys.decode(row), row)
        except msgspec.ValidationError as error:
            self._writer.reject(plain_reason(error))

    def _add_row(self, keys: Keys, row: bytes | memoryview | msgspec.Raw) -> None:
        if keys.trace_id is not msgspec.UNSET:
            self._add(_observation.decode(row))
        elif keys.traceId is not msgspec.UNSET:
            self._add(_api_observation.decode(row))
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
        metadata = _entries(trace.metadata)
        original = self._original(bytes(metadata.get("attributes", ABSENT)), is_call=False).attributes
        _, plain = self._trace_metadata.read(metadata)
        start = iso_nanoseconds(trace.timestamp)
        self._writer.add(
            self._resource(metadata),
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
                    *_identities(trace.user_id, trace.session_id, trace.environment, trace.tags),
                ],
            ),
        )

    def _add(self, observation: Observation, trace: Trace | None = None) -> None:
        read = self._span(observation, trace)
        if isinstance(read, str):
            self._writer.reject(read)
        else:
            resource, scope, span, _ = read
            self._writer.add(resource, scope, span)

    def _span(self, observation: Observation, trace: Trace | None = None) -> Read | str:
        """Resource, scope and span of an observation, and what its meaning depends on; or why it cannot be read."""
        kind = text_of(observation.type).upper()
        span_id = self._span_ids[text_of(observation.id)]
        trace_id = self._trace_ids[text_of(observation.trace_id)]
        if not span_id or not trace_id or not kind:
            return WITHOUT_IDS
        is_call = kind in GENERATIONS
        if is_call and observation.usage_details is msgspec.UNSET and observation.usage is None:
            return WITHOUT_USAGE
        metadata = _entries(observation.metadata)
        raw = metadata.get("attributes", ABSENT)
        is_silent, told, original = self._original(bytes(raw), is_call=is_call)
        left, attributes = self._metadata.read(metadata)
        user = observation.user_id or (trace and trace.user_id)
        session = observation.session_id or (trace and trace.session_id)
        tags, place = observation.tags or observation.trace_tags, observation.environment
        identities = []
        if user or session or tags or place != DEFAULT_ENVIRONMENT:
            identities = _identities(user, session, place, tags)
        level, parent = observation.level, observation.parent_observation_id
        failed = level != "DEFAULT" and text_of(level).upper() == "ERROR"
        asked = None
        if is_call:
            call = self._call(observation, original, is_silent=is_silent)
            attributes += original
            attributes += identities
            attributes += [
                KeyValue(key, raw_of(value)) for key, value in call.items() if value is not None and value != ""
            ]
        else:
            if not identities and len(attributes) <= bool(left) and self._writer.uses(span_id) is self._writer.used:
                asked = kind, failed, left, told
            attributes += original
            attributes += identities
            attributes.append(self._type(kind))
        return (
            self._resource(metadata),
            self._scope(metadata),
            Span(
                traceId=trace_id,
                spanId=span_id,
                parentSpanId=self._span_ids[text_of(parent)] if parent else "",
                name=text_of(observation.name),
                startTimeUnixNano=iso_nanoseconds(observation.start_time),
                endTimeUnixNano=iso_nanoseconds(observation.end_time),
                attributes=attributes,
                status=_STATUS[failed],
            ),
            asked,
        )

    def _call(self, observation: Observation, original: Sequence[KeyValue], *, is_silent: bool) -> dict[str, Any]:
        model = text_of(observation.provided_model_name) or text_of(observation.model)
        is_embedding = "embed" in model.lower() or text_of(observation.type).upper() == "EMBEDDING"
        first_token = observation.completion_start_time or observation.time_to_first_token
        told = any(self._codes[pair.key] // RANKS in USAGE_FIELDS for pair in original)
        # What came from an instrumentation names the model or the provider.
        is_estimate = is_silent
        provided = observation.provided_usage_details
        if provided is not msgspec.UNSET and not object_of(provided):
            is_estimate = True
        usage = observation.usage if observation.usage_details is msgspec.UNSET else observation.usage_details
        return {
            "langfuse.observation.type": "embedding" if is_embedding else "generation",
            "langfuse.observation.model.name": model,
            "langfuse.observation.usage_details": None if told or is_estimate else buckets(object_of(usage)) or None,
            "langfuse.observation.completion_start_time": text_of(first_token) if first_token is not None else None,
            "langfuse.observation.total_cost": None if is_estimate else cost_of(observation.total_cost),
        }

    def _type(self, kind: str) -> KeyValue:
        """The type of an observation that is no call as an attribute; there are few."""
        found = self._types.get(kind)
        if found is None:
            found = KeyValue("langfuse.observation.type", raw_of(kind.lower()))
            if len(self._types) < CACHED:
                self._types[kind] = found
        return found

    # -- what came along -----------------------------------------------------------------------------

    def _resource(self, metadata: Mapping[str, msgspec.Raw]) -> ResourceFacts:
        raw = bytes(metadata.get("resourceAttributes", ABSENT))
        found = self._resources.get(raw)
        if found is None:
            given = object_of(decode_json(raw))
            found = self._writer.resource(*((key, value) for key, value in given.items() if isinstance(value, str)))
            if len(raw) <= CACHED_BYTES and len(self._resources) < CACHED:
                self._resources[raw] = found
        return found

    def _scope(self, metadata: Mapping[str, msgspec.Raw]) -> str:
        raw = bytes(metadata.get("scope", ABSENT))
        found = self._scopes.get(raw)
        if found is None:
            found = text_of(object_of(decode_json(raw)).get("name"))
            if len(raw) <= CACHED_BYTES and len(self._scopes) < CACHED:
                self._scopes[raw] = found
        return found

    def _original(self, raw: bytes, *, is_call: bool) -> Original:
        attributes = _inner(raw)
        known = self._instrumented[tuple(attributes)]
        is_silent = known.is_silent
        if b"null" in raw:
            attributes = {key: value for key, value in attributes.items() if value != _null}
            known = self._instrumented[tuple(attributes)]
        keys, pick = (known.keys_of_call, known.values_of_call) if is_call else (known.keys, known.values)
        values = pick(attributes)
        return Original(is_silent, (known.number, b"\n".join(values)), list(map(KeyValue, keys, values)))

    def _instrumented_of(self, keys: Sequence[str]) -> Instrumented:
        codes = {key: self._codes[key] for key in keys if key in self._codes}
        fields = {code // RANKS for code in codes.values()}
        of_call = [key for key, code in codes.items() if code // RANKS not in _DECIDED]
        of_others = [key for key in of_call if codes[key] < CALL_FROM]
        return Instrumented(
            next(self._numbers),
            of_others,
            picks(of_others),
            of_call,
            picks(of_call),
            is_silent=not fields & USAGE_FIELDS and bool(fields & _CALL_FIELDS),
        )


def _entries(value: Object) -> dict[str, msgspec.Raw]:
    """The entries of an object; none for what is no object."""
    if isinstance(value, dict):
        return value
    return _inner(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) and value[:1] == "{" else {}


def _inner(raw: bytes) -> dict[str, msgspec.Raw]:
    """The entries of a JSON object or of a JSON text that is one."""
    try:
        if raw[:1] == b'"':
            raw = orjson.loads(raw).encode()
        return _object.decode(raw) if raw[:1] == b"{" else {}
    except UNDECODABLE:
        return {}


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


def _identities(user: Any, session: Any, environment: Any, tags: Any) -> list[KeyValue]:
    """Who a trace is for, as far as the record says."""
    found = []
    if tags:
        found.append(KeyValue("langfuse.trace.tags", raw_of(tags)))
    if user := text_of(user):
        found.append(KeyValue("langfuse.user.id", raw_of(user)))
    if session := text_of(session):
        found.append(KeyValue("langfuse.session.id", raw_of(session)))
    if (place := text_of(environment)) and place != DEFAULT_ENVIRONMENT:
        found.append(KeyValue("langfuse.environment", raw_of(place)))
    return found
