"""What attribution decided for every call, with the rows of the span table that it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.graph.resolve import Walks
from auditor.model.spans import I32, U8, Bools


@dataclass(slots=True)
class Attribution:
    """One entry a call."""

    status: U8
    """Row of ``STATUSES``."""
    join: U8
    """A ``Join``: what recovered the call, or what was ambiguous where it is lost."""
    ambiguous: Bools
    carried: I32
    """Tenant value that the call carries (row of ``values``); -1 for none."""
    tenant: I32
    """Tenant value, carried or recovered; -1 for none."""
    via: list[str]
    """Services, by ``via_service``."""
    via_service: I32
    """Service at the other end of the join: of the ancestor, the linked span, one that shares the id; -1 for none."""
    passed_call: I32
    """With ``passed_row``: the spans with ids or links on the way of each call."""
    passed_row: I32
    conflict: Bools
    conflict_row: I32
    """Span that carries the other tenant; -1 when it is another span of the call itself, or there is none."""
    walks: Walks
    values: list[tuple[str, str]]
    """Namespace and tenant id."""
