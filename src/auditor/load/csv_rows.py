"""Tables with a header line: each row becomes a JSON object of texts, with the line and byte where it begins."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator

import orjson

from auditor.load.sources import BOM, Opened, Record

CHUNK = 1 << 20
MAX_FIELD = (1 << 31) - 1
"""Bytes of one field: logs hold whole prompts and answers in one."""


def header_of(head: bytes) -> list[str]:
    """The column names that the first line of an input gives; empty when it is no table."""
    line = head.removeprefix(BOM).partition(b"\n")[0].strip()
    if not line or line[:1] in b"{[" or b"," not in line:
        return []
    try:
        names = next(csv.reader([line.decode("utf-8")]))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return []
    return [name.strip() for name in names]


def has_columns(*names: str) -> Callable[[bytes], bool]:
    """A test for the table of formats: the first line names all of these columns."""
    wanted = frozenset(names)

    def is_framed_as(head: bytes) -> bool:
        return wanted <= frozenset(header_of(head))

    return is_framed_as


def csv_records(opened: Opened) -> Iterator[Record]:
    """Yield each row as a JSON object by column name; one with too few or too many columns as the text of a reason."""
    csv.field_size_limit(MAX_FIELD)
    lines = _Lines(opened)
    rows = csv.reader(lines, strict=False)
    names: list[str] = []
    while True:
        line, byte = lines.line + 1, lines.byte
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield orjson.dumps(f"not a table: {error}"), line, byte
            continue
        if not row:
            continue
        if not names:
            names = [name.strip() for name in row]
        elif len(row) != len(names):
            yield orjson.dumps(f"{len(row)} columns where the header has {len(names)}"), line, byte
        else:
            opened.line = line
            yield orjson.dumps(dict(zip(names, row, strict=True))), line, byte


class _Lines:
    """The lines of an input as text; knows how far it has been read."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._rest = b""
        self._at = 0
        self._at_end = False
        self._is_first = True
        self.line = 0
        """Lines handed out so far."""
        self.byte = 0
        """Bytes of these lines."""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        end = self._rest.find(b"\n", self._at)
        while end < 0 and not self._at_end:
            part = self._opened.read(CHUNK)
            self._at_end = not part
            self._rest = self._rest[self._at :] + part
            self._at = 0
            end = self._rest.find(b"\n")
        end = len(self._rest) if end < 0 else end + 1
        data = self._rest[self._at : end]
        if not data:
            raise StopIteration
        self._at = end
        self.line += 1
        self.byte += len(data)
        if self._is_first:
            self._is_first = False
            data = data.removeprefix(BOM)
        return data.decode("utf-8", "replace").replace("\0", "")
