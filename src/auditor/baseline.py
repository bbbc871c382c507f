"""The baseline: leaks that are known, so that the gate can be strict about new ones.

A leak is known by its cause: the rule, the two services of the hop with its kind (which follows from the roles of the
two spans), and the operation. Ids, times and lines are in no baseline, so that it fits the next run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from auditor.errors import SettingsError
from auditor.model.money import from_decimal_string, to_decimal_string
from auditor.model.report import BaselineUse, Compared, Finding, GoneFinding, Hop, HopKind, Standing, Totals
from auditor.model.stakes import Stakes, left_of

SCHEMA_VERSION = "baseline-v1"
"""Names the shape of the file; changes only when a reader of the old shape would break."""

_LARGEST = 64 * 2**20
"""Bytes; a larger file is no baseline."""

_CAUSE = ("rule", "from", "to", "kind", "operation")
Cause = tuple[str, str, str, HopKind, str]
"""Rule, source, target, kind, operation."""


@dataclass(frozen=True, slots=True)
class Known:
    """A leak as it was when the baseline was written."""

    rule: str
    hop: Hop
    operation: str
    calls: int
    cost: int
    unattributed_calls: int
    unattributed_cost: int
    lost_cost: int
    unmetered_calls: int
    share: float | None

    @property
    def cause(self) -> Cause:
        """What it is recognised by."""
        return self.rule, self.hop.source, self.hop.target, self.hop.kind, self.operation


@dataclass(frozen=True, slots=True)
class Baseline:
    """The known leaks, the traffic that they were seen in, and what was checked."""

    rollup: str
    calls: int
    """All calls but internal ones."""
    audited_spend: int
    rules: tuple[str, ...]
    services: tuple[str, ...]
    known: tuple[Known, ...]


def cause_of(finding: Finding) -> Cause:
    """What a finding is recognised by in another run; names as the file can hold them."""
    hop = finding.hop
    return finding.rule, _text(hop.source), _text(hop.target), hop.kind, _text(finding.operation)


def draw(
    findings: Sequence[Finding], totals: Totals, *, rollup: str, rules: Sequence[str], services: Sequence[str]
) -> Baseline:
    """Make the baseline of a run: every finding but for what is suppressed."""
    known = []
    for finding in findings:
        left = left_of(finding)
        if not finding.is_suppressed:
            known.append(
                Known(
                    rule=finding.rule,
                    hop=Hop(_text(finding.hop.source), _text(finding.hop.target), finding.hop.kind),
                    operation=_text(finding.operation),
                    calls=left.calls,
                    cost=left.cost,
                    unattributed_calls=left.unattributed_calls,
                    unattributed_cost=left.unattributed_cost,
                    lost_cost=left.lost_cost,
                    unmetered_calls=left.unmetered_calls,
                    share=left.unattributed_cost / totals.audited_spend if totals.audited_spend else None,
                )
            )
    return Baseline(
        rollup=rollup,
        calls=_audited_calls(totals),
        audited_spend=totals.audited_spend,
        rules=tuple(sorted(rules)),
        services=tuple(sorted(map(_text, services))),
        known=tuple(sorted(known, key=lambda entry: entry.cause)),
    )


def _audited_calls(totals: Totals) -> int:
    return totals.calls - totals.internal.calls


def compare(
    findings: Sequence[Finding], totals: Totals, before: Baseline, tolerance: Decimal | None
) -> tuple[tuple[Finding, ...], Stakes]:
    """Say of each finding whether it is new, known or grown; also what the baseline excuses altogether.

    Amounts of then are scaled to the traffic of now: dollars by the audited spend, counts by the audited calls. A
    finding that is suppressed whole is not compared.
    """
    known = {entry.cause: entry for entry in before.known}
    spend = Fraction(totals.audited_spend, before.audited_spend) if before.audited_spend else Fraction(0)
    calls = Fraction(_audited_calls(totals), before.calls) if before.calls else Fraction(0)
    compared = []
    excused = Stakes()
    for finding in findings:
        if finding.is_suppressed:
            compared.append(finding)
            continue
        left = left_of(finding)
        then = known.get(cause_of(finding))
        if then is None:
            compared.append(replace(finding, baseline=Compared(Standing.NEW)))
            continue
        has_grown = tolerance is not None and _has_grown(left, then, spend, calls, Fraction(tolerance))
        part = _scaled(left, then, spend, calls) if has_grown else left
        excused = excused.plus(part)
        compared.append(
            replace(
                finding,
                baseline=Compared(
                    standing=Standing.GROWN if has_grown else Standing.KNOWN,
                    calls=then.calls,
                    cost=then.cost,
                    unattributed_cost=then.unattributed_cost,
                    share=then.share,
                    grown_cost=left.unattributed_cost - part.unattributed_cost,
                ),
            )
        )
    return tuple(compared), excused


def _has_grown(now: Stakes, then: Known, spend: Fraction, calls: Fraction, tolerance: Fraction) -> bool:
    """Dollars decide; calls do where there are none now, and unmetered calls always, for they hide dollars."""
    pairs = [
        (now.unattributed_cost, then.unattributed_cost * spend),
        (now.cost, then.cost * spend),
        (now.unmetered_calls, then.unmetered_calls * calls),
    ]
    if not now.cost:
        pairs.append((now.calls, then.calls * calls))
    return any(amount > (1 + tolerance) * allowed for amount, allowed in pairs)


def _scaled(now: Stakes, then: Known, spend: Fraction, calls: Fraction) -> Stakes:
    """What a finding of now would be, had it not grown; in no part more than it is."""
    unattributed = min(now.unattributed_cost, int(then.unattributed_cost * spend))
    lost = min(now.lost_cost, int(then.lost_cost * spend), unattributed)
    return Stakes(
        calls=min(now.calls, int(then.calls * calls)),
        cost=min(now.cost, int(then.cost * spend)),
        unattributed_calls=min(now.unattributed_calls, int(then.unattributed_calls * calls)),
        unattributed_cost=unattributed,
        recoverable_cost=unattributed - lost,
        unmetered_calls=min(now.unmetered_calls, int(then.unmetered_calls * calls)),
    )


def used(
    before: Baseline,
    findings: Sequence[Finding],
    *,
    path: str,
    tolerance: Decimal | None,
    is_updated: bool,
    rules: Sequence[str],
    services: Sequence[str],
) -> BaselineUse:
    """Say what the baseline has and this run has not: leaks that are gone, and what is checked no longer."""
    here = {cause_of(finding) for finding in findings}
    return BaselineUse(
        path=path,
        tolerance=None if tolerance is None else float(tolerance),
        is_updated=is_updated,
        gone=tuple(
            GoneFinding(entry.rule, entry.hop, entry.operation, entry.calls, entry.unattributed_cost, entry.share)
            for entry in sorted(before.known, key=lambda entry: (-entry.unattributed_cost, entry.cause))
            if entry.cause not in here
        ),
        unchecked_rules=tuple(sorted(set(before.rules) - set(rules))),
        unchecked_services=tuple(sorted(set(before.services) - set(map(_text, services)))),
    )


def write(baseline: Baseline) -> bytes:
    """Write as JSON: the same bytes for the same baseline, one leak after the other, so that a diff can be read."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "rollup": baseline.rollup,
        "traffic": {"calls": baseline.calls, "spend": to_decimal_string(baseline.audited_spend)},
        "rules": list(baseline.rules),
        "services": list(baseline.services),
        "known": [
            {
                "rule": entry.rule,
                "from": entry.hop.source,
                "to": entry.hop.target,
                "kind": entry.hop.kind.value,
                "operation": entry.operation,
                "calls": entry.calls,
                "cost": to_decimal_string(entry.cost),
                "unattributed_calls": entry.unattributed_calls,
                "unattributed_cost": to_decimal_string(entry.unattributed_cost),
                "lost_cost": to_decimal_string(entry.lost_cost),
                "unmetered_calls": entry.unmetered_calls,
                "share": entry.share,
            }
            for entry in baseline.known
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _text(name: str) -> str:
    """Escape lone surrogates, which a name may have and JSON cannot hold."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def read(path: Path) -> Baseline:
    """Read a baseline; raises ``SettingsError`` where it is missing, broken, or something else."""
    hint = "--update-baseline writes it from this run"
    try:
        if path.stat().st_size > _LARGEST:
            raise SettingsError(f"{path} is too large for a baseline", hint=hint)
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"baseline {path}: {error.strerror or error}", hint=hint) from error
    try:
        document = orjson.loads(content)
    except ValueError as error:
        raise SettingsError(f"{path} is no baseline: not JSON: {error}", hint=hint) from error
    return _parse(document, path)


def may_be_replaced(path: Path) -> bool:
    """Say whether nothing is there, or a baseline, whole or not: anything else is not ours to overwrite."""
    if not path.exists():
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError:
        return False
    return re.search(rb'"schema_version"\s*:\s*"baseline-v', head) is not None


def _parse(document: Any, path: Path) -> Baseline:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, str) and version.startswith("baseline-v") and version != SCHEMA_VERSION:
        raise SettingsError(f"{path} is a {version}, this program reads {SCHEMA_VERSION}")
    _validate(document, path)
    causes = {tuple(entry[name] for name in _CAUSE) for entry in document["known"]}
    if len(causes) < len(document["known"]):
        raise SettingsError(
            f"{path} has two entries for one leak", hint="a merge did that? --update-baseline writes it anew"
        )
    try:
        return Baseline(
            rollup=document["rollup"],
            calls=document["traffic"]["calls"],
            audited_spend=from_decimal_string(document["traffic"]["spend"]),
            rules=tuple(document["rules"]),
            services=tuple(document["services"]),
            known=tuple(_known(entry) for entry in document["known"]),
        )
    except ValueError as error:
        raise SettingsError(f"{path} is no baseline: {error}") from error


def _known(entry: Mapping[str, Any]) -> Known:
    return Known(
        rule=entry["rule"],
        hop=Hop(entry["from"], entry["to"], HopKind(entry["kind"])),
        operation=entry["operation"],
        calls=entry["calls"],
        cost=from_decimal_string(entry["cost"]),
        unattributed_calls=entry["unattributed_calls"],
        unattributed_cost=from_decimal_string(entry["unattributed_cost"]),
        lost_cost=from_decimal_string(entry["lost_cost"]),
        unmetered_calls=entry["unmetered_calls"],
        share=entry["share"],
    )


@cache
def baseline_schema() -> dict[str, Any]:
    """Read the schema (JSON Schema 2020-12) of the file, as shipped."""
    schema: dict[str, Any] = orjson.loads(files("auditor").joinpath("baseline.schema.json").read_bytes())
    return schema


def _validate(document: object, path: Path) -> None:
    from jsonschema import Draft202012Validator  # noqa: PLC0415  # heavy, and only where a baseline is read
    from jsonschema.exceptions import best_match  # noqa: PLC0415  # as above

    error = best_match(Draft202012Validator(baseline_schema()).iter_errors(document))
    if error is not None:
        message = error.message if len(error.message) <= 200 else f"{error.message[:200]}…"
        raise SettingsError(
            f"{path} is no baseline: {error.json_path}: {message}", hint="--update-baseline writes one from this run"
        )
