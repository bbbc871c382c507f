"""Documentation that the code can check: generated pages are fresh, and the rule that is shown works."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from auditor.pipeline import audit
from auditor.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("rules/*.md")])


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(generate: ModuleType) -> dict[str, str]:
    files: dict[str, str] = generate.files()
    return files


def test_generated_files_are_what_the_code_says(made: dict[str, str]) -> None:
    stale = [
        name
        for name, text in made.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text(encoding="utf-8") != text
    ]

    assert not stale, "make docs writes them"


def test_every_rule_has_its_page_and_no_page_is_left_over(made: dict[str, str]) -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "rules").glob("*.md")}

    assert pages == {name for name in made if name.startswith("docs/rules/")}
    assert len(pages) >= 10


def test_a_section_without_a_place_is_refused(generate: ModuleType) -> None:
    with pytest.raises(ValueError, match="has places for"):
        generate._filled("no marks", {"exits": "x"})

    with pytest.raises(ValueError, match="no single end"):
        generate._filled("<!-- generated: exits -->\n", {"exits": "x"})


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    missing = [
        target
        for target in targets
        if not target.startswith(("https://", "http://")) and not (page.parent / target).exists()
    ]

    assert missing == []


def test_the_rule_that_the_guide_writes_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Callable[[str], Path]
) -> None:
    guide = (ROOT / "docs" / "writing-a-rule.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    (name,) = re.findall(r"Save it as `(\w+\.py)`", guide)
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)

    report = audit([str(scenario("notebooks"))], Settings(rules_paths=(tmp_path / name,))).report

    (finding,) = report.findings
    assert (finding.rule, finding.calls) == ("idle-notebooks", 2)
    assert finding.also_fits == ()


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[[str], Path]:
    """Scheduled work that nobody owns, by a service of this name."""

    def write(service: str) -> Path:
        source = ROOT / "fixtures" / "rules" / "unowned_traffic" / "bad_scheduled_work.json"
        path = tmp_path / "traces.json"
        path.write_text(source.read_text().replace('"willow"', f'"{service}"'))
        return path

    return write
