"""Metadata objects of products: the entries that may name somebody, as attributes.

Tenants, environments and the like stay together, as the metadata that they are: there are few of them, and what they
say is remembered. The ids of a user, a session, a workflow or a request are different in every conversation: each
becomes an attribute of its own, which is read with every span.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec
import orjson

from auditor.load.key_sets import KeySets, Picked, picks
from auditor.load.otlp_types import KeyValue
from auditor.load.otlp_values import UNDECODABLE
from auditor.load.plain_values import SHORT, is_short, raw_of
from auditor.model.lexicon import Field, Lexicon

IDS = frozenset({Field.USER, Field.SESSION, Field.WORKFLOW, Field.REQUEST_ID})
TEXT = ord('"')
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
KNOWN_OBJECT = 4096
"""Bytes of the longest object that is remembered."""
KNOWN_OBJECTS = 16 << 20
"""Bytes of all that are."""
T = TypeVar("T")
_NESTED_OR_NULL = frozenset(b"{[n")


class Entries(NamedTuple):
    """What one sequence of keys holds."""

    names: list[bytes]
    """How the entries of the object that is left begin."""
    kept: Picked
    id_keys: list[str]
    """Keys of the ids as attributes."""
    ids: Picked


class MetadataObjects:
    """Turns metadata objects into attributes; what is left of an object becomes one under ``key``."""

    def __init__(self, lexicon: Lexicon, key: str) -> None:
        self._key = key
        self._meanings = lexicon.metadata_fields
        self._id_keys = {
            meaning.field: meaning.key for _, meaning in sorted(lexicon.meaning_of_code.items()) if meaning.field in IDS
        }
        """By concept, the attribute that comes last: what the span says itself goes before its metadata."""
        self._entries = KeySets(self._entries_of)

    def read(self, metadata: Mapping[str, msgspec.Raw]) -> tuple[bytes, list[KeyValue]]:
        """What is left of an object, and all attributes.

        These have to stand before the span's own: of a key that is there twice the last one counts.
        """
        entries = self._entries[tuple(metadata)]
        left = b""
        found: list[KeyValue] = []
        if entries.id_keys:
            found = [
                KeyValue(key, raw)
                for key, raw in zip(entries.id_keys, entries.ids(metadata), strict=True)
                if _is_short(bytes(raw))
            ]
        if entries.names:
            kept = [
                name + raw
                for name, raw in zip(entries.names, map(bytes, entries.kept(metadata)), strict=True)
                if _is_short(raw)
            ]
            if kept:
                left = b"{" + b",".join(kept) + b"}"
                found.append(KeyValue(self._key, msgspec.Raw(left)))
        return left, found

    def _entries_of(self, keys: Sequence[str]) -> Entries:
        known = [(key, self._meanings[key.lower()].field) for key in keys if key.lower() in self._meanings]
        told = Counter(field for _, field in known)
        # Of several, the first that is not empty counts: that is for who opens the object.
        ids = {key: self._id_keys[field] for key, field in known if field in self._id_keys and told[field] == 1}
        kept = [key for key, _ in known if key not in ids]
        return Entries(
            [msgspec.json.encode(key) + b":" for key in kept], picks(kept), list(ids.values()), picks([*ids])
        )


class KnownObjects(dict[bytes, T], Generic[T]):
    """By the bytes of a JSON object, what was read from it: when it is asked for first.

    Remembered is what ``repeats``: objects with ids in them are never the same again.
    """

    def __init__(self, read: Callable[[bytes], T], repeats: Callable[[T], bool]) -> None:
        super().__init__()
        self._read = read
        self._repeats = repeats
        self._bytes = 0

    def __missing__(self, raw: bytes) -> T:
        """Read it."""
        found = self._read(raw)
        if len(raw) <= KNOWN_OBJECT and self._repeats(found):
            self._bytes += len(raw)
            if self._bytes > KNOWN_OBJECTS:
                self.clear()
                self._bytes = len(raw)
            self[raw] = found
        return found


def entries_of(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The entries of a JSON object, or of a JSON text that is one; none for anything else."""
    data = bytes(raw)
    try:
        if data[:1] == b'"':
            data = orjson.loads(data).encode()
        return _object.decode(data) if data[:1] == b"{" else {}
    except UNDECODABLE:
        return _mended(data)


def _mended(data: bytes) -> dict[str, msgspec.Raw]:
    """The entries of an object whose keys were cut inside a character."""
    try:
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return {key: raw_of(inner) for key, inner in value.items()} if isinstance(value, dict) else {}


def _is_short(raw: bytes) -> bool:
    """Say whether a value as JSON is a short text, a number or a truth."""
    if raw[0] != TEXT:
        return raw[0] not in _NESTED_OR_NULL
    if len(raw) <= SHORT:
        return True
    try:
        return is_short(orjson.loads(raw))
    except UNDECODABLE:
        return False
