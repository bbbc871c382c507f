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
from auditor.diagnose.cuts import Callers, Cuts, Roots, callers, cut_roots, find_cuts, may_be_cut
from auditor.diagnose.settle import Explained, explain

__all__ = [
    "Callers",
    "Cases",
    "CostedCalls",
    "Cuts",
    "Explained",
    "Roots",
    "Surroundings",
    "build_cases",
    "callers",
    "cut_roots",
    "explain",
    "find_cuts",
    "knowing_processes",
    "may_be_cut",
    "merge_cases",
    "merge_surveys",
    "pricing_logs",
]
