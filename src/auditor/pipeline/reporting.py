"""Makes a report of what all partitions say, and judges it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from auditor import __version__, baseline, gate, summarise
from auditor.diagnose import explain, merge_cases, merge_surveys
from auditor.load import Loaded
from auditor.model.case import Survey
from auditor.model.report import BaselineUse, Finding, MapNode, Report, Sample, ServiceSeen, Totals
from auditor.model.stakes import NOTHING, Stakes, add_up, suppressed_of
from auditor.model.suppression import EVERYTHING
from auditor.pipeline.partition import Conclusion, hashed
from auditor.price import PriceBook
from auditor.rule import Rule
from auditor.settings import Settings
from auditor.suppress import suppress

MOST_UNREAD = 10
"""Unknown usage keys that the notes name."""


@dataclass(frozen=True, slots=True)
class Judging:
    """What the verdict depends on besides the input and the settings."""

    today: date
    before: baseline.Baseline | None = None
    """The baseline to judge against."""
    is_update: bool = False
    """This run is to become the baseline."""


@dataclass(slots=True)
class Reported:
    """A report, and what was found out for it."""

    report: Report
    rules: dict[int, str]
    """Id of the rule that explains each case, by its key."""
    baseline: bytes | None


def judging_of(settings: Settings, *, is_update: bool = False) -> Judging:
    """Read what the verdict depends on. Raises ``SettingsError`` where the baseline is missing or broken."""
    before = baseline.read(settings.baseline) if settings.baseline is not None and not is_update else None
    return Judging(settings.today or datetime.now(UTC).date(), before, is_update)


def build_report(
    loaded: Loaded,
    parts: Sequence[Conclusion],
    rules: Sequence[Rule],
    book: PriceBook,
    settings: Settings,
    judging: Judging,
    ids_hashed: bool,
) -> Reported:
    """Explain all cases by the rules, sum up, and judge."""
    survey = merge_surveys([part.cases.survey for part in parts])
    cases = merge_cases([part.cases for part in parts])
    shares = summarise.merge_shares(part.shares for part in parts)
    estimates = summarise.estimates_of([part.costs for part in parts])
    tally = summarise.Tally()
    for part in parts:
        tally.add(part.tally)
    explained, not_checked = explain(cases, rules, survey)
    blamed = [
        summarise.Blamed(entry.case, entry.rule, entry.diagnosis, entry.also_fits)
        for entry in explained
        if entry.rule is not None and entry.diagnosis is not None
    ]

    totals = summarise.build_totals(tally, estimates, services=len(survey.services))
    findings = summarise.build_findings(blamed, shares, estimates, totals.audited_spend, _sampler(loaded))
    tenants = summarise.build_tenants(tally)
    nodes, edges = summarise.build_map(
        [part.ways for part in parts],
        [(finding.hop, finding.unattributed_cost) for finding in findings if finding.unattributed_cost],
    )
    findings, suppressions = suppress(
        findings,
        settings.suppressions,
        judging.today,
        lambda: summarise.tenants_of(blamed, shares),
    )
    if settings.hash_ids:
        suppressions = tuple(
            replace(line, entry=replace(line.entry, tenant=hashed(line.entry.tenant)))
            if line.entry.tenant != EVERYTHING
            else line
            for line in suppressions
        )
    rejected = sum(entry.rejected for entry in loaded.inputs)
    skipped = {entry.rule for entry in not_checked}
    rules_run = tuple(rule.id for rule in rules if rule.id not in skipped)
    findings, known, use, drawn_baseline = _against_baseline(findings, totals, rules_run, nodes, settings, judging)
    excused = gate.Excused(
        known, add_up(map(suppressed_of, findings)), suppressions, use, _unlike(judging.before, settings)
    )
    starts = [entry.start_ns for entry in loaded.inputs if entry.start_ns is not None]
    ends = [entry.end_ns for entry in loaded.inputs if entry.end_ns is not None]
    report = Report(
        version=__version__,
        inputs=tuple(loaded.inputs),
        totals=totals,
        findings=findings,
        joins=summarise.build_joins(tally),
        tenants=tenants,
        concentration=summarise.concentration(tenants),
        readiness=summarise.build_readiness(tally),
        tenant_keys=summarise.tenant_keys(tally.keys),
        candidate_keys=summarise.candidate_keys(
            loaded.sample,
            set[str]().union(*(part.tenant_values for part in parts)),
            nothing_matched=not any(part.carries for part in parts),
        ),
        not_checked=tuple(not_checked),
        rules_run=rules_run,
        plan=summarise.build_plan(
            findings,
            unattributed=totals.unattributed.cost,
            audited_spend=totals.audited_spend,
            limit=settings.gate.max_unattributed,
            excused=excused.stakes.unattributed_cost,
        ),
        map_nodes=nodes,
        map_edges=edges,
        gate=gate.judge(totals, findings, not_checked, rejected, _limits(settings), excused),
        rollup=settings.rollup,
        price_book=book.id,
        ids_hashed=ids_hashed,
        start_ns=min(starts, default=None),
        end_ns=max(ends, default=None),
        notes=tuple(_notes(loaded, parts, rejected, book)),
        suppressions=suppressions,
        baseline=use,
        services=_services(loaded, survey, {node.service for node in nodes}),
    )
    return Reported(
        report, {entry.case.key: entry.rule.id if entry.rule else "" for entry in explained}, drawn_baseline
    )


def _services(loaded: Loaded, survey: Survey, names: set[str]) -> tuple[ServiceSeen, ...]:
    return tuple(
        ServiceSeen(
            name,
            tuple(sorted(loaded.service_versions.get(name, ()))),
            tuple(sorted(loaded.service_sdks.get(name, ()))),
            tuple(sorted(survey.service(name).scopes)),
        )
        for name in sorted(names)
    )


def _unlike(before: baseline.Baseline | None, settings: Settings) -> tuple[str, ...]:
    if before is None or before.rollup == settings.rollup:
        return ()
    return (f"the baseline was made with the roll-up {before.rollup}, this run with {settings.rollup}",)


def _against_baseline(
    findings: tuple[Finding, ...],
    totals: Totals,
    rules_run: Sequence[str],
    nodes: Sequence[MapNode],
    settings: Settings,
    judging: Judging,
) -> tuple[tuple[Finding, ...], Stakes, BaselineUse | None, bytes | None]:
    """Hold the findings against the baseline, which may be this run itself; also the file, where it is to be written.

    A service counts as checked when it is on the way of a call.
    """
    services = sorted({node.service for node in nodes})
    before, content = judging.before, None
    if judging.is_update:
        before = baseline.draw(findings, totals, rollup=settings.rollup, rules=rules_run, services=services)
        content = baseline.write(before)
    if before is None:
        return findings, NOTHING, None, None
    findings, known = baseline.compare(findings, totals, before, settings.baseline_tolerance)
    use = baseline.used(
        before,
        findings,
        path=str(settings.baseline or ""),
        tolerance=settings.baseline_tolerance,
        is_updated=judging.is_update,
        rules=rules_run,
        services=services,
    )
    return findings, known, use, content


def _sampler(loaded: Loaded) -> Callable[[summarise.SampleCall], Sample]:
    def sample(call: summarise.SampleCall) -> Sample:
        return Sample(call.trace_id, call.span_id, *loaded.position(call.part, call.line))

    return sample


def _limits(settings: Settings) -> gate.Limits:
    limits = settings.gate
    return gate.Limits(
        max_unattributed=limits.max_unattributed,
        warn_unattributed=limits.warn_unattributed,
        max_unattributed_usd=limits.max_unattributed_usd,
        max_lost=limits.max_lost,
        max_unmetered=limits.max_unmetered,
        warn_unmetered=limits.warn_unmetered,
        max_unpriced=limits.max_unpriced,
        warn_unpriced=limits.warn_unpriced,
        fail_on=lambda rule: settings.rule(rule).fail_on,
        required=lambda rule: settings.rule(rule).required,
        strict=settings.strict,
        exit_zero=settings.exit_zero,
    )


def _notes(loaded: Loaded, parts: Sequence[Conclusion], rejected: int, book: PriceBook) -> Iterator[str]:
    for count, text in (
        (rejected, "records were rejected; positions and reasons are in the inputs"),
        (loaded.corrupt_counts, "token counts were negative, not whole or above 10^9 and count as missing"),
        (loaded.dropped_copies, "unfinished copies of spans were left out"),
        (sum(part.containers for part in parts), "spans repeat the usage of calls below them and are no calls"),
        (sum(part.inferred for part in parts), "calls report input without cached tokens, as their numbers show"),
        (sum(part.rejected_prices for part in parts), "calls have counts that no price can hold"),
        (
            sum(part.discounts_not_modelled for part in parts),
            "calls were priced at the standard rate: their tier has no known price",
        ),
    ):
        if count:
            yield f"{count} {text}."
    unread: Counter[str] = Counter()
    for source in loaded.inputs:
        unread.update({entry.key: entry.spans for entry in source.unread_usage})
    for key, spans in sorted(unread.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_UNREAD]:
        yield f"{spans} spans have {key}, which no vocabulary knows; it is not in any count."
    reasons: Counter[str] = Counter()
    for part in parts:
        reasons.update(part.unpriced_reasons)
    for name, calls in sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))[:5]:
        yield f"{calls} calls are unpriced: {name}."
    for entry in book.unused_entries(set[str]().union(*(part.used_prices for part in parts))):
        yield f"The price file's entry fitted no call: {entry}."
