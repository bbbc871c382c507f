"""The action, the template, the hooks and the documented jobs: their scripts are run as a CI would run them."""

from __future__ import annotations

import gzip
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from auditor.cli.audit import audit as audit_command

ROOT = Path(__file__).parents[1]
EXPORT = ROOT / "fixtures" / "exports" / "shop.jsonl.gz"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
TEMPLATE = (ROOT / "templates" / "trace-auditor.yml").read_text()
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
GUIDE = (ROOT / "docs" / "ci.md").read_text()
EVIL = "$(touch owned) `touch owned`; touch owned; \"'"
NOT_INPUTS = {"files", "formats", "quiet", "color", "version", "update_baseline", "engine", "master"}
"""Parameters of ``audit`` that the action decides itself, or that make no sense in it."""


@dataclass
class Done:
    """What a script left behind."""

    code: int
    out: str
    err: str
    outputs: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout with an export, and a virtual environment in which the program is installed."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "traces.jsonl").write_bytes(gzip.decompress(EXPORT.read_bytes()))
    scripts = tmp_path / "runner" / "trace-auditor" / "bin"
    scripts.mkdir(parents=True)
    program(scripts / "audit", f'exec {shlex.quote(sys.executable)} -m auditor.cli.main "$@"')
    program(scripts / "python", f'printf "%s\\n" "$@" >> {shlex.quote(str(tmp_path / "pip.log"))}')
    program(scripts / "pip", f'printf "%s\\n" "$@" >> {shlex.quote(str(tmp_path / "pip.log"))}')
    return tmp_path


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def shell(place: Path, script: str, *start: str, path: bool = False, **variables: str) -> Done:
    """Run a script in a file of its own, as runners do, with the environment of a CI."""
    file = place / "step.sh"
    file.write_text(script)
    folders = [str(place / "runner" / "trace-auditor" / "bin")] if path else []
    done = subprocess.run(
        [*start, str(file)],
        cwd=place / "work",
        env={
            "PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")]),
            "LANG": "C.UTF-8",
            "CI": "true",
            **variables,
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    return Done(done.returncode, done.stdout, done.stderr)


# --- the action


def step(name: str) -> dict[str, Any]:
    (found,) = [entry for entry in ACTION["runs"]["steps"] if entry["name"] == name]
    return dict(found)


def run_step(place: Path, name: str, inputs: dict[str, str], **outputs: str) -> Done:
    """Run a step of the action: expressions are resolved where the runner does it, in ``env`` only."""
    given = {key: str(entry.get("default", "")) for key, entry in ACTION["inputs"].items()} | inputs
    context = {f"inputs.{key}": value for key, value in given.items()}
    context |= {f"steps.audit.outputs.{key.replace('_', '-')}": value for key, value in outputs.items()}

    def resolved(text: str) -> str:
        return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: context.get(found[1], ""), text)

    output, summary = place / "output", place / "summary.md"
    output.write_text("")
    done = shell(
        place,
        step(name)["run"],
        "bash", "--noprofile", "--norc", "-eo", "pipefail",
        RUNNER_TEMP=str(place / "runner"),
        GITHUB_ACTION_PATH=str(ROOT),
        GITHUB_OUTPUT=str(output),
        GITHUB_STEP_SUMMARY=str(summary),
        GITHUB_ACTIONS="true",
        **{key: resolved(value) for key, value in step(name).get("env", {}).items()},
    )  # fmt: skip
    done.outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done


def test_inputs_mirror_the_flags() -> None:
    flags = set(inspect.signature(audit_command).parameters) - NOT_INPUTS
    own = {"version", "python", "directory", "annotations", "summary", "upload_sarif", "artifact", "comment", "token"}

    inputs = {name.replace("-", "_") for name in ACTION["inputs"]}

    assert inputs - own - {"files"} == flags
    assert "files" in inputs


def test_no_script_has_an_expression_in_it() -> None:
    scripts = [entry["run"] for entry in ACTION["runs"]["steps"] if "run" in entry]

    assert len(scripts) == 4
    assert [script for script in scripts if "${{" in script] == []


def test_every_input_reaches_a_step() -> None:
    text = json.dumps(ACTION["runs"])

    assert [name for name in ACTION["inputs"] if f"inputs.{name}" not in text] == []


def test_the_audit_step_writes_reports_and_does_not_fail_yet(place: Path) -> None:
    done = run_step(place, "Audit", {"files": "traces.jsonl"})

    assert done.code == 0, done.err
    assert done.outputs == {
        "exit-code": "1",
        "report": "trace-auditor/audit.json",
        "sarif": "trace-auditor/audit.sarif",
    }
    assert json.loads((place / "work" / "trace-auditor" / "audit.json").read_text())["gate"]["exit_code"] == 1
    assert {path.name for path in (place / "work" / "trace-auditor").iterdir()} == {
        "audit.json",
        "audit.md",
        "audit.sarif",
        "junit.xml",
    }
    assert (place / "summary.md").read_text().startswith("### ❌ ")
    assert "\n::error file=traces.jsonl,line=" in done.out


def test_the_verdict_comes_last_and_always(place: Path) -> None:
    last = ACTION["runs"]["steps"][-1]

    assert last["name"] == "Verdict"
    assert last["if"] == "always()"
    assert [run_step(place, "Verdict", {}, exit_code=code).code for code in ("0", "1", "4")] == [0, 1, 4]
    assert run_step(place, "Verdict", {}).code == 70


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"max-unattributed": "none"}, "0"),
        ({"exit-zero": "true"}, "0"),
        ({"exit-zero": "false"}, "1"),
        ({"max-unattributed": "none", "fail-on": "certain"}, "1"),
        ({"max-unattributed": "none", "fail-on": "async-drop=none\nheader-stripping=certain\n"}, "1"),
        ({"max-unattributed": "none", "fail-on": "async-drop=none"}, "0"),
        ({"files": "gone.jsonl"}, "3"),
        ({"max-unattributed": "lots"}, "2"),
    ],
)
def test_inputs_do_what_the_flags_do(place: Path, inputs: dict[str, str], code: str) -> None:
    done = run_step(place, "Audit", {"files": "traces.jsonl"} | inputs)

    assert done.code == 0, done.err
    assert done.outputs["exit-code"] == code
    assert ("report" in done.outputs) is (code in {"0", "1"})


def test_several_files_and_keys_come_one_a_line(place: Path) -> None:
    shutil.copy(place / "work" / "traces.jsonl", place / "work" / "with space.jsonl")

    done = run_step(place, "Audit", {"files": "traces.jsonl\nwith space.jsonl\n", "tenant-key": "a.b\nc.d"})

    document = json.loads((place / "work" / "trace-auditor" / "audit.json").read_text())
    assert done.outputs["exit-code"] == "1"
    assert [entry["path"] for entry in document["inputs"]] == ["traces.jsonl", "with space.jsonl"]


def test_annotations_and_summary_can_be_left_out(place: Path) -> None:
    done = run_step(place, "Audit", {"files": "traces.jsonl", "annotations": "false", "summary": "false"})

    assert "::error" not in done.out
    assert not (place / "summary.md").exists()


@pytest.mark.parametrize("name", sorted(set(ACTION["inputs"]) - {"directory", "token", "python", "version"}))
def test_no_input_is_run_as_shell(place: Path, name: str) -> None:
    run_step(place, "Audit", {"files": "traces.jsonl", name: EVIL})
    run_step(place, "Comment on the pull request", {name: EVIL}, report="trace-auditor/audit.json")

    assert not list(place.rglob("owned"))


def test_a_directory_with_an_odd_name_is_one_directory(place: Path) -> None:
    done = run_step(place, "Audit", {"files": "traces.jsonl", "directory": "out $(touch owned)"})

    assert done.outputs["report"] == "out $(touch owned)/audit.json"
    assert not list(place.rglob("owned"))


def test_a_directory_cannot_add_outputs(place: Path) -> None:
    done = run_step(place, "Audit", {"files": "traces.jsonl", "directory": "out\nexit-code=0"})

    assert done.code == 2
    assert done.outputs == {}


@pytest.mark.parametrize(("version", "source"), [("", str(ROOT)), ("0.1.0", "trace-auditor==0.1.0")])
def test_the_install_step_installs_the_version_or_the_action(place: Path, version: str, source: str) -> None:
    program(place / "python3", f'if [ "$1" = -c ]; then exec {shlex.quote(sys.executable)} "$@"; fi')

    done = run_step(place, "Install", {"python": str(place / "python3"), "version": version})

    assert done.code == 0, done.err
    assert (place / "pip.log").read_text().splitlines()[-1] == source


def test_an_old_python_is_refused(place: Path) -> None:
    program(place / "python3", "exit 1")

    done = run_step(place, "Install", {"python": str(place / "python3")})

    assert done.code == 2
    assert "::error title=trace-auditor::" in done.out


def test_what_follows_a_failure_is_still_done() -> None:
    for entry in ACTION["runs"]["steps"]:
        if entry["name"] not in {"Install", "Audit"}:
            assert entry["if"].startswith("always()"), entry["name"]
        if "uses" in entry or entry["name"].startswith("Comment"):
            assert entry["continue-on-error"] is True


# --- the template


def job(**inputs: str) -> dict[str, Any]:
    """The job as GitLab makes it of the component: inputs are put in before anything runs."""
    spec, _, body = TEMPLATE.partition("\n---\n")
    declared = yaml.safe_load(spec)["spec"]["inputs"]
    made = yaml.safe_load(body)["trace-auditor"]
    values = {name: entry["default"] for name, entry in declared.items()} | inputs

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"\$\[\[ *inputs\.(\w+) *\]\]", lambda found: values[found[1]], value)
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        return [filled(inner) for inner in value] if isinstance(value, list) else value

    found: dict[str, Any] = filled(made)
    return found


def run_job(place: Path, inputs: dict[str, str], **variables: str) -> tuple[Done, Done]:
    made = job(**inputs)
    environment = {"GITLAB_CI": "true", **made["variables"], **variables}
    first = shell(place, "\n".join(made["script"]), "sh", "-e", path=True, **environment)
    return first, shell(place, "\n".join(made["after_script"]), "sh", "-e", path=True, **environment)


def test_the_job_fails_and_leaves_what_gitlab_shows(place: Path) -> None:
    done, after = run_job(place, {})

    made = job()
    home = place / "work"
    assert (done.code, after.code) == (1, 0), done.err
    assert made["artifacts"]["when"] == "always"
    issues = json.loads((home / made["artifacts"]["reports"]["codequality"]).read_text())
    assert {issue["check_name"] for issue in issues} > {"header-stripping"}
    assert ET.parse(home / made["artifacts"]["reports"]["junit"]).getroot().get("failures") != "0"
    assert (place / "pip.log").read_text().splitlines()[-1] == "trace-auditor"


def test_variables_of_gitlab_are_settings(place: Path) -> None:
    done, _ = run_job(place, {}, AUDITOR_MAX_UNATTRIBUTED="none")

    assert done.code == 0, done.err


def test_files_may_be_several_and_patterns(place: Path) -> None:
    (place / "work" / "more").mkdir()
    shutil.copy(place / "work" / "traces.jsonl", place / "work" / "more" / "one.jsonl")

    done, _ = run_job(place, {"files": "traces.jsonl more/*.jsonl"})

    document = json.loads((place / "work" / "trace-auditor" / "audit.json").read_text())
    assert done.code == 1
    assert [entry["path"] for entry in document["inputs"]] == ["traces.jsonl", "more/one.jsonl"]


@pytest.mark.parametrize("name", ["files", "package", "behavior"])
def test_no_input_of_the_template_is_run_as_shell(place: Path, name: str) -> None:
    run_job(place, {name: EVIL}, GITLAB_TOKEN="x", CI_MERGE_REQUEST_IID="7", CI_API_V4_URL="http://127.0.0.1:1")

    assert not list(place.rglob("owned"))


def test_inputs_of_the_template_stand_in_no_script() -> None:
    spec = yaml.safe_load(TEMPLATE.partition("\n---\n")[2])["trace-auditor"]

    assert "$[[" not in json.dumps([spec["script"], spec["after_script"]])


def test_the_comment_is_only_tried_with_a_token_and_in_a_merge_request(place: Path) -> None:
    _, without = run_job(place, {})
    _, with_token = run_job(
        place, {}, GITLAB_TOKEN="x", CI_MERGE_REQUEST_IID="7", CI_PROJECT_ID="3", CI_API_V4_URL="http://127.0.0.1:1"
    )

    assert (without.code, without.err) == (0, "")
    assert with_token.code == 6
    assert "127.0.0.1:1 cannot be reached" in with_token.err


# --- hooks


def hook(place: Path, name: str, *files: str) -> Done:
    entry = HOOKS[name]
    words = [*shlex.split(entry["entry"]), *(files if entry.get("pass_filenames", True) else ())]
    return shell(place, f"exec {shlex.join(words)}", "sh", path=True)


def test_the_hook_audits_the_files_that_are_to_be_committed(place: Path) -> None:
    assert hook(place, "trace-audit", "traces.jsonl").code == 1
    assert hook(place, "trace-audit", "--max-unattributed", "none", "traces.jsonl").code == 0


@pytest.mark.parametrize(
    ("name", "is_meant"),
    [
        ("traces.json", True),
        ("fixtures/traces.jsonl.gz", True),
        ("fixtures/checkout-trace.json", True),
        ("fixtures/checkout.traces.jsonl.zst", True),
        ("package.json", False),
        ("retraces.json", False),
        ("traces.py", False),
    ],
)
def test_the_hook_is_for_traces(name: str, *, is_meant: bool) -> None:
    assert bool(re.search(HOOKS["trace-audit"]["files"], name)) is is_meant


def test_the_settings_hook_refuses_settings_that_cannot_be_followed(place: Path) -> None:
    (place / "work" / "auditor.toml").write_text("[gate]\nmax_unattributed = 0.2\n")
    assert hook(place, "trace-audit-settings").code == 0

    (place / "work" / "auditor.toml").write_text("[gate]\nmax_unatributed = 0.2\n")
    assert hook(place, "trace-audit-settings").code == 2


# --- the guide


def scripts_of_the_guide() -> dict[str, str]:
    """Shell that the guide shows for GitHub without the action, and for Jenkins."""
    jenkins = re.findall(r"sh '''\n(.*?)'''", GUIDE, flags=re.DOTALL)
    github = [entry["run"] for entry in yaml.safe_load(_block("- run: pip install trace-auditor")) if "run" in entry]
    return {"jenkins": inspect.cleandoc("\n" + jenkins[0]), "github": "\n".join(github[:2])}


def _block(start: str) -> str:
    (found,) = [block for block in re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL) if block.startswith(start)]
    return str(found)


def test_the_jenkins_job_leaves_what_jenkins_shows(place: Path) -> None:
    script = scripts_of_the_guide()["jenkins"]
    assert script.startswith("python3 -m venv .audit\n")
    (place / "work" / ".audit").mkdir()
    (place / "work" / ".audit" / "bin").symlink_to(place / "runner" / "trace-auditor" / "bin")

    done = shell(place, script.partition("\n")[2], "sh", "-xe")

    assert done.code == 1, done.err
    assert ET.parse(place / "work" / "audit.xml").getroot().tag == "testsuites"
    assert json.loads((place / "work" / "audit.sarif").read_text())["version"] == "2.1.0"
    for name in ("audit.xml", "audit.sarif", "audit.json"):
        assert f"'{name}'" in GUIDE
        assert (place / "work" / name).is_file()


def test_the_job_without_the_action_works(place: Path) -> None:
    done = shell(
        place, scripts_of_the_guide()["github"], "bash", "-e", path=True, GITHUB_STEP_SUMMARY=str(place / "summary.md")
    )

    assert done.code == 1, done.err
    assert "::error " in done.out
    assert (place / "summary.md").is_file()
    assert (place / "work" / "audit.json").is_file()


def test_yaml_of_the_guide_is_yaml() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)

    assert len(blocks) >= 4
    assert all(yaml.safe_load(block) for block in blocks)


def test_the_guide_uses_inputs_that_exist() -> None:
    (step_shown,) = [
        entry for entry in yaml.safe_load(_block("permissions:"))["steps"] if "trace-auditor" in entry.get("uses", "")
    ]

    assert set(step_shown["with"]) <= set(ACTION["inputs"])
