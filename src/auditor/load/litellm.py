"""LiteLLM's logs: ``StandardLoggingPayload`` objects, rows of its table ``LiteLLM_SpendLogs``, line items of batches.

Field meanings as in litellm 1.109 (``types/utils.py``, ``proxy/schema.prisma``). Each attempt is a row of its own.
Input tokens include cached ones for every provider.

Payloads are what large logs are made of, so they have a fast way: a typed decoder that skips all but the wanted
fields, and a memory of what few-valued fields mean. ``payload_row`` and ``RowWriter`` define the meaning; a payload
with anything unusual goes through them, and so does the first one of each kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple
from zlib import crc32

import msgspec

from auditor.load.builder import NO_PARENT, BatchBuilder, count_of, flag_of, pico_of, text_of
from auditor.load.row_values import LAST_NS, at, hex_id, ns_of_iso, ns_of_seconds, object_of, prefix_of
from auditor.load.rows import (
    LEAST_NS,
    NOT_A_ROW,
    Counts,
    Row,
    RowReader,
    RowWriter,
    Told,
    has_keys,
    json_value,
    rows_in,
)
from auditor.model.lexicon import Lexicon, Operation
from auditor.model.spans import MAX_COUNT, NO_COUNT, TOKEN_COLUMNS, IdKind

SYSTEM = "litellm"
BATCH_COST = "_batch_cost"
BACKGROUND_COST = "_background_cost"
CACHE_HIT = "_cache_hit"
ADDED_MODELS = frozenset({"", "unknown", "unknown-model"})
"""What stands in place of a model that LiteLLM does not know."""
STREAMED_NS = 2_000_000
"""An answer whose first part came this long before its end came in parts."""
REMEMBERED = 1 << 17
"""Kinds of rows that are remembered before the memory is emptied."""

_TENANT_OBJECTS = (
    "spend_logs_metadata",
    "user_api_key_auth_metadata",
    "requester_metadata",
    "requester_custom_headers",
)
_END_USERS = ("end_user", "metadata.user_api_key_end_user_id")
_TENANT_FIELDS = (
    "user_api_key_team_id",
    "user_api_key_org_id",
    "user_api_key_project_id",
)


def is_litellm(value: Any) -> bool:
    """Say whether the first JSON value of an input is a ``StandardLoggingPayload``, or a list of such."""
    return has_keys(value, "call_type", "response_cost", "metadata")


def is_spend_log(value: Any) -> bool:
    """Say whether the first JSON value of an input holds rows of the table of spend."""
    return has_keys(value, *SPEND_COLUMNS)


SPEND_COLUMNS = ("request_id", "call_type", "spend", "startTime")


def is_batch_item(value: Any) -> bool:
    """Say whether the first JSON value of an input is a line item of a batch."""
    return has_keys(value, "batch_id", "custom_id", "response_cost", "metadata")


# -- what rows mean ----------------------------------------------------------------------------------


def payload_row(entry: dict[str, Any], lexicon: Lexicon) -> Told:
    """Read a ``StandardLoggingPayload``."""
    call_id = text_of(entry.get("litellm_call_id"))
    return _row(
        entry,
        lexicon,
        log_id=text_of(entry.get("id")) or call_id,
        call_id=call_id,
        start_ns=ns_of_seconds(entry.get("startTime")),
        end_ns=ns_of_seconds(entry.get("endTime")),
        first_ns=ns_of_seconds(entry.get("completionStartTime")),
        trace=text_of(entry.get("trace_id")),
        cost=entry.get("response_cost"),
        credential="user_api_key_hash",
    )


def spend_log_row(entry: dict[str, Any], lexicon: Lexicon) -> Told:
    """Read a row of the table of spend; from CSV every value is a text, objects are JSON."""
    metadata = object_of(entry.get("metadata"))
    entry = {**entry, "metadata": metadata}
    call_id = text_of(entry.get("litellm_call_id")) or text_of(metadata.get("litellm_call_id"))
    entry.setdefault("status", metadata.get("status"))
    return _row(
        entry,
        lexicon,
        log_id=text_of(entry.get("request_id")) or call_id,
        call_id=call_id,
        start_ns=ns_of_iso(entry.get("startTime")),
        end_ns=ns_of_iso(entry.get("endTime")),
        first_ns=ns_of_iso(entry.get("completionStartTime")),
        # The session of a caller that sends none is made up for each request, and shared by its attempts.
        trace=text_of(entry.get("session_id")),
        cost=entry.get("spend"),
        credential="user_api_key",
    )


def _row(
    entry: dict[str, Any],
    lexicon: Lexicon,
    *,
    log_id: str,
    call_id: str,
    start_ns: int,
    end_ns: int,
    first_ns: int,
    trace: str,
    cost: Any,
    credential: str,
) -> Told:
    call_type = text_of(entry.get("call_type")).lower()
    if not log_id or not call_type:
        return "a LiteLLM row without an id or a call_type"
    is_batch_cost = log_id.endswith(BATCH_COST)
    operation = lexicon.operations_by_key.get(("litellm.call_type", call_type))
    if operation is None:
        return f"unknown call_type {call_type[:40]!r}"
    if operation is Operation.POLL or (operation is Operation.BATCH and not is_batch_cost):
        # What cannot be billed by itself: polls, file handling, the creation of a batch.
        return None
    metadata = entry["metadata"] if isinstance(entry.get("metadata"), dict) else {}
    prompt, completion = count_of(entry.get("prompt_tokens")), count_of(entry.get("completion_tokens"))
    counts = Counts()
    if prompt or completion:
        read, write = _cached(metadata.get("usage_object"))
        counts = Counts(prompt, completion, read, write, total=count_of(entry.get("total_tokens")))
    is_failure = text_of(entry.get("status")).lower() == "failure"
    is_hit = bool(flag_of(entry.get("cache_hit"))) or CACHE_HIT in log_id
    streamed = flag_of(entry.get("stream"))
    # A stream that broke off is not marked as one, but it was asked for, or its parts came one after another.
    asked = bool(flag_of(at(entry.get("model_parameters"), "stream")))
    if streamed is None and (asked or 0 < first_ns < end_ns - STREAMED_NS):
        streamed = True
    batch_id = log_id.removesuffix(BATCH_COST) if is_batch_cost else ""
    session = text_of(entry.get("session_id"))
    sources = _sources(entry, metadata)
    return Row(
        id=log_id,
        start_ns=start_ns,
        end_ns=end_ns,
        trace=batch_id or trace or log_id,
        span=_batch_span(batch_id) if batch_id else span_of(log_id, call_id, start_ns),
        provider=text_of(entry.get("custom_llm_provider")),
        request_model=_known_model(text_of(metadata.get("original_model_group")) or text_of(entry.get("model_group"))),
        response_model=_known_model(text_of(entry.get("model"))),
        operation=operation,
        counts=counts,
        cache_inside=True,
        cost_pico=pico_of(cost),
        streamed=streamed,
        failed=is_failure,
        cache_hit=is_hit,
        partial=bool(streamed) and operation is not Operation.BATCH and _has_usage(entry.get("response")) is False,
        batch=is_batch_cost,
        credential=text_of(metadata.get(credential)) or text_of(entry.get("api_key")),
        response_id=log_id.partition(CACHE_HIT)[0].removesuffix(BATCH_COST).removesuffix(BACKGROUND_COST),
        call_id=call_id,
        batch_id=batch_id,
        session=session if session != trace else "",
        user=_end_user(entry.get("end_user"), metadata.get("user_api_key_end_user_id"), lexicon),
        feature=text_of(metadata.get("internal_call_origin")),
        metadata=sources[0],
        tags=sources[1],
        fields=[
            *sources[2],
            ("end_user", entry.get("end_user")),
            ("metadata.user_api_key_end_user_id", metadata.get("user_api_key_end_user_id")),
        ],
    )


Sources = tuple[list[tuple[str, Any]], list[tuple[str, Any]], list[tuple[str, Any]]]
"""Metadata objects, tags and fields, each with its path."""


def _sources(entry: dict[str, Any], metadata: dict[str, Any]) -> Sources:
    """Where identities may stand in a row, apart from its end user."""
    return (
        [(f"metadata.{name}", metadata.get(name)) for name in _TENANT_OBJECTS],
        [("request_tags", entry.get("request_tags"))],
        [
            *((f"metadata.{name}", metadata.get(name)) for name in _TENANT_FIELDS),
            *((name, entry.get(name)) for name in ("team_id", "organization_id")),
        ],
    )


def _end_user(of_row: Any, of_key: Any, lexicon: Lexicon) -> str:
    """The end user of the request, or the one that the key is bound to; a JSON object in its place is none."""
    for value in (of_row, of_key):
        text = text_of(value)
        if not lexicon.is_placeholder(text) and text[:1] != "{":
            return text
    return ""


def batch_item_row(entry: dict[str, Any]) -> Told:
    """Read a line item: one request of a batch, whose sum the batch's own row holds."""
    batch_id, custom_id = text_of(entry.get("batch_id")), text_of(entry.get("custom_id"))
    if not batch_id or not custom_id:
        return "a line item without a batch_id or a custom_id"
    metadata = entry["metadata"] if isinstance(entry.get("metadata"), dict) else {}
    body = at(entry, "response", "body")
    usage = entry.get("usage") or at(body, "usage")
    read, write = _cached(usage)
    made = count_of(at(usage, "completion_tokens"))
    is_failure = text_of(entry.get("status")).lower() not in {"success", ""}
    return Row(
        id=f"{batch_id}/{custom_id}",
        start_ns=ns_of_seconds(at(body, "created")) or ns_of_seconds(at(body, "created_at")),
        trace=batch_id,
        parent=_batch_span(batch_id),
        provider=text_of(entry.get("custom_llm_provider")),
        request_model=_known_model(text_of(entry.get("model"))),
        response_model=_known_model(text_of(at(body, "model"))),
        operation=Operation.BATCH,
        counts=Counts(
            count_of(at(usage, "prompt_tokens")),
            # Embeddings have no output.
            0 if made is None and at(body, "object") == "list" else made,
            read,
            write,
            total=count_of(at(usage, "total_tokens")),
        ),
        cache_inside=True,
        cost_pico=pico_of(entry.get("response_cost")),
        failed=is_failure,
        batch=True,
        credential=text_of(metadata.get("user_api_key_hash")),
        response_id=text_of(at(body, "id")),
        batch_id=batch_id,
        metadata=[
            *((f"metadata.{name}", metadata.get(name)) for name in _TENANT_OBJECTS),
            ("request.body.metadata", at(entry, "request", "body", "metadata")),
        ],
        fields=[
            *((f"metadata.{name}", metadata.get(name)) for name in _TENANT_FIELDS),
            ("custom_id", prefix_of(custom_id)),
        ],
    )


def _cached(usage: Any) -> tuple[int | None, int | None]:
    """Cache reads and writes of a usage object, which says them in the words of either provider."""
    details = at(usage, "prompt_tokens_details")
    read, write = count_of(at(details, "cached_tokens")), count_of(at(details, "cache_creation_tokens"))
    return (
        read or count_of(at(usage, "cache_read_input_tokens")) or read,
        write or count_of(at(usage, "cache_creation_input_tokens")) or write,
    )


def _has_usage(response: Any) -> bool | None:
    """Whether a logged answer has usage; ``None`` where no answer is logged."""
    return response["usage"] is not None if isinstance(response, dict) and "usage" in response else None


def _known_model(model: str) -> str:
    return "" if model in ADDED_MODELS else model


def _batch_span(batch_id: str) -> str:
    """The span of a whole batch, which its line items hang on."""
    return hex_id(f"{batch_id}\n{BATCH_COST}", 8)


def span_of(log_id: str, call_id: str, start_ns: int) -> str:
    """Span id of an attempt: the requests of one call differ in when they begin, and mostly in their ids."""
    return "%016x" % (start_ns ^ crc32(f"{log_id}\n{call_id}".encode()) << 32 or 1)


# -- readers -----------------------------------------------------------------------------------------


def spend_log_reader(builder: BatchBuilder) -> RowReader:
    """Reader of rows of the table of spend, as JSON or CSV."""
    # The table and the payloads may be given in one run: another scope lets rows of one call find each other.
    return RowReader(builder, SYSTEM, partial(spend_log_row, lexicon=builder.lexicon), scope="litellm.spend_logs")


def batch_item_reader(builder: BatchBuilder) -> RowReader:
    """Reader of the line items of batches."""
    return RowReader(builder, SYSTEM, batch_item_row, scope="litellm.batch_line_items")


Raw = msgspec.Raw
EMPTY = Raw(b"")
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class Details(msgspec.Struct, gc=False):
    """``prompt_tokens_details``."""

    cached_tokens: Count | None = None
    cache_creation_tokens: Count | None = None


class UsageObject(msgspec.Struct, gc=False):
    """``usage_object``."""

    prompt_tokens_details: Details | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None


class Metadata(msgspec.Struct, gc=False):
    """``metadata``, without what an audit does not need."""

    user_api_key_hash: str | None = None
    user_api_key_team_id: str | None = None
    user_api_key_org_id: str | None = None
    user_api_key_project_id: str | None = None
    user_api_key_end_user_id: str | None = None
    original_model_group: str | None = None
    internal_call_origin: str | None = None
    spend_logs_metadata: Raw = EMPTY
    user_api_key_auth_metadata: Raw = EMPTY
    requester_metadata: Raw = EMPTY
    requester_custom_headers: Raw = EMPTY
    usage_object: UsageObject | None = None


class Parameters(msgspec.Struct, gc=False):
    """``model_parameters``."""

    stream: bool | None = None


class Answer(msgspec.Struct, gc=False):
    """``response``."""

    usage: Raw = EMPTY


class Payload(msgspec.Struct, gc=False):
    """The wanted fields of a payload with the types that LiteLLM gives them."""

    id: str
    call_type: str
    metadata: Metadata
    litellm_call_id: str = ""
    trace_id: str = ""
    session_id: str | None = None
    stream: bool | None = None
    response_cost: float | None = None
    status: str | None = None
    custom_llm_provider: str | None = None
    total_tokens: Count | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    startTime: float = 0.0  # noqa: N815  # the log's spelling
    endTime: float = 0.0  # noqa: N815
    completionStartTime: float | None = None  # noqa: N815
    model: str | None = None
    model_group: str | None = None
    model_parameters: Parameters | None = None
    cache_hit: bool | None = None
    request_tags: Raw = EMPTY
    end_user: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    response: Raw = EMPTY


class Who(NamedTuple):
    """What the identities of a payload but its end user come to in the builder's tables."""

    tenant: int
    is_open: bool
    """No tenant is known yet: the end user may be one."""
    user: int
    workflow: int
    policy: int
    """Number of the combination of environment, feature and placeholder."""
    ids: tuple[tuple[IdKind, str], ...]


_payload = msgspec.json.Decoder(Payload)
_answer = msgspec.json.Decoder(Answer)


class LiteLLMReader:
    """Reads payloads, one a record or a list of them."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._writer = RowWriter(builder, SYSTEM)
        self._who: dict[tuple[Any, ...], Who] = {}
        self._users: dict[tuple[str | None, str | None], tuple[int, str]] = {}
        self._end_users: dict[tuple[str | None, str | None], int] = {}
        """Code of the tenants that an end user comes to."""
        self._policies: dict[tuple[str, ...], int] = {}
        self._facts: dict[tuple[Any, ...], int] = {}
        """Code of the call facts by everything that they depend on."""
        # Where the settings make the end user more than the last resort, all of a payload decides together.
        self._is_fast = not any(self._writer.is_declared(path) for path in _END_USERS)
        self._add = self._adder(builder)

    def finish(self) -> None:
        """Nothing is held back."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one payload, or a list; raises ``msgspec.DecodeError`` when it is not JSON."""
        try:
            payload = _payload.decode(record)
        except msgspec.ValidationError:
            # A list, or a field of an unusual type.
            entries = rows_in(json_value(record))
            self._builder.mark(line, byte)
            for entry in entries:
                self._read_any(entry, line, byte)
            return
        self._builder.mark(line, byte)
        log_id = payload.id
        if not log_id or log_id.endswith("_cost") or CACHE_HIT in log_id or not self._is_fast:
            self._read_any(json_value(record), line, byte)
            return
        metadata = payload.metadata
        key = (
            bytes(metadata.spend_logs_metadata), bytes(metadata.user_api_key_auth_metadata),
            bytes(metadata.requester_metadata), bytes(metadata.requester_custom_headers), bytes(payload.request_tags),
            metadata.user_api_key_team_id, metadata.user_api_key_org_id, metadata.user_api_key_project_id,
            payload.team_id, payload.organization_id,
        )  # fmt: skip
        who = self._who.get(key)
        if who is None:
            who = self._learn_who(key, payload)
        streamed, is_broken = payload.stream, False
        first = payload.completionStartTime
        if streamed is None and (
            payload.model_parameters is not None or (first is not None and first < payload.endTime)
        ):
            streamed = _came_in_parts(payload) or None
        if streamed:
            is_broken = _lacks_usage(payload.response)
        counts = _counts(payload)
        kind = (
            who.policy, payload.call_type, payload.model, payload.model_group, payload.custom_llm_provider,
            payload.status, metadata.user_api_key_hash, streamed, is_broken, payload.cache_hit, counts is NOTHING,
            metadata.original_model_group, metadata.internal_call_origin, payload.response_cost == 0,
        )  # fmt: skip
        facts = self._facts.get(kind)
        if facts is None:
            self._learn_facts(kind, record, line, byte)
        else:
            self._add(payload, who, facts, counts, line)
        self._builder.pack_if_due()

    def _adder(self, builder: BatchBuilder) -> Callable[[Payload, Who, int, tuple[int, ...], int], None]:
        """Make what appends a payload whose identities and facts are known: ``RowWriter.add``, and nothing else.

        A closure finds its variables at once, and there are thirty to find for each row. The builder empties its
        columns in place.
        """
        id_row, id_kind, id_text = builder.id_row, builder.id_kind, builder.id_text
        extra_call, extra_searches = builder.extra_call, builder.extra_searches
        extra_cost, extra_log_id = builder.extra_cost, builder.extra_log_id
        call_row, call_facts, tokens = builder.call_row, builder.call_facts, builder.tokens
        call_user, call_workflow, call_line = builder.call_user, builder.call_workflow, builder.call_line
        trace_hex, span_hex, parent_hex = builder.trace_hex, builder.span_hex, builder.parent_hex
        places, tenants, starts, ends = builder.place, builder.tenant, builder.start, builder.end
        text_code, place = builder.text_code, self._writer.place
        user_of, tenant_of, users = self._user_of, self._tenant_of, self._users

        def add(payload: Payload, who: Who, facts: int, counts: tuple[int, ...], line: int) -> None:
            number = builder.packed + len(span_hex)
            log_id, call_id, trace = payload.id, payload.litellm_call_id, payload.trace_id
            start, end, session, cost = payload.startTime, payload.endTime, payload.session_id, payload.response_cost
            tenant, is_open, user, workflow, _, ids = who
            start = int(start * 1e6 + 0.5) * 1000 if 0 < start < LAST else 0
            end = int(end * 1e6 + 0.5) * 1000 if 0 < end < LAST else 0
            if call_id:
                id_row.append(number)
                id_kind.append(CALL)
                id_text.append(call_id)
            if not payload.cache_hit:
                id_row.append(number)
                id_kind.append(RESPONSE)
                id_text.append(log_id)
            if session and session != trace:
                ids = (*ids, (SESSION, session))
            for kind, text in ids:
                id_row.append(number)
                id_kind.append(kind)
                id_text.append(text)
            pair = (payload.end_user, payload.metadata.user_api_key_end_user_id)
            if pair != NOBODY:
                if is_open:
                    tenant = tenant_of(pair)
                if user < 0:
                    user, text = users.get(pair) or user_of(pair)
                    if text:
                        id_row.append(number)
                        id_kind.append(USER)
                        id_text.append(text)
            extra_call.append(len(call_row))
            extra_searches.append(NO_COUNT)
            extra_cost.append(_pico(cost) if cost else -1)
            extra_log_id.append(text_code(log_id))
            call_row.append(number)
            call_facts.append(facts)
            tokens.append(counts)
            call_user.append(user)
            call_workflow.append(workflow)
            call_line.append(line)
            if len(trace) != TRACE_DIGITS or trace == NO_TRACE or not is_hex(trace):
                trace = hex_id(trace or log_id, 16, SYSTEM)
            trace_hex.append(trace)
            span_hex.append(span_of(log_id, call_id, start))
            parent_hex.append(NO_PARENT)
            places.append(place)
            tenants.append(tenant)
            starts.append(start)
            ends.append(max(end, start + LEAST_NS))

        return add

    def _read_any(self, entry: Any, line: int, byte: int) -> None:
        """Read a payload of any form."""
        told = payload_row(entry, self._builder.lexicon) if isinstance(entry, dict) else NOT_A_ROW
        self._writer.take(told, line, byte)

    def _learn_who(self, key: tuple[Any, ...], payload: Payload) -> Who:
        metadata = {
            name: value if not isinstance(value, Raw) else json_value(value) if value != EMPTY else None
            for name in (*_TENANT_OBJECTS, *_TENANT_FIELDS)
            for value in [getattr(payload.metadata, name)]
        }
        tags = json_value(payload.request_tags) if payload.request_tags != EMPTY else None
        entry = {"request_tags": tags, "team_id": payload.team_id, "organization_id": payload.organization_id}
        who = self._writer.open(*_sources(entry, metadata))
        codes = self._writer.codes(who)
        if len(self._who) >= REMEMBERED:
            self._who.clear()
        made = self._who[key] = Who(
            codes.tenant,
            not who.tenants,
            codes.user,
            codes.workflow,
            self._policies.setdefault(codes.policy, len(self._policies)),
            codes.ids,
        )
        return made

    def _user_of(self, pair: tuple[str | None, str | None]) -> tuple[int, str]:
        text = _end_user(*pair, self._builder.lexicon)
        if len(self._users) >= REMEMBERED:
            self._users.clear()
        user = self._users[pair] = self._builder.text_code(text), text
        return user

    def _tenant_of(self, pair: tuple[str | None, str | None]) -> int:
        code = self._end_users.get(pair)
        if code is None:
            who = self._writer.open((), (), tuple(zip(_END_USERS, pair, strict=True)))
            if len(self._end_users) >= REMEMBERED:
                self._end_users.clear()
            code = self._end_users[pair] = self._writer.codes(who).tenant
        return code

    def _learn_facts(self, kind: tuple[Any, ...], record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a payload of a new kind, and remember what its facts came to."""
        before = len(self._builder.call_facts)
        self._read_any(json_value(record), line, byte)
        if len(self._builder.call_facts) > before:
            if len(self._facts) >= REMEMBERED:
                self._facts.clear()
            self._facts[kind] = self._builder.call_facts[-1]


CALL, RESPONSE, SESSION, USER = IdKind.CALL, IdKind.RESPONSE, IdKind.SESSION, IdKind.USER
NOBODY = (None, None)
LAST = LAST_NS / 1e9
TRACE_DIGITS = 32
NO_TRACE = "0" * TRACE_DIGITS
NOTHING = (NO_COUNT,) * len(TOKEN_COLUMNS)
SURE = 0.49
"""A cost this close to a whole number of pico-dollars is that number, whatever the last bit of the float says."""
SURE_BELOW = 1000.0
"""USD below which a float is exact to a fifth of a pico-dollar."""


def is_hex(text: str) -> bool:
    """Say whether 32 characters are 16 bytes in hex: ``fromhex`` skips white space, which would make them fewer."""
    try:
        return len(bytes.fromhex(text)) == TRACE_DIGITS // 2
    except ValueError:
        return False


def _counts(payload: Payload) -> tuple[int, ...]:
    prompt, completion = payload.prompt_tokens, payload.completion_tokens
    if not prompt and not completion:
        return NOTHING
    read = write = None
    usage = payload.metadata.usage_object
    if usage is not None:
        details = usage.prompt_tokens_details
        if details is not None:
            read, write = details.cached_tokens, details.cache_creation_tokens
        read = read or usage.cache_read_input_tokens or read
        write = write or usage.cache_creation_input_tokens or write
    total = payload.total_tokens
    return (
        NO_COUNT if prompt is None else prompt,
        NO_COUNT if completion is None else completion,
        NO_COUNT if read is None else read,
        NO_COUNT if write is None else write,
        NO_COUNT,
        NO_COUNT if total is None else total,
        NO_COUNT,
    )


def _came_in_parts(payload: Payload) -> bool:
    """Whether a stream was asked for, or the answer's parts came one after another."""
    if payload.model_parameters is not None and payload.model_parameters.stream:
        return True
    first = payload.completionStartTime
    return (
        first is not None
        and first < payload.endTime
        and 0 < ns_of_seconds(first) < ns_of_seconds(payload.endTime) - STREAMED_NS
    )


def _lacks_usage(response: Raw) -> bool:
    """Whether a logged answer has a place for usage and none in it."""
    try:
        return bytes(_answer.decode(response).usage) == b"null"
    except msgspec.DecodeError:
        return False


def _pico(cost: float) -> int:
    """A cost above 0 in pico-dollars, as ``pico_of`` reads it; -1 when it is none."""
    if 0.0 < cost < SURE_BELOW:
        exact = cost * 1e12
        pico = round(exact)
        if abs(exact - pico) < SURE:
            return pico or -1
    return pico_of(cost) or -1
