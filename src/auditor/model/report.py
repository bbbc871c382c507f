"""What an audit found, as values: every renderer reads this and nothing else.

Money is an integer of pico-dollars (``auditor.model.money``); shares are fractions between 0 and 1 of the
audited spend (all calls but internal ones), or ``None`` where there is no spend to take a share of.
Sequences are already in the order in which they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from auditor.model.suppression import Suppression


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


class Recognition(StrEnum):
    """What the format of an input was told by."""

    WHOLE = "the whole first record"
    FRAMING = "the framing of its bytes"
    HEAD = "words in its first bytes"
    """The first record was too large, or too broken, to be looked at whole."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class ScopeSeen:
    """An instrumentation scope and what came from it."""

    name: str
    versions: tuple[str, ...]
    """Empty where the format, or its reader, does not tell."""
    spans: int


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """A service on the way of calls, and what the input tells of its make; empty where it does not."""

    service: str
    versions: tuple[str, ...]
    """``service.version`` of its resources."""
    sdks: tuple[str, ...] = ()
    """``telemetry.sdk.language`` and ``telemetry.sdk.version`` of its resources: ``python 1.27.0``."""
    scopes: tuple[str, ...] = ()
    """Instrumentation scopes of its spans; their versions are told by input."""


@dataclass(frozen=True, slots=True)
class KeyTaken:
    """An attribute whose value became part of a call, and the concept that it was read as."""

    concept: str
    """As the vocabulary tables write it: ``input_tokens``."""
    key: str
    vocabulary: str


@dataclass(frozen=True, slots=True)
class UnreadKey:
    """A usage attribute that no vocabulary knows; its values were not looked at."""

    key: str
    spans: int


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
    recognition: Recognition = Recognition.WHOLE
    scopes: tuple[ScopeSeen, ...] = ()
    """By spans, most first."""
    keys: tuple[KeyTaken, ...] = ()
    unread_usage: tuple[UnreadKey, ...] = ()
    """By spans, most first."""


@dataclass(frozen=True, slots=True)
class CodePlace:
    """The line of a program that made a call, as the span's ``code.*`` attributes name it."""

    file: str
    """Relative to the working directory where the file is found there, else as the span has it."""
    line: int
    """1-based; 1 where the span names only the file."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One span that shows a finding, and where to read it."""

    trace_id: str
    span_id: str
    input: str
    line: int
    code: CodePlace | None = None
    """``None`` where the span does not tell, or where no output that asks for it was made."""


class Standing(StrEnum):
    """Where a finding stands against the baseline."""

    NEW = "new"
    KNOWN = "known"
    GROWN = "grown"
    """Known, and beyond the tolerance larger than it was, at equal traffic."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A finding held against the baseline, whose figures these are but for ``grown_cost``; 0 for a new finding."""

    standing: Standing
    calls: int = 0
    cost: int = 0
    unattributed_cost: int = 0
    share: float | None = None
    """Unattributed cost as a share of the audited spend of then."""
    grown_cost: int = 0
    """Unattributed pico-dollars of now above those of then at today's traffic; 0 unless grown."""


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The part of a finding that suppressions leave out of the verdict. It stays in every total."""

    by: tuple[int, ...]
    """Positions in ``Report.suppressions``, from 0."""
    calls: int
    cost: int
    unattributed_calls: int
    unattributed_cost: int
    recoverable_cost: int
    unmetered_calls: int
    is_whole: bool
    """Nothing of the finding is left for the gate."""


@dataclass(frozen=True, slots=True)
class FeatureSeen:
    """How many calls of a finding one feature of the product made."""

    feature: str
    calls: int
    cost: int


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
    features: tuple[FeatureSeen, ...] = ()
    """By cost, then calls, most first; calls that name no feature are left out."""
    baseline: Compared | None = None
    """``None`` where no baseline is in use, and for what is suppressed whole."""
    suppression: Suppressed | None = None
    """``None`` where no suppression in force matches."""

    @property
    def is_suppressed(self) -> bool:
        """Whether suppressions leave nothing of it for the gate."""
        return self.suppression is not None and self.suppression.is_whole

    @property
    def is_known(self) -> bool:
        """Whether the baseline has it, and it has not grown."""
        return self.baseline is not None and self.baseline.standing is Standing.KNOWN

    @property
    def is_open(self) -> bool:
        """Whether the gate looks at it: it is neither suppressed whole nor known."""
        return not self.is_suppressed and not self.is_known


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
    known: Amount = Amount()
    """Unattributed, and left out of the verdict because the baseline has it."""
    suppressed: Amount = Amount()
    """Unattributed, and left out of the verdict by suppressions."""


class SuppressionState(StrEnum):
    """What became of a suppression."""

    ACTIVE = "active"
    UNUSED = "unused"
    EXPIRED = "expired"
    EXCEEDED = "exceeded"
    """More than its ``max_usd`` matches. Like an expired one it leaves nothing out, and fails the gate."""


@dataclass(frozen=True, slots=True)
class SuppressionLine:
    """One suppression of the settings, and what it matches in this run."""

    entry: Suppression
    state: SuppressionState
    findings: tuple[str, ...]
    """Ids of the findings that it matches, in part or whole."""
    calls: int
    cost: int
    """Pico-dollars of the calls that it matches, in force or not: those without a tenant, or else all."""


@dataclass(frozen=True, slots=True)
class GoneFinding:
    """A leak of the baseline that this run does not have; figures are those of the baseline."""

    rule: str
    hop: Hop
    operation: str
    calls: int
    unattributed_cost: int
    share: float | None


@dataclass(frozen=True, slots=True)
class BaselineUse:
    """The baseline that this run was judged against."""

    path: str
    tolerance: float | None
    """Growth of a known leak that is let through, as a share of its amount at today's traffic; ``None``: any."""
    is_updated: bool
    """It was made of this run."""
    gone: tuple[GoneFinding, ...]
    unchecked_rules: tuple[str, ...]
    """Rules that were checked then and are not now."""
    unchecked_services: tuple[str, ...]


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
    suppressions: tuple[SuppressionLine, ...] = ()
    """In the order of the settings."""
    baseline: BaselineUse | None = None
    """``None`` where none is in use."""
    services: tuple[ServiceSeen, ...] = ()
    """By name."""
