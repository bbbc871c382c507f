"""A line on the terminal that says how far the reading is, for runs that take longer than a second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self, TextIO

from auditor.cli.console import is_terminal

_PATIENCE = 1.0
"""Seconds before the first line."""
_PAUSE = 0.1
"""Seconds between two lines."""
_CLEAR = "\r\x1b[K"


class Progress:
    """Called with bytes and spans read so far; writes only where a terminal shows it, and cleans up."""

    def __init__(
        self, *, quiet: bool = False, stream: TextIO | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_on = not quiet and is_terminal(self._stream)
        self._started = clock()
        self._next = self._started + _PATIENCE
        self._has_written = False

    def __call__(self, bytes_done: int, spans_done: int) -> None:
        """Show the state, if it is time to."""
        if not self._is_on:
            return
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _PAUSE
        rate = spans_done / (now - self._started)
        self._stream.write(f"{_CLEAR}reading: {bytes_done / 1e6:,.0f} MB, {spans_done:,} spans, {rate:,.0f} spans/s")
        self._stream.flush()
        self._has_written = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._has_written:
            self._stream.write(_CLEAR)
            self._stream.flush()
