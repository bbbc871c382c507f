"""Rows that come one a line: many are decoded at once, and what is not as usual is left to be read by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from auditor.load.otlp_values import UNDECODABLE
from auditor.load.sources import Lines
from auditor.load.span_writer import SpanWriter

T = TypeVar("T")
Take = Callable[[T, int, int, int], bool]
"""Takes a row over that comes from a record of so many bytes, at this line and byte; says whether it did."""


def take_rows(lines: Lines, decoder: msgspec.json.Decoder[T], take: Take[T], writer: SpanWriter) -> list[int]:
    """Have the rows of lines taken over by ``take``, which hands them to ``writer``; says which it did not take."""
    refused = []
    start = 0
    for number, (row, end) in enumerate(zip(_rows_of(lines, decoder), lines.ends, strict=True)):
        if row is None or not take(row, end - start, lines.line + number, lines.byte + start):
            refused.append(number)
        start = end
    # The lines are there no longer than this.
    writer.end()
    return refused


def _rows_of(lines: Lines, decoder: msgspec.json.Decoder[T]) -> list[T] | list[T | None]:
    """The row of each line; ``None`` for one that cannot be read so."""
    try:
        rows = decoder.decode_lines(lines.data)
    except UNDECODABLE:
        rows = []
    if len(rows) == len(lines.ends):
        return rows
    found: list[T | None] = []
    start = 0
    for end in lines.ends:
        try:
            found.append(decoder.decode(lines.data[start:end]))
        except UNDECODABLE:
            found.append(None)
        start = end
    return found
