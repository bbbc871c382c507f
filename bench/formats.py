"""Measure what a call costs in each format, as a multiple of what it costs in OTLP JSON.

    python bench/formats.py             100k spans, 5 rounds; rewrites the section in docs/benchmarks.md
    python bench/formats.py --quick     30k spans, 3 rounds; prints only
    python bench/formats.py xray mlflow only these

The same generated spans are written in every format. Each is loaded in a process of its own that has loaded a small
export of the format before, so that imports do not count. Exits 1 when a format misses the goal beyond the slack.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from urllib.parse import quote

from inputs import PAGE, edition, generated, say
from measure import environment
from other_writers import WRITTEN
from results import CPU_SLACK, put_into

HERE = Path(__file__).resolve().parent
GOAL = 2.0
BASE = "otlp-json"
HEADING = "## What a call costs in each format"
SPANS = 100_000
WARM_SPANS = 1000


@dataclass(slots=True)
class Cost:
    """What was measured of one format."""

    form: str
    calls: int = 0
    spans: int = 0
    rejected: int = 0
    megabytes: float = 0.0
    cpu_s: list[float] = field(default_factory=list)
    """CPU seconds of each run."""
    problem: str = ""

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return median(self.cpu_s)

    def times(self, base: Cost) -> float:
        """Multiple of what the same calls cost in the base format."""
        return self.cpu / base.cpu

    def misses(self, base: Cost) -> bool:
        """Whether the goal was not reached; what could not be measured is no result either way."""
        return not self.problem and self.form != BASE and self.times(base) > GOAL * CPU_SLACK

    def row(self, base: Cost) -> str:
        """Render a table row."""
        if self.problem:
            return f"| {self.form} | | | | not measured: {self.problem} |"
        times = self.times(base)
        verdict = "met" if times <= GOAL else "missed" if self.misses(base) else f"within the slack of {CPU_SLACK}"
        verdict = "" if self.form == BASE else verdict
        return f"| {self.form} | {self.megabytes:,.0f} | {self.calls:,} | {times:.2f} | {verdict} |"


def load_once(path: str, small: str) -> None:
    """Load a small export, then the whole one, and print what that cost; the harness itself imports no auditor."""
    from auditor.load import load  # noqa: PLC0415
    from auditor.normalise.vocabulary import compile_lexicon  # noqa: PLC0415

    lexicon = compile_lexicon()
    load([small], lexicon)
    gc.collect()
    gc.disable()  # as an audit does
    before = time.process_time()
    loaded = load([path], lexicon)
    spent = time.process_time() - before
    (entry,) = loaded.inputs
    calls = sum(len(batch.call_row) for batch in loaded.batches)
    print(json.dumps([spent, calls, loaded.spans_read, entry.rejected, entry.bytes]))


def written(spans: Path, form: str) -> Path:
    """Give the spans in one of the formats, made on first use.

    Raises:
        RuntimeError: it cannot be written here, because a package is missing.
    """
    if form == BASE:
        return spans
    path = spans.with_name(f"{spans.stem}-{quote(form, safe='')}-{edition('other_writers.py')}")
    if not path.exists():
        say(f"writing {form}")
        fresh = path.with_name("fresh-" + path.name)
        fresh.unlink(missing_ok=True)
        command = [sys.executable, str(HERE / "other_writers.py"), str(spans), form, str(fresh)]
        _asked(command)
        fresh.replace(path)
    return path


def _asked(command: Sequence[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment())
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return done.stdout


def _run(cost: Cost, path: Path, small: Path) -> None:
    answer = _asked([sys.executable, str(HERE / "formats.py"), "--load", str(path), str(small)])
    spent, cost.calls, cost.spans, cost.rejected, size = json.loads(answer)
    cost.megabytes = size / 1e6
    cost.cpu_s.append(spent)


def measured(folder: Path, spans: int, rounds: int, forms: Sequence[str] = WRITTEN) -> list[Cost]:
    """Load every format once a round, in an order rotated from round to round; the base comes first."""
    big = generated(folder, f"spans-{spans}.jsonl", "lines", spans)
    small = generated(folder, f"spans-{WARM_SPANS}.jsonl", "lines", WARM_SPANS)
    costs = [Cost(form) for form in (BASE, *forms)]
    paths: dict[str, tuple[Path, Path]] = {}
    for cost in costs:
        try:
            paths[cost.form] = written(big, cost.form), written(small, cost.form)
        except RuntimeError as error:
            cost.problem = str(error)
    base, *others = [cost for cost in costs if not cost.problem]
    for turn in range(rounds):
        at = turn * max(1, len(others) // rounds) % max(1, len(others))
        _run(base, *paths[BASE])
        for cost in (*others[at:], *others[:at]):
            _run(cost, *paths[cost.form])
        _run(base, *paths[BASE])
    return costs


def section(costs: Sequence[Cost], *, spans: int, rounds: int, command: str, day: date) -> str:
    """Write the section of the page."""
    base = costs[0]
    return "\n".join(
        [
            HEADING,
            "",
            f"Written by `{command}` on {day.isoformat()}.",
            f"The same {spans:,} generated spans are written in every format (`bench/other_writers.py`) and loaded,",
            "each in a process of its own that has loaded a small export before: imports do not count.",
            f"Medians of the CPU time of {rounds} rounds; the base is measured twice a round.",
            "The calls are the same ones, so that the ratio of the times is that of a call;",
            "products that cannot tell an HTTP request to a provider from other spans count fewer of them.",
            "",
            f"| format | MB | calls | CPU a call ÷ {BASE} | goal ≤ {GOAL:.2f} |",
            "| --- | --- | --- | --- | --- |",
            *(cost.row(base) for cost in costs),
            "",
        ]
    )


def main() -> int:
    """Write, load, compare; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description="Measure what a call costs in each format.")
    parser.add_argument("forms", nargs="*", help="only these formats; prints instead of writing the page")
    parser.add_argument("--quick", action="store_true", help="30k spans, 3 rounds; prints instead of writing the page")
    parser.add_argument("--rounds", type=int, help="default 5, with --quick 3")
    parser.add_argument("--spans", type=int, help="default 100,000, with --quick 30,000")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "trace-auditor-bench")
    parser.add_argument("--date", type=date.fromisoformat, default=date.today())  # noqa: DTZ011  the day on the page
    parser.add_argument("--load", nargs=2, metavar=("EXPORT", "SMALL"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        load_once(*given.load)
        return 0
    if unknown := set(given.forms) - set(WRITTEN):
        parser.error(f"no such format: {', '.join(sorted(unknown))}; there are {', '.join(WRITTEN)}")
    rounds = given.rounds or (3 if given.quick else 5)
    spans = given.spans or (30_000 if given.quick else SPANS)
    costs = measured(given.data.resolve(), spans, rounds, given.forms or WRITTEN)
    text = section(costs, spans=spans, rounds=rounds, command="python bench/formats.py", day=given.date)
    print(text)
    if not given.forms and not given.quick:
        PAGE.write_text(put_into(PAGE.read_text(encoding="utf-8"), HEADING, text), encoding="utf-8")
    missed = [cost.form for cost in costs if cost.misses(costs[0])]
    for form in missed:
        say(f"missed: {form}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
