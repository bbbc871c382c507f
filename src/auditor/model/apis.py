"""The HTTP APIs of model providers, compiled to what a reader asks: does this request call a model?

The tables are built from a data file by ``auditor.normalise.vocabulary``; nothing here knows a provider by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from auditor.model.lexicon import Operation

MAX_URL = 8 << 10
"""Longer texts are no address of an API."""


class ApiCall(NamedTuple):
    """What the address of a request says about the call that it is. Holds nothing else of the address."""

    provider: str
    """Empty for a host that is no provider's own."""
    operation: Operation
    model: str
    """Empty where the address does not name it."""


class ApiPath(NamedTuple):
    """One way in which the path of an API ends."""

    pattern: re.Pattern[str]
    operation: Operation
    is_anywhere: bool
    """Means nothing else on any host."""


@dataclass(frozen=True, slots=True)
class Apis:
    """Hosts and paths, in the order in which they are tried."""

    hosts: Sequence[tuple[re.Pattern[str], str]] = ()
    """Pattern of a whole host name in lower case, and the provider."""
    paths: Sequence[ApiPath] = ()
    hint: re.Pattern[bytes] | None = None
    """Finds a word in the bytes of an address without which no path fits."""

    def of_url(self, url: str) -> ApiCall | None:
        """Read the address of a request; ``None`` when it is no provider's API."""
        if len(url) > MAX_URL:
            return None
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            return None
        return self.of_host(host, parts.path)

    def of_host(self, host: str, path: str) -> ApiCall | None:
        """Read host and path of a request; the path may have a query, the host a port."""
        if len(path) > MAX_URL:
            return None
        name = host.lower().partition(":")[0].rstrip(".")
        provider = next((provider for pattern, provider in self.hosts if pattern.fullmatch(name)), "")
        path = re.split(r"[?#]", path, maxsplit=1)[0].rstrip("/")
        for entry in self.paths:
            if (entry.is_anywhere or provider) and (found := entry.pattern.search(path)):
                model = unquote(found["model"]) if "model" in entry.pattern.groupindex else ""
                return ApiCall(provider, _of_model(entry.operation, model), model)
        return None


def _of_model(operation: Operation, model: str) -> Operation:
    """Some APIs serve every kind of model under one path: then the model tells."""
    if operation is not Operation.CHAT or not model:
        return operation
    if "embed" in model.lower():
        return Operation.EMBEDDINGS
    return Operation.RERANK if "rerank" in model.lower() else operation


def compile_host(pattern: str) -> re.Pattern[str]:
    """Compile a host in which ``*`` stands for any part of the name, dots included."""
    return re.compile(".+".join(re.escape(part) for part in pattern.lower().split("*")))


def compile_path(ending: str) -> re.Pattern[str]:
    """Compile the end of a path in which ``{model}`` stands for one part that names the model."""
    before, _, after = ending.partition("{model}")
    if before == ending:
        return re.compile(re.escape(ending) + "$")
    return re.compile(f"{re.escape(before)}(?P<model>[^/]+?){re.escape(after)}$")
