"""A finding in one line of plain text, for formats that show it beside code; and where that is."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import quote

from auditor.model.money import in_dollars
from auditor.model.report import CodePlace, Finding, GateCheck, Hop, HopKind, Sample, Standing
from auditor.report.wording import HOP_WORDS, count, measured, money_range, percent, sentence, visible

_SCHEME = re.compile(r"(?!duckdb:)[A-Za-z][A-Za-z0-9+.-]+://")
"""How the address of a file system begins."""


def message(finding: Finding) -> str:
    """Say what is wrong, where, what it costs and what repairs it; names from the input are escaped."""
    about = f" ({visible(finding.operation)})" if finding.operation else ""
    return (
        f"{sentence(finding.title)}: {hop(finding.hop)}{about}, {HOP_WORDS[finding.hop.kind]}. "
        f"{'; '.join(amounts(finding))}. {finding.confidence.value.capitalize()}. {_standing(finding)}"
        f"To repair it: {sentence(finding.remedy)}"
    )


def _standing(finding: Finding) -> str:
    """Say what the baseline and the suppressions make of a finding."""
    said = ""
    if finding.baseline is not None:
        grown = in_dollars(finding.baseline.grown_cost)
        said += {
            Standing.NEW: "New since the baseline. ",
            Standing.KNOWN: "Known to the baseline. ",
            Standing.GROWN: f"Grown by {grown} since the baseline. ",
        }[finding.baseline.standing]
    if finding.suppression is not None:
        part = "" if finding.suppression.is_whole else f" in part ({count(finding.suppression.calls, 'call')})"
        said += f"Suppressed{part}. "
    return said


def amounts(finding: Finding) -> list[str]:
    """Say how much a finding is about."""
    parts = []
    if finding.unattributed_calls:
        share = f" ({percent(finding.share)} of the spend)" if finding.share is not None else ""
        calls = count(finding.unattributed_calls, "call")
        parts.append(f"{calls} without a tenant, {in_dollars(finding.unattributed_cost)}{share}")
        if finding.recoverable_cost:
            parts.append(f"{in_dollars(finding.recoverable_cost)} of it recoverable")
    else:
        parts.append(f"{count(finding.calls, 'call')}, {in_dollars(finding.cost)}")
    if finding.unmetered_calls:
        estimate = finding.unmetered_estimate
        about = f", about {money_range(estimate, ' to ')}" if estimate else ""
        parts.append(f"{count(finding.unmetered_calls, 'call')} unmetered{about}")
    return parts


def hop(at: Hop) -> str:
    """Name the two services of a hop, or the one that it lies in."""
    if at.source == at.target:
        return visible(at.source)
    return f"{visible(at.source)} {'⇢' if at.kind is HopKind.QUEUE else '→'} {visible(at.target)}"


def against(check: GateCheck) -> str:
    """Say what a gate measured against its limit."""
    actual, limit = measured(check)
    return f"{actual} against a limit of {limit}"


def code_place(finding: Finding) -> CodePlace | None:
    """The first line of code that a sample names."""
    return next((sample.code for sample in finding.samples if sample.code), None)


def is_in_repository(path: str) -> bool:
    """Say whether a path can be one of a repository: relative, downwards, and a file's."""
    plain = PurePosixPath(path)
    is_path = bool(path) and not _SCHEME.match(path) and not path.startswith(("<", "duckdb:"))
    return is_path and not plain.is_absolute() and ".." not in plain.parts


def place_in_repository(finding: Finding) -> tuple[str, int] | None:
    """Where a code host can show a finding: at the call, else in the input if that lies in the repository."""
    code = code_place(finding)
    if code is not None and is_in_repository(code.file):
        return code.file, code.line
    sample = first_sample(finding)
    if sample is not None and is_in_repository(sample.input):
        return sample.input, sample.line
    return None


def first_sample(finding: Finding) -> Sample | None:
    """The sample that stands for a finding."""
    return finding.samples[0] if finding.samples else None


def uri(path: str) -> str:
    """Write a path as a URI reference (RFC 3986): relative stays relative, absolute becomes ``file:``.

    An address of a file system keeps its scheme.
    """
    written = path.encode("utf-8", "backslashreplace").decode().replace("\\", "/")
    if scheme := _SCHEME.match(written):
        return f"{scheme[0]}{quote(written[scheme.end() :])}"
    if written.startswith("/"):
        return f"file://{quote(written)}"
    # A colon in the first segment would read as a scheme.
    return quote(written, safe="/")
