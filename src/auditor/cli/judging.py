"""What ``audit FILES`` and ``audit record`` share: everything is checked before the work, and then it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from auditor.cli import baseline as baseline_file
from auditor.cli import console, options, output
from auditor.cli.progress import Progress

if TYPE_CHECKING:
    from auditor.model.report import Report
    from auditor.settings import Settings

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "tenant_key": "tenant_keys",
        "mapping": "use_mappings",
        "rollup": "rollup",
        "pricing": "pricing",
        "cost_source": "cost_source",
        "rules": "rules_paths",
        "max_unattributed": "gate.max_unattributed",
        "max_unattributed_usd": "gate.max_unattributed_usd",
        "max_lost": "gate.max_lost",
        "max_unmetered": "gate.max_unmetered",
        "max_unpriced": "gate.max_unpriced",
        "baseline": "baseline",
        "baseline_tolerance": "baseline_tolerance",
        "exit_zero": "exit_zero",
        "strict": "strict",
        "hash_ids": "hash_ids",
        "jobs": "jobs",
        "memory": "memory",
        "temp_dir": "temp_dir",
        "engine": "engine",
        "master": "master",
    }
)
"""The settings that options of ``audit`` set, by the option's parameter."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an audit needs besides its inputs; nothing of it can be refused any more."""

    settings: Settings
    outputs: tuple[output.Output, ...]
    baseline: Path | None
    """Where this run writes its baseline, if it does."""
    quiet: bool
    color: str
    save_columns: Path | None = None
    """A directory that what was read is kept in."""


def prepare(paths: Sequence[str], given: Mapping[str, Any]) -> Prepared:
    """Check the options of ``audit`` by their parameters; raises ``SettingsError`` for what cannot be followed."""
    options.choice("--color", given["color"], options.COLORS)
    flags = {key: given.get(name) for name, key in SETTINGS.items()}
    settings = options.settings_from(
        {**flags, **options.levels(given["fail_on"])},
        config=given["config"],
        no_config=given["no_config"],
        quiet=given["quiet"],
    )
    outputs = output.plan(options.formats_from(given["formats"]), paths, quiet=given["quiet"])
    target = baseline_file.place_of(settings.baseline, outputs, paths) if given["update_baseline"] else None
    return Prepared(settings, outputs, target, given["quiet"], given["color"], given.get("save_columns"))


def judge(prepared: Prepared, paths: Sequence[str], *, names: Mapping[str, str] = MappingProxyType({})) -> int:
    """Audit, write the reports and the baseline, and return the exit status; ``names`` are other names of inputs."""
    from auditor import pipeline  # noqa: PLC0415  # brings numpy

    with Progress(quiet=prepared.quiet) as progress:
        result = pipeline.audit(
            paths,
            prepared.settings,
            progress=progress,
            update_baseline=prepared.baseline is not None,
            keep_calls=False,
            save_columns=prepared.save_columns,
        )
    report = result.report
    if output.wants_places(prepared.outputs):
        report = pipeline.locate(report, paths, Path.cwd())
    output.deliver(_renamed(report, names), prepared.outputs, console.screen(prepared.color))
    if prepared.baseline is not None and result.baseline is not None:
        baseline_file.save(prepared.baseline, result.baseline, report, quiet=prepared.quiet)
    return report.gate.exit_code


def _renamed(report: Report, names: Mapping[str, str]) -> Report:
    if not names:
        return report
    findings = tuple(
        replace(
            finding,
            samples=tuple(replace(sample, input=names.get(sample.input, sample.input)) for sample in finding.samples),
        )
        for finding in report.findings
    )
    inputs = tuple(replace(entry, path=names.get(entry.path, entry.path)) for entry in report.inputs)
    return replace(report, inputs=inputs, findings=findings)
