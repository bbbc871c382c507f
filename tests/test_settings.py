"""Settings: precedence, discovery, checks and the words of the refusals."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import SettingsError
from auditor.model.lexicon import Field
from auditor.model.report import Confidence
from auditor.settings import (
    ENTRIES,
    INTERNAL_ENVIRONMENTS,
    Settings,
    Vocabulary,
    find_file,
    require_known_rules,
    resolve,
    schema,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "repo" / "service"
    place.mkdir(parents=True)
    (tmp_path / "repo" / ".git").mkdir()
    monkeypatch.chdir(place)
    return place


def written(place: Path, text: str, name: str = "auditor.toml") -> Path:
    path = place / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(place: Path, text: str) -> SettingsError:
    written(place, text)
    with pytest.raises(SettingsError) as caught:
        resolve()
    return caught.value


@pytest.mark.usefixtures("here")
def test_nothing_said_gives_the_defaults() -> None:
    settings = resolve()

    assert settings == Settings()
    assert settings.gate.max_unattributed == Decimal("0.10")
    assert settings.gate.warn_unattributed == Decimal("0.03")
    assert settings.internal.environments == INTERNAL_ENVIRONMENTS
    assert set(settings.origins.values()) == {"default"}


def test_defaults_of_the_entries_are_those_of_the_dataclasses() -> None:
    settings = Settings()

    for entry in ENTRIES:
        value: Any = settings
        for part in entry.key.split("."):
            value = getattr(value, part)
        assert value == entry.default, entry.key


def test_flag_beats_variable_beats_file_beats_default(here: Path) -> None:
    written(here, '[gate]\nmax_unattributed = "40%"\nmax_lost = "30%"\nmax_unmetered = "20%"\n')
    environment = {"AUDITOR_MAX_UNATTRIBUTED": "0.2", "AUDITOR_MAX_LOST": "15 %"}

    settings = resolve({"gate.max_unattributed": "5%"}, environment=environment)

    assert settings.gate.max_unattributed == Decimal("0.05")
    assert settings.gate.max_lost == Decimal("0.15")
    assert settings.gate.max_unmetered == Decimal("0.2")
    assert settings.gate.max_unpriced is None
    assert settings.origins["gate.max_unattributed"] == "flag --max-unattributed"
    assert settings.origins["gate.max_lost"] == "variable AUDITOR_MAX_LOST"
    assert settings.origins["gate.max_unmetered"] == "file auditor.toml"
    assert settings.origins["gate.max_unpriced"] == "default"


MAPPINGS = '[mapping.one.fields]\nmodel = "m"\n[mapping.two.fields]\nmodel = "m"\n'
"""What a setting can name that has to be there."""


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key)
def test_every_setting_can_be_given_by_variable_and_by_file_as_it_is_shown(entry: Any, here: Path) -> None:
    other: dict[object, object] = {
        True: False, False: True, "call": "request", "computed": "reported", "local": "spark",
    }  # fmt: skip
    by_key = {"jobs": "3", "memory": "512MiB", "master": "local[2]", "fail_on": "likely"}
    text = {
        "Path": "book.toml",
        "tuple": "one, two",
        "NoneType": "25%" if "usd" not in entry.key else "25.5",
        "Decimal": "25%",
    }
    kind = "Path" if entry.key in {"pricing", "baseline"} else type(entry.default).__name__
    given = by_key.get(entry.key) or str(other.get(entry.default, text.get(kind)))

    written(here, MAPPINGS)
    by_variable = resolve(environment={entry.variable: given})
    value = dict(_values(by_variable))[entry.key]
    assert value != entry.default
    assert by_variable.origins[entry.key] == f"variable {entry.variable}"

    section, _, name = entry.key.rpartition(".")
    head = f"[{section}]\n" if section else ""
    written(here, f"{head}{name} = {entry.to_toml(value)}\n{MAPPINGS}")
    assert dict(_values(resolve()))[entry.key] == value


def _values(settings: Settings) -> list[tuple[str, object]]:
    pairs = []
    for entry in ENTRIES:
        value: Any = settings
        for part in entry.key.split("."):
            value = getattr(value, part)
        pairs.append((entry.key, value))
    return pairs


def test_own_keys_are_concepts_that_the_vocabulary_tables_have() -> None:
    concepts = set(Vocabulary.__slots__)

    assert concepts == {entry.key.partition(".")[2] for entry in ENTRIES if entry.key.startswith("vocabulary.")}
    assert {name.upper() for name in concepts} <= set(Field.__members__)


def test_only_declared_keys_are_handed_on(here: Path) -> None:
    written(here, "[vocabulary]\nuser = ['operator']\ncache_read = ['acme.cached']\n")

    assert dict(resolve().vocabulary.by_concept) == {"user": ("operator",), "cache_read": ("acme.cached",)}
    assert dict(resolve(search=False).vocabulary.by_concept) == {}


def test_schema_and_entries_name_the_same_keys() -> None:
    properties: Any = schema()["properties"]
    keys = set()
    for name, part in properties.items():
        if name in {"rules", "suppress", "mapping"}:
            continue
        inner = part.get("properties")
        keys |= {f"{name}.{leaf}" for leaf in inner} if inner else {name}

    assert keys == {entry.key for entry in ENTRIES}


def test_nearest_file_up_to_the_git_root_holds(here: Path) -> None:
    top = here.parent
    written(top.parent, 'rollup = "call"\n')
    assert find_file(here) is None

    written(top, 'rollup = "request"\n')
    assert find_file(here) == Path(os.path.relpath(top / "auditor.toml"))
    assert resolve().rollup == "request"

    written(here, '[tool.auditor]\nrollup = "call"\n', "pyproject.toml")
    assert find_file(here) == Path("pyproject.toml")
    assert resolve().rollup == "call"

    written(here, "hash_ids = true\n")
    assert find_file(here) == Path("auditor.toml")


def test_outside_a_repository_parents_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    written(tmp_path / "a", "hash_ids = true\n")
    monkeypatch.chdir(place)

    assert find_file(place) is None


def test_pyproject_of_somebody_else_is_passed_over(here: Path) -> None:
    written(here, "[tool.ruff]\nline-length = 1\n", "pyproject.toml")
    written(here.parent, "hash_ids = true\n")

    assert resolve().hash_ids


def test_named_file_is_read_instead_and_search_can_be_off(here: Path) -> None:
    written(here, "hash_ids = true\n")
    other = written(here, "exit_zero = true\n", "other.toml")

    assert resolve(file=other).exit_zero
    assert not resolve(file=other).hash_ids
    assert not resolve(search=False).hash_ids


def test_paths_in_a_file_are_relative_to_the_file(here: Path) -> None:
    written(here.parent, 'pricing = "prices.toml"\nrules_paths = ["rules"]\n')

    settings = resolve()

    assert settings.pricing == Path("../prices.toml")
    assert settings.rules_paths == (Path("../rules"),)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "[gate]\nmax_unatributed = 0.1\n",
            "auditor.toml: unknown key gate.max_unatributed",
            "gate.max_unattributed",
        ),
        (
            "max_unattributed = 0.1\n",
            "auditor.toml: unknown key max_unattributed",
            "max_unattributed under [gate]",
        ),
        ("[gate]\nrollup = 'call'\n", "auditor.toml: unknown key gate.rollup", "rollup, outside any section"),
        ("tenant_key = ['a']\n", "auditor.toml: unknown key tenant_key", "did you mean tenant_keys?"),
        (
            "[rules.x]\nfailon = 'none'\n",
            "auditor.toml: unknown key rules.x.failon",
            "did you mean rules.x.fail_on?",
        ),
        (
            "[vocabulary]\ninput_token = ['x']\n",
            "auditor.toml: unknown key vocabulary.input_token",
            "did you mean vocabulary.input_tokens?",
        ),
        (
            "[vocabulary]\ntenant = ['x']\n",
            "auditor.toml: unknown key vocabulary.tenant",
            "did you mean tenant_keys, outside any section?",
        ),
    ],
)
def test_unknown_key_is_refused_with_the_one_that_was_meant(here: Path, text: str, message: str, hint: str) -> None:
    error = refusal(here, text)

    assert error.exit_code == 2
    assert str(error) == message
    assert hint in str(error.hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tenant_keys = 'tenant.id'", 'auditor.toml: tenant_keys is "tenant.id", expected a list of names'),
        ("tenant_keys = ['a', 3]", "auditor.toml: tenant_keys[1] is 3, expected a name that is not empty"),
        ("hash_ids = 'yes'", 'auditor.toml: hash_ids is "yes", expected true or false'),
        ("rollup = 'trace'", 'auditor.toml: rollup is "trace", expected one of call, request'),
        ("gate = 3", "auditor.toml: gate is 3, expected a table"),
        (
            "[gate]\nmax_lost = [1]",
            'auditor.toml: gate.max_lost is [1], expected a share such as "10%" or 0.1, or "none"',
        ),
        (
            "[gate]\nmax_lost = true",
            'auditor.toml: gate.max_lost is true, expected a share such as "10%" or 0.1, or "none"',
        ),
        (
            "[gate]\nmax_lost = 10",
            ("auditor.toml: gate.max_lost is 10: expected a share between 0% and 100%; for 10 percent write 10%"),
        ),
        (
            "[gate]\nmax_lost = 'ten'",
            'auditor.toml: gate.max_lost is "ten": expected a share such as 10% or 0.1, or none',
        ),
        (
            "[gate]\nmax_unattributed_usd = -1",
            ("auditor.toml: gate.max_unattributed_usd is -1: expected an amount of US dollars that is not negative"),
        ),
        (
            "[rules.header-stripping]\nfail_on = 'sure'",
            ('auditor.toml: rules.header-stripping.fail_on is "sure", expected one of certain, likely, possible, none'),
        ),
        (
            "[internal]\nservices = 2026-01-01",
            "auditor.toml: internal.services is 2026-01-01, expected a list of names",
        ),
        ("vocabulary = ['x']", "auditor.toml: vocabulary is ['x'], expected a table of lists of attribute names"),
        ("[vocabulary]\nuser = 'x'", 'auditor.toml: vocabulary.user is "x", expected a list of names'),
        ("[vocabulary]\nuser = ['']", 'auditor.toml: vocabulary.user[0] is "", expected a name that is not empty'),
        (
            "[vocabulary]\nuser = ['x', 'y']\nfeature = ['y']",
            'file auditor.toml: vocabulary.feature names "y", which vocabulary.user (file auditor.toml) names too',
        ),
        (
            "tenant_keys = ['x']\n[vocabulary]\nuser = ['x']",
            'file auditor.toml: vocabulary.user names "x", which tenant_keys (file auditor.toml) names too',
        ),
    ],
)
def test_wrong_value_names_file_key_and_what_is_expected(here: Path, text: str, message: str) -> None:
    assert str(refusal(here, text)) == message


@pytest.mark.parametrize("text", ["rollup = ", "[gate]\nmax_lost = nan\n", "[gate]\nmax_lost = inf\n"])
def test_what_is_not_toml_is_refused_with_its_reason(here: Path, text: str) -> None:
    assert str(refusal(here, text)).startswith("auditor.toml: not TOML: ")


def test_file_that_is_not_text_is_refused(here: Path) -> None:
    (here / "auditor.toml").write_bytes(b"rollup = '\xff'")

    with pytest.raises(SettingsError, match=r"auditor\.toml: not UTF-8 at byte 10"):
        resolve()


@pytest.mark.usefixtures("here")
def test_named_file_that_is_missing_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"gone\.toml: No such file"):
        resolve(file=Path("gone.toml"))


@pytest.mark.usefixtures("here")
def test_bad_variable_and_bad_flag_name_themselves() -> None:
    with pytest.raises(SettingsError, match=r'^AUDITOR_STRICT is "maybe": expected true or false$'):
        resolve(environment={"AUDITOR_STRICT": "maybe"})
    with pytest.raises(SettingsError, match=r'^--max-lost is "250%": expected a share between'):
        resolve({"gate.max_lost": "250%"})


@pytest.mark.usefixtures("here")
def test_misspelt_variable_is_announced_not_obeyed() -> None:
    settings = resolve(environment={"AUDITOR_MAX_UNATRIBUTED": "1%", "AUDITOR_DEBUG": "1", "HOME": "/"})

    assert settings.gate == Settings().gate
    assert settings.notices == (
        "AUDITOR_MAX_UNATRIBUTED is not a setting and is ignored; did you mean AUDITOR_MAX_UNATTRIBUTED?",
    )


@pytest.mark.parametrize(("ci", "strict"), [("true", True), ("1", True), ("", False), ("false", False), ("0", False)])
@pytest.mark.usefixtures("here")
def test_ci_makes_a_run_strict(ci: str, strict: bool) -> None:
    assert resolve(environment={"CI": ci}).strict is strict


def test_ci_gives_way_to_whoever_says_otherwise(here: Path) -> None:
    assert not resolve({"strict": False}, environment={"CI": "true"}).strict
    assert not resolve(environment={"CI": "true", "AUDITOR_STRICT": "0"}).strict
    written(here, "strict = false\n")
    assert not resolve(environment={"CI": "true"}).strict


@pytest.mark.usefixtures("here")
def test_limits_can_be_switched_off_and_money_is_exact() -> None:
    settings = resolve({"gate.max_unattributed": "none", "gate.max_unattributed_usd": "$25.50"})

    assert settings.gate.max_unattributed is None
    assert settings.gate.max_unattributed_usd == 25_500_000_000_000


def test_rules_take_their_own_word_over_the_common_one(here: Path) -> None:
    written(
        here,
        'fail_on = "certain"\n[rules.header-stripping]\nfail_on = "none"\nrequired = true\n'
        "[rules.async-drop]\nenabled = false\n",
    )

    settings = resolve({"rules": {"tenant-conflict": "possible"}})

    assert settings.rule("header-stripping").fail_on is None
    assert settings.rule("header-stripping").required
    assert settings.rule("async-drop").fail_on is Confidence.CERTAIN
    assert not settings.rule("async-drop").enabled
    assert settings.rule("tenant-conflict").fail_on is Confidence.POSSIBLE
    assert settings.rule("any-other").fail_on is Confidence.CERTAIN
    assert settings.origins["rules.header-stripping.fail_on"] == "file auditor.toml"
    assert settings.origins["rules.tenant-conflict.fail_on"] == "flag --fail-on"


def test_settings_for_a_rule_that_does_not_exist_are_refused(here: Path) -> None:
    written(here, "[rules.header-striping]\nenabled = false\n")
    settings = resolve()

    with pytest.raises(SettingsError, match=r"file auditor\.toml: there is no rule header-striping") as caught:
        require_known_rules(settings, ("header-stripping", "async-drop"))

    assert caught.value.hint == "did you mean header-stripping?"


def test_without_gate_nothing_can_fail(here: Path) -> None:
    written(here, 'fail_on = "likely"\n[rules.async-drop]\nfail_on = "possible"\nrequired = true\n')

    settings = resolve().without_gate()

    assert settings.gate.max_unattributed is None
    assert settings.rule("async-drop").fail_on is None
    assert settings.rule("async-drop").required
    assert settings.rule("other").fail_on is None
