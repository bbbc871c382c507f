"""What whole commands cost: CPU and wall time and peak memory, as the kernel accounts for them."""

from __future__ import annotations

import os
import resource
import select
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

LARGEST_HARNESS_BYTES = 40 << 20
"""A child's peak starts at its parent's when it is spawned: the harness stays below all that it measures."""
WATCH_S = 0.05
"""How often the processes of a watched command are looked at."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Cost:
    """One run of one command with all processes that it started and waited for."""

    cpu_s: float
    """User and system time of all of them."""
    wall_s: float
    peak_bytes: int
    """Highest resident set of any one of them (mapped file pages included)."""
    together_bytes: int = 0
    """Highest sum of the resident sets of all, pages that they share counted for each; of a watched command only."""


@dataclass(frozen=True, slots=True)
class Case:
    """One command to be measured; a short one is run several times in a turn."""

    name: str
    command: tuple[str, ...]
    repeat: int = 1
    watched: bool = False
    """Whether the memory of its processes together is wanted: looking at them takes time from them."""
    removed: Path | None = None
    """A directory that must not be there when it starts."""


def environment() -> dict[str, str]:
    """Give what a command needs and nothing that could change what it does."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def run(case: Case, *, cwd: Path) -> Cost:
    """Run a command to its end.

    Raises:
        RuntimeError: the command failed, or the harness has grown too large to measure with.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if own > LARGEST_HARNESS_BYTES:
        raise RuntimeError(f"the harness itself has used {own >> 20} MiB; peaks of its children would be wrong")
    program = shutil.which(case.command[0])
    if program is None:
        raise RuntimeError(f"no such command: {case.command[0]}")
    if case.removed is not None:
        shutil.rmtree(case.removed, ignore_errors=True)
    with tempfile.TemporaryFile() as complaints:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, complaints.fileno(), 2),
        ]
        before = Path.cwd()
        os.chdir(cwd)  # a settings file found from the caller's directory would be part of the measurement
        started = time.perf_counter()
        try:
            child = os.posix_spawn(program, list(case.command), environment(), file_actions=actions)
        finally:
            os.chdir(before)
        together = _watch(child) if case.watched else 0
        _, status, used = os.wait4(child, 0)  # what it has waited for is counted with it
        wall = time.perf_counter() - started
        code = os.waitstatus_to_exitcode(status)
        if code:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()[-2000:]
            raise RuntimeError(f"exit code {code} from {case.name}: {shlex.join(case.command)[:500]}\n{said}")
    peak = used.ru_maxrss * 1024
    return Cost(used.ru_utime + used.ru_stime, wall, peak, max(together, peak) if case.watched else 0)


def _watch(child: int) -> int:
    """Look at a process and its descendants until it ends; the most bytes that they held at one time."""
    most = 0
    handle = os.pidfd_open(child)
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        while not ended.poll(WATCH_S * 1000):
            most = max(most, sum(_resident_bytes(process) for process in _tree(child)))
    finally:
        os.close(handle)
    return most


def _tree(process: int) -> Iterator[int]:
    yield process
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _resident_bytes(process: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE_BYTES
    return 0


def interleaved(cases: Sequence[Case], rounds: int, *, cwd: Path) -> dict[str, list[list[Cost]]]:
    """Run every case once a round, in an order rotated from round to round, after one run to warm up."""
    for case in cases:
        run(case, cwd=cwd)
    found: dict[str, list[list[Cost]]] = {case.name: [] for case in cases}
    for turn in range(rounds):
        at = turn * max(1, len(cases) // rounds) % len(cases)
        for case in (*cases[at:], *cases[:at]):
            found[case.name].append([run(case, cwd=cwd) for _ in range(case.repeat)])
    return found


Of = Callable[[str], float]
"""What a case took, by its name."""


class Figures:
    """Medians over the rounds, and what is computed from them."""

    def __init__(self, found: Mapping[str, Sequence[Sequence[Cost]]]) -> None:
        self._found = found

    def cpu(self, name: str) -> float:
        """CPU seconds, median."""
        return median(cost.cpu_s for turn in self._found[name] for cost in turn)

    def wall(self, name: str) -> float:
        """Wall seconds, median."""
        return median(cost.wall_s for turn in self._found[name] for cost in turn)

    def peak(self, name: str) -> float:
        """Peak resident bytes of the largest process, median."""
        return median(cost.peak_bytes for turn in self._found[name] for cost in turn)

    def together(self, name: str) -> float:
        """Peak bytes of all processes at one time, median; of a watched case."""
        return median(cost.together_bytes for turn in self._found[name] for cost in turn)

    def cpu_spread(self, figure: Callable[[Of], float]) -> tuple[float, float]:
        """Lowest and highest value of a figure of CPU seconds in a single round."""
        return self._spread(figure, lambda cost: cost.cpu_s)

    def wall_spread(self, figure: Callable[[Of], float]) -> tuple[float, float]:
        """Lowest and highest value of a figure of wall seconds in a single round."""
        return self._spread(figure, lambda cost: cost.wall_s)

    def _spread(self, figure: Callable[[Of], float], seconds: Callable[[Cost], float]) -> tuple[float, float]:
        rounds = len(next(iter(self._found.values())))
        values = [
            figure(lambda name, turn=turn: median(map(seconds, self._found[name][turn]))) for turn in range(rounds)
        ]
        return min(values), max(values)
