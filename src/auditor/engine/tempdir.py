"""A private directory that is gone when the run is over, however it ends.

Ctrl-C reaches Python as an exception and needs nothing special. SIGTERM and SIGHUP end a process without one: while a
directory exists they raise ``SystemExit``, and once it is removed they are sent again to whoever had them before.
Only ``kill -9`` leaves a directory behind.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from auditor.errors import SettingsError

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a process to end."""
ATTEMPTS = 3
"""Removals that are tried: a process that was told to end may still write."""


@contextmanager
def private_directory(
    parent: Path | None = None, *, prefix: str = "audit-", remedy: str = "--temp-dir names another place"
) -> Iterator[Path]:
    """A new directory below ``parent``, or the system's place for temporary files, for its owner alone.

    Removed at the end, on any error, on Ctrl-C and on SIGTERM, by the process that made it and no child of it.
    Raises ``SettingsError`` when it cannot be made, which ends in ``remedy``, or removed.
    """
    owner = os.getpid()
    # Named before it is made: there is no moment at which it exists and is not going to be removed.
    path = Path(tempfile.gettempdir() if parent is None else parent) / f"{prefix}{secrets.token_hex(8)}"
    with _ended_by_exception(owner):
        try:
            try:
                path.mkdir(mode=0o700)
            except OSError as error:
                raise SettingsError(
                    f"{path.parent}: no temporary directory can be made: {error.strerror or error}; {remedy}"
                ) from error
            yield path
        finally:
            if os.getpid() == owner:
                with _undisturbed():
                    _remove(path)


def no_room(path: Path, error: OSError) -> SettingsError:
    """What to say when a temporary file cannot be written."""
    return SettingsError(
        f"{path.parent}: temporary files cannot be written: {error.strerror or error}; "
        "--temp-dir names a directory with room for them"
    )


def _remove(path: Path) -> None:
    for attempt in range(ATTEMPTS):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if not path.exists():
                return
        except OSError as error:
            if attempt + 1 == ATTEMPTS:
                raise SettingsError(
                    f"{path}: temporary files are left, which hold names of tenants: {error.strerror or error}"
                ) from error
        else:
            return


@contextmanager
def _ended_by_exception(owner: int) -> Iterator[None]:
    """Turn signals that end the process into ``SystemExit``; sent again at the end, to the handlers of before."""
    if threading.current_thread() is not threading.main_thread():
        # Python lets the main thread alone set handlers.
        yield
        return
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of a handler
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        received.append(number)
        raise SystemExit(128 + number)

    former = _handlers(ENDING)
    try:
        for number in former:
            signal.signal(number, end)
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        if received and os.getpid() == owner:
            signal.raise_signal(received[0])


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals that end the process wait, Ctrl-C included."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of a handler
        received.append(number)

    former = _handlers((*ENDING, signal.SIGINT))
    try:
        for number in former:
            signal.signal(number, wait)
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        for waiting in received:
            signal.raise_signal(waiting)


def _handlers(numbers: Sequence[signal.Signals]) -> dict[signal.Signals, Any]:
    """Handlers that may be replaced: a signal that is ignored stays so, and one that Python did not set is left."""
    found = {number: signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}
