"""What a run may use, and whether its inputs are worth more than one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.engine import machine
from auditor.load.sources import GZIP, ZSTD, Source, find
from auditor.settings import Settings

WORTH_PROCESSES = 128 << 20
"""Bytes of input from which several processes are faster than one."""
GROWS = 12
"""How many times its size a compressed file holds."""
SMALLEST_PART, LARGEST_PART = 8 << 20, 64 << 20
PARTS_A_JOB = 4
"""Parts for each process: some take longer than others."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run by processes may use."""

    jobs: int
    memory: int
    """Bytes of all processes together."""
    part_bytes: int


def resources_for(paths: Sequence[str], settings: Settings) -> Resources | None:
    """Say what a run uses; ``None`` where one process does it in its own memory."""
    if "-" in paths:
        return None
    jobs = settings.jobs or machine.processors()
    memory = settings.memory or machine.memory() // 2
    size = sum(map(_size, find(paths)))
    if size <= memory and (jobs == 1 or size < WORTH_PROCESSES):
        return None
    part_bytes = min(max(size // (jobs * PARTS_A_JOB), SMALLEST_PART), LARGEST_PART)
    return Resources(jobs, memory, part_bytes)


def _size(source: Source) -> int:
    """Bytes of an input, about as many as it has when it is unpacked."""
    if source.size < WORTH_PROCESSES // GROWS or source.path is None:
        return source.size
    try:
        with source.path.open("rb") as file:
            head = file.read(4)
    except OSError:
        # Reading it tells what is wrong.
        return 0
    return source.size * (GROWS if head.startswith((GZIP, ZSTD)) else 1)
