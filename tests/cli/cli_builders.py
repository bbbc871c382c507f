"""What tests of the command line are made from: a report, and a pipeline that answers with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from auditor.model.money import to_decimal_string
from auditor.model.report import Amount, CandidateKey, Concentration, Gate, Report, TenantKey, Totals
from auditor.settings import Settings
from builders import CALL_PICO, SERVER, Span, call, lines, span

USD = 10**12


def a_report(*, exit_code: int = 0, **changes: Any) -> Report:
    """A small report: ten dollars, of which 3.14 have no tenant."""
    totals = Totals(
        spans=40,
        calls=12,
        services=2,
        spend=11 * USD,
        audited_spend=10 * USD,
        direct=Amount(8, 686 * USD // 100, 0.686),
        recoverable=Amount(1, 2 * USD, 0.2),
        lost=Amount(1, 114 * USD // 100, 0.114),
        internal=Amount(2, USD, None),
        unattributed=Amount(2, 314 * USD // 100, 0.314),
        conflict=Amount(),
        unmetered=Amount(),
        unmetered_estimate=None,
        unpriced=Amount(),
        duplicates=Amount(),
        failed=0,
        cache_hits=0,
        input_tokens=1_000,
        output_tokens=100,
    )
    fields: dict[str, Any] = {
        "version": "0.0.0",
        "inputs": (),
        "totals": totals,
        "findings": (),
        "joins": (),
        "tenants": (),
        "concentration": Concentration(0, None, None, 0, None),
        "readiness": (),
        "tenant_keys": (TenantKey("tenant.id", 8),),
        "candidate_keys": (CandidateKey("client_ref", 0.5, 4, 3),),
        "not_checked": (),
        "rules_run": (),
        "plan": (),
        "map_nodes": (),
        "map_edges": (),
        "gate": Gate(passed=exit_code == 0, exit_code=exit_code, checks=(), warnings=()),
        "rollup": "call",
        "price_book": "none",
        "ids_hashed": False,
        "start_ns": None,
        "end_ns": None,
    }
    return Report(**{**fields, **changes})


@dataclass
class Pipeline:
    """Stands in for ``auditor.pipeline``: remembers how it was called, answers or fails as told."""

    report: Report = field(default_factory=a_report)
    rows: Sequence[Mapping[str, object]] = ()
    error: BaseException | None = None
    paths: list[str] = field(default_factory=list)
    settings: Settings = field(default_factory=Settings)
    calls: int = 0

    def audit(
        self,
        paths: Sequence[str],
        settings: Settings,
        *,
        progress: Any = None,
        update_baseline: bool = False,
        keep_calls: bool = True,  # noqa: ARG002  # as it is called
        save_columns: Path | None = None,  # noqa: ARG002  # as it is called
    ) -> Any:
        self.calls += 1
        self.paths = list(paths)
        self.settings = settings
        if progress:
            progress(1_000, 10)
        if self.error:
            raise self.error
        return SimpleNamespace(report=self.report, calls=self.rows, baseline=b"{}" if update_baseline else None)

    def locate(self, report: Report, paths: Sequence[str], here: Any) -> Report:  # noqa: ARG002  # as it is called
        return report

    def explain_trace(self, trace_id: str, paths: Sequence[str], settings: Settings) -> Any:
        self.audit(paths, settings)
        return f"tree of {trace_id}\n"


RULES = (
    SimpleNamespace(
        id="header-stripping",
        title="A proxy drops the tenant's header",
        remedy="Let the header through.",
        needs="spans of two services",
        page="A proxy drops it.\n\nWhat goes wrong\n    It is gone.\n",
        specificity=2,
    ),
    SimpleNamespace(
        id="async-drop",
        title="A queue drops the tenant",
        remedy="Put it in.",
        needs="",
        page="A queue.",
        specificity=1,
    ),
)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = ModuleType(name)
    for member, value in members.items():
        setattr(module, member, value)
    parent, _, leaf = name.rpartition(".")
    monkeypatch.setitem(sys.modules, name, module)
    if parent in sys.modules:
        monkeypatch.setattr(sys.modules[parent], leaf, module, raising=False)


@dataclass(frozen=True)
class Done:
    """What a run left behind."""

    code: int
    out: str
    err: str


Audit = Callable[..., Done]


def requests(
    service: str, number: int, *, leaks: bool, tenant: str = "acme", run: str = "1", feature: str = "", **facts: Any
) -> Iterable[Span]:
    """Requests of one call each; the tenant is on the server's span, and on the call unless it leaks.

    ``facts``: attributes of the resource.
    """
    for index in range(number):
        trace = f"{run} {service} {leaks} {tenant} {index}"
        yield span(
            "POST /ask", id=f"{trace} root", trace=trace, service=service, kind=SERVER, start=index,
            attributes={"tenant.id": tenant, "http.route": "/ask"}, resource=facts,
        )  # fmt: skip
        yield call(
            id=f"{trace} call", trace=trace, parent=f"{trace} root", service=service, start=index + 1,
            tenant=None if leaks else tenant, attributes={"app.feature": feature} if feature else {}, resource=facts,
        )  # fmt: skip


def written(name: str, *groups: Iterable[Span]) -> str:
    """Write an export; every call costs ``CALL_PICO``."""
    Path(name).write_bytes(lines(*(entry for group in groups for entry in group)))
    return name


def usd(calls: int) -> str:
    return to_decimal_string(calls * CALL_PICO)
