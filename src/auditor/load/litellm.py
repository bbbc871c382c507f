"""LiteLLM's logs: ``StandardLoggingPayload`` objects, rows of its table ``LiteLLM_SpendLogs``, line items of batches.

Field meanings as in litellm 1.109 (``types/utils.py``, ``proxy/schema.prisma``). Each attempt is a row of its own.
Input tokens include cached ones for every provider.

``payload_row`` defines what a payload means; ``auditor.load.litellm_payloads`` has the fast way to the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from zlib import crc32

from auditor.load.builder import BatchBuilder, count_of, flag_of, pico_of, text_of
from auditor.load.row_values import at, hex_id, ns_of_iso, ns_of_seconds, object_of, prefix_of
from auditor.load.rows import Counts, Row, RowReader, Told, has_keys
from auditor.model.lexicon import Lexicon, Operation

SYSTEM = "litellm"
BATCH_COST = "_batch_cost"
BACKGROUND_COST = "_background_cost"
CACHE_HIT = "_cache_hit"
ADDED_MODELS = frozenset({"", "unknown", "unknown-model"})
"""What stands in place of a model that LiteLLM does not know."""
STREAMED_NS = 2_000_000
"""An answer whose first part came this long before its end came in parts."""

TENANT_OBJECTS = (
    "spend_logs_metadata",
    "user_api_key_auth_metadata",
    "requester_metadata",
    "requester_custom_headers",
)
END_USERS = ("end_user", "metadata.user_api_key_end_user_id")
TENANT_FIELDS = (
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
    sources = sources_of(entry, metadata)
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
        user=end_user_of(entry.get("end_user"), metadata.get("user_api_key_end_user_id"), lexicon),
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


def sources_of(entry: dict[str, Any], metadata: dict[str, Any]) -> Sources:
    """Where identities may stand in a row, apart from its end user."""
    return (
        [(f"metadata.{name}", metadata.get(name)) for name in TENANT_OBJECTS],
        [("request_tags", entry.get("request_tags"))],
        [
            *((f"metadata.{name}", metadata.get(name)) for name in TENANT_FIELDS),
            *((name, entry.get(name)) for name in ("team_id", "organization_id")),
        ],
    )


def end_user_of(of_row: Any, of_key: Any, lexicon: Lexicon) -> str:
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
            *((f"metadata.{name}", metadata.get(name)) for name in TENANT_OBJECTS),
            ("request.body.metadata", at(entry, "request", "body", "metadata")),
        ],
        fields=[
            *((f"metadata.{name}", metadata.get(name)) for name in TENANT_FIELDS),
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
