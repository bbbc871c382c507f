"""The data files of this package, read when first needed."""

from __future__ import annotations

from typing import Any


def shipped_text(name: str) -> str:
    """Return the text of a data file of this package."""
    from importlib import resources  # noqa: PLC0415  # slow to import, and most runs of the program need no prices

    return resources.files("auditor.price").joinpath(name).read_text(encoding="utf-8")


def shipped_toml(name: str) -> dict[str, Any]:
    """Return a TOML data file of this package; it must hold no floating-point number."""
    import tomllib  # noqa: PLC0415  # slow to import, and most runs of the program need no prices

    return tomllib.loads(shipped_text(name), parse_float=_refuse)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not exact: write it as a string")
