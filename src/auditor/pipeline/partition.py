"""What happens to the spans of one partition, step by step.

A partition holds whole traces, and all traces that one call joins. What it cannot know by itself, all partitions
find out together: between two steps their messages are put together, and the answer goes to each of them (see
``auditor.pipeline.rounds``). One partition with everything in it is the usual case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from auditor.attribute import Attributing, Partners, Policy, WantedIds
from auditor.diagnose import (
    Callers,
    Cases,
    CostedCalls,
    Cuts,
    Decided,
    Roots,
    Surroundings,
    Windows,
    build_cases,
    callers_around,
    cut_roots,
    knowing_processes,
    may_be_cut,
    pricing_logs,
    roots_inside,
)
from auditor.graph.attributed import Attribution
from auditor.graph.resolve import Places
from auditor.graph.table import SpanTable, merge
from auditor.graph.ways import Ways, ways_of
from auditor.model.audited import USAGES, AuditedCalls
from auditor.model.case import UsageStatus
from auditor.model.lexicon import Operation
from auditor.model.spans import I64, NO_COUNT, U8, U64, Batch
from auditor.normalise.calls import Calls, Clocks, Grouping, Lone, Offsets
from auditor.normalise.requests import Moments as Requests
from auditor.normalise.requests import gateway_answers, leave_out, leave_out_described, none_open
from auditor.normalise.usage import Usage, disjoint_usage
from auditor.price import PriceBook, UsageColumns
from auditor.price.columns import STATUSES as PRICE_STATUSES
from auditor.price.columns import CallPrices, price_columns
from auditor.summarise import Costs, Like, Positions, Shares, Tally, costs_like, share_out, tally
from auditor.summarise.tally import likes_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Orders:
    """What the settings say about the steps."""

    policy: Policy
    cost_source: str
    hash_ids: bool
    by_tenant: bool
    """The tenants of each case are asked for."""
    keep_calls: bool
    """The calls are asked for when all is done."""


@dataclass(slots=True)
class Context:
    """What the steps of a process need besides the partition."""

    orders: Orders
    book: PriceBook


def context_of(orders: Orders, pricing: Path | str | None) -> Context:
    """Make the context of a process of its own."""
    return Context(orders, PriceBook.load(pricing))


@dataclass(slots=True)
class Partition:
    """Some traces, and what is known of them so far."""

    batches: list[Batch]
    """Taken in by the first step."""
    table: SpanTable | None = None
    places: Places | None = None
    grouping: Grouping | None = None
    metered: Metered | None = None
    used_prices: frozenset[str] = frozenset()
    """Labels of entries of the price file that have fitted when the calls were priced."""
    attributing: Attributing | None = None
    attribution: Attribution | None = None
    around: Surroundings | None = None
    wanted_costs: frozenset[Like] = frozenset()
    calls: AuditedCalls | None = None
    """Of a finished partition."""


@dataclass(slots=True)
class Metered:
    """The calls of a partition with usage and price."""

    calls: Calls
    usage: Usage
    status: U8
    """Row of ``USAGES``, one entry a call."""
    prices: CallPrices


Step = Callable[[Context, Partition, Any], Any]


# -- which spans are calls ---------------------------------------------------------------------------


@dataclass(slots=True)
class Begun:
    """What a partition says once its spans are one table."""

    requests: Requests
    """Requests that a gateway elsewhere may tell of; where there are none, the rest is known as well."""
    clocks: Clocks = field(default_factory=dict)
    may_be_cut: bool = False


def begin(_: Context, part: Partition, __: None) -> Begun:
    """Make one table of the batches, settle what its traces tell of requests, and find calls of several spans."""
    part.table = merge(part.batches)
    part.batches = []
    part.places = Places(part.table)
    requests = leave_out_described(part.table, part.places)
    return Begun(requests) if len(requests) else _grouped(part, requests)


def answer_requests(_: Context, part: Partition, __: None) -> Requests:
    """Say what gateways tell of requests."""
    return gateway_answers(_there(part.table), _there(part.places))


def take_requests_out(_: Context, part: Partition, described: U64) -> Begun:
    """Take out the requests with these keys, then as ``begin``."""
    leave_out(_there(part.table), described)
    return _grouped(part, none_open())


def _grouped(part: Partition, requests: Requests) -> Begun:
    if part.grouping is None:
        part.grouping = Grouping(_there(part.table), _there(part.places))
    return Begun(requests, part.grouping.clocks(), part.grouping.may_be_cut)


def compare(_: Context, part: Partition, offsets: Offsets) -> U64:
    """Join what shares an id, and say by what calls may be known to have a twin in another trace."""
    grouping = _there(part.grouping)
    grouping.pair_ids(offsets)
    return grouping.counts_cut_off()


def show_lone(_: Context, part: Partition, counts: U64) -> Lone:
    """Show the calls that may be one of two twins."""
    return _there(part.grouping).lone(counts)


# -- what they cost, and whose they are --------------------------------------------------------------


@dataclass(slots=True)
class Opened:
    """What a partition says once its traces have told whose calls they hold."""

    calls: int
    wanted: WantedIds
    may_be_cut: bool
    knowing: set[tuple[str, str]]
    pricing_logs: set[str]
    unmetered: set[Like]


def price_and_open(context: Context, part: Partition, offsets: Offsets) -> Opened:
    """Join what shares an id; then price the calls and attribute them as far as their own traces tell."""
    _there(part.grouping).pair_ids(offsets)
    return _opened(context, part)


def join_and_open(context: Context, part: Partition, twins: Sequence[tuple[int, int]]) -> Opened:
    """Join twins; then price the calls and attribute them as far as their own traces tell."""
    _there(part.grouping).join_twins(twins)
    return _opened(context, part)


def _opened(context: Context, part: Partition) -> Opened:
    table, places = _there(part.table), _there(part.places)
    calls = _there(part.grouping).calls()
    part.grouping = None
    usage = disjoint_usage(table.tokens, table.call_facts, table.facts)
    status = _usage_status(table, calls, usage)
    part.metered = Metered(calls, usage, status, _prices(context, table, calls, usage, status))
    # Another process may take the steps that follow, with a book of its own.
    part.used_prices = frozenset(context.book.used_entries())
    part.attributing = Attributing(table, places, calls, context.orders.policy)
    missing = np.flatnonzero(status == USAGES.index(UsageStatus.MISSING))
    service_of = _service_of(table, places, calls)
    return Opened(
        calls=len(calls.primary),
        wanted=part.attributing.wanted_ids(),
        may_be_cut=bool(may_be_cut(table, places, part.attributing.walks).any()),
        knowing=knowing_processes(table, places),
        pricing_logs=pricing_logs(table, places, calls.price),
        unmetered=set(likes_of(places.services, service_of[missing], table.facts, calls.facts[missing])),
    )


def know(_: Context, part: Partition, wanted: WantedIds) -> Partners:
    """Say what this partition knows of ids that calls anywhere ask for."""
    return _there(part.attributing).partners(wanted)


def _usage_status(table: SpanTable, grouped: Calls, usage: Usage) -> U8:
    facts_of = grouped.facts
    failed = np.array([entry.failed and not entry.was_answered for entry in table.facts] or [False], dtype=bool)
    cache_hit = np.array([entry.cache_hit for entry in table.facts] or [False], dtype=bool)
    rerank = np.array([entry.operation is Operation.RERANK for entry in table.facts] or [False], dtype=bool)
    known = usage.is_known[grouped.usage] | rerank[facts_of]
    status = np.full(len(facts_of), USAGES.index(UsageStatus.MISSING), dtype=np.uint8)
    status[known] = USAGES.index(UsageStatus.COMPLETE)
    status[known & usage.is_partial[grouped.usage]] = USAGES.index(UsageStatus.PARTIAL)
    status[known & grouped.usage_elsewhere] = USAGES.index(UsageStatus.ELSEWHERE)
    not_billed = (failed[facts_of] & ~usage.is_known[grouped.usage]) | cache_hit[facts_of]
    status[not_billed] = USAGES.index(UsageStatus.NOT_BILLED)
    return status


def _prices(context: Context, table: SpanTable, grouped: Calls, usage: Usage, status: U8) -> CallPrices:
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
        context.book,
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
        cost_source=context.orders.cost_source,
    )


# -- what is wrong with them -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """What all partitions together know of whose calls they hold."""

    shared: Partners
    around: Surroundings
    """Without the cuts."""
    unmetered: frozenset[Like]


@dataclass(slots=True)
class Conclusion:
    """A partition's part of the report."""

    cases: Cases
    shares: Shares
    tally: Tally
    costs: Costs
    ways: Ways
    containers: int
    inferred: int
    """Calls whose input leaves cached tokens out, as their numbers show."""
    rejected_prices: int
    discounts_not_modelled: int
    unpriced_reasons: Counter[str]
    used_prices: set[str]
    """Labels of entries of the price file that fitted."""
    tenant_values: set[str]
    carries: bool
    """Whether any call carries a tenant."""


def show_roots(_: Context, part: Partition, known: Known) -> Roots:
    """Settle by shared ids whose the calls are, and show the roots of traces that may be cut."""
    _settle(part, known)
    return cut_roots(_there(part.table), _there(part.places), _there(part.attribution))


def show_callers(_: Context, part: Partition, windows: Windows) -> Callers:
    """Show who may have called in some stretches of time."""
    return callers_around(_there(part.table), _there(part.places), windows)


def show_inside(_: Context, part: Partition, decided: Decided) -> list[U64]:
    """Show which roots lie inside callers of this partition."""
    return roots_inside(_there(part.table), _there(part.places), decided)


def conclude(context: Context, part: Partition, known: Known) -> Conclusion:
    """Settle by shared ids whose the calls are, and conclude: no trace is cut."""
    _settle(part, known)
    return explain_by_cuts(context, part, {})


def _settle(part: Partition, known: Known) -> None:
    part.attribution = _there(part.attributing).finish(known.shared)
    part.attributing = None
    part.around, part.wanted_costs = known.around, known.unmetered


def explain_by_cuts(context: Context, part: Partition, cuts: Cuts) -> Conclusion:
    """Make cases of what is wrong with calls, and add everything up."""
    table, places = _there(part.table), _there(part.places)
    metered, attribution, around = _there(part.metered), _there(part.attribution), _there(part.around)
    grouped, prices = metered.calls, metered.prices
    cases = build_cases(
        table,
        places,
        CostedCalls(
            candidate=grouped.primary,
            price=grouped.price,
            facts=table.facts,
            facts_of=grouped.facts,
            usage=metered.status,
            cost=prices.cost,
            has_cost=prices.has_cost,
            late=grouped.usage_late,
        ),
        attribution,
        Surroundings(around.knowing, around.pricing_logs, cuts),
    )
    calls = _audited(context, table, places, metered, attribution, cases)
    part.calls = calls if context.orders.keep_calls else None
    names = [value for _, value in attribution.values]
    of_call, cases.of_call = cases.of_call, cases.of_call[:0]
    concluded = Conclusion(
        cases=cases,
        shares=share_out(
            calls,
            of_call,
            calls.case_keys,
            Positions(grouped.primary, table.call_part, table.call_line),
            names if context.orders.by_tenant else None,
        ),
        tally=tally(calls, spans=len(table.key), redelivered=table.redelivered, keys=_keys(table, grouped)),
        costs=costs_like(calls, part.wanted_costs),
        ways=ways_of(table, places, attribution.walks, prices.cost),
        containers=grouped.containers,
        inferred=int(metered.usage.exclusive_inferred[grouped.usage].sum()),
        rejected_prices=prices.rejected,
        discounts_not_modelled=prices.discounts_not_modelled,
        unpriced_reasons=Counter(prices.unpriced_reasons),
        used_prices=set(part.used_prices),
        tenant_values={value for tags in table.tenants for _, value, _ in tags},
        carries=bool((attribution.carried >= 0).any()),
    )
    # Nothing comes after this: what is not asked for need not be held, or stored.
    part.table = part.places = part.metered = part.attribution = part.around = None
    return concluded


def _audited(
    context: Context, table: SpanTable, places: Places, metered: Metered, attribution: Attribution, cases: Cases
) -> AuditedCalls:
    grouped, usage, prices = metered.calls, metered.usage, metered.prices
    hide = hashed if context.orders.hash_ids else str
    rows = table.call_row[grouped.primary].astype(np.int64)
    is_row = np.array([entry.is_row for entry in places.shapes] or [False], dtype=bool)
    of_call = grouped.usage
    return AuditedCalls(
        spans=table,
        row=rows,
        is_row=is_row[places.shape[table.place[rows]]],
        services=places.services,
        service_of=_service_of(table, places, grouped),
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
        usage=metered.status,
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
        texts=[*table.texts, ""],
        user_of=table.call_user[grouped.primary],
        workflow_of=table.call_workflow[grouped.primary],
        log_id_of=table.log_id[grouped.primary],
        case=cases.of_call,
        case_keys=[case.key for case in cases.cases],
        hide=hide,
    )


def _service_of(table: SpanTable, places: Places, grouped: Calls) -> I64:
    """By call: the service that made it, a row of ``Places.services``."""
    of_call: I64 = places.service[table.place[table.call_row[grouped.primary]]]
    return of_call


def hashed(text: str) -> str:
    """An id as it is shown where ids are hidden."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() if text else ""


def _keys(table: SpanTable, grouped: Calls) -> Counter[str]:
    codes, counts = np.unique(grouped.tenant[grouped.tenant >= 0], return_counts=True)
    keys: Counter[str] = Counter()
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        keys[table.tenants[code][0].key] += count
    return keys


def _there(entry: T | None) -> T:
    if entry is None:
        raise RuntimeError("a step came before the one that it builds on")
    return entry
