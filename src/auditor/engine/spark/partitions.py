"""Partitions on Spark: spans are brought together by a shuffle, and a round is one step on what the last one left.

What a partition knows goes from round to round as bytes in a DataFrame, and what it says to all others by way of the
driver. Every function here gives the same for the same rows, whatever order they come in, so that a task that is
lost and tried again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.engine.bonds import components
from auditor.engine.machine import without_garbage_collection
from auditor.engine.spark.inputs import Input, together
from auditor.engine.spark.parcels import Moves, forwarded, home_of, pack, unpack
from auditor.engine.spark.reading import Kind, Reading
from auditor.engine.spark.session import Frame, Kept, Session
from auditor.errors import AuditorError
from auditor.load import Loaded, PartRead, join_parts
from auditor.model.spans import Batch

if TYPE_CHECKING:
    import pyarrow as pa

Step = Callable[[Any, Any, Any], Any]
"""A step of a partition: with the context, the partition and what all partitions said before."""

PARCELS = "home int, data binary"
STATES = "home int, state binary, told binary"
"""Spark's schemas of spans on their way, and of partitions after a step."""
PARTITION_BYTES = 512 << 20
"""Input of one partition: half a million spans, which take 300 MB of an executor while they are worked on."""
FEWEST, MOST = 8, 1 << 16
"""Partitions of a run."""


def partitions_for(inputs: Sequence[Input]) -> int:
    """Into how many partitions the spans of inputs go."""
    size = sum(entry.size for entry in inputs)
    return min(max(-(-size // PARTITION_BYTES), FEWEST), MOST)


@dataclass(frozen=True, slots=True)
class Making:
    """What whoever runs the steps gives to executors."""

    context: Any
    """The same for all steps of a run; sent by value."""
    partition: Callable[[list[Batch]], Any]


@dataclass(frozen=True, slots=True)
class _Order:
    """What an executor is to do in a round."""

    run: str
    making: Making
    step: Step
    shared: Any


@dataclass(slots=True)
class _There:
    """What an executor's process keeps from task to task: the context of the run that it was in last."""

    run: str = ""
    context: Any = field(default=None)


_THERE = _There()


class Partitions:
    """The spans of some inputs, in partitions on a Spark session."""

    def __init__(self, session: Session, making: Making, partitions: int) -> None:
        self._session = session
        self._making = making
        self._count = partitions
        self._read: list[Kept] = []
        self._spans: Frame = None
        self._edges = np.empty((0, 2), np.uint64)
        self._grouped: Frame = None
        self._state: Kept | None = None

    def read(self, inputs: Sequence[Input], reading: Reading) -> Loaded:
        """Read all inputs; what ``load`` returns, without batches. Raises ``InputError`` as that does."""
        frames: list[Frame] = []
        reads: list[PartRead] = []
        for entry in inputs:
            kept, frame, found = entry.read(self._session, reading)
            self._read += kept
            frames.append(frame)
            reads += found
        loaded = join_parts(reads)
        rows = together(frames)
        self._spans = rows.filter(rows.kind == int(Kind.PARCEL)).select("home", "data")
        bonds = rows.filter(rows.kind == int(Kind.BOND)).select("node", "trace").distinct()
        self._edges = _edges(self._session.arrow(_shared(bonds)))
        self._divide()
        return loaded

    def _divide(self) -> None:
        """Bring the spans of each partition together, those of bound traces where the first of them is."""
        traces, leaders = components(self._edges)
        moves = _moves(traces, leaders, self._count)
        spans = self._spans
        if moves:

            def forward(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
                return _forward(moves, batches)

            spans = spans.mapInArrow(forward, PARCELS)
        self._release()
        self._grouped = spans.repartition(self._count, "home").groupBy("home")

    def each(self, step: Step, shared: Any = None) -> list[Any]:
        """Take a step in every partition; what they say, in any order."""
        order = _Order(self._session.run, self._making, step, shared)
        if self._state is None:

            def begin(parcels: pa.Table) -> pa.Table:
                return _begin(order, parcels)

            frame = self._grouped.applyInArrow(begin, STATES)
        else:

            def go_on(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
                return _go_on(order, batches)

            frame = self._state.frame.mapInArrow(go_on, STATES)
        state = self._session.keep(frame)
        found = [unpack(told) for told in self._session.arrow(state.frame.select("told")).column("told").to_pylist()]
        self._release()
        self._state = state
        for told in found:
            if isinstance(told, AuditorError):
                raise told
        return found

    def bring_together(self, bonds: Sequence[tuple[int, int]]) -> bool:
        """Put traces into one partition and begin anew; false where they are in one already."""
        pairs = np.array(bonds, dtype=np.uint64).reshape(-1, 2)
        traces, leaders = components(self._edges)
        homes = [_homes(column, traces, leaders, self._count) for column in pairs.T]
        if not len(pairs) or (homes[0] == homes[1]).all():
            return False
        self._edges = np.concatenate([self._edges, pairs])
        self._divide()
        return True

    def _release(self) -> None:
        if self._state is not None:
            self._state.release()
            self._state = None

    def close(self) -> None:
        """Let go of all that Spark keeps for this run."""
        self._release()
        for kept in self._read:
            kept.release()
        self._read = []


def _shared(bonds: Frame) -> Frame:
    """Pairs of traces that have a node in common: the first of each node, and every other one."""
    from pyspark.sql import Window, functions  # noqa: PLC0415  # an extra

    first = functions.min("trace").over(Window.partitionBy("node"))
    pairs = bonds.withColumn("first", first).filter("trace <> first")
    return pairs.select("first", "trace").distinct()


def _edges(pairs: pa.Table) -> np.ndarray:
    columns = [pairs.column(name).to_numpy().astype(np.int64).view(np.uint64) for name in ("first", "trace")]
    return np.stack(columns, axis=1)


def _homes(hashes: np.ndarray, traces: np.ndarray, leaders: np.ndarray, partitions: int) -> np.ndarray:
    """The partition of each trace, by itself or by the one that it is bound to."""
    if len(traces):
        at = np.minimum(np.searchsorted(traces, hashes), len(traces) - 1)
        hashes = np.where(traces[at] == hashes, leaders[at], hashes)
    return home_of(hashes, partitions)


def _moves(traces: np.ndarray, leaders: np.ndarray, partitions: int) -> Moves:
    homes, targets = home_of(traces, partitions), home_of(leaders, partitions)
    moving = homes != targets
    traces, homes, targets = traces[moving], homes[moving], targets[moving]
    # Traces are in order, and so are their partitions.
    numbers, firsts = np.unique(homes, return_index=True)
    borders = [*firsts.tolist(), len(homes)]
    return {
        number: (traces[start:end], targets[start:end])
        for number, start, end in zip(numbers.tolist(), borders[:-1], borders[1:], strict=True)
    }


# -- in executors ------------------------------------------------------------------------------------


def _forward(moves: Moves, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa  # noqa: PLC0415  # an extra, there where Spark is

    with without_garbage_collection():
        for batch in batches:
            columns = (batch.column(name).to_pylist() for name in ("home", "data"))
            found = [new for parcel in zip(*columns, strict=True) for new in forwarded(parcel, moves)]
            homes, data = zip(*found, strict=True) if found else ((), ())
            yield pa.RecordBatch.from_arrays(
                [pa.array(homes, pa.int32()), pa.array(data, pa.binary())], ["home", "data"]
            )


def _begin(order: _Order, parcels: pa.Table) -> pa.Table:
    """Take the first step in the partition that these parcels are for."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, there where Spark is

    with without_garbage_collection():
        # In an order of their own: they come from wherever they were ready first.
        batches = [unpack(data) for data in sorted(parcels.column("data").to_pylist())]
        home = parcels.column("home")[0].as_py()
        return pa.Table.from_batches([_taken(order, home, order.making.partition(batches))])


def _go_on(order: _Order, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Take a further step."""
    with without_garbage_collection():
        for batch in batches:
            for row in range(batch.num_rows):
                home, state = (batch.column(name)[row].as_py() for name in ("home", "state"))
                yield _taken(order, home, unpack(state))


def _taken(order: _Order, home: int, partition: Any) -> pa.RecordBatch:
    import pyarrow as pa  # noqa: PLC0415  # an extra, there where Spark is

    if _THERE.run != order.run:
        _THERE.run, _THERE.context = order.run, order.making.context
    try:
        told = order.step(_THERE.context, partition, order.shared)
    except AuditorError as error:
        # To the driver as it is, instead of failing the task again and again.
        told = error
    return pa.RecordBatch.from_arrays(
        [pa.array([home], pa.int32()), pa.array([pack(partition)], pa.binary()), pa.array([pack(told)], pa.binary())],
        ["home", "state", "told"],
    )
