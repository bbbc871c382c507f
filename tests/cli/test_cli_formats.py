"""``audit formats``: every format is described, and the rules that it cannot answer follow from what it lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_builders import Audit

from auditor.load.formats import FORMATS
from auditor.load.gaps import Gap, survey_with
from auditor.pipeline import audit
from auditor.registry import load_rules
from auditor.settings import Settings

SAMPLES = Path(__file__).parents[2] / "fixtures" / "exports" / "samples"
HOLDS_EVERYTHING = {
    "otlp-json", "otlp-proto", "collector-file", "jaeger-v3", "tempo", "clickhouse", "duckdb", "parquet",
    "javascript-console",
}  # fmt: skip
"""OTLP's own model in its framings, and tables of it. Parquet holds several tables; the last one is refused."""


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_format_says_what_it_is_how_it_is_told_and_what_it_cannot_tell(form: object) -> None:
    entry = next(entry for entry in FORMATS if entry is form)

    assert entry.title, "what it is, for people"
    assert entry.recognised_by, "what tells it from all others"
    assert bool(entry.cannot_tell) != (entry.name in HOLDS_EVERYTHING), "what an audit asks for and it cannot tell"


def test_names_are_told_apart() -> None:
    names = [form.name for form in FORMATS]

    assert len(names) == len(set(names))


def test_the_list_names_every_format_in_the_order_in_which_they_are_tried(process: Audit) -> None:
    document = json.loads(process("formats", "-f", "json").out)

    assert [entry["name"] for entry in document["formats"]] == [form.name for form in FORMATS]
    assert {entry["what"] for entry in document["refused"]} >= {"LiteLLM's daily summary holds no calls"}


def test_rules_that_ask_for_a_path_are_not_checked_where_there_is_none(process: Audit) -> None:
    document = json.loads(process("formats", "-f", "json").out)
    of_format = {entry["name"]: entry for entry in document["formats"]}

    assert [entry["rule"] for entry in of_format["otlp-json"]["not_checked"]] == ["unlogged-spend"]
    assert of_format["litellm"]["cannot_tell"][0]["id"] == "paths"
    assert {entry["rule"] for entry in of_format["litellm"]["not_checked"]} == {
        "async-drop", "orphaned-agent-children", "tenant-conflict", "tenant-not-copied", "uninstrumented-calls",
    }  # fmt: skip
    # What callers sent along has a place in LiteLLM's payloads and none in Bedrock's log.
    assert {entry["rule"] for entry in of_format["bedrock"]["not_checked"]} >= {"header-stripping"}


def test_what_the_list_says_is_what_an_audit_of_such_a_file_says() -> None:
    """LiteLLM rows: the audit of a real sample leaves the same rules out, for the same reasons."""
    report = audit([str(SAMPLES / "litellm_standard_logging_payload.jsonl")], Settings()).report
    said = {entry.rule: entry.reason for entry in report.not_checked}

    expected = {
        rule.id: reason
        for rule in load_rules()
        if (reason := rule.unchecked(survey_with(frozenset({Gap.PATHS})))) is not None
    }

    assert expected.items() <= said.items()


def test_gaps_leave_the_questions_out_that_they_are_about() -> None:
    def skipped(*gaps: Gap) -> set[str]:
        survey = survey_with(frozenset(gaps))
        return {rule.id for rule in load_rules() if rule.unchecked(survey) is not None}

    # Spans are no log of a gateway, whatever else they tell.
    assert skipped() == {"unlogged-spend"}
    assert skipped(Gap.BATCHES) == {"unlogged-spend", "batch-without-metadata"}
    assert skipped(Gap.OPERATIONS) == {"unlogged-spend", "untagged-embeddings"}


def test_the_table_fits_its_width_and_names_the_rules(process: Audit) -> None:
    done = process("formats")

    assert done.code == 0
    assert all(len(line) <= 100 for line in done.out.splitlines())
    assert "otlp-json" in done.out
    assert "orphaned-agent-children" in done.out
