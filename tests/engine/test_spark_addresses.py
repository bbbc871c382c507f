"""Addresses of file systems are told from paths, wherever a report names an input."""

from __future__ import annotations

import pytest

from auditor.engine.spark.addresses import is_address
from auditor.engine.spark.reading import plain_name
from auditor.report import short


@pytest.mark.parametrize("path", ["s3a://traces/2026/", "hdfs://node:8020/a", "abfss://c@a.net/b", "file:/tmp/a b"])
def test_a_scheme_makes_an_address(path: str) -> None:
    assert is_address(path)


@pytest.mark.parametrize("path", ["traces.json", "./s3a/x", "/data/a:b/c", "C:/traces", "duckdb:///shop.db", "-"])
def test_paths_and_databases_are_none(path: str) -> None:
    assert not is_address(path)


def test_reports_keep_the_scheme_and_look_for_no_file_of_a_repository() -> None:
    assert short.uri("s3a://traces/with blank/a.jsonl") == "s3a://traces/with%20blank/a.jsonl"
    assert not short.is_in_repository("s3a://traces/a.jsonl")
    assert short.is_in_repository("traces/a.jsonl")


def test_spellings_of_an_address_are_one() -> None:
    assert plain_name("file:///tmp/a%25") == plain_name("file:/tmp/a%25") == "file:/tmp/a%25"
    assert plain_name("s3a://bucket/a") != plain_name("s3a://bucket/b")
