"""What is worked out once for all objects that have the same keys in the same order.

The rows of an export, and the attribute objects in them, have a few hundred sequences of keys between them. Which of
their values are asked for depends on nothing else, so that a row costs one look-up and not one for each key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Generic, TypeVar

import msgspec

CACHED_SETS = 1 << 13
CACHED_KEYS = 256
"""Most keys of an object that is worth remembering."""

T = TypeVar("T")
Picked = Callable[[Mapping[str, msgspec.Raw]], tuple[msgspec.Raw, ...]]


class KeySets(dict[tuple[str, ...], T], Generic[T]):
    """By the keys of an object, what was worked out for them: when they are asked for first."""

    def __init__(self, work_out: Callable[[tuple[str, ...]], T]) -> None:
        super().__init__()
        self._work_out = work_out

    def __missing__(self, keys: tuple[str, ...]) -> T:
        """Work it out."""
        found = self._work_out(keys)
        if len(self) < CACHED_SETS and len(keys) <= CACHED_KEYS:
            self[keys] = found
        return found


def picks(keys: Sequence[str]) -> Picked:
    """Takes the values of these keys, in this order."""
    if len(keys) > 1:
        return itemgetter(*keys)
    if not keys:
        return _nothing
    (only,) = keys
    return lambda values: (values[only],)


def _nothing(_: Mapping[str, msgspec.Raw]) -> tuple[()]:
    return ()
