"""Processes that wait for tasks.

A task is a function of this package or above it, called in the process with what that holds. What it raises is raised
again by whoever gave the task; a process that ends by itself is an error that says so.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from auditor.errors import AuditorError

Task = Callable[..., Any]
Held = dict[str, Any]
"""What tasks leave in a process for those that follow."""
Tell = Callable[[Any], None]
"""Tells something before the task is done."""

_DONE, _TOLD, _FAILED = range(3)


class WorkerLostError(AuditorError):
    """A process ended in the middle of a task."""


class WorkerFailedError(AuditorError):
    """A task broke."""


class Here:
    """This process, in the place of others."""

    def __init__(self, make: Callable[[], Held]) -> None:
        self._held = make()

    def __len__(self) -> int:
        return 1

    def share_out(
        self, task: Task, arguments: Sequence[tuple[Any, ...]], *, hear: Callable[[int, Any], None] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """As ``Workers.share_out``."""
        for number, entry in enumerate(arguments):
            yield number, task(self._held, partial(hear or _nobody, number), *entry)

    def each(self, task: Task, arguments: Sequence[Sequence[tuple[Any, ...]]]) -> list[Any]:
        """As ``Workers.each``."""
        return [told for entries in arguments for _, told in self.share_out(task, entries)]


def _nobody(_: int, __: Any) -> None:
    """Nobody hears of it."""


class Workers:
    """Some processes; each takes one task at a time."""

    def __init__(self, count: int, make: Callable[[], Held]) -> None:
        """Start processes that hold what ``make`` gives, which has to be picklable where processes cannot fork."""
        context: Any = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
        self._processes = []
        self._pipes: list[Connection] = []
        for _ in range(count):
            mine, its = context.Pipe()
            process = context.Process(target=_work, args=(its, make, [*self._pipes, mine]), daemon=True)
            with warnings.catch_warnings():
                # What runs besides in this process are idle threads of a library for matrices, which is not called.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            its.close()
            self._processes.append(process)
            self._pipes.append(mine)

    def __len__(self) -> int:
        return len(self._processes)

    def share_out(
        self, task: Task, arguments: Sequence[tuple[Any, ...]], *, hear: Callable[[int, Any], None] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Give a task to whoever is free, once for each entry of arguments; results as they come, with their number.

        ``hear`` gets what tasks tell on the way, with the number of the entry.
        """
        waiting = iter(enumerate(arguments))
        at_work: dict[int, int] = {}
        for worker in range(len(self)):
            self._give(worker, task, next(waiting, None), at_work)
        yield from self._results(at_work, hear, lambda worker: self._give(worker, task, next(waiting, None), at_work))

    def each(self, task: Task, arguments: Sequence[Sequence[tuple[Any, ...]]]) -> list[Any]:
        """Give tasks to certain processes: by process, the arguments of each of its tasks in turn."""
        queues = [iter(list(enumerate(entries))) for entries in arguments]
        at_work: dict[int, int] = {}
        for worker, queue in enumerate(queues):
            self._give(worker, task, next(queue, None), at_work)
        results = self._results(
            at_work, None, lambda worker: self._give(worker, task, next(queues[worker], None), at_work)
        )
        return [result for _, result in results]

    def _give(
        self, worker: int, task: Task, entry: tuple[int, tuple[Any, ...]] | None, at_work: dict[int, int]
    ) -> None:
        if entry is None:
            return
        number, arguments = entry
        try:
            self._pipes[worker].send((task, arguments))
        except OSError as error:
            raise self._lost(worker) from error
        at_work[worker] = number

    def _results(
        self, at_work: dict[int, int], hear: Callable[[int, Any], None] | None, go_on: Callable[[int], None]
    ) -> Iterator[tuple[int, Any]]:
        while at_work:
            for pipe in wait([self._pipes[worker] for worker in at_work]):
                worker = self._pipes.index(pipe)  # type: ignore[arg-type]  # one of those that were given
                try:
                    kind, value = self._pipes[worker].recv()
                except (EOFError, OSError) as error:
                    raise self._lost(worker) from error
                if kind == _TOLD:
                    if hear is not None:
                        hear(at_work[worker], value)
                    continue
                number = at_work.pop(worker)
                if kind == _FAILED:
                    raise value
                go_on(worker)
                yield number, value

    def _lost(self, worker: int) -> WorkerLostError:
        process = self._processes[worker]
        process.join(1)
        code = process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
        return WorkerLostError(
            f"a process of this run was ended {how} from outside; nothing has been written",
            hint="where memory is short: fewer --jobs, or less --memory",
        )

    def close(self, *, at_once: bool = False) -> None:
        """End the processes: when they are done, or in the middle of what they do."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
            pipe.close()
        for process in self._processes:
            if at_once:
                process.terminate()
            process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self.close(at_once=kind is not None)


def _work(pipe: Connection, make: Callable[[], Held], others: Sequence[Connection]) -> None:
    for other in others:
        # Ends of pipes that came along: whoever holds one keeps the pipe open.
        other.close()
    # Ctrl-C goes to all processes of a terminal; the one that gives the tasks decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Nothing here makes cycles, and walking over what is alive takes long.
    gc.disable()
    with contextlib.suppress(EOFError, OSError):
        # Until there is nobody any more who gives tasks.
        _take_tasks(pipe, make())
    # At once: freeing what is held, object by object, is work for nothing.
    os._exit(0)


def _take_tasks(pipe: Connection, held: Held) -> None:
    while (order := pipe.recv()) is not None:
        task, arguments = order
        try:
            result = task(held, _Teller(pipe), *arguments)
        except AuditorError as error:
            pipe.send((_FAILED, error))
        except Exception as error:  # noqa: BLE001  # told to whoever gave the task
            pipe.send((_FAILED, _failed(error)))
        else:
            pipe.send((_DONE, result))


class _Teller:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __call__(self, value: Any) -> None:
        self._pipe.send((_TOLD, value))


def _failed(error: Exception) -> WorkerFailedError:
    """Say where it broke, not what was in the way: a message may quote the input."""
    if os.environ.get("AUDITOR_DEBUG"):
        traceback.print_exception(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return WorkerFailedError(
        f"internal error: {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}",
        hint="this is a defect of the auditor, not a verdict; please report it with what AUDITOR_DEBUG=1 prints",
    )
