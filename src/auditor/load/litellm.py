"""LiteLLM's ``StandardLoggingPayload``: one row per attempt, as JSON lines, one object per file, or a list.

Field meanings as in litellm 1.109 (``types/utils.py``). Input tokens include cached ones for every provider.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
import orjson

from auditor.load.builder import (
    NO_PARENT,
    BatchBuilder,
    ResourceFacts,
    count_of,
    flag_of,
    pico_of,
    text_of,
)
from auditor.model.lexicon import Field, Operation
from auditor.model.spans import NO_COUNT, CallFacts, IdKind, Kind, Role, TenantTag

SERVICE = "litellm"
VOCABULARY = "litellm"
BATCH_COST = "_batch_cost"
BACKGROUND_COST = "_background_cost"
CACHE_HIT = "_cache_hit"
NOISE_TAG = "User-Agent"
ADDED_MODELS = frozenset({"", "unknown", "unknown-model"})


class Usage(msgspec.Struct, gc=False):
    """Only whether the provider's answer had usage."""

    usage: msgspec.Raw = msgspec.Raw(b"")
    id: Any = None


class Row(msgspec.Struct, gc=False):
    """The fields of a row that an audit needs; prompts and answers are skipped."""

    id: Any = None
    trace_id: Any = None
    session_id: Any = None
    litellm_call_id: Any = None
    call_type: Any = None
    stream: Any = None
    response_cost: Any = None
    status: Any = None
    custom_llm_provider: Any = None
    total_tokens: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    startTime: Any = None  # noqa: N815  # the log's spelling
    endTime: Any = None  # noqa: N815
    model: Any = None
    model_group: Any = None
    metadata: dict[str, Any] | None = None
    cache_hit: Any = None
    request_tags: Any = None
    end_user: Any = None
    response: msgspec.Raw = msgspec.Raw(b"")


_row = msgspec.json.Decoder(Row)
_usage = msgspec.json.Decoder(Usage)

_TENANT_OBJECTS = (
    "spend_logs_metadata",
    "user_api_key_auth_metadata",
    "requester_metadata",
    "requester_custom_headers",
)
_TENANT_FIELDS = (
    ("team", "user_api_key_team_id"),
    ("organization", "user_api_key_org_id"),
    ("project", "user_api_key_project_id"),
)


def is_litellm(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    if isinstance(value, list):
        return bool(value) and is_litellm(value[0])
    return isinstance(value, dict) and {"call_type", "response_cost", "metadata"} <= value.keys()


class LiteLLMReader:
    """Reads rows into a ``BatchBuilder``: each becomes a span of the service ``litellm`` and a call."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._end_user = "end_user" in builder.lexicon.namespaces
        self._resource = ResourceFacts(SERVICE, "", "", (), -1, "", "", "", "")
        self._place = builder.place_code(
            self._resource,
            SERVICE,
            Kind.UNSPECIFIED,
            None,
            Role.MODEL_CALL,
            provider_api=False,
            is_row=True,
        )

    def finish(self) -> None:
        """Nothing is held back."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one row, or a list of rows; raises ``msgspec.DecodeError`` when it is not JSON."""
        self._builder.mark(line, byte)
        try:
            rows = [_row.decode(record)]
        except msgspec.ValidationError:
            rows = self._tolerant(orjson.loads(record), line, byte)
        for row in rows:
            self._add(row, line, byte)

    def _tolerant(self, value: Any, line: int, byte: int) -> list[Row]:
        entries = value if isinstance(value, list) else [value]
        rows = []
        for entry in entries:
            if not isinstance(entry, dict):
                self._builder.reject(line, byte, "neither a row nor a list of rows")
                continue
            known = {key: entry[key] for key in Row.__struct_fields__ if key in entry}
            known["response"] = msgspec.Raw(orjson.dumps(entry.get("response")))
            if not isinstance(known.get("metadata"), dict):
                known["metadata"] = None
            rows.append(Row(**known))
        return rows

    def _add(self, row: Row, line: int, byte: int) -> None:
        builder = self._builder
        call_id = text_of(row.id) or text_of(row.litellm_call_id)
        call_type = text_of(row.call_type).lower()
        if not call_id or not call_type:
            builder.reject(line, byte, "a LiteLLM row without an id or a call_type")
            return
        is_batch_cost = call_id.endswith(BATCH_COST)
        operation = builder.lexicon.operations_by_key.get(("litellm.call_type", call_type))
        if operation is None or operation is Operation.POLL or (operation is Operation.BATCH and not is_batch_cost):
            # What cannot be billed by itself: polls, file handling, the creation of a batch.
            if operation is None:
                builder.reject(line, byte, f"unknown call_type {call_type[:40]!r}")
            return
        metadata = row.metadata or {}
        start, end = _nanoseconds(row.startTime), _nanoseconds(row.endTime)
        number = len(builder.span_hex)
        tags, placeholder, identities = self._identities(row, metadata)
        facts, counts = self._facts(row, metadata, operation, call_id, placeholder, identities)
        trace = text_of(row.trace_id) or call_id
        session = text_of(row.session_id)
        if session and session != trace:
            builder.add_id(number, IdKind.SESSION, session)
        for kind, value in (
            (IdKind.CALL, text_of(row.litellm_call_id)),
            (IdKind.RESPONSE, _without_suffix(call_id) if not facts.cache_hit else ""),
            (IdKind.BATCH, call_id.removesuffix(BATCH_COST) if is_batch_cost else ""),
            (IdKind.USER, identities.get(Field.USER, "")),
            (IdKind.WORKFLOW, identities.get(Field.WORKFLOW, "")),
        ):
            if value:
                builder.add_id(number, kind, value)
        builder.add_call(
            number,
            facts,
            counts,
            user=identities.get(Field.USER, ""),
            workflow=identities.get(Field.WORKFLOW, ""),
            line=line,
            searches=None,
            cost=pico_of(row.response_cost) or None,
            log_id=call_id,
        )
        builder.add_span(
            _hex(trace, 16),
            _hex(f"{call_id}\n{row.litellm_call_id}\n{row.startTime}", 8),
            NO_PARENT,
            self._place,
            builder.with_resource(tags, self._resource),
            start,
            end,
        )

    def _facts(
        self,
        row: Row,
        metadata: dict[str, Any],
        operation: Operation,
        call_id: str,
        placeholder: str,
        identities: dict[Field, str],
    ) -> tuple[CallFacts, tuple[int, ...]]:
        usage = metadata.get("usage_object")
        usage = usage if isinstance(usage, dict) else {}
        details = usage.get("prompt_tokens_details")
        details = details if isinstance(details, dict) else {}
        read = count_of(details.get("cached_tokens"))
        write = count_of(details.get("cache_creation_tokens"))
        if not read:
            read = count_of(usage.get("cache_read_input_tokens")) or read
        if not write:
            write = count_of(usage.get("cache_creation_input_tokens")) or write
        prompt, completion = count_of(row.prompt_tokens), count_of(row.completion_tokens)
        has_usage = bool(prompt or completion)
        cache_hit = bool(flag_of(row.cache_hit)) or CACHE_HIT in call_id
        model = text_of(row.model)
        is_batch = operation is Operation.BATCH
        answered = _has_usage(row.response)
        facts = CallFacts(
            provider=text_of(row.custom_llm_provider),
            request_model=_known_model(text_of(row.model_group)),
            response_model=_known_model(model),
            operation=operation,
            vocabulary=VOCABULARY if has_usage else "",
            disjoint=False,
            streamed=flag_of(row.stream),
            first_chunk=False,
            finished=False,
            has_response_id=text_of(row.status).lower() != "failure",
            service_tier="batch" if is_batch else "",
            failed=text_of(row.status).lower() == "failure",
            cache_hit=cache_hit,
            batch=is_batch,
            environment=identities.get(Field.ENVIRONMENT, ""),
            feature=identities.get(Field.FEATURE, ""),
            credential=self._builder.identity(metadata.get("user_api_key_hash")),
            placeholder=placeholder,
            usage_in_event=False,
            # Broken streams are logged with locally counted tokens: the answer itself had no usage.
            partial=has_usage and not is_batch and not cache_hit and answered is False,
            abandoned=False,
        )
        if not has_usage:
            return facts, (NO_COUNT,) * 7
        self._builder.vocabularies.add(VOCABULARY)
        counts = (prompt, completion, read, write, None, count_of(row.total_tokens), None)
        return facts, tuple(NO_COUNT if count is None else count for count in counts)

    def _identities(self, row: Row, metadata: dict[str, Any]) -> tuple[tuple[TenantTag, ...], str, dict[Field, str]]:
        builder = self._builder
        fields = builder.lexicon.metadata_fields
        entries = [
            (f"metadata.{name}[{key}]", str(key), text_of(value))
            for name in _TENANT_OBJECTS
            if isinstance(inner := metadata.get(name), dict)
            for key, value in inner.items()
        ]
        if isinstance(row.request_tags, list):
            for tag in row.request_tags:
                key, colon, rest = text_of(tag).partition(":")
                if colon and key != NOISE_TAG:
                    entries.append((f"request_tags[{key}]", key.strip(), rest.strip()))
        tenants: dict[str, TenantTag] = {}
        others: dict[Field, str] = {}
        placeholder = ""
        for source, key, text in entries:
            meaning = fields.get(key.lower())
            if meaning is None or not text:
                continue
            if meaning.field is not Field.TENANT:
                others.setdefault(meaning.field, text)
            elif builder.lexicon.is_placeholder(text):
                placeholder = placeholder or text
            else:
                tenants.setdefault(meaning.namespace, TenantTag(meaning.namespace, text, source))
        for namespace, name in _TENANT_FIELDS:
            text = text_of(metadata.get(name))
            if text and not builder.lexicon.is_placeholder(text):
                tenants.setdefault(namespace, TenantTag(namespace, text, f"metadata.{name}"))
        end_user = builder.identity(row.end_user) or builder.identity(metadata.get("user_api_key_end_user_id"))
        if end_user:
            others.setdefault(Field.USER, end_user)
            if self._end_user:
                tenants.setdefault("end_user", TenantTag("end_user", end_user, "end_user"))
        ranked = sorted(tenants.values(), key=lambda tag: builder.lexicon.namespace_rank(tag.namespace))
        return tuple(ranked), placeholder, others


def _has_usage(response: msgspec.Raw) -> bool | None:
    """Whether the logged answer has usage; ``None`` where no answer is logged."""
    try:
        data = bytes(_usage.decode(response).usage)
    except msgspec.DecodeError:
        return None
    return None if not data else data != b"null"


def _known_model(model: str) -> str:
    return "" if model in ADDED_MODELS else model


def _without_suffix(call_id: str) -> str:
    return call_id.partition(CACHE_HIT)[0].removesuffix(BATCH_COST).removesuffix(BACKGROUND_COST)


def _nanoseconds(value: Any) -> int:
    """Epoch seconds as nanoseconds, exact to the microsecond that a float of this size holds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1 << 33:
        return 0
    return round(value * 1_000_000) * 1000


def _hex(text: str, width: int) -> str:
    lowered = text.lower()
    if len(lowered) == 2 * width and not lowered.strip("0123456789abcdef"):
        return lowered
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=width).hexdigest()
