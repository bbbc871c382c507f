"""Which attributes were read as the tenant, and which others look like one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from auditor.model.report import CandidateKey, TenantKey
from auditor.model.spans import SampledSpan

SUGGESTED = 5
MIN_COVERAGE = 0.05
"""Share of sampled spans that a suggested key has to be on."""
_LIKE_A_TENANT = re.compile(
    r"tenan|customer|client[._-]?(id|name|ref)|organi[sz]|(^|[._-])orgs?([._-]|$)|account|workspace|company|merchant|subscriber|team",
    re.IGNORECASE,
)
_NEVER = re.compile(r"^(service|telemetry|process|host|os|k8s|container|cloud|http|url|server|network|client\.address|net|db|messaging|rpc|thread|code|otel|exception)\.", re.IGNORECASE)


def tenant_keys(keys: Sequence[tuple[str, int]]) -> tuple[TenantKey, ...]:
    """Keys by the calls that carry their tenant under them."""
    counts: Counter[str] = Counter()
    for key, calls in keys:
        counts[key] += calls
    return tuple(TenantKey(key, calls) for key, calls in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def candidate_keys(
    sample: Sequence[SampledSpan], known_tenants: Collection[str], *, nothing_matched: bool
) -> tuple[CandidateKey, ...]:
    """Unknown attributes that look like the tenant, those with known tenants as values first, then by coverage.

    An attribute counts when values of it are tenants known from elsewhere; or, where no key matched at all, when
    its name means a customer and it has more than one value.
    """
    spans = [entry for entry in sample if not entry.has_tenant]
    if not spans:
        return ()
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in spans:
        for key, value in entry.attributes:
            if not _NEVER.match(key):
                values[key][value] += 1
    tenants = set(known_tenants)
    found = []
    for key, counts in values.items():
        coverage = sum(counts.values()) / len(spans)
        known = sum(value in tenants for value in counts)
        by_name = nothing_matched and _LIKE_A_TENANT.search(key) is not None
        if coverage >= MIN_COVERAGE and (known * 2 >= len(counts) if known else by_name and len(counts) > 1):
            found.append(CandidateKey(key, min(coverage, 1.0), len(counts), known))
    found.sort(key=lambda entry: (-entry.known_values, -entry.coverage, entry.key))
    return tuple(found[:SUGGESTED])
