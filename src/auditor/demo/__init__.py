"""A small export with every failure mode planted: what an audit says, before one has traces of one's own.

The same bytes every time: no network, no clock, no chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from auditor.demo.otlp import Export, digest
from auditor.demo.scenes import SCENES, Scene

FILE_NAME = "demo-traces.jsonl"


@dataclass(frozen=True, slots=True)
class Planted:
    """A failure mode, by the rule that names it, and in how many calls it was planted."""

    mode: str
    calls: int


def export() -> bytes:
    """Build the export: OTLP JSON, one request per line, as a Collector's file exporter writes it."""
    return b"".join(_play()[0].lines())


def planted() -> tuple[Planted, ...]:
    """List the planted failure modes, by name."""
    calls = _play()[1]
    return tuple(Planted(mode, calls[mode]) for mode in sorted(mode for mode in calls if mode))


def healthy_calls() -> int:
    """Count the calls that no rule may name: attributed ones, failed attempts and staging."""
    return _play()[1][""]


def _play() -> tuple[Export, dict[str, int]]:
    made = Export()
    calls: dict[str, int] = {"": 0}
    for scene, name in _schedule():
        count = scene.plant(made, name)
        calls[scene.mode or ""] = calls.get(scene.mode or "", 0) + count
    return made, calls


def _schedule() -> Iterator[tuple[Scene, str]]:
    """Yield every request of every scene, mixed as traffic is."""
    requests = [(scene, f"{scene.name}/{index}") for scene in SCENES for index in range(scene.requests)]
    yield from sorted(requests, key=lambda request: digest("order", request[1]))
