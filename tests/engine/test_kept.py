"""Columns that are kept: ``audit DIR`` says what the audit of the traces said, and asks for nothing that is gone."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError, SettingsError
from auditor.model.report import Report
from auditor.pipeline import audit, resources
from auditor.report.json_v1 import digest
from auditor.settings import Internal, Limits, Settings
from builders import SERVER, Span, call, lines, span

pyarrow_parquet = pytest.importorskip("pyarrow.parquet")


def traffic(days: str) -> list[Span]:
    """Requests of three tenants; one call in three carries its tenant, and a prompt that nobody may keep."""
    made = []
    for number in range(30):
        trace, tenant = f"{days} {number}", ("acme", "globex", "initech")[number % 3]
        made += [
            span(
                id=f"{trace} r",
                trace=trace,
                kind=SERVER,
                attributes={"tenant.id": tenant, "org.id": f"org {tenant}", "note": "a secret sentence"},
            ),
            call(
                id=f"{trace} c",
                trace=trace,
                parent=f"{trace} r",
                tenant=tenant if number % 3 == 0 else None,
                attributes={"gen_ai.prompt": "a secret prompt", "user.id": f"person {number % 5}"},
            ),
        ]
    return made


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    path = tmp_path / "monday.jsonl"
    path.write_bytes(lines(*traffic("monday")))
    return path


@pytest.fixture
def kept(tmp_path: Path, traces: Path) -> Path:
    directory = tmp_path / "kept"
    audit([str(traces)], Settings(), save_columns=directory)
    return directory


def audited(*paths: Path, settings: Settings | None = None, **named: Any) -> Report:
    return audit([str(path) for path in paths], settings or Settings(), **named).report


def test_an_audit_of_the_columns_says_what_that_of_the_traces_said(traces: Path, kept: Path) -> None:
    wanted = audited(traces)

    traces.unlink()

    assert audited(kept) == wanted
    assert wanted.totals.recoverable.calls == 20


def test_other_prices_gates_and_rollup_need_no_traces(traces: Path, kept: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('version = 1\n[[rates]]\nprovider = "openai"\nmodel = "gpt-4o-mini"\ninput = "1"\noutput = "2"\n')
    other = Settings(rollup="request", pricing=prices, gate=Limits(max_unattributed=Decimal(0)))

    # 1000 tokens at a dollar a million, and 100 at two.
    assert audited(kept, settings=other).totals.spend == 30 * 1_200 * 10**6
    assert audited(kept, settings=other) == audited(traces, settings=other)


def test_columns_and_traces_of_the_next_day_are_one_input(traces: Path, kept: Path, tmp_path: Path) -> None:
    tuesday = tmp_path / "tuesday.jsonl"
    tuesday.write_bytes(lines(*traffic("tuesday")))

    together = audited(kept, tuesday)

    assert digest(together) == digest(audited(traces, tuesday))
    assert together.totals.calls == 60
    assert {entry.path for entry in together.inputs} == {str(traces), str(tuesday)}
    samples = {sample for finding in together.findings for sample in finding.samples}
    assert samples == {sample for finding in audited(tuesday, traces).findings for sample in finding.samples}


@pytest.fixture
def by_processes(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(resources, "WORTH_PROCESSES", 1)
    monkeypatch.setattr(resources, "SMALLEST_PART", 2000)
    return Settings(jobs=2)


def test_processes_keep_and_take_columns_too(traces: Path, tmp_path: Path, by_processes: Settings) -> None:
    directory = tmp_path / "by processes"
    wanted = audited(traces)

    assert audited(traces, settings=by_processes, keep_calls=False, save_columns=directory) == wanted
    assert audited(directory, settings=by_processes, keep_calls=False) == wanted
    assert audited(directory) == wanted


def test_a_key_that_was_kept_may_become_the_tenant(traces: Path, kept: Path) -> None:
    settings = Settings(tenant_keys=("org.id",))

    names = {line.tenant_id for line in audited(kept, settings=settings).tenants}

    assert names == {line.tenant_id for line in audited(traces, settings=settings).tenants} | {"acme"}
    assert "org globex" in names


def test_nothing_that_was_said_is_kept(kept: Path) -> None:
    kept_texts = [path.read_text() for path in kept.glob("*.json")]
    for path in kept.glob("*.parquet"):
        kept_texts += map(str, pyarrow_parquet.read_table(path).to_pydict().values())
    everything = "".join(kept_texts)

    assert "secret" not in everything
    assert "person 3" in everything
    assert "org.id" in everything


def test_hashed_ids_are_hashed_once(traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "hashed"
    internal = Internal(tenants=("initech",))
    settings = Settings(hash_ids=True, internal=internal)
    wanted = audited(traces, settings=settings, save_columns=directory)

    assert wanted.totals.internal.calls > 0
    assert audited(directory, settings=Settings(internal=internal)) == wanted
    assert audited(directory, settings=settings) == wanted
    manifest = (directory / "manifest.json").read_text()
    assert "acme" not in manifest
    by_processes = Settings(jobs=2, internal=internal, hash_ids=True)
    monkeypatch.setattr(resources, "WORTH_PROCESSES", 1)
    assert audited(directory, settings=by_processes, keep_calls=False) == wanted
    with pytest.raises(SettingsError, match="not kept again"):
        audited(directory, save_columns=tmp_path / "again")
    with pytest.raises(SettingsError, match="cannot be compared"):
        audited(directory, traces)


def test_a_directory_that_holds_something_else_is_not_touched(traces: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("mine")

    with pytest.raises(SettingsError, match="home"):
        audited(traces, save_columns=home)

    assert [path.name for path in home.iterdir()] == ["thesis.txt"]


def test_columns_of_the_day_before_are_replaced_whole(kept: Path, tmp_path: Path) -> None:
    tuesday = tmp_path / "tuesday.jsonl"
    tuesday.write_bytes(lines(*traffic("tuesday")[:10]))

    wanted = audited(tuesday, save_columns=kept)

    assert audited(kept) == wanted


def test_a_manifest_that_says_nothing_is_an_error_that_names_it(kept: Path) -> None:
    manifest = json.loads((kept / "manifest.json").read_text())
    manifest["facts"] = {"inputs": []}
    (kept / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(InputError, match=f"{kept.name}.*does not say what was read"):
        audited(kept)


def test_other_settings_of_reading_are_told(kept: Path) -> None:
    report = audited(kept, settings=replace(Settings(), placeholders=("acme",)))

    assert any("read with other settings" in note for entry in report.inputs for note in entry.notes)
