"""Audits on this machine, by processes that read parts of the inputs and then work on partitions of their traces.

Each part is read by whoever is free, and its columns go to a private file. When all are read, the spans are divided
by the hashes of their traces, and each process takes its partitions from the files. A partition stays in memory from
step to step; where all together would be more than the run may hold, it is stored in between.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from auditor.engine.bonds import bonds_of, read_together, write_bonds
from auditor.engine.places import Range, divide, ranges
from auditor.engine.spill import FENCES, Entries, SpillFile, SpillWriter
from auditor.engine.tempdir import no_room
from auditor.engine.workers import Held, Here, Tell, Workers
from auditor.errors import InputError
from auditor.load import Loaded, Part, PartRead, join_parts, unread
from auditor.load.parts import PartReader
from auditor.model.lexicon import Lexicon
from auditor.model.mapping import SourceMapping
from auditor.model.spans import U64, Batch

Step = Callable[[Any, Any, Any], Any]
"""A step of a partition: with the context, the partition and what all partitions said before."""

BYTES_A_SPAN = 400
"""Memory that a span takes while its partition is worked on, and a little more: its columns, merged, several times
over, and what is found out about calls."""
HELD_BYTES_A_SPAN = 260
"""Memory that a span of a partition takes between two steps."""
OWN_BYTES = 110 << 20
"""Memory of a process that holds nothing: Python and the libraries."""
SMALLEST = 1 << 15
"""Spans below which a partition is not worth dividing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is needed to read parts."""

    lexicon: Lexicon
    mappings: tuple[SourceMapping, ...]
    directory: Path


@dataclass(frozen=True, slots=True)
class Making:
    """Functions of whoever runs the steps: they make what a process needs, and a partition of batches."""

    context: Callable[[], Any]
    partition: Callable[[list[Batch]], Any]


class Partitions:
    """Partitions in processes of this machine."""

    def __init__(self, workers: Workers | Here, directory: Path, *, memory: int, at_least: int = 1) -> None:
        """``memory`` is what all processes together may hold, ``at_least`` the fewest partitions."""
        self._workers = workers
        self._directory = directory
        self._memory = memory
        self._at_least = at_least
        self._ranges: list[Range] = []
        self._files: list[Path] = []
        self._bonds: list[tuple[int, int]] = []
        self._borders: list[int] = []
        self._is_stored = False
        self._taken = False

    # -- reading -------------------------------------------------------------------------------------

    def read(
        self, parts: Sequence[Part], *, progress: Callable[[int, int], None] | None = None, may_all_fail: bool = False
    ) -> Loaded:
        """Read all parts; what ``load`` returns, without batches. Raises ``InputError`` as that does."""
        reads = sorted(self._read(parts, progress), key=attrgetter("part.number"))
        again = [entry.part.whole() for entry in _first_of_inputs(e for e in reads if e.must_be_whole)]
        if again:
            inputs = {part.input for part in again}
            for entry in reads:
                if entry.part.input in inputs:
                    self._let_go(entry.part)
            reads = [entry for entry in reads if entry.part.input not in inputs] + self._read(again, progress)
        failed = {entry.part.input for entry in reads if entry.error is not None}
        kept = []
        for entry in reads:
            if entry.part.input in failed:
                self._let_go(entry.part)
                if entry.error is None:
                    continue
                entry = unread(entry.part, entry.error, may_fail=may_all_fail)  # noqa: PLW2901  # the same, noted
            elif entry.spans:
                self._files.append(_spill(self._directory, entry.part))
            kept.append(entry)
        kept = _first_error_of_inputs(kept)
        return join_parts(kept, may_all_fail=may_all_fail)

    def add(self, batches: Iterable[Batch]) -> None:
        """Add batches that have been read already, as those of a part."""
        number = len(self._files)
        path = self._directory / f"added-{number}.spill"
        writer: SpillWriter | None = None
        bonds: list[U64] = []
        for batch in batches:
            writer = writer or SpillWriter(path)
            writer.append(batch)
            bonds.append(bonds_of(batch))
        if writer is not None:
            writer.close()
            write_bonds(_bonds_path(path), bonds)
            self._files.append(path)

    def batches(self) -> Iterator[Batch]:
        """All that was read, one batch after the other."""
        for path in self._files:
            with SpillFile(path) as file:
                for first in range(0, 1 << 64, 1 << 60):
                    yield from file.slice(first, first + (1 << 60))

    def _read(self, parts: Sequence[Part], progress: Callable[[int, int], None] | None) -> list[PartRead]:
        done: dict[int, tuple[int, int]] = {}

        def hear(number: int, told: tuple[int, int]) -> None:
            done[number] = told
            if progress is not None:
                progress(sum(size for size, _ in done.values()), sum(spans for _, spans in done.values()))

        # The largest first: what is read last should be over soon.
        order = sorted(parts, key=lambda part: (-_size(part), part.number))
        return [read for _, read in self._workers.share_out(_read_task, [(part,) for part in order], hear=hear)]

    def _let_go(self, part: Part) -> None:
        spill = _spill(self._directory, part)
        for path in (spill, _bonds_path(spill)):
            path.unlink(missing_ok=True)

    # -- steps ---------------------------------------------------------------------------------------

    def each(self, step: Step, shared: Any = None) -> list[Any]:
        """Take a step in every partition; what they say, in any order."""
        if not self._taken:
            self._divide()
        shared_path = self._share(shared)
        tasks = [(step, shared_path, number) for number in range(len(self._ranges))]
        if self._is_stored:
            found = [told for _, told in self._workers.share_out(_step_task, tasks)]
        else:
            by_worker = [tasks[worker :: len(self._workers)] for worker in range(len(self._workers))]
            found = self._workers.each(_step_task, by_worker)
        if shared_path is not None:
            shared_path.unlink()
        return found

    def _share(self, shared: Any) -> Path | None:
        """What all get is written once."""
        if shared is None:
            return None
        path = self._directory / "shared"
        _store(path, shared)
        return path

    def bring_together(self, bonds: Sequence[tuple[int, int]]) -> bool:
        """Put traces into one partition and begin anew; false where they are in one already."""
        pairs = np.array(bonds, dtype=np.uint64).reshape(-1, 2)
        if not len(pairs) or (self._home(pairs[:, 0]) == self._home(pairs[:, 1])).all():
            return False
        self._bonds += bonds
        self._divide()
        return True

    def _home(self, traces: U64) -> np.ndarray:
        """The partition of each trace."""
        home = np.searchsorted(np.array(self._borders[1:-1], dtype=np.uint64), traces, side="right")
        for number, place in enumerate(self._ranges):
            home[np.isin(traces, place.extra)] = number
        return home

    def _divide(self) -> None:
        counts = np.zeros(FENCES, dtype=np.int64)
        for path in self._files:
            with SpillFile(path) as file:
                counts += file.spans_by_first_byte()
        spans = int(counts.sum())
        jobs = len(self._workers)
        room = max(self._memory - (jobs + 1) * OWN_BYTES, jobs * SMALLEST * BYTES_A_SPAN)
        self._is_stored = spans * HELD_BYTES_A_SPAN > room
        most = max(room // jobs // BYTES_A_SPAN, SMALLEST)
        partitions = max(-(-spans // most) if self._is_stored else 1, jobs, self._at_least)
        self._borders = divide(counts, partitions)
        traces, leaders = read_together([_bonds_path(path) for path in self._files], self._bonds)
        self._ranges = ranges(self._borders, traces, leaders)
        for number, place in enumerate(self._ranges):
            _store(_stored(self._directory, number), (place, self._files))
        self._workers.each(_settle_task, [[(self._is_stored,)]] * jobs)
        self._taken = True


def _size(part: Part) -> int:
    return part.source.size if part.end is None else part.end - part.start


def _first_of_inputs(reads: Iterable[PartRead]) -> list[PartRead]:
    by_input = sorted(reads, key=attrgetter("part.input", "part.number"))
    return [next(group) for _, group in groupby(by_input, key=attrgetter("part.input"))]


def _first_error_of_inputs(reads: Iterable[PartRead]) -> list[PartRead]:
    """Of the parts of an input that cannot be read, one speaks for all."""
    failed = _first_of_inputs(entry for entry in reads if entry.error is not None)
    return [entry for entry in reads if entry.error is None] + failed


def held(reading: Reading, making: Making) -> Callable[[], Held]:
    """What a process of this engine holds."""
    return partial(_make, reading, making)


def _make(reading: Reading, making: Making) -> Held:
    reader = PartReader(reading.lexicon, mappings=reading.mappings)
    return {
        "reader": reader,
        "reading": reading,
        "making": making,
        "context": None,
        "partitions": {},
        "is_stored": False,
    }


# -- in the processes --------------------------------------------------------------------------------


def _read_task(held: Held, tell: Tell, part: Part) -> PartRead:
    reading: Reading = held["reading"]
    path = _spill(reading.directory, part)
    writer: SpillWriter | None = None
    bonds: list[U64] = []

    def take(batch: Batch) -> None:
        nonlocal writer
        if writer is None:
            path.unlink(missing_ok=True)
            writer = SpillWriter(path)
        writer.append(batch)
        bonds.append(bonds_of(batch))

    try:
        reader: PartReader = held["reader"]
        found = reader.read(part, take, lambda size, spans: tell((size, spans)))
    except InputError as error:
        found = PartRead(part, error=error, bytes=part.source.size)
    finally:
        if writer is not None:
            writer.close()
    if writer is not None:
        write_bonds(_bonds_path(path), bonds)
    if found.error is None and not found.must_be_whole:
        tell((found.bytes, found.spans))
    return found


def _spill(directory: Path, part: Part) -> Path:
    return directory / f"part-{part.number}.spill"


def _bonds_path(spill: Path) -> Path:
    return spill.with_suffix(".bonds")


def _stored(directory: Path, number: int) -> Path:
    return directory / f"partition-{number}"


def _settle_task(held: Held, _: Tell, is_stored: bool) -> None:
    """Begin anew with the partitions."""
    held["is_stored"] = is_stored
    held["partitions"].clear()


def _step_task(held: Held, _: Tell, step: Step, shared_path: Path | None, number: int) -> Any:
    making: Making = held["making"]
    if held["context"] is None:
        held["context"] = making.context()
    partitions: dict[int, Any] = held["partitions"]
    path = _stored(held["reading"].directory, number)
    part = partitions.pop(number, None)
    if part is None:
        part = _load(path)
        if isinstance(part, tuple):
            part = making.partition(_batches(*part))
    told = step(held["context"], part, None if shared_path is None else _load(shared_path))
    if held["is_stored"]:
        _store(path, part)
    else:
        partitions[number] = part
    return told


def _batches(place: Range, files: Sequence[Path]) -> list[Batch]:
    batches: list[Batch] = []
    entries = Entries()
    for path in files:
        with SpillFile(path) as file:
            batches += file.slice(place.low, place.high, place.without, place.extra, entries=entries)
    return batches


def _store(path: Path, value: Any) -> None:
    """Keep something in the private directory of the run."""
    try:
        with path.open("wb") as file:
            pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
    except OSError as error:
        raise no_room(path, error) from error


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301  # written by this run, into a directory that is its owner's alone
