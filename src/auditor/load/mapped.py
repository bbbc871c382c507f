"""Logs of any gateway as JSON or CSV, read as a mapping of the user's says.

A path of the mapping leads to a value through objects, lists and objects that are written as JSON text; a key that
has dots of its own is found as well. A value that cannot be what the mapping says it is rejects its record: a wrong
unit or path is the user's to mend, and would silently cost money otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from auditor.load.builder import BatchBuilder, count_of, flag_of, text_of
from auditor.load.csv_rows import csv_records, header_of
from auditor.load.row_values import LAST_NS, digest_of, list_of, ns_of_iso, object_of
from auditor.load.rows import NOT_A_ROW, Counts, Row, RowWriter, Told, json_value, rows_in
from auditor.load.sources import Opened, Record
from auditor.model.lexicon import Operation
from auditor.model.mapping import COST_UNITS, COUNTS, FLAGS, ISO, LENGTH_UNITS, TEXTS, SourceMapping

MAX_PICO = 1 << 62
TELLING = frozenset({*COUNTS, "model", "response_model", "cost"})
"""Concepts of which a call has one, where the mapping does not say what is a call."""
AT_LEAST = ">="
"""Before a number in the place of a value: the number or more."""
NAMESPACE = "tenant"
_OPERATIONS = {"": Operation.CHAT, **{str(entry): entry for entry in Operation if entry.is_billable or entry == "poll"}}


class _WrongValueError(Exception):
    """A value is not what the mapping says."""


def value_at(value: Any, path: str) -> Any:
    """The value at a path; ``None`` where there is none."""
    if isinstance(value, str):
        value = object_of(value) or list_of(value)
    if isinstance(value, list):
        head, _, rest = path.partition(".")
        if not head.isdecimal() or int(head) >= len(value):
            return None
        return value_at(value[int(head)], rest) if rest else value[int(head)]
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    at = path.find(".")
    while at >= 0:
        if path[:at] in value:
            return value_at(value[path[:at]], path[at + 1 :])
        at = path.find(".", at + 1)
    return None


def mapped_row(entry: dict[str, Any], mapping: SourceMapping) -> Told:
    """Read a row, or say which path does not hold what it should."""
    if not all(_is_one_of(value_at(entry, path), values) for path, values in mapping.billable.items()):
        return None
    try:
        return _row(_Record(entry, mapping), mapping)
    except _WrongValueError as error:
        return str(error)


class _Record:
    """One record, by concept."""

    def __init__(self, entry: dict[str, Any], mapping: SourceMapping) -> None:
        self.entry = entry
        self._mapping = mapping
        self.told: set[str] = set()
        """Concepts that have a value in the record itself."""

    def first(self, concept: str) -> tuple[str, Any]:
        """Path and value of a concept: the first that is there, else the constant without a path."""
        for path in self._mapping.fields.get(concept, ()):
            value = value_at(self.entry, path)
            if value is not None and value != "":
                self.told.add(concept)
                return path, value
        constant = self._mapping.constants.get(concept)
        return "", constant

    def text(self, concept: str) -> str:
        return text_of(self.first(concept)[1])

    def flag(self, concept: str) -> bool | None:
        return flag_of(self.first(concept)[1])

    def count(self, concept: str) -> int | None:
        path, value = self.first(concept)
        count = count_of(value)
        if count is None and value is not None:
            raise _WrongValueError(f"{path or concept} is no count")
        return count

    def number(self, concept: str, unit: int, limit: int, what: str) -> int | None:
        """A number times what its unit is worth."""
        path, value = self.first(concept)
        if value is None:
            return None
        try:
            number = Decimal(str(value)) if not isinstance(value, bool) else Decimal("nan")
            # Compared before it is scaled: written with an exponent, a number may have millions of digits.
            scaled = int((number * unit).to_integral_value()) if 0 <= number < limit else -1
        except (ArithmeticError, ValueError):
            scaled = -1
        if not 0 <= scaled < limit:
            raise _WrongValueError(f"{path or concept} is no {what}")
        return scaled

    def moment(self, concept: str) -> int:
        """UTC nanoseconds; 0 where there is no time."""
        unit = self._mapping.time_unit
        if unit != ISO:
            return self.number(concept, LENGTH_UNITS[unit], LAST_NS, f"time in {unit}") or 0
        path, value = self.first(concept)
        found = ns_of_iso(value)
        if not found and value is not None:
            raise _WrongValueError(f"{path} is no ISO time")
        return found

    def several(self, concept: str) -> list[tuple[str, Any]]:
        return [(path, value_at(self.entry, path)) for path in self._mapping.fields.get(concept, ())]


def _row(record: _Record, mapping: SourceMapping) -> Told:
    texts = {concept: record.text(concept) for concept in TEXTS}
    counts = {concept: record.count(concept) for concept in COUNTS}
    flags = {concept: record.flag(concept) for concept in FLAGS}
    cost = record.number("cost", COST_UNITS[mapping.cost_unit], MAX_PICO, f"cost in {mapping.cost_unit}")
    start, end = record.moment("time"), record.moment("end")
    length = record.number("duration", LENGTH_UNITS[mapping.duration_unit], LAST_NS, "duration") or 0
    tenant = record.first("tenant")
    if not record.told:
        return f"none of the fields that the mapping {mapping.name} names is in it"
    if not mapping.billable and not record.told & TELLING:
        return "neither model nor tokens nor cost in it; what is no call, the mapping's table billable can tell"
    path, name = record.first("operation")
    name = text_of(name)
    operation = _OPERATIONS.get(mapping.operations.get(name.lower(), name.lower()))
    if operation is None:
        return f"{path or 'operation'} has a name that is in no entry of the mapping's operations"
    if operation is Operation.POLL:
        return None
    return Row(
        id=texts["id"] or digest_of(record.entry),
        start_ns=start,
        end_ns=end or (start + length if start else 0),
        trace=texts["trace"],
        span=_hex(texts["span"]),
        parent=_hex(texts["parent"]),
        provider=texts["provider"],
        request_model=texts["model"],
        response_model=texts["response_model"],
        operation=operation,
        counts=Counts(
            counts["input_tokens"],
            counts["output_tokens"],
            counts["cache_read_tokens"],
            counts["cache_write_tokens"],
            total=counts["total_tokens"],
        ),
        cache_inside=mapping.cache_inside_input,
        searches=counts["searches"],
        cost_pico=cost,
        streamed=flags["streamed"],
        failed=any(_is_one_of(value_at(record.entry, path), values) for path, values in mapping.failed.items()),
        cache_hit=bool(flags["cache_hit"]),
        batch=bool(flags["batch"]),
        service_tier=texts["service_tier"].lower(),
        credential=texts["credential"],
        response_id=texts["response_id"],
        call_id=texts["call_id"],
        request_id=texts["request_id"],
        batch_id=texts["batch_id"],
        session=texts["session"],
        user=texts["user"],
        workflow=texts["workflow"],
        environment=texts["environment"],
        feature=texts["feature"],
        metadata=record.several("metadata"),
        tags=record.several("tags"),
        fields=[tenant] if tenant[1] is not None else [],
    )


def _hex(text: str) -> str:
    """A span id as hex; empty for an id of another form."""
    lowered = text.lower()
    return lowered if len(lowered) == SPAN_DIGITS and not lowered.strip("0123456789abcdef") else ""


SPAN_DIGITS = 16


def _is_one_of(value: Any, wanted: tuple[str, ...]) -> bool:
    """Whether a value is written as one of these texts, or is a number that one of them asks for."""
    text = str(value).lower() if isinstance(value, bool) else text_of(value).strip().lower()
    return any(_is_at_least(text, entry) if entry.startswith(AT_LEAST) else text == entry.lower() for entry in wanted)


def _is_at_least(text: str, wanted: str) -> bool:
    try:
        return Decimal(text) >= Decimal(wanted.removeprefix(AT_LEAST))
    except InvalidOperation:
        return False


class MappedReader:
    """Reads the records of a source that the user declared."""

    def __init__(self, builder: BatchBuilder, mapping: SourceMapping) -> None:
        self._builder = builder
        self._mapping = mapping
        paths = mapping.fields.get("tenant", ())
        self._writer = RowWriter(builder, mapping.name, fields=dict.fromkeys(("", *paths), NAMESPACE))

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a record; raises ``msgspec.DecodeError`` when it is not JSON."""
        value = json_value(record)
        self._builder.mark(line, byte)
        for entry in rows_of(self._mapping, value):
            self._writer.take(mapped_row(entry, self._mapping) if isinstance(entry, dict) else NOT_A_ROW, line, byte)

    def finish(self) -> None:
        """Nothing is held back."""


def rows_of(mapping: SourceMapping, value: Any) -> Iterator[Any]:
    """The rows of a record: at the mapping's path, or as any API's answer has them."""
    rows = value_at(value, mapping.rows) if mapping.rows else rows_in(value)
    yield from rows if isinstance(rows, list) else (rows,)


def reader_for(mapping: SourceMapping) -> Callable[[BatchBuilder], MappedReader]:
    """A reader for the table of formats."""
    return partial(MappedReader, mapping=mapping)


def records_for(head: bytes) -> Callable[[Opened], Iterator[Record]]:
    """How an input is cut into records: a table by its rows, anything else by its JSON values."""
    return csv_records if header_of(head) else Opened.records
