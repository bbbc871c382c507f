"""Comments on a GitHub pull request, through the GraphQL API.

GraphQL because only there a comment says whether the token's owner wrote it (``viewerDidAuthor``; an Actions token
has no user to ask for), and only there it can be hidden (``minimizeComment``). Object and field names:
docs.github.com/graphql/reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from auditor.errors import PublishError, SettingsError
from auditor.publish.api import Api, check_address, check_token
from auditor.publish.comments import Comment

TOKENS = ("GITHUB_TOKEN", "GH_TOKEN")
GRAPHQL_URL = "https://api.github.com/graphql"
_REPOSITORY = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}")
_PULL_REF = re.compile(r"refs/pull/(\d+)/(?:merge|head)")
_RIGHTS = (
    "the token needs the permission pull-requests: write; GitHub gives pull requests from forks a token that only reads"
)
_HINTS = {
    401: "GITHUB_TOKEN is wrong or has expired",
    403: _RIGHTS,
    404: "the repository or the pull request is not there for this token",
}

_FIELDS = "id body isMinimized viewerDidAuthor url"
_LIST = f"""query($owner: String!, $name: String!, $number: Int!, $after: String) {{
  repository(owner: $owner, name: $name) {{ pullRequest(number: $number) {{
    id comments(first: 100, after: $after) {{ nodes {{ {_FIELDS} }} pageInfo {{ hasNextPage endCursor }} }} }} }} }}"""
_ADD = f"""mutation($subject: ID!, $body: String!) {{
  addComment(input: {{subjectId: $subject, body: $body}}) {{ commentEdge {{ node {{ {_FIELDS} }} }} }} }}"""
_CHANGE = f"""mutation($comment: ID!, $body: String!) {{
  updateIssueComment(input: {{id: $comment, body: $body}}) {{ issueComment {{ {_FIELDS} }} }} }}"""
_HIDE = """mutation($comment: ID!) {
  minimizeComment(input: {subjectId: $comment, classifier: OUTDATED}) { minimizedComment { isMinimized } } }"""


@dataclass(frozen=True, slots=True)
class Target:
    """Which pull request, and where its API is."""

    repository: str
    number: int
    url: str

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.repository}#{self.number}"


def target_of(environment: Mapping[str, str], repository: str | None, number: int | None) -> Target:
    """Find the pull request from the options, or else from what Actions sets; raises ``SettingsError``."""
    repository = repository or environment.get("GITHUB_REPOSITORY", "")
    if not _REPOSITORY.fullmatch(repository):
        raise SettingsError(
            "which repository?" if not repository else f"{repository[:200]} is no repository",
            hint="--repo OWNER/NAME; in Actions GITHUB_REPOSITORY says it",
        )
    number = number or _number(environment)
    if not number:
        raise SettingsError("which pull request?", hint="--pr NUMBER; in Actions the event of a pull request says it")
    url = environment.get("GITHUB_GRAPHQL_URL") or GRAPHQL_URL
    check_address(url)
    return Target(repository, number, url)


def _number(environment: Mapping[str, str]) -> int:
    found = _PULL_REF.fullmatch(environment.get("GITHUB_REF", ""))
    if found:
        return int(found[1])
    path = environment.get("GITHUB_EVENT_PATH", "")
    if not path:
        return 0
    try:
        event = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"GITHUB_EVENT_PATH: {path} cannot be read") from error
    for holder in ("pull_request", "issue"):
        number = event.get(holder, {}).get("number") if isinstance(event.get(holder), dict) else None
        if isinstance(number, int):
            return number
    return 0


def token_of(environment: Mapping[str, str]) -> str:
    """Take the token from the environment; raises ``SettingsError`` where there is none."""
    for name in TOKENS:
        if environment.get(name, "").strip():
            return check_token(name, environment[name])
    raise SettingsError("GITHUB_TOKEN is not set", hint="env: GITHUB_TOKEN: ${{ github.token }}")


class GitHub:
    """A pull request on GitHub."""

    def __init__(self, target: Target, token: str, timeout: float) -> None:
        self._target = target
        parts = urlsplit(target.url)
        self._path = parts.path
        self._api = Api(
            base=f"{parts.scheme}://{parts.netloc}",
            headers={
                "Authorization": f"Bearer {token}",
                "Accept": "application/vnd.github+json",
                "User-Agent": "trace-auditor",
            },
            secret=token,
            hints=_HINTS,
            timeout=timeout,
        )
        self._subject = ""

    @property
    def name(self) -> str:
        """As people write it."""
        return self._target.name

    def own_comments(self, marker: str) -> list[Comment]:
        """List the comments that the token's owner wrote and that hold the marker, oldest first."""
        found: list[Comment] = []
        after: str | None = None
        while True:
            page = self._page(after)
            nodes = [node for node in page.get("nodes") or () if node]
            found += [
                _comment(node) for node in nodes if node.get("viewerDidAuthor") and marker in node.get("body", "")
            ]
            following = page.get("pageInfo") or {}
            after = following.get("endCursor")
            if not following.get("hasNextPage") or not after:
                return found

    def add(self, body: str) -> Comment:
        """Post a comment."""
        if not self._subject:
            self._page(None)
        data = self._ask(_ADD, subject=self._subject, body=body)
        return _comment(_inside(data, "addComment", "commentEdge", "node"))

    def change(self, comment: Comment, body: str) -> Comment:
        """Give a comment another text."""
        data = self._ask(_CHANGE, comment=comment.id, body=body)
        return _comment(_inside(data, "updateIssueComment", "issueComment"))

    def hide(self, comment: Comment) -> None:
        """Minimise a comment as outdated."""
        self._ask(_HIDE, comment=comment.id)

    def _page(self, after: str | None) -> dict[str, Any]:
        owner, _, name = self._target.repository.partition("/")
        data = self._ask(_LIST, owner=owner, name=name, number=self._target.number, after=after)
        repository = data.get("repository")
        change = repository.get("pullRequest") if isinstance(repository, dict) else None
        if not isinstance(change, dict):
            raise PublishError(f"{self.name}: no such pull request for this token", hint=_HINTS[404])
        self._subject = str(change.get("id", ""))
        return _inside(change, "comments")

    def _ask(self, query: str, **variables: object) -> dict[str, Any]:
        body = self._api.ask("POST", self._path, {"query": query, "variables": variables}).body
        errors = body.get("errors") if isinstance(body, dict) else None
        if errors:
            first = errors[0]
            kind = str(first.get("type", ""))
            hint = {"FORBIDDEN": _RIGHTS, "NOT_FOUND": _HINTS[404], "RATE_LIMITED": "run it again later"}.get(kind)
            raise PublishError(f"GitHub refused the request: {self._api.told(first.get('message', kind))}", hint=hint)
        if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
            raise PublishError("GitHub answered with something else than data")
        data: dict[str, Any] = body["data"]
        return data


def _inside(data: Any, *path: str) -> dict[str, Any]:
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    if not isinstance(data, dict):
        raise PublishError("GitHub answered with something else than was asked for")
    return data


def _comment(node: dict[str, Any]) -> Comment:
    return Comment(
        str(node.get("id", "")), node.get("body") or "", bool(node.get("isMinimized")), str(node.get("url") or "")
    )
