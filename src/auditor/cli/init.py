"""``audit init``: a commented settings file, drafted from what the traces show."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import console, options, output
from auditor.cli.exits import PASSED
from auditor.errors import SettingsError
from auditor.settings import ENTRIES, FILE_NAME, INTERNAL_ENVIRONMENTS, Entry

if TYPE_CHECKING:
    from auditor.model.report import Report

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Draft:
    """What the traces suggest: values to set, and why, by key."""

    values: Mapping[str, object] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    assumed: Sequence[str] = ()
    """What the draft takes for granted, one sentence each."""
    unchecked: Sequence[tuple[str, str]] = ()
    """Rules that the traces cannot answer, each with the reason."""


@app.command()
def init(
    *,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES", help="Traces to draft the settings from.", show_default=False),
    ] = None,
    path: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="Write here; - is stdout.")] = Path(
        FILE_NAME
    ),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it is there.", show_default=False)
    ] = False,
    tenant_key: options.TenantKey = None,
) -> int:
    """Write a settings file that explains every setting; with FILES, with gates that today's figures pass."""
    is_stdout = str(path) == output.STDOUT
    if not is_stdout:
        output.check_places([path], files or ())
        if path.exists() and not force:
            raise SettingsError(f"{path} is already there", hint="--force overwrites it")
    draft = _from_traces(files, tenant_key) if files else Draft()
    text = "".join(f"{line}\n" for line in lines(draft)).encode()
    if is_stdout:
        console.write(text)
    else:
        output.write_files({path: text})
        console.note(f"{path} is written; audit config show prints what is in force")
    return PASSED


def _from_traces(files: Sequence[str], tenant_key: Sequence[str] | None) -> Draft:
    from auditor import pipeline  # noqa: PLC0415  # brings numpy
    from auditor.cli.progress import Progress  # noqa: PLC0415  # only for traces
    from auditor.ledger.calls import call_rows  # noqa: PLC0415  # only for traces
    from auditor.settings import Settings  # noqa: PLC0415  # only for traces

    settings = replace(Settings().without_gate(), tenant_keys=tuple(tenant_key or ()))
    with Progress() as progress:
        result = pipeline.audit(files, settings, progress=progress)
    return draft(result.report, call_rows(result.calls), declared=settings.tenant_keys)


def draft(report: Report, calls: Iterable[Mapping[str, object]], declared: Sequence[str] = ()) -> Draft:
    """Suggest what the traces show: keys with tenants, environments, limits just above today's figures.

    ``declared`` are the tenant keys that the user named.
    """
    from auditor.report.wording import count  # noqa: PLC0415  # only for traces

    values: dict[str, object] = {}
    reasons: dict[str, str] = {}
    used = [key for key in report.tenant_keys if key.calls]
    if used:
        values["tenant_keys"] = tuple(key.key for key in used)
        found = ", ".join(f"{key.key} on {count(key.calls, 'call')}" for key in used)
        reasons["tenant_keys"] = f"Found: {found}."
    elif report.candidate_keys:
        names = ", ".join(key.key for key in report.candidate_keys)
        reasons["tenant_keys"] = f"No known key was found; these look like tenants: {names}."
    environments = Counter(str(row["environment"]) for row in calls if row.get("environment"))
    if environments:
        found = ", ".join(f"{name} ({count(calls, 'call')})" for name, calls in sorted(environments.items()))
        inner = sorted(name for name in environments if name.lower() in INTERNAL_ENVIRONMENTS)
        outer = sorted(name for name in environments if name.lower() not in INTERNAL_ENVIRONMENTS)
        taken = [f"{', '.join(names)} {need}" for names, need in ((inner, NEEDS_NONE), (outer, NEEDS_ONE)) if names]
        reasons["internal.environments"] = f"Found: {found}. Assumed: {'; '.join(taken)}."
    totals = report.totals
    for key, share in (
        ("gate.max_unattributed", _ratio(totals.unattributed.cost, totals.audited_spend)),
        ("gate.max_lost", _ratio(totals.lost.cost, totals.audited_spend)),
        ("gate.max_unmetered", _ratio(totals.unmetered.calls, totals.calls)),
        ("gate.max_unpriced", _ratio(totals.unpriced.calls, totals.calls)),
    ):
        if share is not None:
            values[key] = just_above(share)
            reasons[key] = f"Today: {(share * 100).quantize(Decimal('0.1'))} %."
    if report.findings:
        reasons["baseline"] = (
            f"Today: {count(len(report.findings), 'finding')}. To accept them and fail on new ones: "
            "audit FILES --baseline audit-baseline.json --update-baseline, then set this."
        )
    unchecked = [(entry.rule, entry.reason) for entry in report.not_checked]
    return Draft(values, reasons, tuple(_assumed(report, declared, bool(environments))), unchecked)


NEEDS_NONE = "needs no tenant"
NEEDS_ONE = "needs one"


def _assumed(report: Report, declared: Sequence[str], names_environments: bool) -> Iterator[str]:
    from auditor.report.wording import count, day_range, inputs_named  # noqa: PLC0415  # only for traces

    totals = report.totals
    read = f"{count(totals.calls, 'call')} in {count(totals.spans, 'span')} of {count(totals.services, 'service')}"
    yield (
        f"Drafted from {', '.join(inputs_named(report.inputs))}: {read}, {day_range(report.start_ns, report.end_ns)}. "
        "Assumed: what the gate will judge is traffic like this."
    )
    keys = [key.key for key in report.tenant_keys if key.calls]
    if keys:
        named = " (as you said)" if set(keys) <= set(declared) else ""
        yield f"Assumed: {', '.join(keys)} {'holds' if len(keys) == 1 else 'hold'} the tenant that pays{named}."
    else:
        yield "No call carries a tenant under a key that is read; the limits below let all of that pass."
    if not names_environments:
        yield "No call names its environment. Assumed: all of this is production."
    yield "Assumed: your ledger groups by the call's own tenant (rollup), and nothing else needs no tenant (internal)."
    if totals.unpriced.calls or totals.unmetered.calls:
        yield (
            f"Not in the shares: {count(totals.unmetered.calls, 'call')} without usage, "
            f"{count(totals.unpriced.calls, 'call')} without a price."
        )


def _ratio(part: int, whole: int) -> Decimal | None:
    return Decimal(part) / whole if whole > 0 else None


def just_above(share: Decimal) -> Decimal:
    """Return the next whole percent: today's traffic passes, and a loss of one more percent does not."""
    percent = (share * 100).to_integral_value(ROUND_FLOOR) + 1
    return min(percent, Decimal(100)) / 100


def lines(draft: Draft) -> Iterator[str]:
    """Write the file: every setting explained; what the traces suggest is set, the rest a comment."""
    yield "# Settings of `audit`. Order: flag, then AUDITOR_* variable, then this file, then the default."
    for sentence in draft.assumed:
        yield from _comment(sentence)
    section = ""
    for entry in ENTRIES:
        home, _, name = entry.key.rpartition(".")
        if home != section:
            section = home
            yield from ("", f"[{home}]")
        yield ""
        yield from _comment(entry.help)
        if entry.key in draft.reasons:
            yield from _comment(draft.reasons[entry.key])
        if entry.key in draft.values:
            yield f"{name} = {entry.to_toml(draft.values[entry.key])}"
        else:
            yield f"# {name} = {_example(entry)}"
    yield from (
        "",
        "# One table per rule; `audit rules` lists them.",
        "# [rules.header-stripping]",
        "# enabled = true",
        "# required = false  # under strict, an input that cannot answer this rule is incomplete",
        '# fail_on = "none"  # or "certain", "likely", "possible"',
    )
    if draft.unchecked:
        yield from ("", "# These traces cannot answer:")
        for rule, reason in draft.unchecked:
            yield from _comment(f"- {rule}: {reason}")
    yield from (
        "",
        "# One table for each finding that needs no repair for now. It stays in every report and total, and out of",
        "# the gate's verdict. rule, service, hop, operation, tenant: globs, all that are given have to match.",
        "# [[suppress]]",
        '# rule = "untagged-embeddings"',
        '# hop = "web -> search"',
        '# reason = "the index is shared by all tenants"  # required',
        '# owner = "search team"',
        "# expires = 2027-01-31  # the last day; from the next on, the gate fails",
        '# max_usd = "25"  # more in one run fails the gate',
    )


PATHS = {"pricing": '"prices.toml"', "baseline": '"audit-baseline.json"', "temp_dir": '"/var/tmp"'}
"""Examples for settings that are a path."""


def _example(entry: Entry) -> str:
    if entry.key == "internal.environments":
        return entry.to_toml(INTERNAL_ENVIRONMENTS)
    if entry.default is None and not entry.reads_none:
        return PATHS[entry.key]
    return entry.to_toml(entry.default)


def _comment(text: str) -> list[str]:
    from auditor.report.wording import visible  # noqa: PLC0415  # names from traces must not end the comment

    return textwrap.wrap(
        visible(text, 4_000),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
