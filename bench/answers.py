"""What the audit says: against what was planted, and the same in every way to run it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from inputs import Bench, truth_path
from measure import Case, Figures
from results import Told
from ways import LEAST_MEMORY, NOT_THERE

SPANS = 200_000


@dataclass(frozen=True, slots=True)
class Check:
    """One number of the report beside the generator's truth."""

    what: str
    found: int
    planted: int
    tolerance: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the difference is larger than allowed."""
        if self.tolerance is None:
            return False
        return abs(self.found - self.planted) > self.tolerance * self.planted

    def row(self) -> str:
        """Render a table row."""
        share = (self.found - self.planted) / self.planted if self.planted else 0.0
        return f"| {self.what} | {self.found:,} | {self.planted:,} | {share:+.2%} |"


def cases(bench: Bench) -> list[Case]:  # noqa: ARG001  a family like the others
    """Give nothing: answers are not timed."""
    return []


def measured(bench: Bench, figures: Figures) -> Told:  # noqa: ARG001  as above
    """Audit, and compare."""
    checks = list(_checks(bench))
    digests = dict(_digests(bench))
    lines = [
        "## The answer on that input",
        "",
        "The generator writes down what it planted; a fast wrong answer would be no result.",
        "",
        "| what | audit | planted | difference |",
        "| --- | --- | --- | --- |",
        *(check.row() for check in checks),
        "",
        "## One answer",
        "",
        f"The digest of the report on {SPANS:,} spans, in every way to run the audit:",
        "",
        "| way | digest |",
        "| --- | --- |",
        *(f"| {way} | `{digest[:16]}` |" for way, digest in digests.items()),
        *([] if bench.can_save_columns else [f"| from kept columns | not measured: {NOT_THERE} |"]),
        "",
    ]
    missed = [check.what for check in checks if check.missed]
    missed += ["one answer in every way to run"] * (len(set(digests.values())) != 1)
    missed += ["one answer from kept columns"] * (not bench.can_save_columns)
    return Told(lines, missed)


def _checks(bench: Bench) -> Iterator[Check]:
    said = bench.report(bench.lines())["totals"]
    planted = json.loads(truth_path(bench.lines()).read_bytes())
    totals = planted["totals"]
    yield Check("spans, each once", said["spans"], planted["spans"], tolerance=0.0)
    yield Check("calls, each once", said["calls"], totals["calls"], tolerance=0.005)
    yield Check("failed attempts", said["failed"], totals["failed"])
    yield Check("calls without a tenant", said["unattributed"]["calls"], totals["without_tenant"], tolerance=0.005)
    yield Check("of these recoverable", said["recoverable"]["calls"], totals["recoverable"])
    yield Check("internal calls", said["internal"]["calls"], totals["internal"])
    yield Check("calls charged to another tenant than their path's", said["conflict"]["calls"], totals["conflict"])
    yield Check("calls without usage", said["unmetered"]["calls"], totals["unmetered"])
    yield Check("input tokens", int(said["input_tokens"]), totals["input_tokens"], tolerance=0.005)
    yield Check("output tokens", int(said["output_tokens"]), totals["output_tokens"], tolerance=0.005)


def _digests(bench: Bench) -> Iterator[tuple[str, str]]:
    lines = bench.lines(SPANS)
    for way, options in {
        "one process, in memory": "--jobs 1",
        "two processes": "--jobs 2",
        "one process, spilled": f"--jobs 1 --memory {LEAST_MEMORY}",
        "two processes, spilled": f"--jobs 2 --memory {LEAST_MEMORY}",
    }.items():
        yield f"{way} (`{options}`)", bench.report(lines, options=options)["digest"]
    yield "compressed with zstd", bench.report(bench.compressed(SPANS))["digest"]
    if bench.can_save_columns:
        kept = bench.folder / "columns-answers"
        shutil.rmtree(kept, ignore_errors=True)
        yield (
            "while columns are kept (`--save-columns`)",
            bench.report(lines, options=f"--save-columns {kept}")["digest"],
        )
        yield "from kept columns", bench.report(kept)["digest"]
