"""Spans reach their partition, whole and once, however they are cut on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.engine.columns import arrays_of, first_fault, trace_hashes
from auditor.engine.spark.parcels import forwarded, home_of, parcels, unpack
from auditor.model.spans import Batch
from batches import content, runs

common = settings(max_examples=60, deadline=None, derandomize=True)
HIGHEST = (1 << 64) - 1


def hashes_of(batch: Batch) -> np.ndarray:
    return trace_hashes(arrays_of(batch))


def said(batches: Sequence[Batch]) -> dict[str, Any]:
    """What the merged table says; how many traces the batches had is left out, which parcels bring together."""
    found = content(batches)
    del found["column_bytes"]
    return found


def test_homes_are_ranges_of_equal_width() -> None:
    hashes = np.array([0, HIGHEST // 3, HIGHEST // 3 + (1 << 34), HIGHEST], dtype=np.uint64)

    assert home_of(hashes, 3).tolist() == [0, 0, 1, 2]
    assert home_of(hashes, 1).tolist() == [0, 0, 0, 0]


@common
@given(runs(), st.sampled_from((1, 2, 7, 1000)))
def test_parcels_hold_the_spans_of_their_partition(batches: list[Batch], partitions: int) -> None:
    found = [(home, unpack(data)) for home, data in parcels(batches, partitions)]

    assert said([batch for _, batch in found]) == said(batches)
    homes = [home for home, _ in found]
    assert homes == sorted(set(homes))
    for home, batch in found:
        assert first_fault(batch) is None
        assert set(home_of(hashes_of(batch), partitions).tolist()) == {home}


@common
@given(runs(), st.data())
def test_traces_that_move_arrive_and_the_others_stay(batches: list[Batch], data: st.DataObject) -> None:
    before = list(parcels(batches, 3))
    targets = {}
    moves = {}
    for home, parcel in before:
        moving = [entry for entry in hashes_of(unpack(parcel)).tolist() if data.draw(st.booleans())]
        to = [data.draw(st.sampled_from([other for other in range(3) if other != home])) for _ in moving]
        targets |= dict(zip(moving, to, strict=True))
        if moving:
            moves[home] = np.array(moving, np.uint64), np.array(to, np.int64)

    after = [(home, unpack(sent)) for parcel in before for home, sent in forwarded(parcel, moves)]

    assert said([batch for _, batch in after]) == said(batches)
    for home, batch in after:
        hashes = hashes_of(batch)
        expected = [targets.get(entry, own) for entry, own in zip(hashes.tolist(), home_of(hashes, 3), strict=True)]
        assert expected == [home] * len(hashes)
