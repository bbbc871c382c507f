"""OpenAI's Batch API: input, output and error files, and the batch object, apart or one after another in one input.

Field meanings as in OpenAI's specification. Output lines name neither their batch nor what the request said of
itself: that is found again by ``custom_id`` in the input file, and by the batch object where it precedes the lines in
the same input. Ids of requests repeat from batch to batch; where they lead to several tenants, they lead to none.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import BatchBuilder, count_of, text_of
from auditor.load.gateways.usage import usage_of
from auditor.load.row_values import at, digest_of, ns_of_seconds, object_of, prefix_of
from auditor.load.rows import NOT_A_ROW, Row, RowWriter, json_value, rows_in
from auditor.model.lexicon import Operation

SYSTEM = "openai"
FAILED_FROM = 400


def is_openai_batch(value: Any) -> bool:
    """Say whether the first JSON value of an input belongs to a batch: a line of one of its files, or its object."""
    rows = rows_in(value)
    return bool(rows) and isinstance(rows[0], dict) and (_is_line(rows[0]) or _is_input(rows[0]) or _is_job(rows[0]))


def _is_line(entry: dict[str, Any]) -> bool:
    return "custom_id" in entry and "response" in entry and "error" in entry


def _is_input(entry: dict[str, Any]) -> bool:
    return all(key in entry for key in ("custom_id", "method", "url", "body"))


def _is_job(entry: dict[str, Any]) -> bool:
    return entry.get("object") == "batch" and "input_file_id" in entry


class OpenAIBatchReader:
    """Reads the records of batches; lines after a batch object belong to it."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._writer = RowWriter(builder, SYSTEM, scope="openai.batch")
        self._job = ""

    def finish(self) -> None:
        """Nothing is held back."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a record; raises ``msgspec.DecodeError`` when it is not JSON."""
        value = json_value(record)
        self._builder.mark(line, byte)
        for entry in rows_in(value):
            if not isinstance(entry, dict):
                self._builder.reject(line, byte, NOT_A_ROW)
            elif _is_job(entry):
                self._job = text_of(entry.get("id"))
                self._writer.note(_job_row(entry, self._job))
            elif _is_input(entry):
                self._writer.note(_input_row(entry, self._job))
            elif _is_line(entry):
                self._writer.take(_line_row(entry, self._job), line, byte)
            else:
                self._builder.reject(line, byte, "neither a line of a batch file nor a batch object")


def _job_row(entry: dict[str, Any], job: str) -> Row:
    start = ns_of_seconds(entry.get("created_at"))
    return Row(
        id=f"batch\n{job}",
        start_ns=start,
        end_ns=ns_of_seconds(entry.get("completed_at")),
        trace=f"batch\n{job}",
        batch_id=job,
        metadata=[("metadata", entry.get("metadata"))],
    )


def _input_row(entry: dict[str, Any], job: str) -> Row:
    custom_id = text_of(entry.get("custom_id"))
    body = object_of(entry.get("body"))
    return Row(
        # Batches repeat the ids of their requests.
        id=f"batch input\n{job}\n{digest_of(entry)}",
        batch_id=job,
        request_id=_request(custom_id),
        user=text_of(body.get("user")),
        metadata=[("body.metadata", body.get("metadata"))],
        fields=[("custom_id", prefix_of(custom_id)), ("user", body.get("user"))],
    )


def _line_row(entry: dict[str, Any], job: str) -> Row | str | None:
    custom_id = text_of(entry.get("custom_id"))
    log_id = text_of(entry.get("id")) or custom_id
    if not log_id:
        return "a line of a batch without an id or a custom_id"
    answer = object_of(entry.get("response"))
    body = object_of(answer.get("body"))
    status = count_of(answer.get("status_code"))
    counts, cache_inside = usage_of(body.get("usage"))
    if counts.output is None and body.get("object") == "list":
        counts = counts._replace(output=0)  # embeddings
    start = ns_of_seconds(body.get("created")) or ns_of_seconds(body.get("created_at"))
    return Row(
        id=log_id,
        start_ns=start,
        trace=f"{log_id}\n{custom_id}",
        provider=SYSTEM,
        response_model=text_of(body.get("model")),
        operation=Operation.BATCH,
        counts=counts,
        cache_inside=cache_inside,
        # What the batch did not get to, or was refused, is not billed.
        failed=bool(entry.get("error")) or not answer or (status is not None and status >= FAILED_FROM),
        batch=True,
        service_tier="batch",
        response_id=text_of(body.get("id")),
        request_id=_request(custom_id),
        batch_id=job,
        metadata=[("response.body.metadata", body.get("metadata"))],
        fields=[("custom_id", prefix_of(custom_id)), ("user", at(body, "user"))],
    )


def _request(custom_id: str) -> str:
    """The join between the files of a batch: no other log writes ids of this form."""
    return f"openai batch\n{custom_id}" if custom_id else ""
