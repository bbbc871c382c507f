"""What a rule sees and what it returns: the whole interface between rules and the auditor.

A rule is a module of a rule package (entry point group ``auditor.rules``). Its docstring is the rule's page. It
has a function and a value::

    def diagnose(case: Case, survey: Survey) -> Diagnosis | None: ...

    RULE = Rule(id="my-rule", title="…", remedy="…", needs="…", diagnose=diagnose)

The id is the module's name with hyphens. A rule is asked once for every case; a case stands for all calls that
took the same way through the system. Interface version: ``INTERFACE``; it rises when a change could break a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from auditor.model.case import (
    Case,
    CredentialFacts,
    CutMatch,
    Edge,
    Ending,
    Path,
    Peer,
    ServiceFacts,
    Step,
    StreamSign,
    Survey,
    UsageStatus,
)
from auditor.model.joins import Join, Status
from auditor.model.lexicon import Operation
from auditor.model.report import Confidence, Hop, HopKind
from auditor.model.spans import CallerSaid, Role, Shape

INTERFACE = 1

__all__ = [
    "INTERFACE",
    "CallerSaid",
    "Case",
    "Confidence",
    "CredentialFacts",
    "CutMatch",
    "Diagnosis",
    "Edge",
    "Ending",
    "Hop",
    "HopKind",
    "Join",
    "Operation",
    "Path",
    "Peer",
    "Role",
    "Rule",
    "ServiceFacts",
    "Shape",
    "Status",
    "Step",
    "StreamSign",
    "Survey",
    "UsageStatus",
    "fitting",
]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a rule says about one case."""

    confidence: Confidence
    hop: Hop
    """The hop which, repaired, would bring the tenant back to the call."""
    evidence: tuple[str, ...] = ()
    """Facts that a reader can look up: spans, counts, keys."""
    remedy: str = ""
    """Where it differs from the rule's own, because of the language or framework."""


def _always_checkable(_survey: Survey) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Rule:
    """One failure mode."""

    id: str
    title: str
    remedy: str
    needs: str
    """What an input has to have for the rule to be checked, for the catalogue."""
    diagnose: Callable[[Case, Survey], Diagnosis | None]
    specificity: int = 50
    """Of two rules that are equally sure, the more specific one explains the case; 0 to 100."""
    unchecked: Callable[[Survey], str | None] = _always_checkable
    """Why this input cannot answer the rule; ``None`` when it can."""
    page: str = field(default="", compare=False)
    """The module's docstring; the registry fills it in."""


def fitting(remedies: Mapping[str, str], *steps: Step) -> str:
    """The remedy for the first scope or language of these spans that a table of remedies knows; else empty.

    Keys are parts of scope names (``celery``) or languages (``python``); scopes come first.
    """
    scopes = [step.shape.scope.lower() for step in steps]
    for part, remedy in remedies.items():
        if any(part in scope for scope in scopes):
            return remedy
    for step in steps:
        if step.shape.language in remedies:
            return remedies[step.shape.language]
    return ""
