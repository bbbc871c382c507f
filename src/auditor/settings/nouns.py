"""Settings as values, resolved: what every stage reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from auditor.model.mapping import SourceMapping
from auditor.model.report import Confidence
from auditor.model.suppression import Suppression

INTERNAL_ENVIRONMENTS = (
    "staging",
    "stage",
    "stg",
    "preprod",
    "pre-production",
    "uat",
    "qa",
    "dev",
    "development",
    "local",
    "localhost",
    "test",
    "testing",
    "tests",
    "ci",
    "eval",
    "evals",
    "evaluation",
    "benchmark",
    "demo",
    "sandbox",
    "preview",
)
"""Values of the environment attribute whose calls need no tenant."""

ROLLUPS = ("call", "request")
ENGINES = ("local", "spark")
COST_SOURCES = ("computed", "computed-or-reported", "reported")


@dataclass(frozen=True, slots=True)
class Internal:
    """Traffic without a tenant that needs none; names are compared as the pipeline compares them."""

    environments: tuple[str, ...] = INTERNAL_ENVIRONMENTS
    services: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gate allows. Shares are between 0 and 1; ``None`` switches a limit off."""

    max_unattributed: Decimal | None = Decimal("0.10")
    """Share of audited spend without a tenant."""
    warn_unattributed: Decimal | None = Decimal("0.03")
    max_unattributed_usd: int | None = None
    """Pico-dollars without a tenant."""
    max_lost: Decimal | None = None
    """Share of audited spend that no join gives back."""
    max_unmetered: Decimal | None = None
    """Share of calls without usage."""
    warn_unmetered: Decimal | None = Decimal("0.05")
    max_unpriced: Decimal | None = None
    """Share of calls without a price."""
    warn_unpriced: Decimal | None = Decimal("0.05")
    max_worse: Decimal | None = None
    """Points of the audited spend that may be new or worse in a comparison."""


NO_LIMITS = Limits(None, None, None, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Attributes of the user's own, by what they say; they come before the built-in keys of the same concept.

    Each field is named like a concept of the vocabulary tables. The tenant has a setting of its own, ``tenant_keys``.
    """

    user: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    workflow: tuple[str, ...] = ()
    request_id: tuple[str, ...] = ()
    message_id: tuple[str, ...] = ()
    batch_id: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    feature: tuple[str, ...] = ()
    credential: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    operation: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    request_model: tuple[str, ...] = ()
    response_model: tuple[str, ...] = ()
    response_id: tuple[str, ...] = ()
    streamed: tuple[str, ...] = ()
    service_tier: tuple[str, ...] = ()
    input_tokens: tuple[str, ...] = ()
    output_tokens: tuple[str, ...] = ()
    cache_read: tuple[str, ...] = ()
    cache_write: tuple[str, ...] = ()
    total_tokens: tuple[str, ...] = ()
    reasoning_tokens: tuple[str, ...] = ()
    usage_details: tuple[str, ...] = ()
    reported_cost: tuple[str, ...] = ()

    @property
    def by_concept(self) -> Mapping[str, tuple[str, ...]]:
        """The keys that were declared, by concept."""
        return MappingProxyType({name: keys for name in self.__slots__ if (keys := getattr(self, name))})


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What the user says about one rule."""

    enabled: bool = True
    required: bool = False
    """Under ``--strict``, an input that cannot answer this rule is incomplete."""
    fail_on: Confidence | None = None
    """Findings of this rule that are at least this sure fail the gate; ``None``: they never do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run can be told, resolved."""

    tenant_keys: tuple[str, ...] = ()
    """Attributes read as the tenant, before the built-in list."""
    end_user_as_tenant: bool = True
    rollup: str = "call"
    """One of ``ROLLUPS``: ``request`` counts a tenant on an ancestor of the same trace as carried."""
    placeholders: tuple[str, ...] = ()
    """Values that are not tenants, besides the built-in ones."""
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    internal: Internal = field(default_factory=Internal)
    gate: Limits = field(default_factory=Limits)
    fail_on: Confidence | None = None
    """As ``RuleSettings.fail_on``, for rules that say nothing themselves."""
    rules: Mapping[str, RuleSettings] = field(default_factory=dict)
    rules_paths: tuple[Path, ...] = ()
    pricing: Path | None = None
    cost_source: str = "computed"
    """One of ``COST_SOURCES``."""
    hash_ids: bool = False
    jobs: int | None = None
    """Processes; ``None``: as many as the machine has processors, where the input is worth it."""
    memory: int | None = None
    """Bytes that all processes together may hold; ``None``: half of the machine's."""
    temp_dir: Path | None = None
    """Where temporary files go; ``None``: where the system has them."""
    engine: str = "local"
    """One of ``ENGINES``: what reads and works on large inputs."""
    master: str | None = None
    """Where Spark runs; ``None``: as its own configuration says."""
    strict: bool = False
    exit_zero: bool = False
    baseline: Path | None = None
    """Leaks that are known and do not fail."""
    baseline_tolerance: Decimal | None = Decimal("0.10")
    """Growth of a known leak that is let through, as a share of its amount at today's traffic; ``None``: any."""
    use_mappings: tuple[str, ...] = ()
    """Names of the mappings that inputs which no format fits are read by."""
    mappings: Mapping[str, SourceMapping] = field(default_factory=dict)
    """All that the file declares, by name."""
    suppressions: tuple[Suppression, ...] = ()
    today: date | None = None
    """The day that it is, for what expires; ``None``: the clock's, in UTC."""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where each value came from, by key: a flag, a variable, a file, or ``default``."""
    file: Path | None = field(default=None, compare=False)
    """The settings file that was read."""
    notices: tuple[str, ...] = field(default=(), compare=False)
    """What the user should know about the settings themselves; for stderr."""

    @property
    def used_mappings(self) -> tuple[SourceMapping, ...]:
        """The mappings that this run uses."""
        return tuple(self.mappings[name] for name in self.use_mappings)

    def rule(self, rule_id: str) -> RuleSettings:
        """What holds for one rule: its own entry, or what holds for every rule."""
        return self.rules.get(rule_id, RuleSettings(fail_on=self.fail_on))

    def without_gate(self) -> Settings:
        """Return the same settings with every limit off, for commands that give no verdict."""
        rules = {rule_id: replace(rule, fail_on=None) for rule_id, rule in self.rules.items()}
        return replace(
            self, gate=NO_LIMITS, fail_on=None, rules=MappingProxyType(rules), baseline=None, suppressions=()
        )
