"""Spans as columns: what every reader yields and the graph is built from.

Widths (bytes): a span costs 40 in columns, a trace 16, a candidate call 49, a join id 13, a link 20.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from auditor.model.lexicon import Operation

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

NO_COUNT = 0xFFFF_FFFF
"""A token count that is missing, which is not 0."""
MAX_COUNT = 10**9
"""A larger token count is corrupt data: no provider accepts a request of that size (`int64` money stays exact)."""

TOKEN_COLUMNS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "total", "reasoning")


TRACE_RECORD = "trace record"
"""Scope of a span that stands for a store's record of a whole trace: what it says holds for all spans of the trace."""


class Kind(IntEnum):
    """OTLP span kinds; the numbers are those of the protocol."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Role(StrEnum):
    """What a span does in the system, whatever its kind says."""

    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"
    AGENT = "agent"
    TOOL = "tool"
    CHAIN = "chain"
    RETRIEVER = "retriever"
    MODEL_CALL = "model call"
    OTHER = "other"

    @property
    def is_agentic(self) -> bool:
        """Whether an agent framework made the span."""
        return self in {Role.AGENT, Role.TOOL, Role.CHAIN, Role.RETRIEVER}


class Shape(NamedTuple):
    """A kind of span: few per system, however many spans there are."""

    service: str
    kind: Kind
    role: Role
    remote: bool | None
    """Whether the parent lies in another process; ``None`` where the export does not say."""
    scope: str
    provider_api: bool
    """Whether it serves a path of a model provider's API."""
    language: str
    is_row: bool = False
    """A row of a gateway's log: no span graph around it."""


class Place(NamedTuple):
    """A shape in one process (``service.instance.id``, empty where there is none)."""

    shape: Shape
    instance: str


class TenantTag(NamedTuple):
    """A tenant as a span carries it. Values are comparable within a namespace only."""

    namespace: str
    value: str
    key: str


class IdKind(IntEnum):
    """Ids that two spans may share without being connected; the order is that of the joins."""

    BATCH = 0
    RESPONSE = 1
    MESSAGE = 2
    REQUEST = 3
    WORKFLOW = 4
    SESSION = 5
    USER = 6
    CALL = 7


class CallerSaid(StrEnum):
    """What the headers or the metadata say that a caller sent along, by a gateway's log."""

    UNKNOWN = ""
    """The log does not show them."""
    NOTHING = "nothing"
    """The log shows them, and no tenant in them."""
    TENANT = "tenant"


class CallFacts(NamedTuple):
    """What a candidate call says about itself, apart from numbers and ids: few per system."""

    provider: str
    request_model: str
    response_model: str
    operation: Operation | None
    """``None``: usage without an operation."""
    vocabulary: str
    """The convention of the usage; empty without usage."""
    disjoint: bool | None
    """Whether input excludes cached tokens by definition of the source; ``None`` where it follows the default."""
    streamed: bool | None
    first_chunk: bool
    finished: bool
    has_response_id: bool
    service_tier: str
    failed: bool
    cache_hit: bool
    batch: bool
    environment: str
    feature: str
    credential: str
    placeholder: str
    """The placeholder that stood where a tenant should be; empty without one."""
    usage_in_event: bool
    partial: bool
    """The source itself says that the usage is an estimate or broke off."""
    abandoned: bool
    """The error is that nobody read the answer to its end: the provider has answered, and bills."""
    is_request: bool = False
    """An HTTP request to a provider's API: all that is known of the call."""
    logged_free: bool = False
    """A gateway's log says outright that an answered call cost nothing."""
    caller_said: CallerSaid = CallerSaid.UNKNOWN

    def filled(self, other: CallFacts) -> CallFacts:
        """Add what another description of the same call says and this one leaves open."""
        return self._replace(
            **{name: getattr(self, name) or getattr(other, name) for name in _FILLED},
            streamed=self.streamed if self.streamed is not None else other.streamed,
        )

    @property
    def was_answered(self) -> bool:
        """Whether an answer had begun: then the provider bills, even if the call failed afterwards."""
        return self.first_chunk or self.finished or self.has_response_id or (self.abandoned and bool(self.streamed))


_FILLED = (
    "provider", "request_model", "response_model", "operation", "first_chunk", "finished", "has_response_id",
    "service_tier", "cache_hit", "batch", "environment", "feature", "credential", "placeholder",
)  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class SampledSpan:
    """One of the spans with the smallest ids, with the attributes that no table knows; in an order of its own."""

    key: int
    is_call: bool
    has_tenant: bool
    attributes: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Batch:
    """Some spans of one part of the inputs as columns. Row numbers count spans of this batch."""

    key: U64
    parent: U64
    """Key of the parent; 0 for none."""
    trace: U32
    """Row of ``trace_ids``."""
    place: U32
    tenant: I32
    """Row of ``tenants``; -1 for none."""
    start_ns: I64
    duration_ms: F32
    """NaN for a span that has not ended."""
    trace_ids: U64
    """Two columns: the high and the low half."""

    call_row: U32
    call_facts: U32
    tokens: U32
    """One column for each of ``TOKEN_COLUMNS``."""
    call_user: I32
    """Row of ``texts``; -1 for none."""
    call_workflow: I32
    call_line: U32
    """Line within the part."""
    call_part: npt.NDArray[np.unsignedinteger]
    """Number of the part of the inputs that is read here, as wide as it has to be."""

    link_row: U32
    link_key: U64
    link_trace: U64
    """Hash of the trace that a link leads to, as ``mix`` makes it."""
    id_row: U32
    id_kind: U8
    id_hash: U64
    extra_call: U32
    """Rows of the call columns that have a search count, a reported cost or a log's own id."""
    extra_searches: U32
    extra_cost_pico: I64
    """Reported cost in pico-dollars; -1 for none."""
    extra_log_id: I32
    """Row of ``texts`` with the id of a log row; -1 for none."""

    places: list[Place]
    tenants: list[tuple[TenantTag, ...]]
    facts: list[CallFacts]
    texts: list[str]
    names: dict[int, str] = field(default_factory=dict)
    """Span names, for the trace that is to be explained only."""
    parent_row: I32 | None = None
    """Row of each parent, -1 for one that is not in this batch; for who knows it, so that it is not looked up."""

    @property
    def column_bytes(self) -> int:
        """Bytes held in arrays."""
        return sum(value.nbytes for name in self.__slots__ if isinstance(value := getattr(self, name), np.ndarray))


def mix(high: U64, low: U64) -> U64:
    """Hash 128-bit trace ids to 64 bits (splitmix64 finaliser), so that span ids may be small numbers."""
    with np.errstate(over="ignore"):
        x: U64 = low ^ (high * np.uint64(0x9E3779B97F4A7C15))
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
