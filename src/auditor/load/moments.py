"""Moments in all the units that exports use, as nanoseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

LAST_NS = (1 << 63) - 1
"""Later moments do not fit into a column."""
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
_FRACTION_FROM = 19
"""Length of ``2026-11-21T09:47:48``, after which come the fraction and the zone."""
_FLOAT_DIGITS = 10**7
_DIGITS_FROM = 20
_MICROSECONDS_END = 26
_UTC = frozenset({"", "Z", "+00:00"})
"""What may follow microseconds; a text without a zone is UTC."""
_TO_THE_NANOSECOND = 29
"""Length of ``2026-11-21 09:47:48.727667123``, as ClickHouse writes it."""
_WITH_ZONE = 27
"""Length of ``2026-11-21T09:47:48.727667Z``."""
_LAST_SECOND = LAST_NS // SECOND


def nanoseconds(value: Any, unit: int) -> int:
    """Convert a number of units (nanoseconds each) written as int, float or text; 0 for anything else.

    Seconds as floats count to the tenth of a microsecond, which is what a float of this size holds.
    """
    if type(value) is int:
        found = value * unit
    elif isinstance(value, float):
        try:
            whole = int(value)
        except (OverflowError, ValueError):
            return 0
        rest = value - whole
        found = whole * unit + (
            round(rest * _FLOAT_DIGITS) * (SECOND // _FLOAT_DIGITS) if unit == SECOND else round(rest * unit)
        )
    elif isinstance(value, str):
        try:
            found = int(value) * unit
        except ValueError:
            try:
                number = float(value)
            except ValueError:
                return 0
            return nanoseconds(number, unit)
    else:
        return 0
    return found if 0 <= found <= LAST_NS else 0


def iso_nanoseconds(text: Any) -> int:
    """Read an ISO 8601 moment with up to nine digits of a second; without a zone it is UTC. 0 for anything else."""
    if not isinstance(text, str) or len(text) < _FRACTION_FROM:
        return 0
    if text[_FRACTION_FROM : _FRACTION_FROM + 1] == ".":
        # The usual spellings: nanoseconds without a zone, and microseconds in UTC.
        size = len(text)
        if size == _TO_THE_NANOSECOND:
            digits, unit = text[_DIGITS_FROM:], 1
        elif (size == _WITH_ZONE and text[-1] == "Z") or text[_MICROSECONDS_END:] in _UTC:
            digits, unit = text[_DIGITS_FROM:_MICROSECONDS_END], MICROSECOND
        else:
            digits, unit = "", 0
        if digits.isdecimal():
            seconds = _seconds_in_utc(text[:_FRACTION_FROM])
            return seconds * SECOND + int(digits) * unit if 0 < seconds < _LAST_SECOND else 0
    digits = ""
    zone = text[_FRACTION_FROM:]
    if zone[:1] in {".", ","}:
        digits = zone[1 : len(zone) - len(zone[1:].lstrip("0123456789"))]
        zone = zone[1 + len(digits) :]
    seconds = _seconds(text[:_FRACTION_FROM], zone)
    found = seconds * SECOND + int(digits[:9].ljust(9, "0"))
    return found if seconds and 0 <= found <= LAST_NS else 0


@lru_cache(maxsize=4096)
def _seconds_in_utc(moment: str) -> int:
    return _seconds(moment, "")


@lru_cache(maxsize=4096)
def _seconds(moment: str, zone: str) -> int:
    """Whole seconds since 1970; 0 when it is no moment."""
    try:
        parsed = datetime.fromisoformat(moment + zone.strip())
    except ValueError:
        return 0
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
