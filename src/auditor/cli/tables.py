"""Rows of a ledger as text: JSON lines and CSV for programs, aligned columns for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import orjson

Row = Mapping[str, object]

_WIDEST = 40
"""Characters of one value in a column."""


def jsonl(rows: Iterable[Row]) -> Iterator[bytes]:
    """Write one JSON object a line."""
    for row in rows:
        yield orjson.dumps(row) + b"\n"


def as_csv(rows: Iterable[Row]) -> Iterator[bytes]:
    """Write RFC 4180 with a header; no row, no header. Lists are JSON, unknown values are empty.

    A text that a spreadsheet would run as a formula gets an apostrophe in front; ``jsonl`` has it as it was.
    """
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\r\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})
        yield text.getvalue().encode("utf-8", "backslashreplace")
        text.seek(0)
        text.truncate()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) and not _is_number(value) else value
    if isinstance(value, int | float):
        return str(value)
    return orjson.dumps(value).decode()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def aligned(rows: Iterable[Row], columns: Sequence[str] | None = None) -> Iterator[bytes]:
    """Write columns of equal width, numbers to the right; ``columns`` chooses among those that there are."""
    from auditor.report.wording import visible  # noqa: PLC0415  # only people need it

    table: list[list[str]] = []
    numeric: list[bool] = []
    for row in rows:
        names = [name for name in columns or row if name in row]
        if not table:
            table.append(names)
            numeric = [True] * len(names)
        cells = [visible(_cell_for_people(row[name]), _WIDEST) if row[name] is not None else "" for name in names]
        numeric = [flag and (not cell or _is_number(cell)) for flag, cell in zip(numeric, cells, strict=True)]
        table.append(cells)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        padded = (
            cell.rjust(width) if flag else cell.ljust(width)
            for cell, width, flag in zip(cells, widths, numeric, strict=True)
        )
        yield "  ".join(padded).rstrip().encode("utf-8", "backslashreplace") + b"\n"


def _cell_for_people(value: object) -> str:
    return value if isinstance(value, str) and value else _cell(value) or '""'


FORMATS: Mapping[str, Callable[[Iterable[Row]], Iterator[bytes]]] = MappingProxyType(
    {"terminal": aligned, "jsonl": jsonl, "csv": as_csv}
)
