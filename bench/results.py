"""Figures beside their goals, and the tables and sections of the page that show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from measure import Figures, Of

CPU_SLACK = 1.3
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """One measured figure beside its goal, which counts as missed beyond ``slack`` times its value."""

    what: str
    value: float | None
    goal: float | None = None
    slack: float = 1.0
    spread: tuple[float, float] | None = None
    problem: str = ""
    at_least: bool = False
    """Whether the goal is to be reached or passed, not to be kept below."""

    @property
    def missed(self) -> bool:
        """Whether a goal is set and was not reached; what could not be measured was not reached."""
        if self.goal is None:
            return False
        return self.value is None or not self._reaches(self.slack)

    def _reaches(self, slack: float) -> bool:
        value, goal = self.value or 0.0, self.goal or 0.0
        return value * slack >= goal if self.at_least else value <= goal * slack

    @property
    def verdict(self) -> str:
        """Say whether the goal is met; nothing where there is none."""
        if self.goal is None:
            return ""
        if self.missed:
            return "missed"
        return "met" if self._reaches(1.0) else f"within the slack of {self.slack}"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The value, its spread, the goal and the verdict, as a table shows them."""
        value = f"not measured: {self.problem}" if self.value is None else number(self.value)
        spread = f"{number(self.spread[0])} to {number(self.spread[1])}" if self.spread else ""
        goal = "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {number(self.goal)}"
        return value, spread, goal, self.verdict

    def row(self) -> str:
        """Render a table row."""
        return f"| {self.what} | {' | '.join(self.cells)} |"


def cpu(
    figures: Figures, what: str, figure: Callable[[Of], float], goal: float | None = None, *, at_least: bool = False
) -> Result:
    """Give a figure of the CPU seconds of cases, most often a ratio of two."""
    return Result(what, figure(figures.cpu), goal, CPU_SLACK, figures.cpu_spread(figure), at_least=at_least)


def table(results: Sequence[Result]) -> list[str]:
    """Render results as a table; without goals, their columns are left out."""
    if all(result.goal is None for result in results):
        rows = (f"| {result.what} | {' | '.join(result.cells[:2])} |" for result in results)
        return ["| what | measured | spread |", "| --- | --- | --- |", *rows, ""]
    head = ("| what | measured | spread | goal | verdict |", "| --- | --- | --- | --- | --- |")
    return [*head, *(result.row() for result in results), ""]


@dataclass(slots=True)
class Told:
    """What a family of cases has to say: lines of the page, and what was missed."""

    lines: list[str]
    missed: list[str] = field(default_factory=list)


def told(heading: str, prose: Sequence[str], results: Sequence[Result]) -> Told:
    """Say results under a heading."""
    lines = [heading, "", *prose, *([""] if prose else []), *table(results)]
    return Told(lines, [result.what for result in results if result.missed])


def number(value: float) -> str:
    """Write a figure: two digits behind the point below a hundred."""
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _pattern(heading: str) -> re.Pattern[str]:
    return re.compile(rf"\n*^{re.escape(heading)}\n.*?(?=^## |\Z)", flags=re.MULTILINE | re.DOTALL)


def section_of(page: str, heading: str) -> str:
    """Give the section of a page under a heading, or nothing."""
    found = _pattern(heading).search(page)
    return found.group().strip("\n") + "\n" if found else ""


def put_into(page: str, heading: str, text: str) -> str:
    """Replace a section of a page, or add it at the end."""
    return _pattern(heading).sub("\n\n", page).rstrip("\n") + "\n\n" + text
