"""Orders are those of the library, whatever the columns are like."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.graph.ordering import order_by, order_of_hashes

DRAWN = np.random.default_rng(11)
HASHES = DRAWN.integers(0, 1 << 64, 3_000, dtype=np.uint64)


@pytest.mark.parametrize(
    "hashes",
    [
        HASHES,
        np.concatenate([HASHES, HASHES[::-3], HASHES[:500]]),
        np.arange(2_000, 0, -1, dtype=np.uint64) // np.uint64(3),
        np.array([2**64 - 1, 0, 2**64 - 1, 1], np.uint64),
        HASHES[:1],
        HASHES[:0],
    ],
    ids=["distinct", "repeated", "alike but for the low digits", "outermost", "one", "none"],
)
def test_hashes_come_in_order_and_equal_ones_as_they_came(hashes: np.ndarray) -> None:
    order, ordered = order_of_hashes(hashes)

    assert order.tolist() == np.argsort(hashes, kind="stable").tolist()
    assert ordered.tolist() == np.sort(hashes).tolist()


@pytest.mark.parametrize("distinct", [1, 2, 50, 1_000_000])
def test_columns_order_as_the_library_orders_them(distinct: int) -> None:
    first, second, third = (DRAWN.integers(-distinct, distinct, 2_000) for _ in range(3))

    assert order_by(first, second, third).tolist() == np.lexsort((third, second, first)).tolist()
    assert order_by(first[:0], second[:0]).tolist() == []
