"""Rules and the auditor know each other by ``auditor.rule`` alone; every rule keeps the form asked for."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import auditor_rules
from auditor import rule as interface
from auditor.registry import load_rules
from auditor.rule import Rule

HOME = Path(auditor_rules.__path__[0])
MODULES = sorted(path for path in HOME.glob("*.py") if path.name != "__init__.py")
BUILT_IN = {rule.id: rule for rule in load_rules() if (HOME / f"{rule.id.replace('-', '_')}.py").is_file()}
HEADINGS = ["What goes wrong", "How it is recognised", "How to fix it"]


def imported(path: Path) -> set[str]:
    """All modules that a file imports, the names from ``auditor`` packages included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_rule_imports_the_interface_and_nothing_else_of_ours(path: Path) -> None:
    ours = {name for name in imported(path) if name.partition(".")[0] in {"auditor", "auditor_rules"}}

    assert ours == {"auditor.rule"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_rule_reads_no_file_and_no_environment(path: Path) -> None:
    assert not imported(path) & {"os", "pathlib", "io", "sys", "subprocess", "socket", "time", "random"}


def test_every_module_is_a_rule() -> None:
    assert sorted(BUILT_IN) == sorted(path.stem.replace("_", "-") for path in MODULES)
    assert len(BUILT_IN) >= 10


@pytest.mark.parametrize("rule", BUILT_IN.values(), ids=BUILT_IN)
def test_a_rule_has_its_page_in_three_headings(rule: Rule) -> None:
    headings = re.findall(r"^(\S.*)\n    \S", inspect.cleandoc(rule.page), flags=re.MULTILINE)

    assert headings == HEADINGS
    assert rule.page.splitlines()[0].endswith(".")


@pytest.mark.parametrize("rule", BUILT_IN.values(), ids=BUILT_IN)
def test_a_rule_says_what_it_is_and_needs(rule: Rule) -> None:
    assert rule.title
    assert not rule.title.endswith(".")
    assert rule.remedy.endswith(".")
    assert rule.needs
    assert 0 <= rule.specificity <= 100


def test_the_interface_says_what_it_offers_and_offers_what_it_says() -> None:
    assert interface.INTERFACE == 1
    assert len(set(interface.__all__)) == len(interface.__all__)
    for name in interface.__all__:
        assert hasattr(interface, name)


def test_everything_that_rules_use_is_on_offer() -> None:
    used = {
        alias.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "auditor.rule"
        for alias in node.names
    }

    assert used <= set(interface.__all__)
