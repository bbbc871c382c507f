"""Amazon Bedrock: model invocation logs, from S3 or wrapped by CloudWatch.

Field meanings as in ``ModelInvocationLog`` 1.0. Cached tokens stand beside the input. An application inference
profile hides its model: its ARN is priced through the price file's ``model_aliases``.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import count_of, text_of
from auditor.load.gateways.usage import last_with
from auditor.load.row_values import at, ns_of_iso, object_of, operation_of_model
from auditor.load.rows import NO_USAGE, Counts, Row, Told, rows_in

SYSTEM = "bedrock"
SCHEMA = "ModelInvocationLog"


def is_bedrock(value: Any) -> bool:
    """Say whether the first JSON value of an input is an invocation log."""
    rows = rows_in(value)
    return bool(rows) and isinstance(rows[0], dict) and _log(rows[0]).get("schemaType") == SCHEMA


def bedrock_row(entry: dict[str, Any]) -> Told:
    """Read an invocation."""
    log = _log(entry)
    log_id = text_of(log.get("requestId"))
    if log.get("schemaType") != SCHEMA or not log_id:
        return "no invocation log, or one without a requestId"
    given, made = object_of(log.get("input")), object_of(log.get("output"))
    error = text_of(log.get("errorCode"))
    counts = Counts(
        count_of(given.get("inputTokenCount")),
        count_of(made.get("outputTokenCount")),
        count_of(given.get("cacheReadInputTokenCount")),
        count_of(given.get("cacheWriteInputTokenCount")),
    )
    model = text_of(log.get("modelId"))
    start = ns_of_iso(log.get("timestamp"))
    answer = made.get("outputBodyJson")
    message = last_with(answer, "message")
    return Row(
        id=log_id,
        start_ns=start,
        end_ns=start,
        provider="aws.bedrock",
        request_model=model,
        operation=operation_of_model(model),
        # A refused request is logged with the tokens that it would have had.
        counts=NO_USAGE if error and not counts.output else counts,
        cache_inside=False,
        streamed="Stream" in text_of(log.get("operation")),
        failed=bool(error),
        credential=text_of(at(log, "identity", "arn")),
        response_id=log_id,
        upstream_id=text_of(last_with(answer, "id")) or text_of(at(message, "id")),
        request_id=log_id,
        metadata=[("requestMetadata", log.get("requestMetadata"))],
        fields=[
            ("accountId", log.get("accountId")),
            ("identity.arn", at(log, "identity", "arn")),
            ("modelId", model),
        ],
    )


def _log(entry: dict[str, Any]) -> dict[str, Any]:
    """The log itself, or what CloudWatch put around its text."""
    if "schemaType" in entry:
        return entry
    return object_of(entry.get("message")) or object_of(entry.get("@message"))
