"""Orders that cost less than those of the library, where it is known what the columns are like."""

from __future__ import annotations

import numpy as np

from auditor.model.spans import I64, U64


def order_of_hashes(hashes: U64) -> tuple[I64, U64]:
    """Row numbers in the order of a column of hashes, equal ones as they come, and the column in that order.

    The high digits of a hash tell it from nearly all others: with the row number in the place of its low ones it is
    sorted as a plain number, in half the time that row numbers take.
    """
    low = np.uint64((1 << len(hashes).bit_length()) - 1)
    packed = hashes & ~low
    packed |= np.arange(len(hashes), dtype=np.uint64)
    packed.sort()
    packed &= low
    order = packed.view(np.int64)
    ordered = hashes[order]
    if (ordered[1:] < ordered[:-1]).any():
        # Nearly in order already, which this way to sort makes use of.
        again = np.argsort(ordered, kind="stable")
        order, ordered = order[again], ordered[again]
    return order, ordered


def order_by(first: np.ndarray, *others: np.ndarray) -> I64:
    """Row numbers in the order of the first column, then of the others.

    As ``np.lexsort`` of the same columns from the last to the first, in a third of the time where the values of the
    first one hardly repeat: the others are looked at only where they do.
    """
    by = np.argsort(first)
    is_same = first[by][1:] == first[by][:-1]
    if is_same.any():
        tied = np.append(is_same, False) | np.append(False, is_same)
        rows = np.sort(by[tied])
        by[tied] = rows[np.lexsort([column[rows] for column in (*others[::-1], first)])]
    return by
