"""Price context: the circumstances of a call, besides model and day, that change its rate.

A context is a set of ``key=value`` pairs. Providers and instrumentations write the same circumstance in
several ways, and most calls carry items that only say "the ordinary price".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PriceContext = tuple[tuple[str, str], ...]

SAME_AS: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("service_tier", "batch"): ("processing", "batch"),
    ("service_tier", "batches"): ("processing", "batch"),
    ("batch", "true"): ("processing", "batch"),
    ("service_tier", "on_demand_flex"): ("service_tier", "flex"),
    ("service_tier", "on_demand_priority"): ("service_tier", "priority"),
}
"""Other spellings of an item. Some report batch as a service tier; Vertex AI prefixes its tiers."""

ORDINARY: Final[dict[str, frozenset[str]]] = {
    "service_tier": frozenset({"", "default", "standard", "standard_only", "auto", "on_demand"}),
    "processing": frozenset({"", "standard", "default", "realtime", "sync", "online"}),
    "speed": frozenset({"", "standard", "default", "normal"}),
    "batch": frozenset({"", "false"}),
}
"""Values that name the standard price."""


def normalise_context(items: Iterable[tuple[str, str]]) -> PriceContext:
    """Return the items that may change the price, lower-cased, in one spelling, sorted, each once."""
    kept: set[tuple[str, str]] = set()
    for key, value in items:
        item = (key.strip().lower(), value.strip().lower())
        item = SAME_AS.get(item, item)
        if item[1] not in ORDINARY.get(item[0], frozenset()):
            kept.add(item)
    return tuple(sorted(kept))
