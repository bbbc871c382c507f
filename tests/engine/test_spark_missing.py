"""Where Spark cannot be started, one line says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from auditor.engine.spark import session
from auditor.errors import SettingsError

SHOP = Path(__file__).parents[2] / "fixtures" / "exports" / "shop.jsonl.gz"
WITHOUT = "import sys; sys.modules['{module}'] = None; from auditor.cli.main import main; main()"


@pytest.mark.parametrize("module", ["pyspark", "pandas", "pyarrow"])
def test_without_the_extra_its_name_is_told(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(module=module), SHOP, "--engine", "spark"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("AUDITOR_")},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "audit: the engine spark needs the spark extra",
        "hint: pip install 'trace-auditor[spark]'",
    ]


def test_without_java_its_version_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="needs the spark extra")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)

    with pytest.raises(SettingsError, match="Java 17"):
        session.start("local[2]")
