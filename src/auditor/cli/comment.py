"""``audit comment github|gitlab REPORT.json``: the report on a pull request; the only command that uses the network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import console, options
from auditor.cli.convert import SavedReport, load
from auditor.cli.exits import PASSED

if TYPE_CHECKING:
    from auditor.publish.comments import Host

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

HOSTS = ("github", "gitlab")
BEHAVIORS = ("update", "new", "hide-and-new")


@app.command()
def comment(
    *,
    where: Annotated[str, typer.Argument(metavar="|".join(HOSTS), help="Which code host.", show_default=False)],
    saved: SavedReport,
    behavior: Annotated[
        str,
        typer.Option("--behavior", metavar="|".join(BEHAVIORS), help="What happens to the comment of the run before."),
    ] = "update",
    tag: Annotated[
        str,
        typer.Option("--tag", metavar="NAME", help="Keep several comments apart by name.", show_default=False),
    ] = "",
    repo: Annotated[
        str | None,
        typer.Option("--repo", metavar="OWNER/NAME", help="Default: the one that the CI names.", show_default=False),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--pr", metavar="NUMBER", min=1, help="Pull or merge request. Default: as the CI says.", show_default=False
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, max=600, help="How long to wait for an answer.")
    ] = 30,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the comment, and send nothing.", show_default=False),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes.", show_default=False)] = False,
) -> int:
    """Post REPORT.json as a comment, or change the one that is there.

    The token comes from GITHUB_TOKEN or GH_TOKEN, or from GITLAB_TOKEN, and is never printed. An earlier comment is
    found by a hidden line in it, and only among those that the token's owner wrote.
    """
    from auditor.publish import comments  # noqa: PLC0415  # not for --help
    from auditor.report import markdown  # noqa: PLC0415  # as above

    options.choice("comment", where, HOSTS)
    options.choice("--behavior", behavior, BEHAVIORS)
    marker = comments.marker_of(tag)
    host = _host(where, repo, number, timeout, dry_run=dry_run)
    body = comments.with_marker(markdown.render(load(saved, quiet=quiet)), marker)
    if isinstance(host, str):
        if not quiet:
            console.note(f"this would be the comment on {host}, with --behavior {behavior}")
        console.write(body)
        return PASSED
    done = comments.publish(host, body, marker, comments.Behavior(behavior))
    if not quiet:
        hidden = f", {done.hidden} hidden" if done.hidden else ""
        console.note(f"comment on {host.name}: {done.what}{hidden} {done.comment.url}".rstrip())
    return PASSED


def _host(where: str, repo: str | None, number: int | None, timeout: float, *, dry_run: bool) -> Host | str:
    """Open the change request, or name it for a dry run, which needs no token."""
    if where == "github":
        from auditor.publish import github  # noqa: PLC0415  # only the one that is used

        pull = github.target_of(os.environ, repo, number)
        return pull.name if dry_run else github.GitHub(pull, github.token_of(os.environ), timeout)

    from auditor.publish import gitlab  # noqa: PLC0415  # as above

    merge = gitlab.target_of(os.environ, repo, number)
    return merge.name if dry_run else gitlab.GitLab(merge, gitlab.token_of(os.environ), timeout)
