"""Azure: the gateway and LLM logs of API Management, and the diagnostic log of Azure OpenAI.

Field meanings as in the Azure Monitor tables. One call is several rows: its messages are split over rows with
sequence numbers, and who called stands in the gateway's table; all share ``CorrelationId``. The diagnostic log has
no tokens. ``TenantId`` is the log workspace, ``tenant`` a region.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import BatchBuilder, count_of, flag_of, text_of
from auditor.load.row_values import ns_of_iso, ns_of_ms, object_of, operation_of_name, operation_of_path
from auditor.load.rows import NOT_A_ROW, Counts, Row, RowWriter, json_value, rows_in
from auditor.model.lexicon import Operation

SYSTEM = "azure"
LLM, GATEWAY, DIAGNOSTIC = "ApiManagementGatewayLlmLog", "ApiManagementGatewayLogs", "RequestResponse"
FAILED_FROM = 400
_CALLER = ("ApimSubscriptionId", "ProductId", "UserId", "ApiId")


def is_azure(value: Any) -> bool:
    """Say whether the first JSON value of an input holds rows of these logs."""
    rows = rows_in(value)
    return bool(rows) and isinstance(rows[0], dict) and _kind(rows[0]) != ""


def _kind(entry: dict[str, Any]) -> str:
    kind = text_of(entry.get("Type"))
    if kind in {LLM, GATEWAY}:
        return kind
    category = text_of(entry.get("category")) or text_of(entry.get("Category"))
    return DIAGNOSTIC if category == DIAGNOSTIC else ""


class AzureReader:
    """Reads rows in any order; those of one call are put together at the end of the input."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._writer = RowWriter(builder, SYSTEM)
        self._diagnostics = RowWriter(builder, SYSTEM, scope="azure.diagnostic")
        self._calls: dict[str, tuple[list[dict[str, Any]], int]] = {}
        self._gateway: dict[str, dict[str, Any]] = {}

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a record; raises ``msgspec.DecodeError`` when it is not JSON."""
        value = json_value(record)
        self._builder.mark(line, byte)
        for entry in rows_in(value):
            kind = _kind(entry) if isinstance(entry, dict) else ""
            correlation = text_of(entry.get("CorrelationId")) if kind in {LLM, GATEWAY} else ""
            if kind == DIAGNOSTIC:
                self._diagnostics.take(_diagnostic_row(entry), line, byte)
            elif not kind:
                self._builder.reject(line, byte, NOT_A_ROW)
            elif not correlation:
                self._builder.reject(line, byte, "a row without a CorrelationId")
            elif kind == GATEWAY:
                self._gateway[correlation] = entry
            else:
                kept = {key: value for key, value in entry.items() if not key.endswith("Messages")}
                self._calls.setdefault(correlation, ([], line))[0].append(kept)

    def finish(self) -> None:
        """Write each call once, with what the gateway's table says of its caller."""
        for correlation, (rows, line) in self._calls.items():
            self._writer.write(_call_row(correlation, rows, self._gateway.pop(correlation, {})), line)
        for correlation, entry in self._gateway.items():
            # Its LLM rows may be in another input.
            self._writer.note(
                Row(
                    id=f"gateway\n{correlation}",
                    start_ns=ns_of_iso(entry.get("TimeGenerated")),
                    request_id=correlation,
                    fields=_caller(entry),
                )
            )


def _call_row(correlation: str, rows: list[dict[str, Any]], gateway: dict[str, Any]) -> Row:
    rows = sorted(rows, key=lambda row: count_of(row.get("SequenceNumber")) or 0)
    # Counts repeat on the rows of a call, or stand on one of them.
    row = next((row for row in rows if count_of(row.get("TotalTokens") or row.get("PromptTokens"))), rows[0])
    start = ns_of_iso(row.get("TimeGenerated"))
    status = count_of(gateway.get("ResponseCode"))
    deployment = text_of(row.get("DeploymentName"))
    return Row(
        id=correlation,
        start_ns=start,
        end_ns=start + ns_of_ms(gateway.get("TotalTime")) if start else 0,
        provider="azure",
        request_model=text_of(row.get("ModelName")) or deployment,
        operation=operation_of_name(SYSTEM, row.get("OperationName"))
        or operation_of_name(SYSTEM, gateway.get("OperationId"))
        or operation_of_path(gateway.get("BackendUrl")),
        counts=Counts(
            count_of(row.get("PromptTokens")),
            count_of(row.get("CompletionTokens")),
            total=count_of(row.get("TotalTokens")),
        ),
        cache_inside=True,
        streamed=flag_of(row.get("IsStreamCompletion")),
        failed=status is not None and status >= FAILED_FROM,
        cache_hit=text_of(gateway.get("Cache")).lower() == "hit",
        credential=text_of(gateway.get("ApimSubscriptionId")),
        response_id=text_of(row.get("RequestId")),
        call_id=correlation,
        request_id=correlation,
        fields=[*_caller(gateway), ("TenantId", row.get("TenantId"))],
    )


def _caller(gateway: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, gateway.get(name)) for name in _CALLER]


def _diagnostic_row(entry: dict[str, Any]) -> Row | str:
    correlation = text_of(entry.get("correlationId")) or text_of(entry.get("CorrelationId"))
    if not correlation:
        return "a row without a correlationId"
    said = object_of(entry.get("properties")) or object_of(entry.get("properties_s"))
    length = ns_of_ms(entry.get("durationMs") or entry.get("DurationMs"))
    end = ns_of_iso(entry.get("time") or entry.get("TimeGenerated"))
    status = count_of(entry.get("resultSignature") or entry.get("ResultSignature"))
    stream = text_of(said.get("streamType")).lower()
    return Row(
        id=correlation,
        start_ns=max(end - length, 0),
        end_ns=end,
        provider="azure",
        request_model=text_of(said.get("modelName")) or text_of(said.get("modelDeploymentName")),
        operation=operation_of_name(SYSTEM, entry.get("operationName") or entry.get("OperationName")) or Operation.CHAT,
        streamed=None if not stream else not stream.startswith("non"),
        failed=status is not None and status >= FAILED_FROM,
        credential=text_of(said.get("objectId")),
        call_id=correlation,
        request_id=correlation,
        fields=[("tenant", entry.get("tenant")), ("properties.objectId", said.get("objectId"))],
    )
