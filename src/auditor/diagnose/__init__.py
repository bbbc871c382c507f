"""Groups calls into cases, runs every rule on every case, and settles which rule explains which."""

from __future__ import annotations

from auditor.diagnose.cases import Cases, CostedCalls, build_cases
from auditor.diagnose.settle import Explained, explain

__all__ = ["Cases", "CostedCalls", "Explained", "build_cases", "explain"]
