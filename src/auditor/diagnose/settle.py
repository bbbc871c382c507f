"""Runs every rule on every case and gives each case to one rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from auditor.errors import RuleError
from auditor.model.case import Case, Ending, Survey
from auditor.model.report import NotChecked
from auditor.rule import Diagnosis, Rule


@dataclass(slots=True)
class Explained:
    """A case with the rule that explains it, and the rules that would explain it too."""

    case: Case
    rule: Rule | None
    diagnosis: Diagnosis | None
    also_fits: tuple[str, ...]


def explain(
    cases: Sequence[Case], rules: Sequence[Rule], survey: Survey
) -> tuple[list[Explained], list[NotChecked]]:
    """Explain all cases; those of complete traces first, because calls whose parent is missing may follow them.

    Raises ``RuleError`` when a rule raises, or returns something else than a diagnosis.
    """
    not_checked = [
        NotChecked(rule.id, reason) for rule in rules if (reason := rule.unchecked(survey)) is not None
    ]
    skipped = {entry.rule for entry in not_checked}
    active = [rule for rule in rules if rule.id not in skipped]
    complete = [case for case in cases if case.path.ending is not Ending.MISSING]
    explained = {case.key: _explain_one(case, active, survey) for case in complete}
    causes: dict[tuple[str, object], set[str]] = defaultdict(set)
    for entry in explained.values():
        if entry.rule is not None and entry.case.is_unattributed and not entry.case.batch:
            causes[entry.case.service, entry.case.operation].add(entry.rule.id)
    known = replace(survey, causes={key: frozenset(ids) for key, ids in causes.items()})  # type: ignore[misc]  # keys are as declared
    for case in cases:
        if case.path.ending is Ending.MISSING:
            explained[case.key] = _explain_one(case, active, known)
    return [explained[case.key] for case in cases], not_checked


def _explain_one(case: Case, rules: Sequence[Rule], survey: Survey) -> Explained:
    found: list[tuple[Rule, Diagnosis]] = []
    for rule in rules:
        try:
            diagnosis = rule.diagnose(case, survey)
        except Exception as error:
            raise RuleError(f"the rule {rule.id!r} failed: {type(error).__name__}: {error}") from error
        if diagnosis is None:
            continue
        if not isinstance(diagnosis, Diagnosis):
            raise RuleError(f"the rule {rule.id!r} returned {type(diagnosis).__name__}, not a Diagnosis")
        found.append((rule, diagnosis))
    if not found:
        return Explained(case, None, None, ())
    found.sort(key=_precedence)
    rule, diagnosis = found[0]
    others = tuple(other.id for other, _ in found[1:] if other.specificity > 0)
    return Explained(case, rule, diagnosis, others)


def _precedence(entry: tuple[Rule, Diagnosis]) -> tuple[int, int, str]:
    rule, diagnosis = entry
    return diagnosis.confidence.rank, -rule.specificity, rule.id
