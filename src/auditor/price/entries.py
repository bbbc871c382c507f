"""Entries of a price file: which calls they are for, which comes first, and when two contradict."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

from auditor.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from decimal import Decimal

    from auditor.price.amounts import RawCard


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of the entries: one call's provider, the spellings of its model, time and context."""

    provider: str | None
    models: tuple[str, ...]
    """Lower-cased."""
    day: date
    half_hour: int | None
    context: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scope:
    """The calls that an entry is for; ``None`` and an empty ``when`` leave open."""

    provider: str | None = None
    model: str | None = None
    """Lower-cased; a pattern if it holds ``*`` or ``?``."""
    since: date | None = None
    until: date | None = None
    """Exclusive."""
    half_hour: int | None = None
    when: frozenset[tuple[str, str]] = frozenset()

    @property
    def is_pattern(self) -> bool:
        """Whether the model is a pattern."""
        return self.model is not None and ("*" in self.model or "?" in self.model)

    def names(self, provider: str | None, models: Iterable[str]) -> bool:
        """Say whether the entry is for this provider and one of these model names."""
        if self.provider is not None and self.provider != provider:
            return False
        if self.model is None:
            return True
        if not self.is_pattern:
            return self.model in models
        pattern = _compiled(self.model)
        return any(pattern.fullmatch(model) for model in models)

    def is_in_force(self, day: date) -> bool:
        """Say whether the entry holds on this UTC day."""
        return (self.since is None or self.since <= day) and (self.until is None or day < self.until)

    def covers(self, query: Query) -> bool:
        """Say whether the entry is for this call."""
        return (
            self.names(query.provider, query.models)
            and self.is_in_force(query.day)
            and self.half_hour in (None, query.half_hour)
            and self.when <= query.context
        )

    def precision(self) -> tuple[bool, bool, int, bool]:
        """Rank: a model by name, then a provider by name, then more context, then a half-hour."""
        return (not self.is_pattern, self.provider is not None, len(self.when), self.half_hour is not None)

    def contradicts(self, other: Scope) -> bool:
        """Say whether a call exists that both entries are for with equal right."""
        return (
            self.precision() == other.precision()
            and (self.provider, self.half_hour, self.when) == (other.provider, other.half_hour, other.when)
            and _patterns_meet(self.model or "*", other.model or "*")
            and (self.until is None or other.since is None or other.since < self.until)
            and (other.until is None or self.since is None or self.since < other.until)
        )


@dataclass(frozen=True, slots=True)
class RateEntry:
    """Rates for a scope; ``label`` says where they were written."""

    label: str
    scope: Scope
    rates: RawCard
    ignores_context: bool = False
    """Whether the rates are known to leave part of the context out."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A multiplier on the rates of a scope."""

    label: str
    scope: Scope
    multiplier: Decimal
    kind: str | None = None
    """``discount``, ``contract`` or ``markup``: a commercial agreement; ``None`` changes the list price."""
    tokens_only: bool = False


@dataclass(frozen=True, slots=True)
class ModelAlias:
    """Another name of a model; ``pattern`` covers the whole name."""

    label: str
    provider: str | None
    pattern: re.Pattern[str]
    model: str

    def applies(self, provider: str | None, model: str) -> bool:
        """Say whether the alias is for this provider's model."""
        return self.provider in (None, provider) and self.pattern.fullmatch(model) is not None


class RateLayer:
    """Rate entries ready for look-up."""

    def __init__(self, entries: Iterable[RateEntry]) -> None:
        self._by_model: dict[str, list[RateEntry]] = defaultdict(list)
        self._patterns: list[RateEntry] = []
        for entry in entries:
            if entry.scope.is_pattern or entry.scope.model is None:
                self._patterns.append(entry)
            else:
                self._by_model[entry.scope.model].append(entry)

    def named(self, provider: str | None, models: Iterable[str]) -> list[RateEntry]:
        """Return the entries for this provider and one of these model names, whatever the day and context."""
        by_name = [entry for model in dict.fromkeys(models) for entry in self._by_model.get(model, ())]
        return [entry for entry in (*by_name, *self._patterns) if entry.scope.names(provider, models)]

    def find(self, query: Query) -> RateEntry | None:
        """Return the most precise entry for a call; of equally precise ones, the first in file order."""
        fitting = [entry for entry in self.named(query.provider, query.models) if entry.scope.covers(query)]
        return max(fitting, key=lambda entry: entry.scope.precision(), default=None)


@dataclass(frozen=True, slots=True)
class PriceLayer:
    """Everything that one price file says."""

    rates: RateLayer
    adjustments: tuple[Adjustment, ...] = ()
    provider_aliases: dict[str, str] = field(default_factory=dict)
    """Keys folded as ``providers.fold`` does."""
    model_aliases: tuple[ModelAlias, ...] = ()
    labels: tuple[str, ...] = ()
    """Labels of all rates, adjustments and model aliases, in file order."""


def refuse_contradictions(entries: Sequence[RateEntry], file: str) -> None:
    """Raise ``SettingsError``, naming both, if two entries are for the same calls with equal right."""
    by_model: dict[str, list[RateEntry]] = defaultdict(list)
    patterns: list[RateEntry] = []
    for entry in entries:
        if entry.scope.is_pattern:
            patterns.append(entry)
        else:
            by_model[entry.scope.model or "*"].append(entry)
    for group in (*by_model.values(), patterns):
        for one, other in combinations(group, 2):
            if one.scope.contradicts(other.scope):
                raise SettingsError(
                    f"{file}: {one.label} and {other.label} overlap: both price"
                    f" {one.scope.provider or 'any provider'} {one.scope.model}"
                    + (f" and {other.scope.model}" if other.scope.model != one.scope.model else "")
                    + " on the same days",
                    hint="limit one of them with from and to, or take one out",
                )


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile ``*`` and ``?``; every other character, brackets too, stands for itself."""
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


def _patterns_meet(one: str, other: str) -> bool:
    """Say whether some name fits both patterns."""
    reached = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        left, right = todo.pop()
        if left == len(one) and right == len(other):
            return True
        here = one[left] if left < len(one) else ""
        there = other[right] if right < len(other) else ""
        steps: list[tuple[int, int]] = []
        if here == "*":
            steps.append((left + 1, right))
        if there == "*":
            steps.append((left, right + 1))
        if here and there and (here == there or here in "*?" or there in "*?"):
            steps.append((left + (here != "*"), right + (there != "*")))
        for step in steps:
            if step not in reached:
                reached.add(step)
                todo.append(step)
    return False
