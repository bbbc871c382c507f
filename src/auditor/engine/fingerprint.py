"""A short text for what inputs are read with, so that kept columns can say what they were made with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from auditor.model.lexicon import Lexicon


def fingerprint(lexicon: Lexicon) -> str:
    """A short text that two lexicons share when they read everything alike."""
    return hashlib.sha256(_canonical(lexicon).encode()).hexdigest()[:16]


def _canonical(value: Any) -> str:
    if is_dataclass(value):
        return _canonical({entry.name: getattr(value, entry.name) for entry in fields(value)})
    if isinstance(value, Mapping):
        return _listed(sorted(f"{_canonical(key)}:{_canonical(inner)}" for key, inner in value.items()))
    if isinstance(value, frozenset | set):
        return _listed(sorted(map(_canonical, value)))
    if isinstance(value, tuple | list):
        return _listed(map(_canonical, value))
    return repr((value.pattern, value.flags)) if isinstance(value, re.Pattern) else repr(value)


def _listed(parts: Iterable[str]) -> str:
    return f"[{','.join(parts)}]"
