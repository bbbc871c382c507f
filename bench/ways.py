"""Ways to run the same audit: by two processes, by way of temporary files, again from columns that were kept."""

from __future__ import annotations

from inputs import Bench
from measure import Case, Figures
from results import CPU_SLACK, MIB, Result, Told, cpu, told

HEADING = "## Ways to run"
LEAST_MEMORY = "64MiB"
"""The least that ``--memory`` takes: everything goes by way of temporary files."""
NOT_THERE = "this audit has no --save-columns"


def cases(bench: Bench) -> list[Case]:
    """Give the commands to be measured; all are compared with the first."""
    lines = bench.lines()
    found = [
        Case("one process", bench.audited(lines, options="--jobs 1")),
        Case("two processes", bench.audited(lines, options="--jobs 2")),
        Case("spilled", bench.audited(lines, options=f"--jobs 1 --memory {LEAST_MEMORY}")),
    ]
    if bench.can_save_columns:
        keeping = f"--jobs 1 --save-columns {bench.columns}"
        found += [
            Case("keeping columns", bench.audited(lines, options=keeping), removed=bench.columns),
            Case("from columns", bench.audited(bench.columns, options="--jobs 1")),
        ]
    return found


def measured(bench: Bench, figures: Figures) -> Told:
    """Say what each way costs beside one process that holds everything in memory."""
    prose = [
        "All beside `--jobs 1` with enough memory. Wall time gains from a second processor only where that is idle.",
        f"Spilled: `--jobs 1 --memory {LEAST_MEMORY}`, the least that there is.",
    ]
    results = [
        Result(
            "wall: `--jobs 1` ÷ `--jobs 2`",
            figures.wall("one process") / figures.wall("two processes"),
            1.7,
            CPU_SLACK,
            figures.wall_spread(lambda of: of("one process") / of("two processes")),
            at_least=True,
        ),
        cpu(figures, "CPU: `--jobs 2` ÷ `--jobs 1`", lambda of: of("two processes") / of("one process"), 1.1),
        cpu(figures, "CPU: spilled ÷ in memory", lambda of: of("spilled") / of("one process")),
        Result("memory: spilled ÷ in memory, largest process", figures.peak("spilled") / figures.peak("one process")),
        Result("MiB: spilled, largest process", figures.peak("spilled") / MIB, 128),
    ]
    what = "CPU: audit of kept columns ÷ audit of the traces"
    if bench.can_save_columns:
        size = sum(path.stat().st_size for path in bench.columns.rglob("*") if path.is_file())
        results += [
            cpu(figures, what, lambda of: of("from columns") / of("one process"), 0.25),
            cpu(figures, "CPU: audit that keeps columns ÷ audit", lambda of: of("keeping columns") / of("one process")),
            Result("bytes a span of kept columns", size / bench.spans),
        ]
    else:
        results.append(Result(what, None, 0.25, problem=NOT_THERE))
    return told(HEADING, prose, results)
