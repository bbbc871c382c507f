"""Read a price file (TOML or JSON) into entries, refusing what is not exact or not understood."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from auditor.errors import SettingsError
from auditor.price.amounts import RateAmounts, RawCard, pico_per_unit
from auditor.price.cards import MAX_RATE, RATE_NAMES, TOKEN_RATES
from auditor.price.contexts import normalise_context
from auditor.price.entries import (
    Adjustment,
    ModelAlias,
    PriceLayer,
    RateEntry,
    RateLayer,
    Scope,
    refuse_contradictions,
)
from auditor.price.providers import fold, provider_named
from auditor.price.shipped import shipped_text

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

UNITS: Final = {"1": 1, "1K": 1_000, "1M": 1_000_000}
"""Tokens that a rate is for, by the value of ``unit``; one million where it is not given."""


class _FloatText(str):
    """A floating-point literal as it stands in the file: refused, but quoted in the message."""

    __slots__ = ()


@cache
def pricing_schema() -> dict[str, Any]:
    """Return the JSON Schema of price files."""
    schema: dict[str, Any] = json.loads(shipped_text("pricing.schema.json"))
    return schema


def read_price_file(text: str, file: str) -> PriceLayer:
    """Parse, validate and read a price file; ``file`` is its name in messages.

    Raises ``SettingsError``, naming the file and the key or line, when the text is neither TOML nor JSON,
    holds a floating-point number or an unknown key, breaks the schema, or prices the same calls twice.
    """
    document = parse_document(text, file)
    _refuse_floats(document, file)
    document = _dates_as_text(document)
    _validate(document, file)
    return build_layer(document, file)


def parse_document(text: str, file: str) -> Any:
    """Parse TOML or JSON by the file's ending, else by its first character."""
    is_json = file.endswith(".json") or (not file.endswith(".toml") and text.lstrip().startswith("{"))
    try:
        if is_json:
            return json.loads(text, parse_float=_FloatText, parse_constant=_FloatText, object_pairs_hook=_unique_keys)
        return tomllib.loads(text, parse_float=_FloatText)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{file}: not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: not TOML: {error}") from error
    except _DuplicateKeyError as error:
        raise SettingsError(f"{file}: key {error} is given twice in one object") from error
    except RecursionError as error:
        raise SettingsError(f"{file}: nested too deeply") from error


def build_layer(document: Mapping[str, Any], file: str) -> PriceLayer:
    """Turn a validated document into entries; raises ``SettingsError`` on a contradiction."""
    aliases = {fold(name): target for name, target in document.get("provider_aliases", {}).items()}
    models = tuple(
        _model_alias(row, f"model_aliases[{index}]", aliases, file)
        for index, row in enumerate(document.get("model_aliases", ()))
    )
    rates = [_rate_entry(row, f"rates[{index}]", aliases, file) for index, row in enumerate(document.get("rates", ()))]
    adjustments = tuple(
        _adjustment(row, f"adjustments[{index}]", aliases, file)
        for index, row in enumerate(document.get("adjustments", ()))
    )
    refuse_contradictions(rates, file)
    return PriceLayer(
        rates=RateLayer(rates),
        adjustments=adjustments,
        provider_aliases=aliases,
        model_aliases=models,
        labels=tuple(entry.label for group in (models, rates, adjustments) for entry in group),
    )


def resolve_provider_name(name: str | None, aliases: Mapping[str, str]) -> str | None:
    """Return the provider id that a name in a price file stands for."""
    if name is None:
        return None
    return provider_named(aliases.get(fold(name), name)).id or fold(name)


class _DuplicateKeyError(ValueError):
    """An object of a JSON file has a key twice."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateKeyError(repr(key))
        found[key] = value
    return found


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def _refuse_floats(document: Any, file: str) -> None:
    for path, value in _leaves(document):
        if isinstance(value, _FloatText):
            raise SettingsError(
                f"{file}: {path} is the floating-point number {value}, which is not exact",
                hint=f'write it as a string: "{value}"',
            )


def _dates_as_text(value: Any) -> Any:
    """Write TOML's date literals as JSON has them, so that one schema serves both."""
    if isinstance(value, dict):
        return {key: _dates_as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_dates_as_text(inner) for inner in value]
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return value


def _validate(document: Any, file: str) -> None:
    from jsonschema import Draft202012Validator  # noqa: PLC0415  # heavy: only a run with a price file needs it
    from jsonschema.exceptions import best_match  # noqa: PLC0415  # the same

    error = best_match(Draft202012Validator(pricing_schema()).iter_errors(document))
    if error is not None:
        raise _as_settings_error(error, file)


def _as_settings_error(error: ValidationError, file: str) -> SettingsError:
    while error.parent is not None and error.parent.validator == "anyOf":
        error = cast("ValidationError", error.parent)
    path = error.json_path.removeprefix("$").removeprefix(".")
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(cast("Mapping[str, Any]", error.schema)["properties"])
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(unknown, known, n=1)
        return SettingsError(
            f"{file}: unknown key {f'{path}.{unknown}' if path else unknown}",
            hint=f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}",
        )
    if error.validator == "oneOf":
        return SettingsError(f"{file}: {path} needs exactly one of match, prefix and regex")
    described = error.schema.get("description") if isinstance(error.schema, dict) else None
    message = f"{error.instance!r} is not allowed here" if error.validator == "anyOf" else error.message
    message = message if len(message) <= 200 else f"{message[:200]}…"
    return SettingsError(f"{file}: {path or 'the file'}: {message}", hint=described)


def _day(row: Mapping[str, Any], key: str, label: str, file: str) -> date | None:
    text = row.get(key)
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{file}: {label}.{key}: {text!r} is not a date") from error


def _scope(row: Mapping[str, Any], label: str, aliases: Mapping[str, str], file: str) -> Scope:
    since, until = _day(row, "from", label, file), _day(row, "to", label, file)
    if since is not None and until is not None and since >= until:
        raise SettingsError(f"{file}: {label} ends ({until}) before it begins ({since})", hint="to is exclusive")
    model = row.get("model")
    return Scope(
        provider=resolve_provider_name(row.get("provider"), aliases),
        model=None if model is None else model.lower(),
        since=since,
        until=until,
        half_hour=row.get("half_hour"),
        when=frozenset(normalise_context(row.get("when", {}).items())),
    )


def _amounts(row: Mapping[str, Any], label: str, file: str, per: int) -> RateAmounts:
    amounts: RateAmounts = {}
    for name in RATE_NAMES:
        if name not in row:
            continue
        amount = pico_per_unit(Decimal(row[name]), per if name in TOKEN_RATES else 1)
        if amount > MAX_RATE:
            raise SettingsError(f"{file}: {label}.{name}: {row[name]} is more than a million dollars for one unit")
        amounts[name] = amount
    return amounts


def _rate_entry(row: Mapping[str, Any], label: str, aliases: Mapping[str, str], file: str) -> RateEntry:
    per = UNITS[row.get("unit", "1M")]
    base = _amounts(row, label, file, per)
    if not base:
        raise SettingsError(f"{file}: {label} has no rate", hint=f"give at least one of {', '.join(RATE_NAMES)}")
    tiers: list[tuple[int, RateAmounts]] = []
    for tier in sorted(row.get("tiers", ()), key=lambda tier: int(tier["above_input_tokens"])):
        above = int(tier["above_input_tokens"])
        below = tiers[-1] if tiers else (-1, base)
        if above == below[0]:
            raise SettingsError(f"{file}: {label}.tiers has above_input_tokens = {above} twice")
        tiers.append((above, below[1] | _amounts(tier, f"{label}.tiers", file, per)))
    return RateEntry(
        label=label,
        scope=_scope(row, label, aliases, file),
        rates=RawCard(base, tuple(tiers)),
        ignores_context=row.get("discount_not_modelled", False),
    )


def _adjustment(row: Mapping[str, Any], label: str, aliases: Mapping[str, str], file: str) -> Adjustment:
    return Adjustment(
        label=label,
        scope=_scope(row, label, aliases, file),
        multiplier=Decimal(row["multiplier"]),
        kind=row.get("kind"),
        tokens_only=row.get("applies_to") == "tokens",
    )


def _model_alias(row: Mapping[str, Any], label: str, aliases: Mapping[str, str], file: str) -> ModelAlias:
    if "regex" in row:
        try:
            pattern = re.compile(row["regex"])
        except re.error as error:
            raise SettingsError(f"{file}: {label}.regex: {error}") from error
    elif "prefix" in row:
        pattern = re.compile(re.escape(row["prefix"]) + ".*", re.IGNORECASE | re.DOTALL)
    else:
        pattern = re.compile(re.escape(row["match"]), re.IGNORECASE)
    return ModelAlias(label, resolve_provider_name(row.get("provider"), aliases), pattern, row["model"])
