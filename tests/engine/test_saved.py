"""Kept columns say what the traces said, are whole or not there, and hold no identity where ids are hidden."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.engine import saved
from auditor.engine.columns import Axis, Table
from auditor.engine.fingerprint import fingerprint
from auditor.engine.saved import read_saved, save
from auditor.engine.saved_files import FILES, MANIFEST, TABLE_FILES, is_saved
from auditor.errors import AuditorError, InputError, SettingsError
from auditor.model.spans import Batch
from auditor.normalise.vocabulary import compile_lexicon
from batches import LEXICON, content, random_batch, runs

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
common = settings(max_examples=40, deadline=None, derandomize=True)
FACTS = {"inputs": [{"path": "traces.json", "spans": 3}], "sample": []}


def hidden(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() if text else ""


def without_names(batches: Sequence[Batch]) -> list[Batch]:
    return [replace(batch, names={}) for batch in batches]


def said(batches: Sequence[Batch]) -> dict[str, Any]:
    """What the merged table says; how many traces the batches had is left out, which saving brings together."""
    found = content(without_names(batches))
    del found["column_bytes"]
    return found


@common
@given(runs(), st.sampled_from((1, 10, 1000)))
def test_saved_columns_say_what_the_batches_said(batches: list[Batch], spans: int) -> None:
    with tempfile.TemporaryDirectory() as home, mock.patch.object(saved, "GROUP_SPANS", spans):
        place = Path(home) / "columns"
        save(place, batches, FACTS, lexicon="abc")
        iterator, manifest = read_saved(place)
        found = list(iterator)

    assert said(found) == said(batches)
    assert (manifest.facts, manifest.lexicon, manifest.ids_hashed) == (FACTS, "abc", False)
    assert manifest.spans == sum(len(batch.key) for batch in batches)
    assert len(found) == len(manifest.groups)
    assert spans > 1 or len(found) == len(batches)
    for batch in found:
        assert batch.parent_row is not None
        known = batch.parent_row >= 0
        assert (batch.key[batch.parent_row[known]] == batch.parent[known]).all()
        assert not np.isin(batch.parent[~known & (batch.parent != 0) & (batch.parent != batch.key)], batch.key).any()


@common
@given(runs())
def test_hidden_identities_are_the_same_but_for_their_names(batches: list[Batch]) -> None:
    with tempfile.TemporaryDirectory() as home:
        place = Path(home) / "columns"
        save(place, batches, FACTS, lexicon="abc", hide=hidden)
        iterator, manifest = read_saved(place)
        found = said(list(iterator))
        stored = json.dumps([pq.read_table(path).to_pylist() for path in place.glob("*.parquet")])

    assert found == said(list(map(with_hidden, batches)))
    assert manifest.ids_hashed
    for text in ("acme", "globex", "Zo\\u00eb \\udfff", "longer name of somebody"):
        assert text not in stored


def with_hidden(batch: Batch) -> Batch:
    """The batch with a hash for each tenant, user and workflow; log ids are no identities."""
    return replace(
        batch,
        tenants=[tuple(tag._replace(value=hidden(tag.value)) for tag in tags) for tags in batch.tenants],
        texts=[*batch.texts, *map(hidden, batch.texts)],
        call_user=np.where(batch.call_user < 0, -1, batch.call_user + len(batch.texts)).astype(np.int32),
        call_workflow=np.where(batch.call_workflow < 0, -1, batch.call_workflow + len(batch.texts)).astype(np.int32),
    )


def saved_at(place: Path, seeds: Sequence[int] = (1, 2, 3), **options: Any) -> Path:
    with mock.patch.object(saved, "GROUP_SPANS", 1):
        save(place, [random_batch(seed, spans=20) for seed in seeds], FACTS, lexicon="abc", **options)
    return place


def test_batches_are_read_one_group_at_a_time(tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns")
    iterator, manifest = read_saved(place)
    groups: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def noted(file: Any, number: int, **options: Any) -> Any:
        groups.append(number)
        return whole(file, number, **options)

    with mock.patch.object(pq.ParquetFile, "read_row_group", noted):
        next(iterator)

        assert set(groups) == {0}
        next(iterator)
        assert set(groups) <= {0, 1}
    assert len(manifest.groups) == 3


def test_spans_are_named_nowhere(tmp_path: Path) -> None:
    batch = random_batch(1, spans=20)
    batch.names[int(batch.key[0])] = "the secret plan"
    save(tmp_path / "columns", [batch], FACTS, lexicon="abc")

    (found,), _ = read_saved(tmp_path / "columns")

    assert found.names == {}
    for path in (tmp_path / "columns").glob("*.parquet"):
        assert "secret plan" not in str(pq.read_table(path).to_pylist())


def test_a_column_as_wide_as_its_widest_batch(tmp_path: Path) -> None:
    one, other = random_batch(1, spans=20), random_batch(2, spans=20)
    one.call_part = np.full(len(one.call_row), 7, np.uint8)
    other.call_part = np.full(len(other.call_row), 70_000, np.uint32)
    with mock.patch.object(saved, "GROUP_SPANS", 1):
        save(tmp_path / "columns", [one, other], FACTS, lexicon="abc")

    found = list(read_saved(tmp_path / "columns")[0])

    assert [set(batch.call_part.tolist()) for batch in found] == [{7}, {70_000}]
    assert {batch.call_part.dtype for batch in found} == {np.dtype(np.uint32)}
    assert {batch.id_kind.dtype for batch in found} == {np.dtype(np.uint8)}


def test_nothing_saved_is_nothing_read(tmp_path: Path) -> None:
    save(tmp_path / "columns", [], {}, lexicon="abc")

    iterator, manifest = read_saved(tmp_path / "columns")

    assert (list(iterator), manifest.spans) == ([], 0)


LIGHT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from batches import random_batch
from auditor.engine.saved import read_saved, save
save(Path(sys.argv[1]), [random_batch(1, spans=30)], {{}}, lexicon="abc")
print(len(list(read_saved(Path(sys.argv[1]))[0])))
"""


def test_pandas_is_left_alone(tmp_path: Path) -> None:
    """The library imports it for some conversions, where it is installed; that alone costs half a second."""
    (tmp_path / "pandas.py").write_text("raise SystemExit('pandas was imported')")
    script = LIGHT.format(paths=[str(tmp_path), str(Path(__file__).parents[1])])

    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "columns"], capture_output=True, encoding="utf-8", check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


# -- whole or not at all -------------------------------------------------------------------------------


def broken_off(then: BaseException) -> Any:
    yield random_batch(1, spans=20)
    raise then


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_a_save_that_breaks_off_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), mock.patch.object(saved, "GROUP_SPANS", 1):
        save(tmp_path / "columns", broken_off(error), FACTS, lexicon="abc")

    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns", seeds=[1])
    before = said(list(read_saved(place)[0]))

    with pytest.raises(ZeroDivisionError):
        save(place, broken_off(ZeroDivisionError()), FACTS, lexicon="abc", replace=True)
    assert said(list(read_saved(place)[0])) == before
    with mock.patch.object(Path, "rename", renames_but("columns")), pytest.raises(SettingsError, match="not today"):
        save(place, [random_batch(2, spans=20)], FACTS, lexicon="abc", replace=True)
    assert said(list(read_saved(place)[0])) == before

    save(place, [random_batch(2, spans=20)], FACTS, lexicon="abc", replace=True)

    assert said(list(read_saved(place)[0])) == said([random_batch(2, spans=20)])
    assert list(tmp_path.iterdir()) == [place]


def renames_but(name: str) -> Any:
    """Renaming that fails for the finished directory."""
    whole = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == name and path.parent.name.startswith("."):
            raise OSError(5, "not today")
        return whole(path, target)

    return rename


def test_columns_are_not_overwritten_unasked(tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns")

    with pytest.raises(SettingsError, match=rf"^{place}: holds columns already$"):
        saved_at(place)


@pytest.mark.parametrize("replaced", [True, False])
def test_other_things_are_never_overwritten(replaced: bool, tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"x")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_bytes(b"x")

    for name in ("a file", "thesis"):
        with pytest.raises(SettingsError, match=f"{name}: exists, and is no directory of columns"):
            saved_at(tmp_path / name, replace=replaced)


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "columns").mkdir()

    assert is_saved(saved_at(tmp_path / "columns"))


def test_a_place_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"^{tmp_path}/no: .*No such file or directory; --save-columns"):
        saved_at(tmp_path / "no" / "columns")


FULL = """
import resource, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from batches import random_batch
from auditor.engine.saved import save
from auditor.errors import AuditorError
batch = random_batch(1, spans=3000)
import pyarrow.parquet
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
try:
    save(Path(sys.argv[1]), [batch], {{}}, lexicon="abc")
except AuditorError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    script = FULL.format(paths=[str(Path(__file__).parents[1])])

    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "columns"], capture_output=True, encoding="utf-8", check=False
    )

    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith(f"{tmp_path / 'columns'}: columns cannot be written: ")
    assert "File too large" in done.stdout
    assert done.stdout.endswith("; --save-columns names another place\n")
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# -- what cannot be read -------------------------------------------------------------------------------


def test_columns_are_told_from_other_things(tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MANIFEST).write_text('{"format": "something else", "format_version": 1}')
    (tmp_path / "empty").mkdir()

    assert is_saved(place)
    assert not any(is_saved(tmp_path / name) for name in ("other", "empty", "nowhere", f"columns/{MANIFEST}"))
    with pytest.raises(InputError, match=r"other/manifest.json: says 'something else'"):
        read_saved(tmp_path / "other")
    for name in ("empty", "nowhere"):
        with pytest.raises(InputError, match=rf"{name}: no columns are kept here: manifest.json: No such file"):
            read_saved(tmp_path / name)


def test_another_version_is_refused_and_named(tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns")
    manifest = json.loads((place / MANIFEST).read_text())
    (place / MANIFEST).write_text(json.dumps({**manifest, "format_version": 2, "more": True}))

    assert is_saved(place)
    with pytest.raises(InputError, match=r"manifest.json: columns of format version 2; this version reads 1"):
        read_saved(place)


@pytest.mark.parametrize("name", [*FILES.values(), *TABLE_FILES.values()])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns")
    (place / name).unlink()

    with pytest.raises(InputError, match=rf"columns/{name}: is missing$"):
        read_saved(place)


@pytest.mark.parametrize(
    ("name", "column"),
    [("spans.parquet", "key"), ("spans.parquet", "parent_back"), ("calls.parquet", "input_tokens"),
     ("links.parquet", "link_trace"), ("texts.parquet", "entry"), ("facts.parquet", "entry")],
)  # fmt: skip
def test_a_missing_column_is_named(name: str, column: str, tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns")
    table = pq.read_table(place / name)
    pq.write_table(
        table.rename_columns(["other" if name == column else name for name in table.column_names]), place / name
    )

    with pytest.raises(InputError, match=rf"columns/{name}: column {column} is missing$"):
        read_saved(place)


def test_row_groups_that_the_manifest_does_not_tell_of_are_refused(tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns")
    manifest = json.loads((place / MANIFEST).read_text())
    (place / MANIFEST).write_text(json.dumps({**manifest, "groups": manifest["groups"][:-1]}))

    with pytest.raises(InputError, match=r"spans.parquet: has not the 2 row groups that manifest.json tells of"):
        read_saved(place)


def test_a_reference_to_nothing_is_refused(tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns", seeds=[1])
    table = pq.read_table(place / "calls.parquet")
    at = table.column_names.index("call_row")
    pq.write_table(
        table.set_column(at, "call_row", pa.array([10**6] * len(table), pa.uint32())), place / "calls.parquet"
    )

    with pytest.raises(InputError, match=r"calls.parquet: column call_row does not fit the others"):
        list(read_saved(place)[0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32))
def test_damage_is_found_or_harmless(whole: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = whole / chance.choice(sorted(entry.name for entry in whole.iterdir()))
    before = path.read_bytes()
    at = chance.randrange(len(before))
    expected = said(list(read_saved(whole)[0]))
    try:
        path.write_bytes(before[:at] + bytes([before[at] ^ 1 << chance.randrange(8)]) + before[at + 1 :])

        found = said(list(read_saved(whole)[0]))
    except AuditorError as error:
        told = str(error)
        assert "\n" not in told
    else:
        # The manifest has no checksum: its texts are as the file says.
        assert found == expected or path.name == MANIFEST
    finally:
        path.write_bytes(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_at(tmp_path_factory.mktemp("whole") / "columns")


@pytest.mark.parametrize("name", [*FILES.values(), *TABLE_FILES.values(), MANIFEST])
def test_a_file_that_was_cut_off_is_named(name: str, tmp_path: Path) -> None:
    place = saved_at(tmp_path / "columns")
    data = (place / name).read_bytes()
    (place / name).write_bytes(data[: len(data) // 2])

    with pytest.raises(InputError, match=rf"columns/{name}: "):
        list(read_saved(place)[0])


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = saved_at(tmp_path / "columns")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    for work in (lambda: read_saved(place), lambda: saved_at(tmp_path / "again")):
        with pytest.raises(SettingsError, match="parquet extra") as caught:
            work()
        assert caught.value.hint == "pip install 'trace-auditor[parquet]'"


# -- what they were read with --------------------------------------------------------------------------


def test_lexicons_that_read_alike_have_one_fingerprint() -> None:
    code = (
        "from auditor.engine.fingerprint import fingerprint; from auditor.normalise.vocabulary import compile_lexicon; "
    )
    code += "print(fingerprint(compile_lexicon()), end='')"

    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            encoding="utf-8",
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert found == {fingerprint(LEXICON)}


@pytest.mark.parametrize(
    "options", [{"tenant_keys": ["account.ref"]}, {"placeholders": ["nobody"]}, {"end_user_as_tenant": False}]
)
def test_lexicons_that_read_otherwise_have_another(options: dict[str, Any]) -> None:
    assert fingerprint(compile_lexicon(**options)) != fingerprint(LEXICON)


def test_tables_have_a_file_each() -> None:
    assert {*FILES, *TABLE_FILES} == {*Axis, *Table}
