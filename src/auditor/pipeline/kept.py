"""Columns that are kept of a run, and audits of them: what ``--save-columns`` writes and ``audit DIR`` reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from auditor.engine.fingerprint import fingerprint
from auditor.engine.saved import ColumnsWriter, read_saved, save
from auditor.engine.saved_files import read_manifest
from auditor.engine.tenant_order import reordered
from auditor.errors import InputError, SettingsError
from auditor.load import Loaded
from auditor.load.builder import SAMPLE_SIZE
from auditor.model.lexicon import Lexicon
from auditor.model.report import InputSummary
from auditor.model.spans import Batch, SampledSpan
from auditor.model.suppression import EVERYTHING
from auditor.pipeline.partition import hashed
from auditor.settings import Settings

_IDENTIFIER = re.compile(r"[A-Za-z0-9][\w.:@-]{1,63}")
"""A value that may be kept: an id or a name, never a sentence."""


class _Facts(msgspec.Struct, forbid_unknown_fields=True):
    """What is known of inputs besides their columns; see ``Loaded``."""

    inputs: list[InputSummary]
    sample: list[SampledSpan]
    corrupt_counts: int
    dropped_copies: int
    service_versions: dict[str, set[str]]
    service_sdks: dict[str, set[str]]
    part_inputs: list[int]
    part_lines: list[int]


def check(directory: Path, directories: Sequence[Path]) -> None:
    """Raise ``SettingsError`` when columns of these inputs cannot be kept there, before anything is read."""
    if are_hashed(directories):
        raise SettingsError("columns that were kept with hashed ids are not kept again", hint="copy their directory")
    ColumnsWriter(directory, lexicon="", replace=True)


def are_hashed(directories: Sequence[Path]) -> bool:
    """Say whether columns that were kept hold hashes for ids; raises ``InputError`` when a directory is broken."""
    return any(read_manifest(directory).ids_hashed for directory in directories)


def keep(directory: Path, loaded: Loaded, batches: Iterable[Batch], lexicon: Lexicon, settings: Settings) -> None:
    """Write the columns of a run; raises ``SettingsError`` when they cannot be written there."""
    hide = hashed if settings.hash_ids else None
    save(directory, batches, _facts(loaded, hide or str), lexicon=fingerprint(lexicon), hide=hide, replace=True)


def _facts(loaded: Loaded, hide: Callable[[str], str]) -> dict[str, Any]:
    sample = [
        replace(entry, attributes=tuple((key, _shown(value, hide)) for key, value in entry.attributes))
        for entry in loaded.sample
    ]
    known = {name: getattr(loaded, name) for name in _Facts.__struct_fields__}
    facts: dict[str, Any] = msgspec.to_builtins(_Facts(**known | {"sample": sample}), order="deterministic")
    return facts


def _shown(value: str, hide: Callable[[str], str]) -> str:
    """A sampled value as it may be kept; what may be a sentence leaves a mark that no other value leaves."""
    if _IDENTIFIER.fullmatch(value):
        return hide(value)
    return f" {blake2b(value.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def take(directories: Sequence[Path], loaded: Loaded, lexicon: Lexicon, tenant_keys: Sequence[str]) -> Iterator[Batch]:
    """Add what was read when columns were kept to what has been read now.

    Yields their batches as they are asked for, with the tenants of these keys first. Raises ``InputError`` when a
    directory is broken, ``SettingsError`` when ids are hashed in one input and not in another.
    """
    batches: list[Iterator[Batch]] = []
    hashing: dict[bool, str] = {False: loaded.inputs[0].path} if loaded.inputs else {}
    for directory in directories:
        found, manifest = read_saved(directory)
        hashing.setdefault(manifest.ids_hashed, str(directory))
        part = _loaded(directory, manifest.facts)
        if manifest.lexicon != fingerprint(lexicon):
            part.inputs = [_noted(entry, directory) for entry in part.inputs]
        batches.append(_numbered(found, len(loaded.part_inputs), tenant_keys))
        _add(loaded, part)
    if len(hashing) > 1:
        raise SettingsError(
            f"{hashing[True]} holds hashed ids and {hashing[False]} does not: their tenants cannot be compared"
        )
    return chain.from_iterable(batches)


def knowing_hashes(settings: Settings) -> Settings:
    """Settings for inputs whose ids are hashed already: nothing is hashed again."""
    tenants = tuple(map(hashed, settings.internal.tenants))
    suppressions = tuple(
        replace(entry, tenant=entry.tenant if entry.tenant == EVERYTHING else hashed(entry.tenant))
        for entry in settings.suppressions
    )
    return replace(
        settings,
        internal=replace(settings.internal, tenants=tenants),
        suppressions=suppressions,
        hash_ids=False,
    )


def _loaded(directory: Path, facts: Mapping[str, Any]) -> Loaded:
    try:
        known = msgspec.convert(facts, _Facts)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{directory}: the manifest does not say what was read: {error}",
            hint="save the columns again from the traces",
        ) from error
    return Loaded(**msgspec.structs.asdict(known))


def _noted(entry: InputSummary, directory: Path) -> InputSummary:
    note = f"read with other settings when {directory} was saved: only their tenant keys can be put in another order"
    return replace(entry, notes=(*entry.notes, note))


def _numbered(batches: Iterable[Batch], first_part: int, tenant_keys: Sequence[str]) -> Iterator[Batch]:
    """Batches whose parts are numbered on from others, with the wanted tenant first."""
    orders: dict[int, list[Any]] = {}
    for batch in batches:
        if tenant_keys:
            known = orders.setdefault(id(batch.tenants), [])
            known += [reordered(tags, tenant_keys) for tags in batch.tenants[len(known) :]]
            batch.tenants = known
        if first_part:
            batch.call_part = batch.call_part.astype("u4") + first_part
        yield batch


def _add(loaded: Loaded, other: Loaded) -> None:
    before = len(loaded.inputs)
    loaded.inputs += other.inputs
    loaded.sample = sorted({*loaded.sample, *other.sample})[:SAMPLE_SIZE]
    loaded.part_inputs += [before + number for number in other.part_inputs]
    loaded.part_lines += other.part_lines
    loaded.corrupt_counts += other.corrupt_counts
    loaded.dropped_copies += other.dropped_copies
    for mine, its in (
        (loaded.service_versions, other.service_versions),
        (loaded.service_sdks, other.service_sdks),
    ):
        for service, found in its.items():
            mine.setdefault(service, set()).update(found)
