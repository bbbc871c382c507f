"""Which provider bills a call: one id for every spelling, and what a bare model name tells.

The spellings are data (``providers.toml``); this module only looks them up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final, NamedTuple

from auditor.price.shipped import shipped_toml


class ProviderKind(StrEnum):
    """What a provider's name turned out to be."""

    BILLED = "billed"
    SELF_HOSTED = "self_hosted"
    MISSING = "missing"
    """Nothing, a placeholder, a framework or a gateway: says nothing about who bills."""
    UNKNOWN = "unknown"


class Provider(NamedTuple):
    """A provider's id (the price data's, or the name as written where there is none) and what it is."""

    id: str | None
    kind: ProviderKind


SELF_HOSTED: Final = "self-hosted"
"""Stands in ``providers.toml`` for any runtime on the user's own machines."""

MISSING: Final = Provider(None, ProviderKind.MISSING)


@dataclass(frozen=True, slots=True)
class ProviderTable:
    """``providers.toml`` ready for look-up."""

    ids: dict[str, Provider]
    name_prefixes: dict[str, str]
    not_a_model_prefix: frozenset[str]
    route_segments: dict[str, re.Pattern[str]]
    models: tuple[tuple[re.Pattern[str], str], ...]


@cache
def provider_table() -> ProviderTable:
    """Read the shipped table, once."""
    table = shipped_toml("providers.toml")
    ids = dict.fromkeys(table["frameworks"]["names"], MISSING)
    ids |= {name: Provider(name, ProviderKind.SELF_HOSTED) for name in table["self_hosted"]["names"]}
    for provider, names in table["names"].items():
        ids |= {name: Provider(provider, ProviderKind.BILLED) for name in names}
    return ProviderTable(
        ids=ids,
        name_prefixes=table["name_prefixes"],
        not_a_model_prefix=frozenset(table["not_a_model_prefix"]["names"]),
        route_segments={
            provider: re.compile(pattern, re.IGNORECASE) for provider, pattern in table["route_segments"].items()
        },
        models=tuple((re.compile(row["pattern"], re.IGNORECASE), row["provider"]) for row in table["models"]),
    )


def fold(name: str) -> str:
    """Write a provider's name as the table does: lower case, with hyphens."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def provider_named(name: str | None) -> Provider:
    """Look a provider's name up; an unknown name is kept, folded, with kind ``UNKNOWN``."""
    if name is None or not name.strip():
        return MISSING
    table = provider_table()
    folded = fold(name)
    candidate = folded
    while candidate:
        if candidate in table.ids:
            return table.ids[candidate]
        candidate = candidate.rpartition(".")[0]
    for prefix, provider in table.name_prefixes.items():
        if folded.startswith(prefix):
            return Provider(provider, ProviderKind.BILLED)
    return Provider(folded, ProviderKind.UNKNOWN)


def model_spellings(provider: str | None, model: str) -> tuple[str, ...]:
    """Return the model's name, then the name without each leading segment that is the provider or a route.

    ``groq`` sells a model called ``openai/gpt-oss-120b``: only this provider's own names are dropped.
    """
    table = provider_table()
    route = table.route_segments.get(provider or "")
    spellings = [model]
    rest = model
    while "/" in rest:
        segment, _, rest = rest.partition("/")
        names_provider = provider is not None and provider_named(segment).id == provider
        is_route = route is not None and route.fullmatch(segment) is not None
        if not rest or not (names_provider or is_route):
            break
        spellings.append(rest)
    return tuple(spellings)


class ModelOrigin(NamedTuple):
    """What a model's name tells about its provider, and the name without the part that told it."""

    provider: Provider
    model: str


def provider_from_model(model: str) -> ModelOrigin:
    """Infer the provider from a ``provider/`` prefix or the table's patterns, or say ``MISSING``."""
    table = provider_table()
    rest = model
    while "/" in rest:
        segment, _, after = rest.partition("/")
        folded = fold(segment)
        if not after or folded not in table.ids or folded in table.not_a_model_prefix:
            break
        found = table.ids[folded]
        if found.kind is not ProviderKind.MISSING:
            return ModelOrigin(found, after)
        rest = after
    for pattern, provider in table.models:
        if pattern.fullmatch(rest):
            kind = ProviderKind.SELF_HOSTED if provider == SELF_HOSTED else ProviderKind.BILLED
            return ModelOrigin(Provider(provider, kind), rest)
    return ModelOrigin(MISSING, rest)
