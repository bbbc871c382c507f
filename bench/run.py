"""Measure the audit against ``orjson.loads`` of the same bytes, in ratios, and hold the results to the goals.

    python bench/run.py             1M spans, 5 rounds; writes docs/benchmarks.md
    python bench/run.py --quick     100k spans, 3 rounds; prints only

Exits 1 when a goal is missed: CPU ratios beyond a slack of 1.3, because they drift with the machine's load;
memory and the answers themselves without any slack.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import formats
from inputs import CPU_SLACK, PAGE, generated, say, truth_path
from measure import Case, Figures, environment, interleaved

HERE = Path(__file__).resolve().parent

FLOOR_LINES = "import sys, orjson\nfor line in open(sys.argv[1], 'rb'):\n    orjson.loads(line)"
FLOOR_DOCUMENT = "import sys, orjson\norjson.loads(open(sys.argv[1], 'rb').read())"
FLOOR_IMPORT = "import orjson"


def column_bytes_per_span(path: Path) -> tuple[float, float]:
    """Bytes a span that one loaded export holds: in arrays, and in arrays and interned strings together.

    The only place that knows how the auditor is called as a library.
    It runs in a process of its own, so that the harness stays small.
    """
    from auditor.load import load  # noqa: PLC0415  the harness itself must not import the auditor
    from auditor.normalise.vocabulary import compile_lexicon  # noqa: PLC0415  as above

    loaded = load([str(path)], compile_lexicon())
    arrays = sum(batch.column_bytes for batch in loaded.batches)
    strings = sum(sys.getsizeof(text) + 8 for batch in loaded.batches for text in batch.texts)
    return arrays / loaded.spans_read, (arrays + strings) / loaded.spans_read


@dataclass(frozen=True, slots=True)
class Result:
    """One measured figure beside its goal, which counts as missed beyond ``slack`` times its value."""

    what: str
    value: float | None
    goal: float | None = None
    slack: float = 1.0
    spread: tuple[float, float] | None = None
    problem: str = ""

    @property
    def missed(self) -> bool:
        """Whether a goal is set and was not reached; what could not be measured was not reached."""
        if self.goal is None:
            return False
        return self.value is None or self.value > self.goal * self.slack

    def row(self) -> str:
        """Render a table row."""
        value = f"not measured: {self.problem}" if self.value is None else _number(self.value)
        spread = f"{_number(self.spread[0])} to {_number(self.spread[1])}" if self.spread else ""
        goal = "" if self.goal is None else f"≤ {_number(self.goal)}"
        if self.goal is None:
            verdict = ""
        elif self.missed:
            verdict = "missed"
        elif self.value is not None and self.value > self.goal:
            verdict = f"within the slack of {self.slack}"
        else:
            verdict = "met"
        return f"| {self.what} | {value} | {spread} | {goal} | {verdict} |"


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


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


@dataclass(frozen=True, slots=True)
class Exports:
    """The generated inputs."""

    lines: Path
    document: Path
    rows: Path
    small: Path


def columns(path: Path) -> list[Result]:
    """Ask a process of its own how many bytes a span the auditor holds."""
    command = [sys.executable, str(HERE / "run.py"), "--columns-of", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment())
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return [Result("bytes a span held in columns", None, goal=56, problem=last[0])]
    arrays, everything = json.loads(done.stdout)
    return [
        Result("bytes a span held in columns", arrays, goal=56),
        Result("the same with interned ids and strings", everything),
    ]


def measured(figures: Figures, base: float, floor: float) -> list[Result]:
    """Turn the figures into results; ``base`` and ``floor`` are the peaks of either program doing nothing."""

    def cpu(what: str, name: str, other: str, goal: float | None = None) -> Result:
        spread = figures.cpu_spread(name, other)
        return Result(what, figures.cpu_ratio(name, other), goal=goal, slack=CPU_SLACK, spread=spread)

    audited, parsed = figures.peak("audit document"), figures.peak("orjson document")
    return [
        cpu("CPU: full audit ÷ `orjson.loads` of the same lines", "audit lines", "orjson lines", goal=1.25),
        Result(
            "memory: audit of one 100 MB document ÷ `orjson.loads` of it, whole processes",
            audited / parsed,
            goal=0.3,
        ),
        Result("the same above what the imports take", (audited - base) / (parsed - floor)),
        cpu("CPU: audit of that document ÷ `orjson.loads` of it", "audit document", "orjson document"),
        cpu(
            "CPU: gateway log (LiteLLM rows) audit ÷ `orjson.loads` of the same rows",
            "audit rows",
            "orjson rows",
        ),
        cpu("CPU: `audit --version` ÷ bare Python", "audit --version", "python", goal=8),
        cpu("CPU: audit of 1,000 spans ÷ bare Python", "audit 1,000 spans", "python"),
    ]


def answers(report: Path, truth: Path) -> list[Check]:
    """Compare what the audit said with what was planted: a fast wrong answer is no result."""
    said = json.loads(report.read_bytes())["totals"]
    planted = json.loads(truth.read_bytes())
    totals = planted["totals"]
    return [
        Check("spans, each once", said["spans"], planted["spans"], tolerance=0.0),
        Check("calls, each once", said["calls"], totals["calls"], tolerance=0.005),
        Check("failed attempts", said["failed"], totals["failed"]),
        Check("calls without a tenant", said["unattributed"]["calls"], totals["without_tenant"], tolerance=0.005),
        Check("of these recoverable", said["recoverable"]["calls"], totals["recoverable"]),
        Check("internal calls", said["internal"]["calls"], totals["internal"]),
        Check("calls charged to another tenant than their path's", said["conflict"]["calls"], totals["conflict"]),
        Check("calls without usage", said["unmetered"]["calls"], totals["unmetered"]),
        Check("input tokens", int(said["input_tokens"]), totals["input_tokens"], tolerance=0.005),
        Check("output tokens", int(said["output_tokens"]), totals["output_tokens"], tolerance=0.005),
    ]


def page(results: Sequence[Result], checks: Sequence[Check], *, spans: int, rounds: int, day: date, quick: bool) -> str:
    """Write the page: ratios and counts only; seconds say more about the machine than about the program."""
    command = "python bench/run.py --quick" if quick else "make bench"
    packages = ", ".join(f"{name} {_installed(name)}" for name in ("orjson", "msgspec", "numpy"))
    cores = len(os.sched_getaffinity(0))
    machine = f"{cores} cores, {platform.machine()}, {platform.system()}; Python {platform.python_version()}"
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"Written by `{command}` on {day.isoformat()}; do not edit.",
            f"Machine: {machine}; {packages}.",
            "",
            f"Input: a generated export of {spans:,} spans (`bench/generate.py`, the same bytes everywhere),",
            "one document of 100,000 spans, 100,000 gateway log rows.",
            f"Each figure is the ratio of two medians over {rounds} rounds of whole processes,",
            "start-up included, in an order that rotates from round to round.",
            "CPU is user and system time.",
            "Memory is the peak resident set of the process, mapped file pages included.",
            "The spread is the lowest and highest ratio of a single round.",
            f"A CPU goal counts as missed beyond {CPU_SLACK} times its value, a memory goal at once.",
            "",
            "| what | measured | spread | goal | verdict |",
            "| --- | --- | --- | --- | --- |",
            *(result.row() for result in results),
            "",
            "## The answer on that input",
            "",
            "The generator writes down what it planted; a fast wrong answer would be no result.",
            "",
            "| what | audit | planted | difference |",
            "| --- | --- | --- | --- |",
            *(check.row() for check in checks),
            "",
        ]
    )


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    default = Path(sys.executable).with_name("audit")
    parser = argparse.ArgumentParser(description="Measure the audit against orjson.loads of the same bytes.")
    parser.add_argument("--quick", action="store_true", help="100k spans, 3 rounds; prints instead of writing the page")
    parser.add_argument("--rounds", type=int, help="default 5, with --quick 3")
    parser.add_argument("--spans", type=int, help="default 1,000,000, with --quick 100,000")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir()) / "trace-auditor-bench",
        help="where exports are kept",
    )
    parser.add_argument("--audit", default=shlex.quote(str(default)), help="the command to be measured")
    parser.add_argument("--out", type=Path, help="the page to write; default docs/benchmarks.md, with --quick none")
    parser.add_argument("--date", type=date.fromisoformat, default=date.today())  # noqa: DTZ011  the day on the page
    parser.add_argument("--columns-of", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> int:
    """Generate, measure, compare; 1 when a goal is missed."""
    given = parsed(None)
    if given.columns_of is not None:
        print(json.dumps(column_bytes_per_span(given.columns_of)))
        return 0
    rounds = given.rounds or (3 if given.quick else 5)
    spans = given.spans or (100_000 if given.quick else 1_000_000)
    folder = given.data.resolve()
    exports = Exports(
        lines=generated(folder, f"spans-{spans}.jsonl", "lines", spans),
        document=generated(folder, "document.json", "document", 100_000),
        rows=generated(folder, "rows.jsonl", "litellm", 100_000),
        small=generated(folder, "spans-1000.jsonl", "lines", 1000),
    )
    audit = shlex.split(given.audit)
    report = folder / "report.json"

    def audited(path: Path) -> tuple[str, ...]:
        return (*audit, str(path), "-f", f"json={report}", "--exit-zero")

    def python(program: str, *rest: Path) -> tuple[str, ...]:
        return (sys.executable, "-c", program, *map(str, rest))

    say(f"measuring, {rounds} rounds")
    figures = Figures(
        interleaved(
            [
                Case("audit lines", audited(exports.lines)),
                Case("orjson lines", python(FLOOR_LINES, exports.lines)),
                Case("audit document", audited(exports.document)),
                Case("orjson document", python(FLOOR_DOCUMENT, exports.document)),
                Case("audit rows", audited(exports.rows)),
                Case("orjson rows", python(FLOOR_LINES, exports.rows)),
                Case("audit 1,000 spans", audited(exports.small), repeat=5),
                Case("audit --version", (*audit, "--version"), repeat=10),
                Case("python", python("pass"), repeat=10),
                Case("import orjson", python(FLOOR_IMPORT), repeat=3),
            ],
            rounds,
            cwd=folder,
        )
    )
    results = measured(figures, figures.peak("audit 1,000 spans"), figures.peak("import orjson"))
    results[1:1] = columns(exports.lines)
    subprocess.run(audited(exports.lines), check=True, cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
    checks = answers(report, truth_path(exports.lines))

    text = page(results, checks, spans=spans, rounds=rounds, day=given.date, quick=given.quick)
    costs: list[formats.Cost] = []
    if not given.quick:
        costs = formats.measured(folder, formats.SPANS, rounds)
        command = "make bench"
        text += "\n" + formats.section(costs, spans=formats.SPANS, rounds=rounds, command=command, day=given.date)
    print(text)
    out = given.out or (None if given.quick else PAGE)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    missed = [result.what for result in results if result.missed] + [check.what for check in checks if check.missed]
    missed += [f"{cost.form}, CPU of a call" for cost in costs if cost.misses(costs[0])]
    for what in missed:
        say(f"missed: {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
