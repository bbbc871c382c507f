"""Finds rules: packages of the entry point group ``auditor.rules``, and folders that the user names."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from auditor.errors import RuleError, SettingsError
from auditor.rule import Rule

GROUP = "auditor.rules"


def load_rules(extra_paths: Sequence[Path] = ()) -> tuple[Rule, ...]:
    """All rules, sorted by id. Raises ``RuleError`` when a package breaks the interface, or two share an id."""
    rules: dict[str, Rule] = {}
    for module in _modules(extra_paths):
        rule = _rule_of(module)
        if rule is None:
            continue
        if rule.id in rules:
            raise RuleError(f"two rules are called {rule.id!r}", hint=f"rename {module.__name__}")
        rules[rule.id] = rule
    if not rules:
        raise RuleError("no rules are installed", hint=f"packages offer them by the entry point group {GROUP!r}")
    return tuple(rules[name] for name in sorted(rules))


def _modules(extra_paths: Sequence[Path]) -> Iterator[ModuleType]:
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        try:
            package = entry.load()
        except Exception as error:
            raise RuleError(f"the rule package {entry.value!r} cannot be imported: {error}") from error
        if not isinstance(package, ModuleType):
            raise RuleError(f"the entry point {entry.name!r} names {entry.value!r}, which is not a module")
        yield package
        for info in sorted(pkgutil.iter_modules(getattr(package, "__path__", [])), key=lambda info: info.name):
            if not info.name.startswith("_"):
                yield _import(f"{package.__name__}.{info.name}")
    for path in extra_paths:
        yield from _files(path)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise RuleError(f"the rule module {name!r} cannot be imported: {error}") from error


def _files(path: Path) -> Iterator[ModuleType]:
    if not path.exists():
        raise SettingsError(f"{path}: no such rule file or folder")
    files = [path] if path.is_file() else sorted(path.glob("[!_]*.py"))
    if not files:
        raise SettingsError(f"{path}: no rule modules in this folder")
    for file in files:
        name = f"auditor_user_rules.{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise SettingsError(f"{file}: not a Python module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise RuleError(f"{file}: cannot be imported: {error}") from error
        yield module


def _rule_of(module: ModuleType) -> Rule | None:
    rule = getattr(module, "RULE", None)
    if rule is None:
        return None
    if not isinstance(rule, Rule):
        raise RuleError(f"{module.__name__}.RULE is not an auditor.rule.Rule")
    expected = module.__name__.rpartition(".")[2].replace("_", "-")
    if rule.id != expected:
        raise RuleError(f"{module.__name__}: the rule is called {rule.id!r}, its module says {expected!r}")
    page = (module.__doc__ or "").strip()
    if not page:
        raise RuleError(f"{module.__name__}: a rule needs a docstring, which is its page")
    return replace(rule, page=page)
