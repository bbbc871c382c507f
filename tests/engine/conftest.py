"""A Spark session for the tests that need one; without the extra, or without Java, they are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Two tasks at a time, each tried up to four times."""
    pytest.importorskip("pyspark", reason="needs the spark extra")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("Spark needs Java 17 or newer")
    from auditor.engine.spark import session  # noqa: PLC0415  # needs pyspark

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYSPARK_SUBMIT_ARGS", "--conf spark.ui.enabled=false pyspark-shell")
        found = session.start("local[2,4]")
        found.conf.set("spark.sql.shuffle.partitions", "4")
        yield found
        found.stop()
