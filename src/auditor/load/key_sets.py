"""What is worked out once for all objects that have the same keys in the same order.

The rows of an export, and the attribute objects in them, have a few hundred sequences of keys between them. Which of
their values are asked for depends on nothing else, so that a row costs one look-up and not one for each key.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Generic, TypeVar

import msgspec

from auditor.load.builder import PRESENCE_BELOW
from auditor.load.plain_values import READ_AT_ONCE
from auditor.model.lexicon import RANKS, Lexicon

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


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """What is asked for of the attribute objects that have the same keys; each is like itself only."""

    keys: tuple[str, ...]
    """All that are asked for."""
    values: Picked
    """Takes the values of all."""
    deciding_keys: tuple[str, ...]
    """Those of which the value matters, and not only that they are there."""
    deciding: Picked
    """Takes their values."""
    repeats: bool
    """None of them is an id or a count, so that there are few different objects."""


def asked_of(
    keys: Sequence[str], uses: Mapping[str, bool], lexicon: Lexicon, ignored: Container[str] = frozenset()
) -> Asked:
    """Work out what is asked for, by ``Uses``; ``ignored`` keys are no attributes."""
    wanted = tuple(key for key in keys if uses[key] and key not in ignored)
    codes = [lexicon.span_codes.get(key) for key in wanted]
    deciding = tuple(key for key, code in zip(wanted, codes, strict=True) if code is None or code >= PRESENCE_BELOW)
    return Asked(
        wanted,
        picks(wanted),
        deciding,
        picks(deciding),
        all(code is None or code // RANKS not in READ_AT_ONCE for code in codes),
    )


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
