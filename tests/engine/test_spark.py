"""Audits on Spark, in local mode: the same report as without it, from every kind of input and whatever gets lost."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor import pipeline
from auditor.engine.spark import audit, inputs, partitions
from auditor.errors import InputError, SettingsError
from auditor.model.report import Report
from auditor.price import PriceBook
from auditor.report.json_v1 import digest, render
from auditor.settings import Internal, Settings
from builders import Span, lines
from test_properties import exports

errors = pytest.importorskip("pyspark.errors", reason="needs the spark extra")
needs_java = pytest.mark.skipif(
    not (os.environ.get("JAVA_HOME") or shutil.which("java")), reason="Spark needs Java 17 or newer"
)
# Spark's own sockets and processes are not ours to close.
pytestmark = [needs_java, pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")]

FIXTURES = Path(__file__).parents[2] / "fixtures"
SHOP = FIXTURES / "exports" / "shop.jsonl.gz"
OTEL_TRACES = FIXTURES / "exports" / "samples" / "clickhouse" / "otel_traces.parquet"
PRODUCTION = Settings(internal=Internal(environments=()))
STORY = (
    *(FIXTURES / "corpus" / name / "traces.jsonl.gz" for name in ("docs-jobs-a", "shop-cut-a", "reports-queue")),
    FIXTURES / "written" / "openai-batch-node",
    FIXTURES / "written" / "kotel-links-files",
)
"""Links, a batch, traces that are cut, several files."""


def serial(*paths: Path | str, settings: Settings = PRODUCTION) -> Report:
    return pipeline.audit([str(path) for path in paths], settings).report


def shop_lines() -> list[str]:
    return gzip.decompress(SHOP.read_bytes()).decode().splitlines()


# -- what is given -----------------------------------------------------------------------------------


def test_files_give_the_same_report_with_every_position(spark: Any) -> None:
    report = audit(str(SHOP), PRODUCTION, spark=spark)

    assert render(report) == render(serial(SHOP))


def test_traces_that_belong_together_meet_across_partitions(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty partitions: what one call joins lies in two of them by its hashes."""
    found = []
    moves = partitions._moves
    monkeypatch.setattr(partitions, "_moves", lambda *given: found.append(moves(*given)) or found[-1])

    report = audit(STORY, PRODUCTION, spark=spark, partitions=20)

    assert digest(report) == digest(serial(*STORY))
    assert sum(len(traces) for traces, _ in found[0].values()) > 10


@given(made=exports(), number=st.integers(2, 9), seed=st.integers(0, 99), again=st.booleans())
@settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_partitions_order_and_redelivery_change_no_digest(
    spark: Any, made: list[Span], number: int, seed: int, *, again: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        first, second = Path(name) / "one.jsonl", Path(name) / "two.jsonl"
        written = [lines(entry) for entry in made]
        first.write_bytes(b"".join(written))
        random.Random(seed).shuffle(written)
        second.write_bytes(b"".join(written + (written[:3] if again else [])))
        try:
            wanted = digest(serial(first))
        except InputError:
            return

        assert digest(audit(str(second), PRODUCTION, spark=spark, partitions=number)) == wanted


def test_parts_that_cannot_be_read_are_left_out_and_what_they_cross_is_read_whole(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "PART_BYTES", 60_000)
    lines = shop_lines()
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:15]))
    printed = [json.dumps(json.loads(line), indent=1) for line in lines[20:]]
    (tmp_path / "b.jsonl").write_text("\n".join([*lines[15:20], *printed]))
    (tmp_path / "c.txt").write_text("no export")

    report = audit(tmp_path, PRODUCTION, spark=spark)

    assert [entry.spans for entry in report.inputs] == [entry.spans for entry in serial(tmp_path).inputs]
    assert digest(report) == digest(serial(tmp_path))
    assert sum(entry.spans for entry in report.inputs) == serial(SHOP).totals.spans


def test_lines_at_an_address_give_the_same_and_keep_the_names_of_their_files(spark: Any, tmp_path: Path) -> None:
    home = tmp_path / "with 100%25"
    home.mkdir()
    lines = shop_lines()
    # A trace goes over from the first to the second.
    (home / "one.jsonl").write_text("\n".join(lines[:21]))
    (home / "two.jsonl").write_text("\n".join(["", *lines[21:], '{"resourceSpans": [}']))

    report = audit(f"file://{home}", PRODUCTION, spark=spark)

    assert digest(report) == digest(serial(home))
    assert [(entry.path, entry.rejected) for entry in report.inputs] == [
        (f"file://{home}/one.jsonl", 0),
        (f"file://{home}/two.jsonl", 1),
    ]
    assert [entry.spans for entry in report.inputs] == [entry.spans for entry in serial(home).inputs]
    places = {(sample.input, sample.line) for finding in report.findings for sample in finding.samples}
    assert places == {(f"file://{home}/one.jsonl", 0), (f"file://{home}/two.jsonl", 0)}


@pytest.mark.parametrize("as_frame", [True, False])
def test_the_table_otel_traces_gives_the_same_to_the_nanosecond(spark: Any, tmp_path: Path, as_frame: bool) -> None:
    shutil.copy(OTEL_TRACES, tmp_path / "part-0.parquet")
    address = f"file://{tmp_path}"
    spark.conf.set("spark.sql.legacy.parquet.nanosAsLong", str(as_frame).lower())

    report = audit(spark.read.parquet(address) if as_frame else address, PRODUCTION, spark=spark)

    assert digest(report) == digest(serial(OTEL_TRACES))
    assert report.totals.spans == 22


def test_a_frame_of_another_shape_and_an_empty_one_are_refused(spark: Any) -> None:
    with pytest.raises(InputError, match="DataFrame: Parquet, but none of the tables"):
        audit(spark.createDataFrame([("a",)], "name string"), spark=spark)
    with pytest.raises(InputError, match="DataFrame: empty, nothing to read"):
        audit(spark.createDataFrame([], "value string"), spark=spark)
    with pytest.raises(InputError, match="DataFrame:1: not JSON"):
        audit(spark.createDataFrame([("plain text",)], "value string"), spark=spark)
    with pytest.raises(SettingsError, match="standard input"):
        audit("-", spark=spark)


# -- what gets lost ----------------------------------------------------------------------------------


def killed_once(step: Any, marker: str) -> Any:
    """The step, whose process is killed when it has been taken for the first time."""

    def run(*given: Any) -> Any:
        told = step(*given)
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
        return told

    return run


def test_processes_that_are_killed_in_every_round_change_nothing(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = partitions.Partitions.each
    steps = []

    def with_accidents(self: partitions.Partitions, step: Any, shared: Any = None) -> Any:
        steps.append(step.__name__)
        return each(self, killed_once(step, str(tmp_path / str(len(steps)))), shared)

    monkeypatch.setattr(partitions.Partitions, "each", with_accidents)

    report = audit(STORY, PRODUCTION, spark=spark)

    assert digest(report) == digest(serial(*STORY))
    assert {"begin", "compare", "join_and_open", "show_roots", "explain_by_cuts"} <= set(steps)
    assert len(list(tmp_path.iterdir())) == len(steps)


def test_a_process_that_is_killed_while_it_reads_changes_nothing(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = str(tmp_path / "marker")
    read_lines = inputs.read_lines

    def with_accident(*given: Any) -> Any:
        for rows in read_lines(*given):
            yield rows
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(inputs, "read_lines", with_accident)
    lines = spark.createDataFrame([(line,) for line in shop_lines()], "value string").repartition(3)

    report = audit(lines, PRODUCTION, spark=spark)

    assert digest(report) == digest(serial(SHOP))
    assert Path(marker).exists()


@pytest.mark.parametrize("with_scratch", [False, True])
def test_platforms_that_cannot_persist_give_the_same(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_scratch: bool
) -> None:
    def refused(*_: Any) -> Any:
        raise errors.PySparkException("[NOT_SUPPORTED_WITH_SERVERLESS] PERSIST TABLE is not supported")

    monkeypatch.setattr(type(spark.range(1)), "persist", refused)

    scratch = f"file://{tmp_path}" if with_scratch else None
    report = audit(str(SHOP), PRODUCTION, spark=spark, partitions=3, scratch=scratch)

    assert digest(report) == digest(serial(SHOP))
    written = list(tmp_path.rglob("*.parquet"))
    assert bool(written) == with_scratch
    # What is left has columns and no row.
    assert all(path.stat().st_size < 2_000 for path in written)


# -- settings ----------------------------------------------------------------------------------------


def test_prices_are_sent_by_value_and_entries_that_fit_are_known_to_the_driver(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    settings = replace(PRODUCTION, pricing=prices, hash_ids=True, rollup="request")
    expected = serial(SHOP, settings=settings)
    load = PriceBook.load.__func__  # type: ignore[attr-defined]  # a class method has it

    def load_once(cls: type[PriceBook], name: Path) -> PriceBook:
        found: PriceBook = load(cls, name)
        prices.unlink()
        return found

    monkeypatch.setattr(PriceBook, "load", classmethod(load_once))
    report = audit(str(SHOP), settings, spark=spark)

    assert digest(report) == digest(expected)
    assert [note for note in report.notes if "price file" in note] == [
        "The price file's entry fitted no call: rates[1]."
    ]


PRICES = """
version = 1

[[rates]]
provider = "openai"
model = "gpt-4o-mini-2024-07-18"
input = "1"
output = "2"

[[rates]]
provider = "openai"
model = "never-called"
input = "1"
output = "2"
"""


def test_the_command_gives_the_same_on_spark(tmp_path: Path) -> None:
    def run(*options: str) -> tuple[int, bytes]:
        done = subprocess.run(
            [sys.executable, "-m", "auditor.cli.main", str(SHOP), "--no-config", "-f", "json", *options],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.startswith(("AUDITOR_", "CI"))},
            capture_output=True,
            check=False,
            timeout=300,
        )
        return done.returncode, done.stdout

    assert run("--engine", "spark", "--master", "local[2]") == run()
