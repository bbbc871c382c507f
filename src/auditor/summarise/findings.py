"""Explained cases → findings: all cases that one rule explains by one hop and for one operation are one finding."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from auditor.model.case import Case
from auditor.model.report import FeatureSeen, Finding, HopKind, Range, Sample
from auditor.model.stakes import Stakes
from auditor.rule import Diagnosis, Rule
from auditor.summarise.shares import SAMPLES, SampleCall, Share, Shares
from auditor.summarise.tally import Like
from auditor.summarise.totals import estimate, share_of

EVIDENCE = 6
FEATURES = 20
"""Features of a finding that are named: those with the most dollars."""

_Key = tuple[str, str, str, HopKind, str]


class Blamed(NamedTuple):
    """A case with the rule that explains it and what the rule said."""

    case: Case
    rule: Rule
    diagnosis: Diagnosis
    also_fits: tuple[str, ...]


def build_findings(
    blamed: Sequence[Blamed],
    shares: Shares,
    estimates: Mapping[Like, Range],
    audited_spend: int,
    sample: Callable[[SampleCall], Sample],
) -> tuple[Finding, ...]:
    """Merge cases into findings, most dollars first; ``sample`` tells where a call can be read."""
    findings = [
        _finding(key, entries, _together(entries, shares), estimates, audited_spend, sample)
        for key, entries in _groups(blamed).items()
    ]
    return tuple(sorted(findings, key=lambda entry: (-entry.unattributed_cost, -entry.cost, -entry.calls, entry.id)))


def tenants_of(blamed: Sequence[Blamed], shares: Shares) -> dict[str, dict[str, Stakes]]:
    """By finding and tenant (empty for none): the stakes."""
    return {_id(key): _together(entries, shares).tenants for key, entries in _groups(blamed).items()}


def _together(entries: Sequence[Blamed], shares: Shares) -> Share:
    share = Share()
    for entry in entries:
        share.add(shares[entry.case.key])
    return share


def _groups(blamed: Sequence[Blamed]) -> dict[_Key, list[Blamed]]:
    groups: dict[_Key, list[Blamed]] = defaultdict(list)
    for entry in blamed:
        hop = entry.diagnosis.hop
        groups[entry.rule.id, hop.source, hop.target, hop.kind, entry.case.operation].append(entry)
    return groups


def _finding(
    key: _Key,
    entries: list[Blamed],
    share: Share,
    estimates: Mapping[Like, Range],
    audited_spend: int,
    sample: Callable[[SampleCall], Sample],
) -> Finding:
    entries = sorted(entries, key=lambda entry: (-entry.case.cost, -entry.case.calls, entry.case.key))
    cases = [entry.case for entry in entries]
    said = [entry.diagnosis for entry in entries]
    rule = entries[0].rule
    unattributed_cost = sum(case.unattributed_cost for case in cases)
    samples = sorted(share.samples, key=lambda call: (-call.cost, call.trace_id, call.key))
    remedies = Counter(diagnosis.remedy for diagnosis in said if diagnosis.remedy)
    return Finding(
        id=_id(key),
        rule=rule.id,
        title=rule.title,
        confidence=min((diagnosis.confidence for diagnosis in said), key=lambda confidence: confidence.rank),
        hop=said[0].hop,
        route=_route(cases[0]),
        operation=key[4],
        calls=sum(case.calls for case in cases),
        cost=sum(case.cost for case in cases),
        unattributed_calls=sum(case.unattributed_calls for case in cases),
        unattributed_cost=unattributed_cost,
        share=share_of(unattributed_cost, audited_spend),
        recoverable_cost=sum(case.recoverable_cost for case in cases),
        unmetered_calls=sum(case.unmetered_calls for case in cases),
        unmetered_estimate=estimate(share.unmetered, estimates),
        evidence=tuple(dict.fromkeys(text for diagnosis in said for text in diagnosis.evidence))[:EVIDENCE],
        samples=tuple(map(sample, samples[:SAMPLES])),
        also_fits=tuple(sorted({name for entry in entries for name in entry.also_fits})),
        remedy=min(remedies, key=lambda text: (-remedies[text], text)) if remedies else rule.remedy,
        features=_features(share),
    )


def _features(share: Share) -> tuple[FeatureSeen, ...]:
    seen = (FeatureSeen(name, *part) for name, part in share.features.items())
    return tuple(sorted(seen, key=lambda entry: (-entry.cost, -entry.calls, entry.feature))[:FEATURES])


def _route(case: Case) -> tuple[str, ...]:
    """Services from the top of the path down to the call, neighbours folded."""
    services: list[str] = []
    if case.cut is not None:
        services.append(case.cut.service)
    elif case.producer and case.producer != case.path.top.service:
        services.append(case.producer)
    for step in reversed(case.path.steps):
        if not services or services[-1] != step.service:
            services.append(step.service)
    return tuple(services)


def _id(key: _Key) -> str:
    """Stable over runs: made of the cause, not of ids or times."""
    return blake2b("\n".join(map(str, key)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
