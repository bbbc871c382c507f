"""A decision of the user: these calls need no repair for now, because."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Suppression:
    """What is suppressed, as shell-style globs that all have to match, and why.

    It changes the verdict only: what matches stays in every total and is shown in every report.
    """

    reason: str
    rule: str = EVERYTHING
    service: str = EVERYTHING
    """Either service of the hop."""
    hop: str = EVERYTHING
    """``source -> target``; a service alone for a hop inside it."""
    operation: str = EVERYTHING
    tenant: str = EVERYTHING
    """The tenant that calls carry or that a join gives back; anything but ``*`` leaves out calls without one."""
    owner: str = ""
    expires: date | None = None
    """The last day (UTC) on which it holds."""
    max_cost: int | None = None
    """Most pico-dollars that it may leave out of the verdict in one run."""
    place: str = ""
    """Where it is written: the file and its number there, from 0."""

    @property
    def about(self) -> str:
        """Name what is suppressed, by the globs that are given."""
        given = [
            f"{what}{glob}"
            for what, glob in (
                ("", self.rule),
                ("service ", self.service),
                ("", self.hop),
                ("operation ", self.operation),
                ("tenant ", self.tenant),
            )
            if glob != EVERYTHING
        ]
        return ", ".join(given) or "everything"
