"""What a finding, or a part of it, weighs in the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from auditor.model.report import Finding


class Stakes(NamedTuple):
    """Calls and pico-dollars; adding and taking away are exact."""

    calls: int = 0
    cost: int = 0
    unattributed_calls: int = 0
    unattributed_cost: int = 0
    recoverable_cost: int = 0
    unmetered_calls: int = 0

    @property
    def lost_cost(self) -> int:
        """Unattributed cost that no join gives back."""
        return self.unattributed_cost - self.recoverable_cost

    @property
    def shown_cost(self) -> int:
        """The dollars that the fault is about: those without a tenant, or all where none is missing."""
        return self.unattributed_cost if self.unattributed_calls else self.cost

    def plus(self, other: Stakes) -> Stakes:
        """Both together."""
        return Stakes(*(mine + its for mine, its in zip(self, other, strict=True)))

    def minus(self, other: Stakes) -> Stakes:
        """What is left of this without ``other``."""
        return Stakes(*(mine - its for mine, its in zip(self, other, strict=True)))


NOTHING = Stakes()


def add_up(parts: Iterable[Stakes]) -> Stakes:
    """All together."""
    return Stakes(*map(sum, zip(Stakes(), *parts, strict=True)))


def stakes_of(finding: Finding) -> Stakes:
    """The whole finding."""
    return Stakes(
        finding.calls,
        finding.cost,
        finding.unattributed_calls,
        finding.unattributed_cost,
        finding.recoverable_cost,
        finding.unmetered_calls,
    )


def suppressed_of(finding: Finding) -> Stakes:
    """The part that suppressions leave out."""
    part = finding.suppression
    if part is None:
        return Stakes()
    return Stakes(
        part.calls,
        part.cost,
        part.unattributed_calls,
        part.unattributed_cost,
        part.recoverable_cost,
        part.unmetered_calls,
    )


def left_of(finding: Finding) -> Stakes:
    """The finding without what suppressions leave out."""
    return stakes_of(finding).minus(suppressed_of(finding))
