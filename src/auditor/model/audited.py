"""The calls of a run with everything that was found out about them: what ledgers and totals are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from auditor.model.case import UsageStatus
from auditor.model.joins import STATUSES, Status
from auditor.model.spans import I32, I64, U8, U64, Bools, CallFacts

USAGES = tuple(UsageStatus)
"""Usage statuses by number."""


class SpanNames(Protocol):
    """Tells the ids of a span by its row."""

    key: U64
    """Key of each span."""

    def trace_id(self, row: int) -> str:
        """Trace id as hex."""
        ...

    def span_id(self, row: int) -> str:
        """Span id as hex."""
        ...


@dataclass(slots=True)
class AuditedCalls:
    """One entry a call. Candidates are rows of the run's table of call descriptions."""

    spans: SpanNames
    row: I64
    """Row of the span that stands for the call."""
    is_row: Bools
    """The call is a row of a gateway's log: its ids are the log's."""
    services: list[str]
    service_of: I64
    """Row of ``services``."""
    start_ns: I64
    facts: Sequence[CallFacts]
    facts_of: I64
    """Row of ``facts`` for what the call's own span says."""
    price_facts_of: I64
    """Row of ``facts`` for what the span closest to the provider says."""
    duplicates: dict[int, tuple[int, ...]]
    """Call number to the rows of its other spans."""

    uncached: I64
    cache_read: I64
    cache_write: I64
    output: I64
    usage: U8
    """Row of ``USAGES``."""
    cost: I64
    """Pico-dollars; 0 where unknown or not billed."""
    has_cost: Bools
    price_status: list[str]
    """Name of each price status, by number."""
    price_status_of: U8

    status: U8
    """Row of ``STATUSES``."""
    join: U8
    carried: I32
    tenant: I32
    values: list[str]
    """Tenant ids, by number."""
    conflict: Bools
    texts: list[str]
    """Users, workflows and ids of logs, by number; the last one is empty: -1 is none."""
    user_of: I32
    workflow_of: I32
    log_id_of: I32
    """The log's own id of a row; none for spans."""
    case: I64
    """Number of the call's case; -1 for a call that nothing ails."""
    case_keys: list[int]
    rules: dict[int, str] = field(default_factory=dict)
    """Id of the rule that explains a case, by its key."""
    hide: Callable[[str], str] = str
    """How ids of people are shown."""

    def __len__(self) -> int:
        return len(self.row)

    def service(self, call: int) -> str:
        """Service that made a call."""
        return self.services[int(self.service_of[call])]

    def user(self, call: int) -> str:
        """User on whose behalf a call was made; empty for none."""
        return self.hide(self.texts[int(self.user_of[call])])

    def workflow(self, call: int) -> str:
        """Workflow of a call; empty for none."""
        return self.texts[int(self.workflow_of[call])]

    def log_id(self, call: int) -> str:
        """The log's own id of a call; empty for spans."""
        return self.texts[int(self.log_id_of[call])]

    def rule(self, call: int) -> str:
        """Id of the rule that explains a call; empty without one."""
        number = int(self.case[call])
        return self.rules.get(self.case_keys[number], "") if number >= 0 else ""

    @property
    def has_user(self) -> Bools:
        """Whether the user is known."""
        known: Bools = self.user_of >= 0
        return known

    @property
    def has_workflow(self) -> Bools:
        """Whether the workflow is known."""
        known: Bools = self.workflow_of >= 0
        return known

    @property
    def is_metered(self) -> Bools:
        """Whether the usage is known, or the call is not billed."""
        known: Bools = self.usage != USAGES.index(UsageStatus.MISSING)
        return known

    @property
    def is_unmetered(self) -> Bools:
        """Calls that the provider bills though their usage is not in the input."""
        missing: Bools = self.usage == USAGES.index(UsageStatus.MISSING)
        return missing

    @property
    def is_billed(self) -> Bools:
        """Calls that a provider answered and bills."""
        billed: Bools = self.usage != USAGES.index(UsageStatus.NOT_BILLED)
        return billed

    @property
    def is_unpriced(self) -> Bools:
        """Calls whose usage is known and whose price is not."""
        return self.is_metered & self.is_billed & ~self.has_cost

    def having(self, *statuses: Status) -> Bools:
        """Calls of these statuses."""
        return np.isin(self.status, [STATUSES.index(status) for status in statuses])

    def cost_of(self, chosen: Bools) -> int:
        """Exact cost of the chosen calls in pico-dollars: int64 sums could overflow, Python's cannot."""
        return exact_sum(self.cost[chosen])


def exact_sum(values: I64) -> int:
    """Sum without overflow, whatever the sum: high and low halves apart."""
    high = int((values >> np.int64(31)).sum(dtype=np.int64))
    low = int((values & np.int64(0x7FFF_FFFF)).sum(dtype=np.int64))
    return (high << 31) + low
