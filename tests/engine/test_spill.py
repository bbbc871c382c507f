"""What is spilled comes back whole, a range of traces at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditor.engine.columns import arrays_of, joined, trace_hashes
from auditor.engine.spill import Entries, SpillFile, SpillWriter
from auditor.errors import SettingsError
from auditor.load.builder import BatchBuilder
from auditor.model.spans import U64, Batch, Kind, Role
from batches import LEXICON, TRACES, content, inputs, runs

common = settings(max_examples=80, deadline=None, derandomize=True)
WHOLE = 1 << 64


def written(path: Path, batches: Sequence[Batch]) -> SpillFile:
    with SpillWriter(path) as writer:
        for batch in batches:
            writer.append(batch)
    return SpillFile(path)


def hashes_of(batches: Sequence[Batch]) -> U64:
    return np.unique(np.concatenate([trace_hashes(arrays_of(batch)) for batch in batches]))


HASHES = [
    int(trace_hashes({"trace_ids": np.array([[int(text[:16], 16), int(text[16:], 16)]], np.uint64)})[0])
    for text in TRACES
]


@common
@given(runs(), st.lists(st.integers(0, WHOLE) | st.sampled_from(HASHES), max_size=6))
@example([], [5])
def test_slices_of_any_partition_say_what_the_batches_said(batches: list[Batch], borders: list[int]) -> None:
    borders = [0, *sorted(borders), WHOLE]
    with tempfile.TemporaryDirectory() as home, written(Path(home) / "spill", batches) as file:
        slices = [file.slice(low, high) for low, high in pairwise(borders)]

        assert content([batch for found in slices for batch in found]) == content(batches)
        for found, low, high in zip(slices, borders, borders[1:], strict=False):
            assert all(low <= number < high for batch in found for number in trace_hashes(arrays_of(batch)).tolist())
        assert file.spans == sum(len(batch.key) for batch in batches)
        assert file.spans_by_first_byte().sum() == file.spans


@common
@given(runs(), st.data())
def test_traces_may_be_given_to_another_slice_than_their_range(batches: list[Batch], data: st.DataObject) -> None:
    border = data.draw(st.integers(1, WHOLE - 1) | st.sampled_from(HASHES))
    there = hashes_of(batches)
    low, high = there[there < border], there[there >= border]
    down = np.array([entry for entry in high.tolist() if data.draw(st.booleans())], np.uint64)
    up = np.array([entry for entry in low.tolist() if data.draw(st.booleans())], np.uint64)
    with tempfile.TemporaryDirectory() as home, written(Path(home) / "spill", batches) as file:
        first = file.slice(0, border, without=up, extra=down)
        second = file.slice(border, WHOLE, without=down, extra=up)

    expected = np.sort(np.concatenate([np.setdiff1d(low, up), down]))
    assert (hashes_of(first) if first else np.empty(0)).tolist() == expected.tolist()
    assert content([*first, *second]) == content(batches)


@common
@given(inputs(), inputs())
def test_two_builders_may_take_turns(one: list[Batch], other: list[Batch]) -> None:
    turns = [batch for n in range(3) for part in (one, other) for batch in part[n : n + 1]]
    with tempfile.TemporaryDirectory() as home, written(Path(home) / "spill", turns) as file:
        assert content(file.slice()) == content(turns)


@common
@given(runs(), st.integers(1, WHOLE - 1))
def test_slices_of_several_files_may_share_their_tables(batches: list[Batch], border: int) -> None:
    found: list[Batch] = []
    with tempfile.TemporaryDirectory() as home:
        for low, high in ((0, border), (border, WHOLE)):
            entries = Entries()
            part: list[Batch] = []
            for number, batch in enumerate(batches):
                with written(Path(home) / f"{number} {low}", [batch]) as file:
                    part += file.slice(low, high, entries=entries)
            assert len({id(batch.places) for batch in part}) <= 1
            assert all(
                len(set(map(repr, table))) == len(table) for batch in part for table in (batch.texts, batch.facts)
            )
            found += part

    assert content(found) == content(batches)


@common
@given(runs())
def test_tables_hold_what_a_slice_uses(batches: list[Batch]) -> None:
    low = int(np.sort(hashes_of(batches))[0])
    with tempfile.TemporaryDirectory() as home, written(Path(home) / "spill", batches) as file:
        found = file.slice(low, low + 1)

    whole = joined(found)
    for table in ("places", "tenants", "facts", "texts"):
        assert sorted(map(repr, getattr(found[0], table))) == sorted(map(repr, getattr(whole, table)))


def test_hashes_and_columns_can_be_read_alone(tmp_path: Path) -> None:
    batches = [batch_of(range(300)), batch_of(range(200, 500))]
    with written(tmp_path / "spill", batches) as file:
        assert [entry.tolist() for entry in file.hashes()] == [trace_hashes(arrays_of(b)).tolist() for b in batches]
        assert [entry["key"].shape for entry in file.read("key", "trace")] == [(300,), (300,)]


def batch_of(numbers: range, texts: bool = False) -> Batch:
    """A span in a trace of its own for each number."""
    builder = BatchBuilder(LEXICON)
    place = builder.place_code(builder.resource([]), "", Kind.SERVER, None, Role.SERVER, provider_api=False)
    for number in numbers:
        if texts:
            builder.add_extra(searches=None, cost=None, log_id=f"log {number:040}")
        builder.add_span(f"{number + 1:032x}", f"{number + 1:016x}", "0" * 16, place, -1, number, number)
    return builder.finish()


def test_file_is_the_owner_s_alone_and_never_another_s(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SpillWriter(tmp_path / "spill").close()
    finally:
        os.umask(before)

    assert (tmp_path / "spill").stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingsError, match="File exists"):
        SpillWriter(tmp_path / "spill")


def test_memory_of_a_slice_grows_with_the_slice_alone(tmp_path: Path) -> None:
    piece = 1 << 16
    batch = batch_of(range(piece))
    peaks = {}
    for count in (2, 8):
        with written(tmp_path / f"spill-{count}", [batch] * count) as file:
            tracemalloc.start()
            found = file.slice(0, WHOLE // 64)
            peaks[count] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            held = sum(entry.column_bytes for entry in found)

            assert sum(len(entry.key) for entry in found) > count * piece // 80
            assert peaks[count] < 3 * held + 300_000
            assert peaks[count] < count * batch.column_bytes / 8


def test_memory_of_single_traces_is_that_of_their_neighbours(tmp_path: Path) -> None:
    batch = batch_of(range(1 << 16))
    hashes = hashes_of([batch])
    with written(tmp_path / "spill", [batch]) as file:
        tracemalloc.start()
        found = file.slice(0, 0, extra=hashes[[0, -1]])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert hashes_of(found).tolist() == hashes[[0, -1]].tolist()
    assert peak < batch.column_bytes / 20


def test_a_write_may_take_a_part_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: whole(handle, bytes(data[:100])))
    batch = batch_of(range(50))

    with written(tmp_path / "spill", [batch]) as file:
        assert content(file.slice()) == content([batch])


FULL = """
import resource, sys
from itertools import pairwise
from pathlib import Path
sys.path[:0] = {paths!r}
from test_spill import batch_of
from auditor.engine.spill import SpillWriter
from auditor.errors import AuditorError
batch = batch_of(range(20_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (batch.column_bytes // 2, -1))
try:
    with SpillWriter(Path(sys.argv[1])) as writer:
        writer.append(batch)
except AuditorError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_full_disk_is_one_line_that_names_the_directory_and_the_way_out(tmp_path: Path) -> None:
    """The limit on the size of a file stands for a disk that takes a part of a write and then refuses."""
    script = FULL.format(paths=[str(Path(__file__).parents[n]) for n in (0, 1)])

    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "spill"], capture_output=True, encoding="utf-8", check=False
    )

    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == (
        f"{tmp_path}: temporary files cannot be written: File too large; "
        "--temp-dir names a directory with room for them\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_no_space_left_is_said_so(tmp_path: Path) -> None:
    writer = SpillWriter(tmp_path / "spill")
    os.dup2(os.open("/dev/full", os.O_WRONLY), writer._handle)

    with pytest.raises(SettingsError, match=f"^{tmp_path}: .*No space left on device; --temp-dir"):
        writer.append(batch_of(range(3)))


@pytest.mark.parametrize("keep", [10, 100, -1])
def test_file_that_was_cut_off_is_refused(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "spill"
    written(path, [batch_of(range(50))]).close()
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(SettingsError, match="incomplete"):
        SpillFile(path)


def test_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        SpillFile(tmp_path / "spill")
