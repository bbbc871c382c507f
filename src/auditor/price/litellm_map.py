"""Read LiteLLM's price map (``model_prices_and_context_window.json``) as rate entries.

The map writes US dollars per token as floating-point literals; they are read as decimal text, so no binary
rounding comes in. It has no history: its rates hold for every day. Prices by the character, image, second,
page or session have no usage class here and are left out.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final

from auditor.errors import SettingsError
from auditor.model.money import PICO
from auditor.price.amounts import RateAmounts, RawCard, pico_per_unit
from auditor.price.cards import MAX_RATE
from auditor.price.entries import PriceLayer, RateEntry, RateLayer, Scope
from auditor.price.providers import model_spellings, provider_named

PREFIX: Final = "litellm:"
"""Written before the path in ``--pricing``."""

KEYS: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_in",
    "output_cost_per_audio_token": "audio_out",
    "input_cost_per_image_token": "image_in",
    "output_cost_per_image_token": "image_out",
    "input_cost_per_query": "per_search",
}
"""The map's keys, all for one unit, and our rates."""

CONTEXTS: Final = {
    "batches": ("processing", "batch"),
    "flex": ("service_tier", "flex"),
    "priority": ("service_tier", "priority"),
}
"""Endings of the map's keys and the price context that they mean."""

KEY: Final = re.compile(
    rf"(?P<name>{'|'.join(sorted(KEYS, key=len, reverse=True))})"
    rf"(?:_above_(?P<above>\d+)k_tokens)?(?:_(?P<context>{'|'.join(CONTEXTS)}))?"
)


def read_litellm_map(text: str, file: str) -> PriceLayer:
    """Read the whole map; raises ``SettingsError`` when it is not such a map.

    Where the map has one model under two keys (with and without the provider's prefix), the first one counts.
    """
    try:
        document = json.loads(text, parse_float=Decimal)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SettingsError(f"{file}: not JSON: {error}") from error
    if not isinstance(document, dict) or not any(
        isinstance(row, dict) and "litellm_provider" in row for row in document.values()
    ):
        raise SettingsError(
            f"{file}: not LiteLLM's price map",
            hint="expected an object of models, each with litellm_provider",
        )
    entries: dict[Scope, RateEntry] = {}
    for key, row in document.items():
        if key != "sample_spec" and isinstance(row, dict):
            for entry in _entries(key, row, file):
                entries.setdefault(entry.scope, entry)
    return PriceLayer(rates=RateLayer(entries.values()))


def _entries(key: str, row: dict[str, Any], file: str) -> list[RateEntry]:
    """Return the standard entry of one model, then one for each context that the map has rates for."""
    published = row.get("litellm_provider")
    provider = provider_named(published).id if isinstance(published, str) else None
    if provider is None:
        return []
    by_context: dict[str | None, dict[int | None, RateAmounts]] = {None: {None: {}}}
    for name, value in row.items():
        found = KEY.fullmatch(name)
        if found is None or isinstance(value, bool) or not isinstance(value, int | Decimal):
            continue
        amount = _amount(value, f"{key}.{name}", file)
        above = None if found["above"] is None else int(found["above"]) * 1_000
        by_context.setdefault(found["context"], {}).setdefault(above, {})[KEYS[found["name"]]] = amount
    search = row.get("search_context_cost_per_query")
    if isinstance(search, dict) and isinstance(medium := search.get("search_context_size_medium"), int | Decimal):
        amount = _amount(medium, f"{key}.search_context_cost_per_query", file)
        by_context[None][None].setdefault("per_search", amount)
    if not any(by_context[None].values()):
        return []
    model = model_spellings(provider, key)[-1].lower()
    entries = []
    for context, levels in by_context.items():
        when = frozenset() if context is None else frozenset({CONTEXTS[context]})
        entries.append(
            RateEntry(
                label=key,
                scope=Scope(provider=provider, model=model, when=when),
                rates=_raw_card(by_context[None], {} if context is None else levels),
            )
        )
    return entries


def _amount(usd: Decimal | int, path: str, file: str) -> Decimal:
    if not 0 <= usd <= MAX_RATE // PICO:
        raise SettingsError(f"{file}: {path}: {usd} is no price for one unit")
    return pico_per_unit(Decimal(usd), 1)


def _raw_card(standard: dict[int | None, RateAmounts], own: dict[int | None, RateAmounts]) -> RawCard:
    """Lay a context's own rates over the standard ones, and each tier over the level below it.

    A rate that the context gives without tiers holds at every length: the standard tier is no substitute.
    """
    flat = own.get(None, {})
    current = standard.get(None, {}) | flat
    base = current
    tiers: list[tuple[int, RateAmounts]] = []
    for above in sorted({above for above in (*standard, *own) if above is not None}):
        followed = {name: amount for name, amount in standard.get(above, {}).items() if name not in flat}
        current = current | followed | own.get(above, {})
        tiers.append((above, current))
    return RawCard(base, tuple(tiers))
