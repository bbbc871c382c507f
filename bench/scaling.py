"""A million spans against five: CPU a span, and the memory of a run that may hold 512 MiB."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from inputs import Bench, say, truth_path
from measure import Case, Figures
from results import MIB, Result, Told, cpu, told

HEADING = "## Five times the spans"
TIMES = 5
MEMORY_MIB = 512
SEED = 20261101
BYTES_A_SPAN = 1060
"""Of the generated files."""


def cases(bench: Bench) -> list[Case]:
    """Give the commands to be measured: one export, and five of other seeds in one audit."""
    options = f"--memory {MEMORY_MIB}MiB"
    files = _files(bench)
    return [
        Case("one file", bench.audited(files[0], options=options), watched=True),
        Case("five files", bench.audited(*files, options=options, report="report-scaling.json"), watched=True),
    ]


def _files(bench: Bench) -> list[Path]:
    """Give the exports; the first is the one that everything else is measured with."""
    wanted = (TIMES - 1) * bench.spans * BYTES_A_SPAN
    if not bench.lines().with_name(f"spans-{bench.spans}-seed-{SEED + TIMES - 1}.jsonl").exists():
        free = shutil.disk_usage(bench.folder).free
        if free < 1.5 * wanted:
            raise SystemExit(f"{bench.folder}: {1.5 * wanted / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
        say(f"{wanted / 1e9:.1f} GB more")
    return [bench.lines(), *(bench.lines(seed=SEED + number) for number in range(1, TIMES))]


def measured(bench: Bench, figures: Figures) -> Told:
    """Say how CPU and memory grow with the input, and whether the larger answer is right."""
    prose = [
        f"Written by `make bench-large` on {bench.day.isoformat()}.",
        f"`audit --memory {MEMORY_MIB}MiB` of one generated export of {bench.spans:,} spans,",
        f"and of {TIMES} of them with other seeds in one run. Together: of all processes at one time.",
    ]
    largest = [figures.peak(name) / MIB for name in ("one file", "five files")]
    together = [figures.together(name) / MIB for name in ("one file", "five files")]
    results = [
        cpu(
            figures,
            f"CPU a span: {TIMES} exports ÷ one",
            lambda of: of("five files") / TIMES / of("one file"),
            1.1,
        ),
        Result("MiB: largest process, one export", largest[0]),
        Result(f"MiB: largest process, {TIMES} exports", largest[1]),
        Result("memory: largest process, the second ÷ the first", largest[1] / largest[0], 1.35),
        Result("MiB: together, one export", together[0], MEMORY_MIB),
        Result(f"MiB: together, {TIMES} exports", together[1], MEMORY_MIB),
        Result("memory: together, the second ÷ the first", together[1] / together[0], 1.35),
        *_differences(bench),
    ]
    return told(HEADING, prose, results)


def _differences(bench: Bench) -> list[Result]:
    """Compare the report on all exports with the sum of what was planted in each."""
    said = json.loads((bench.folder / "report-scaling.json").read_bytes())["totals"]
    truths = [json.loads(truth_path(path).read_bytes()) for path in _files(bench)]
    planted = {
        "spans": (sum(truth["spans"] for truth in truths), 0.0),
        "calls": (sum(truth["totals"]["calls"] for truth in truths), 0.5),
    }
    return [
        Result(
            f"{name}, each once: {said[name]:,} of {number:,}; difference in percent",
            100 * abs(said[name] - number) / number,
            goal,
        )
        for name, (number, goal) in planted.items()
    ]
