"""Nothing stays behind, however a run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from auditor.engine.tempdir import private_directory
from auditor.errors import SettingsError

WAITING = """
import sys, time
from pathlib import Path
from auditor.engine.tempdir import private_directory
with private_directory(Path(sys.argv[1])) as home:
    (home / "spill").write_bytes(b"columns")
    print("ready", flush=True)
    {body}
"""


def started(parent: Path, body: str) -> subprocess.Popen[str]:
    """A program that is inside the directory."""
    script = WAITING.replace("{body}", body)
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        [sys.executable, "-c", script, parent], stdout=pipe, stderr=pipe, encoding="utf-8", start_new_session=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_directory_is_the_owner_s_alone_and_gone_afterwards(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with private_directory(tmp_path) as home:
            mode = home.stat().st_mode & 0o777
            (home / "inner").mkdir()
            (home / "inner" / "file").write_bytes(b"x")
    finally:
        os.umask(before)

    assert (home.parent, mode) == (tmp_path, 0o700)
    assert list(tmp_path.iterdir()) == []


def test_directory_is_gone_after_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with private_directory(tmp_path) as home:
            (home / "file").write_bytes(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP), (signal.SIGINT, -signal.SIGINT)],
)
def test_directory_is_gone_when_the_program_is_ended(number: signal.Signals, status: int, tmp_path: Path) -> None:
    child = started(tmp_path, "time.sleep(60)")
    assert len(list(tmp_path.iterdir())) == 1

    child.send_signal(number)

    _, errors = child.communicate(timeout=20)
    assert child.returncode == status
    assert list(tmp_path.iterdir()) == []
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)


def test_signals_during_the_removal_wait_for_its_end(tmp_path: Path) -> None:
    slow = "import shutil; whole = shutil.rmtree; shutil.rmtree = lambda path: (print('removing', flush=True), "
    slow += "time.sleep(0.5), whole(path))"
    child = started(tmp_path, slow)
    assert child.stdout is not None
    assert child.stdout.readline() == "removing\n"

    child.send_signal(signal.SIGTERM)
    child.send_signal(signal.SIGINT)

    child.communicate(timeout=20)
    assert child.returncode != 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGTERM)", "sys.exit(1)", "raise KeyboardInterrupt"])
def test_a_child_process_leaves_the_directory_alone(end: str, tmp_path: Path) -> None:
    body = f"""
    import os, signal
    child = os.fork()
    if child == 0:
        {end}
        time.sleep(60)
    print(os.waitpid(child, 0)[1], list(home.iterdir()) == [home / "spill"], flush=True)
    """
    child = started(tmp_path, body.strip())

    told, _ = child.communicate(timeout=20)

    status, is_there = told.splitlines()[-1].split()
    assert (status != "0", is_there) == (True, "True")
    assert child.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_the_program_s_own_handler_hears_the_signal_after_the_removal(tmp_path: Path) -> None:
    heard: list[Any] = []
    former = signal.signal(signal.SIGTERM, lambda number, _: heard.append((number, list(tmp_path.iterdir()))))
    own = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended, private_directory(tmp_path), private_directory(tmp_path):
            signal.raise_signal(signal.SIGTERM)

        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, former)
    assert heard == [(signal.SIGTERM, [])]
    assert ended.value.code == 143


def test_handlers_are_as_before(tmp_path: Path) -> None:
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]

    with private_directory(tmp_path):
        assert signal.getsignal(signal.SIGTERM) is not before[0]

    assert [signal.getsignal(number) for number in numbers] == before


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with private_directory(tmp_path) as home:
            signal.raise_signal(signal.SIGHUP)

            assert home.is_dir()
    finally:
        signal.signal(signal.SIGHUP, former)


def test_another_thread_may_have_one(tmp_path: Path) -> None:
    seen = []

    def work() -> None:
        with private_directory(tmp_path) as home:
            seen.append(home.is_dir())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_none_is_named_with_the_way_out(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match=rf"^{tmp_path}/nowhere: .*No such file or directory; --temp-dir"),
        private_directory(tmp_path / "nowhere"),
    ):
        pass
