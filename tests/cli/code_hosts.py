"""Stand-ins for the two code hosts on loopback, which keep comments as the real ones do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "s3cret-token-0123456789"
BOT, PERSON = "bot", "person"


@dataclass
class Note:
    """A comment on a stand-in."""

    id: int
    author: str
    body: str
    hidden: bool = False


@dataclass
class StandIn:
    """What a host holds, and how it shall fail."""

    url: str = ""
    notes: list[Note] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    status: int = 0
    """Answered to everything, when set."""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    silent: threading.Event | None = None
    """Nothing is answered until it is set."""
    errors: list[dict[str, str]] = field(default_factory=list)
    """GraphQL errors, which come with status 200."""

    def note(self, author: str, body: str, *, hidden: bool = False) -> Note:
        made = Note(100 + len(self.notes), author, body, hidden)
        self.notes.append(made)
        return made

    def by_id(self, number: object) -> Note:
        return next(note for note in self.notes if str(note.id) == str(number))


class _Handler(BaseHTTPRequestHandler):
    host: StandIn

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, document: Any, **headers: str) -> None:
        data = self.host.raw if self.host.raw is not None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**headers, **self.host.headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        host = self.host
        payload = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        host.requests.append((self.command, self.path))
        if host.silent:
            host.silent.wait(20)
        if host.status:
            self._answer(host.status, {"message": host.message})
        elif self._token() != TOKEN:
            self._answer(401, {"message": "Bad credentials"})
        elif self.path.startswith("/graphql"):
            self._graphql(payload["query"], payload["variables"])
        else:
            self._rest(payload)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815  # the names that the server looks for

    def _token(self) -> str:
        return self.headers.get("PRIVATE-TOKEN") or (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _graphql(self, query: str, given: dict[str, Any]) -> None:
        host = self.host
        if host.errors:
            self._answer(200, {"data": None, "errors": host.errors})
        elif "addComment(" in query:
            assert given["subject"] == "PR_7"
            made = host.note(BOT, given["body"])
            self._answer(200, {"data": {"addComment": {"commentEdge": {"node": self._node(made)}}}})
        elif "updateIssueComment(" in query:
            changed = host.by_id(given["comment"])
            changed.body = given["body"]
            self._answer(200, {"data": {"updateIssueComment": {"issueComment": self._node(changed)}}})
        elif "minimizeComment(" in query:
            assert "classifier: OUTDATED" in query
            host.by_id(given["comment"]).hidden = True
            self._answer(200, {"data": {"minimizeComment": {"minimizedComment": {"isMinimized": True}}}})
        elif (given["owner"], given["name"], given["number"]) != ("acme", "shop", 7):
            self._answer(200, {"data": {"repository": None}, "errors": [{"type": "NOT_FOUND", "message": "not found"}]})
        else:
            start = int(given["after"] or 0)
            page = host.notes[start : start + 2]  # small pages, so that there are several
            more = start + 2 < len(host.notes)
            comments = {
                "nodes": [self._node(note) for note in page],
                "pageInfo": {"hasNextPage": more, "endCursor": str(start + 2) if page else None},
            }
            self._answer(200, {"data": {"repository": {"pullRequest": {"id": "PR_7", "comments": comments}}}})

    @staticmethod
    def _node(note: Note) -> dict[str, Any]:
        return {
            "id": str(note.id),
            "body": note.body,
            "isMinimized": note.hidden,
            "viewerDidAuthor": note.author == BOT,
            "url": f"https://code.test/{note.id}",
        }

    def _rest(self, payload: Any) -> None:
        host, parts = self.host, urlsplit(self.path)
        found = re.fullmatch(r"/api/v4/projects/acme%2Fshop/merge_requests/7/notes(?:/(\d+))?", parts.path)
        if parts.path == "/api/v4/user":
            self._answer(200, {"id": BOT})
        elif not found:
            self._answer(404, {"message": "404 Project Not Found"})
        elif self.command == "GET":
            page = int(parse_qs(parts.query)["page"][0])
            shown = host.notes[2 * page - 2 : 2 * page]
            more = str(page + 1) if 2 * page < len(host.notes) else ""
            self._answer(200, [self._rest_note(note) for note in shown], X_Next_Page=more)
        elif self.command == "POST":
            self._answer(201, self._rest_note(host.note(BOT, payload["body"])))
        else:
            changed = host.by_id(found[1])
            changed.body = payload["body"]
            self._answer(200, self._rest_note(changed))

    @staticmethod
    def _rest_note(note: Note) -> dict[str, Any]:
        return {"id": note.id, "body": note.body, "author": {"id": note.author}, "system": False}


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """Serve a stand-in on a free port for as long as the block runs."""
    host = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"host": host}))
    server.daemon_threads = True
    host.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield host
    finally:
        if host.silent:
            host.silent.set()
        server.shutdown()
        server.server_close()
        thread.join()
