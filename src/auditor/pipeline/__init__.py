"""Audits inputs: what the commands call.

load → group into calls → usage → price → attribute → diagnose → summarise → suppress → baseline → judge: the steps
are in ``partition``, their order in ``rounds``, and what all partitions say becomes a report in ``reporting``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from auditor import __version__, doctor
from auditor.attribute import Policy
from auditor.engine.machine import without_garbage_collection
from auditor.engine.saved_files import is_saved
from auditor.engine.spark.addresses import is_address
from auditor.errors import InputError, SettingsError
from auditor.graph.table import SpanTable
from auditor.load import Loaded, call_sites, load, plan_parts
from auditor.load.formats import FORMATS
from auditor.load.gaps import Gap
from auditor.load.sources import find
from auditor.model.audited import AuditedCalls
from auditor.model.checkup import Checkup
from auditor.model.lexicon import Lexicon
from auditor.model.mapping import SourceMapping
from auditor.model.report import Recognition, Report
from auditor.model.spans import Batch
from auditor.model.suppression import EVERYTHING
from auditor.normalise.vocabulary import compile_lexicon, vocabulary_versions
from auditor.pipeline import reporting, rounds
from auditor.pipeline.partition import Context, Orders, Partition, Step, context_of, hashed
from auditor.pipeline.resources import Resources, resources_for
from auditor.price import PriceBook
from auditor.registry import load_rules
from auditor.rule import Rule
from auditor.settings import Settings

if TYPE_CHECKING:
    from auditor.engine.workers import Held
    from auditor.graph.one_trace import TraceTree

Progress = Callable[[int, int], None]
"""Hears of bytes and spans read so far."""


@dataclass(slots=True)
class Audit:
    """A finished audit."""

    report: Report
    baseline: bytes | None = None
    """The baseline of this run as a file, where it is to be written."""
    kept_calls: AuditedCalls | None = None

    @property
    def calls(self) -> AuditedCalls:
        """The calls, of an audit that keeps them."""
        if self.kept_calls is None:
            raise RuntimeError("this audit has not kept its calls")
        return self.kept_calls


def audit(
    paths: Sequence[str],
    settings: Settings,
    *,
    progress: Progress | None = None,
    update_baseline: bool = False,
    keep_calls: bool = True,
    save_columns: Path | None = None,
) -> Audit:
    """Audit the inputs. Raises ``InputError`` when nothing is readable or no call is found.

    With ``update_baseline`` the run becomes the baseline that it is judged against. Raises ``SettingsError`` where
    the baseline of the settings is missing or broken. Without ``keep_calls``, several processes share the work where
    that is worth it, and what does not fit into memory goes by way of temporary files: the report is the same.
    ``save_columns`` is a directory that what was read is kept in; such a directory is an input like any other.
    """
    if settings.engine == "spark" and not keep_calls:
        return _audit_on_spark(paths, settings, update_baseline=update_baseline, save_columns=save_columns)
    run = Run(settings, is_update=update_baseline)
    inputs = Inputs.of(paths)
    if save_columns is not None or inputs.kept:
        from auditor.pipeline import kept  # noqa: PLC0415  # only where columns are kept

        if kept.are_hashed(inputs.kept):
            run.know_hashes()
        if save_columns is not None:
            kept.check(save_columns, inputs.kept)
    with without_garbage_collection():
        resources = None if keep_calls else resources_for(paths, settings)
        if resources is not None:
            return run.audit_by_processes(inputs, resources, progress, save_columns)
        loaded = run.load(inputs, progress)
        if save_columns is not None:
            kept.keep(save_columns, loaded, loaded.batches, run.lexicon, settings)
        return run.audit(loaded)


def _audit_on_spark(
    paths: Sequence[str], settings: Settings, *, update_baseline: bool, save_columns: Path | None
) -> Audit:
    from auditor.pipeline import on_spark  # noqa: PLC0415  # an extra, and it imports this module

    if save_columns is not None:
        raise SettingsError("the engine spark keeps no columns", hint="--save-columns goes with --engine local")
    if Inputs.of(paths).kept:
        raise SettingsError("the engine spark reads traces, not columns that were kept", hint="use --engine local")
    return on_spark.audit(paths, settings, update_baseline=update_baseline)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is to be audited."""

    paths: tuple[str, ...]
    kept: tuple[Path, ...]
    """Directories of columns that were kept."""

    @classmethod
    def of(cls, paths: Sequence[str]) -> Inputs:
        """Tell directories of kept columns from all others."""
        kept = [path for path in paths if is_saved(Path(path))]
        return cls(tuple(path for path in paths if path not in kept), tuple(map(Path, kept)))


class Run:
    """Everything that is settled before the inputs are read: what is wrong with it is told at once."""

    def __init__(self, settings: Settings, *, is_update: bool = False) -> None:
        self.settings = settings
        self.judging = reporting.judging_of(settings, is_update=is_update)
        self.rules = _rules(settings)
        self.book = PriceBook.load(settings.pricing)
        self.lexicon = lexicon_of(settings)
        self.ids_hashed = settings.hash_ids

    def know_hashes(self) -> None:
        """Take the ids of the inputs for hashes: nothing is hashed again."""
        from auditor.pipeline import kept  # noqa: PLC0415  # only where columns are kept

        self.settings, self.ids_hashed = kept.knowing_hashes(self.settings), True

    def load(self, inputs: Inputs, progress: Progress | None) -> Loaded:
        """Read all inputs into memory."""
        mappings = self.settings.used_mappings
        read_any = inputs.paths or not inputs.kept
        loaded = load(inputs.paths, self.lexicon, progress=progress, mappings=mappings) if read_any else Loaded()
        loaded.batches += self._kept(inputs, loaded)
        return loaded

    def _kept(self, inputs: Inputs, loaded: Loaded) -> Iterator[Batch]:
        """The batches of kept columns; what is known of them goes to what was read."""
        if not inputs.kept:
            return iter(())
        from auditor.pipeline import kept  # noqa: PLC0415  # only where columns are kept

        return kept.take(inputs.kept, loaded, self.lexicon, self.settings.tenant_keys)

    def audit(self, loaded: Loaded) -> Audit:
        """Audit what was read. Raises ``InputError`` when there is no call in it."""
        context = Context(orders_of(self.settings, keep_calls=True), self.book)
        here = InMemory(context, Partition(loaded.batches))
        loaded.batches = []
        done = self._reported(here, loaded)
        calls = here.partition.calls
        if calls is not None:
            calls.rules = done.rules
        return Audit(done.report, done.baseline, calls)

    def audit_by_processes(
        self, inputs: Inputs, resources: Resources, progress: Progress | None, save_columns: Path | None = None
    ) -> Audit:
        """Audit inputs by several processes, or by way of temporary files."""
        from auditor.engine.local import Partitions  # noqa: PLC0415  # only for large inputs
        from auditor.engine.tempdir import private_directory  # noqa: PLC0415  # as above
        from auditor.engine.workers import Here, Workers  # noqa: PLC0415  # as above
        from auditor.price.library import library  # noqa: PLC0415  # as above

        settings = self.settings
        # Once here, and not in each process.
        library()
        with private_directory(settings.temp_dir) as directory, ExitStack() as stack:
            make = self.maker(directory)
            workers = Here(make) if resources.jobs == 1 else stack.enter_context(Workers(resources.jobs, make))
            partitions = Partitions(workers, directory, memory=resources.memory)
            loaded = Loaded()
            if inputs.paths or not inputs.kept:
                parts = plan_parts(inputs.paths, settings.used_mappings, part_bytes=resources.part_bytes)
                loaded = partitions.read(parts, progress=progress)
            partitions.add(self._kept(inputs, loaded))
            if save_columns is not None:
                from auditor.pipeline import kept  # noqa: PLC0415  # only where columns are kept

                kept.keep(save_columns, loaded, partitions.batches(), self.lexicon, settings)
            return self.audit_partitions(partitions, loaded)

    def maker(self, directory: Path) -> Callable[[], Held]:
        """What makes all that a process of this run holds."""
        from auditor.engine import local  # noqa: PLC0415  # only for large inputs

        settings = self.settings
        reading = local.Reading(self.lexicon, settings.used_mappings, directory)
        return local.held(reading, local.Making(partial(context_of, orders_of(settings), settings.pricing), Partition))

    def audit_partitions(self, partitions: rounds.Partitions, loaded: Loaded) -> Audit:
        """Audit what was read into partitions. Raises ``InputError`` when there is no call in it."""
        done = self._reported(partitions, loaded)
        return Audit(done.report, done.baseline)

    def _reported(self, partitions: rounds.Partitions, loaded: Loaded) -> reporting.Reported:
        concluded = rounds.run(partitions) if loaded.spans_read else []
        if not concluded:
            raise InputError(_nothing_found(loaded), hint="audit explains what it reads: audit --help")
        return reporting.build_report(
            loaded, concluded, self.rules, self.book, self.settings, self.judging, self.ids_hashed
        )


class InMemory:
    """One partition with everything in it."""

    def __init__(self, context: Context, partition: Partition) -> None:
        self._context = context
        self.partition = partition

    def each(self, step: Step, shared: Any = None) -> list[Any]:
        """Take the step."""
        return [step(self._context, self.partition, shared)]

    def bring_together(self, bonds: Sequence[rounds.Bond]) -> bool:  # noqa: ARG002  # see rounds.Partitions
        """All traces are together."""
        return False


def lexicon_of(settings: Settings) -> Lexicon:
    """What attributes mean, by the settings."""
    return compile_lexicon(
        tenant_keys=settings.tenant_keys,
        placeholders=settings.placeholders,
        end_user_as_tenant=settings.end_user_as_tenant,
        extra_keys=settings.vocabulary.by_concept,
    )


def orders_of(settings: Settings, *, keep_calls: bool = False) -> Orders:
    """What the settings say about the steps."""
    internal = settings.internal
    return Orders(
        policy=Policy(
            rollup=settings.rollup,
            internal_environments=frozenset(name.lower() for name in internal.environments),
            internal_services=frozenset(internal.services),
            internal_features=frozenset(internal.features),
            internal_tenants=frozenset(internal.tenants),
        ),
        cost_source=settings.cost_source,
        hash_ids=settings.hash_ids,
        by_tenant=any(entry.tenant != EVERYTHING for entry in settings.suppressions),
        keep_calls=keep_calls,
    )


def locate(report: Report, paths: Sequence[str], here: Path) -> Report:
    """Say of the samples of findings on which line their spans are, and which line of code made the calls.

    Reads the inputs that hold samples a second time, up to the last sample. Files of code are named relative to the
    repository around ``here`` where they are found in it. What cannot be read twice leaves its samples as they are.
    """
    samples = [sample for finding in report.findings for sample in finding.samples]
    again = [path for path in paths if not is_address(path)]
    found = call_sites.locate(samples, report.inputs, again, call_sites.checkout_of(here))
    findings = tuple(
        replace(finding, samples=tuple(found.get(sample, sample) for sample in finding.samples))
        for finding in report.findings
    )
    return replace(report, findings=findings)


def examine(paths: Sequence[str], settings: Settings, *, progress: Progress | None = None) -> tuple[Checkup, int]:
    """Say what inputs are and what an audit of them lacks; with the audit's exit status.

    An input that cannot be read, or the lack of any call, is part of the answer. Raises ``InputError`` only where
    there is no input at all.
    """
    run = Run(settings)
    report, problem = None, ""
    with without_garbage_collection():
        loaded = load(paths, run.lexicon, progress=progress, may_all_fail=True, mappings=settings.used_mappings)
        try:
            report = run.audit(loaded).report
        except InputError as error:
            problem = str(error)
            if all(entry.recognition is Recognition.NOTHING for entry in loaded.inputs):
                problem = "nothing here could be read"
    checkup = doctor.examine(
        loaded.inputs,
        report,
        problem,
        formats={
            entry.name: doctor.FormatFacts(
                entry.title, tuple(map(str, entry.cannot_tell)), has_paths=Gap.PATHS not in entry.cannot_tell
            )
            for entry in FORMATS
        },
        tables=vocabulary_versions(),
        version=__version__,
        price_book=run.book.id,
        cost_source=settings.cost_source,
    )
    return checkup, report.gate.exit_code if report else InputError.exit_code


def drafted_mappings(paths: Sequence[str], wanted: Collection[str]) -> list[SourceMapping]:
    """Drafts of mappings for those inputs, by name, whose format is not known and that look like logs of calls."""
    from auditor.load.draft import draft  # noqa: PLC0415  # only where an input is unknown

    drafts = (draft(source) for source in find(paths) if source.name in wanted and source.path is not None)
    return [entry for entry in drafts if entry is not None]


def _rules(settings: Settings) -> list[Rule]:
    return [rule for rule in load_rules(settings.rules_paths) if settings.rule(rule.id).enabled]


def _nothing_found(loaded: Loaded) -> str:
    names = ", ".join(entry.path for entry in loaded.inputs[:3])
    more = f" and {len(loaded.inputs) - 3} more" if len(loaded.inputs) > 3 else ""
    rejected = sum(entry.rejected for entry in loaded.inputs)
    first = next((entry for entry in loaded.inputs if entry.rejections), None)
    reason = f"{first.path}:{first.rejections[0].line}: {first.rejections[0].reason}" if first else ""
    spans = loaded.spans_read
    broken = f", {rejected} records rejected ({reason})" if rejected else ""
    noted = next((f" ({note})" for entry in loaded.inputs for note in entry.notes), "")
    return f"{names}{more}: no model call among {spans} spans{broken}{noted}"


def explain_trace(trace_id: str, paths: Sequence[str], settings: Settings) -> TraceTree:
    """One trace as a tree, with what the audit of all inputs says about its calls.

    ``trace_id`` in either case, with ``0x`` or without, or its first 8 digits or more where only one trace begins
    so (files are then read a second time for the names of its spans). Raises ``SettingsError`` when it is no
    trace id, ``InputError`` when no trace or several have it, when nothing is readable, or no call is found.
    """
    from auditor.graph.one_trace import find_trace, trace_prefix, trace_tree  # noqa: PLC0415  # brings networkx

    prefix = trace_prefix(trace_id)
    if prefix is None:
        raise SettingsError(
            f"{trace_id!r} is not a trace id",
            hint="32 hex digits, or the first 8 of them or more; a rule's page needs no files: audit explain RULE",
        )
    run = Run(settings.without_gate())
    with without_garbage_collection():
        loaded = load(paths, run.lexicon, explain_trace=prefix, mappings=settings.used_mappings)
        found = find_trace([batch.trace_ids for batch in loaded.batches], prefix)
        if found != prefix and "-" not in paths:
            loaded = load(paths, run.lexicon, explain_trace=found, mappings=settings.used_mappings)
        done = run.audit(loaded)
    # Calls name their spans by rows of the table that was audited.
    table = cast("SpanTable", done.calls.spans)
    hide = hashed if settings.hash_ids else str
    return trace_tree(table, done.calls, done.report.findings, found, hide=hide)
