"""What an audit found, as values: every renderer reads this and nothing else.

Money is an integer of pico-dollars (``auditor.model.money``); shares are fractions between 0 and 1 of the
audited spend (all calls but internal ones), or ``None`` where there is no spend to take a share of.
Sequences are already in the order in which they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Confidence(StrEnum):
    """How sure a diagnosis is, in falling order."""

    CERTAIN = "certain"
    """The hop is seen inside one trace."""
    LIKELY = "likely"
    """Inferred from a good match between traces, or from the rest of the process."""
    POSSIBLE = "possible"
    """Inferred from other calls."""

    @property
    def rank(self) -> int:
        """0 for certain, rising as confidence falls."""
        return (Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE).index(self)


class HopKind(StrEnum):
    """What the tenant did not get across."""

    PROCESS = "process"
    QUEUE = "queue"
    THREAD = "thread"
    STREAM = "stream"
    BATCH = "batch"
    CUT = "cut"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Hop:
    """The edge after which the tenant is gone, by its two services (equal when it lies inside one)."""

    source: str
    target: str
    kind: HopKind


@dataclass(frozen=True, slots=True)
class Amount:
    """Calls and the cost of the priced ones among them."""

    calls: int = 0
    cost: int = 0
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """An estimated amount of money, tenth to ninetieth percentile."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that could not be read: where, and why. Holds no content of the record."""

    line: int
    """1-based line (or value) in the input."""
    byte: int
    """Offset of the record in the decompressed input."""
    reason: str


@dataclass(frozen=True, slots=True)
class InputSummary:
    """One input as it was read."""

    path: str
    format: str
    vocabularies: tuple[str, ...]
    bytes: int
    records: int
    spans: int
    rejected: int
    rejections: tuple[Rejection, ...]
    """The first few of the rejected records."""
    start_ns: int | None
    end_ns: int | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One span that shows a finding, and where to read it."""

    trace_id: str
    span_id: str
    input: str
    line: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says about the cases that it explains."""

    id: str
    rule: str
    title: str
    confidence: Confidence
    hop: Hop
    route: tuple[str, ...]
    """Services from where the tenant was last known (or the top of the trace) down to the call."""
    operation: str
    calls: int
    cost: int
    unattributed_calls: int
    unattributed_cost: int
    share: float | None
    recoverable_cost: int
    unmetered_calls: int
    unmetered_estimate: Range | None
    evidence: tuple[str, ...]
    samples: tuple[Sample, ...]
    also_fits: tuple[str, ...]
    remedy: str


@dataclass(frozen=True, slots=True)
class TenantLine:
    """What one tenant spent: on calls that carry it, and on calls that a join gives back to it."""

    tenant_id: str
    calls: int
    direct_cost: int
    recovered_cost: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Concentration:
    """How unevenly attributed spend lies over tenants (direct and recovered)."""

    tenants: int
    top_5_percent_share: float | None
    top_10_percent_share: float | None
    tenants_for_80_percent: int
    herfindahl: float | None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Share of calls, and of cost, that have one of the nine fields."""

    field: str
    calls_share: float
    cost_share: float | None


@dataclass(frozen=True, slots=True)
class NotChecked:
    """A rule that this input could not answer."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Repair:
    """One step of the repair plan."""

    hop: Hop
    rule: str
    remedy: str
    findings: tuple[str, ...]
    cost_freed: int
    share_after: float | None
    gate_passes: bool


@dataclass(frozen=True, slots=True)
class MapNode:
    """A service in the identity map, in one role."""

    service: str
    role: str
    calls: int
    cost: int
    knows_tenant: bool


@dataclass(frozen=True, slots=True)
class MapEdge:
    """A hop in the identity map."""

    source: str
    target: str
    kind: HopKind
    calls: int
    cost: int
    lost_cost: int
    """Cost of the calls whose tenant is gone after this hop."""


@dataclass(frozen=True, slots=True)
class JoinLine:
    """How many calls one join gave back."""

    join: str
    calls: int
    cost: int


@dataclass(frozen=True, slots=True)
class TenantKey:
    """An attribute that was read as the tenant, and how many calls carry their tenant under it."""

    key: str
    calls: int


@dataclass(frozen=True, slots=True)
class CandidateKey:
    """An attribute that looks like a tenant and is not read as one."""

    key: str
    coverage: float
    """Share of the sampled calls and entry spans that have it."""
    distinct: int
    known_values: int
    """How many of its values are tenants known from elsewhere in the input."""


class GateUnit(StrEnum):
    """What the two numbers of a gate check count."""

    SHARE = "share"
    MONEY = "usd"
    COUNT = "count"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One limit and what was measured against it.

    ``limit`` and ``actual`` are plain numbers written as strings: a fraction for a share, whole pico-dollars
    for money, a whole number for a count, words for text. An empty ``actual`` says that there was nothing to
    measure (no spend to take a share of).
    """

    name: str
    limit: str
    actual: str
    passed: bool
    hint: str
    unit: GateUnit = GateUnit.SHARE


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict: failed checks fail the run, warnings do not."""

    passed: bool
    exit_code: int
    checks: tuple[GateCheck, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals over all calls; ``direct + unattributed + internal`` is ``spend``, to the pico-dollar."""

    spans: int
    calls: int
    services: int
    spend: int
    audited_spend: int
    """Spend without internal calls: what every share is a share of."""
    direct: Amount
    recoverable: Amount
    lost: Amount
    internal: Amount
    unattributed: Amount
    conflict: Amount
    unmetered: Amount
    unmetered_estimate: Range | None
    unpriced: Amount
    duplicates: Amount
    failed: int
    cache_hits: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Report:
    """The whole answer."""

    version: str
    inputs: tuple[InputSummary, ...]
    totals: Totals
    findings: tuple[Finding, ...]
    joins: tuple[JoinLine, ...]
    tenants: tuple[TenantLine, ...]
    concentration: Concentration
    readiness: tuple[Readiness, ...]
    tenant_keys: tuple[TenantKey, ...]
    candidate_keys: tuple[CandidateKey, ...]
    not_checked: tuple[NotChecked, ...]
    rules_run: tuple[str, ...]
    plan: tuple[Repair, ...]
    map_nodes: tuple[MapNode, ...]
    map_edges: tuple[MapEdge, ...]
    gate: Gate
    rollup: str
    price_book: str
    ids_hashed: bool
    start_ns: int | None
    end_ns: int | None
    notes: tuple[str, ...] = field(default=())
    """Facts about the whole input that a reader must know, one sentence each."""
