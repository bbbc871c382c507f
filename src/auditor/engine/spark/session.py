"""The Spark session: found or started, what it can keep between two steps, and what it says when it fails."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from auditor.errors import AuditorError, SettingsError

T = TypeVar("T")
Frame = Any
"""A DataFrame of Spark, classic or Connect."""

CONFIGURATION: Mapping[str, str] = MappingProxyType({"spark.sql.legacy.parquet.nanosAsLong": "true"})
"""What a session is set to while it works for us: moments in nanoseconds are refused otherwise."""


class SparkFailedError(AuditorError):
    """Spark gave up."""


def require() -> Any:
    """PySpark's ``sql`` package; raises ``SettingsError`` that names the extra where it is missing."""
    # Spark asks for the other two when the first function runs.
    if not all(map(importlib.util.find_spec, ("pyspark", "pandas", "pyarrow"))):
        raise SettingsError("the engine spark needs the spark extra", hint="pip install 'trace-auditor[spark]'")
    return importlib.import_module("pyspark.sql")


def start(master: str | None = None) -> Any:
    """The active session, or a new one at a master; Spark's own configuration decides where none is named.

    Raises ``SettingsError`` where PySpark, pyarrow or Java is missing, or Spark cannot be started.
    """
    sql = require()
    active = sql.SparkSession.getActiveSession()
    if active is not None:
        return active
    is_remote = bool(os.environ.get("SPARK_REMOTE")) or (master or "").startswith("sc://")
    if not is_remote and not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        raise SettingsError("the engine spark needs Java 17 or newer", hint="install it, or set JAVA_HOME")
    # Processes on this machine are to be of the Python that has this package.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = sql.SparkSession.builder.appName("trace-auditor")
    if not is_remote:
        builder = builder.config("spark.ui.showConsoleProgress", "false").config("spark.log.level", "ERROR")
    if master is not None:
        builder = builder.remote(master) if is_remote else builder.master(master)
    try:
        return builder.getOrCreate()
    except _failures() as error:
        raise SettingsError(
            f"Spark cannot be started{f' at {master}' if master else ''}: {_first_line(error)}",
            hint="it needs Java 17 or newer, and a master that can be reached",
        ) from error


@dataclass(slots=True)
class Kept:
    """Rows that are worked out once, where the platform can keep them."""

    frame: Frame
    release: Callable[[], None]


class Session:
    """A Spark session at work for one audit."""

    def __init__(self, spark: Any, *, scratch: str | None = None) -> None:
        """``scratch`` is an address below which rows are kept; without it Spark persists them, where it can."""
        self.spark = spark
        self.run = uuid.uuid4().hex
        """Names the audit: what executors keep for one is of no use to another."""
        self._scratch = f"{scratch.rstrip('/')}/auditor-{self.run}" if scratch else None
        self._can_persist = True
        self._written = 0

    def keep(self, frame: Frame) -> Kept:
        """Have rows worked out once instead of whenever somebody looks at them.

        A platform that can do neither works them out again; what comes out is the same.
        """
        if self._scratch is not None:
            return self._write(f"{self._scratch}/{self._written}", frame)
        if self._can_persist:
            from pyspark.errors import PySparkException  # noqa: PLC0415  # an extra

            try:
                kept = frame.persist()
            except PySparkException:
                # Serverless platforms refuse.
                self._can_persist = False
            else:
                return Kept(kept, lambda: self._let_go(kept))
        return Kept(frame, _nothing)

    def _write(self, address: str, frame: Frame) -> Kept:
        self._written += 1
        self.do(lambda: frame.write.parquet(address))
        empty = self.spark.createDataFrame([], frame.schema)
        return Kept(
            self.do(lambda: self.spark.read.schema(frame.schema).parquet(address)),
            lambda: self.do(lambda: empty.write.mode("overwrite").parquet(address)),
        )

    def _let_go(self, frame: Frame) -> None:
        self.do(frame.unpersist)

    def arrow(self, frame: Frame) -> Any:
        """Bring rows to the driver as an Arrow table."""
        return self.do(frame.toArrow)

    def do(self, action: Callable[[], T]) -> T:
        """Have Spark do something; raises ``SparkFailedError`` when it cannot."""
        try:
            return action()
        except _failures() as error:
            raise SparkFailedError(
                f"Spark could not finish: {_first_line(error)}", hint="the logs of the driver and the executors say why"
            ) from error

    @contextlib.contextmanager
    def configured(self) -> Iterator[None]:
        """Set the session to what is needed, and back; a platform that allows no such settings goes without them."""
        from pyspark.errors import PySparkException  # noqa: PLC0415  # an extra

        before: dict[str, str | None] = {}
        for key, value in CONFIGURATION.items():
            with contextlib.suppress(PySparkException):
                before[key] = self.spark.conf.get(key, None)
                self.spark.conf.set(key, value)
        try:
            yield
        finally:
            for key, old in before.items():
                with contextlib.suppress(PySparkException):
                    if old is None:
                        self.spark.conf.unset(key)
                    else:
                        self.spark.conf.set(key, old)


def _nothing() -> None:
    """There is nothing to let go."""


def _failures() -> tuple[type[Exception], ...]:
    from pyspark.errors import PySparkException  # noqa: PLC0415  # an extra

    try:
        from py4j.protocol import Py4JError  # noqa: PLC0415  # not with a remote session
    except ImportError:
        return (PySparkException,)
    return PySparkException, Py4JError


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Of an error in a process of an executor, the last line says what went wrong there.
    told = next((line for line in reversed(lines) if "Error" in line.partition(":")[0]), lines[0] if lines else "")
    return told[:300] or type(error).__name__
