"""Inputs found, opened and cut into records, with positions that a user can look up."""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import InputError
from auditor.load import sources
from auditor.load.sources import BrokenCompressionError, Opened, Source, find, values_in


def cut(path: Path) -> list[tuple[bytes, int, int]]:
    opened = Opened(Source(str(path), path))
    try:
        return [(bytes(data), line, byte) for data, line, byte in opened.records()]
    finally:
        opened.close()


def both(tmp_path: Path, data: bytes) -> list[tuple[bytes, int, int]]:
    """Cut a file and its gzip; both have to give the same."""
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data, 1))
    found = cut(plain)
    assert cut(packed) == found
    return found


@pytest.fixture(params=[7, 64, 8 << 20])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Read in pieces that end anywhere."""
    monkeypatch.setattr(sources, "CHUNK", request.param)
    monkeypatch.setattr(sources, "HEAD", min(request.param, sources.HEAD))
    return request.param


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a":1}', [(b'{"a":1}', 1, 0)]),
        (b'{"a":1}\n', [(b'{"a":1}', 1, 0)]),
        (b'{"a":1}\n{"a":2}\n', [(b'{"a":1}', 1, 0), (b'{"a":2}', 2, 8)]),
        (b'\n\n {"a":1}\n\n\n{"a":2}', [(b'{"a":1}', 3, 3), (b'{"a":2}', 6, 13)]),
        (b'\xef\xbb\xbf{"a":1}\n{"a":2}', [(b'{"a":1}', 1, 3), (b'{"a":2}', 2, 11)]),
        (b'{"a":1}\r\n{"a":2}\r\n', [(b'{"a":1}\r', 1, 0), (b'{"a":2}\r', 2, 9)]),
        (b'{\n "a": 1\n}\n{\n "a": 2\n}\n', [(b'{\n "a": 1\n}', 1, 0), (b'{\n "a": 2\n}', 4, 12)]),
        (b'{"a":1}\n{\n "a": 2\n}\n{"a":3}\n', [(b'{"a":1}', 1, 0), (b'{\n "a": 2\n}', 2, 8), (b'{"a":3}', 5, 20)]),
        (b'[{"a":1}\n,{"a":2}\n]\n', [(b'[{"a":1}\n,{"a":2}\n]', 1, 0)]),
        (b'[{"a":1},\n{"a":2}]', [(b'[{"a":1},\n{"a":2}]', 1, 0)]),
        (b'{"a":1\n{"a":2}\n{"a":3}\n', [(b'{"a":1\n', 1, 0), (b'{"a":2}', 2, 7), (b'{"a":3}', 3, 15)]),
        (b'{"a":"b\n{"a":2}\n', [(b'{"a":"b\n', 1, 0), (b'{"a":2}', 2, 8)]),
        (b'{"a":\n{"a":2}\n{"a":3}\n', [(b'{"a":\n', 1, 0), (b'{"a":2}', 2, 6), (b'{"a":3}', 3, 14)]),
        (b"", []),
        (b" \n\t\n", []),
        (b"\xef\xbb\xbf", []),
    ],
)
def test_values_are_cut_with_their_positions(
    tmp_path: Path, data: bytes, expected: list[tuple[bytes, int, int]]
) -> None:
    assert [(record.strip(), line, byte) for record, line, byte in both(tmp_path, data)] == [
        (record.strip(), line, byte) for record, line, byte in expected
    ]


VALUES = st.lists(
    st.recursive(
        st.integers() | st.text(max_size=6) | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=5,
    ).map(lambda value: {"v": value}),
    min_size=1,
    max_size=5,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    VALUES, st.sampled_from(("\n", "\r\n", "\n\n \n")), st.sampled_from((None, 1, 4)), st.booleans(), st.integers(1, 40)
)
def test_every_value_of_every_framing_comes_out_once(
    values: list[object], between: str, indent: int | None, ascii_only: bool, size: int
) -> None:
    data = between.join(json.dumps(value, indent=indent, ensure_ascii=ascii_only) for value in values).encode(
        "utf-8", "surrogatepass"
    )
    before = sources.CHUNK
    sources.CHUNK = size
    try:
        packed = list(records_of_stream(gzip.compress(data, 1)))
    finally:
        sources.CHUNK = before

    assert [json.loads(record) for record, _, _ in packed] == values
    for record, line, byte in packed:
        assert data[byte : byte + len(record)] == record
        assert data[:byte].count(b"\n") == line - 1


def records_of_stream(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    before = sys.stdin
    sys.stdin = SimpleNamespace(buffer=io.BytesIO(data))  # type: ignore[assignment]  # only the buffer is read
    try:
        for record, line, byte in Opened(Source("<stdin>", None)).records():
            yield bytes(record), line, byte
    finally:
        sys.stdin = before


def test_values_back_to_back_are_cut_with_their_positions() -> None:
    data = b'{"a":1}{"a":2} \n [3]\n{"a":4}'

    found = [(bytes(record).strip(), line, byte) for record, line, byte in values_in(memoryview(data), 7, 100)]

    assert found == [(b'{"a":1}', 7, 100), (b'{"a":2}', 7, 107), (b"[3]", 8, 117), (b'{"a":4}', 9, 121)]


def test_half_an_emoji_does_not_hide_the_end_of_a_value(tmp_path: Path) -> None:
    data = b'{\n "a": "\\ud83d",\n "b": ["}", 1]\n}\n{\n "a": 2\n}\n'

    assert [(line, byte) for _, line, byte in both(tmp_path, data)] == [(1, 0), (5, 35)]


def test_a_broken_line_in_a_long_stream_does_not_pull_in_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    # A value may be as large as MAX_RECORD; all that follows a broken line may not count as part of it.
    monkeypatch.setattr(sources, "CHUNK", 1 << 10)
    monkeypatch.setattr(sources, "MAX_RECORD", 16 << 10)
    lines = [b'{"a":%d}\n' % number for number in range(20_000)]
    lines[5] = b'{"a":[1,\n'

    found = list(records_of_stream(gzip.compress(b"".join(lines), 1)))

    assert len(found) == 20_000


def test_value_above_the_limit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CHUNK", 1 << 10)
    monkeypatch.setattr(sources, "MAX_RECORD", 16 << 10)

    with pytest.raises(InputError, match="<stdin>: a single JSON value is larger"):
        list(records_of_stream(gzip.compress(b'{"a":"' + b"x" * (64 << 10), 1)))


def test_broken_compression_comes_after_what_could_be_read() -> None:
    data = random.Random(3).randbytes(3000).hex().encode()
    packed = gzip.compress(b'{"a":1}\n' + data)[:-700]
    found: list[tuple[bytes, int, int]] = []

    with pytest.raises(BrokenCompressionError, match="ends before its end mark"):
        found.extend(records_of_stream(packed))

    assert found[0] == (b'{"a":1}', 1, 0)
    assert data.startswith(found[1][0])
    assert len(found[1][0]) > 1000


def test_bytes_read_follow_the_input(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'{"a":1}\n{"a":2}\n')
    opened = Opened(Source("x.json", path))

    seen = [opened.bytes_read for _ in opened.records()]

    assert seen[0] <= seen[-1] <= opened.bytes_read == 16
    opened.close()


# -- finding -----------------------------------------------------------------------------------------


def test_files_of_a_directory_come_sorted_each_once(tmp_path: Path) -> None:
    for name in ("b.json", "a/c.json", "a.json", ".hidden.json", ".git/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")

    found = find([str(tmp_path), str(tmp_path / "a.json"), str(tmp_path / "*.json")])

    assert [str(source.path.relative_to(tmp_path)) for source in found if source.path] == [
        "a/c.json",
        "a.json",
        "b.json",
    ]


def test_glob_reaches_into_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.json").write_text("{}")

    assert [source.name for source in find([str(tmp_path / "**" / "*.json")])] == [str(tmp_path / "a" / "b" / "x.json")]


def test_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "trace[1].json"
    path.write_text("{}")

    assert [source.path for source in find([str(path)])] == [path]


def test_standard_input_is_one_input() -> None:
    assert find(["-", "-"]) == [Source("<stdin>", None)]


@pytest.mark.parametrize("name", ["missing.json", "*.none", "a" * 5000, "nul\0byte"])
def test_what_leads_to_nothing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        find([str(tmp_path / name)])


def test_reader_that_gives_up_in_the_middle_leaves_no_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'{"a":1}\n{"a":2}\n')
    opened = Opened(Source("x.json", path))
    records = opened.records()
    data, _, _ = next(records)
    held = memoryview(data)[2:]

    records.close()
    opened.close()

    assert bytes(held) == b'a":1}'
    assert capsys.readouterr().err == ""
