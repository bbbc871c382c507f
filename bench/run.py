"""Measure the audit against ``orjson.loads`` of the same bytes and more, in ratios, and hold the results to the goals.

    python bench/run.py             1M spans, 5 rounds; writes docs/benchmarks.md
    python bench/run.py --large     the same, and five times the spans (5 GB of exports more)
    python bench/run.py --quick     100k spans, 3 rounds; prints only
    python bench/run.py --quick startup ways    only these families of cases; prints only

Each family of cases is a module. All their commands run in one interleaved loop. On first use, exports are generated
and the packages of bench/queries/requirements.txt are installed into an environment beside them; jq is measured where
there is one. Exits 1 when a goal is missed: CPU and wall time beyond a slack of 1.3, because they drift with the
machine's load; memory and answers without any slack.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import tempfile
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import answers
import floor
import formats
import instead
import scaling
import startup
import ways
from inputs import PAGE, Bench, say
from measure import WATCH_S, Case, Figures, interleaved
from results import CPU_SLACK, Told, put_into, section_of

FAMILIES: dict[str, ModuleType] = {
    "floor": floor,
    "answers": answers,
    "instead": instead,
    "ways": ways,
    "startup": startup,
    "scaling": scaling,
}
"""In the order of the page."""


def head(bench: Bench, *, rounds: int, command: str) -> str:
    """Write how the figures of the page come about; seconds say more about the machine than about the program."""
    packages = ", ".join(f"{name} {_installed(name)}" for name in ("orjson", "msgspec", "numpy"))
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    machine = f"{cores} cores, {memory:.0f} GiB, {platform.machine()}, {platform.system()}"
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"Written by `{command}` on {bench.day.isoformat()}; do not edit.",
            f"Machine: {machine}; Python {platform.python_version()}; {packages}.",
            f"Its load at the start (one minute): {os.getloadavg()[0]:.1f}.",
            "",
            f"Input, unless another is named: a generated export of {bench.spans:,} spans (`bench/generate.py`,",
            "the same bytes everywhere).",
            f"Each figure is the ratio of two medians over {rounds} rounds of whole commands,",
            "start-up included, in an order that rotates from round to round.",
            "CPU is user and system time of all processes of a command.",
            "Memory is the peak resident set of its largest process, mapped file pages included;",
            f"that of all processes together is looked at every {WATCH_S * 1000:.0f} ms,",
            "pages that they share counted for each.",
            "The spread is the lowest and highest ratio of a single round.",
            f"A goal of CPU or wall time counts as missed beyond {CPU_SLACK} times its value, one of memory at once.",
            "Nothing here is promised: it is what this machine showed.",
            "",
        ]
    )


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def told(bench: Bench, names: list[str], rounds: int) -> list[Told]:
    """Measure families of cases, all in one loop."""
    cases: list[Case] = [case for name in names for case in FAMILIES[name].cases(bench)]
    say(f"measuring {len(cases)} commands, {rounds} rounds")
    figures = Figures(interleaved(cases, rounds, cwd=bench.folder)) if cases else Figures({})
    return [FAMILIES[name].measured(bench, figures) for name in names]


def parsed() -> argparse.Namespace:
    """Read the command line."""
    default = Path(sys.executable).with_name("audit")
    parser = argparse.ArgumentParser(description="Measure the audit against orjson.loads of the same bytes, and more.")
    parser.add_argument("families", nargs="*", help=f"only these of {', '.join(FAMILIES)}; prints only")
    parser.add_argument("--quick", action="store_true", help="100k spans, 3 rounds; prints instead of writing the page")
    parser.add_argument("--large", action="store_true", help="five times the spans too: 5 GB of exports and minutes")
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
    given = parser.parse_args()
    if unknown := set(given.families) - set(FAMILIES):
        parser.error(f"no such family: {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    return given


def main() -> int:
    """Generate, measure, compare; 1 when a goal is missed."""
    given = parsed()
    prints_only = given.quick or bool(given.families)
    rounds = given.rounds or (3 if given.quick else 5)
    spans = given.spans or (100_000 if given.quick else 1_000_000)
    bench = Bench(tuple(shlex.split(given.audit)), given.data.resolve(), spans, given.date)
    bench.folder.mkdir(parents=True, exist_ok=True)
    command = "make bench-large" if given.large else "make bench"
    if prints_only:
        command = f"python bench/run.py {' '.join(sys.argv[1:])}"
    names = given.families or [name for name in FAMILIES if name != "scaling" or given.large]

    text = head(bench, rounds=rounds, command=command) + "\n"
    said = told(bench, names, rounds)
    text += "\n".join("\n".join(entry.lines) for entry in said)
    missed = [what for entry in said for what in entry.missed]
    former = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if not prints_only and not given.large and (kept := section_of(former, scaling.HEADING)):
        text = put_into(text, scaling.HEADING, kept)
    if not prints_only:
        costs = formats.measured(bench.folder, formats.SPANS, rounds)
        section = formats.section(costs, spans=formats.SPANS, rounds=rounds, command=command, day=given.date)
        text = put_into(text, formats.HEADING, section)
        missed += [f"{cost.form}, CPU of a call" for cost in costs if cost.misses(costs[0])]
    print(text)
    out = given.out or (None if prints_only else PAGE)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    for what in missed:
        say(f"missed: {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
