"""Every rule with its scenarios: what makes it speak, with exact calls, dollars and hop, and what does not.

A scenario is a file of ``fixtures/rules/<rule>``; what it should say is written down here by hand from what
is in the file (gpt-4o: 2.50 and 10 dollars a million tokens, text-embedding-3-small: 0.02, batches half).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import auditor_rules
from auditor import __version__
from auditor.model.money import to_decimal_string
from auditor.model.report import Report
from auditor.pipeline import audit
from auditor.report import Screen, renderer
from auditor.settings import Settings

FIXTURES = Path(__file__).parents[2] / "fixtures" / "rules"
RULES = sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(auditor_rules.__path__))


@dataclass(frozen=True)
class Expected:
    """What the one finding of a scenario says."""

    calls: int
    hop: tuple[str, str, str]
    confidence: str = "certain"
    cost: str = "0.01"
    """Dollars of its calls."""
    unattributed: str | None = None
    """Of that without a tenant; all of it unless said."""
    recoverable: str = "0"
    unmetered: int = 0


BAD: dict[str, Expected] = {
    "async-drop/bad_consumer_is_not_instrumented": Expected(2, ("parcel", "ember", "queue"), "likely", cost="0.02"),
    "async-drop/bad_placeholder_in_the_task": Expected(1, ("parcel", "ember", "queue"), recoverable="0.01"),
    "async-drop/bad_task_continues_the_trace": Expected(1, ("parcel", "ember", "queue"), recoverable="0.01"),
    "async-drop/bad_task_only_links": Expected(1, ("parcel", "ember", "queue"), recoverable="0.01"),
    "async-drop/bad_task_without_kinds": Expected(1, ("quill", "thistle", "queue"), recoverable="0.01"),
    "batch-without-metadata/bad_collected_elsewhere": Expected(
        3, ("tally", "sorrel", "batch"), cost="0.015", recoverable="0.015"
    ),
    "batch-without-metadata/bad_cost_row_of_a_batch": Expected(1, ("litellm", "litellm", "batch")),
    "batch-without-metadata/bad_only_the_tier_tells": Expected(1, ("sorrel", "sorrel", "batch"), cost="0.005"),
    "gateway-single-key/bad_provider_route": Expected(2, ("larch", "larch", "none"), cost="0.02"),
    "gateway-single-key/bad_provider_route_without_target": Expected(1, ("larch", "larch", "none")),
    "gateway-single-key/bad_rows_of_one_key": Expected(3, ("litellm", "litellm", "none"), cost="0.03"),
    "gateway-single-key/bad_second_service_without_kinds": Expected(1, ("meadow", "quartz", "process"), "likely"),
    "header-stripping/bad_client_span_lacks_it_too_no_kinds": Expected(
        1, ("cove", "flint", "process"), "likely", recoverable="0.01"
    ),
    "header-stripping/bad_next_service_lacks_it": Expected(1, ("harbor", "basalt", "process"), recoverable="0.01"),
    "header-stripping/bad_span_between_not_exported": Expected(
        1, ("harbor", "basalt", "process"), "possible", recoverable="0.01"
    ),
    "header-stripping/bad_trace_is_cut": Expected(6, ("harbor", "basalt", "cut"), "likely", cost="0.06"),
    "header-stripping/bad_trace_is_cut_and_clocks_differ": Expected(
        6, ("harbor", "basalt", "cut"), "likely", cost="0.06"
    ),
    "orphaned-agent-children/bad_graph_node_without_kinds": Expected(1, ("iris", "iris", "thread"), recoverable="0.01"),
    "orphaned-agent-children/bad_parent_not_exported": Expected(1, ("atlas", "atlas", "cut"), "possible"),
    "orphaned-agent-children/bad_run_knows_it_children_do_not": Expected(
        2, ("atlas", "atlas", "thread"), cost="0.02", recoverable="0.02"
    ),
    "orphaned-agent-children/bad_thread_without_context": Expected(1, ("atlas", "atlas", "thread"), "likely"),
    "stream-span-closure/bad_never_read": Expected(1, ("reef", "reef", "stream"), cost="0", unmetered=1),
    "stream-span-closure/bad_stopped_early": Expected(1, ("reef", "reef", "stream"), cost="0", unmetered=1),
    "stream-span-closure/bad_usage_on_a_later_record": Expected(1, ("fjord", "fjord", "stream"), unattributed="0"),
    "stream-span-closure/bad_usage_was_not_requested": Expected(1, ("reef", "reef", "stream"), cost="0", unmetered=1),
    "tenant-conflict/bad_client_of_the_request_before": Expected(1, ("clover", "clover", "none"), unattributed="0"),
    "tenant-conflict/bad_task_of_the_customer_before_no_kinds": Expected(
        1, ("heath", "heath", "none"), unattributed="0"
    ),
    "tenant-not-copied/bad_captured_header_without_kinds": Expected(1, ("poppy", "poppy", "none"), recoverable="0.01"),
    "tenant-not-copied/bad_only_the_request_has_it": Expected(1, ("poppy", "poppy", "none"), recoverable="0.01"),
    "tenant-not-copied/bad_own_span_between": Expected(1, ("poppy", "poppy", "none"), recoverable="0.01"),
    "uninstrumented-calls/bad_hand_written_request": Expected(1, ("tern", "tern", "none"), cost="0", unmetered=1),
    "uninstrumented-calls/bad_model_in_the_path": Expected(1, ("plover", "plover", "none"), cost="0", unmetered=1),
    "uninstrumented-calls/bad_own_host_without_kinds": Expected(
        2, ("dunlin", "dunlin", "none"), "likely", cost="0", unmetered=2
    ),
    "unlogged-spend/bad_cost_of_one_model_only": Expected(
        1, ("cloudflare", "cloudflare", "none"), "likely", unattributed="0"
    ),
    "unlogged-spend/bad_line_of_a_batch_without_usage": Expected(
        1, ("litellm", "litellm", "none"), cost="0", unmetered=1
    ),
    "unlogged-spend/bad_model_without_a_price": Expected(
        2, ("litellm", "litellm", "none"), "likely", cost="0.02", unattributed="0"
    ),
    "unlogged-spend/bad_passed_on_unread": Expected(2, ("litellm", "litellm", "none"), cost="0", unmetered=2),
    "unowned-traffic/bad_route_without_tenants_no_kinds": Expected(1, ("willow", "willow", "none"), "possible"),
    "unowned-traffic/bad_scheduled_work": Expected(2, ("willow", "willow", "none"), "possible", cost="0.02"),
    "untagged-embeddings/bad_beside_a_tagged_chat": Expected(
        1, ("fern", "fern", "none"), cost="0.001", recoverable="0.001"
    ),
    "untagged-embeddings/bad_beside_a_tagged_chat_without_kinds": Expected(
        1, ("fern", "fern", "none"), cost="0.001", recoverable="0.001"
    ),
    "untagged-embeddings/bad_nightly_refresh": Expected(3, ("lichen", "lichen", "none"), "likely", cost="0.003"),
    "untagged-embeddings/bad_rows_beside_tagged_chats": Expected(1, ("litellm", "litellm", "none"), cost="0.001"),
}
GOOD_CALLS = {
    "async-drop/good_message_carries_it": 1,
    "async-drop/good_staging_only": 2,
    "async-drop/good_task_reads_the_payload": 1,
    "batch-without-metadata/good_items_carry_it": 1,
    "batch-without-metadata/good_polls_cost_nothing": 2,
    "gateway-single-key/good_callers_baggage_arrives": 1,
    "gateway-single-key/good_rows_with_teams": 3,
    "header-stripping/good_both_sides_propagate": 1,
    "header-stripping/good_parents_sampled_away": 7,
    "header-stripping/good_trusted_service_sets_it_again": 1,
    "orphaned-agent-children/good_every_child_has_it": 2,
    "orphaned-agent-children/good_untagged_run_repeats_tagged_calls": 2,
    "stream-span-closure/good_failed_attempt_then_answer": 2,
    "stream-span-closure/good_read_to_the_end": 1,
    "tenant-conflict/good_same_tenant_other_key": 2,
    "tenant-conflict/good_team_of_the_tenant": 2,
    "tenant-not-copied/good_copied_from_baggage": 1,
    "tenant-not-copied/good_on_resource_in_metadata_as_property": 3,
    "uninstrumented-calls/good_calls_above_and_beside": 2,
    "uninstrumented-calls/good_gateway_describes_it": 1,
    "uninstrumented-calls/good_other_requests": 1,
    "unlogged-spend/good_billed_by_the_piece": 3,
    "unlogged-spend/good_hits_failures_polls_and_moderation": 4,
    "unowned-traffic/good_developers_machine": 2,
    "unowned-traffic/good_scheduled_work_per_customer": 3,
    "untagged-embeddings/good_set_per_document": 4,
    "untagged-embeddings/good_test_run": 2,
}


def scenarios(kind: str) -> list[str]:
    """Names of all scenario files of a kind, as ``rule-id/file``."""
    return sorted(f"{file.parent.name.replace('_', '-')}/{file.stem}" for file in FIXTURES.glob(f"*/{kind}_*.json"))


def audited(scenario: str) -> Report:
    rule, _, name = scenario.partition("/")
    return audit([f"{rule.replace('-', '_')}/{name}.json"], Settings()).report


@pytest.fixture(autouse=True)
def _among_the_fixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in reports are then the same on every machine."""
    monkeypatch.chdir(FIXTURES)


@pytest.mark.parametrize("rule_id", RULES)
def test_rule_comes_with_its_scenarios(rule_id: str) -> None:
    home = FIXTURES / rule_id.replace("-", "_")

    assert len(list(home.glob("bad_*.json"))) >= 2, f"too few scenarios make {rule_id} speak"
    assert len(list(home.glob("good_*.json"))) >= 2, f"too few scenarios keep {rule_id} silent"


def test_every_scenario_belongs_to_a_rule_and_is_expected() -> None:
    assert {file.parent.name.replace("_", "-") for file in FIXTURES.glob("*/*.json")} == set(RULES)
    assert scenarios("bad") == sorted(BAD)
    assert scenarios("good") == sorted(GOOD_CALLS)
    assert len(scenarios("bad")) + len(scenarios("good")) == len(list(FIXTURES.glob("*/*")))


@pytest.mark.parametrize("scenario", sorted(BAD))
def test_bad_scenario_is_explained_by_its_rule_and_by_nothing_else(scenario: str) -> None:
    expected = BAD[scenario]

    (finding,) = audited(scenario).findings

    assert finding.rule == scenario.partition("/")[0]
    assert (finding.hop.source, finding.hop.target, str(finding.hop.kind)) == expected.hop
    assert (finding.calls, finding.unmetered_calls) == (expected.calls, expected.unmetered)
    assert to_decimal_string(finding.cost) == expected.cost
    unattributed = expected.cost if expected.unattributed is None else expected.unattributed
    assert to_decimal_string(finding.unattributed_cost) == unattributed
    assert to_decimal_string(finding.recoverable_cost) == expected.recoverable
    assert str(finding.confidence) == expected.confidence
    assert finding.evidence
    assert finding.remedy


@pytest.mark.parametrize("scenario", sorted(BAD))
def test_findings_add_up_to_what_has_no_tenant(scenario: str) -> None:
    report = audited(scenario)

    assert sum(finding.unattributed_cost for finding in report.findings) == report.totals.unattributed.cost


@pytest.mark.parametrize("scenario", sorted(BAD))
def test_bad_scenario_is_reported_as_reviewed(scenario: str, golden: Callable[[str, str], None]) -> None:
    report = audited(scenario)

    text = renderer("markdown")(report, Screen()).decode()

    text = text.replace(report.price_book, "PRICES").replace(__version__, "VERSION")
    rule, _, name = scenario.partition("/")
    golden(f"rules/{rule.replace('-', '_')}/{name}.md", text)


@pytest.mark.parametrize("scenario", sorted(GOOD_CALLS))
def test_good_scenario_is_left_alone(scenario: str) -> None:
    report = audited(scenario)

    assert [(finding.rule, finding.evidence) for finding in report.findings] == []
    assert report.totals.calls == GOOD_CALLS[scenario]
    assert report.totals.unattributed.cost == 0
    assert scenario.partition("/")[0] in report.rules_run or report.totals.internal.calls
    assert report.gate.passed


@pytest.mark.parametrize("scenario", sorted([*BAD, *GOOD_CALLS]))
def test_every_record_of_a_scenario_is_read(scenario: str) -> None:
    report = audited(scenario)

    assert all(not source.rejected for source in report.inputs)
    assert report.totals.unpriced.calls == 0
