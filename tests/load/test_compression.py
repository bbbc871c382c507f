"""Compressed inputs besides gzip and zstd, which the hostile inputs cover."""

from __future__ import annotations

import bz2
import zipfile
from pathlib import Path

import pytest

from auditor.errors import InputError
from auditor.pipeline import audit
from auditor.settings import Settings
from builders import call, lines

TWO = lines(call(id="a", tenant="acme"), call(id="b", tenant="acme"))


def test_bzip2_is_undone_and_members_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "traces.bz2"
    path.write_bytes(bz2.compress(TWO) + bz2.compress(lines(call(id="c", tenant="acme"))))

    assert audit([str(path)], Settings()).report.totals.calls == 3


def test_bzip2_that_breaks_off_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "traces.bz2"
    path.write_bytes(bz2.compress(TWO) + bz2.compress(TWO)[:-20])

    (entry,) = audit([str(path)], Settings()).report.inputs

    assert [place.reason for place in entry.rejections] == ["the compressed data ends before its end mark"]


def test_damaged_bzip2_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "traces.bz2"
    damaged = bytearray(bz2.compress(TWO))
    damaged[20:60] = b"\xff" * 40
    path.write_bytes(bz2.compress(TWO) + bytes(damaged))

    (entry,) = audit([str(path)], Settings()).report.inputs

    assert entry.rejections[0].reason.startswith("the compressed data breaks off: ")


def test_a_zip_archive_is_refused_unopened_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "traces.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.json", bytes(64 << 20))

    with pytest.raises(InputError, match=r"traces\.zip: a zip archive") as caught:
        audit([str(path)], Settings())

    assert caught.value.hint == "unpack it, then audit the directory"
