"""Puts the report together: totals, findings, the repair plan, tenants, readiness."""

from __future__ import annotations

from auditor.summarise.findings import Blamed, build_findings, finding_ids, finding_of_call
from auditor.summarise.identity_map import build_map
from auditor.summarise.keys import candidate_keys, tenant_keys
from auditor.summarise.parts import tenants_of
from auditor.summarise.plan import build_plan
from auditor.summarise.tenants import build_tenants, concentration
from auditor.summarise.totals import build_joins, build_readiness, build_totals

__all__ = [
    "Blamed",
    "build_findings",
    "build_joins",
    "build_map",
    "build_plan",
    "build_readiness",
    "build_tenants",
    "build_totals",
    "candidate_keys",
    "concentration",
    "finding_ids",
    "finding_of_call",
    "tenant_keys",
    "tenants_of",
]
