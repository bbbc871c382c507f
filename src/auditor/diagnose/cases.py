"""Groups calls that went the same way into cases, and surveys the whole input.

A case is keyed by a hash of what its calls have in common, made of names and never of row numbers, so that it is
the same for equal input in any order, and for calls of any partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from auditor.diagnose.cuts import Cuts
from auditor.graph.attributed import Attribution
from auditor.graph.resolve import End, Places, steps_between
from auditor.graph.table import ROOT, SpanTable
from auditor.model.audited import USAGES, exact_sum
from auditor.model.case import (
    Case,
    CredentialFacts,
    CutMatch,
    Ending,
    Path,
    Peer,
    ServiceFacts,
    Step,
    StreamSign,
    Survey,
    UsageStatus,
)
from auditor.model.joins import STATUSES, Join, Status
from auditor.model.lexicon import Operation
from auditor.model.spans import I64, U8, U64, Bools, CallerSaid, CallFacts, Kind, Role

_MISSING_USAGE = USAGES.index(UsageStatus.MISSING)
_UNATTRIBUTED = (STATUSES.index(Status.RECOVERABLE), STATUSES.index(Status.LOST))
_RECOVERABLE = STATUSES.index(Status.RECOVERABLE)
_INTERNAL = STATUSES.index(Status.INTERNAL)


@dataclass(slots=True)
class CostedCalls:
    """Calls with what they cost, one entry a call."""

    candidate: I64
    """Row of the call columns that stands for the call."""
    price: I64
    """Row of the call columns that is closest to the provider."""
    facts: list[CallFacts]
    facts_of: I64
    """Row of ``facts``."""
    usage: U8
    """Row of ``USAGES``."""
    cost: I64
    """Pico-dollars; 0 for unmetered, unpriced and unbilled calls."""
    has_cost: Bools
    late: Bools
    """The usage came when the call's span had ended."""


Process = tuple[str, str]
"""Service and instance."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all partitions together say of the surroundings of calls."""

    knowing: Collection[Process]
    """Processes of which a span knows a tenant."""
    pricing_logs: Collection[str]
    """Gateways whose logs tell costs."""
    cuts: Cuts


@dataclass(slots=True)
class SurveyPart:
    """What one partition says for the survey."""

    services: dict[str, ServiceFacts]
    credentials: dict[str, CredentialFacts]
    tenants: dict[str, set[tuple[str, str]]]
    """By credential: the tenants of its calls."""
    producers: frozenset[str]
    operations: frozenset[Operation]
    has_kinds: bool
    has_graph: bool
    has_streams: bool
    has_batches: bool
    has_rows: bool
    shows_callers: bool


@dataclass(slots=True)
class Cases:
    """The cases of a partition, ordered by key."""

    cases: list[Case]
    first: list[int]
    """By case: the smallest key among the spans of its calls; that call shows the way of all."""
    survey: SurveyPart
    of_call: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Position among the cases of each call; -1 for calls that nothing ails."""


def merge_cases(parts: Sequence[Cases]) -> list[Case]:
    """Put the cases of all partitions together, ordered by key."""
    merged: dict[int, tuple[int, Case]] = {}
    for part in parts:
        for case, first in zip(part.cases, part.first, strict=True):
            known = merged.get(case.key)
            merged[case.key] = (first, case) if known is None else _both(known, (first, case))
    return [merged[key][1] for key in sorted(merged)]


_ADDED = ("calls", "cost", "unattributed_calls", "unattributed_cost", "recoverable_cost", "unmetered_calls")


def _both(one: tuple[int, Case], other: tuple[int, Case]) -> tuple[int, Case]:
    first, shown = min(one, other, key=lambda entry: entry[0])
    sums = {name: getattr(one[1], name) + getattr(other[1], name) for name in _ADDED}
    return first, replace(shown, **sums)


def merge_surveys(parts: Sequence[SurveyPart]) -> Survey:
    """Put together what all partitions say."""
    services: dict[str, ServiceFacts] = {}
    credentials: dict[str, CredentialFacts] = {}
    tenants: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for part in parts:
        for name, facts in part.services.items():
            services[name] = services[name].plus(facts) if name in services else facts
        for name, use in part.credentials.items():
            credentials[name] = credentials[name].plus(use) if name in credentials else use
        for name, known in part.tenants.items():
            tenants[name] |= known
    return Survey(
        services=dict(sorted(services.items())),
        credentials={name: replace(use, tenants=len(tenants[name])) for name, use in sorted(credentials.items())},
        producers=frozenset().union(*(part.producers for part in parts)),
        operations=frozenset().union(*(part.operations for part in parts)),
        has_kinds=any(part.has_kinds for part in parts),
        has_graph=any(part.has_graph for part in parts),
        has_streams=any(part.has_streams for part in parts),
        has_batches=any(part.has_batches for part in parts),
        has_rows=any(part.has_rows for part in parts),
        shows_callers=any(part.shows_callers for part in parts),
    )


def operation_of(facts: CallFacts) -> Operation:
    """The operation, or the one that the model's name tells where a span has usage only."""
    if facts.operation is not None:
        return facts.operation
    model = (facts.response_model or facts.request_model).lower()
    return Operation.EMBEDDINGS if "embed" in model else Operation.CHAT


def build_cases(
    table: SpanTable, places: Places, calls: CostedCalls, attribution: Attribution, around: Surroundings
) -> Cases:
    """Group all calls that lack a tenant, lack usage, or carry the wrong tenant."""
    walks = attribution.walks
    logged = _logged(table, places, calls, around.pricing_logs)
    wanted = np.flatnonzero(_ails(calls, attribution, logged))
    rows = walks.start
    linked, producer = _links(table, attribution)
    peers = _peers(table, places, attribution, rows)
    cuts = _cuts(table, attribution, around.cuts)
    beside_agent = _beside_agents(table, places, attribution, rows)
    knowing = np.array([process in around.knowing for process in places.processes] or [False], dtype=bool)
    process_knows = knowing[places.process[table.place[walks.top_row]]] if len(rows) else np.empty(0, dtype=bool)
    untagged = np.isin(attribution.status, _UNATTRIBUTED)

    facts_key = np.array([_hash(_facts_key(facts)) for facts in calls.facts] or [0], dtype=np.uint64)
    shown_path = np.where(untagged, walks.to_tenant, walks.to_top)
    key = _combine(
        shown_path[wanted],
        facts_key[calls.facts_of[wanted]],
        _ending_code(walks.end, walks.tenant_row)[wanted],
        attribution.status[wanted],
        attribution.join[wanted],
        attribution.ambiguous[wanted],
        attribution.conflict[wanted],
        calls.usage[wanted],
        calls.late[wanted],
        linked[wanted],
        beside_agent[wanted],
        process_knows[wanted],
        _hashes_of(attribution.via)[producer[wanted]],
        _hashes(peers.get(call) for call in wanted.tolist()),
        _hashes(cuts.get(call) for call in wanted.tolist()),
        _hashes_of(logged.logs)[logged.unpriced_by[wanted]],
        logged.has_cost[wanted],
        logged.is_unread[wanted],
    )
    of_call = np.full(len(rows), -1, dtype=np.int64)
    keys, inverse = np.unique(key, return_inverse=True)
    order = np.lexsort((table.key[rows[wanted]], inverse))
    bounds = np.searchsorted(inverse[order], np.arange(len(keys) + 1))
    cases: list[Case] = []
    first_keys: list[int] = []
    for number in range(len(keys)):
        members = wanted[order[bounds[number] : bounds[number + 1]]]
        of_call[members] = number
        first = int(members[0])
        first_keys.append(int(table.key[rows[first]]))
        cases.append(
            _case(
                int(keys[number]),
                table,
                places,
                calls,
                attribution,
                first,
                members,
                linked=bool(linked[first]),
                beside_agent=bool(beside_agent[first]),
                process_knows_tenant=bool(process_knows[first]),
                producer=_name(attribution.via, producer[first]),
                peers=peers.get(first, frozenset()),
                cut=cuts.get(first),
                logged=logged,
            )
        )
    return Cases(cases, first_keys, _survey(table, places, calls, attribution, rows), of_call)


def _cuts(table: SpanTable, attribution: Attribution, cuts: Cuts) -> dict[int, CutMatch]:
    """The cut that explains each call, by call number."""
    if not cuts:
        return {}
    untagged = np.flatnonzero(np.isin(attribution.status, _UNATTRIBUTED) & (attribution.walks.tenant_row < 0))
    tops = table.key[attribution.walks.top_row[untagged]].tolist()
    return {call: cuts[top] for call, top in zip(untagged.tolist(), tops, strict=True) if top in cuts}


@dataclass(frozen=True, slots=True)
class _Logged:
    """What gateways' logs say of calls, one entry a call; see the fields of ``Case``."""

    logs: list[str]
    """Names of gateways."""
    unpriced_by: I64
    """Row of ``logs``; -1 for none."""
    has_cost: Bools
    is_unread: Bools


def pricing_logs(table: SpanTable, places: Places, price: I64) -> set[str]:
    """Gateways whose logs tell the cost of any call; ``price`` as in ``CostedCalls``."""
    shapes = places.shape[table.place[table.call_row[price[table.reported_pico[price] > 0]].astype(np.int64)]]
    return {places.shapes[number].service for number in np.unique(shapes).tolist() if places.shapes[number].is_row}


def _logged(table: SpanTable, places: Places, calls: CostedCalls, pricing: Collection[str]) -> _Logged:
    """Compare what gateways' logs say of each call with what is known of it."""
    place = table.place[table.call_row[calls.price].astype(np.int64)]
    is_row = np.array([shape.is_row for shape in places.shapes] or [False], dtype=bool)[places.shape[place]]
    if not is_row.any():
        return _Logged([], np.full(len(place), -1), is_row, is_row)
    services: dict[str, int] = {}
    number_of = np.array([services.setdefault(shape.service, len(services)) for shape in places.shapes], dtype=np.int64)
    log = number_of[places.shape[place]]
    reported = table.reported_pico[calls.price] > 0
    knows_costs = np.array([service in pricing for service in services], dtype=bool)
    facts_of = table.call_facts[calls.price].astype(np.int64)
    says_free = np.array([facts.logged_free for facts in table.facts] or [False], dtype=bool)[facts_of]
    failed = np.array([facts.failed for facts in table.facts] or [False], dtype=bool)[facts_of]
    has_usage = np.isin(calls.usage, [USAGES.index(usage) for usage in (UsageStatus.COMPLETE, UsageStatus.ELSEWHERE)])
    unpriced = (
        is_row & ~reported & ~failed & has_usage & calls.has_cost & (calls.cost > 0) & (says_free | knows_costs[log])
    )
    lacks_usage = is_row & (calls.usage == _MISSING_USAGE)
    no_model = np.array(
        [not (facts.request_model or facts.response_model) for facts in table.facts] or [False], dtype=bool
    )
    unpriced_by = np.where(unpriced, log, -1)
    return _Logged(list(services), unpriced_by, lacks_usage & reported, lacks_usage & no_model[facts_of])


def _ails(calls: CostedCalls, attribution: Attribution, logged: _Logged) -> Bools:
    unanswered = np.array([facts.failed and not facts.was_answered for facts in calls.facts] or [False], dtype=bool)
    failed = unanswered[calls.facts_of]
    not_billed = calls.usage == USAGES.index(UsageStatus.NOT_BILLED)
    untagged = np.isin(attribution.status, _UNATTRIBUTED)
    odd_usage = calls.late | np.isin(
        calls.usage, [USAGES.index(status) for status in (UsageStatus.MISSING, UsageStatus.PARTIAL)]
    )
    unpriced = logged.unpriced_by >= 0
    production = attribution.status != _INTERNAL
    ails: Bools = (
        production
        & ~not_billed
        & ((untagged & ~(failed & ~calls.has_cost)) | (odd_usage & ~failed) | attribution.conflict | unpriced)
    )
    return ails


def _case(
    key: int,
    table: SpanTable,
    places: Places,
    calls: CostedCalls,
    attribution: Attribution,
    first: int,
    members: I64,
    *,
    linked: bool,
    beside_agent: bool,
    process_knows_tenant: bool,
    producer: str,
    peers: frozenset[Peer],
    cut: CutMatch | None,
    logged: _Logged,
) -> Case:
    walks = attribution.walks
    facts = calls.facts[calls.facts_of[first]]
    status = STATUSES[attribution.status[first]]
    untagged = status in {Status.RECOVERABLE, Status.LOST}
    tenant_row = int(walks.tenant_row[first])
    last = tenant_row if untagged and tenant_row >= 0 else int(walks.top_row[first])
    path = Path(
        _steps(table, places, int(walks.start[first]), last),
        _ending(walks.end[first], untagged and tenant_row >= 0),
    )
    conflict = bool(attribution.conflict[first])
    conflict_row = int(attribution.conflict_row[first])
    has_cost = calls.has_cost[members]
    cost = exact_sum(calls.cost[members][has_cost])
    unmetered = int((calls.usage[members] == _MISSING_USAGE).sum())
    usage = USAGES[calls.usage[first]]
    return Case(
        key=key,
        path=path,
        operation=operation_of(facts),
        status=status,
        join=Join(int(attribution.join[first])),
        ambiguous=bool(attribution.ambiguous[first]),
        conflict=conflict,
        conflict_hop=_steps(table, places, int(walks.start[first]), conflict_row)
        if conflict and conflict_row >= 0
        else (),
        usage=usage,
        usage_late=bool(calls.late[first]),
        stream=stream_sign(facts) if usage is UsageStatus.MISSING else StreamSign.UNKNOWN,
        streamed=facts.streamed,
        batch=facts.batch,
        failed=facts.failed and not facts.was_answered,
        credential=facts.credential,
        placeholder=facts.placeholder,
        linked=linked,
        beside_agent=beside_agent,
        process_knows_tenant=process_knows_tenant,
        producer=producer,
        peers=peers,
        cut=cut,
        calls=len(members),
        cost=cost,
        unattributed_calls=len(members) if untagged else 0,
        unattributed_cost=cost if untagged else 0,
        recoverable_cost=cost if status is Status.RECOVERABLE else 0,
        unmetered_calls=unmetered,
        is_request=facts.is_request,
        provider=facts.provider if facts.is_request else "",
        unpriced_by=_name(logged.logs, logged.unpriced_by[first]),
        has_logged_cost=bool(logged.has_cost[first]),
        caller_said=facts.caller_said,
        is_unread=bool(logged.is_unread[first]),
    )


def stream_sign(facts: CallFacts) -> StreamSign:
    """What a call without usage says about its stream."""
    if facts.finished:
        return StreamSign.NOT_REQUESTED
    if facts.first_chunk or (facts.streamed and facts.has_response_id):
        return StreamSign.STOPPED
    if facts.streamed and not facts.has_response_id:
        return StreamSign.NEVER_READ
    return StreamSign.UNKNOWN


def _steps(table: SpanTable, places: Places, row: int, last: int) -> tuple[Step, ...]:
    return tuple(
        Step(step.shape, step.crosses_process, step.repeated) for step in steps_between(table, places, row, last)
    )


def _ending(end: int, knew_tenant: bool) -> Ending:
    if knew_tenant:
        return Ending.TENANT
    return {End.ROOT: Ending.ROOT, End.MISSING: Ending.MISSING, End.CYCLE: Ending.CYCLE}[End(end)]


def _ending_code(end: U8, tenant_row: np.ndarray) -> I64:
    return np.where(tenant_row >= 0, 9, end).astype(np.int64)


def _facts_key(facts: CallFacts) -> tuple[Any, ...]:
    """What makes calls different cases; models and features do not."""
    return (
        operation_of(facts),
        facts.streamed,
        stream_sign(facts),
        facts.batch,
        facts.failed,
        facts.credential,
        facts.placeholder,
        *((facts.caller_said,) if facts.caller_said else ()),
        *((facts.provider,) if facts.is_request else ()),
    )


def _hashes(values: Iterable[Hashable]) -> U64:
    """Hash what calls have in common; few values stand for many calls."""
    known: dict[Hashable, int] = {}
    found = []
    for value in values:
        if value not in known:
            known[value] = _hash(sorted(map(repr, value)) if isinstance(value, frozenset) else value)
        found.append(known[value])
    return np.array(found, dtype=np.uint64)


def _name(names: Sequence[str], row: int) -> str:
    """The name in a row; an empty one for -1."""
    return names[row] if row >= 0 else ""


def _hashes_of(names: Sequence[str]) -> U64:
    """Hashes of names by row, of none by -1."""
    return np.array([*map(_hash, names), _hash("")], dtype=np.uint64)


def _hash(value: object) -> int:
    return int.from_bytes(blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _combine(*columns: np.ndarray) -> U64:
    key = np.zeros(len(columns[0]), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in columns:
            key = (key ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(31)
    return key


# -- facts about the surroundings of calls -----------------------------------------------------------


def _links(table: SpanTable, attribution: Attribution) -> tuple[Bools, I64]:
    """Whether a span on the way of each call has a link, and the service at the other end of its join.

    That is a row of ``Attribution.via``, or -1.
    """
    linked = np.zeros(len(attribution.status), dtype=bool)
    has_link = np.zeros(len(table.key), dtype=bool)
    has_link[table.link_row] = True
    linked[attribution.passed_call[has_link[attribution.passed_row]]] = True
    queue_joins = np.isin(attribution.join, [Join.LINK, Join.MESSAGE_ID, Join.BATCH_ID, Join.WORKFLOW_ID])
    return linked, np.where(queue_joins, attribution.via_service, -1)


def _peers(table: SpanTable, places: Places, attribution: Attribution, rows: I64) -> dict[int, frozenset[Peer]]:
    """For calls that reach no tenant: which kinds of spans of the same trace know one, or hand over work."""
    calls = np.flatnonzero(np.isin(attribution.status, _UNATTRIBUTED) & (attribution.walks.tenant_row < 0))
    if not len(calls):
        return {}
    in_trace = np.zeros(len(table.trace_ids), dtype=bool)
    in_trace[table.trace[rows[calls]]] = True
    telling = (table.tenant >= 0) | places.having(Role.PRODUCER)[table.place]
    spans = np.flatnonzero(in_trace[table.trace] & telling)
    if not len(spans):
        return {}
    knows = (table.tenant[spans] >= 0).astype(np.uint64)
    kind = table.place[spans].astype(np.uint64) << np.uint64(1) | knows
    pairs = np.unique(table.trace[spans].astype(np.uint64) << np.uint64(32) | kind)
    of_trace: dict[int, list[int]] = defaultdict(list)
    for pair in pairs.tolist():
        of_trace[pair >> 32].append(pair & 0xFFFFFFFF)
    found: dict[int, frozenset[Peer]] = {}
    remembered: dict[tuple[tuple[int, ...], int], frozenset[Peer]] = {}
    traces = table.trace[rows[calls]].tolist()
    tops = table.place[attribution.walks.top_row[calls]].tolist()
    for call, trace, top in zip(calls.tolist(), traces, tops, strict=True):
        if trace not in of_trace:
            continue
        process = int(places.process[top])
        key = (tuple(of_trace[trace]), process)
        if key not in remembered:
            remembered[key] = frozenset(
                Peer(
                    places.shapes[places.shape[kind >> 1]].service,
                    places.shapes[places.shape[kind >> 1]].role,
                    bool(places.process[kind >> 1] == process),
                    bool(kind & 1),
                )
                for kind in of_trace[trace]
            )
        found[call] = remembered[key]
    return found


def _beside_agents(table: SpanTable, places: Places, attribution: Attribution, rows: I64) -> Bools:
    """Whether an agent's span of the same trace and process contains each untagged call in time."""
    beside = np.zeros(len(rows), dtype=bool)
    agents = np.flatnonzero(places.having(Role.AGENT, Role.TOOL, Role.CHAIN)[table.place])
    calls = np.flatnonzero(np.isin(attribution.status, _UNATTRIBUTED))
    if not len(agents) or not len(calls):
        return beside
    processes = np.int64(places.process.max(initial=0) + 1)
    key = table.trace[agents] * processes + places.process[table.place[agents]]
    order = np.lexsort((agents, key))
    agents, key = agents[order], key[order]
    start, end = table.start_ns[agents], table.end_ns(agents)
    wanted = table.trace[rows[calls]] * processes + places.process[table.place[rows[calls]]]
    at, stop = np.searchsorted(key, wanted), np.searchsorted(key, wanted, side="right")
    call_start, call_end = table.start_ns[rows[calls]], table.end_ns(rows[calls])
    open_calls = np.flatnonzero(at < stop)
    while len(open_calls):
        # One agent of each call's trace and process at a time: few traces have more than one or two.
        agent = at[open_calls]
        around = (start[agent] <= call_start[open_calls]) & (end[agent] >= call_end[open_calls])
        beside[calls[open_calls[around]]] = True
        at[open_calls] += 1
        open_calls = open_calls[~around & (at[open_calls] < stop[open_calls])]
    return beside


def knowing_processes(table: SpanTable, places: Places) -> set[Process]:
    """Processes of which any span knows a tenant.

    A model call without a parent does not tell: a gateway that writes one span a call has no context to lose.
    """
    lone = (table.parent == ROOT) & places.having(Role.MODEL_CALL)[table.place]
    spans = np.bincount(table.place[(table.tenant >= 0) & ~lone], minlength=len(places.process))
    return {places.processes[number] for number in places.process[spans > 0].tolist()}


def _survey(table: SpanTable, places: Places, calls: CostedCalls, attribution: Attribution, rows: I64) -> SurveyPart:
    shape_of_span = places.shape[table.place] if len(table.place) else np.empty(0, np.int64)
    seen = np.bincount(shape_of_span, minlength=len(places.shapes))
    with_tenant = np.bincount(shape_of_span[table.tenant >= 0], minlength=len(places.shapes))
    shapes = [shape for shape, spans in zip(places.shapes, seen.tolist(), strict=True) if spans]
    carries = attribution.carried >= 0
    services: dict[str, ServiceFacts] = defaultdict(ServiceFacts)
    for shape, spans in zip(places.shapes, with_tenant.tolist(), strict=True):
        if shape in shapes:
            services[shape.service] = services[shape.service].plus(
                ServiceFacts(
                    spans_with_tenant=spans,
                    has_server=shape.role is Role.SERVER,
                    has_consumer=shape.role is Role.CONSUMER,
                    languages=frozenset({shape.language} - {""}),
                    scopes=frozenset({shape.scope} - {""}),
                )
            )
    call_shapes = places.shape[table.place[rows]] if len(rows) else np.empty(0, np.int64)
    sent = np.array([facts.caller_said is CallerSaid.TENANT for facts in calls.facts] or [False], dtype=bool)
    from_caller = {number: count for number, _, count in _counts(call_shapes, sent[calls.facts_of])}
    for number, total, tagged in _counts(call_shapes, carries):
        name = places.shapes[number].service
        services[name] = services[name].plus(
            ServiceFacts(total, tagged, calls_with_tenant_from_caller=from_caller[number])
        )
    used = [calls.facts[number] for number in np.unique(calls.facts_of).tolist()]
    credentials, tenants = _credentials(calls, attribution)
    return SurveyPart(
        services=dict(services),
        credentials=credentials,
        tenants=tenants,
        producers=_producers(table, places),
        has_kinds=any(shape.kind not in {Kind.UNSPECIFIED, Kind.INTERNAL} for shape in shapes),
        has_graph=any(not shape.is_row for shape in shapes),
        operations=frozenset(map(operation_of, used)),
        has_streams=any(facts.streamed for facts in used),
        has_batches=any(facts.batch for facts in used),
        has_rows=any(shape.is_row for shape in shapes),
        shows_callers=any(facts.caller_said is CallerSaid.TENANT for facts in used),
    )


def _counts(groups: I64, flags: Bools) -> Iterable[tuple[int, int, int]]:
    totals = np.bincount(groups) if len(groups) else np.empty(0, np.int64)
    flagged = np.bincount(groups[flags], minlength=len(totals))
    return [(int(number), int(totals[number]), int(flagged[number])) for number in np.flatnonzero(totals)]


def _credentials(
    calls: CostedCalls, attribution: Attribution
) -> tuple[dict[str, CredentialFacts], dict[str, set[tuple[str, str]]]]:
    """How the calls under each credential are attributed, and their tenants."""
    carried = attribution.carried.astype(np.int64)
    tenants: dict[str, set[tuple[str, str]]] = defaultdict(set)
    width = np.int64(len(attribution.values) + 1)
    for code in np.unique(calls.facts_of * width + carried + 1).tolist():
        number, tenant = divmod(code, int(width))
        if tenant:
            tenants[calls.facts[number].credential].add(attribution.values[tenant - 1])
    found: dict[str, CredentialFacts] = defaultdict(CredentialFacts)
    for number, total, tagged in _counts(calls.facts_of, carried >= 0):
        embeds = operation_of(calls.facts[number]) in {Operation.EMBEDDINGS, Operation.RERANK}
        credential = calls.facts[number].credential
        found[credential] = found[credential].plus(CredentialFacts(total, tagged, tagged if embeds else 0))
    return dict(found), dict(tenants)


def _producers(table: SpanTable, places: Places) -> frozenset[str]:
    """Services whose producer spans know a tenant, on themselves or directly above."""
    is_producer = places.having(Role.PRODUCER)
    if not is_producer.any():
        return frozenset()
    rows = np.flatnonzero(is_producer[table.place])
    parent = table.parent[rows]
    above = np.where(parent >= 0, table.tenant[np.maximum(parent, 0)], -1)
    knows = (table.tenant[rows] >= 0) | (above >= 0)
    return frozenset(
        places.shapes[number].service for number in np.unique(places.shape[table.place[rows[knows]]]).tolist()
    )
