"""Runs the command here, on a pipeline that answers what the test wants, or in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_builders import RULES, Audit, Done, Pipeline, stand_in

from auditor.cli.main import run


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = Pipeline()
    stand_in(monkeypatch, "auditor.pipeline", audit=made.audit, explain_trace=made.explain_trace, locate=made.locate)
    stand_in(monkeypatch, "auditor.registry", load_rules=lambda _paths=(): RULES)
    stand_in(monkeypatch, "auditor.ledger.calls", call_rows=iter)
    stand_in(monkeypatch, "auditor.ledger.tenants", tenant_rows=iter)
    stand_in(monkeypatch, "auditor.report.trace", render=lambda tree, _screen: tree.encode())
    return made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no variable that could speak."""
    for name in list(os.environ):
        if name.startswith("AUDITOR_") or name in {"CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def audit(home: Path, pipeline: Pipeline, capfdbinary: pytest.CaptureFixture[bytes]) -> Audit:  # noqa: ARG001
    """Run the command here, on the stand-in pipeline."""

    def ran(*arguments: object) -> Done:
        code = run([str(argument) for argument in arguments])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Done(code, out.decode(), err.decode())

    return ran


@pytest.fixture
def process(home: Path) -> Audit:
    """Run the command in a process of its own, with an environment that says nothing."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LANG": "C.UTF-8",
        "COLUMNS": "80",
    }

    def ran(*arguments: object, stdin: bytes | None = None, code: str | None = None) -> Done:
        start = ["-c", code] if code else ["-m", "auditor.cli.main"]
        done = subprocess.run(
            [sys.executable, *start, *map(str, arguments)],
            cwd=home,
            env=environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return ran


@pytest.fixture
def real(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Audit:  # noqa: ARG001
    """Run the command here, on the real pipeline."""

    def ran(*arguments: object) -> Done:
        code = run([str(argument) for argument in arguments])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Done(code, out.decode(), err.decode())

    return ran
