"""Who imports whom, and what a distribution contains."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_import_contracts_are_kept() -> None:
    """The contracts are in pyproject.toml; they also hold for the installed packages."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=False, timeout=300
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept, 0 broken" in done.stdout


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Files of the wheel: of the installed one, or of one that is built where the project is installed editable."""
    installed = {str(path) for path in metadata.distribution("trace-auditor").files or ()}
    if any(name.endswith("auditor/py.typed") for name in installed):
        return installed
    place = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    source = place / "source"
    source.mkdir()
    for name in ("src", "rules"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", place, source],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (wheel,) = place.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("package", ["src/auditor", "rules/auditor_rules"])
def test_the_wheel_has_every_module_and_data_file(package: str, packed: set[str]) -> None:
    home = ROOT / package
    wanted = {
        path.relative_to(home.parent).as_posix()
        for path in home.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert wanted - packed == set()


@pytest.mark.parametrize(
    "name",
    [
        "auditor/py.typed",
        "auditor/report/schema/report.schema.json",
        "auditor/report/schema/diff.schema.json",
        "auditor/baseline.schema.json",
        "auditor/settings/settings.schema.json",
        "auditor/price/pricing.schema.json",
        "auditor/price/supplement.toml",
        "auditor/price/providers.toml",
        "auditor/normalise/vocabularies/otel_genai.toml",
        "auditor/normalise/vocabularies/identity.toml",
        "auditor/normalise/vocabularies/apis.toml",
        "auditor/normalise/vocabulary.schema.json",
    ],
)
def test_the_wheel_has_what_is_read_at_run_time(name: str, packed: set[str]) -> None:
    assert name in packed


def test_the_wheel_has_nothing_of_the_tests(packed: set[str]) -> None:
    tops = {name.split("/")[0] for name in packed if not name.startswith("..")}

    assert {top for top in tops if not top.endswith(".dist-info")} - {"__pycache__"} == {"auditor", "auditor_rules"}


def test_the_command_and_the_rules_are_entry_points() -> None:
    entries = metadata.distribution("trace-auditor").entry_points

    assert {(entry.group, entry.name, entry.value) for entry in entries} == {
        ("console_scripts", "audit", "auditor.cli.main:main"),
        ("auditor.rules", "builtin", "auditor_rules"),
    }
