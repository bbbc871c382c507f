"""Langfuse: downloads of the UI, answers of its API, and the files of its blob storage export.

Field meanings: ``fern/apis/server/definition/commons.yml`` and ``packages/shared/src/domain`` of langfuse/langfuse
(outside ``ee/``). Every observation is a span, every trace record too: a span of its own whose tenant, user and
session hold for the whole trace. It meets the observations by the trace's id, so that the two files of a blob
export may come in any order. Only generations and embeddings are calls.

Usage stands in buckets that exclude each other. Where the instrumentation's own attributes came along and say
nothing of usage, the buckets are Langfuse's estimate by its own tokenizer and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from auditor.load.builder import CALL_FROM, BatchBuilder, count_of, text_of
from auditor.load.foreign_ids import SPAN_BYTES, TRACE_BYTES, id_of, record_id
from auditor.load.moments import iso_nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import JSON_VALUES
from auditor.load.plain_values import attributes_of, cost_of, is_short, object_of, raw_of
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
UNREADABLE = "neither an observation nor a trace of Langfuse"


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
    metadata: Any = None
    model: Any = None
    provided_model_name: Any = None
    usage_details: Any = msgspec.UNSET
    provided_usage_details: Any = msgspec.UNSET
    total_cost: Any = None
    usage: Any = None


class Trace(msgspec.Struct, gc=False):
    """The fields of a trace record that an audit needs."""

    id: Any = None
    timestamp: Any = None
    name: Any = None
    user_id: Any = None
    session_id: Any = None
    environment: Any = None
    tags: Any = None
    metadata: Any = None


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


class LangfuseReader:
    """Reads downloads, answers and rows into a ``BatchBuilder``."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._writer = SpanWriter(builder, values=JSON_VALUES)
        self._codes = builder.lexicon.span_codes
        self._metadata_fields = builder.lexicon.metadata_fields

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        with self._writer.record(record, line, byte):
            try:
                if opens_list(record):
                    for row in _rows.decode(record):
                        self._read_row(row)
                else:
                    self._read_value(record)
            except msgspec.ValidationError as error:
                self._writer.reject(plain_reason(error))

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
        trace_id = id_of(text_of(trace.id), TRACE_BYTES)
        if not trace_id:
            self._writer.reject("a trace without an id")
            return
        metadata = object_of(trace.metadata)
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
                    *self._original(metadata, is_call=False),
                    *_attributes(
                        {
                            "langfuse.trace.metadata": self._plain(metadata),
                            "langfuse.trace.tags": trace.tags or None,
                            **_identities(trace.user_id, trace.session_id, trace.environment),
                        }
                    ),
                ],
            ),
        )

    def _add(self, observation: Observation, trace: Trace | None = None) -> None:
        kind = text_of(observation.type).upper()
        span_id = id_of(text_of(observation.id), SPAN_BYTES)
        trace_id = id_of(text_of(observation.trace_id), TRACE_BYTES)
        if not span_id or not trace_id or not kind:
            self._writer.reject("an observation without an id, a trace or a type")
            return
        is_call = kind in GENERATIONS
        if is_call and observation.usage_details is msgspec.UNSET and observation.usage is None:
            self._writer.reject(WITHOUT_USAGE)
            return
        metadata = object_of(observation.metadata)
        scope = object_of(metadata.get("scope"))
        original = self._original(metadata, is_call=is_call)
        facts: dict[str, Any] = {
            "langfuse.observation.type": kind.lower(),
            "langfuse.observation.metadata": self._plain(metadata),
            "langfuse.trace.tags": observation.tags or observation.trace_tags or None,
            **_identities(
                observation.user_id or (trace and trace.user_id),
                observation.session_id or (trace and trace.session_id),
                observation.environment,
            ),
        }
        if is_call:
            facts |= self._call(observation, original, object_of(metadata.get("attributes")))
        self._writer.add(
            self._resource(metadata),
            text_of(scope.get("name")),
            Span(
                traceId=trace_id,
                spanId=span_id,
                parentSpanId=id_of(text_of(observation.parent_observation_id), SPAN_BYTES),
                name=text_of(observation.name),
                startTimeUnixNano=iso_nanoseconds(observation.start_time),
                endTimeUnixNano=iso_nanoseconds(observation.end_time),
                attributes=[*original, *_attributes(facts)],
                status=Status(2 if text_of(observation.level).upper() == "ERROR" else 0),
            ),
        )

    def _call(
        self, observation: Observation, original: Iterable[KeyValue], instrumented: Mapping[str, Any]
    ) -> dict[str, Any]:
        model = text_of(observation.provided_model_name) or text_of(observation.model)
        is_embedding = "embed" in model.lower() or text_of(observation.type).upper() == "EMBEDDING"
        first_token = observation.completion_start_time or observation.time_to_first_token
        told = any(self._codes[pair.key] // RANKS in USAGE_FIELDS for pair in original)
        fields = {self._codes[key] // RANKS for key in instrumented if key in self._codes}
        # What came from an instrumentation names the model or the provider.
        is_estimate = not fields & USAGE_FIELDS and bool(fields & _CALL_FIELDS)
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

    # -- what came along -----------------------------------------------------------------------------

    def _resource(self, metadata: Mapping[str, Any]) -> Any:
        given = object_of(metadata.get("resourceAttributes"))
        return self._writer.resource(*((key, value) for key, value in given.items() if isinstance(value, str)))

    def _original(self, metadata: Mapping[str, Any], *, is_call: bool) -> list[KeyValue]:
        """Known attributes of the span that the observation was made of; its type has been decided already."""
        pairs = object_of(metadata.get("attributes")).items()
        codes = self._codes
        return attributes_of(
            (
                (key, value)
                for key, value in pairs
                if (code := codes.get(key)) is not None
                and (is_call or code < CALL_FROM)
                and code // RANKS not in {Field.OPERATION, Field.REPORTED_COST, Field.USAGE_DETAILS}
            ),
            codes,
        )

    def _plain(self, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
        """Entries that may name somebody; everything longer or deeper stays behind."""
        known = self._metadata_fields
        found = {
            key: value for key, value in metadata.items() if key.lower() in known and (is_short(value) or value is None)
        }
        return found or None


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


def _identities(user: Any, session: Any, environment: Any) -> dict[str, Any]:
    place = text_of(environment)
    return {
        "langfuse.user.id": text_of(user),
        "langfuse.session.id": text_of(session),
        "langfuse.environment": "" if place == DEFAULT_ENVIRONMENT else place,
    }


def _attributes(facts: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes for what is there."""
    return [KeyValue(key, raw_of(value)) for key, value in facts.items() if value is not None and value != ""]
