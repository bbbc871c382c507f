# ruff: noqa: INP001  # a script, not a module
"""Writes every page and table that the code itself knows, so that documentation cannot say something else.

    python docs/generate.py            write
    python docs/generate.py --check    write nothing, exit 1 where a file would change

Pages of rules come from the docstrings of their modules, tables of README.md from the command itself. In
README.md only what stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->`` is written.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import auditor_rules
from auditor.cli import formats
from auditor.cli.exits import EXITS
from auditor.cli.main import COMMANDS
from auditor.registry import load_rules
from auditor.rule import Rule

ROOT = Path(__file__).resolve().parents[1]
README = "README.md"
WIDTH = 100
"""Columns of the report that is shown."""
REPORT_ENDS_BEFORE = "\nTenants "
"""The first part of a report: how much, where, what to repair."""


def files() -> dict[str, str]:
    """All generated files, by their path from the root."""
    rules = _built_in()
    made = {f"docs/rules/{rule.id}.md": _page(rule) for rule in rules}
    made["rules/README.md"] = _catalogue(rules)
    made["docs/formats.md"] = _formats(rules)
    made[README] = _filled((ROOT / README).read_text(encoding="utf-8"), _sections(rules))
    return made


def _built_in() -> list[Rule]:
    home = Path(auditor_rules.__path__[0])
    return [rule for rule in load_rules() if (home / f"{_module(rule)}.py").is_file()]


def _module(rule: Rule) -> str:
    return rule.id.replace("-", "_")


def _sections(rules: Sequence[Rule]) -> dict[str, str]:
    report = _run("demo").partition(REPORT_ENDS_BEFORE)[0].rstrip()
    commands = [f"| `audit {name}` | {command.summary} |" for name, command in COMMANDS.items()]
    return {
        "report": f"```\n{report}\n```",
        "exits": _table(("exit", "meaning"), [f"| {entry.code} | {entry.meaning} |" for entry in EXITS]),
        "rules": _table(
            ("rule", "what is wrong"),
            [f"| [`{rule.id}`](docs/rules/{rule.id}.md) | {rule.title} |" for rule in rules],
        ),
        "commands": _table(
            ("command", "what it does"), ["| `audit FILES…` | Audit traces; the default command. |", *commands]
        ),
        "help": f"```\n{_run('--help').rstrip()}\n```",
    }


def _run(*arguments: str) -> str:
    """Run the command as a user would, with nothing in the environment that could change what it says."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH", "SYSTEMROOT"}}
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "auditor.cli.main", *arguments],
        env=kept | {"COLUMNS": str(WIDTH), "LANG": "C.UTF-8", "PYTHONUTF8": "1"},
        capture_output=True,
        check=True,
        timeout=120,
    )
    return done.stdout.decode()


def _table(headers: Sequence[str], rows: Sequence[str]) -> str:
    return "\n".join([f"| {' | '.join(headers)} |", f"|{' --- |' * len(headers)}", *rows])


def _page(rule: Rule) -> str:
    summary, _, rest = inspect.cleandoc(rule.page).partition("\n\n")
    parts = [f"# `{rule.id}`: {rule.title}", _prose(summary)]
    for heading, text in re.findall(r"^(\S[^\n]*)\n((?:    [^\n]*\n?|\n)+)", rest, flags=re.MULTILINE):
        paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
        parts += [f"## {heading}", *map(_prose, paragraphs)]
    parts += ["## What it needs to be checked", _prose(f"{rule.needs[:1].upper()}{rule.needs[1:]}.")]
    parts += ["## In one sentence", _prose(rule.remedy)]
    parts += ["## Scenarios", _scenarios(rule)]
    parts.append(f"<!-- made from rules/auditor_rules/{_module(rule)}.py by docs/generate.py -->")
    return "\n\n".join(parts) + "\n"


def _scenarios(rule: Rule) -> str:
    home = ROOT / "fixtures" / "rules" / _module(rule)
    lines = []
    for kind, what in (("bad", "it speaks"), ("good", "it is silent")):
        for path in sorted(home.glob(f"{kind}_*.json")):
            name = path.stem.partition("_")[2].replace("_", " ")
            lines.append(f"- {what}: [{name}](../../{path.relative_to(ROOT).as_posix()})")
    return "\n".join(lines)


def _prose(text: str) -> str:
    """One sentence a line, and Markdown's own marks for code."""
    joined = re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))
    return re.sub(r"(?<=[.!?]) (?=[A-Z`])", "\n", joined)


def _catalogue(rules: Sequence[Rule]) -> str:
    rows = [
        f"| [`{rule.id}`](../docs/rules/{rule.id}.md) | {rule.title} | {rule.remedy} | {rule.needs} |" for rule in rules
    ]
    return "\n".join(
        [
            "# Rules",
            "",
            "One module for each way in which spend loses its tenant; each says where, and what repairs it.",
            "`audit rules` prints this list with the rules of your own packages, `audit explain RULE` a rule's page.",
            "How to write one: [docs/writing-a-rule.md](../docs/writing-a-rule.md).",
            "",
            _table(("rule", "what is wrong", "what to do", "needs"), rows),
            "",
            "<!-- made from rules/auditor_rules by docs/generate.py -->",
            "",
        ]
    )


def _formats(rules: Sequence[Rule]) -> str:
    rows = []
    for entry in formats.rows(rules):
        gaps = "; ".join(gap["what"] for gap in _entries(entry["cannot_tell"])) or (
            "" if formats.REFUSED in str(entry["title"]) else "nothing is missing by itself"
        )
        skipped = ", ".join(
            f"[`{skipped['rule']}`](rules/{skipped['rule']}.md)" for skipped in _entries(entry["not_checked"])
        )
        rows.append(f"| `{entry['name']}` | {entry['title']} | {entry['recognised_by']} | {gaps} | {skipped} |")
    refused = [f"| {entry['what']} | {entry['instead']} |" for entry in formats.refused()]
    return "\n".join(
        [
            "# Formats",
            "",
            "What `audit` reads. A format is recognised by what is in the file, never by the file's name, and the",
            "first of this list that fits is taken. What a format has no place for limits what can be found in it:",
            "rules that need it are listed as not checked, never as passed.",
            "`audit formats` prints this list, `audit doctor FILES` says what your files are and what they lack.",
            "",
            _table(("format", "what it is", "recognised by", "cannot tell", "not checked"), rows),
            "",
            "Recognised, but without calls:",
            "",
            _table(("what", "export instead"), refused),
            "",
            "<!-- made from src/auditor/load/formats.py by docs/generate.py -->",
            "",
        ]
    )


def _entries(value: object) -> list[dict[str, str]]:
    return value if isinstance(value, list) else []


def _filled(text: str, sections: Mapping[str, str]) -> str:
    """Put each section between its marks; raises ``ValueError`` when one has no place, or a place no section."""
    places = re.findall(r"<!-- generated: (\w+) -->", text)
    if sorted(places) != sorted(sections):
        raise ValueError(f"README.md has places for {sorted(places)}, and there are {sorted(sections)}")
    for name, section in sections.items():
        pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end: {name} -->)", flags=re.DOTALL)
        text, found = pattern.subn(lambda match, body=section: f"{match[1]}{body}\n{match[2]}", text)
        if found != 1:
            raise ValueError(f"README.md has no single end for {name}")
    return text


def main(arguments: Sequence[str]) -> int:
    """Write, or compare; the exit status says whether anything differs in a comparison."""
    made = files()
    stale = [
        path
        for path, text in made.items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text(encoding="utf-8") != text
    ]
    gone = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "docs" / "rules").glob("*.md"))
        if path.relative_to(ROOT).as_posix() not in made
    ]
    if "--check" in arguments:
        for path in [*stale, *gone]:
            sys.stdout.write(f"{path} is not what the code says: make docs\n")
        return 1 if stale or gone else 0
    for path in stale:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(made[path], encoding="utf-8")
    for path in gone:
        (ROOT / path).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
