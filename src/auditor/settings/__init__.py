"""Settings: where each value comes from, what it may be, and what it is when nobody says.

A flag wins over the environment (``AUDITOR_*``), that over the file, that over the default. The file is
``auditor.toml``, or ``[tool.auditor]`` in ``pyproject.toml``, in the working directory or the nearest one
above it up to the git root; files are not merged.
"""

from __future__ import annotations

from auditor.settings.entries import BY_KEY, ENTRIES, Entry
from auditor.settings.file import FILE_NAME, find_file, schema
from auditor.settings.nouns import (
    COST_SOURCES,
    INTERNAL_ENVIRONMENTS,
    NO_LIMITS,
    ROLLUPS,
    Internal,
    Limits,
    RuleSettings,
    Settings,
    Vocabulary,
)
from auditor.settings.resolve import require_known_rules, resolve

__all__ = [
    "BY_KEY",
    "COST_SOURCES",
    "ENTRIES",
    "FILE_NAME",
    "INTERNAL_ENVIRONMENTS",
    "NO_LIMITS",
    "ROLLUPS",
    "Entry",
    "Internal",
    "Limits",
    "RuleSettings",
    "Settings",
    "Vocabulary",
    "find_file",
    "require_known_rules",
    "resolve",
    "schema",
]
