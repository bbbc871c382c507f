"""Start-up: what the smallest commands cost, and where the time of an audit of 1,000 spans goes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache

from inputs import Bench
from measure import Case, Figures, environment
from results import Told, cpu, number, table, told

HEADING = "## Start-up"
SPANS = 1000
OWN = {"auditor", "auditor_rules"}
LISTED = 8

_PROBE = """
import atexit, sys
def told():
    names = [name for name, module in sys.modules.items() if getattr(getattr(module, "__spec__", 0), "name", 0) == name]
    print("modules:", *names, file=sys.stderr)
atexit.register(told)
from auditor.cli.main import main
main()
"""
_IMPORT = """
import gc, importlib, os
gc.set_threshold(50_000)
os.environ["OPENBLAS_NUM_THREADS"] = "1"
for name in {names!r}.split():
    importlib.import_module(name)
os._exit(0)
"""
"""Begins and ends as the command does, so that nothing but the imports is compared."""


@dataclass(frozen=True, slots=True)
class Imports:
    """What one audit imports."""

    modules: tuple[str, ...]
    """Names in the order of their import."""
    self_us: Counter[str]
    """Microseconds inside the modules of each package, without those that they import (``-X importtime``)."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """The modules of other projects."""
        return tuple(name for name in self.modules if _is_library(name))


def _is_library(name: str) -> bool:
    package = name.partition(".")[0]
    return package not in OWN | sys.stdlib_module_names and not package.startswith("_")


@cache
def _imports(command: tuple[str, ...]) -> Imports:
    probe = (sys.executable, "-X", "importtime", "-c", _PROBE, *command)
    said = subprocess.run(probe, check=True, capture_output=True, text=True, env=environment()).stderr
    (names,) = re.findall(r"^modules: (.*)$", said, flags=re.MULTILINE)
    self_us: Counter[str] = Counter()
    for spent, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", said, flags=re.MULTILINE):
        self_us[name.partition(".")[0]] += int(spent)
    return Imports(tuple(name for name in names.split() if name != "__main__"), self_us)


def _found(bench: Bench) -> Imports:
    return _imports(bench.audited(bench.lines(SPANS))[len(bench.audit) :])


def cases(bench: Bench) -> list[Case]:
    """Give the commands to be measured."""
    found = _found(bench)

    def python(program: str) -> tuple[str, ...]:
        return (sys.executable, "-c", program)

    return [
        Case("python", python("pass"), repeat=10),
        Case("audit --version", (*bench.audit, "--version"), repeat=10),
        Case("its libraries", python(_IMPORT.format(names=" ".join(found.libraries))), repeat=5),
        Case("all its modules", python(_IMPORT.format(names=" ".join(found.modules))), repeat=5),
        Case("audit 1,000 spans", bench.audited(bench.lines(SPANS)), repeat=5),
    ]


def measured(bench: Bench, figures: Figures) -> Told:
    """Say what starting costs, and what part of the usual small audit is imports."""
    small = "audit 1,000 spans"
    found = _found(bench)
    packages = sorted({name.partition(".")[0] for name in found.libraries})
    prose = [
        f"The libraries: a Python that imports the {len(found.libraries):,} modules of other projects",
        f"that an audit of {SPANS:,} spans has imported when it ends, in the same order, and does nothing else;",
        "it begins and ends as the audit does (`auditor/cli/main.py`).",
        f"They belong to {', '.join(f'`{name}`' for name in packages)}.",
    ]
    results = [
        cpu(figures, "CPU: `audit --version` ÷ bare Python", lambda of: of("audit --version") / of("python"), 8),
        cpu(figures, f"CPU: audit of {SPANS:,} spans ÷ its libraries", lambda of: of(small) / of("its libraries"), 2),
        cpu(figures, f"CPU: audit of {SPANS:,} spans ÷ bare Python", lambda of: of(small) / of("python")),
    ]
    shares = [
        cpu(figures, "Python itself", lambda of: 100 * of("python") / of(small)),
        cpu(figures, "importing the libraries", lambda of: 100 * (of("its libraries") - of("python")) / of(small)),
        cpu(
            figures,
            "importing the auditor and what else of the standard library it takes",
            lambda of: 100 * (of("all its modules") - of("its libraries")) / of(small),
        ),
        cpu(figures, "the audit", lambda of: 100 * (of(small) - of("all its modules")) / of(small)),
    ]
    said = told(HEADING, prose, results)
    said.lines += [f"Where the CPU time of the audit of {SPANS:,} spans goes, in percent:", "", *table(shares)]
    said.lines += _by_package(found)
    return said


def _by_package(found: Imports) -> list[str]:
    """List the packages that take longest to import."""
    packages = {name.partition(".")[0] for name in found.modules}  # what was tried and is not there has a time too
    whole = found.self_us.total()
    standard = sum(spent for name, spent in found.self_us.items() if name in sys.stdlib_module_names)
    rest = Counter({name: spent for name, spent in found.self_us.items() if name in packages - sys.stdlib_module_names})
    entries = [("the standard library", standard), *rest.most_common(LISTED)]
    listed = ", ".join(f"{name} {number(100 * spent / whole)}" for name, spent in entries)
    return ["Of the import time (`-X importtime`, one run), in percent, by whose modules they are:", f"{listed}.", ""]
