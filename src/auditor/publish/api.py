"""One JSON request at a time to a code host's API; every way in which it can fail is one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from auditor.errors import PublishError, SettingsError

LARGEST_ANSWER = 64 << 20
"""Bytes of an answer that are read: a hundred comments of the greatest length are far below."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TOKEN = re.compile(r"[\x21-\x7e]+")
_TOLD = 300
"""Characters of a host's own message that are shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the host said."""

    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Api:
    """Where to ask, as whom, and how long to wait."""

    base: str
    """Without a slash at the end."""
    headers: Mapping[str, str] = field(repr=False)
    """They hold the token."""
    secret: str = field(repr=False)
    hints: Mapping[int, str]
    """What to do about a status."""
    timeout: float
    """Seconds without an answer."""

    def ask(self, method: str, path: str, payload: object = None) -> Answer:
        """Send a request; raises ``PublishError`` for any answer but a success."""
        data = None if payload is None else json.dumps(payload).encode()
        url = self.base + path
        request = Request(url, data, {**self.headers, "Content-Type": "application/json"}, method=method)  # noqa: S310  # checked below
        check_address(self.base)
        try:
            with build_opener(_NoRedirect).open(request, timeout=self.timeout) as response:
                return Answer(self._parsed(response.read(LARGEST_ANSWER)), dict(response.headers.items()))
        except HTTPError as error:
            raise self._refused(error) from None  # its headers hold the token
        except TimeoutError as error:
            raise PublishError(f"{self._host} did not answer within {self.timeout:g} s") from error
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise PublishError(f"{self._host} did not answer within {self.timeout:g} s") from None
            raise PublishError(f"{self._host} cannot be reached: {self.told(reason)}") from None

    def told(self, text: object) -> str:
        """Quote what the host said, without the token if it should repeat it."""
        return str(text).replace(self.secret, "***")[:_TOLD] if self.secret else str(text)[:_TOLD]

    @property
    def _host(self) -> str:
        return urlsplit(self.base).netloc.rpartition("@")[2]

    def _parsed(self, data: bytes) -> Any:
        try:
            return json.loads(data) if data.strip() else None
        except (ValueError, RecursionError) as error:
            raise PublishError(f"{self._host} answered with something else than JSON") from error

    def _refused(self, error: HTTPError) -> PublishError:
        status = error.code
        message = ""
        try:
            document = json.loads(error.read(LARGEST_ANSWER))
            if isinstance(document, dict):
                message = self.told(document.get("message") or document.get("error") or "")
        except (ValueError, OSError, HTTPException):
            message = ""
        wait = error.headers.get("Retry-After") or "" if error.headers else ""
        limited = status == 429 or (status == 403 and (wait or "rate limit" in message.lower()))
        if limited:
            when = f"; it asks to wait {self.told(wait)} s" if wait else ""
            return PublishError(
                f"{self._host} refuses more requests for now ({status}){when}", hint="run it again later"
            )
        if 300 <= status < 400:
            return PublishError(
                f"{self._host} answered with a redirect ({status}), which would take the token elsewhere",
                hint="give the address of the API itself",
            )
        told = f": {message}" if message else ""
        return PublishError(f"{self._host} refused the request ({status}){told}", hint=self.hints.get(status))


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: the token is for this host."""

    def redirect_request(
        self,
        req: Request,  # noqa: ARG002  # the signature is the library's
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: HTTPMessage,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        return None


def check_address(url: str) -> None:
    """Raise ``SettingsError`` for an address to which a token must not be sent."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return
    raise SettingsError(f"{url[:200]} is no https address: the token could be read on its way")


def check_token(name: str, token: str) -> str:
    """Return a token that can stand in a header; raises ``SettingsError`` that names the variable, never the value."""
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise SettingsError(f"{name} holds characters that no token has")
    return token
