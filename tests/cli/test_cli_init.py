"""``audit init`` on real traces: what it drafts passes today, says what it assumed, and fails tomorrow's leak."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from cli_builders import Audit, requests, written

from auditor.settings import resolve
from builders import call


def text_of(draft: Path) -> str:
    """The comments of a file as running text."""
    return " ".join(line.removeprefix("# ") for line in draft.read_text().splitlines())


def test_a_draft_lets_todays_traffic_pass_and_one_more_percent_fail(real: Audit) -> None:
    today = written("today.jsonl", requests("api", 80, leaks=False), requests("api", 20, leaks=True))
    assert real(today).code == 1

    assert real("init", today).code == 0

    assert real(today).code == 0
    assert resolve().gate.max_unattributed == Decimal("0.21")
    assert real(written("worse.jsonl", requests("api", 78, leaks=False), requests("api", 22, leaks=True))).code == 1


def test_a_draft_says_what_it_was_made_of_and_what_it_assumed(real: Audit, home: Path) -> None:
    traces = written(
        "t.jsonl",
        requests("api", 6, leaks=False, **{"deployment.environment.name": "live"}),
        requests("api", 2, leaks=True, **{"deployment.environment.name": "live"}),
        requests("api", 3, leaks=True, tenant="globex", **{"deployment.environment.name": "staging"}),
        [call(usage={}, tenant="acme"), call(model="nobody-knows-it", tenant="acme")],
    )

    real("init", traces)

    text = text_of(home / "auditor.toml")
    assert "Drafted from t.jsonl: 13 calls in 24 spans of 1 service, 21 Sep 2026" in text
    assert "Assumed: what the gate will judge is traffic like this." in text
    assert "Assumed: tenant.id holds the tenant that pays." in text
    assert "Found: live (8 calls), staging (3 calls). Assumed: staging needs no tenant; live needs one." in text
    assert "Not in the shares: 1 call without usage, 1 call without a price." in text
    # 2 of 8 priced calls outside staging.
    assert "Today: 25.0 %." in text
    # The leak, and the call without usage.
    assert "Today: 2 findings. To accept them and fail on new ones: audit FILES --baseline audit-baseline.json" in text
    assert "These traces cannot answer:" in text
    assert real(traces).code == 0


def test_a_draft_without_environments_and_tenants_says_so(real: Audit, home: Path) -> None:
    traces = written("t.jsonl", [call(), call()])

    real("init", traces)

    text = text_of(home / "auditor.toml")
    assert "No call carries a tenant under a key that is read; the limits below let all of that pass." in text
    assert "No call names its environment. Assumed: all of this is production." in text
    assert resolve().gate.max_unattributed == Decimal(1)


def test_a_key_that_the_user_names_is_drafted_as_such(real: Audit, home: Path) -> None:
    traces = written("t.jsonl", [call(attributes={"org_ref": "acme"})])

    real("init", traces, "--tenant-key", "org_ref")

    assert resolve().tenant_keys == ("org_ref",)
    assert "Assumed: org_ref holds the tenant that pays (as you said)." in text_of(home / "auditor.toml")
    assert real(traces).code == 0


@pytest.mark.parametrize("head", ["# [[suppress]]", "# baseline ="])
def test_every_commented_example_can_be_taken_as_it_stands(head: str, real: Audit, home: Path) -> None:
    real("init")
    path = home / "auditor.toml"
    lines = path.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    end = start + (7 if "suppress" in head else 1)

    taken = [line.removeprefix("# ") if start <= number < end else line for number, line in enumerate(lines)]
    path.write_text("\n".join(taken) + "\n")

    settings = resolve()
    assert settings.suppressions or settings.baseline == Path("audit-baseline.json")
