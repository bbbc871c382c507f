"""The order of the stages; the only file that knows it.

load → group into calls → usage → price → attribute → diagnose → summarise → suppress → baseline → judge
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from hashlib import blake2b
from pathlib import Path
from typing import cast

import numpy as np

from auditor import __version__, baseline, doctor, gate, summarise
from auditor.attribute import Policy, attribute
from auditor.diagnose import CostedCalls, build_cases, explain
from auditor.errors import InputError, SettingsError
from auditor.graph.attributed import Attribution
from auditor.graph.identity_map import identity_map
from auditor.graph.one_trace import TraceTree, find_trace, trace_prefix, trace_tree
from auditor.graph.resolve import Places
from auditor.graph.table import SpanTable, merge
from auditor.load import Loaded, call_sites, load
from auditor.load.formats import FORMATS
from auditor.load.gaps import Gap
from auditor.load.sources import find
from auditor.model.audited import USAGES, AuditedCalls
from auditor.model.case import UsageStatus
from auditor.model.checkup import Checkup
from auditor.model.lexicon import Lexicon
from auditor.model.mapping import SourceMapping
from auditor.model.report import BaselineUse, Finding, MapNode, Recognition, Report, Sample, ServiceSeen, Totals
from auditor.model.spans import I64, NO_COUNT, U8
from auditor.model.stakes import NOTHING, Stakes, add_up, suppressed_of
from auditor.model.suppression import EVERYTHING
from auditor.normalise.calls import Calls, group
from auditor.normalise.requests import leave_out_described
from auditor.normalise.usage import Usage, disjoint_usage
from auditor.normalise.vocabulary import compile_lexicon, vocabulary_versions
from auditor.price import PriceBook, UsageColumns
from auditor.price.columns import STATUSES as PRICE_STATUSES
from auditor.price.columns import CallPrices, price_columns
from auditor.registry import load_rules
from auditor.rule import Operation, Rule
from auditor.settings import Settings
from auditor.suppress import Tenants, suppress

MOST_UNREAD = 10
"""Unknown usage keys that the notes name."""
Progress = Callable[[int, int], None]
"""Hears of bytes and spans read so far."""


@dataclass(slots=True)
class Audit:
    """A finished audit."""

    report: Report
    calls: AuditedCalls
    baseline: bytes | None = None
    """The baseline of this run as a file, where it is to be written."""


@dataclass(frozen=True, slots=True)
class _Judging:
    """What the verdict depends on besides the input and the settings."""

    today: date
    before: baseline.Baseline | None = None
    """The baseline to judge against."""
    is_update: bool = False
    """This run is to become the baseline."""


def audit(
    paths: Sequence[str],
    settings: Settings,
    *,
    progress: Progress | None = None,
    update_baseline: bool = False,
) -> Audit:
    """Audit the inputs. Raises ``InputError`` when nothing is readable or no call is found.

    With ``update_baseline`` the run becomes the baseline that it is judged against. Raises ``SettingsError`` where
    the baseline of the settings is missing or broken.
    """
    judging = _judging(settings, is_update=update_baseline)
    rules = _rules(settings)
    book = PriceBook.load(settings.pricing)
    with _without_garbage_collection():
        loaded = load(paths, _lexicon(settings), progress=progress, mappings=settings.used_mappings)
        return _audit(loaded, rules, book, settings, judging)


def _judging(settings: Settings, *, is_update: bool = False) -> _Judging:
    before = baseline.read(settings.baseline) if settings.baseline is not None and not is_update else None
    return _Judging(settings.today or datetime.now(UTC).date(), before, is_update)


def locate(report: Report, paths: Sequence[str], here: Path) -> Report:
    """Say of the samples of findings on which line their spans are, and which line of code made the calls.

    Reads the inputs that hold samples a second time, up to the last sample. Files of code are named relative to the
    repository around ``here`` where they are found in it. What cannot be read twice leaves its samples as they are.
    """
    samples = [sample for finding in report.findings for sample in finding.samples]
    found = call_sites.locate(samples, report.inputs, paths, call_sites.checkout_of(here))
    findings = tuple(
        replace(finding, samples=tuple(found.get(sample, sample) for sample in finding.samples))
        for finding in report.findings
    )
    return replace(report, findings=findings)


def examine(paths: Sequence[str], settings: Settings, *, progress: Progress | None = None) -> tuple[Checkup, int]:
    """Say what inputs are and what an audit of them lacks; with the audit's exit status.

    An input that cannot be read, or the lack of any call, is part of the answer. Raises ``InputError`` only where
    there is no input at all.
    """
    rules = _rules(settings)
    book = PriceBook.load(settings.pricing)
    judging = _judging(settings)
    report, problem = None, ""
    with _without_garbage_collection():
        loaded = load(paths, _lexicon(settings), progress=progress, may_all_fail=True, mappings=settings.used_mappings)
        try:
            report = _audit(loaded, rules, book, settings, judging).report
        except InputError as error:
            problem = str(error)
            if all(entry.recognition is Recognition.NOTHING for entry in loaded.inputs):
                problem = "nothing here could be read"
    checkup = doctor.examine(
        loaded.inputs,
        report,
        problem,
        formats={
            entry.name: doctor.FormatFacts(
                entry.title, tuple(map(str, entry.cannot_tell)), has_paths=Gap.PATHS not in entry.cannot_tell
            )
            for entry in FORMATS
        },
        tables=vocabulary_versions(),
        version=__version__,
        price_book=book.id,
        cost_source=settings.cost_source,
    )
    return checkup, report.gate.exit_code if report else InputError.exit_code


def drafted_mappings(paths: Sequence[str], wanted: Collection[str]) -> list[SourceMapping]:
    """Drafts of mappings for those inputs, by name, whose format is not known and that look like logs of calls."""
    from auditor.load.draft import draft  # noqa: PLC0415  # only where an input is unknown

    drafts = (draft(source) for source in find(paths) if source.name in wanted and source.path is not None)
    return [entry for entry in drafts if entry is not None]


def _rules(settings: Settings) -> list[Rule]:
    return [rule for rule in load_rules(settings.rules_paths) if settings.rule(rule.id).enabled]


def _lexicon(settings: Settings) -> Lexicon:
    return compile_lexicon(
        tenant_keys=settings.tenant_keys,
        placeholders=settings.placeholders,
        end_user_as_tenant=settings.end_user_as_tenant,
        extra_keys=settings.vocabulary.by_concept,
    )


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Nothing here makes cycles, and walking millions of live objects again and again costs half of the reading."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _audit(loaded: Loaded, rules: Sequence[Rule], book: PriceBook, settings: Settings, judging: _Judging) -> Audit:
    table = merge(loaded.batches)
    loaded.batches.clear()
    places = Places(table)
    leave_out_described(table, places)
    grouped = group(table, places)
    if not len(grouped.primary):
        raise InputError(_nothing_found(loaded), hint="audit explains what it reads: audit --help")
    usage = disjoint_usage(table.tokens, table.call_facts, table.facts)
    usage_status = _usage_status(table, grouped, usage)
    prices = _price(table, grouped, usage, usage_status, book, settings)
    attribution = attribute(table, places, grouped, _policy(settings))
    cases = build_cases(
        table,
        places,
        CostedCalls(
            candidate=grouped.primary,
            price=grouped.price,
            facts=table.facts,
            facts_of=grouped.facts,
            usage=usage_status,
            cost=prices.cost,
            has_cost=prices.has_cost,
            late=grouped.usage_late,
        ),
        attribution,
    )
    explained, not_checked = explain(cases.cases, rules, cases.survey)
    calls = _audited(table, places, grouped, usage, usage_status, prices, attribution, settings)
    blamed = [
        summarise.Blamed(entry.case, entry.rule, entry.diagnosis, entry.also_fits)
        for entry in explained
        if entry.rule is not None and entry.diagnosis is not None
    ]
    names = [entry.rule.id if entry.rule else "" for entry in explained]
    calls.rule = [names[case] if case >= 0 else "" for case in cases.of_call.tolist()]

    totals = summarise.build_totals(
        calls, spans=len(table.key), services=len(cases.survey.services), redelivered=table.redelivered
    )
    findings = summarise.build_findings(
        blamed, calls, cases.of_call, totals.audited_spend, _sampler(table, grouped, loaded)
    )
    tenants = summarise.build_tenants(calls)
    drawn = identity_map(
        table,
        places,
        attribution.walks,
        prices.cost,
        [(finding.hop, finding.unattributed_cost) for finding in findings if finding.unattributed_cost],
    )
    nodes, edges = summarise.build_map(drawn)
    findings, suppressions = suppress(
        findings,
        settings.suppressions,
        judging.today,
        lambda: _tenants(blamed, calls, cases.of_call, attribution),
    )
    if settings.hash_ids:
        suppressions = tuple(
            replace(line, entry=replace(line.entry, tenant=_hashed(line.entry.tenant)))
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
        joins=summarise.build_joins(calls),
        tenants=tenants,
        concentration=summarise.concentration(tenants),
        readiness=summarise.build_readiness(calls),
        tenant_keys=summarise.tenant_keys(_keys(table, grouped)),
        candidate_keys=summarise.candidate_keys(
            loaded.sample,
            {value for tags in table.tenants for _, value, _ in tags},
            nothing_matched=not (attribution.carried >= 0).any(),
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
        ids_hashed=settings.hash_ids,
        start_ns=min(starts, default=None),
        end_ns=max(ends, default=None),
        notes=tuple(_notes(loaded, grouped, usage, prices, rejected, book)),
        suppressions=suppressions,
        baseline=use,
        services=_services(loaded, places, {node.service for node in nodes}),
    )
    return Audit(report, calls, drawn_baseline)


def _services(loaded: Loaded, places: Places, names: set[str]) -> tuple[ServiceSeen, ...]:
    scopes: dict[str, set[str]] = {name: set() for name in names}
    for shape in places.shapes:
        if shape.scope and shape.service in names:
            scopes[shape.service].add(shape.scope)
    return tuple(
        ServiceSeen(
            name,
            tuple(sorted(loaded.service_versions.get(name, ()))),
            tuple(sorted(loaded.service_sdks.get(name, ()))),
            tuple(sorted(scopes[name])),
        )
        for name in sorted(names)
    )


def _tenants(
    blamed: Sequence[summarise.Blamed], calls: AuditedCalls, case_of_call: I64, attribution: Attribution
) -> Tenants:
    names = [value for _, value in attribution.values]
    parts = summarise.tenants_of(summarise.finding_of_call(blamed, case_of_call), calls, names)
    return {finding: parts[number] for number, finding in enumerate(summarise.finding_ids(blamed))}


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
    judging: _Judging,
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


def _nothing_found(loaded: Loaded) -> str:
    names = ", ".join(entry.path for entry in loaded.inputs[:3])
    more = f" and {len(loaded.inputs) - 3} more" if len(loaded.inputs) > 3 else ""
    rejected = sum(entry.rejected for entry in loaded.inputs)
    first = next((entry for entry in loaded.inputs if entry.rejections), None)
    reason = f"{first.path}:{first.rejections[0].line}: {first.rejections[0].reason}" if first else ""
    spans = loaded.spans_read
    broken = f", {rejected} records rejected ({reason})" if rejected else ""
    noted = next((f" ({note})" for entry in loaded.inputs for note in entry.notes), "")
    return f"{names}{more}: no model call among {spans} spans{broken}{noted}"


def _usage_status(table: SpanTable, grouped: Calls, usage: Usage) -> U8:
    facts = [table.facts[number] for number in grouped.facts.tolist()]
    failed = np.array([entry.failed and not entry.was_answered for entry in facts], dtype=bool)
    cache_hit = np.array([entry.cache_hit for entry in facts], dtype=bool)
    rerank = np.array([entry.operation is Operation.RERANK for entry in facts], dtype=bool)
    known = usage.is_known[grouped.usage] | rerank
    status = np.full(len(facts), USAGES.index(UsageStatus.MISSING), dtype=np.uint8)
    status[known] = USAGES.index(UsageStatus.COMPLETE)
    status[known & usage.is_partial[grouped.usage]] = USAGES.index(UsageStatus.PARTIAL)
    status[known & grouped.usage_elsewhere] = USAGES.index(UsageStatus.ELSEWHERE)
    status[(failed & ~usage.is_known[grouped.usage]) | cache_hit] = USAGES.index(UsageStatus.NOT_BILLED)
    return status


def _price(
    table: SpanTable, grouped: Calls, usage: Usage, status: U8, book: PriceBook, settings: Settings
) -> CallPrices:
    metered = np.isin(
        status,
        [USAGES.index(entry) for entry in (UsageStatus.COMPLETE, UsageStatus.PARTIAL, UsageStatus.ELSEWHERE)],
    )
    searches = table.searches[grouped.usage].astype(np.int64)
    rerank = np.array([entry.operation is Operation.RERANK for entry in table.facts] or [False], dtype=bool)
    is_rerank = rerank[grouped.facts]
    # A rerank call is one search unless the source counts them.
    searches = np.where(searches == NO_COUNT, np.where(is_rerank, 1, 0), searches)
    return price_columns(
        book,
        table.facts,
        table.call_facts[grouped.price].astype(np.int64),
        table.start_ns[table.call_row[grouped.primary]],
        UsageColumns(
            input_uncached=usage.uncached[grouped.usage],
            cache_read=usage.cache_read[grouped.usage],
            cache_write_5m=usage.cache_write[grouped.usage],
            cache_write_1h=usage.cache_write_1h[grouped.usage],
            output=usage.output[grouped.usage],
            searches=searches,
        ),
        metered,
        np.where(
            table.reported_pico[grouped.price] >= 0,
            table.reported_pico[grouped.price],
            table.reported_pico[grouped.usage],
        ),
        cost_source=settings.cost_source,
    )


def _policy(settings: Settings) -> Policy:
    internal = settings.internal
    return Policy(
        rollup=settings.rollup,
        internal_environments=frozenset(name.lower() for name in internal.environments),
        internal_services=frozenset(internal.services),
        internal_features=frozenset(internal.features),
        internal_tenants=frozenset(internal.tenants),
    )


def _audited(
    table: SpanTable,
    places: Places,
    grouped: Calls,
    usage: Usage,
    usage_status: U8,
    prices: CallPrices,
    attribution: Attribution,
    settings: Settings,
) -> AuditedCalls:
    hide = _hashed if settings.hash_ids else _plain
    rows = table.call_row[grouped.primary].astype(np.int64)
    shape = places.shape[table.place[rows]]
    of_call = grouped.usage
    texts = [*table.texts, ""]
    return AuditedCalls(
        spans=table,
        row=rows,
        is_row=np.array([entry.is_row for entry in places.shapes], dtype=bool)[shape],
        log_id=[texts[number] for number in table.log_id[grouped.primary].tolist()],
        service=[places.shapes[number].service for number in shape.tolist()],
        start_ns=table.start_ns[rows],
        facts=table.facts,
        facts_of=grouped.facts,
        price_facts_of=table.call_facts[grouped.price].astype(np.int64),
        duplicates={
            call: tuple(int(table.call_row[other]) for other in others) for call, others in grouped.duplicates.items()
        },
        uncached=usage.uncached[of_call],
        cache_read=usage.cache_read[of_call],
        cache_write=usage.cache_write[of_call] + usage.cache_write_1h[of_call],
        output=usage.output[of_call],
        usage=usage_status,
        cost=prices.cost,
        has_cost=prices.has_cost,
        price_status=[str(status) for status in PRICE_STATUSES],
        price_status_of=prices.status,
        status=attribution.status,
        join=attribution.join,
        carried=attribution.carried,
        tenant=attribution.tenant,
        values=[hide(value) for _, value in attribution.values],
        conflict=attribution.conflict,
        user=[hide(texts[number]) for number in table.call_user[grouped.primary].tolist()],
        workflow=[texts[number] for number in table.call_workflow[grouped.primary].tolist()],
        rule=[],
    )


def _plain(text: str) -> str:
    return text


def _hashed(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() if text else ""


def _keys(table: SpanTable, grouped: Calls) -> list[tuple[str, int]]:
    codes, counts = np.unique(grouped.tenant[grouped.tenant >= 0], return_counts=True)
    return [(table.tenants[code][0].key, count) for code, count in zip(codes.tolist(), counts.tolist(), strict=True)]


def _sampler(table: SpanTable, grouped: Calls, loaded: Loaded) -> Callable[[int], Sample]:
    def sample(call: int) -> Sample:
        candidate = int(grouped.primary[call])
        row = int(table.call_row[candidate])
        source = loaded.inputs[int(table.call_input[candidate])].path
        return Sample(table.trace_id(row), table.span_id(row), source, int(table.call_line[candidate]))

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


def _notes(
    loaded: Loaded, grouped: Calls, usage: Usage, prices: CallPrices, rejected: int, book: PriceBook
) -> Iterator[str]:
    inferred = int(usage.exclusive_inferred[grouped.usage].sum())
    for count, text in (
        (rejected, "records were rejected; positions and reasons are in the inputs"),
        (loaded.corrupt_counts, "token counts were negative, not whole or above 10^9 and count as missing"),
        (loaded.dropped_copies, "unfinished copies of spans were left out"),
        (grouped.containers, "spans repeat the usage of calls below them and are no calls"),
        (inferred, "calls report input without cached tokens, as their numbers show"),
        (prices.rejected, "calls have counts that no price can hold"),
        (
            prices.discounts_not_modelled,
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
    for name, calls in sorted(prices.unpriced_reasons.items(), key=lambda entry: (-entry[1], entry[0]))[:5]:
        yield f"{calls} calls are unpriced: {name}."
    for entry in book.unused_entries():
        yield f"The price file's entry fitted no call: {entry}."


def explain_trace(trace_id: str, paths: Sequence[str], settings: Settings) -> TraceTree:
    """One trace as a tree, with what the audit of all inputs says about its calls.

    ``trace_id`` in either case, with ``0x`` or without, or its first 8 digits or more where only one trace begins
    so (files are then read a second time for the names of its spans). Raises ``SettingsError`` when it is no
    trace id, ``InputError`` when no trace or several have it, when nothing is readable, or no call is found.
    """
    prefix = trace_prefix(trace_id)
    if prefix is None:
        raise SettingsError(
            f"{trace_id!r} is not a trace id",
            hint="32 hex digits, or the first 8 of them or more; a rule's page needs no files: audit explain RULE",
        )
    rules = _rules(settings)
    book = PriceBook.load(settings.pricing)
    lexicon = _lexicon(settings)
    judging = _judging(settings.without_gate())
    with _without_garbage_collection():
        loaded = load(paths, lexicon, explain_trace=prefix, mappings=settings.used_mappings)
        found = find_trace([batch.trace_ids for batch in loaded.batches], prefix)
        if found != prefix and "-" not in paths:
            loaded = load(paths, lexicon, explain_trace=found, mappings=settings.used_mappings)
        done = _audit(loaded, rules, book, settings, judging)
    # Calls name their spans by rows of the table that was audited.
    table = cast("SpanTable", done.calls.spans)
    hide = _hashed if settings.hash_ids else _plain
    return trace_tree(table, done.calls, done.report.findings, found, hide=hide)
