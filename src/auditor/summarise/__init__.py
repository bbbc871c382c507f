"""Puts the report together: totals, findings, the repair plan, tenants, readiness."""

from __future__ import annotations

from auditor.summarise.findings import Blamed, build_findings, tenants_of
from auditor.summarise.identity_map import build_map
from auditor.summarise.keys import candidate_keys, tenant_keys
from auditor.summarise.plan import build_plan
from auditor.summarise.shares import Positions, SampleCall, Shares, merge_shares, share_out
from auditor.summarise.tally import Costs, Like, Tally, costs_like, tally
from auditor.summarise.tenants import build_tenants, concentration
from auditor.summarise.totals import build_joins, build_readiness, build_totals, estimates_of

__all__ = [
    "Blamed",
    "Costs",
    "Like",
    "Positions",
    "SampleCall",
    "Shares",
    "Tally",
    "build_findings",
    "build_joins",
    "build_map",
    "build_plan",
    "build_readiness",
    "build_tenants",
    "build_totals",
    "candidate_keys",
    "concentration",
    "costs_like",
    "estimates_of",
    "merge_shares",
    "share_out",
    "tally",
    "tenant_keys",
    "tenants_of",
]
