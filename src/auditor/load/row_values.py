"""What rows of logs are written with: times, costs, ids, operations, objects inside texts; and the table of fields."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from importlib import resources
from typing import Any

import orjson

from auditor.load.builder import pico_of, text_of
from auditor.load.foreign_ids import own_hex
from auditor.model.lexicon import Operation

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_NS = 1 << 62
"""Later moments than the year 2116 are no times of calls."""
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*")


def at(value: Any, *path: str) -> Any:
    """The value below a path of keys; ``None`` where the path ends early."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def object_of(value: Any) -> dict[str, Any]:
    """An object, or the JSON text of one, once or twice quoted; empty for anything else."""
    for _ in range(2):
        if not isinstance(value, str):
            break
        text = value.strip()
        if text[:1] not in {"{", '"'}:
            return {}
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """A list, or the JSON text of one; empty for anything else."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return []
    return value if isinstance(value, list) else []


def pico_of_cents(value: Any) -> int | None:
    """Read a cost in US cents as pico-dollars."""
    pico = pico_of(value)
    return None if pico is None else int((Decimal(str(value)) * 10**10).to_integral_value())


def ns_of_iso(value: Any) -> int:
    """Read a time as ISO 8601 or as databases print it (a space, no zone); UTC where no zone is given; 0 for none."""
    text = text_of(value).strip()
    if len(text) < len("2026-01-01"):
        return 0
    text, fraction = _without_fraction(text)
    try:
        moment = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - EPOCH) // timedelta(seconds=1)
    return _moment(seconds * 10**9 + fraction)


def _without_fraction(text: str) -> tuple[str, int]:
    """A time without its part of a second, and that part in nanoseconds: up to nine digits are written."""
    whole, point, rest = text.partition(".")
    if not point:
        return text, 0
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return whole + rest[len(digits) :], int(digits[:9].ljust(9, "0") or 0)


def ns_of_seconds(value: Any) -> int:
    """Epoch seconds as nanoseconds, exact to the microsecond that a float of this size holds; 0 for none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LAST_NS / 1e9:
        return 0
    return _moment(int(value * 1e6 + 0.5) * 1000)


def ns_of_ms(value: Any) -> int:
    """Milliseconds, a moment or a length, as nanoseconds; 0 for none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LAST_NS / 1e6:
        return 0
    return _moment(round(value * 1000) * 1000)


def _moment(nanoseconds: int) -> int:
    return nanoseconds if 0 < nanoseconds < LAST_NS else 0


def is_made_up(text: str) -> bool:
    """Say whether an id has the form that gateways give to those they make up (UUID): it says nothing of a caller."""
    return _UUID.fullmatch(text) is not None


def traceparent_of(value: Any) -> tuple[str, str]:
    """Trace id and parent's span id of a W3C ``traceparent`` header; empty texts for none."""
    found = _TRACEPARENT.fullmatch(text_of(value).strip().lower())
    return (found[1], found[2]) if found else ("", "")


def hex_id(text: str, width: int, system: str = "") -> str:
    """An id of ``width`` bytes as hex: the text itself where it is one (a UUID has dashes), else its digest.

    ``system`` keeps apart what two systems number alike; an id that is hex already is the same everywhere.
    """
    own = own_hex(text, width)
    return own or blake2b(f"{system}\n{text}".encode("utf-8", "surrogatepass"), digest_size=width).hexdigest()


def operation_of_path(path: Any) -> Operation:
    """What a request's path or URL says that it asks for; chat where it says nothing."""
    text = "/" + text_of(path).partition("?")[0].rstrip("/").lower()
    for suffix, operation in _path_operations():
        if text.endswith(suffix):
            return operation
    return Operation.CHAT


def operation_of_name(system: str, name: Any) -> Operation | None:
    """What a system means by a name of an operation; ``None`` for a name that is not known."""
    return _named_operations(system).get(text_of(name).lower())


def operation_of_model(model: str) -> Operation:
    """What a model is for, where only its name tells."""
    lowered = model.lower()
    if "embed" in lowered:
        return Operation.EMBEDDINGS
    return Operation.RERANK if "rerank" in lowered else Operation.CHAT


def digest_of(entry: Mapping[str, Any]) -> str:
    """An id for a record that has none: the digest of all that it says."""
    return blake2b(orjson.dumps(entry, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def sent_along(entry: Mapping[str, Any], name: str) -> Any:
    """What a caller sent along; an empty object where the record has a place for it and nothing in it."""
    return entry.get(name) or ({} if name in entry else None)


def prefix_of(custom_id: str) -> str:
    """The part of a batch request's ``custom_id`` before its first colon; empty without one.

    A batch has no place for a tenant but this one; whether it is used for that, only the settings can say.
    """
    prefix, colon, _ = custom_id.partition(":")
    return prefix.strip() if colon else ""


def headers_of(value: Any) -> Mapping[str, Any]:
    """Headers with lower-case names."""
    return {str(key).lower(): inner for key, inner in object_of(value).items()}


# -- tables ------------------------------------------------------------------------------------------


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(resources.files("auditor.load.gateways").joinpath("fields.toml").read_text("utf-8"))


def tenant_fields(system: str, namespaces: Sequence[str]) -> dict[str, str]:
    """Path to namespace of the fields of a system that name a tenant; only namespaces that are switched on."""
    table: dict[str, list[str]] = _tables()["tenants"].get(system, {})
    return {path: namespace for namespace, paths in table.items() if namespace in namespaces for path in paths}


def caller_paths(system: str) -> Sequence[str]:
    """Paths of the metadata objects of a system that hold what the caller sent along."""
    paths: list[str] = _tables()["callers"].get(system, [])
    return paths


@cache
def _path_operations() -> tuple[tuple[str, Operation], ...]:
    return tuple((suffix, Operation(name)) for name, suffixes in _tables()["paths"].items() for suffix in suffixes)


@cache
def _named_operations(system: str) -> dict[str, Operation]:
    table: dict[str, list[str]] = _tables()["operations"].get(system, {})
    return {text: Operation(name) for name, texts in table.items() for text in texts}
