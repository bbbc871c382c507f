"""Runs every rule on every case and gives each case to one rule."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from auditor.errors import RuleError
from auditor.model.case import Case, Ending, Survey
from auditor.model.lexicon import Operation
from auditor.model.report import Confidence, NotChecked
from auditor.rule import Diagnosis, Rule


@dataclass(slots=True)
class Explained:
    """A case with the rule that explains it, and the rules that would explain it too."""

    case: Case
    rule: Rule | None
    diagnosis: Diagnosis | None
    also_fits: tuple[str, ...]


def explain(cases: Sequence[Case], rules: Sequence[Rule], survey: Survey) -> tuple[list[Explained], list[NotChecked]]:
    """Explain all cases; calls whose parent is missing follow those of complete traces where these agree.

    Raises ``RuleError`` when a rule raises, or returns something else than a diagnosis.
    """
    not_checked = [NotChecked(rule.id, reason) for rule in rules if (reason := rule.unchecked(survey)) is not None]
    skipped = {entry.rule for entry in not_checked}
    active = [rule for rule in rules if rule.id not in skipped]
    explained = {case.key: _explain_one(case, active, survey) for case in cases}
    complete = _causes_of_complete_traces(explained.values())
    for case in cases:
        if case.path.ending is Ending.MISSING:
            explained[case.key] = _as_complete_traces(explained[case.key], complete)
    return [explained[case.key] for case in cases], not_checked


AGREED = 0.75
"""Share of the calls of complete traces that have to have one cause for calls without a parent to follow them."""

_Causes = dict[tuple[str, Operation], list[Explained]]


def _causes_of_complete_traces(explained: Iterable[Explained]) -> _Causes:
    """By service and operation: how calls lose their tenant where nothing is missing above them."""
    causes: _Causes = defaultdict(list)
    for entry in explained:
        case = entry.case
        if case.is_unattributed and not case.batch and case.path.ending is not Ending.MISSING and entry.rule:
            causes[case.service, case.operation].append(entry)
    return causes


def _as_complete_traces(entry: Explained, causes: _Causes) -> Explained:
    """Explain a call whose parent is missing like its kind, where that kind has one cause and the call no better."""
    case, known = entry.case, causes.get((entry.case.service, entry.case.operation), [])
    calls: Counter[str] = Counter()
    for other in known:
        calls[other.rule.id if other.rule else ""] += other.case.calls
    leading = max(calls, key=lambda rule: (calls[rule], rule), default="")
    if not case.is_unattributed or case.batch or not leading or calls[leading] < AGREED * calls.total():
        return entry
    if entry.diagnosis is not None and entry.diagnosis.confidence is not Confidence.POSSIBLE:
        return entry
    like = min(
        (other for other in known if other.rule is not None and other.rule.id == leading),
        key=lambda other: (-other.case.calls, other.case.key),
    )
    if like.rule is None or like.diagnosis is None or like.rule.specificity == 0:
        return entry
    diagnosis = replace(
        like.diagnosis,
        confidence=Confidence.POSSIBLE,
        evidence=(
            f"the parent of {case.path.top.service}'s span is not in the input",
            f"{calls[leading]} of {calls.total()} such calls with whole traces lose the tenant this way",
        ),
    )
    others = {*entry.also_fits, entry.rule.id} if entry.rule and entry.rule.specificity else {*entry.also_fits}
    return Explained(case, like.rule, diagnosis, tuple(sorted(others - {like.rule.id})))


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
