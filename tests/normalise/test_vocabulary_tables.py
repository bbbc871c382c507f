"""The vocabulary tables: each keeps to the published schema, and the schema says what the code knows."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from auditor.model.lexicon import Field, Operation
from auditor.normalise.vocabulary import CONVENTIONS, compile_lexicon, vocabulary_schema, vocabulary_versions

TABLES = sorted((Path(__file__).parents[2] / "src" / "auditor" / "normalise" / "vocabularies").glob("*.toml"))


def table(name: str) -> dict[str, Any]:
    (path,) = [path for path in TABLES if path.stem == name]
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_table_keeps_to_the_schema_and_is_named_like_its_file(path: Path) -> None:
    content = tomllib.loads(path.read_text(encoding="utf-8"))

    Draft202012Validator(vocabulary_schema()).validate(content)

    assert content["name"].replace("-", "_") == path.stem


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(vocabulary_schema())


def test_every_table_is_read() -> None:
    assert {path.stem for path in TABLES} - {"identity", "process", "apis"} == set(CONVENTIONS)


def test_the_schema_names_the_concepts_and_operations_that_the_code_knows() -> None:
    definitions: Any = vocabulary_schema()["$defs"]

    assert set(definitions["concept"]["enum"]) == {field.name.lower() for field in Field}
    assert set(definitions["operation"]["enum"]) == {str(operation) for operation in Operation}
    assert set(definitions["namespace"]["enum"]) == set(table("identity")["namespaces"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("version"),
        lambda content: content.update(version=0),
        lambda content: content.update(name="Vercel AI"),
        lambda content: content.update(nonsense=True),
        lambda content: content["keys"].update(input_token=["ai.usage.in"]),
        lambda content: content["keys"].update(input_tokens=[]),
        lambda content: content["keys"].update(input_tokens=["a", "a"]),
        lambda content: content["keys"].update(input_tokens="ai.usage.in"),
        lambda content: content["operations_of"]["ai.operationId"].update(talk=["ai.talk"]),
        lambda content: content["operations_of"]["ai.operationId"].update(chat=["ai.generateText"]),
    ],
    ids=[
        "no version", "version 0", "name", "unknown part", "unknown concept", "no keys", "a key twice",
        "not a list", "unknown operation", "value in upper case",
    ],
)  # fmt: skip
def test_a_table_with_a_slip_is_refused(damage: Any) -> None:
    content = copy.deepcopy(table("vercel_ai"))
    damage(content)

    with pytest.raises(ValidationError):
        Draft202012Validator(vocabulary_schema()).validate(content)


def test_no_key_is_claimed_for_two_concepts() -> None:
    """Of two claims the first would win silently."""
    claims: dict[str, set[str]] = {}
    for path in TABLES:
        for concept, keys in tomllib.loads(path.read_text(encoding="utf-8")).get("keys", {}).items():
            for key in keys:
                claims.setdefault(key, set()).add(concept)

    assert {key: concepts for key, concepts in claims.items() if len(concepts) > 1} == {}


def test_versions_are_told_by_name() -> None:
    versions = vocabulary_versions()

    assert versions["otel-genai"] == table("otel_genai")["version"]
    assert set(versions) >= {"identity", "process", "openinference", "vercel-ai"}


def test_extra_keys_come_before_the_built_in_ones() -> None:
    plain = compile_lexicon()
    own = compile_lexicon(extra_keys={"input_tokens": ["acme.tokens.in"], "user": ["acme.operator"]})

    code = own.span_codes["acme.tokens.in"]
    assert "acme.tokens.in" not in plain.span_codes
    assert own.meaning_of_code[code].field is Field.INPUT_TOKENS
    assert code < own.span_codes["gen_ai.usage.input_tokens"]
    assert own.meaning_of_code[own.span_codes["baggage.acme.operator"]].field is Field.USER
    assert "acme.operator" in own.resource_codes


def test_a_built_in_key_can_be_given_another_meaning() -> None:
    own = compile_lexicon(extra_keys={"workflow": ["request.id"]})

    assert own.meaning_of_code[own.span_codes["request.id"]].field is Field.WORKFLOW
