"""Metadata objects: ids become attributes, the rest stays together, and texts stay behind."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from auditor.load.metadata_objects import MetadataObjects
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
