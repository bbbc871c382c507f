"""The order of the stages; the only file that knows it.

load → group into calls → usage → price → attribute → diagnose → summarise → judge
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import cast

import numpy as np

from auditor import __version__, gate, summarise
from auditor.attribute import Policy, attribute
from auditor.diagnose import CostedCalls, build_cases, explain
from auditor.errors import InputError, SettingsError
from auditor.graph.attributed import Attribution
from auditor.graph.identity_map import identity_map
from auditor.graph.one_trace import TraceTree, find_trace, trace_prefix, trace_tree
from auditor.graph.resolve import Places
from auditor.graph.table import SpanTable, merge
from auditor.load import Loaded, load
from auditor.model.audited import USAGES, AuditedCalls
from auditor.model.case import UsageStatus
from auditor.model.lexicon import Lexicon
from auditor.model.report import Report, Sample
from auditor.model.spans import NO_COUNT, U8
from auditor.normalise.calls import Calls, group
from auditor.normalise.usage import Usage, disjoint_usage
from auditor.normalise.vocabulary import compile_lexicon
from auditor.price import PriceBook, UsageColumns
from auditor.price.columns import STATUSES as PRICE_STATUSES
from auditor.price.columns import CallPrices, price_columns
from auditor.registry import load_rules
from auditor.rule import Operation, Rule
from auditor.settings import Settings

Progress = Callable[[int, int], None]
"""Hears of bytes and spans read so far."""


@dataclass(slots=True)
class Audit:
    """A finished audit."""

    report: Report
    calls: AuditedCalls


def audit(paths: Sequence[str], settings: Settings, *, progress: Progress | None = None) -> Audit:
    """Audit the inputs. Raises ``InputError`` when nothing is readable or no call is found."""
    rules = [rule for rule in load_rules(settings.rules_paths) if settings.rule(rule.id).enabled]
    book = PriceBook.load(settings.pricing)
    with _without_garbage_collection():
        loaded = load(paths, _lexicon(settings), progress=progress)
        return _audit(loaded, rules, book, settings)


def _lexicon(settings: Settings) -> Lexicon:
    return compile_lexicon(
        tenant_keys=settings.tenant_keys,
        placeholders=settings.placeholders,
        end_user_as_tenant=settings.end_user_as_tenant,
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


def _audit(loaded: Loaded, rules: Sequence[Rule], book: PriceBook, settings: Settings) -> Audit:
    table = merge(loaded.batches)
    loaded.batches.clear()
    places = Places(table)
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
        calls, spans=loaded.spans_read, services=len(cases.survey.services), redelivered=table.redelivered
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
    rejected = sum(entry.rejected for entry in loaded.inputs)
    skipped = {entry.rule for entry in not_checked}
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
        rules_run=tuple(rule.id for rule in rules if rule.id not in skipped),
        plan=summarise.build_plan(
            findings,
            unattributed=totals.unattributed.cost,
            audited_spend=totals.audited_spend,
            limit=settings.gate.max_unattributed,
        ),
        map_nodes=nodes,
        map_edges=edges,
        gate=gate.judge(totals, findings, not_checked, rejected, _limits(settings)),
        rollup=settings.rollup,
        price_book=book.id,
        ids_hashed=settings.hash_ids,
        start_ns=min(starts, default=None),
        end_ns=max(ends, default=None),
        notes=tuple(_notes(loaded, grouped, usage, prices, rejected, book)),
    )
    return Audit(report, calls)


def _nothing_found(loaded: Loaded) -> str:
    names = ", ".join(entry.path for entry in loaded.inputs[:3])
    more = f" and {len(loaded.inputs) - 3} more" if len(loaded.inputs) > 3 else ""
    rejected = sum(entry.rejected for entry in loaded.inputs)
    first = next((entry for entry in loaded.inputs if entry.rejections), None)
    reason = f"{first.path}:{first.rejections[0].line}: {first.rejections[0].reason}" if first else ""
    spans = loaded.spans_read
    broken = f", {rejected} records rejected ({reason})" if rejected else ""
    return f"{names}{more}: no model call among {spans} spans{broken}"


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
        table.reported_pico[grouped.usage],
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
    rules = [rule for rule in load_rules(settings.rules_paths) if settings.rule(rule.id).enabled]
    book = PriceBook.load(settings.pricing)
    lexicon = _lexicon(settings)
    with _without_garbage_collection():
        loaded = load(paths, lexicon, explain_trace=prefix)
        found = find_trace([batch.trace_ids for batch in loaded.batches], prefix)
        if found != prefix and "-" not in paths:
            loaded = load(paths, lexicon, explain_trace=found)
        done = _audit(loaded, rules, book, settings)
    # Calls name their spans by rows of the table that was audited.
    table = cast("SpanTable", done.calls.spans)
    hide = _hashed if settings.hash_ids else _plain
    return trace_tree(table, done.calls, done.report.findings, found, hide=hide)
