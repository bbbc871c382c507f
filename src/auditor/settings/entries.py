"""The one list of settings: flags, variables, the drafted file and ``audit config show`` are made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from auditor.settings.nouns import COST_SOURCES, ENGINES, INTERNAL_ENVIRONMENTS, ROLLUPS
from auditor.settings.values import (
    choice,
    quote,
    read_bytes,
    read_confidence,
    read_dollars,
    read_flag,
    read_jobs,
    read_master,
    read_names,
    read_path,
    read_paths,
    read_share,
    show_auto,
    show_bytes,
    show_dollars,
    show_share,
    show_text,
)

PREFIX = "AUDITOR_"
TODAY = "AUDITOR_TODAY"
OTHER_VARIABLES = ("AUDITOR_CONFIG", "AUDITOR_DEBUG", "AUDITOR_FORMAT", TODAY)
"""Variables of ours that are no settings: the file to read, what a crash prints, what to write, the day that it is."""

_NAMED_IN_VARIABLES = frozenset({"internal", "vocabulary"})
"""Sections whose keys would say too little without them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting: its key in the file (dotted), how it is read, what it is for."""

    key: str
    read: Callable[[object], object]
    default: object
    help: str
    flag: str | None = None
    show: Callable[[object], str] = show_text

    @property
    def variable(self) -> str:
        """The environment variable of this setting."""
        section, _, name = self.key.rpartition(".")
        lead = f"{section.upper()}_" if section in _NAMED_IN_VARIABLES else ""
        return f"{PREFIX}{lead}{name.upper()}"

    @property
    def reads_none(self) -> bool:
        """Whether the file can say that there is no value."""
        return self.read in {read_share, read_dollars, read_confidence, read_jobs, read_bytes, read_master}

    def to_toml(self, value: object) -> str:
        """Write a value as the file would have it."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int) and self.read is read_jobs:
            return str(value)
        if isinstance(value, tuple):
            return "[" + ", ".join(quote(part) for part in value) + "]"
        return quote(self.show(value))


OWN_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "user": "the person who caused the call",
        "session": "the session or conversation",
        "workflow": "the run of a workflow",
        "request_id": "the request, the same on both sides of a hop",
        "message_id": "the message or job, the same on both sides of a queue",
        "batch_id": "the batch that the call belongs to",
        "environment": "production, staging …",
        "feature": "the feature of the product",
        "credential": "the API key, by a name or a hash of it",
        "metadata": "a JSON object that may hold any of these",
        "operation": "what the span does: chat, embeddings, invoke_agent …",
        "provider": "the model provider",
        "request_model": "the model that was asked for",
        "response_model": "the model that answered",
        "response_id": "the id that the provider gave the answer",
        "streamed": "whether the answer was streamed",
        "service_tier": "the tier that decides the price",
        "input_tokens": "tokens sent, cached ones included",
        "output_tokens": "tokens received, reasoning included",
        "cache_read": "tokens read from the provider's cache",
        "cache_write": "tokens written to the provider's cache",
        "total_tokens": "all tokens; only a check",
        "reasoning_tokens": "the part of the output that was reasoning",
        "usage_details": "a JSON object of token counts",
        "reported_cost": "the cost in US dollars, as something before us worked it out",
    }
)
"""Concepts of the vocabulary that a user may add keys to, and what such a key holds."""


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "tenant_keys",
        read_names,
        (),
        "Attributes that hold the tenant; they come before the built-in list.",
        "--tenant-key",
    ),
    Entry(
        "end_user_as_tenant",
        read_flag,
        True,
        "A gateway's end-user field counts as the tenant when nothing better is there.",
    ),
    Entry(
        "rollup",
        choice(*ROLLUPS),
        "call",
        "call: your ledger groups by the span's own tenant; "
        "request: it rolls children up to the request, so a tenant on an ancestor of the same trace counts.",
        "--rollup",
    ),
    Entry(
        "use_mappings",
        read_names,
        (),
        "Mappings of the settings file, [mapping.NAME], for JSON lines and CSV that are no format of ours.",
        "--mapping",
    ),
    Entry("placeholders", read_names, (), "Values that are not tenants, besides the built-in ones."),
    Entry("pricing", read_path, None, "A file with your own rates and aliases.", "--pricing"),
    Entry(
        "cost_source",
        choice(*COST_SOURCES),
        "computed",
        "computed: from usage and prices; computed-or-reported: what the trace reports where no price is "
        "known; reported: what the trace reports.",
        "--cost-source",
    ),
    Entry(
        "rules_paths",
        read_paths,
        (),
        "Rule modules or folders of them, besides the installed packages. They are run as code.",
        "--rules",
    ),
    Entry(
        "fail_on",
        read_confidence,
        None,
        "Findings that are at least this sure fail the gate: certain, likely, possible, none.",
        "--fail-on",
    ),
    Entry(
        "hash_ids",
        read_flag,
        False,
        "Tenant and user ids leave only as hashes.",
        "--hash-ids",
    ),
    Entry(
        "strict",
        read_flag,
        False,
        "Rejected records and unchecked required rules fail the run. On by default where CI is set.",
        "--strict",
    ),
    Entry("exit_zero", read_flag, False, "A failed gate is shown but does not fail the run.", "--exit-zero"),
    Entry(
        "baseline",
        read_path,
        None,
        "A file with the leaks that are known: they are shown and do not fail the gate, new ones do.",
        "--baseline",
    ),
    Entry(
        "baseline_tolerance",
        read_share,
        Decimal("0.10"),
        "How much larger a known leak may get at equal traffic, as a share of its amount; none: any amount.",
        "--baseline-tolerance",
        show_share,
    ),
    Entry(
        "jobs",
        read_jobs,
        None,
        "Processes that work side by side; auto: as many as there are processors, for inputs that are worth it.",
        "--jobs",
        show_auto,
    ),
    Entry(
        "memory",
        read_bytes,
        None,
        "Memory of all processes together, such as 512MiB: larger inputs go by way of temporary files. "
        "auto: half of the machine's.",
        "--memory",
        show_bytes,
    ),
    Entry("temp_dir", read_path, None, "Where temporary files go, if not where the system has them.", "--temp-dir"),
    Entry(
        "engine",
        choice(*ENGINES),
        "local",
        "local: processes of this machine; spark: Apache Spark, for traces that lie in a lake (needs the spark extra).",
        "--engine",
    ),
    Entry(
        "master",
        read_master,
        None,
        "Where Spark runs, such as local[4] or spark://host:7077; auto: as Spark's own configuration says.",
        "--master",
        show_auto,
    ),
    *(
        Entry(f"vocabulary.{concept}", read_names, (), f"Attributes of your own that hold {what}.")
        for concept, what in OWN_KEYS.items()
    ),
    Entry(
        "internal.environments",
        read_names,
        INTERNAL_ENVIRONMENTS,
        "Environments whose calls need no tenant.",
    ),
    Entry("internal.services", read_names, (), "Services whose calls need no tenant."),
    Entry("internal.features", read_names, (), "Features whose calls need no tenant."),
    Entry("internal.tenants", read_names, (), "Tenants that are yourselves."),
    Entry(
        "gate.max_unattributed",
        read_share,
        Decimal("0.10"),
        "Largest share of spend without a tenant.",
        "--max-unattributed",
        show_share,
    ),
    Entry(
        "gate.warn_unattributed",
        read_share,
        Decimal("0.03"),
        "Share of spend without a tenant from which the report warns.",
        None,
        show_share,
    ),
    Entry(
        "gate.max_unattributed_usd",
        read_dollars,
        None,
        "Largest amount of spend without a tenant, in US dollars.",
        "--max-unattributed-usd",
        show_dollars,
    ),
    Entry(
        "gate.max_lost",
        read_share,
        None,
        "Largest share of spend that nothing in the input gives back to a tenant.",
        "--max-lost",
        show_share,
    ),
    Entry(
        "gate.max_unmetered",
        read_share,
        None,
        "Largest share of calls without usage.",
        "--max-unmetered",
        show_share,
    ),
    Entry(
        "gate.warn_unmetered",
        read_share,
        Decimal("0.05"),
        "Share of calls without usage from which the report warns.",
        None,
        show_share,
    ),
    Entry(
        "gate.max_unpriced",
        read_share,
        None,
        "Largest share of calls whose model has no price.",
        "--max-unpriced",
        show_share,
    ),
    Entry(
        "gate.warn_unpriced",
        read_share,
        Decimal("0.05"),
        "Share of calls whose model has no price from which the report warns.",
        None,
        show_share,
    ),
    Entry(
        "gate.max_worse",
        read_share,
        None,
        "For audit diff: most points of the spend that may be new or worse than before, such as 2%.",
        "--max-worse",
        show_share,
    ),
)
BY_KEY: Mapping[str, Entry] = MappingProxyType({entry.key: entry for entry in ENTRIES})
