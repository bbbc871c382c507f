"""A short text for what inputs are read with, so that kept columns can say what they were made with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec

from auditor.model.lexicon import Lexicon


def fingerprint(lexicon: Lexicon) -> str:
    """A short text that two lexicons share when they read everything alike."""
    tables = [_ordered(getattr(lexicon, entry.name)) for entry in fields(lexicon)]
    return hashlib.sha256(msgspec.json.encode(tables, enc_hook=_pattern, order="sorted")).hexdigest()[:16]


def _ordered(table: Any) -> Any:
    """A table whose entries were not added in a certain order, and whose keys need not be texts."""
    return sorted(table.items()) if isinstance(table, Mapping) else table


def _pattern(value: Any) -> tuple[str | bytes, int]:
    if isinstance(value, re.Pattern):
        return value.pattern, value.flags
    raise NotImplementedError
