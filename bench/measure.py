"""What whole processes cost: CPU time and peak memory, as the kernel accounts for them."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

LARGEST_HARNESS_BYTES = 40 << 20
"""A child's peak starts at its parent's when it is spawned: the harness stays below all that it measures."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One run of one process: user and system CPU, and peak resident bytes (mapped file pages included)."""

    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Case:
    """One command to be measured; a short one is run several times in a turn."""

    name: str
    command: tuple[str, ...]
    repeat: int = 1


def environment() -> dict[str, str]:
    """Give what a command needs and nothing that could change what it does."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def run(command: Sequence[str], *, cwd: Path) -> Cost:
    """Run a command to its end.

    Raises:
        RuntimeError: the command failed, or the harness has grown too large to measure with.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if own > LARGEST_HARNESS_BYTES:
        raise RuntimeError(f"the harness itself has used {own >> 20} MiB; peaks of its children would be wrong")
    program = shutil.which(command[0])
    if program is None:
        raise RuntimeError(f"no such command: {command[0]}")
    with tempfile.TemporaryFile() as complaints:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, complaints.fileno(), 2),
        ]
        before = Path.cwd()
        os.chdir(cwd)  # a settings file found from the caller's directory would be part of the measurement
        try:
            child = os.posix_spawn(program, list(command), environment(), file_actions=actions)
        finally:
            os.chdir(before)
        _, status, used = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()[-2000:]
            raise RuntimeError(f"exit code {code} from {' '.join(command)}\n{said}")
    return Cost(cpu_s=used.ru_utime + used.ru_stime, peak_bytes=used.ru_maxrss * 1024)


def interleaved(cases: Sequence[Case], rounds: int, *, cwd: Path) -> dict[str, list[list[Cost]]]:
    """Run every case once a round, in an order rotated from round to round, after one run to warm up."""
    for case in cases:
        run(case.command, cwd=cwd)
    found: dict[str, list[list[Cost]]] = {case.name: [] for case in cases}
    for turn in range(rounds):
        at = turn * max(1, len(cases) // rounds) % len(cases)
        for case in (*cases[at:], *cases[:at]):
            found[case.name].append([run(case.command, cwd=cwd) for _ in range(case.repeat)])
    return found


class Figures:
    """Medians over the rounds, and ratios of them."""

    def __init__(self, found: Mapping[str, Sequence[Sequence[Cost]]]) -> None:
        self._found = found

    def cpu(self, name: str) -> float:
        """CPU seconds, median."""
        return median(cost.cpu_s for turn in self._found[name] for cost in turn)

    def peak(self, name: str) -> float:
        """Peak resident bytes, median."""
        return median(cost.peak_bytes for turn in self._found[name] for cost in turn)

    def cpu_ratio(self, name: str, floor: str) -> float:
        """Ratio of the medians."""
        return self.cpu(name) / self.cpu(floor)

    def cpu_spread(self, name: str, floor: str) -> tuple[float, float]:
        """Lowest and highest ratio of one round."""
        ratios = [
            median(cost.cpu_s for cost in one) / median(cost.cpu_s for cost in other)
            for one, other in zip(self._found[name], self._found[floor], strict=True)
        ]
        return min(ratios), max(ratios)
