"""Groups calls into cases, runs every rule on every case, and settles which rule explains which."""

from __future__ import annotations

from auditor.diagnose.cases import (
    Cases,
    CostedCalls,
    Surroundings,
    build_cases,
    knowing_processes,
    merge_cases,
    merge_surveys,
    pricing_logs,
)
from auditor.diagnose.cuts import (
    Callers,
    Cuts,
    Decided,
    Roots,
    Windows,
    callers_around,
    cut_roots,
    cuts_of,
    decide_cuts,
    may_be_cut,
    roots_inside,
    windows_of,
)
from auditor.diagnose.settle import Explained, explain

__all__ = [
    "Callers",
    "Cases",
    "CostedCalls",
    "Cuts",
    "Decided",
    "Explained",
    "Roots",
    "Surroundings",
    "Windows",
    "build_cases",
    "callers_around",
    "cut_roots",
    "cuts_of",
    "decide_cuts",
    "explain",
    "knowing_processes",
    "may_be_cut",
    "merge_cases",
    "merge_surveys",
    "pricing_logs",
    "roots_inside",
    "windows_of",
]
