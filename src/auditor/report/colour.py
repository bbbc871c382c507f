"""Whether a terminal report is coloured: decided from what the caller hands in, never looked up here."""

from __future__ import annotations

from collections.abc import Mapping


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Say whether to colour: ``NO_COLOR`` decides, then ``FORCE_COLOR``, then whether there is a terminal.

    Both variables count when they are set and not empty (no-color.org, force-color.org); a terminal named
    ``dumb`` has no colours.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_terminal and environ.get("TERM") != "dumb"
