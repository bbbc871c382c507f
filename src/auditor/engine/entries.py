"""Interned values as JSON and back: the small tables of a batch outside of its process.

Written with escapes, so that a text with half a surrogate pair in it comes back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from auditor.engine.columns import Table
from auditor.model.spans import CallFacts, Place, TenantTag

_TYPES: dict[Table, Any] = {
    Table.TEXTS: list[str],
    Table.PLACES: list[Place],
    Table.TENANTS: list[tuple[TenantTag, ...]],
    Table.FACTS: list[CallFacts],
}


def to_json(entry: Any) -> str:
    """One value as a line of JSON without a character beyond ASCII."""
    return json.dumps(entry, separators=(",", ":"))


def from_json(table: Table, texts: Sequence[bytes]) -> list[Any]:
    """Values of a table; raises ``ValueError`` for what none is."""
    found: list[Any] = msgspec.convert(json.loads(b"[%b]" % b",".join(texts)), _TYPES[table])
    if len(found) != len(texts):
        raise ValueError("an entry is not one value")
    return found


def to_bytes(text: str) -> bytes:
    """A text as UTF-8, half surrogate pairs included."""
    return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """The text that ``to_bytes`` had."""
    return data.decode("utf-8", "surrogatepass")
