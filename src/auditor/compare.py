"""Two audits held against each other at equal traffic: which leaks got worse, better, are new or gone, and with what.

A leak is the same on both sides when rule, hop and operation are: what the baseline recognises it by too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from auditor.model.difference import Aspect, Change, Difference, Shift, Size, Trend, Whole
from auditor.model.report import Finding, HopKind, Report
from auditor.model.stakes import stakes_of

PASSED = 0
FAILED = 1

FEATURES_TOLD = 20
"""As many features of a finding are told; one that tells so many may have more, and says nothing about the others."""

UNTOLD = "version unknown"
"""Stands for the version of a scope that is there and does not say."""

_Cause = tuple[str, str, str, HopKind, str]
_ORDER = (Trend.NEW, Trend.WORSE, Trend.UNCHECKED, Trend.BETTER, Trend.GONE, Trend.SAME)


class Side(NamedTuple):
    """An audit under the name that the user gave it."""

    name: str
    report: Report
    is_saved: bool


class _Measure(NamedTuple):
    """A leak in figures that can be compared: exact shares of the side's own traffic."""

    size: Size
    spend: Fraction
    calls: Fraction
    unmetered: Fraction


def compare(before: Side, after: Side, *, max_worse: Decimal | None, exit_zero: bool = False) -> Difference:
    """Compare; the difference passes when no more than ``max_worse`` points of spend are new or worse."""
    old, new = _by_cause(before.report), _by_cause(after.report)
    changes = [_change(old.get(cause), new.get(cause), before.report, after.report) for cause in {**new, **old}]
    exact = [(change, points) for change, points in changes if change.trend is not Trend.UNCHECKED]
    worse = sum((points for _, points in exact if points > 0), Fraction(0))
    better = sum((-points for _, points in exact if points < 0), Fraction(0))
    passed = max_worse is None or worse <= Fraction(max_worse)
    return Difference(
        version=after.report.version,
        before=_whole(before),
        after=_whole(after),
        changes=tuple(sorted((change for change, _ in changes), key=_rank)),
        shifts=tuple(_all_shifts(before.report, after.report)),
        worse_points=float(worse),
        better_points=float(better),
        limit=None if max_worse is None else float(max_worse),
        passed=passed,
        exit_code=PASSED if passed or exit_zero else FAILED,
        notes=tuple(_notes(before.report, after.report)),
    )


def _by_cause(report: Report) -> dict[_Cause, Finding]:
    return {
        (found.rule, found.hop.source, found.hop.target, found.hop.kind, found.operation): found
        for found in report.findings
    }


def _whole(side: Side) -> Whole:
    totals = side.report.totals
    return Whole(
        name=side.name,
        is_saved=side.is_saved,
        calls=_audited_calls(side.report),
        audited_spend=totals.audited_spend,
        unattributed_calls=totals.unattributed.calls,
        unattributed_cost=totals.unattributed.cost,
        share=totals.unattributed.share,
        unmetered_calls=totals.unmetered.calls,
        unpriced_calls=totals.unpriced.calls,
    )


def _audited_calls(report: Report) -> int:
    return report.totals.calls - report.totals.internal.calls


def _change(old: Finding | None, new: Finding | None, before: Report, after: Report) -> tuple[Change, Fraction]:
    """Compare one leak; also its exact change in points."""
    known = new or old
    if known is None:
        raise ValueError("a leak is on one side at least")
    lacks_tenant = any(found is not None and found.unattributed_calls for found in (old, new))
    then = _measure(old, before, lacks_tenant=lacks_tenant)
    now = _measure(new, after, lacks_tenant=lacks_tenant)
    trend = _trend(then, now)
    if trend is Trend.GONE and not _is_checked(known, after):
        trend = Trend.UNCHECKED
    points = (now.spend if now else Fraction(0)) - (then.spend if then else Fraction(0))
    traffic = after.totals.audited_spend
    change = Change(
        rule=known.rule,
        title=known.title,
        hop=known.hop,
        operation=known.operation,
        trend=trend,
        before=then.size if then else None,
        after=now.size if now else None,
        points=float(points),
        cost_change=round(points * traffic),
        shifts=() if trend is Trend.SAME else tuple(_shifts_of(known, old, new, before, after)),
    )
    return change, points


def _measure(found: Finding | None, report: Report, *, lacks_tenant: bool) -> _Measure | None:
    if found is None:
        return None
    stakes = stakes_of(found)
    cost = stakes.unattributed_cost if lacks_tenant else stakes.cost
    calls = stakes.unattributed_calls if lacks_tenant else stakes.calls
    spend, traffic = report.totals.audited_spend, _audited_calls(report)
    return _Measure(
        Size(calls, cost, cost / spend if spend else None, stakes.unmetered_calls),
        Fraction(cost, spend) if spend else Fraction(0),
        Fraction(calls, traffic) if traffic else Fraction(0),
        Fraction(stakes.unmetered_calls, traffic) if traffic else Fraction(0),
    )


def _trend(then: _Measure | None, now: _Measure | None) -> Trend:
    """Dollars decide; where they are the same, unmetered calls; where there are none, calls."""
    if then is None:
        return Trend.NEW
    if now is None:
        return Trend.GONE
    pairs = [(then.spend, now.spend), (then.unmetered, now.unmetered)]
    if not then.size.cost and not now.size.cost:
        pairs.append((then.calls, now.calls))
    for was, is_now in pairs:
        if is_now != was:
            return Trend.WORSE if is_now > was else Trend.BETTER
    return Trend.SAME


def _is_checked(found: Finding, report: Report) -> bool:
    services = {seen.service for seen in report.services} | {node.service for node in report.map_nodes}
    return found.rule in report.rules_run and {found.hop.source, found.hop.target} <= services


def _rank(change: Change) -> tuple[int, float, int, str, str, str, str, str]:
    calls = (change.after or change.before or Size(0, 0, None, 0)).calls
    hop = change.hop
    return (
        _ORDER.index(change.trend), -abs(change.points), -calls, change.rule, hop.source, hop.target, hop.kind,
        change.operation,
    )  # fmt: skip


def _shifts_of(
    known: Finding, old: Finding | None, new: Finding | None, before: Report, after: Report
) -> Iterator[Shift]:
    route = {*known.route, known.hop.source, known.hop.target}
    yield from (shift for shift in _all_shifts(before, after) if shift.service in route)
    features = [_features(found) for found in (old, new)]
    told = [names for names in features if names is not None]
    if len(told) == 2 and told[0] != told[1]:
        yield Shift(Aspect.FEATURE, "", known.operation, *(tuple(sorted(names)) for names in told))


def _features(found: Finding | None) -> frozenset[str] | None:
    """Features of a leak, or ``None`` where not all of them are told."""
    if found is None:
        return frozenset()
    names = frozenset(seen.feature for seen in found.features)
    return names if len(names) < FEATURES_TOLD else None


def _all_shifts(before: Report, after: Report) -> Iterator[Shift]:
    """What is not the same, by service. What one side does not tell is no change."""
    old, new = ({seen.service: seen for seen in report.services} for report in (before, after))
    versions = _scope_versions(before), _scope_versions(after)
    for service in sorted({*old, *new}):
        then, now = old.get(service), new.get(service)
        if then is None or now is None:
            here, there = ((service,), ()) if now is None else ((), (service,))
            yield Shift(Aspect.SERVICE, service, "", here, there)
            continue
        for aspect, was, is_now in (
            (Aspect.VERSION, then.versions, now.versions),
            (Aspect.SDK, then.sdks, now.sdks),
        ):
            if was and is_now and was != is_now:
                yield Shift(aspect, service, "", was, is_now)
        if then.scopes and now.scopes:
            for scope in sorted({*then.scopes, *now.scopes}):
                was, is_now = (
                    (told.get(scope) or (UNTOLD,)) if scope in seen.scopes else ()
                    for seen, told in ((then, versions[0]), (now, versions[1]))
                )
                if was != is_now and not (was and is_now and UNTOLD in {*was, *is_now}):
                    yield Shift(Aspect.SCOPE, service, scope, was, is_now)


def _scope_versions(report: Report) -> Mapping[str, tuple[str, ...]]:
    versions: dict[str, set[str]] = defaultdict(set)
    for source in report.inputs:
        for seen in source.scopes:
            versions[seen.name].update(seen.versions)
    return {name: tuple(sorted(found)) for name, found in versions.items()}


def _notes(before: Report, after: Report) -> Iterator[str]:
    for what, was, is_now in (
        ("roll-up", before.rollup, after.rollup),
        ("price book", before.price_book, after.price_book),
        ("hashing of ids", str(before.ids_hashed).lower(), str(after.ids_hashed).lower()),
    ):
        if was != is_now:
            yield f"The {what} is not the same: {was} before, {is_now} after."
    ran, runs = set(before.rules_run), set(after.rules_run)
    for names, when in ((ran - runs, "before and not after"), (runs - ran, "after and not before")):
        if names:
            yield f"Checked {when}: {', '.join(sorted(names))}."
    for side, report in (("before", before), ("after", after)):
        if not report.totals.audited_spend:
            yield f"There is no spend {side}: no share can be taken of it."
