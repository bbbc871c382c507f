"""The report as GitHub workflow commands: annotations beside the changed lines of a pull request.

Syntax and escapes are those of the runner (actions/toolkit, ``packages/core/src/command.ts``): ``%``, CR and LF in a
message, ``:`` and ``,`` too in a property. A step shows ten errors and ten warnings; the last of each says how many
there are besides.
"""

from __future__ import annotations

from auditor.model.report import Finding, Report
from auditor.report import levels, short
from auditor.report.levels import Level
from auditor.report.wording import headline, sentence, verdict, visible

SHOWN = 10
"""Annotations of one kind that a step shows."""

_COMMANDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


def render(report: Report) -> bytes:
    """Write one command a line: failed limits, findings by level, and the headline last."""
    commands: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    gate = report.gate
    for check in gate.checks:
        if not check.passed:
            text = f"{short.against(check)}. {sentence(check.hint)}"
            kind = "error" if gate.exit_code else "warning"
            commands[kind].append(command(kind, text, title=f"gate {visible(check.name)}"))
    commands["warning"] += [command("warning", sentence(text), title="gate") for text in gate.warnings]
    for level, finding in levels.by_level(report):
        commands[_COMMANDS[level]].append(_annotation(_COMMANDS[level], finding))
    share, claim = headline(report)
    headlines = [command("notice", f"{share} {claim}; {verdict(gate)}", title="trace-auditor")]
    lines = [
        line
        for kind, written in commands.items()
        for line in _fitting(kind, written, SHOWN - (len(headlines) if kind == "notice" else 0))
    ]
    return ("\n".join([*lines, *headlines]) + "\n").encode()


def command(kind: str, message: str, **properties: str | int) -> str:
    """Write a workflow command that nothing in it can end or extend."""
    written = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
    return f"::{kind} {written}::{_data(message)}"


def _fitting(kind: str, lines: list[str], room: int) -> list[str]:
    if len(lines) <= room:
        return lines
    more = len(lines) - room + 1
    return [*lines[: room - 1], command(kind, f"… and {more:,} more; the report has all", title="trace-auditor")]


def _annotation(kind: str, finding: Finding) -> str:
    title = visible(finding.rule)
    place = short.place_in_repository(finding)
    if place is None:
        return command(kind, short.message(finding), title=title)
    return command(kind, short.message(finding), file=visible(place[0], 1_000), line=place[1], title=title)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
