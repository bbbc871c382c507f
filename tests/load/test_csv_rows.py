"""Tables with a header line: records with the place where they begin."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest

from auditor.load.csv_rows import csv_records, has_columns
from auditor.load.sources import Opened, Source


def records(home: Path, data: bytes) -> list[tuple[object, int, int]]:
    path = home / "table"
    path.write_bytes(data)
    opened = Opened(Source(str(path), path))
    try:
        return [(orjson.loads(bytes(record)), line, byte) for record, line, byte in csv_records(opened)]
    finally:
        opened.close()


PLAIN = [({"a": "1", "b": "x"}, 2, 4), ({"a": "2", "b": "y"}, 3, 8)]


@pytest.mark.parametrize("data", [b"a,b\n1,x\n2,y\n", b"a,b\n1,x\n2,y", b"a,b\n1,x\n2,y\n\n"])
def test_rows_come_with_line_and_byte(tmp_path: Path, data: bytes) -> None:
    assert records(tmp_path, data) == PLAIN


def test_compressed_table_reads_alike(tmp_path: Path) -> None:
    assert records(tmp_path, gzip.compress(b"a,b\n1,x\n2,y\n")) == PLAIN


def test_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    assert records(tmp_path, b"\xef\xbb\xbfa,b\r\n1,x\r\n2,y\r\n") == [
        ({"a": "1", "b": "x"}, 2, 8),
        ({"a": "2", "b": "y"}, 3, 13),
    ]


def test_quoted_field_may_hold_lines_and_commas(tmp_path: Path) -> None:
    assert records(tmp_path, b'a,b\n"1\n,\n",x\n2,y\n') == [
        ({"a": "1\n,\n", "b": "x"}, 2, 4),
        ({"a": "2", "b": "y"}, 5, 13),
    ]


def test_fields_longer_than_a_chunk(tmp_path: Path) -> None:
    long = b"x" * (3 << 20)

    found = records(tmp_path, b"a,b\n1," + long + b"\n2,y\n")

    assert [(line, byte) for _, line, byte in found] == [(2, 4), (3, 7 + len(long))]


def test_row_with_other_columns_comes_as_the_reason(tmp_path: Path) -> None:
    assert records(tmp_path, b"a,b\n1\n2,y,z\n2,y\n") == [
        ("1 columns where the header has 2", 2, 4),
        ("3 columns where the header has 2", 3, 6),
        ({"a": "2", "b": "y"}, 4, 12),
    ]


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"a,b,c\n1,2,3\n", True), (b"\xef\xbb\xbfb,a\r\n", True), (b'"a","b"\n', True), (b"a;b\n", False),
        (b"a\n", False), (b'{"a":1,"b":2}\n', False), (b'["a","b"]\n', False), (b"", False), (b"\xff,a,b\n", False),
    ],
)  # fmt: skip
def test_table_is_known_by_its_columns(head: bytes, found: object) -> None:
    assert has_columns("a", "b")(head) is found
