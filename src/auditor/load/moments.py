"""Moments in all the units that exports use, as nanoseconds since 1970 in UTC."""

from __future__ import annotations

import math
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
_MICROSECONDS_END = 26
_UTC = frozenset({"", "Z", "+00:00"})
"""What may follow microseconds; a text without a zone is UTC."""
_TO_THE_NANOSECOND = 29
"""Length of ``2026-11-21 09:47:48.727667123``, as ClickHouse writes it."""
_DIGITS = slice(20, 26)


def nanoseconds(value: Any, unit: int) -> int:
    """Convert a number of units (nanoseconds each) written as int, float or text; 0 for anything else.

    Seconds as floats count to the tenth of a microsecond, which is what a float of this size holds.
    """
    if type(value) is int:
        found = value * unit
    elif isinstance(value, float) and math.isfinite(value):
        whole = int(value)
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
        # The usual spellings: microseconds in UTC, and nanoseconds without a zone.
        if text[_MICROSECONDS_END:] in _UTC:
            digits, unit = text[_DIGITS], MICROSECOND
        else:
            digits, unit = text[_FRACTION_FROM + 1 :], 1 if len(text) == _TO_THE_NANOSECOND else 0
        if unit and digits.isdecimal():
            seconds = _seconds(text[:_FRACTION_FROM], "")
            return seconds * SECOND + int(digits) * unit if 0 < seconds < LAST_NS // SECOND else 0
    digits = ""
    zone = text[_FRACTION_FROM:]
    if zone[:1] in {".", ","}:
        digits = zone[1 : len(zone) - len(zone[1:].lstrip("0123456789"))]
        zone = zone[1 + len(digits) :]
    seconds = _seconds(text[:_FRACTION_FROM], zone)
    found = seconds * SECOND + int(digits[:9].ljust(9, "0"))
    return found if seconds and 0 <= found <= LAST_NS else 0


@lru_cache(maxsize=4096)
def _seconds(moment: str, zone: str) -> int:
    """Whole seconds since 1970; 0 when it is no moment."""
    try:
        parsed = datetime.fromisoformat(moment + zone.strip())
    except ValueError:
        return 0
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
