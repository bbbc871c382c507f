"""The doctor: what files are, what was read in them, and the one change that would help most."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from auditor.cli.main import run
from auditor.doctor import FormatFacts, examine
from auditor.model.checkup import Checkup, Sureness
from auditor.model.money import to_decimal_string
from auditor.model.report import InputSummary, Recognition, Rejection
from auditor.settings import Settings, Vocabulary
from builders import CALL_PICO, Span, audit_spans, call, lines, span

SAMPLES = Path(__file__).parents[1] / "fixtures" / "exports" / "samples"
ZIPKIN_LIKE = b'[{"something": "else"}]'


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Doctor = Callable[..., Said]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Doctor:
    """Ask the doctor about documents, each in a file of its own."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.chdir(tmp_path)

    def asked(*documents: bytes, options: tuple[str, ...] = ("-f", "json")) -> Said:
        names = []
        for number, document in enumerate(documents):
            (tmp_path / f"{number}.json").write_bytes(document)
            names.append(f"{number}.json")
        code = run(["doctor", *names, *options])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Said(code, out.decode(), err.decode())

    return asked


def document_of(*spans: Span) -> bytes:
    return lines(*spans)


def test_it_says_what_the_input_is_and_how_sure_that_is(doctor: Doctor) -> None:
    (found,) = doctor(document_of(call(tenant="acme"), span())).document["inputs"]

    assert (found["format"], found["sureness"], found["spans"]) == ("otlp-json", "certain", 2)
    assert found["vocabularies"] == [{"name": "otel-genai", "table": 1}]
    assert {(scope["name"], scope["spans"]) for scope in found["scopes"]} == {
        ("opentelemetry.instrumentation.openai.v1", 1),
        ("app", 1),
    }


def test_it_says_which_attribute_the_tenant_came_from(doctor: Doctor) -> None:
    said = doctor(document_of(call(tenant="acme"), call(attributes={"customer.id": "blue"}), call(tenant="coyote")))

    assert said.document["keys"]["tenant"] == [{"key": "tenant.id", "calls": 2}, {"key": "customer.id", "calls": 1}]


def test_a_healthy_input_lacks_nothing(doctor: Doctor) -> None:
    attributes = {"user.id": "u", "workflow.id": "w", "deployment.environment.name": "production", "feature": "f"}
    said = doctor(document_of(call(tenant="acme", attributes=attributes)), options=())

    assert said.code == 0
    assert "Nothing is missing: every call has its tenant, its usage and its price.\n" in said.out
    assert "What would help most" not in said.out


def test_an_unread_key_with_known_tenants_is_named_with_what_it_would_give(doctor: Doctor) -> None:
    """Two of three calls stand under a key that nobody reads; its values are tenants known from the third."""
    strangers = [call(attributes={"shop_ref": "acme"}) for _ in range(2)]
    best = doctor(document_of(call(tenant="acme"), *strangers)).document["improvements"]

    (found,) = [entry for entry in best if entry["id"] == "tenant-key"]
    assert "--tenant-key shop_ref" in found["change"]
    assert found["gain"] == to_decimal_string(2 * CALL_PICO)
    assert found["is_estimate"] is True


def test_the_change_that_frees_most_comes_first(doctor: Doctor) -> None:
    """Three calls below a span that knows their tenant outweigh one stream without usage like a metered call."""
    top = span("request", id="top", attributes={"tenant.id": "acme"}, ms=9000)
    below = [call(parent="top", start=100 + 600 * number) for number in range(3)]
    unmetered = call(usage={}, tenant="acme", trace="other", attributes={"gen_ai.request.stream": True})

    said = doctor(document_of(top, *below, unmetered)).document

    assert said["best_change"]["id"] == "tenant-not-copied"
    assert said["best_change"]["gain"] == to_decimal_string(3 * CALL_PICO)
    gains = {entry["id"]: entry["gain"] for entry in said["improvements"]}
    assert gains["usage"] == to_decimal_string(CALL_PICO)
    assert said["improvements"][0] == said["best_change"]


def test_a_model_without_a_price_is_weighed_like_an_average_call(doctor: Doctor) -> None:
    said = doctor(document_of(call(tenant="acme"), call(tenant="acme", model="nobody-sells-this", trace="other")))

    (found,) = [entry for entry in said.document["improvements"] if entry["id"] == "prices"]
    assert (found["calls"], found["gain"]) == (1, to_decimal_string(CALL_PICO))


def test_rows_of_a_gateway_ask_for_the_traces(doctor: Doctor) -> None:
    rows = (SAMPLES / "litellm_standard_logging_payload.jsonl").read_bytes()

    said = doctor(rows).document

    assert "traces" in {entry["id"] for entry in said["improvements"]}
    assert "header-stripping" in {entry["rule"] for entry in said["not_checked"]}
    (found,) = said["inputs"]
    assert any("the spans that led to a call" in gap for gap in found["cannot_tell"])


def test_no_call_is_an_answer_with_the_exit_status_of_one(doctor: Doctor) -> None:
    said = doctor(document_of(span("GET /", attributes={"http.route": "/"})))

    assert said.code == 3
    assert said.document["problem"] == "0.json: no model call among 1 spans"
    assert said.document["best_change"]["id"] == "calls"
    assert said.document["inputs"][0]["sureness"] == "certain"


def test_an_unknown_file_among_others_is_shown_and_the_others_are_audited(doctor: Doctor) -> None:
    said = doctor(document_of(call(tenant="acme")), ZIPKIN_LIKE)

    assert said.code == 0
    assert said.document["calls"] == 1
    assert [entry["sureness"] for entry in said.document["inputs"]] == ["certain", "none"]
    assert "inputs" in {entry["id"] for entry in said.document["improvements"]}


def test_only_unknown_files_are_nothing_auditable(doctor: Doctor) -> None:
    said = doctor(ZIPKIN_LIKE)

    assert said.code == 3
    assert said.document["problem"] == "nothing here could be read"


def test_no_file_at_all_is_refused(doctor: Doctor) -> None:
    said = doctor(options=("missing.json",))

    assert (said.code, said.out) == (3, "")
    assert "missing.json" in said.err


def test_broken_records_make_it_less_sure_and_strict_makes_them_an_error(doctor: Doctor) -> None:
    broken = document_of(call(tenant="acme")) + b'{"resourceSpans": [{\n'

    lenient, strict = doctor(broken), doctor(broken, options=("-f", "json", "--strict"))

    assert (lenient.code, strict.code) == (0, 4)
    (found,) = lenient.document["inputs"]
    assert (found["sureness"], found["rejected"]) == ("likely", 1)
    assert found["first_rejection"].startswith("line 2: ")


def test_no_value_of_an_attribute_is_printed(doctor: Doctor) -> None:
    secret = "s3cr3t-value"
    attributes = {
        "user.id": secret, "client_ref": secret, "gen_ai.prompt": secret, "gen_ai.usage.mystery": secret,
        "gen_ai.request.model": secret, "url.full": f"https://x/?key={secret}",
    }  # fmt: skip
    documents = document_of(call(tenant=secret, attributes=attributes), call(attributes={"client_ref": secret}))

    for options in ((), ("-f", "json")):
        said = doctor(documents, options=options)
        assert said.code == 0
        assert secret not in said.out + said.err


def test_names_from_files_cannot_act_on_the_terminal(doctor: Doctor) -> None:
    said = doctor(document_of(call(tenant="acme", scope="evil\x1b[31m")), options=())

    assert "\x1b" not in said.out
    assert "\\x1b" in said.out


@pytest.mark.parametrize(
    ("changes", "sureness"),
    [
        ({}, Sureness.CERTAIN),
        ({"recognition": Recognition.FRAMING}, Sureness.CERTAIN),
        ({"recognition": Recognition.HEAD}, Sureness.LIKELY),
        ({"rejected": 1, "rejections": (Rejection(3, 90, "broken"),)}, Sureness.LIKELY),
        ({"rejected": 11, "rejections": (Rejection(3, 90, "broken"),)}, Sureness.DOUBTFUL),
        ({"recognition": Recognition.NOTHING}, Sureness.NONE),
    ],
)
def test_sureness_follows_from_what_was_seen(changes: dict[str, Any], sureness: Sureness) -> None:
    source = InputSummary("x", "otlp-json", (), 9, 10, 10, 0, (), None, None)

    (found,) = _examined(replace(source, **changes)).inputs

    assert found.sureness is sureness
    assert found.why


def _examined(source: InputSummary) -> Checkup:
    return examine(
        [source],
        None,
        "no call",
        formats={"otlp-json": FormatFacts("OTLP", (), has_paths=True)},
        tables={},
        version="0",
        price_book="none",
        cost_source="computed",
    )


def test_it_says_which_keys_usage_and_price_were_read_from(doctor: Doctor) -> None:
    old = {"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2}
    keys = doctor(document_of(call(tenant="acme"), call(usage={}, attributes=old))).document["keys"]

    taken = {(entry["concept"], entry["key"]) for entry in keys["usage"]}
    assert taken == {
        ("input_tokens", "gen_ai.usage.input_tokens"),
        ("input_tokens", "gen_ai.usage.prompt_tokens"),
        ("output_tokens", "gen_ai.usage.output_tokens"),
        ("output_tokens", "gen_ai.usage.completion_tokens"),
    }
    assert {entry["key"] for entry in keys["price"]} == {"gen_ai.provider.name", "gen_ai.request.model"}
    assert {entry["vocabulary"] for entry in keys["usage"]} == {"otel-genai"}


def test_a_key_that_another_one_hides_was_not_taken(doctor: Doctor) -> None:
    both = call(tenant="acme", attributes={"llm.token_count.prompt": 7})

    keys = doctor(document_of(both)).document["keys"]["usage"]

    assert "llm.token_count.prompt" not in {entry["key"] for entry in keys}


def test_usage_keys_that_nobody_knows_are_counted_and_named(doctor: Doctor) -> None:
    strange = {"gen_ai.usage.mystery_tokens": 5}
    spans = [call(tenant="acme", attributes=strange) for _ in range(3)]
    said = doctor(document_of(*spans, call(tenant="acme"), span("step", attributes={"gen_ai.usage.alien": 1})))

    assert said.document["keys"]["unread_usage"] == [
        {"key": "gen_ai.usage.mystery_tokens", "spans": 3},
        {"key": "gen_ai.usage.alien", "spans": 1},
    ]
    assert "usage-keys" in {entry["id"] for entry in said.document["improvements"]}


def test_the_report_notes_usage_keys_that_nobody_knows(tmp_path: Path) -> None:
    done = audit_spans(tmp_path, [call(tenant="acme", attributes={"gen_ai.usage.mystery": 5}) for _ in range(2)])

    assert "2 spans have gen_ai.usage.mystery, which no vocabulary knows; it is not in any count." in done.report.notes


def test_a_usage_key_of_the_settings_is_known(tmp_path: Path) -> None:
    settings = Settings(vocabulary=Vocabulary(total_tokens=("gen_ai.usage.mystery",)))

    done = audit_spans(tmp_path, [call(tenant="acme", attributes={"gen_ai.usage.mystery": 1100})], settings)

    assert not any("mystery" in note for note in done.report.notes)


def test_versions_of_scopes_are_told_where_the_export_has_them(doctor: Doctor) -> None:
    document = json.loads(document_of(call(tenant="acme", scope="openinference.instrumentation.openai")))
    document["resourceSpans"][0]["scopeSpans"][0]["scope"]["version"] = "0.1.52"

    (found,) = doctor(json.dumps(document).encode()).document["inputs"]

    assert found["scopes"] == [{"name": "openinference.instrumentation.openai", "versions": ["0.1.52"], "spans": 1}]
