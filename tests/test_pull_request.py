"""A repository with a leak is adopted; then pull requests: a second leak, its repair, a suppression that runs out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import SERVER, Span, call, lines, span

CHAT = {"code.file.path": "/srv/app/shop/chat.py", "code.line.number": 12}
JOBS = {"code.filepath": "shop/jobs.py", "code.lineno": 30}
SUPPRESSION = """
[[suppress]]
rule = "tenant-not-copied"
hop = "jobs"
reason = "moves to the new queue"
owner = "platform"
expires = 2026-06-30
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def leak(service: str, code: dict[str, Any], number: int, *, tenant: str | None = None) -> list[Span]:
    """A request whose tenant its call does not carry, unless told."""
    request = span("GET /", trace=f"{service} {number}", service=service, kind=SERVER, attributes={"tenant.id": "acme"})
    chat = call(trace=request.trace, parent=request.id, service=service, attributes=code, tenant=tenant)
    return [replace(request, id=request.id), chat]


def traffic(*, jobs: str | None, healthy: int = 20) -> bytes:
    """The shop's traces: web always leaks at two calls, jobs at two unless it names its tenant."""
    spans = [entry for number in range(2) for entry in leak("web", CHAT, number)]
    spans += [entry for number in range(2) for entry in leak("jobs", JOBS, number, tenant=jobs)]
    spans += [call(trace=f"healthy {number}", service="web", tenant="acme") for number in range(healthy)]
    return lines(*spans)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "shop").mkdir()
    for name in ("chat.py", "jobs.py"):
        (tmp_path / "shop" / name).write_text("")
    (tmp_path / "auditor.toml").write_text('baseline = "audit-baseline.json"\n')
    return tmp_path


@pytest.fixture
def audit(repository: Path) -> Run:
    def ran(*arguments: str, today: str = "2026-06-01") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "auditor.cli.main", "traces.jsonl", "-q", *arguments],
            cwd=repository,
            env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "CI": "true", "AUDITOR_TODAY": today},
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=60,
        )

    return ran


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith("::error ")]


def states(repository: Path) -> dict[str, tuple[str, str]]:
    """Of each result its place, and what baseline and verdict say of it."""
    (run,) = json.loads((repository / "audit.sarif").read_text())["runs"]
    return {
        entry["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]: (entry["baselineState"], entry["level"])
        for entry in run["results"]
    }


def test_from_adoption_to_an_expired_suppression(repository: Path, audit: Run) -> None:
    traces = repository / "traces.jsonl"

    # main has a leak, and is adopted with it
    traces.write_bytes(traffic(jobs="acme"))
    assert audit().returncode == 2  # the baseline that the settings name is not there yet
    assert audit("--max-unattributed", "5%", "--update-baseline").returncode == 0
    adopted = audit("--max-unattributed", "5%", "-f", "github", "-f", "sarif=audit.sarif")
    assert adopted.returncode == 0, adopted.stdout + adopted.stderr
    assert errors(adopted) == []
    assert states(repository) == {"shop/chat.py": ("unchanged", "note")}

    # a pull request adds a second leak
    traces.write_bytes(traffic(jobs=None))
    second = audit("--max-unattributed", "5%", "-f", "github", "-f", "sarif=audit.sarif")
    assert second.returncode == 1
    assert states(repository) == {"shop/chat.py": ("unchanged", "note"), "shop/jobs.py": ("new", "error")}
    (annotation,) = [line for line in errors(second) if "file=" in line]
    assert annotation.startswith("::error file=shop/jobs.py,line=30,title=tenant-not-copied::")

    # its repair passes
    traces.write_bytes(traffic(jobs="acme"))
    repaired = audit("--max-unattributed", "5%", "-f", "github")
    assert repaired.returncode == 0
    assert errors(repaired) == []

    # or it is put off, until the day is over
    traces.write_bytes(traffic(jobs=None))
    with (repository / "auditor.toml").open("a") as settings:
        settings.write(SUPPRESSION)
    put_off = audit("--max-unattributed", "5%", "-f", "github", today="2026-06-30")
    assert put_off.returncode == 0, put_off.stdout + put_off.stderr
    assert errors(put_off) == []
    expired = audit("--max-unattributed", "5%", "-f", "github", today="2026-07-01")
    assert expired.returncode == 1
    assert [line for line in errors(expired) if line.startswith("::error file=shop/jobs.py,line=30,")]
    assert [line for line in errors(expired) if "title=gate suppression of" in line]
