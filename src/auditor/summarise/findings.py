"""Explained cases → findings: all cases that one rule explains by one hop and for one operation are one finding."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from auditor.model.audited import AuditedCalls
from auditor.model.case import Case
from auditor.model.report import FeatureSeen, Finding, HopKind, Sample
from auditor.model.spans import I64
from auditor.rule import Diagnosis, Rule
from auditor.summarise.parts import features_of
from auditor.summarise.totals import estimate, share_of

SAMPLES = 3
EVIDENCE = 6

_Key = tuple[str, str, str, HopKind, str]


class Blamed(NamedTuple):
    """A case with the rule that explains it and what the rule said."""

    case: Case
    rule: Rule
    diagnosis: Diagnosis
    also_fits: tuple[str, ...]


def build_findings(
    blamed: Sequence[Blamed],
    calls: AuditedCalls,
    case_of_call: I64,
    audited_spend: int,
    sample: Callable[[int], Sample],
) -> tuple[Finding, ...]:
    """Merge cases into findings, most dollars first; ``sample`` tells where a call can be read."""
    groups = _groups(blamed)
    features = features_of(finding_of_call(blamed, case_of_call), calls)
    findings = [
        _finding(key, entries, calls, case_of_call, audited_spend, sample, features.get(number, ()))
        for number, (key, entries) in enumerate(groups.items())
    ]
    return tuple(sorted(findings, key=lambda entry: (-entry.unattributed_cost, -entry.cost, -entry.calls, entry.id)))


def _groups(blamed: Sequence[Blamed]) -> dict[_Key, list[Blamed]]:
    groups: dict[_Key, list[Blamed]] = defaultdict(list)
    for entry in blamed:
        hop = entry.diagnosis.hop
        groups[entry.rule.id, hop.source, hop.target, hop.kind, entry.case.operation].append(entry)
    return groups


def finding_ids(blamed: Sequence[Blamed]) -> list[str]:
    """Ids of the findings that the cases make, by their number in ``finding_of_call``."""
    return [_id(key) for key in _groups(blamed)]


def finding_of_call(blamed: Sequence[Blamed], case_of_call: I64) -> I64:
    """Number of the finding of each call; -1 for a call in none."""
    of_case = np.full(int(case_of_call.max(initial=-1)) + 2, -1, dtype=np.int64)
    for number, entries in enumerate(_groups(blamed).values()):
        of_case[[entry.case.number for entry in entries]] = number
    # Calls of no case have the number -1: the last entry, which belongs to none.
    found: I64 = of_case[case_of_call]
    return found


def _finding(
    key: _Key,
    entries: list[Blamed],
    calls: AuditedCalls,
    case_of_call: I64,
    audited_spend: int,
    sample: Callable[[int], Sample],
    features: tuple[FeatureSeen, ...],
) -> Finding:
    entries = sorted(entries, key=lambda entry: (-entry.case.cost, -entry.case.calls, entry.case.key))
    cases = [entry.case for entry in entries]
    said = [entry.diagnosis for entry in entries]
    rule = entries[0].rule
    unattributed_cost = sum(case.unattributed_cost for case in cases)
    chosen = sorted(
        (call for case in cases for call in case.sample_calls),
        key=lambda call: (
            -int(calls.cost[call]),
            calls.spans.trace_id(int(calls.row[call])),
            int(calls.row[call]),
        ),
    )
    unmetered = sum(case.unmetered_calls for case in cases)
    members = np.isin(case_of_call, [case.number for case in cases]) if unmetered else None
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
        unmetered_calls=unmetered,
        unmetered_estimate=None if members is None else estimate(calls, members),
        evidence=tuple(dict.fromkeys(text for diagnosis in said for text in diagnosis.evidence))[:EVIDENCE],
        samples=tuple(sample(call) for call in chosen[:SAMPLES]),
        also_fits=tuple(sorted({name for entry in entries for name in entry.also_fits})),
        remedy=min(remedies, key=lambda text: (-remedies[text], text)) if remedies else rule.remedy,
        features=features,
    )


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
