"""The report as JUnit XML, for CI systems that show test results: one case per rule and one per limit.

There is no standard; the elements are those that Jenkins, GitLab and GitHub's reporters all read: ``testsuites``,
``testsuite``, ``testcase`` with ``failure``, ``skipped`` or ``system-out``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from xml.etree import ElementTree as ET

from auditor.model.report import Finding, GateCheck, Report
from auditor.report import levels, short
from auditor.report.levels import Level
from auditor.report.wording import count, headline, sentence, visible

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What a document of XML 1.0 cannot hold (production 2)."""


def render(report: Report) -> bytes:
    """Write the report as two suites, rules and limits."""
    suites = [_suite("rules", _rules(report)), _suite("gate", _gate(report))]
    root = ET.Element("testsuites", {"name": "trace-auditor", **_counts(suites)})
    root.extend(suites)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _suite(name: str, cases: list[ET.Element]) -> ET.Element:
    suite = ET.Element("testsuite", {"name": f"trace-auditor.{name}"})
    suite.extend(cases)
    suite.attrib.update(_counts([suite]))
    return suite


def _counts(suites: list[ET.Element]) -> dict[str, str]:
    def number(tag: str) -> str:
        return str(sum(1 for suite in suites for _ in suite.iter(tag)))

    return {
        "tests": number("testcase"),
        "failures": number("failure"),
        "errors": "0",
        "skipped": number("skipped"),
        "time": "0",
    }


def _rules(report: Report) -> list[ET.Element]:
    found: dict[str, list[tuple[Level, Finding]]] = defaultdict(list)
    for entry in levels.by_level(report):
        found[entry[1].rule].append(entry)
    skipped = {line.rule: line.reason for line in report.not_checked}
    cases = []
    for rule in sorted({*report.rules_run, *found, *skipped}):
        case = _case("rules", rule)
        entries = found.get(rule, [])
        lines = [f"{entry_level}: {_where(finding)}{short.message(finding)}" for entry_level, finding in entries]
        failing = [finding for entry_level, finding in entries if entry_level is Level.ERROR]
        if failing:
            failure = ET.SubElement(case, "failure", {"message": _clean(short.message(failing[0])), "type": "finding"})
            failure.text = _clean("\n".join(lines))
            place = short.place_in_repository(failing[0])
            if place:
                case.attrib.update({"file": _clean(visible(place[0], 1_000)), "line": str(place[1])})
        elif lines:
            ET.SubElement(case, "system-out").text = _clean("\n".join(lines))
        elif rule in skipped:
            ET.SubElement(case, "skipped", {"message": _clean(f"not checked: {sentence(skipped[rule])}")})
        cases.append(case)
    return cases


def _gate(report: Report) -> list[ET.Element]:
    gate = report.gate
    cases = []
    for check in gate.checks:
        case = _case("gate", check.name)
        if not check.passed and gate.exit_code:
            failure = ET.SubElement(case, "failure", {"message": _clean(short.against(check)), "type": "limit"})
            failure.text = _clean(_explained(check))
        elif not check.passed:
            message = f"failed, and the exit status is 0 all the same: {short.against(check)}"
            ET.SubElement(case, "skipped", {"message": _clean(message)})
        cases.append(case)
    summary = _case("gate", "summary")
    share, claim = headline(report)
    lines = [f"{share} {claim}; {count(report.totals.calls, 'call')}", *map(sentence, gate.warnings)]
    ET.SubElement(summary, "system-out").text = _clean("\n".join(lines))
    return [*cases, summary]


def _explained(check: GateCheck) -> str:
    return f"{visible(check.name)}: {short.against(check)}" + (f"\n{sentence(check.hint)}" if check.hint else "")


def _where(finding: Finding) -> str:
    place = short.place_in_repository(finding)
    return f"{visible(place[0])}:{place[1]}: " if place else ""


def _case(suite: str, name: str) -> ET.Element:
    return ET.Element("testcase", {"classname": f"trace-auditor.{suite}", "name": _clean(visible(name)), "time": "0"})


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
