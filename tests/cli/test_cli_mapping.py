"""``--mapping`` and the doctor's drafts, as commands: the guide's example from an unknown log to a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_builders import Audit

GUIDE = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text("utf-8")
LOG = GUIDE.split("```json\n")[1].split("```")[0]
MAPPING = GUIDE.split("```toml\n")[1].split("```")[0]


@pytest.fixture
def log(home: Path) -> Path:
    (home / "calls.jsonl").write_text(LOG)
    return home


def test_command_of_the_guide_gives_the_figures_of_the_guide(log: Path, process: Audit) -> None:
    (log / "auditor.toml").write_text(MAPPING)
    (command,) = [line.removeprefix("$ ") for line in GUIDE.splitlines() if line.startswith("$ audit")]

    done = process(*command.split()[1:])

    assert done.code == 1
    assert "66.0 %  of $0.0005682 has no tenant" in done.out


@pytest.mark.parametrize("command", [["ledger", "-f", "jsonl"], ["explain", "0" * 32], ["diff"]])
def test_every_command_that_reads_inputs_takes_a_mapping(log: Path, process: Audit, command: list[str]) -> None:
    (log / "auditor.toml").write_text(MAPPING)
    files = ["calls.jsonl", "calls.jsonl"] if command == ["diff"] else ["calls.jsonl"]

    done = process(*command, *files, "--mapping", "house")

    assert "none of the formats" not in done.err
    assert done.code == (3 if command[0] == "explain" else 0), done.err


def test_mapping_may_stand_in_the_settings_for_good(log: Path, process: Audit) -> None:
    (log / "auditor.toml").write_text(f'use_mappings = ["house"]\n{MAPPING}')

    done = process("calls.jsonl", "-f", "json")

    assert json.loads(done.out)["inputs"][0]["format"] == "mapping:house"


def test_misspelt_name_and_key_exit_2_with_what_was_meant(log: Path, process: Audit) -> None:
    (log / "auditor.toml").write_text(MAPPING)
    name = process("calls.jsonl", "--mapping", "hause")
    (log / "auditor.toml").write_text(MAPPING.replace("output_tokens", "outputs_token"))
    key = process("calls.jsonl", "--mapping", "house")

    assert (name.code, name.out) == (2, "")
    assert name.err == "audit: flag --mapping: there is no mapping hause\nhint: did you mean house?\n"
    assert (key.code, key.out) == (2, "")
    assert key.err == (
        "audit: auditor.toml: unknown key mapping.house.fields.outputs_token\n"
        "hint: did you mean mapping.house.fields.output_tokens?\n"
    )


def test_unknown_log_leads_to_the_doctor_whose_draft_audits_it(log: Path, process: Audit) -> None:
    refused = process("calls.jsonl")
    drafted = process("doctor", "calls.jsonl")

    assert refused.code == 3
    assert "audit doctor FILE drafts a mapping" in refused.err
    assert drafted.code == 3
    assert "acme" not in drafted.out
    (log / "auditor.toml").write_text(drafted.out[drafted.out.index("# A mapping drafted") :])
    done = process("calls.jsonl", "--mapping", "calls", "-f", "json")
    document = json.loads(done.out)
    assert document["totals"]["direct"]["calls"] == 2
    # The health check: a draft knows no events, and what has neither model nor tokens nor cost is not let pass.
    assert [entry["reason"] for entry in document["inputs"][0]["rejections"]] == [
        "neither model nor tokens nor cost in it; what is no call, the mapping's table billable can tell"
    ]


def test_known_formats_get_no_draft(home: Path, process: Audit) -> None:
    (home / "row.json").write_text('{"resourceSpans": []}')

    assert "[mapping" not in process("doctor", "row.json").out
