"""What a rule sees: one case, which stands for all calls that went the same way, and the survey of the whole input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from auditor.model.joins import Join, Status
from auditor.model.lexicon import Operation
from auditor.model.report import HopKind
from auditor.model.spans import CallerSaid, Role, Shape


class Ending(StrEnum):
    """Where the way up from a call ends."""

    TENANT = "tenant"
    """At a span that knows the tenant."""
    ROOT = "root"
    """At a span without a parent; nothing on the way knew a tenant."""
    MISSING = "missing"
    """At a span whose parent is not in the input."""
    CYCLE = "cycle"
    """Nowhere: the parents run in a circle."""


class UsageStatus(StrEnum):
    """Where the usage of a call is."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    MISSING = "missing"
    ELSEWHERE = "elsewhere"
    """On another span, or an event, beside the call's own span."""
    NOT_BILLED = "not_billed"


class StreamSign(StrEnum):
    """What a call without usage says about its stream: each sign asks for another fix."""

    NOT_REQUESTED = "usage not requested"
    """The stream was read to its end, and the provider sent no usage."""
    STOPPED = "stopped early"
    """Chunks arrived, the end did not."""
    NEVER_READ = "never read"
    """Not even the answer's id arrived."""
    UNKNOWN = "no sign"


@dataclass(frozen=True, slots=True)
class Step:
    """One span on a path, with the edge to the span above it."""

    shape: Shape
    crosses_process: bool
    repeated: bool = False

    @property
    def service(self) -> str:
        """Service of the span."""
        return self.shape.service

    @property
    def role(self) -> Role:
        """Role of the span."""
        return self.shape.role


@dataclass(frozen=True, slots=True)
class Edge:
    """A place on a path where the tenant can get lost: from a span down to its child."""

    position: int
    """Index of the lower step."""
    upper: Step
    lower: Step
    kind: HopKind


@dataclass(frozen=True, slots=True)
class Path:
    """The spans from a call (first) up to where the way ends (last)."""

    steps: tuple[Step, ...]
    ending: Ending

    @property
    def call(self) -> Step:
        """The call itself."""
        return self.steps[0]

    @property
    def top(self) -> Step:
        """The last span that was reached; it knows the tenant when ``knew_tenant``."""
        return self.steps[-1]

    @property
    def knew_tenant(self) -> bool:
        """Whether a span above the call knows its tenant."""
        return self.ending is Ending.TENANT

    @property
    def between(self) -> tuple[Step, ...]:
        """The spans above the call, without the one that knows the tenant."""
        return self.steps[1:-1] if self.knew_tenant else self.steps[1:]

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Process and queue hops on the way down, from the top."""
        found = []
        for position in range(len(self.steps) - 1, 0, -1):
            upper, lower = self.steps[position], self.steps[position - 1]
            kind = _edge_kind(upper, lower)
            if kind is not None:
                found.append(Edge(position - 1, upper, lower, kind))
        return tuple(found)

    @property
    def is_agentic(self) -> bool:
        """Whether an agent framework's span lies above the call, the one that knows the tenant included."""
        return any(step.role.is_agentic for step in self.steps[1:])

    def has(self, *roles: Role) -> bool:
        """Whether a span of one of these roles lies at or above the call."""
        return any(step.role in roles for step in self.steps)


def _edge_kind(upper: Step, lower: Step) -> HopKind | None:
    if lower.role is Role.CONSUMER or (upper.role is Role.PRODUCER and lower.crosses_process):
        return HopKind.QUEUE
    if lower.crosses_process:
        return HopKind.PROCESS
    return None


@dataclass(frozen=True, slots=True)
class Peer:
    """A kind of span in the same trace that is not on the way of the call: it knows a tenant, or hands over work."""

    service: str
    role: Role
    same_process: bool
    knows_tenant: bool = True


@dataclass(frozen=True, slots=True)
class CutMatch:
    """Another trace's span that holds the root of this one in time: the hop cut the trace itself."""

    service: str
    matched: int
    roots: int


@dataclass(frozen=True, slots=True)
class Case:
    """Calls that took the same way through the system and lack the same thing."""

    key: int
    """Hash of what the calls have in common; the same for equal input in any order."""
    path: Path
    operation: Operation
    status: Status
    join: Join
    ambiguous: bool
    conflict: bool
    conflict_hop: tuple[Step, ...]
    """For a conflict: the way up to the span that carries the other tenant."""
    usage: UsageStatus
    usage_late: bool
    """The usage came when the call's own span had ended."""
    stream: StreamSign
    streamed: bool | None
    batch: bool
    failed: bool
    credential: str
    placeholder: str
    linked: bool
    """A span on the way has a link."""
    beside_agent: bool
    """An agent's span of the same process, not above the call, lasts from before it to after it."""
    process_knows_tenant: bool
    """Other spans of the process at the top of the path know a tenant."""
    producer: str
    """Service at the other end of a link, message id or batch id of this way; empty where none is known."""
    peers: frozenset[Peer]
    cut: CutMatch | None
    calls: int
    cost: int
    """Pico-dollars of the priced calls."""
    unattributed_calls: int
    unattributed_cost: int
    recoverable_cost: int
    unmetered_calls: int
    is_request: bool = False
    """All that is known of the calls is an HTTP request to a provider's API: no instrumentation describes them."""
    provider: str = ""
    """Whose API a request went to; empty where the host is no provider's own, and for all other calls."""
    unpriced_by: str = ""
    """The gateway whose log says that the calls cost nothing, or leaves their cost out where it knows that of others,
    though their usage is known and their model has a price; empty for all other calls."""
    has_logged_cost: bool = False
    """A gateway's log knows the cost of the calls, though not their tokens."""
    caller_said: CallerSaid = CallerSaid.UNKNOWN
    """Whether the caller sent the gateway a tenant along, as far as the gateway's log shows what was sent."""
    is_unread: bool = False
    """A gateway's log knows neither the tokens nor even the model: the gateway passed the requests on unread."""

    @property
    def service(self) -> str:
        """Service that made the call."""
        return self.path.call.service

    @property
    def is_unattributed(self) -> bool:
        """Whether the calls carry no tenant, though one is expected."""
        return self.status in {Status.RECOVERABLE, Status.LOST}

    @property
    def is_embedding(self) -> bool:
        """Whether the calls embed or rerank."""
        return self.operation in {Operation.EMBEDDINGS, Operation.RERANK}

    @property
    def knowing_services(self) -> tuple[str, ...]:
        """Other processes of the same trace that know a tenant, where the call's own process does not."""
        knowing = [peer for peer in self.peers if peer.knows_tenant]
        if any(peer.same_process for peer in knowing):
            return ()
        return tuple(sorted({peer.service for peer in knowing}))

    @property
    def handing_services(self) -> tuple[str, ...]:
        """Other processes of the same trace with a producer span."""
        return tuple(
            sorted({peer.service for peer in self.peers if peer.role is Role.PRODUCER and not peer.same_process})
        )

    @property
    def is_row(self) -> bool:
        """Whether the calls are rows of a gateway's log, without a span graph."""
        return self.path.call.shape.is_row


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What is known of one service over the whole input."""

    calls: int = 0
    calls_with_tenant: int = 0
    spans_with_tenant: int = 0
    """Spans that know a tenant, of any role."""
    has_server: bool = False
    has_consumer: bool = False
    languages: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    calls_with_tenant_from_caller: int = 0
    """Calls of a gateway's log whose tenant stands in what the caller sent along."""

    def plus(self, other: ServiceFacts) -> ServiceFacts:
        """Both together."""
        return ServiceFacts(
            self.calls + other.calls,
            self.calls_with_tenant + other.calls_with_tenant,
            self.spans_with_tenant + other.spans_with_tenant,
            self.has_server or other.has_server,
            self.has_consumer or other.has_consumer,
            self.languages | other.languages,
            self.scopes | other.scopes,
            self.calls_with_tenant_from_caller + other.calls_with_tenant_from_caller,
        )


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """How calls under one credential are attributed."""

    total: int = 0
    with_tenant: int = 0
    embeddings_with_tenant: int = 0
    """Embedding and rerank calls among them."""
    tenants: int = 0
    """Distinct ones."""

    def plus(self, other: CredentialFacts) -> CredentialFacts:
        """Both together, but for their tenants, which may be the same ones."""
        return CredentialFacts(
            self.total + other.total,
            self.with_tenant + other.with_tenant,
            self.embeddings_with_tenant + other.embeddings_with_tenant,
        )


@dataclass(frozen=True, slots=True)
class Survey:
    """Facts of the whole input."""

    services: Mapping[str, ServiceFacts]
    credentials: Mapping[str, CredentialFacts]
    producers: frozenset[str]
    """Services with producer spans that know a tenant, on themselves or above."""
    has_kinds: bool
    """Whether spans say whether they are servers, clients, producers, consumers."""
    has_graph: bool
    """Whether there are spans besides log rows."""
    operations: frozenset[Operation]
    has_streams: bool
    has_batches: bool
    has_rows: bool = False
    """Whether there are rows of a gateway's log."""
    shows_callers: bool = False
    """Whether a tenant stands in what callers sent along, in any such row: then the log would show it in others."""

    def service(self, name: str) -> ServiceFacts:
        """What is known of a service."""
        return self.services.get(name, ServiceFacts())

    def calls_by_credential(self, credential: str) -> CredentialFacts:
        """How the calls under a credential are attributed."""
        return self.credentials.get(credential, CredentialFacts())
