"""One answer: in memory, in many partitions, by way of files and by other processes, an audit says the same."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.engine.local import Partitions
from auditor.engine.workers import Here, Workers
from auditor.errors import InputError
from auditor.load import plan_parts
from auditor.model.report import Report
from auditor.pipeline import Run, audit
from auditor.report.json_v1 import digest
from auditor.settings import Settings
from builders import CONSUMER, PRODUCER, SERVER, Span, call, lines, span
from test_properties import exports

FIXTURES = Path(__file__).parents[2] / "fixtures"
SCENARIOS = sorted(path for home in ("corpus", "written") for path in (FIXTURES / home).iterdir() if path.is_dir())
STORED, HELD = 0, 1 << 40
"""Bytes of memory: none, so that partitions are stored between steps, and more than enough."""


def in_partitions(
    paths: Sequence[Path], number: int, *, memory: int = HELD, part_bytes: int | None = None, jobs: int = 0
) -> Report:
    """Audit by ``number`` partitions or more, read in parts of so many bytes."""
    run = Run(Settings())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        make = run.maker(directory)
        workers = stack.enter_context(Workers(jobs, make)) if jobs else Here(make)
        partitions = Partitions(workers, directory, memory=memory, at_least=number)
        loaded = partitions.read(plan_parts([str(path) for path in paths], part_bytes=part_bytes))
        return run.audit_partitions(partitions, loaded).report


def whole(paths: Sequence[Path]) -> Report:
    return audit([str(path) for path in paths], Settings()).report


def files_of(scenario: Path) -> list[Path]:
    return sorted(path for path in scenario.iterdir() if ".json" in path.name and path.name != "truth.json")


@pytest.mark.parametrize("scenario", SCENARIOS[::9], ids=lambda path: path.name)
def test_a_system_is_one_whatever_its_traces_are_cut_into(scenario: Path) -> None:
    """Links, batches, shared ids, gateways in traces of their own, cut traces: the whole report stays as it is."""
    files = files_of(scenario)
    wanted = whole(files)

    assert in_partitions(files, 7) == wanted
    assert in_partitions(files, 40, memory=STORED, part_bytes=3000) == wanted


@given(
    made=exports(),
    number=st.integers(2, 9),
    memory=st.sampled_from((STORED, HELD)),
    part_bytes=st.sampled_from((None, 400, 2500)),
    seed=st.integers(0, 99),
    again=st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_partitions_order_and_redelivery_change_no_digest(
    made: list[Span], number: int, memory: int, part_bytes: int | None, seed: int, *, again: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        first, second, mixed = (Path(name) / file for file in ("one.jsonl", "two.jsonl", "mixed.jsonl"))
        written = [lines(entry) for entry in made]
        first.write_bytes(b"".join(written))
        random.Random(seed).shuffle(written)
        cut = seed % len(written)
        mixed.write_bytes(b"".join(written[:cut]))
        second.write_bytes(b"".join(written[cut:] + (written[:3] if again else [])))
        try:
            wanted = digest(whole([first]))
        except InputError:
            return
        files = [second, mixed] if cut else [second]

        assert digest(in_partitions(files, number, memory=memory, part_bytes=part_bytes)) == wanted


def test_a_partition_of_one_span_without_its_parent_says_nothing_and_fails_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jsonl"
    lone = span(id="lone", trace="lone", parent="gone", kind=PRODUCER, attributes={"tenant.id": "acme"})
    path.write_bytes(lines(lone, call(id="call", trace="call")))

    assert in_partitions([path], 40) == whole([path])


def shop(traces: int) -> list[Span]:
    """Requests whose worker links to the message, a gateway that names the same response, and lone calls."""
    made = []
    for number in range(traces):
        web, job, gate = f"web {number}", f"job {number}", f"gate {number}"
        tenant = f"tenant {number % 7}"
        made += [
            span(id=f"{web} r", trace=web, service="web", kind=SERVER, attributes={"tenant.id": tenant}),
            span(id=f"{web} p", trace=web, parent=f"{web} r", service="web", kind=PRODUCER),
            span(id=f"{job} c", trace=job, service="jobs", kind=CONSUMER, links=[(web, f"{web} p")]),
            call(id=f"{job} m", trace=job, parent=f"{job} c", service="jobs", response=f"answer {number}"),
            call(id=f"{gate} m", trace=gate, service="gateway", response=f"answer {number}", kind=SERVER),
        ]
    return made


@pytest.fixture
def shop_file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.jsonl"
    path.write_bytes(b"".join(lines(entry) for entry in shop(60)))
    return path


@pytest.mark.parametrize("memory", [STORED, HELD])
def test_processes_say_what_one_says(memory: int, shop_file: Path) -> None:
    wanted = whole([shop_file])

    assert wanted.totals.calls == 60
    assert wanted.totals.recoverable.calls == 60
    assert in_partitions([shop_file], 6, memory=memory, part_bytes=9000, jobs=2) == wanted


def test_a_file_that_is_no_lines_is_read_again_as_a_whole(tmp_path: Path, shop_file: Path) -> None:
    records = shop_file.read_bytes().splitlines()
    broken = tmp_path / "broken.jsonl"
    # A value that goes on over the end of a line, far behind the first ones.
    records[200] = records[200].replace(b'"spans"', b'\n"spans"\n', 1)
    broken.write_bytes(b"\n".join(records))

    report = in_partitions([broken], 4, part_bytes=9000, jobs=2)

    assert report == whole([broken])
    assert report.totals == whole([shop_file]).totals
    assert report.inputs[0].rejected == 0


def test_an_error_of_a_part_is_that_of_its_input(tmp_path: Path, shop_file: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("no traces here\n" * 9)

    with pytest.raises(InputError) as alone:
        whole([shop_file, other])
    with pytest.raises(InputError) as divided:
        in_partitions([shop_file, other], 3, part_bytes=9000, jobs=2)

    assert str(divided.value) == str(alone.value)


def test_no_call_in_any_partition_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "quiet.jsonl"
    path.write_bytes(b"".join(lines(span(trace=f"t{number}")) for number in range(30)))

    with pytest.raises(InputError, match="no model call among 30 spans"):
        in_partitions([path], 4, part_bytes=900)


LARGE = """
import os, signal, sys
from auditor.engine import local
from auditor.pipeline import resources
resources.WORTH_PROCESSES = 1
resources.SMALLEST_PART = 4096
read = local.PartReader.read
def read_part(self, part, *rest):
    if part.number == 2:
        {deed}
    return read(self, part, *rest)
local.PartReader.read = read_part
from auditor.cli.main import main
sys.argv = ["audit", sys.argv[1], "--jobs", "2", "--temp-dir", sys.argv[2], "--no-config", "--exit-zero"]
main()
"""


def large(shop_file: Path, home: Path, deed: str) -> subprocess.CompletedProcess[str]:
    home.mkdir()
    return subprocess.run(
        [sys.executable, "-c", LARGE.format(deed=deed), str(shop_file), str(home)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is replaced here reaches forked processes only")
@pytest.mark.parametrize(
    ("deed", "status", "told"),
    [
        ("pass", 0, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", 70, "ended by signal 9"),
        ("raise ValueError('a prompt')", 70, "ValueError"),
        ("os.kill(os.getppid(), signal.SIGINT)", 130, ""),
        ("os.kill(os.getppid(), signal.SIGTERM)", -15, ""),
    ],
    ids=["well", "killed", "raises", "interrupted", "terminated"],
)
def test_however_a_run_ends_nothing_of_it_is_left(
    deed: str, status: int, told: str, tmp_path: Path, shop_file: Path
) -> None:
    home = tmp_path / "temporary"

    done = large(shop_file, home, deed)

    assert done.returncode == status, done.stderr
    assert told in done.stderr
    assert "a prompt" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "Process" not in done.stderr
    assert list(home.iterdir()) == []
    assert bool(done.stdout) == (status == 0)
