"""What the exit status means; the README's table is made from this."""

from __future__ import annotations

from dataclasses import dataclass

PASSED = 0
GATE_FAILED = 1
USAGE = 2
NOTHING_AUDITABLE = 3
INCOMPLETE = 4
MISMATCH = 5
UNPUBLISHED = 6
INTERNAL = 70
"""``EX_SOFTWARE`` of BSD's sysexits.h. Never 1: Python's own crash code would read as a failed gate."""
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


@dataclass(frozen=True, slots=True)
class Exit:
    """One exit status."""

    code: int
    meaning: str


EXITS = (
    Exit(PASSED, "gate passed, and something was checked"),
    Exit(GATE_FAILED, "gate failed"),
    Exit(USAGE, "usage or settings error"),
    Exit(NOTHING_AUDITABLE, "nothing auditable: no input, no call found, or nothing readable"),
    Exit(
        INCOMPLETE,
        "incomplete under `--strict` (default where `CI` is set): records rejected, or a required rule not checked",
    ),
    Exit(MISMATCH, "verify or reconcile mismatch"),
    Exit(UNPUBLISHED, "`audit comment`: the code host refused, or did not answer"),
    Exit(INTERNAL, "internal error, also of a rule"),
    Exit(INTERRUPTED, "interrupted"),
)
