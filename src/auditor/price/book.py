"""The price book: one rate card for each distinct question, from the first layer that can answer.

The layers are the user's price file, the shipped supplement, and the price data.

Building a book reads the user's price file, if there is one, and nothing else; the price data is imported
when the first card that needs it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from auditor.errors import SettingsError
from auditor.price.cards import MAX_RATE, PriceSource, RateCard
from auditor.price.contexts import normalise_context
from auditor.price.entries import Adjustment, PriceLayer, Query, RateLayer
from auditor.price.providers import (
    MISSING,
    Provider,
    ProviderKind,
    fold,
    model_spellings,
    provider_from_model,
    provider_named,
)
from auditor.price.shipped import shipped_toml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import date

    from auditor.price.amounts import RawCard
    from auditor.price.contexts import PriceContext

PRICE_DATA: Final = "genai-prices"
"""Distribution that the price data comes from."""


class UnpricedReason(StrEnum):
    """Why a call has no price. The price is then unknown, never 0."""

    MISSING_MODEL = "missing_model"
    UNKNOWN_PROVIDER = "unknown_provider"
    AMBIGUOUS_PROVIDER = "ambiguous_provider"
    SELF_HOSTED = "self_hosted"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_DATE = "unknown_date"
    """A price file knows the model, but not on this day."""
    UNKNOWN_CONTEXT = "unknown_context"
    """A price file knows the model on this day, but only in other contexts."""


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A question that no layer answers."""

    reason: UnpricedReason


@dataclass(frozen=True, slots=True)
class PriceKey:
    """Everything that a price depends on, besides usage; names as they stand in the trace."""

    provider: str | None
    model: str
    day: date
    """UTC."""
    half_hour: int | None = None
    """Half-hour of the UTC day, 0-47, where ``PriceBook.needs_half_hour`` says so; else ``None``.

    The published time windows begin and end at full and half hours. ``None`` is read as the day's first.
    """
    context: PriceContext = ()


class _Subject(NamedTuple):
    """A provider and model as the layers know them."""

    provider: Provider
    model: str
    """The model's name in one spelling: aliases followed, prefixes dropped, lower case."""
    spellings: tuple[str, ...]
    """All names that the model may be known by, the one to try first in front."""
    problem: UnpricedReason | None
    """Why the price data cannot be asked; price files still can."""


class PriceBook:
    """Answers ``card(key)``; equal keys get one card object, and so do equal prices under different keys."""

    def __init__(self, file_layer: PriceLayer | None = None, *, file_id: str | None = None) -> None:
        self._file = file_layer or PriceLayer(RateLayer(()))
        self._file_id = file_id
        self._subjects: dict[tuple[str | None, str], _Subject] = {}
        self._cards: dict[PriceKey, RateCard | Unpriced] = {}
        self._distinct: dict[RateCard, RateCard] = {}
        self._used: set[str] = set()

    @classmethod
    def load(cls, pricing_file: Path | str | None = None) -> PriceBook:
        """Make a book, with a price file (TOML, JSON, or ``litellm:`` and the path of LiteLLM's map) on top.

        Raises ``SettingsError`` when the file cannot be read or followed.
        """
        if pricing_file is None:
            return cls()
        import hashlib  # noqa: PLC0415  # only with a file

        from auditor.price.litellm_map import PREFIX, read_litellm_map  # noqa: PLC0415  # only with a file
        from auditor.price.pricing_file import read_price_file  # noqa: PLC0415  # only with a file

        name = str(pricing_file)
        is_litellm = name.startswith(PREFIX)
        path = Path(name.removeprefix(PREFIX))
        try:
            content = path.read_bytes()
            text = content.decode("utf-8-sig")
        except OSError as error:
            raise SettingsError(f"cannot read price file {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise SettingsError(f"{path}: not UTF-8 (byte {error.start})") from error
        layer = read_litellm_map(text, str(path)) if is_litellm else read_price_file(text, str(path))
        digest = f"sha256:{hashlib.sha256(content).hexdigest()[:12]}"
        return cls(layer, file_id=f"litellm {digest}" if is_litellm else digest)

    @property
    def id(self) -> str:
        """Names the prices: version of the price data, edition of the supplement, digest of the file."""
        from importlib.metadata import version  # noqa: PLC0415  # slow, and only reports need it

        parts = [f"{PRICE_DATA} {version(PRICE_DATA)}", f"supplement {_supplement_edition()}", self._file_id]
        return " + ".join(part for part in parts if part)

    @property
    def answers(self) -> Mapping[PriceKey, RateCard | Unpriced]:
        """All questions asked so far, and what was found."""
        return self._cards

    def used_entries(self) -> set[str]:
        """Return the labels of the price file's rates, adjustments and aliases that fitted a question."""
        return set(self._used)

    def unused_entries(self, used: Collection[str] | None = None) -> tuple[str, ...]:
        """Return the labels of the price file that are not among the used ones, this book's where none are given."""
        known = self._used if used is None else used
        return tuple(label for label in self._file.labels if label not in known)

    def needs_half_hour(self, provider: str | None, model: str) -> bool:
        """Say whether the model's price depends on the time of day: then ``PriceKey.half_hour`` is needed."""
        subject = self._subject(provider, model)
        names = _lowered(subject.spellings)
        if any(entry.scope.half_hour is not None for entry in self._file.rates.named(subject.provider.id, names)):
            return True
        if subject.problem is not None:
            return False
        from auditor.price.library import library  # noqa: PLC0415  # heavy: only the first card pays for it

        found = library().find(subject.provider.id or "", subject.spellings)
        return found is not None and found.needs_time()

    def card(self, key: PriceKey) -> RateCard | Unpriced:
        """Return the rates for a question, or why there are none.

        Raises ``SettingsError`` when the price file's multipliers drive a rate beyond a million dollars.
        """
        answer = self._cards.get(key)
        if answer is None:
            answer = self._find(key)
            if isinstance(answer, RateCard):
                answer = self._distinct.setdefault(answer, answer)
            self._cards[key] = answer
        return answer

    def _find(self, key: PriceKey) -> RateCard | Unpriced:
        subject = self._subject(key.provider, key.model)
        query = Query(
            provider=subject.provider.id,
            models=_lowered(subject.spellings),
            day=key.day,
            half_hour=key.half_hour,
            context=frozenset(normalise_context(key.context)),
        )
        for source, layer in ((PriceSource.FILE, self._file), (PriceSource.SUPPLEMENT, _supplement())):
            entry = layer.rates.find(query)
            if entry is not None:
                if source is PriceSource.FILE:
                    self._used.add(entry.label)
                modelled = frozenset[tuple[str, str]]() if entry.ignores_context else entry.scope.when
                head = _Head(subject.provider.id, subject.model, source)
                return self._adjusted(entry.rates, modelled, head, query)
        problem = subject.problem
        if problem is None:
            from auditor.price.library import library  # noqa: PLC0415  # heavy: only the first card pays for it

            found = library().find(subject.provider.id or "", subject.spellings)
            if found is not None:
                rates, modelled = found.rates(key.day, key.half_hour or 0, tuple(sorted(query.context)))
                head = _Head(found.provider, found.model, PriceSource.GENAI_PRICES)
                return self._adjusted(rates, modelled, head, query)
            problem = UnpricedReason.UNKNOWN_MODEL
        return Unpriced(self._near_miss(query) or problem)

    def _near_miss(self, query: Query) -> UnpricedReason | None:
        """Say what kept a price file's rates for this model from being used, if it has any."""
        named = [
            entry for layer in (self._file, _supplement()) for entry in layer.rates.named(query.provider, query.models)
        ]
        if not named:
            return None
        if any(entry.scope.is_in_force(query.day) for entry in named):
            return UnpricedReason.UNKNOWN_CONTEXT
        return UnpricedReason.UNKNOWN_DATE

    def _adjusted(self, rates: RawCard, modelled: frozenset[tuple[str, str]], head: _Head, query: Query) -> RateCard:
        """Apply the supplement's multipliers where nothing else knows the context, then the user's."""
        own = [adjustment for adjustment in self._file.adjustments if adjustment.scope.covers(query)]
        self._used.update(adjustment.label for adjustment in own)
        settled = modelled.union(*(adjustment.scope.when for adjustment in own if adjustment.kind is None))
        applied: list[str] = []
        if head.source is not PriceSource.FILE:
            for adjustment in _supplement().adjustments:
                if adjustment.scope.covers(query) and adjustment.scope.when - settled:
                    rates = _scaled(rates, adjustment)
                    settled |= adjustment.scope.when
                    applied.append(f"supplement {adjustment.label} x {adjustment.multiplier}")
        listed = rates
        for adjustment in own:
            rates = _scaled(rates, adjustment)
            if adjustment.kind is None:
                listed = _scaled(listed, adjustment)
            applied.append(f"{adjustment.label} x {adjustment.multiplier}")
        settled = settled.union(*(adjustment.scope.when for adjustment in own))
        unmodelled = tuple(f"{name}={value}" for name, value in sorted(query.context - settled))
        is_override = head.source is PriceSource.FILE or bool(own)
        base, tiers, rounded = rates.compiled()
        card = RateCard(
            provider=head.provider,
            model=head.model,
            source=head.source,
            base=base,
            tiers=tiers,
            unmodelled_context=unmodelled,
            adjustments=tuple(applied),
            is_override=is_override,
            rounded_rates=rounded,
        )
        if all(adjustment.kind is None for adjustment in own):
            return card
        base, tiers, rounded = listed.compiled()
        commercial = {adjustment.label for adjustment in own if adjustment.kind is not None}
        kept = tuple(text for text in applied if text.partition(" x ")[0] not in commercial)
        list_card = replace(
            card,
            base=base,
            tiers=tiers,
            rounded_rates=rounded,
            adjustments=kept,
            is_override=head.source is PriceSource.FILE or len(commercial) < len(own),
        )
        return replace(card, list_card=list_card)

    def _subject(self, provider: str | None, model: str) -> _Subject:
        key = (provider, model)
        subject = self._subjects.get(key)
        if subject is None:
            subject = self._subjects[key] = self._identify(provider, model.strip())
        return subject

    def _identify(self, provider_name: str | None, model: str) -> _Subject:
        """Find out who bills and under which names the model may be known."""
        provider = self._provider(provider_name)
        if not model:
            return _Subject(provider, model, (model,), UnpricedReason.MISSING_MODEL)
        problem = None
        names: tuple[str, ...] = (model,)
        if provider.kind is ProviderKind.MISSING:
            target = self._alias(None, names) or model
            provider, bare = provider_from_model(target)
            names = (bare, target, model)
            if provider.kind is ProviderKind.MISSING:
                provider, problem = _claimed_by(bare)
        spellings = [spelling for name in names for spelling in model_spellings(provider.id, name)]
        alias = self._alias(provider.id, spellings)
        if alias is not None:
            spellings = [*model_spellings(provider.id, alias), *spellings]
        if provider.kind is ProviderKind.SELF_HOSTED:
            problem = UnpricedReason.SELF_HOSTED
        elif provider.kind is ProviderKind.UNKNOWN:
            problem = UnpricedReason.UNKNOWN_PROVIDER
        plain = model_spellings(provider.id, alias or names[0])[-1].lower()
        return _Subject(provider, plain, tuple(dict.fromkeys(spellings)), problem)

    def _provider(self, name: str | None) -> Provider:
        """Look up a provider: the user's aliases, the shipped spellings, then the price data's own ids."""
        if name is not None:
            name = self._file.provider_aliases.get(fold(name), name)
        provider = provider_named(name)
        if provider.kind is ProviderKind.UNKNOWN and provider.id is not None:
            from auditor.price.library import library  # noqa: PLC0415  # heavy: only the first card pays for it

            for known in (provider.id, (name or "").strip().lower()):
                if library().has_provider(known):
                    return Provider(known, ProviderKind.BILLED)
        return provider

    def _alias(self, provider: str | None, names: Iterable[str]) -> str | None:
        """Return the model that the user's first fitting alias stands for."""
        for alias in self._file.model_aliases:
            if any(alias.applies(provider, name) for name in names):
                self._used.add(alias.label)
                return alias.model
        return None


class _Head(NamedTuple):
    """What a card is called and where it comes from."""

    provider: str | None
    model: str
    source: PriceSource


def _scaled(rates: RawCard, adjustment: Adjustment) -> RawCard:
    scaled = rates.scaled(adjustment.multiplier, tokens_only=adjustment.tokens_only)
    for level in (scaled.base, *(tier for _, tier in scaled.tiers)):
        if any(rate > MAX_RATE for rate in level.values()):
            raise SettingsError(f"price file: {adjustment.label} makes a rate of more than a million dollars a unit")
    return scaled


def _claimed_by(model: str) -> tuple[Provider, UnpricedReason | None]:
    """Ask the price data which provider's pattern claims a bare model name; it must be exactly one."""
    from auditor.price.library import library  # noqa: PLC0415  # heavy: only the first card pays for it

    claims = library().providers_of(model)
    if len(claims) == 1:
        return Provider(claims[0], ProviderKind.BILLED), None
    return MISSING, UnpricedReason.AMBIGUOUS_PROVIDER if claims else UnpricedReason.UNKNOWN_PROVIDER


def _lowered(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.lower() for name in names))


@cache
def _supplement_document() -> dict[str, Any]:
    return shipped_toml("supplement.toml")


@cache
def _supplement() -> PriceLayer:
    """Read the shipped supplement, once. Its shape is checked by a test, not at run time."""
    from auditor.price.pricing_file import build_layer  # noqa: PLC0415  # only the first card pays for it

    return build_layer(_supplement_document(), "supplement")


def _supplement_edition() -> int:
    edition: int = _supplement_document()["edition"]
    return edition
