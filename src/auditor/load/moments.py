"""Moments in all the units that exports use, as nanoseconds since 1970 in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

LAST_NS = (1 << 63) - 1
"""Later moments do not fit into a column."""
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
_FRACTION_FROM = 19
"""Length of ``2026-11-21T09:47:48``, after which come the fraction and the zone."""
_FLOAT_DIGITS = 10**7
_FLOAT_STEP = SECOND // _FLOAT_DIGITS
_DIGITS_FROM = 20
_MICROSECONDS_END = 26
_UTC = frozenset({"", "Z", "+00:00"})
"""What may follow microseconds; a text without a zone is UTC."""
_TO_THE_NANOSECOND = 29
"""Length of ``2026-11-21 09:47:48.727667123``, as ClickHouse writes it."""
_LAST_SECOND = LAST_NS // SECOND


def nanoseconds(value: Any, unit: int) -> int:
    """Convert a number of units (nanoseconds each) written as int, float or text; 0 for anything else.

    Seconds as floats count to the tenth of a microsecond, which is what a float of this size holds.
    """
    if type(value) is float and unit == SECOND and 0 < value < _LAST_SECOND:
        whole = int(value)
        return whole * SECOND + round((value - whole) * _FLOAT_DIGITS) * _FLOAT_STEP
    if type(value) is int:
        found = value * unit
    elif isinstance(value, float):
        try:
            whole = int(value)
        except (OverflowError, ValueError):
            return 0
        rest = value - whole
        found = whole * unit + (round(rest * _FLOAT_DIGITS) * _FLOAT_STEP if unit == SECOND else round(rest * unit))
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


def nanoseconds_of_seconds(column: Sequence[float]) -> list[int]:
    """What ``nanoseconds`` makes of seconds as floats."""
    values = np.array(column, dtype=np.float64)
    if not column or not 0 <= values.min() <= values.max() < _LAST_SECOND:
        return [nanoseconds(value, SECOND) for value in column]
    whole = values.astype(np.int64)
    steps = np.rint((values - whole) * _FLOAT_DIGITS).astype(np.int64)
    found: list[int] = (whole * SECOND + steps * _FLOAT_STEP).tolist()
    return found


def iso_nanoseconds(text: Any) -> int:
    """Read an ISO 8601 moment with up to nine digits of a second; without a zone it is UTC. 0 for anything else."""
    if not isinstance(text, str) or len(text) < _FRACTION_FROM:
        return 0
    if text[_FRACTION_FROM : _FRACTION_FROM + 1] == ".":
        # The usual spellings: nanoseconds without a zone, and microseconds in UTC.
        size = len(text)
        if size == _TO_THE_NANOSECOND:
            digits, unit = text[_DIGITS_FROM:], 1
        elif size >= _MICROSECONDS_END and text[_MICROSECONDS_END:] in _UTC:
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


def iso_columns(*columns: Sequence[Any]) -> list[list[int]]:
    """What ``iso_nanoseconds`` makes of the texts of each column; at least cost where all are UTC and spelled alike."""
    together = _alike([text for column in columns for text in column])
    if together is not None:
        return [[*islice(found, len(column))] for found in [iter(together)] for column in columns]
    return [_alike(column) or [*map(iso_nanoseconds, column)] for column in columns]


def _alike(texts: Sequence[Any]) -> list[int] | None:
    """Read moments that differ in digits only; ``None`` where that is not so, or one of them is none."""
    try:
        size, zone = len(texts[0]), next(zone for zone in _ZONES if texts[0].endswith(zone))
        # Between date and time.
        mark = texts[0][_DATE:][:1]
        letters = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
        is_alike = set(map(len, texts)) == {size} and len(letters) == size * len(texts)
    except (AttributeError, TypeError, IndexError, UnicodeEncodeError):
        return None
    end = size - len(zone)
    if not is_alike or mark not in {"T", " "} or not _DIGITS_FROM < end <= len(_SHAPE):
        return None
    least = np.frombuffer((_SHAPE[:end].replace("T", mark) + zone).encode(), dtype=np.uint8)
    letters = letters.reshape(-1, size)
    numbers = letters - least
    if (numbers[:, :end] > _MOST[:end]).any() or numbers[:, end:].any():
        return None
    try:
        moments = letters[:, :_FRACTION_FROM].copy().view(f"S{_FRACTION_FROM}")[:, 0].astype("datetime64[s]")
    except ValueError:
        return None
    seconds = moments.astype(np.int64)
    if seconds.min() <= 0 or seconds.max() >= _LAST_SECOND:
        return None
    found: list[int] = (seconds * SECOND + numbers[:, _DIGITS_FROM:end] @ _POWERS[: end - _DIGITS_FROM]).tolist()
    return found


_DATE = len("2026-11-21")
_ZONES = ("Z", "+00:00", "")
_SHAPE = "0000-00-00T00:00:00.000000000"
_MOST = np.array([9 if letter == "0" else 0 for letter in _SHAPE], dtype=np.uint8)
"""By how much each letter may be above that of the shape."""
_POWERS = np.array([10**digit for digit in range(8, -1, -1)])


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
