"""When several processes work, and with what."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from typing import Any

import pytest

from auditor.engine import machine
from auditor.engine.workers import Held, Tell, WorkerFailedError, WorkerLostError, Workers
from auditor.errors import InputError
from auditor.pipeline import resources
from auditor.pipeline.resources import resources_for
from auditor.settings import Settings

MB = 1 << 20


@pytest.fixture
def file_of(tmp_path: Path) -> Any:
    def make(size: int, *, packed: bool = False) -> str:
        path = tmp_path / f"{size}"
        with path.open("wb") as file:
            file.write(gzip.compress(b"{}") if packed else b"{}")
            file.truncate(size)
        return str(path)

    return make


def test_a_small_input_is_read_by_one_process_in_memory(file_of: Any) -> None:
    assert resources_for([file_of(MB)], Settings(jobs=4)) is None
    assert resources_for([file_of(900 * MB)], Settings(jobs=1, memory=1 << 30)) is None


def test_a_large_one_by_as_many_as_there_are_processors(file_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "processors", lambda: 3)

    found = resources_for([file_of(600 * MB)], Settings())

    assert found is not None
    assert found.jobs == 3
    assert found.memory == machine.memory() // 2
    assert found.part_bytes == 50 * MB


def test_more_than_memory_holds_goes_by_way_of_files_even_with_one_process(file_of: Any) -> None:
    found = resources_for([file_of(65 * MB)], Settings(jobs=1, memory=64 * MB))

    assert found is not None
    assert (found.jobs, found.memory) == (1, 64 * MB)


def test_what_is_packed_counts_as_what_comes_out_of_it(file_of: Any) -> None:
    assert resources_for([file_of(12 * MB)], Settings(jobs=2)) is None
    assert resources_for([file_of(12 * MB - 1, packed=True)], Settings(jobs=2)) is not None


def test_standard_input_and_missing_files_are_for_the_reader(tmp_path: Path) -> None:
    assert resources_for(["-"], Settings(jobs=2)) is None
    with pytest.raises(InputError, match="gone"):
        resources_for([str(tmp_path / "gone.json")], Settings())


def test_a_container_has_its_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = machine.memory()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (str(limit),))

    limit.write_text("max\n")
    assert machine.memory() >= whole
    limit.write_text(f"{256 * MB}\n")
    assert machine.memory() == 256 * MB


# -- processes ---------------------------------------------------------------------------------------


def held() -> Held:
    return {"seen": []}


def note(held: Held, tell: Tell, number: int) -> list[int]:
    held["seen"].append(number)
    tell(number * 10)
    return list(held["seen"])


def test_a_process_keeps_what_its_tasks_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "WORTH_PROCESSES", 1)
    heard: list[tuple[int, int]] = []
    with Workers(2, held) as workers:
        shared = dict(
            workers.share_out(note, [(number,) for number in range(6)], hear=lambda *told: heard.append(told))
        )
        assert sorted(heard) == [(number, number * 10) for number in range(6)]
        assert all(seen[-1] == number for number, seen in shared.items())

        again = workers.each(note, [[(7,), (8,)], [(9,)]])

    assert [seen[-1] for seen in again if seen[-1] == 9] == [9]
    assert max(len(seen) for seen in again) >= 3


def refuse(held: Held, tell: Tell) -> None:  # noqa: ARG001  # as tasks are called
    raise InputError("x.json: broken", hint="mend it")


def break_down(held: Held, tell: Tell) -> None:  # noqa: ARG001  # as tasks are called
    raise KeyError("what a span said")


def vanish(held: Held, tell: Tell) -> None:  # noqa: ARG001  # as tasks are called
    os._exit(3)


def one_vanishes(held: Held, tell: Tell, number: int) -> None:  # noqa: ARG001  # as tasks are called
    if number:
        os._exit(3)
    time.sleep(60)


def test_what_a_task_raises_is_raised_here() -> None:
    with Workers(1, held) as workers, pytest.raises(InputError, match="broken") as raised:
        workers.each(refuse, [[()]])

    assert raised.value.hint == "mend it"


def test_a_defect_is_told_by_its_place_without_what_it_saw() -> None:
    with Workers(1, held) as workers, pytest.raises(WorkerFailedError) as raised:
        workers.each(break_down, [[()]])

    assert "KeyError in test_resources.py" in str(raised.value)
    assert "what a span said" not in str(raised.value)


def test_a_process_that_ends_is_an_error_and_ends_the_others() -> None:
    begun = time.monotonic()

    with pytest.raises(WorkerLostError, match="with status 3"), Workers(2, held) as workers:
        list(workers.share_out(vanish, [()]))
    with pytest.raises(WorkerLostError), Workers(2, held) as workers:
        list(workers.share_out(one_vanishes, [(0,), (1,)]))
    assert time.monotonic() - begun < 30
