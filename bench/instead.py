"""What one would write instead: queries without a graph that sum the tokens of model spans without a tenant."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from inputs import HERE, Bench, edition, say, truth_path
from measure import Case, Figures, environment
from results import Result, Told, cpu, number

HEADING = "## What one would write instead"
SPANS = 100_000
QUERIES = HERE / "queries"
AUDIT = f"audit {SPANS:,} spans"


@dataclass(frozen=True, slots=True)
class Tool:
    """One of the queries, or why it cannot be tried here."""

    name: str
    version: str
    command: tuple[str, ...] = ()
    goal: float | None = None
    """How many times the CPU time of the audit it should take at least."""
    problem: str = ""


@cache
def _tools(folder: Path) -> tuple[Tool, ...]:
    return (
        *(_loop(parser) for parser in ("orjson", "json")),
        *(
            _installed(folder, "duckdb", *entry)
            for entry in (("read_json auto", "auto", 4), ("typed columns", "typed", 6))
        ),
        _installed(folder, "pandas", "", "", 6),
        _jq(),
    )


def _loop(parser: str) -> Tool:
    program = (sys.executable, str(QUERIES / "python_loop.py"), parser)
    return Tool(f"Python loop, {parser}", version("orjson") if parser == "orjson" else "of Python", program)


def _jq() -> Tool:
    if shutil.which("jq") is None:
        return Tool("jq", "", goal=7, problem="it is not installed (Debian's package jq)")
    said = subprocess.run(("jq", "--version"), check=True, capture_output=True, text=True).stdout
    return Tool("jq", said.strip().removeprefix("jq-"), ("jq", "-n", "-c", "-f", str(QUERIES / "sum.jq")), goal=7)


def _installed(folder: Path, package: str, how: str, argument: str, goal: float) -> Tool:
    name = f"{package}, {how}" if how else package
    try:
        python = _environment(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        return Tool(name, "", goal=goal, problem=f"its packages cannot be installed ({type(error).__name__})")
    ask = (str(python), "-c", f"from importlib.metadata import version; print(version('{package}'))")
    found = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    command = (str(python), str(QUERIES / f"{package}_query.py"), *filter(None, (argument,)))
    return Tool(name, found, command, goal)


@cache
def _environment(folder: Path) -> Path:
    """Give the Python of an environment with the packages of the queries, made on first use."""
    home = folder / f"queries-{edition('queries/requirements.txt')}"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        say("installing what the queries need")
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run((sys.executable, "-m", "venv", str(home)), check=True)
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run((str(python), *install, "-r", str(QUERIES / "requirements.txt")), check=True)
        (home / "complete").touch()
    return python


def cases(bench: Bench) -> list[Case]:
    """Give the commands to be measured: the audit, and each query that can be tried here."""
    lines = bench.lines(SPANS)
    tools = [tool for tool in _tools(bench.folder) if tool.command]
    return [
        Case(AUDIT, bench.audited(lines, options="--jobs 1")),
        *(Case(tool.name, (*tool.command, str(lines))) for tool in tools),
    ]


def measured(bench: Bench, figures: Figures) -> Told:
    """Say what each query costs beside the whole audit, and whether its answer is right."""
    lines = [
        HEADING,
        "",
        "Each query (`bench/queries/`) only sums the tokens of the model spans without a tenant, each span once;",
        "it knows the key names of this export and looks at no other span.",
        "The audit does all that it does: calls, paths, joins, prices, rules, the report.",
        f"{SPANS:,} spans, one process each (DuckDB: one thread).",
        "",
        "| query | version | CPU ÷ the audit's | spread | goal | verdict | memory ÷ the audit's | its answer |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    truth = json.loads(truth_path(bench.lines(SPANS)).read_bytes())
    name = "model_spans_without_tenant"
    planted = [truth[key] for key in (name, f"{name}_input_tokens", f"{name}_output_tokens")]
    missed = []
    for tool in _tools(bench.folder):
        if tool.problem:
            lines.append(f"| {tool.name} | | not measured: {tool.problem} | | | | | |")
            continue
        result = _times(figures, tool)
        memory = figures.peak(tool.name) / figures.peak(AUDIT)
        command = (*tool.command, str(bench.lines(SPANS)))
        said = json.loads(subprocess.run(command, check=True, capture_output=True, env=environment()).stdout)
        answer = "right" if said == planted else f"wrong: {said}, planted: {planted}"
        lines.append(f"| {tool.name} | {tool.version} | {' | '.join(result.cells)} | {number(memory)} | {answer} |")
        missed += [result.what] * result.missed + [f"answer of {tool.name}"] * (said != planted)
    return Told([*lines, ""], missed)


def _times(figures: Figures, tool: Tool) -> Result:
    return cpu(figures, f"CPU: {tool.name} ÷ audit", lambda of: of(tool.name) / of(AUDIT), tool.goal, at_least=True)
