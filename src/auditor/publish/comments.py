"""Which comment is due: one is changed, added, or takes the place of the ones before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from auditor.errors import SettingsError
from auditor.report.markdown import MARKER

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")


class Behavior(StrEnum):
    """What happens to a comment of an earlier run."""

    UPDATE = "update"
    """It is changed; without one, a comment is added."""
    NEW = "new"
    """It stays, and a comment is added."""
    HIDE_AND_NEW = "hide-and-new"
    """It is hidden as outdated, and a comment is added."""


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment of ours."""

    id: str
    body: str
    is_hidden: bool
    url: str


class Host(Protocol):
    """A change request on a code host. Every method raises ``PublishError`` where the host refuses."""

    @property
    def name(self) -> str:
        """Name the change request for people."""

    def own_comments(self, marker: str) -> list[Comment]:
        """List the comments that this token's owner wrote and that hold the marker, oldest first."""

    def add(self, body: str) -> Comment:
        """Post a comment."""

    def change(self, comment: Comment, body: str) -> Comment:
        """Give a comment another text."""

    def hide(self, comment: Comment) -> None:
        """Show a comment as outdated."""


@dataclass(frozen=True, slots=True)
class Done:
    """What was done."""

    what: str
    """``posted``, ``updated`` or ``left as it was``."""
    comment: Comment
    hidden: int = 0


def marker_of(tag: str) -> str:
    """The line that no reader sees and by which a comment is found again; one a tag."""
    if not tag:
        return MARKER
    if not _TAG.fullmatch(tag) or "--" in tag:
        raise SettingsError(f"--tag {tag}: letters, digits, dots, dashes and spaces, 64 at most")
    return f"<!-- trace-auditor: {tag} -->"


def with_marker(text: str, marker: str) -> str:
    """Put the marker of a tag where the report has its own."""
    return f"{text.rstrip().removesuffix(MARKER).rstrip()}\n\n{marker}\n"


def publish(host: Host, body: str, marker: str, behavior: Behavior) -> Done:
    """Bring the report to the change request. What is new is there before anything old is hidden."""
    if behavior is Behavior.NEW:
        return Done("posted", host.add(body))
    before = [comment for comment in host.own_comments(marker) if not comment.is_hidden]
    if behavior is Behavior.UPDATE:
        if not before:
            return Done("posted", host.add(body))
        if before[-1].body.strip() == body.strip():
            return Done("left as it was", before[-1])
        return Done("updated", host.change(before[-1], body))
    added = host.add(body)
    for comment in before:
        host.hide(comment)
    return Done("posted", added, len(before))
