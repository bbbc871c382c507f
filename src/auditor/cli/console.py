"""The two streams: reports go to stdout as bytes, everything else to stderr as one safe line each."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

from auditor.errors import AuditorError, SettingsError
from auditor.report import Screen
from auditor.report.colour import wants_colour
from auditor.report.wording import visible

_LINE_LIMIT = 2_000
_RED = "\x1b[31m"
_DIM = "\x1b[2m"
_PLAIN = "\x1b[0m"


def write(text: bytes | str) -> None:
    """Write to stdout. A reader that has gone away (``| head``) has seen enough: the verdict stands.

    Raises ``SettingsError`` where stdout cannot be written to.
    """
    content = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
    try:
        stream = sys.stdout
        stream.flush()
        stream.buffer.write(content)
        stream.buffer.flush()
    except BrokenPipeError:
        hush(1)
    except (OSError, AttributeError) as error:  # Python sets a closed stream to None
        hush(1)
        reason = error.strerror if isinstance(error, OSError) else "it is closed"
        raise SettingsError(f"standard output cannot be written to: {reason}") from error


def hush(descriptor: int) -> None:
    """Point a broken stream at nothing, so that the interpreter's last flush does not change the status."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    if nothing != descriptor:
        os.close(nothing)


def say(line: str, *, style: str = "") -> None:
    """Write one line to stderr; what a terminal would act on is shown as an escape instead.

    Where nobody can read it, nothing happens: an error while reporting one must not change the exit status.
    """
    safe = visible(line, _LINE_LIMIT)
    if style and is_colored(is_terminal(sys.stderr)):
        safe = f"{style}{safe}{_PLAIN}"
    try:
        sys.stderr.write(safe + "\n")
        sys.stderr.flush()
    except OSError:
        hush(2)
    except AttributeError:  # Python sets a closed stream to None
        return


def is_terminal(stream: TextIO | None) -> bool:
    """Say whether a person looks at a stream; a closed one is ``None``."""
    return stream is not None and stream.isatty()


def refuse(message: str, hint: str | None) -> None:
    """Say what is wrong, and what to do about it."""
    say(f"audit: {message}", style=_RED)
    if hint:
        say(f"hint: {hint}")


def refuse_error(error: AuditorError) -> None:
    """Say what an error of ours says."""
    refuse(str(error), error.hint)


def note(line: str) -> None:
    """Tell the user something that is not an error."""
    say(f"note: {line}", style=_DIM)


def is_colored(is_watched: bool, choice: str = "auto") -> bool:
    """Decide on colour: the flag, then ``NO_COLOR`` and ``FORCE_COLOR``, then whether anyone looks."""
    if choice != "auto":
        return choice == "always"
    return wants_colour(os.environ, is_terminal=is_watched)


def screen(choice: str = "auto") -> Screen:
    """Describe stdout to a renderer."""
    is_watched = is_terminal(sys.stdout)
    width = shutil.get_terminal_size().columns if is_watched or os.environ.get("COLUMNS") else None
    return Screen(width=width, color=is_colored(is_watched, choice))
