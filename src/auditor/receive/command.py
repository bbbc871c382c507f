"""Runs the user's command as the shell would, and stops it when we are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from auditor.errors import SettingsError

PATIENCE = 10.0
"""Seconds between asking the command to end and ending it."""


class StoppedError(Exception):
    """A signal asked us to end; the command has ended."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number
        """As shells report it."""


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end, on our terminal; returns its exit status, 128 and the number for a signal.

    Raises ``SettingsError`` when it cannot be started, ``StoppedError`` when we were asked to end meanwhile.
    """
    process = None
    try:
        with _signals():
            process = subprocess.Popen(command, env=dict(environment))  # noqa: S603  # what the user asked to run
            code = process.wait()
    except OSError as error:
        raise SettingsError(f"{command[0]} cannot be run: {error.strerror or error}") from error
    except _AskedError as request:
        if process is not None:
            _end(process, request.number)
        raise StoppedError(request.number) from None
    return code if code >= 0 else 128 - code


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    """End the command, asking first: it may have to clean up."""
    if number != signal.SIGINT:  # which a terminal has sent to the command too
        process.terminate()
    for last in (process.terminate, process.kill):
        try:
            with _signals():
                process.wait(PATIENCE)
        except (subprocess.TimeoutExpired, _AskedError):
            last()
    process.wait()


class _AskedError(Exception):
    """A signal, thrown where it reaches us."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the signals that ask a program to end into ``_AskedError`` while the block runs."""

    def throw(number: int, _: FrameType | None) -> NoReturn:
        raise _AskedError(number)

    caught = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if os.name == "posix" else ()))
    before = {number: signal.signal(number, throw) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
