"""LangSmith runs: calls, tokens and tenants, read off the files by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.ledger.calls import call_rows
from auditor.load.foreign_ids import id_of
from auditor.load.langsmith import is_langsmith
from auditor.pipeline import audit
from auditor.settings import Internal, Settings

PRODUCTS = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples" / "products"
PRODUCTION = Settings(internal=Internal(environments=()))
ROOT = "11111111-1111-4111-8111-111111111111"
CHILD = "22222222-2222-4222-8222-222222222222"
GRANDCHILD = "33333333-3333-4333-8333-333333333333"
AT = "20260706T120000000000Z"


def rows_of(*paths: Path) -> list[dict[str, Any]]:
    return list(call_rows(audit([str(path) for path in paths], PRODUCTION).calls))


def tokens(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["input_tokens"],
        row["cache_read_tokens"],
        row["cache_write_tokens"],
        row["output_tokens"],
        row["usage_status"],
    )


def run(**changes: Any) -> dict[str, Any]:
    return {
        "id": ROOT,
        "run_type": "llm",
        "name": "ChatOpenAI",
        "start_time": "2026-07-06T12:00:00.000000",
        "end_time": "2026-07-06T12:00:01.000000",
        "status": "success",
        "error": None,
        "trace_id": ROOT,
        "dotted_order": AT + ROOT,
        "parent_run_id": None,
        "extra": {"metadata": {"ls_provider": "openai", "ls_model_name": "gpt-4o-mini"}},
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        **changes,
    }


def audited(home: Path, *entries: Any) -> list[dict[str, Any]]:
    path = home / "runs.jsonl"
    path.write_text("\n".join(map(json.dumps, entries)))
    return rows_of(path)


def test_the_agent_of_the_sample_makes_two_calls_whose_tenant_is_on_its_root() -> None:
    # The chain run says 1700 / 150, the sum of both; cost as in SOURCES.md, calls 1 and 4.
    rows = {row["operation"]: row for row in rows_of(PRODUCTS / "langsmith_runs.jsonl")}

    assert {key: (*tokens(row), row["cost_usd"]) for key, row in rows.items()} == {
        "chat": (1200, 1024, 0, 150, "complete", "0.0001932"),
        # No model is named on the embedding: it has no price.
        "embeddings": (500, 0, 0, 0, "complete", None),
    }
    assert {(row["status"], row["tenant_id"]) for row in rows.values()} == {("direct", "acme")}
    assert (rows["chat"]["provider"], rows["chat"]["model_requested"]) == ("openai", "gpt-4o-mini")


def test_zeros_of_the_documented_run_are_no_usage_and_its_error_is_no_bill() -> None:
    (row,) = rows_of(PRODUCTS / "langsmith_run_docs_example.json")

    assert (row["failed"], tokens(row)) == (True, (None, None, None, None, "not_billed"))


@pytest.mark.parametrize("kind", ["chain", "tool", "retriever", "prompt", "parser"])
def test_sums_on_other_runs_are_no_calls(kind: str, tmp_path: Path) -> None:
    parent = run(run_type=kind)
    child = run(id=CHILD, parent_run_id=ROOT, dotted_order=f"{AT}{ROOT}.{AT}{CHILD}")

    assert [tokens(row) for row in audited(tmp_path, parent, child)] == [(100, 0, 0, 10, "complete")]


def test_of_nested_model_runs_the_leaf_alone_is_the_call(tmp_path: Path) -> None:
    rows = audited(tmp_path, run(), run(id=CHILD, parent_run_id=ROOT))

    assert [tokens(row) for row in rows] == [(100, 0, 0, 10, "complete")]
    assert rows[0]["span_id"] == id_of(CHILD, 8)


def test_retries_below_one_run_are_calls_of_their_own(tmp_path: Path) -> None:
    rows = audited(
        tmp_path,
        run(run_type="chain"),
        run(id=CHILD, parent_run_id=ROOT, status="error", error="429", prompt_tokens=0, completion_tokens=0),
        run(id=GRANDCHILD, parent_run_id=ROOT, start_time="2026-07-06T12:00:02", end_time="2026-07-06T12:00:03"),
    )

    assert sorted(row["usage_status"] for row in rows) == ["complete", "not_billed"]


def test_parents_and_trace_come_from_the_dotted_order_where_they_are_missing(tmp_path: Path) -> None:
    root = run(run_type="chain", extra={"metadata": {"tenant_id": "acme"}}, trace_id=None)
    middle = run(id=CHILD, run_type="tool", trace_id=None, parent_run_id=None, dotted_order=f"{AT}{ROOT}.{AT}{CHILD}")
    leaf = run(
        id=GRANDCHILD,
        trace_id=None,
        parent_run_id=None,
        dotted_order=f"{AT}{ROOT}.{AT}{CHILD}.{AT}{GRANDCHILD}",
    )

    (row,) = audited(tmp_path, leaf, middle, root)

    assert (row["status"], row["tenant_id"]) == ("direct", "acme")
    assert row["trace_id"] == ROOT.replace("-", "")


def test_the_project_is_nobodys_session(tmp_path: Path) -> None:
    known = run(session_id="project", extra={"metadata": {"tenant_id": "acme", "ls_model_name": "gpt-4o-mini"}})
    other = run(id=CHILD, trace_id=CHILD, dotted_order=AT + CHILD, session_id="project")

    rows = audited(tmp_path, known, other)

    assert sorted(row["status"] for row in rows) == ["direct", "lost"]


def test_a_thread_of_the_metadata_is_a_session(tmp_path: Path) -> None:
    known = run(extra={"metadata": {"tenant_id": "acme", "thread_id": "t-9", "ls_model_name": "gpt-4o-mini"}})
    other = run(
        id=CHILD,
        trace_id=CHILD,
        dotted_order=AT + CHILD,
        extra={"metadata": {"thread_id": "t-9", "ls_model_name": "gpt-4o-mini"}},
    )

    rows = {row["status"]: row for row in audited(tmp_path, known, other)}

    assert (rows["recoverable"]["tenant_id"], rows["recoverable"]["recovered_by"]) == ("acme", "session")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Cached tokens inside input, the LangChain way.
        ({"prompt_tokens": 1200, "total_tokens": 1210, "prompt_token_details": {"cache_read": 1024}}, (1200, 1024, 0)),
        # Beside it, as older integrations of Anthropic have it: the total tells.
        ({"prompt_tokens": 1200, "total_tokens": 2234, "prompt_token_details": {"cache_read": 1024}}, (2224, 1024, 0)),
        ({"prompt_token_details": {"cache_creation": 60}}, (100, 0, 60)),
        (
            {
                "prompt_token_details": {
                    "cache_creation": 60,
                    "ephemeral_5m_input_tokens": 20,
                    "ephemeral_1h_input_tokens": 40,
                }
            },
            (100, 0, 60),
        ),
        ({"prompt_token_details": '{"cache_read": 7}'}, (100, 7, 0)),
    ],
)
def test_cached_tokens_are_split_off(changes: dict[str, Any], expected: tuple[int, ...], tmp_path: Path) -> None:
    (row,) = audited(tmp_path, run(**changes))

    assert tokens(row)[:3] == expected


@pytest.mark.parametrize(
    "outputs",
    [
        {"usage_metadata": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}},
        '{"usage_metadata": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}}',
        {"llm_output": {"token_usage": {"prompt_tokens": 7, "completion_tokens": 3}}},
    ],
)
def test_usage_of_the_answer_counts_where_the_run_has_none(outputs: Any, tmp_path: Path) -> None:
    (row,) = audited(tmp_path, run(prompt_tokens=None, completion_tokens=None, total_tokens=None, outputs=outputs))

    assert tokens(row) == (7, 0, 0, 3, "complete")


def test_a_run_whose_stream_broke_off_is_unmetered(tmp_path: Path) -> None:
    broken = run(prompt_tokens=0, completion_tokens=0, first_token_time="2026-07-06T12:00:00.5", end_time=None)

    (row,) = audited(tmp_path, broken)

    assert (row["usage_status"], row["streamed"]) == ("missing", True)


@pytest.mark.parametrize("form", [lambda runs: runs, lambda runs: {"runs": runs, "cursors": {}}])
def test_lists_and_answers_are_read(form: Any, tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(form([run(), run(id=CHILD, trace_id=CHILD, dotted_order=AT + CHILD)])))

    assert len(rows_of(path)) == 2


def test_a_run_without_type_is_rejected_beside_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(run()) + "\n" + json.dumps(run(run_type=None)) + "\n[3]\n")

    report = audit([str(path)], PRODUCTION).report

    assert report.totals.calls == 1
    assert [(place.line, place.reason.partition(" - ")[0]) for place in report.inputs[0].rejections] == [
        (2, "a run without an id, a trace or a type"),
        (3, "Expected object, got int"),
    ]


@pytest.mark.parametrize("value", [{"id": 1, "trace_id": 2, "type": "SPAN"}, {"runs": 3}, [], [7], {"runs": []}])
def test_other_formats_are_not_taken_for_langsmith(value: Any) -> None:
    assert not is_langsmith(value)
