"""Datadog's ids: 64-bit numbers in decimal, or hex where they are texts of full length."""

from __future__ import annotations

from auditor.load.builder import canonical_id

Id = int | str | None
NO_HALF = "0" * 16
_LOW = (1 << 64) - 1
_HEX_WIDTHS = frozenset({16, 32})
ROOTS = frozenset({"", "0", "undefined", "null", "None"})
"""What stands in place of a parent where there is none."""


def trace_hex(value: Id, high: str = NO_HALF) -> str:
    """A trace id as 32 hex digits: ``high`` is the upper half of one of 64 bits; empty when it cannot be read."""
    if type(value) is int and 0 <= value <= _LOW:
        return f"{high}{value:016x}"
    number = _number(value)
    if number is None:
        text = canonical_id(value, 16) or ""
        return high + text[16:] if text.startswith(NO_HALF) else text
    return f"{number:032x}" if number > _LOW else f"{high}{number:016x}"


def span_hex(value: Id) -> str:
    """A span id as 16 hex digits; empty when it cannot be read."""
    if type(value) is int and 0 <= value <= _LOW:
        return f"{value:016x}"
    number = _number(value)
    if number is None:
        return canonical_id(value, 8) or ""
    return f"{number & _LOW:016x}"


def is_root(parent: Id) -> bool:
    """Say whether a parent id stands for none."""
    return not parent if type(parent) is int else parent is None or str(parent) in ROOTS


def _number(value: Id) -> int | None:
    """The number that an id is; ``None`` for hex."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value if 0 <= value < 1 << 128 else None
    text = value.strip()
    # A decimal id of 64 bits has up to 20 digits; of 16 or 32 it may as well be hex, and is when it says so.
    if not text.isdecimal() or len(text) == 32 or (len(text) in _HEX_WIDTHS and text.startswith("0")):
        return None
    number = int(text)
    return number if number < 1 << 128 else None
