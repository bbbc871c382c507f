"""TensorZero: rows of its tables, one a line or a list for each table.

Field meanings as in its data model. A ``ModelInference`` is a provider call; who it is for stands on the inference
that it belongs to, and there may be several calls for one.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import BatchBuilder, count_of, pico_of, text_of
from auditor.load.row_values import ns_of_iso, ns_of_ms, object_of, operation_of_model
from auditor.load.rows import NOT_A_ROW, Counts, Row, RowWriter, json_value

SYSTEM = "tensorzero"
CALLS = ("ModelInference", "BatchModelInference")
TABLES = ("ChatInference", "JsonInference", *CALLS)


def is_tensorzero(value: Any) -> bool:
    """Say whether the first JSON value of an input holds rows of the tables."""
    if isinstance(value, dict) and any(table in value for table in TABLES):
        return True
    entry = value[0] if isinstance(value, list) and value else value
    return isinstance(entry, dict) and (_is_call(entry) or _is_inference(entry))


def _is_call(entry: dict[str, Any]) -> bool:
    return "inference_id" in entry and "model_provider_name" in entry


def _is_inference(entry: dict[str, Any]) -> bool:
    return "function_name" in entry and "episode_id" in entry


class TensorZeroReader:
    """Reads rows of either kind in any order; calls wait for their inferences until the end of the input."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._writer = RowWriter(builder, SYSTEM)
        self._inferences: dict[str, dict[str, Any]] = {}
        self._calls: list[tuple[dict[str, Any], int, int]] = []

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a record; raises ``msgspec.DecodeError`` when it is not JSON."""
        value = json_value(record)
        self._builder.mark(line, byte)
        if isinstance(value, dict) and any(table in value for table in TABLES):
            tables = [value.get(table) for table in TABLES]
            value = [entry for table in tables if isinstance(table, list) for entry in table]
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, dict) and _is_call(entry):
                self._calls.append((entry, line, byte))
            elif isinstance(entry, dict) and _is_inference(entry):
                self._inferences[text_of(entry.get("id"))] = {
                    key: entry.get(key) for key in ("function_name", "episode_id", "tags")
                }
            else:
                self._builder.reject(line, byte, NOT_A_ROW)

    def finish(self) -> None:
        """Write the calls with what their inferences say."""
        for entry, line, byte in self._calls:
            inference = self._inferences.get(text_of(entry.get("inference_id")), {})
            self._writer.take(_row(entry, inference), line, byte)


def _row(entry: dict[str, Any], inference: dict[str, Any]) -> Row | str:
    log_id, inference_id = text_of(entry.get("id")), text_of(entry.get("inference_id"))
    if not log_id:
        return "a model inference without an id"
    model = text_of(entry.get("model_name"))
    start = ns_of_iso(entry.get("timestamp")) or _ns_of_uuid7(log_id)
    has_first = entry.get("ttft_ms") not in (None, "")
    return Row(
        id=log_id,
        start_ns=start,
        end_ns=start + ns_of_ms(entry.get("response_time_ms")) if start else 0,
        trace=inference_id,
        provider=text_of(entry.get("model_provider_name")),
        request_model=model,
        operation=operation_of_model(model),
        counts=Counts(count_of(entry.get("input_tokens")), count_of(entry.get("output_tokens"))),
        cost_pico=pico_of(entry.get("cost")),
        cache_hit=entry.get("cached") is True,
        streamed=True if has_first else None,
        first_chunk=has_first,
        batch=text_of(entry.get("batch_id")) != "",
        batch_id=text_of(entry.get("batch_id")),
        request_id=inference_id,
        workflow=text_of(inference.get("episode_id")) or text_of(entry.get("episode_id")),
        feature=text_of(inference.get("function_name")) or text_of(entry.get("function_name")),
        metadata=[("tags", object_of(inference.get("tags")) or object_of(entry.get("tags")))],
    )


VERSION_AT, VERSION = 14, "7"


def _ns_of_uuid7(text: str) -> int:
    """The moment in a UUID of version 7: its first 48 bits count milliseconds."""
    digits = text.replace("-", "")
    if text[VERSION_AT : VERSION_AT + 1] != VERSION or digits.strip("0123456789abcdefABCDEF"):
        return 0
    return ns_of_ms(int(digits[:12], 16))
