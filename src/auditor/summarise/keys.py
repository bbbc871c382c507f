"""Which attributes were read as the tenant, and which others look like one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from auditor.model.lexicon import is_technical
from auditor.model.report import CandidateKey, TenantKey
from auditor.model.spans import SampledSpan

SUGGESTED = 5
MIN_COVERAGE = 0.05
"""Share of sampled spans that a suggested key has to be on."""
_LIKE_A_TENANT = re.compile(
    r"tenan|customer|client[._-]?(id|name|ref)|organi[sz]|(^|[._-])orgs?([._-]|$)|acc(oun)?t|workspace|company"
    r"|merchant|subscriber|team",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(r"[A-Za-z0-9][\w.:@-]{1,63}")
_MEASURE = re.compile(r"true|false|[-+]?\d+(\.\d+)?", re.IGNORECASE)


def tenant_keys(counts: Counter[str]) -> tuple[TenantKey, ...]:
    """Keys by the calls that carry their tenant under them."""
    return tuple(
        TenantKey(key, calls) for key, calls in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    )


def candidate_keys(
    sample: Sequence[SampledSpan], known_tenants: Collection[str], *, nothing_matched: bool
) -> tuple[CandidateKey, ...]:
    """Unknown attributes that look like the tenant, those with known tenants as values first, then by coverage.

    An attribute counts when values of it are tenants known from elsewhere; or, where no key matched at all, when
    its name means a customer, or its values are identifiers that come again and again.
    """
    spans = [entry for entry in sample if not entry.has_tenant]
    if not spans:
        return ()
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in spans:
        for key, value in entry.attributes:
            if not is_technical(key):
                values[key][value] += 1
    tenants = set(known_tenants)
    ranked = []
    for key, counts in values.items():
        coverage = min(counts.total() / len(spans), 1.0)
        known = sum(value in tenants for value in counts)
        named = _LIKE_A_TENANT.search(key) is not None
        fits = known * 2 >= len(counts) if known else nothing_matched and len(counts) > 1 and (named or _repeat(counts))
        if coverage >= MIN_COVERAGE and fits:
            ranked.append((-known, not named, -coverage, CandidateKey(key, coverage, len(counts), known)))
    ranked.sort(key=lambda entry: (*entry[:3], entry[3].key))
    return tuple(entry for *_, entry in ranked[:SUGGESTED])


def _repeat(counts: Counter[str]) -> bool:
    """Whether values are identifiers, none unique to its span and none on almost all."""
    return (
        all(_IDENTIFIER.fullmatch(value) and not _MEASURE.fullmatch(value) for value in counts)
        and len(counts) * 2 <= counts.total()
        and max(counts.values()) <= 0.9 * counts.total()
    )
