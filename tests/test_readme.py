"""Every command that the README shows is run, on an export that has the name it is given there."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"<!-- generated: .*?<!-- end: \w+ -->", "", README, flags=re.DOTALL)
BLOCKS = re.findall(r"```sh\n(.*?)```", PROSE, flags=re.DOTALL)
EXPORT = ROOT / "fixtures" / "exports" / "shop.jsonl.gz"
LOST_TRACE = "2dafa5fb38542c67b50154f361214192"


def commands() -> list[str]:
    """Every ``audit …`` in blocks and in running text, as it stands there."""
    in_blocks = [part.strip() for block in BLOCKS for line in block.splitlines() for part in line.split("&&")]
    in_text = re.findall(r"`(audit [^`]+)`", PROSE)
    found = [command.removeprefix(".venv/bin/") for command in [*in_blocks, *in_text]]
    return list(dict.fromkeys(command for command in found if command.startswith("audit ")))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with the files that the README speaks of."""
    spans = gzip.decompress(EXPORT.read_bytes())
    for name in ("traces.json", "traces.jsonl"):
        (tmp_path / name).write_bytes(spans)
    (tmp_path / "fixtures" / "exports").mkdir(parents=True)
    shutil.copy(EXPORT, tmp_path / "fixtures" / "exports")
    guide = (ROOT / "docs" / "writing-a-rule.md").read_text(encoding="utf-8")
    (tmp_path / "my_rules").mkdir()
    (text,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    (tmp_path / "my_rules" / "idle_notebooks.py").write_text(text)
    return tmp_path


def run(command: str, place: Path) -> subprocess.CompletedProcess[str]:
    arguments = [LOST_TRACE if word == "TRACE_ID" else word for word in shlex.split(command)[1:]]
    return subprocess.run(
        [sys.executable, "-m", "auditor.cli.main", *arguments],
        cwd=place,
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_does_what_it_should(command: str, place: Path) -> None:
    done = run(command, place)

    may_fail_its_gate = command.startswith("audit traces") and "--exit-zero" not in command
    assert done.returncode in ({0, 1} if may_fail_its_gate else {0}), done.stderr
    assert all(line.startswith("note: ") for line in done.stderr.splitlines()), done.stderr
    assert done.stdout or done.stderr
    for path in re.findall(r"=(\S+\.(?:md|json))", command):
        assert (place / path).stat().st_size > 100


def test_the_first_command_shows_where_the_tenant_is_lost(place: Path) -> None:
    (command,) = [command for command in commands() if str(EXPORT.relative_to(ROOT)) in command]

    out = run(command, place).stdout

    assert "56.9 %" in out
    assert "header-stripping" in out
    assert "Repair first" in out


def test_there_are_commands_to_test() -> None:
    assert len(commands()) >= 10
    assert any(command.startswith("audit demo") for command in commands())


def test_the_set_up_is_the_one_that_ci_tries() -> None:
    first, second = BLOCKS[:2]
    ci = (ROOT / ".ci" / "run").read_text()

    assert first.startswith("python3 -m venv .venv && .venv/bin/pip install -q . && ")
    assert second == '.venv/bin/pip install -q ".[dev]" && .venv/bin/python -m pytest\n'
    assert "python3 -m venv" in ci
    assert "[dev]" in ci
    assert "-m pytest" in ci
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_make_lists_its_targets() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")

    listed = subprocess.run([make, "-s"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout

    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert sorted(targets) == sorted(line.split()[0] for line in listed.splitlines())
