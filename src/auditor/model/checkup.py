"""What a doctor says about inputs: what they are, what was taken from them, and what would make answers better.

Money is an integer of pico-dollars, as in ``auditor.model.report``. Nothing here holds a value of an attribute.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from auditor.model.report import KeyTaken, NotChecked, ScopeSeen, TenantKey, UnreadKey


class Sureness(StrEnum):
    """How sure it is that an input is what it was taken for."""

    CERTAIN = "certain"
    """The framing or the whole first record says so, and every record could be read."""
    LIKELY = "likely"
    """Only the head was looked at, or some records could not be read."""
    DOUBTFUL = "doubtful"
    """Most of the records could not be read."""
    NONE = "none"
    """It is none of the formats that are read."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A vocabulary that usage or operations of an input are written in."""

    name: str
    table: int | None
    """Version of our table; ``None`` for one of the user's own."""


@dataclass(frozen=True, slots=True)
class ExaminedInput:
    """One input as it was read."""

    path: str
    format: str
    title: str
    sureness: Sureness
    why: str
    records: int
    spans: int
    rejected: int
    first_rejection: str
    """Where and why; empty without one."""
    vocabularies: tuple[Vocabulary, ...]
    scopes: tuple[ScopeSeen, ...]
    cannot_tell: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Improvement:
    """Something that keeps the audit from answering better, and the change that would mend it."""

    id: str
    what: str
    change: str
    calls: int
    gain: int | None
    """Pico-dollars that the change would attribute or make known; ``None`` where that cannot be told."""
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Checkup:
    """The whole answer."""

    version: str
    inputs: tuple[ExaminedInput, ...]
    problem: str
    """Why there is no audit; empty where there is one."""
    calls: int
    audited_spend: int
    tenant_keys: tuple[TenantKey, ...]
    usage_keys: tuple[KeyTaken, ...]
    price_keys: tuple[KeyTaken, ...]
    price_book: str
    cost_source: str
    unread_usage: tuple[UnreadKey, ...]
    improvements: tuple[Improvement, ...]
    """The one that would help most comes first."""
    not_checked: tuple[NotChecked, ...]

    @property
    def best(self) -> Improvement | None:
        """The one change that would help most."""
        return self.improvements[0] if self.improvements else None
