"""Metadata objects: ids become attributes, the rest stays together, and texts stay behind."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from auditor.load.foreign_ids import SPAN_BYTES, TRACE_BYTES, KnownIds, id_of
from auditor.load.metadata_objects import KnownObjects, MetadataObjects, entries_of
from auditor.model.lexicon import RANKS, Field
from auditor.normalise.vocabulary import compile_lexicon

LEXICON = compile_lexicon()


def read(metadata: dict[str, Any]) -> tuple[Any, dict[Field, Any], list[str]]:
    """What is left, the ids by concept, and all keys."""
    raws = msgspec.json.decode(orjson.dumps(metadata), type=dict[str, msgspec.Raw])
    left, attributes = MetadataObjects(LEXICON, "langsmith.metadata").read(raws)
    ids = {
        Field(LEXICON.span_codes[pair.key] // RANKS): orjson.loads(bytes(pair.value))
        for pair in attributes
        if pair.key != "langsmith.metadata"
    }
    return orjson.loads(left) if left else None, ids, [pair.key for pair in attributes]


def test_ids_become_attributes_and_tenants_stay_metadata() -> None:
    left, ids, keys = read({"tenant_id": "acme", "session_id": "s-1", "user_id": 7, "prompt": "hello"})

    assert left == {"tenant_id": "acme"}
    assert ids == {Field.SESSION: "s-1", Field.USER: 7}
    assert keys[-1] == "langsmith.metadata"


def test_two_entries_for_one_id_are_left_to_who_opens_the_object() -> None:
    left, ids, _ = read({"session_id": "", "thread_id": "t-9", "user_id": "u"})

    assert left == {"session_id": "", "thread_id": "t-9"}
    assert ids == {Field.USER: "u"}


def test_an_attribute_of_the_span_itself_comes_before_an_id_of_its_metadata() -> None:
    _, _, (key,) = read({"session_id": "s-1"})

    assert LEXICON.span_codes[key] == max(
        code for code, meaning in LEXICON.meaning_of_code.items() if meaning.field is Field.SESSION
    )


def test_what_is_long_or_deep_or_absent_stays_behind() -> None:
    assert read({"tenant_id": "x" * 129, "user_id": {"id": 1}, "session_id": None, "org_id": ["a"]}) == (None, {}, [])


def test_a_text_is_as_long_as_its_characters_and_not_as_its_bytes() -> None:
    left, _, _ = read({"tenant_id": "ä" * 128})

    assert left == {"tenant_id": "ä" * 128}


@pytest.mark.parametrize(
    ("raw", "entries"),
    [
        (b'{"a": 1, "b": {"c": "d"}}', {"a": b"1", "b": b'{"c": "d"}'}),
        (b'"{\\"a\\": 1}"', {"a": b"1"}),
        # A key that was cut inside a character, as the reader of records mends it.
        (b'{"a\xc3": 1, "b": "x"}', {"a\ufffd": b"1", "b": b'"x"'}),
        (b'{"\\ud83d": 1, "b": 2}', {"\ud83d": b"1", "b": b"2"}),
        (b'{"a": 1', {}),
        (b'"{"', {}),
        (b'"text"', {}),
        (b"[1]", {}),
        (b"null", {}),
        (b"7", {}),
        (b"", {}),
    ],
)
def test_entries_are_those_of_an_object_or_of_a_text_that_is_one(raw: bytes, entries: dict[str, bytes]) -> None:
    assert {key: bytes(value) for key, value in entries_of(raw).items()} == entries


def test_what_repeats_is_read_once_and_the_rest_is_not_remembered() -> None:
    read: list[bytes] = []

    def noted(raw: bytes) -> bytes:
        read.append(raw)
        return raw

    known = KnownObjects(noted, lambda raw: raw != b"other")

    found = [known[raw] for raw in (b"same", b"same", b"other", b"other", b"long" * 2000, b"long" * 2000)]

    assert found == [b"same", b"same", b"other", b"other", b"long" * 2000, b"long" * 2000]
    assert read == [b"same", b"other", b"other", b"long" * 2000, b"long" * 2000]


@pytest.mark.parametrize("width", [SPAN_BYTES, TRACE_BYTES])
@pytest.mark.parametrize(
    "odd",
    ["", "text", "AB" * 8, "0" * 16, "0" * 32, "zz" * 8, "ab" * 16, "ab cd " * 2 + "abcd", " " + "ab" * 7 + "a",
     "deadbeef-0000-0000-0000-00000000beef", "\u0660" * 16, '"quoted"', "\ud800"],
)  # fmt: skip
def test_ids_of_a_column_are_those_of_its_texts(odd: str, width: int) -> None:
    usual = "ab" * width

    found = KnownIds(width).column([usual, odd, None])

    assert found == [usual, id_of(odd.strip('"'), width), ""]
