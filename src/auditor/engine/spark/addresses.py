"""Which paths lead to a file system that Spark reads."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"(?!duckdb:)[A-Za-z][A-Za-z0-9+.-]+:/")


def is_address(path: str) -> bool:
    """Say whether a path begins with the scheme of a file system, as ``s3a://`` does; a DuckDB table is none."""
    return _ADDRESS.match(path) is not None
