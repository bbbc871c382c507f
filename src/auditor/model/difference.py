"""How one audit differs from another, as values: every renderer of a difference reads this and nothing else.

Shares are of each side's own audited spend, so that traffic plays no part; points are differences of shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from auditor.model.report import Hop


class Trend(StrEnum):
    """What became of a leak."""

    NEW = "new"
    WORSE = "worse"
    SAME = "same"
    BETTER = "better"
    GONE = "gone"
    UNCHECKED = "not checked"
    """It was there, and now its rule was not run or a service of its hop is not seen: nobody can tell."""


class Aspect(StrEnum):
    """What may have changed together with a leak."""

    SERVICE = "service"
    """The service itself is seen on one side only."""
    VERSION = "version"
    SDK = "SDK"
    SCOPE = "scope"
    """An instrumentation scope, by its versions."""
    FEATURE = "feature"


@dataclass(frozen=True, slots=True)
class Shift:
    """Something that is not the same on both sides, where both sides tell."""

    aspect: Aspect
    service: str
    """Empty for features."""
    name: str
    """The scope; for features the operation whose calls they make; empty for the others."""
    before: tuple[str, ...]
    """Versions or names; empty where there was none."""
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """How large a leak is on one side."""

    calls: int
    cost: int
    """Pico-dollars without a tenant; all of the leak's where neither side lacks one."""
    share: float | None
    unmetered_calls: int


@dataclass(frozen=True, slots=True)
class Change:
    """One leak on both sides."""

    rule: str
    title: str
    hop: Hop
    operation: str
    trend: Trend
    before: Size | None
    after: Size | None
    points: float
    """Share of now less share of then; 0 where there is no spend to take a share of."""
    cost_change: int
    """Pico-dollars of now less those of then at today's traffic."""
    shifts: tuple[Shift, ...]
    """What changed with it; empty also for what stayed the same."""


@dataclass(frozen=True, slots=True)
class Whole:
    """One side as a whole."""

    name: str
    """As it was given."""
    is_saved: bool
    """A saved report, not traces."""
    calls: int
    """All calls but internal ones."""
    audited_spend: int
    unattributed_calls: int
    unattributed_cost: int
    share: float | None
    unmetered_calls: int
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The whole answer."""

    version: str
    before: Whole
    after: Whole
    changes: tuple[Change, ...]
    """What got worse first, most points first; what stayed the same last."""
    shifts: tuple[Shift, ...]
    """Every version, SDK and scope that is not the same, of any service."""
    worse_points: float
    """Sum over what is new or worse. What got better elsewhere takes nothing off it."""
    better_points: float
    limit: float | None
    """Most points that may be new or worse."""
    passed: bool
    exit_code: int
    notes: tuple[str, ...]
    """What makes the two sides hard to compare, one sentence each."""
