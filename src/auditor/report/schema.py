"""The published JSON Schema of the report, and the check of a document against it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson

from auditor.errors import InputError
from auditor.report.wording import visible

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_MESSAGE_LIMIT = 200


def report_schema() -> dict[str, Any]:
    """Read the schema (JSON Schema 2020-12) that is shipped with the program."""
    schema: dict[str, Any] = orjson.loads(files("auditor.report").joinpath("schema", "report.schema.json").read_bytes())
    return schema


def diff_schema() -> dict[str, Any]:
    """Read the schema of what ``audit diff -f json`` writes, as shipped."""
    schema: dict[str, Any] = orjson.loads(files("auditor.report").joinpath("schema", "diff.schema.json").read_bytes())
    return schema


def validate(document: object) -> None:
    """Check a parsed report; raises ``InputError`` that names the first place where it breaks the schema."""
    from jsonschema.exceptions import best_match  # noqa: PLC0415  # heavy, and only needed here

    error = best_match(_validator().iter_errors(document))
    if error is not None:
        raise InputError(
            f"not a report: {error.json_path}: {visible(error.message, _MESSAGE_LIMIT)}",
            hint="audit schema report prints the schema",
        )


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # noqa: PLC0415  # heavy, and only needed here

    return Draft202012Validator(report_schema())
