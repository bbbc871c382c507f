"""Compiles the vocabulary files beside this module into one ``Lexicon``.

Each file of ``vocabularies/`` describes one convention; the order below is the precedence when a span carries
the same concept under several. What a file may say is published as ``vocabulary.schema.json``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from types import MappingProxyType
from typing import Any

from auditor.model.apis import ApiPath, Apis, compile_host, compile_path
from auditor.model.lexicon import RANKS, Field, KeyMeaning, Lexicon, Operation

CONVENTIONS = (
    "otel_genai",
    "openinference",
    "openllmetry",
    "vercel_ai",
    "langfuse",
    "litellm",
    "mlflow",
    "langsmith",
    "datadog",
    "claude_code",
)
OWN = "settings"
"""The vocabulary of keys that the user declared."""
_NO_KEYS: Mapping[str, Sequence[str]] = MappingProxyType({})


def compile_lexicon(
    *,
    tenant_keys: Sequence[str] = (),
    placeholders: Sequence[str] = (),
    end_user_as_tenant: bool = True,
    extra_keys: Mapping[str, Sequence[str]] = _NO_KEYS,
) -> Lexicon:
    """Build the tables.

    ``tenant_keys`` and ``extra_keys`` (by concept, in lower case) come before every built-in key, ``placeholders``
    add to the built-in ones. Raises ``KeyError`` for a concept that does not exist.
    """
    identity = _read("identity")
    process = _read("process")
    conventions = [_read(name) for name in CONVENTIONS]
    namespaces: list[str] = identity["namespaces"]
    if not end_user_as_tenant:
        namespaces = [namespace for namespace in namespaces if namespace != "end_user"]

    spans = _Compiler()
    hidden_on_resources: list[str] = identity["namespaces_not_on_resources"]
    prefixes: list[str] = identity["prefixes"]
    for key in tenant_keys:
        for prefix in prefixes:
            spans.add(prefix + key, Field.TENANT, OWN, namespace=key.lower())
    for concept, keys in extra_keys.items():
        for prefix in prefixes if concept in identity["names"] else ("",):
            for key in keys:
                spans.add(prefix + key, Field[concept.upper()], OWN)
    for namespace in namespaces:
        names = identity["tenant_names"].get(namespace, [])
        for prefix in prefixes:
            for name in names:
                spans.add(prefix + name, Field.TENANT, "identity", namespace=namespace)
        for key in identity["tenant_keys"].get(namespace, []):
            spans.add(key, Field.TENANT, "identity", namespace=namespace)
    for concept, names in identity["names"].items():
        for prefix in prefixes:
            for name in names:
                spans.add(prefix + name, Field[concept.upper()], "identity")
    spans.add_keys("identity", identity["keys"])
    spans.add_keys("process", process["keys"])
    for table in sorted(conventions, key=lambda table: table.get("operation_rank", 1)):
        spans.add_keys(table["name"], {"operation": table["keys"].get("operation", [])})
    for table in conventions:
        spans.add_keys(table["name"], {key: value for key, value in table["keys"].items() if key != "operation"})

    operations: dict[str, Operation] = {}
    by_key: dict[tuple[str, str], Operation] = {}
    for table in conventions:
        for name, values in table.get("operations", {}).items():
            operations.update(dict.fromkeys(values, Operation(name)))
        for key, groups in table.get("operations_of", {}).items():
            for name, values in groups.items():
                by_key.update({(key, value): Operation(name) for value in values})

    return Lexicon(
        span_codes=spans.codes,
        resource_codes={
            meaning.key: code
            for code, meaning in spans.meanings.items()
            if meaning.field in {Field.TENANT, Field.ENVIRONMENT, Field.FEATURE, Field.USER, Field.WORKFLOW}
            and meaning.namespace not in hidden_on_resources
        },
        meaning_of_code=spans.meanings,
        operations=operations,
        operations_by_key=by_key,
        queue_operations={value: role for role, values in process["queue_operations"].items() for value in values},
        disjoint_usage=frozenset(table["name"] for table in conventions if table.get("disjoint_usage")),
        placeholders=frozenset(identity["placeholders"]["values"]) | {text.lower() for text in placeholders},
        provider_paths=tuple(process["providers"]["paths"]),
        apis=compile_apis(),
        usage_prefixes=tuple(prefix for table in conventions for prefix in table.get("usage_prefixes", ())),
        dropped_states=frozenset(process["states"]["dropped"]),
        abandonments=frozenset(text.lower() for text in process["errors"]["abandoned"]),
        metadata_fields={
            meaning.key.lower(): meaning
            for meaning in reversed(spans.meanings.values())
            if meaning.vocabulary in {"identity", OWN}
            and meaning.field not in {Field.METADATA, Field.TAGS, Field.CREDENTIAL}
        },
        namespaces=(*(key.lower() for key in tenant_keys), *namespaces),
    )


class _Compiler:
    """Hands out codes: the concept, then the order in which its keys were added."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.meanings: dict[int, KeyMeaning] = {}
        self._ranks: dict[Field, int] = {}

    def add(self, key: str, field: Field, vocabulary: str, *, namespace: str = "") -> None:
        if key in self.codes:
            return
        rank = self._ranks.get(field, 0)
        self._ranks[field] = rank + 1
        code = field * RANKS + rank
        self.codes[key] = code
        self.meanings[code] = KeyMeaning(key, field, vocabulary, namespace)

    def add_keys(self, vocabulary: str, table: Mapping[str, Iterable[str]]) -> None:
        for concept, keys in table.items():
            for key in keys:
                self.add(key, Field[concept.upper()], vocabulary)


def compile_apis() -> Apis:
    """Build the table of providers' HTTP APIs."""
    table = _read("apis")
    # Longer endings first: the shorter ones are ends of them, and say less.
    endings = sorted(
        (
            (ending, Operation(operation), part == "anywhere")
            for part in ("anywhere", "at_providers")
            for operation, endings in table[part].items()
            for ending in endings
        ),
        key=lambda entry: (-len(entry[0]), entry[0]),
    )
    words = sorted({re.split(r"[/:{}]", ending)[-1] for ending, _, _ in endings})
    return Apis(
        hosts=tuple((compile_host(host), provider) for provider, hosts in table["hosts"].items() for host in hosts),
        paths=tuple(ApiPath(compile_path(ending), operation, anywhere) for ending, operation, anywhere in endings),
        hint=re.compile("|".join(map(re.escape, words)).encode()),
    )


def vocabulary_versions() -> dict[str, int]:
    """Version of each table, by its name."""
    tables = [_read(name) for name in ("identity", "process", "apis", *CONVENTIONS)]
    return {table["name"]: table["version"] for table in tables}


def vocabulary_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the tables, as shipped."""
    import orjson  # noqa: PLC0415  # only when a table is to be checked

    text = resources.files("auditor.normalise").joinpath("vocabulary.schema.json").read_bytes()
    schema: dict[str, Any] = orjson.loads(text)
    return schema


def _read(name: str) -> dict[str, Any]:
    text = resources.files("auditor.normalise").joinpath("vocabularies", f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text)
