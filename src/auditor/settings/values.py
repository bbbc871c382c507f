"""How the values of settings are read and written.

Every reader raises ``ValueError`` saying what it expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from auditor.model.money import from_decimal_string, to_decimal_string
from auditor.model.report import Confidence

NONE = "none"
"""How a file, a variable or a flag says that a limit is off."""
AUTO = "auto"
"""How they say that the machine decides."""
MAX_JOBS = 1024
LEAST_MEMORY = 64 << 20
"""Bytes below which no run can stay."""
_MASTER = re.compile(r"local(?:-cluster)?(?:\[[\d*, ]+\])?|yarn|(?:spark|k8s|sc)://\S+")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b)?", re.IGNORECASE)
_UNITS = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
    "tib": 1 << 40, "ib": 1,
}  # fmt: skip


def read_share(value: object) -> Decimal | None:
    """Read ``10%``, ``0.1`` or ``none``; raises ``ValueError`` on anything else."""
    text = str(value).strip()
    if text.lower() == NONE:
        return None
    try:
        share = Decimal(text[:-1].rstrip()) / 100 if text.endswith("%") else Decimal(text)
    except ArithmeticError as error:
        raise ValueError("expected a share such as 10% or 0.1, or none") from error
    if not share.is_finite() or not 0 <= share <= 1:
        advice = f"; for {text} percent write {text}%" if "%" not in text and 1 < share <= 100 else ""
        raise ValueError(f"expected a share between 0% and 100%{advice}")
    return share


def read_dollars(value: object) -> int | None:
    """Read ``25``, ``$25.50`` or ``none`` as pico-dollars; raises ``ValueError`` on anything else."""
    text = str(value).strip().removeprefix("$")
    if text.lower() == NONE:
        return None
    try:
        amount = from_decimal_string(text)
    except ValueError as error:
        raise ValueError("expected an amount of US dollars such as 25 or 25.50, or none") from error
    if amount < 0:
        raise ValueError("expected an amount of US dollars that is not negative")
    return amount


def read_confidence(value: object) -> Confidence | None:
    """Read a confidence or ``none``; raises ``ValueError`` on anything else."""
    text = str(value).strip().lower()
    if text == NONE:
        return None
    try:
        return Confidence(text)
    except ValueError as error:
        raise ValueError(f"expected one of {', '.join(Confidence)}, {NONE}") from error


def read_flag(value: object) -> bool:
    """Read a truth value as files and CI systems write it; raises ``ValueError`` on anything else."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("expected true or false")


def read_date(value: object) -> date:
    """Read a day as TOML or ISO 8601 writes it; raises ``ValueError`` on anything else."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return datetime.strptime(str(value).strip(), "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise ValueError("expected a day such as 2027-01-31") from error


def read_names(value: object) -> tuple[str, ...]:
    """Read a list, or one text with commas; empty names are refused with ``ValueError``."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError("expected a list of names")  # noqa: TRY004  # one error for what a user wrote
    names = tuple(str(part).strip() for part in parts)
    if not all(names):
        raise ValueError("expected a list of names, none of them empty")
    return names


def read_jobs(value: object) -> int | None:
    """Read a number of processes, or ``auto`` for ``None``; raises ``ValueError`` on anything else."""
    text = str(value).strip().lower()
    if text == AUTO:
        return None
    if not text.isdecimal() or not 0 < int(text) <= MAX_JOBS:
        raise ValueError(f"expected a number of processes from 1 to {MAX_JOBS}, or auto")
    return int(text)


def read_master(value: object) -> str | None:
    """Read the address of a Spark master, or ``auto`` for ``None``; raises ``ValueError`` on anything else."""
    text = str(value).strip()
    if text.lower() == AUTO:
        return None
    if not _MASTER.fullmatch(text):
        raise ValueError("expected local, local[N], yarn, spark://…, k8s://…, sc://…, or auto")
    return text


def read_bytes(value: object) -> int | None:
    """Read ``512MiB``, ``2GB``, a number of bytes, or ``auto`` for ``None``; raises ``ValueError`` on anything else."""
    text = str(value).strip()
    if text.lower() == AUTO:
        return None
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("expected an amount of memory such as 512MiB or 2GB, or auto")
    number, unit = found.groups()
    size = int(Decimal(number) * _UNITS[(unit or "b").lower()])
    if size < LEAST_MEMORY:
        raise ValueError(f"expected at least {show_bytes(LEAST_MEMORY)}")
    return size


def show_bytes(value: object) -> str:
    """Write bytes in the largest unit that holds a whole number of them, and nothing as ``auto``."""
    if not isinstance(value, int):
        return AUTO
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value % size == 0 and value:
            return f"{value // size}{unit}"
    return str(value)


def show_auto(value: object) -> str:
    """Write a number, and nothing as ``auto``."""
    return AUTO if value is None else str(value)


def read_path(value: object) -> Path:
    """Read one path; an empty one is refused with ``ValueError``."""
    if not str(value).strip():
        raise ValueError("expected a path")
    return Path(str(value))


def read_paths(value: object) -> tuple[Path, ...]:
    """Read a list of paths, or one text with commas."""
    return tuple(Path(name) for name in read_names(value))


def choice(*choices: str) -> Callable[[object], str]:
    """Return a reader that accepts these texts only."""

    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return str(value)

    return read


def show_share(value: object) -> str:
    """Write a share as a percentage."""
    if not isinstance(value, Decimal):
        return NONE
    return f"{(value * 100).normalize():f}%"


def show_dollars(value: object) -> str:
    """Write pico-dollars as US dollars."""
    return NONE if not isinstance(value, int) else to_decimal_string(value)


def show_text(value: object) -> str:
    """Write anything else, and nothing as ``none``."""
    return NONE if value is None else str(value)


def quote(value: object) -> str:
    """Quote as a TOML basic string."""
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in escaped) + '"'


def shown(value: object) -> str:
    """Write a value as an error message quotes it."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else str(value)
