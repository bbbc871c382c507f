"""Everything the auditor can refuse, as one tree.

AuditorError             exit
├── SettingsError        2     the command line or the settings contradict themselves
├── InputError           3     nothing can be read, or nothing read holds a model call
├── IncompleteError      4     --strict, and some input or rule was left out
├── PublishError         6     a code host refused a comment, or did not answer
└── RuleError            70    a rule package broke its contract
"""

from __future__ import annotations

from typing import ClassVar


class AuditorError(Exception):
    """Base of every error that the command line turns into one line and an exit code."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class SettingsError(AuditorError):
    """The command line, a settings file or a price file cannot be followed."""

    exit_code: ClassVar[int] = 2


class InputError(AuditorError):
    """Nothing can be read, or nothing that was read holds a model call."""

    exit_code: ClassVar[int] = 3


class IncompleteError(AuditorError):
    """Under ``--strict``: records were rejected, or a required rule was not checked."""

    exit_code: ClassVar[int] = 4


class PublishError(AuditorError):
    """A code host refused a comment, or did not answer."""

    exit_code: ClassVar[int] = 6


class RuleError(AuditorError):
    """A rule package broke the rule interface."""

    exit_code: ClassVar[int] = 70
