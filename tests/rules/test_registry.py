"""How rules are found: installed packages, folders that the user names, and what a broken one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

SCENARIO = Path(__file__).parents[2] / "fixtures" / "rules" / "unowned_traffic" / "bad_scheduled_work.json"
PAGE = '"""Spend of a team that nobody budgets.\n\nWhat goes wrong\n    A letter is written every week.\n"""\n'
RULE = PAGE + (
    "from auditor.rule import Case, Confidence, Diagnosis, Hop, HopKind, Rule, Survey\n"
    "\n"
    "def diagnose(case: Case, survey: Survey) -> Diagnosis | None:\n"
    "    if not case.is_unattributed:\n"
    "        return None\n"
    "    hop = Hop(case.service, case.service, HopKind.NONE)\n"
    '    return Diagnosis(Confidence.CERTAIN, hop, (f"{{case.calls}} calls of {{case.service}}",))\n'
    "\n"
    'RULE = Rule("{id}", title="Letters", remedy="Budget them.", needs="any calls", diagnose=diagnose)\n'
)


@dataclass(frozen=True)
class Done:
    """What a run left behind."""

    code: int
    out: str
    err: str


Audit = Callable[..., Done]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Run the command in a process, with nothing in the environment but where a package may be."""

    def run(*arguments: object, packages: Path | None = None) -> Done:
        environment = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}
        if packages is not None:
            environment["PYTHONPATH"] = str(packages)
        done = subprocess.run(
            [sys.executable, "-m", "auditor.cli.main", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
            timeout=120,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def a_rule(home: Path, name: str = "weekly_letters", text: str = "") -> Path:
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{name}.py"
    path.write_text(text or RULE.replace("{id}", name.replace("_", "-")).replace("{{", "{").replace("}}", "}"))
    return path


def a_wheel(home: Path, rule: Path) -> Path:
    """A distribution with one rule, as any build tool would pack it."""
    path = home / "letters_rules-1.0-py3-none-any.whl"
    files = {
        "letters_rules/__init__.py": '"""Rules of one company."""\n',
        f"letters_rules/{rule.name}": rule.read_text(),
        "letters_rules-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: letters-rules\nVersion: 1.0\n",
        "letters_rules-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "letters_rules-1.0.dist-info/entry_points.txt": "[auditor.rules]\nletters = letters_rules\n",
    }
    files["letters_rules-1.0.dist-info/RECORD"] = "".join(f"{name},,\n" for name in files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_an_installed_rule_package_is_found_and_speaks(tmp_path: Path, audit: Audit) -> None:
    target = tmp_path / "site"
    wheel = a_wheel(tmp_path, a_rule(tmp_path / "project"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "--no-index", "--target", target, wheel], check=True)

    listed = audit("rules", packages=target)
    done = audit(SCENARIO, "-f", "json", "--no-config", packages=target)
    page = audit("explain", "weekly-letters", packages=target)

    assert "weekly-letters" in listed.out
    (finding,) = json.loads(done.out)["findings"]
    assert (finding["rule"], finding["calls"], finding["unattributed_cost"]) == ("weekly-letters", 2, "0.02")
    assert finding["also_fits"] == []
    assert page.out.startswith("weekly-letters: Letters\n\nSpend of a team that nobody budgets.")


def test_without_the_package_its_rule_is_unknown(audit: Audit) -> None:
    done = audit(SCENARIO, "-f", "json", "--no-config")

    (finding,) = json.loads(done.out)["findings"]
    assert finding["rule"] == "unowned-traffic"
    assert "weekly-letters" not in audit("rules").out


@pytest.mark.parametrize("named", ["file", "folder"])
def test_rules_are_read_from_a_path(named: str, tmp_path: Path, audit: Audit) -> None:
    path = a_rule(tmp_path / "rules")
    a_rule(tmp_path / "rules", "_draft", "raise RuntimeError\n")

    done = audit(SCENARIO, "-f", "json", "--no-config", "--rules", path if named == "file" else path.parent)

    assert [finding["rule"] for finding in json.loads(done.out)["findings"]] == ["weekly-letters"]


def test_a_rule_that_raises_ends_the_run_by_name(tmp_path: Path, audit: Audit) -> None:
    text = PAGE + (
        "from auditor.rule import Rule\n"
        "def diagnose(case, survey):\n    raise KeyError('acme')\n"
        'RULE = Rule(id="weekly-letters", title="", remedy="", needs="", diagnose=diagnose)\n'
    )

    done = audit(SCENARIO, "--no-config", "--rules", a_rule(tmp_path, text=text))

    assert (done.code, done.out) == (70, "")
    assert done.err.startswith("audit: the rule 'weekly-letters' failed: KeyError")
    assert "Traceback" not in done.err


def test_a_rule_that_returns_something_else_ends_the_run_by_name(tmp_path: Path, audit: Audit) -> None:
    text = PAGE + (
        "from auditor.rule import Rule\n"
        'RULE = Rule("weekly-letters", title="", remedy="", needs="", diagnose=lambda case, survey: True)\n'
    )

    done = audit(SCENARIO, "--no-config", "--rules", a_rule(tmp_path, text=text))

    assert (done.code, done.out) == (70, "")
    assert done.err.startswith("audit: the rule 'weekly-letters' returned bool, not a Diagnosis")


def test_two_rules_of_one_name_are_refused(tmp_path: Path, audit: Audit) -> None:
    done = audit("rules", "--rules", a_rule(tmp_path, "unowned_traffic"))

    assert (done.code, done.out) == (70, "")
    assert done.err.startswith("audit: two rules are called 'unowned-traffic'")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (PAGE + 'RULE = {"id": "weekly-letters"}\n', "RULE is not an auditor.rule.Rule"),
        (PAGE + RULE.replace(PAGE, "").replace("{id}", "other-name"), "the rule is called 'other-name'"),
        (RULE.replace(PAGE, "").replace("{id}", "weekly-letters"), "a rule needs a docstring"),
        ("import nothing_of_that_name\n", "cannot be imported: No module named 'nothing_of_that_name'"),
        ("def diagnose(:\n", "cannot be imported: invalid syntax"),
    ],
)
def test_a_module_that_breaks_the_contract_is_refused(text: str, complaint: str, tmp_path: Path, audit: Audit) -> None:
    path = a_rule(tmp_path, text=text.replace("{{", "{").replace("}}", "}"))

    done = audit(SCENARIO, "--no-config", "--rules", path)

    assert (done.code, done.out) == (70, "")
    assert complaint in done.err
    assert "weekly_letters" in done.err


def test_a_module_without_a_rule_is_no_rule(tmp_path: Path, audit: Audit) -> None:
    a_rule(tmp_path / "rules", "shared", '"""What both use."""\nLIMIT = 3\n')
    a_rule(tmp_path / "rules")

    assert audit("rules", "--rules", tmp_path / "rules").out.count("weekly-letters") == 1


@pytest.mark.parametrize("named", ["absent", "empty"])
def test_a_path_without_rules_is_a_settings_error(named: str, tmp_path: Path, audit: Audit) -> None:
    home = tmp_path / named
    if named == "empty":
        home.mkdir()

    done = audit(SCENARIO, "--no-config", "--rules", home)

    assert (done.code, done.out) == (2, "")
    assert str(home) in done.err
