"""Where the spans of each partition are: a range of trace hashes, less what moved out, and what moved in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from auditor.engine.spill import FENCES
from auditor.model.spans import I64, U64

WHOLE = 1 << 64


@dataclass(frozen=True, slots=True)
class Range:
    """The traces of one partition."""

    low: int
    high: int
    """Hashes are below this."""
    without: U64
    extra: U64


def divide(spans_by_first_byte: I64, partitions: int) -> list[int]:
    """Borders of ranges of hashes with about as many spans each: one more than there are ranges."""
    wanted = max(partitions, 1)
    running = np.r_[0, np.cumsum(spans_by_first_byte)].astype(np.float64)
    # Within one first byte, hashes are spread evenly.
    at = np.linspace(0, running[-1], wanted + 1)[1:-1]
    known = np.interp(at, running, np.arange(FENCES + 1)) if running[-1] else at
    borders = [0, *(min(int(place * 2**56), WHOLE) for place in known.tolist()), WHOLE]
    return sorted(set(borders))


def ranges(borders: Sequence[int], traces: U64, leaders: U64) -> list[Range]:
    """The ranges between borders, with each of the traces where its leader is."""
    inner = np.array(borders[1:-1], dtype=np.uint64)
    home = np.searchsorted(inner, traces, side="right")
    new = np.searchsorted(inner, leaders, side="right")
    moves = home != new
    return [
        Range(low, high, traces[moves & (home == number)], traces[moves & (new == number)])
        for number, (low, high) in enumerate(pairwise(borders))
    ]
