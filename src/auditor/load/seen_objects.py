"""Remembers what was made of JSON objects, by their bytes.

Most spans that are no model calls say the same as many others: the route, the function, the table. A reader that has
the bytes of their attributes need not read them again. An input whose objects are never the same twice, because ids
or times stand among them, costs a look-up each: after some of those it is given up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

LONGEST = 256
"""Longer objects hold texts of users or ids of their own."""
MOST = 1 << 13
"""Objects above which all are forgotten."""
PATIENCE = 1 << 12
"""So many more objects that were new than objects that were not: it is given up."""

T = TypeVar("T")


class SeenObjects(Generic[T]):
    """Reads objects, the same one once."""

    def __init__(self, read: Callable[[bytes], T]) -> None:
        """Remember what ``read`` makes of the bytes of an object; what it raises passes through."""
        self._read = read
        self._seen: dict[bytes, T] = {}
        self._balance = PATIENCE

    def read(self, raw: msgspec.Raw) -> T:
        """Read an object."""
        data = bytes(raw)
        if len(data) > LONGEST or self._balance < 0:
            return self._read(data)
        try:
            found = self._seen[data]
        except KeyError:
            self._balance -= 1
            if len(self._seen) >= MOST:
                self._seen.clear()
            found = self._seen[data] = self._read(data)
        else:
            if self._balance < PATIENCE:
                self._balance += 1
        return found
