"""Attributes of the user's own: what the settings declare is read as if it had always been known."""

from __future__ import annotations

from pathlib import Path

from auditor.model.money import to_decimal_string
from auditor.settings import Settings, Vocabulary
from builders import CALL_PICO, audit_spans, call, span

OWN_USAGE = {"acme.tokens.in": 1000, "acme.tokens.out": 100}


def test_own_usage_keys_meter_the_call(tmp_path: Path) -> None:
    entry = call(usage={}, tenant="acme", attributes=OWN_USAGE)
    settings = Settings(vocabulary=Vocabulary(input_tokens=("acme.tokens.in",), output_tokens=("acme.tokens.out",)))

    without = audit_spans(tmp_path, [entry])
    done = audit_spans(tmp_path, [entry], settings)

    assert without.row(entry)["usage_status"] == "missing"
    assert done.row(entry)["input_tokens"] == 1000
    assert done.row(entry)["output_tokens"] == 100
    assert done.row(entry)["cost_usd"] == to_decimal_string(CALL_PICO)
    assert done.report.inputs[0].vocabularies == ("otel-genai", "settings")


def test_own_keys_win_over_the_built_in_ones(tmp_path: Path) -> None:
    entry = call(tenant="acme", attributes={"acme.tokens.in": 7, "acme.screen": "inbox", "feature": "mail"})
    settings = Settings(vocabulary=Vocabulary(input_tokens=("acme.tokens.in",), feature=("acme.screen",)))

    row = audit_spans(tmp_path, [entry], settings).row(entry)

    assert (row["input_tokens"], row["output_tokens"], row["feature"]) == (7, 100, "inbox")


def test_own_model_operation_and_user_make_a_call_of_an_unknown_span(tmp_path: Path) -> None:
    entry = span(
        "ask",
        attributes={"acme.op": "chat", "acme.llm": "gpt-4o-mini", "acme.operator": "u-7", **OWN_USAGE},
    )
    settings = Settings(
        vocabulary=Vocabulary(
            operation=("acme.op",),
            request_model=("acme.llm",),
            user=("acme.operator",),
            input_tokens=("acme.tokens.in",),
            output_tokens=("acme.tokens.out",),
        )
    )

    row = audit_spans(tmp_path, [entry, call()], settings).row(entry)

    assert (row["operation"], row["model_requested"], row["user_id"]) == ("chat", "gpt-4o-mini", "u-7")
    assert row["cost_usd"] == to_decimal_string(CALL_PICO)


def test_own_identity_is_found_in_baggage_copies_and_on_resources(tmp_path: Path) -> None:
    settings = Settings(vocabulary=Vocabulary(user=("acme.operator",), environment=("acme.stage",)))
    copied = call(attributes={"baggage.acme.operator": "u-7"})
    on_resource = call(resource={"acme.stage": "staging"})

    done = audit_spans(tmp_path, [copied, on_resource], settings)

    assert done.row(copied)["user_id"] == "u-7"
    assert (done.row(on_resource)["environment"], done.row(on_resource)["status"]) == ("staging", "internal")
