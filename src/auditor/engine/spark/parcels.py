"""Spans on their way from who read them to their partition: pieces of batches, as bytes.

Bytes are of one run, between processes that have the same version of this package; they are no format to keep.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import zstandard

from auditor.engine.columns import arrays_of, by_trace, cut, joined, pieces, trace_hashes
from auditor.model.spans import I64, U64, Batch

Parcel = tuple[int, bytes]
"""The number of a partition, and spans for it."""
Moves = Mapping[int, tuple[U64, I64]]
"""By partition, the traces that leave it, in order, and the partitions that they go to."""

_HALF = np.uint64(32)


def pack(value: Any) -> bytes:
    """A value as bytes."""
    return zstandard.ZstdCompressor(level=1).compress(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))


def unpack(data: bytes) -> Any:
    """The value that ``pack`` was given."""
    return pickle.loads(zstandard.ZstdDecompressor().decompress(data))  # noqa: S301  # written by this run


def home_of(traces: U64, partitions: int) -> I64:
    """Numbers of the partitions that traces with these hashes belong to; larger hashes have no smaller number."""
    homes: I64 = (((traces >> _HALF) * np.uint64(partitions)) >> _HALF).astype(np.int64)
    return homes


def parcels(batches: Sequence[Batch], partitions: int) -> Iterator[Parcel]:
    """Cut batches into one parcel for each partition that has spans in them."""
    batch = by_trace(batches[0]) if len(batches) == 1 else joined(batches)
    homes = home_of(trace_hashes(arrays_of(batch)), partitions)
    numbers, firsts = np.unique(homes, return_index=True)
    for number, piece in zip(numbers.tolist(), pieces(batch, firsts), strict=True):
        yield number, pack(piece)


def forwarded(parcel: Parcel, moves: Moves) -> Iterator[Parcel]:
    """The parcel without the traces that leave its partition, and a parcel for each partition that they go to."""
    home, data = parcel
    if home not in moves:
        yield parcel
        return
    traces, targets = moves[home]
    batch: Batch = unpack(data)
    hashes = trace_hashes(arrays_of(batch))
    at = np.minimum(np.searchsorted(traces, hashes), len(traces) - 1)
    homes = np.where(traces[at] == hashes, targets[at], home)
    numbers = np.unique(homes).tolist()
    if numbers == [home]:
        yield parcel
        return
    for number in numbers:
        yield number, pack(cut(batch, homes == number))
