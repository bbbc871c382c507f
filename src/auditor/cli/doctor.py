"""``audit doctor FILES``: what the files are, what was read in them, and what to change first."""

from __future__ import annotations

from typing import Annotated

import typer

from auditor.cli import console, options
from auditor.cli.exits import NOTHING_AUDITABLE
from auditor.model.checkup import Sureness
from auditor.settings.mappings import to_toml

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

WRITTEN_AS = ("terminal", "json")
DRAFTED = (
    "# A mapping drafted from names of keys: they are guesses. Check each line, above all the units and whether",
    "# input counts cached tokens (cache_inside_input), put it into auditor.toml, and audit with --mapping NAME.",
)


@app.command()
def doctor(
    *,
    files: options.Files = None,
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="|".join(WRITTEN_AS), help="How the answer is written.")
    ] = "terminal",
    tenant_key: options.TenantKey = None,
    mapping: options.UseMapping = None,
    rollup: options.Rollup = None,
    pricing: options.Pricing = None,
    cost_source: options.CostSource = None,
    rules: options.RulesPath = None,
    strict: options.Strict = None,
    config: options.ConfigFile = None,
    no_config: options.NoConfig = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.", show_default=False)] = False,
) -> int:
    """Say what FILES are and how sure that is, which keys were taken, what is missing, and what to change first.

    Names of attributes are printed, values never. No gate is applied: the exit status is 0, 2, 3 or 4.
    """
    from auditor.cli.progress import Progress  # noqa: PLC0415  # not for --help

    paths = options.given(files)
    options.choice("--format", form, WRITTEN_AS)
    settings = options.settings_from(
        {
            "tenant_keys": tenant_key,
            "use_mappings": mapping,
            "rollup": rollup,
            "pricing": pricing,
            "cost_source": cost_source,
            "rules_paths": rules,
            "strict": strict,
        },
        config=config,
        no_config=no_config,
        quiet=quiet,
    )

    from auditor import pipeline  # noqa: PLC0415  # brings numpy
    from auditor.report import checkup  # noqa: PLC0415  # only for this command

    with Progress(quiet=quiet) as progress:
        found, exit_code = pipeline.examine(paths, settings.without_gate(), progress=progress)
    if form == "json":
        console.write(checkup.render_json(found))
    else:
        console.write(checkup.render(found, width=console.screen().width))
        unknown = {entry.path for entry in found.inputs if entry.sureness is Sureness.NONE}
        for drafted in pipeline.drafted_mappings(paths, unknown) if unknown else ():
            console.write("\n".join(["", *DRAFTED, *to_toml(drafted), ""]))
    return NOTHING_AUDITABLE if found.problem else exit_code
