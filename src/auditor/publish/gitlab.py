"""Comments (notes) on a GitLab merge request, through the REST API, version 4.

GitLab cannot hide a note: an old one is folded into an element that opens on demand, and loses its marker. Fields
and addresses: docs.gitlab.com, "Notes API". A job's own ``CI_JOB_TOKEN`` may not write notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from auditor.errors import PublishError, SettingsError
from auditor.publish.api import Api, check_address, check_token
from auditor.publish.comments import Comment

TOKEN = "GITLAB_TOKEN"  # noqa: S105  # the name of a variable
API_URL = "https://gitlab.com/api/v4"
FOLDED = "<details><summary>An older report; the newest is below</summary>"
_PROJECT = re.compile(r"[\w.-]+(?:/[\w.-]+)*")
_PER_PAGE = 100
_MARKERS = re.compile(r"<!-- trace-auditor(?:: [^>]*)? -->")
_HINTS = {
    401: f"{TOKEN} is wrong or has expired; CI_JOB_TOKEN may not write comments",
    403: f"{TOKEN} needs the scope api and the role Reporter",
    404: "the project or the merge request is not there for this token",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Which merge request, and where its API is."""

    project: str
    """A number, or a path with its groups."""
    number: int
    url: str

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.project}!{self.number}"


def target_of(environment: Mapping[str, str], project: str | None, number: int | None) -> Target:
    """Find the merge request from the options, or else from what GitLab CI sets; raises ``SettingsError``."""
    project = project or environment.get("CI_PROJECT_ID", "")
    if not _PROJECT.fullmatch(project):
        raise SettingsError(
            "which project?" if not project else f"{project[:200]} is no project",
            hint="--repo GROUP/NAME or its number; in GitLab CI CI_PROJECT_ID says it",
        )
    told = environment.get("CI_MERGE_REQUEST_IID", "")
    number = number or (int(told) if told.isdecimal() else 0)
    if not number:
        raise SettingsError(
            "which merge request?",
            hint="--pr NUMBER; in GitLab CI merge request pipelines say it (rules: CI_PIPELINE_SOURCE)",
        )
    url = (environment.get("CI_API_V4_URL") or API_URL).rstrip("/")
    check_address(url)
    return Target(project, number, url)


def token_of(environment: Mapping[str, str]) -> str:
    """Take the token from the environment; raises ``SettingsError`` where there is none."""
    if not environment.get(TOKEN, "").strip():
        raise SettingsError(
            f"{TOKEN} is not set", hint="a project access token with the scope api, as a masked CI variable"
        )
    return check_token(TOKEN, environment[TOKEN])


class GitLab:
    """A merge request on GitLab."""

    def __init__(self, target: Target, token: str, timeout: float) -> None:
        self._target = target
        self._api = Api(
            base=target.url,
            headers={"PRIVATE-TOKEN": token, "User-Agent": "trace-auditor"},
            secret=token,
            hints=_HINTS,
            timeout=timeout,
        )
        self._notes = f"/projects/{quote(target.project, safe='')}/merge_requests/{target.number}/notes"

    @property
    def name(self) -> str:
        """As people write it."""
        return self._target.name

    def own_comments(self, marker: str) -> list[Comment]:
        """List the notes that the token's owner wrote and that hold the marker, oldest first."""
        me = self._object(self._api.ask("GET", "/user").body)["id"]
        found: list[Comment] = []
        page = "1"
        while page:
            query = f"?per_page={_PER_PAGE}&page={page}&sort=asc&order_by=created_at"
            answer = self._api.ask("GET", self._notes + query)
            if not isinstance(answer.body, list):
                raise PublishError("GitLab answered with something else than notes")
            found += [
                _comment(note)
                for note in answer.body
                if note.get("author", {}).get("id") == me and marker in (note.get("body") or "")
            ]
            following = {name.lower(): value for name, value in answer.headers.items()}.get("x-next-page", "").strip()
            page = following if following.isdecimal() else ""
        return found

    def add(self, body: str) -> Comment:
        """Post a note."""
        return _comment(self._object(self._api.ask("POST", self._notes, {"body": body}).body))

    def change(self, comment: Comment, body: str) -> Comment:
        """Give a note another text."""
        return _comment(self._object(self._api.ask("PUT", f"{self._notes}/{comment.id}", {"body": body}).body))

    def hide(self, comment: Comment) -> None:
        """Fold a note's text and take its marker away."""
        text = _MARKERS.sub("", comment.body).rstrip()
        self.change(comment, f"{FOLDED}\n\n{text}\n\n</details>\n")

    def _object(self, body: Any) -> dict[str, Any]:
        if not isinstance(body, dict) or "id" not in body:
            raise PublishError("GitLab answered with something else than was asked for")
        return body


def _comment(note: dict[str, Any]) -> Comment:
    return Comment(str(note["id"]), note.get("body") or "", is_hidden=False, url="")
