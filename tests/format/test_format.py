"""The page `docs/reference/store-format.md`, the store, and the independent reader say the same."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format import independent_reader as reader
from stagedml import Instantiated, bless, instantiate, mklens, pinned, realize, realize_many, using_store
from stagedml.authoring.build import derive_seed
from stagedml.authoring.stage import OwnRealizer
from stagedml.core import adoption, fingerprint
from stagedml.core import config as configs
from stagedml.core.reasons import Cause
from stagedml.core.refs import parse_rref
from stagedml.settings import read_settings
from stagedml.store import hashing
from stagedml.store.contexts import context_json
from stagedml.store.layout import LAYOUT_VERSION
from stagedml.store.objects import Store
from stagedml.testing import toys

#: A tree for tests: name -> folder (a dict), file (bytes), executable file (`Program`) or link (str).
Tree = Mapping[str, Any]


class Program(bytes):
    """The contents of an executable file."""


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/reference/store-format.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(text: str) -> list[str]:
    """The blocks of a page, as they stand between fences."""
    return re.findall(r"^```text\n(.*?)\n```$", text, flags=re.MULTILINE | re.DOTALL)


def rows(text: str) -> list[list[str]]:
    """The cells of the tables of a page, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip(" `") for cell in line.strip("| ").split(" | ")] for line in lines if "---" not in line][1:]


def plant(folder: Path, tree: Tree) -> Path:
    folder.mkdir(exist_ok=True)
    for name, item in tree.items():
        path = folder / name
        if isinstance(item, Mapping):
            plant(path, item)
        elif isinstance(item, bytes):
            path.write_bytes(item)
            path.chmod(0o755 if isinstance(item, Program) else 0o644)
        else:
            path.symlink_to(item)
    return folder


@contextmanager
def planted(tree: Tree) -> Iterator[Path]:
    """A tree in a folder of its own, for examples that share one `tmp_path`."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield plant(folder, tree)
    finally:
        shutil.rmtree(folder)


def digest_of(tree: Tree) -> str:
    """The content digest of a tree, on which both implementations agree."""
    with planted(tree) as folder:
        ours, theirs = hashing.scan(folder), reader.tree(folder)
        assert [(e.kind, e.path, e.size, e.digest) for e in ours] == theirs
        assert [entry.encoded() for entry in ours] == [reader.entry_bytes(entry) for entry in theirs]
        digest = hashing.content_digest(ours)
        assert digest == reader.content_digest(theirs)
        return digest


BYTE_IN_A: Tree = {"a": b"b"}
EVERY_KIND: Tree = {
    "a": b"b",
    "empty": {},
    "é": b"",
    "bin": {"run.sh": Program(b"#!/bin/sh\n"), "link": "../a"},
}


# -- test vectors -----------------------------------------------------------------------------------------------------


def test_the_config_of_the_page_has_the_reference_that_the_page_says(page: str) -> None:
    config = section(page, "Configs and derivations")
    text = blocks(config)[0]
    value = json.loads(text)
    assert configs.canonical(value) == reader.canonical(value) == text
    digest = re.search(r"SHA-256 `([0-9a-f]{64})`", config)
    dref = re.search(r"`(dref:[0-9a-f]{32}-train-mrpc)`", config)
    assert digest is not None
    assert dref is not None
    assert str(configs.reference(value)) == dref[1]
    assert reader.derivation_hash(text.encode()) == digest[1][:32]
    assert set(configs.inputs_of(value)) == reader.inputs_of(value) == {"dref:" + "0" * 32 + "-x"}
    assert [path for path, _ in configs.outputs_of(value).values()] == list(reader.outputs_of(value)) == ["model.npz"]


def test_the_trees_of_the_page_have_the_digests_that_the_page_says(page: str) -> None:
    digests = [row[1] for row in rows(section(page, "Tree hash, version 1"))]
    assert digests == [digest_of({}), digest_of(BYTE_IN_A), digest_of(EVERY_KIND)]


def test_the_entry_of_the_page_is_encoded_as_the_page_says(page: str, tmp_path: Path) -> None:
    wanted = bytes.fromhex(blocks(section(page, "Tree hash, version 1"))[-1])
    plant(tmp_path / "tree", EVERY_KIND)
    (ours,) = [entry for entry in hashing.scan(tmp_path / "tree") if entry.path == "bin/run.sh"]
    (theirs,) = [entry for entry in reader.tree(tmp_path / "tree") if entry.path == "bin/run.sh"]
    assert ours.encoded() == reader.entry_bytes(theirs) == wanted


def test_the_realizations_of_the_page_have_the_digests_that_the_page_says(page: str) -> None:
    text = section(page, "Contexts and realizations")
    context = json.loads(blocks(text)[-1])
    assert context_json(context) == blocks(text)[-1]
    content = digest_of(EVERY_KIND)
    for context_text, digest in zip(("{}", context_json(context)), re.findall(r"`([0-9a-f]{64})`", text), strict=True):
        assert hashing.realization_digest(content, context_text) == digest
        assert reader.realization_digest(content, context_text.encode()) == digest


def test_the_seeds_of_the_page_are_derived_as_the_page_says(page: str) -> None:
    vectors = [tuple(map(int, row)) for row in rows(section(page, "Instances"))]
    assert len(vectors) == 3
    for seed, instance, derived in vectors:
        assert derive_seed(seed, instance) == reader.instance_seed(seed, instance) == derived


def test_the_view_of_the_page_has_the_key_that_the_page_says(page: str) -> None:
    text = section(page, "Adoption key, version 1")
    view = json.loads(blocks(text)[-2])
    key = re.search(r"has the key\s+`([0-9a-f]{32})`", text)
    assert key is not None
    contents = {"dref:" + "0" * 32 + "-x": [digest_of(BYTE_IN_A), digest_of({})]}
    assert reader.adoption_text(view, contents).startswith(blocks(text)[-1])
    assert adoption.key_of(adoption.template_of(view), contents.get) == reader.adoption_key(view, contents) == key[1]


def test_a_new_store_has_the_version_that_the_page_says(page: str, tmp_path: Path) -> None:
    store = Store.open(read_settings({}, root=tmp_path))
    assert f'"{LAYOUT_VERSION}" and a newline' in section(page, "Files")
    assert store.layout.version_file.read_bytes() == b"1\n"


def test_the_builder_of_the_page_has_the_fingerprints_that_the_page_says(page: str) -> None:
    text = section(page, "Code fingerprint, version 2")
    alone, with_helper = re.findall(r"`(2:[0-9a-f]{32})`", text)
    source, written = blocks(text)[1:]
    helper = re.search(r"`(def helper[^`]*)`", text)
    (builder,) = ast.parse(source).body
    assert isinstance(builder, ast.FunctionDef)
    assert helper is not None
    assert fingerprint.normalised(ast.parse(helper[1]).body[0]) == written
    train = fingerprint.normalised_builder(builder)
    assert fingerprint.digest(train, []) == alone
    assert fingerprint.digest(train, [("helper", written), ("FACTOR", "value:int:3")]) == with_helper


def test_a_stage_of_ours_has_a_fingerprint_of_the_form_that_the_page_says(tmp_path: Path) -> None:
    with using_store(Store.open(read_settings({}, root=tmp_path))):
        assert re.fullmatch(r"2:[0-9a-f]{32}", mklens(instantiate(toys.text).result).stagedml.code.val)


# -- properties -------------------------------------------------------------------------------------------------------

NAMES = st.text(st.sampled_from("abcé_.- 1"), min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
FILES = st.binary(max_size=3)
LEAVES: st.SearchStrategy[Any] = FILES | FILES.map(Program) | st.just({}) | st.sampled_from(["x", "a/b", "./c"])
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda trees: st.dictionaries(NAMES, LEAVES | trees, max_size=4),
    max_leaves=8,
).map(dict)


def spelt(tree: object) -> object:
    """What tells two trees apart."""
    return {name: spelt(item) for name, item in tree.items()} if isinstance(tree, dict) else (type(tree), tree)


@given(TREES)
@settings(deadline=None, max_examples=60)
def test_reader_and_store_agree_on_every_tree(tree: Tree) -> None:
    digest_of(tree)


@given(TREES, TREES)
@settings(deadline=None, max_examples=60)
def test_trees_have_one_digest_exactly_if_they_are_the_same(one: Tree, other: Tree) -> None:
    assert (digest_of(one) == digest_of(other)) == (spelt(one) == spelt(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"a": b"ab", "b": b"c"}, {"a": b"a", "b": b"bc"}, id="a boundary moved"),
        pytest.param({"a": b"x"}, {"b": b"x"}, id="a name"),
        pytest.param({"a": b"x"}, {"a": Program(b"x")}, id="an exec bit"),
        pytest.param({"a": b"x"}, {"a": b"x", "e": {}}, id="an empty folder"),
        pytest.param({"a": {"b": b"x"}}, {"a": {}, "b": b"x"}, id="a folder's end"),
        pytest.param({"a": b"x", "l": "a"}, {"a": b"x", "l": b"x"}, id="a link and its target"),
        pytest.param({"a": b"x", "l": "a"}, {"a": b"x", "l": "./a"}, id="a link's text"),
        pytest.param({"l": "ab"}, {"l": b"ab"}, id="a link and its text"),
        pytest.param({"_a": b"x"}, {"_a": b"y"}, id="a name with an underscore"),
        pytest.param({"d": {"__log__": {"a": b"x"}}}, {"d": {"__log__": {}}}, id="an unhashed name further down"),
        pytest.param({}, {"__logs__": {}}, id="a name like an unhashed one"),
    ],
)
def test_what_looks_alike_has_another_digest(one: Tree, other: Tree) -> None:
    assert digest_of(one) != digest_of(other)


def test_the_unhashed_names_are_in_no_digest() -> None:
    unhashed = {"__buildstart__.txt": b"1", "__buildstop__.txt": b"2", "__log__": {"events": b"3"}, "context.json": b""}
    assert digest_of({"a": b"x"}) == digest_of({"a": b"x", **unhashed})


@given(st.integers(), st.integers(min_value=0))
def test_reader_and_store_agree_on_every_seed(seed: int, instance: int) -> None:
    derived = derive_seed(seed, instance)
    assert derived == reader.instance_seed(seed, instance)
    assert 0 <= derived < 2**31


# -- whole stores -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "root"))


def filled(store: Store) -> dict[str, str]:
    """Toy stages of every kind; returns the realizations by name."""
    with using_store(store):
        counted = realize(instantiate(toys.all_counted, "Hello"))
        realize(instantiate(toys.all_counted, "hello"))  # another text, the same capitals
        samples = realize_many(instantiate(toys.sample), instances=3)
        realize_many(instantiate(toys.sample, constant=True), instances=2)

        def again() -> toys.Count:
            return toys.count(source=pinned(mklens(counted).source.rref, toys.Text), scale=2)

        return {"count": counted, "sample": samples[0], "pinned": realize(instantiate(again))}


def test_the_reader_is_content_with_a_store_that_toy_stages_filled(store: Store) -> None:
    filled(store)
    report = reader.read_store(store.layout.storage)
    assert report.findings == []
    assert set(report.derivations) == {str(ref) for ref in store.derivations()}
    everything = {str(rref): store.metadata(rref) for dref in store.derivations() for rref in store.realizations(dref)}
    assert report.realizations == {rref: known.content if known else None for rref, known in everything.items()}
    assert len(everything) == 12


def test_the_keys_that_builds_are_recorded_under_are_those_of_the_page(store: Store) -> None:
    with using_store(store):
        target = instantiate(toys.all_counted, "Hello")
        realize(target)
    contents: dict[str, list[str]] = {}
    keys = []
    for dref in store.derivations():
        for rref in store.realizations(dref):
            known = store.metadata(rref)
            assert known is not None
            contents.setdefault(str(dref), []).append(known.content)
    for derivation in target.closure.derivations:
        assert isinstance(derivation.realizer, OwnRealizer)
        key = reader.adoption_key(derivation.realizer.view(store), contents)
        (rref,) = store.realizations(derivation.realizer.declaration.ref)
        known = store.metadata(rref)
        assert known is not None
        assert known.builds[0].key == key
        assert os.readlink(store.layout.adoptable / f"{key}-0") == str(rref)
        keys.append(key)
    assert len(set(keys)) == 3


def test_the_page_names_every_cause(page: str) -> None:
    sentence = section(page, "Metadata").split("`cause` is one of")[1].split(".\n")[0]
    assert re.findall(r"`([a-z ]+)`", sentence) == [cause.value for cause in Cause]


def test_the_view_of_a_stage_is_as_the_page_says(store: Store) -> None:
    with using_store(store):
        target: Instantiated[toys.Count] = instantiate(toys.all_counted, "Hello")
        realize(target)
    *_, derivation = target.closure.derivations
    assert isinstance(derivation.realizer, OwnRealizer)
    config = store.config_of(target.result)
    source = config["source"]
    view = {"own": config, "inputs": [[source, {"text": [source, "text.txt"]}]]}
    assert derivation.realizer.view(store) == view


def test_the_reader_is_content_with_what_was_adopted_and_blessed(store: Store) -> None:
    with using_store(store):
        first = realize_many(instantiate(toys.sample, seed=1), instances=2)[0]
        other = instantiate(toys.sample, seed=2)
        bless(first, other, reason="alike")
        rref = realize(other)
        bless(realize(instantiate(toys.text, content="a")), instantiate(toys.text, content="b"), reason="alike")
        realize(instantiate(toys.all_counted, "a"))
        counted = realize(instantiate(toys.all_counted, "b"))
    report = reader.read_store(store.layout.storage)
    assert report.findings == []
    known = store.metadata(parse_rref(rref))
    assert known is not None
    assert (known.builds[0].adopted, known.builds[0].reasons[0].cause) == (first, Cause.BLESSED)
    known = store.metadata(parse_rref(counted))
    assert known is not None
    assert known.builds[0].adopted
    assert known.builds[0].key


def test_the_reader_finds_what_is_wrong_with_a_store(store: Store) -> None:
    rrefs = filled(store)
    with using_store(store):
        counts = mklens(rrefs["count"]).counts.syspath
        config = store.layout.config(next(ref for ref in store.derivations() if ref.name == "text"))
        log = mklens(rrefs["count"]).syspath / "__log__"
    counts.chmod(0o644)
    counts.write_text("{}")
    config.chmod(0o644)
    config.write_text(config.read_text() + "\n")
    log.chmod(0o755)
    (log / "more").write_text("in no hash")
    findings = reader.read_store(store.layout.storage).findings
    assert any(finding.startswith(rrefs["count"]) and "its bytes have the hash" in finding for finding in findings)
    assert any(finding.endswith("counts.json is writable") for finding in findings)
    assert any("its config declares" in finding for finding in findings)
    assert not any("__log__" in finding for finding in findings)


def test_the_reader_runs_alone(store: Store) -> None:
    filled(store)
    script = [sys.executable, "-I", str(Path(reader.__file__)), str(store.layout.storage)]
    ended = subprocess.run(script, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == "12 realizations, 0 findings"


def test_the_reader_imports_nothing_of_what_it_checks(repository: Path) -> None:
    text = (repository / "tests/format/independent_reader.py").read_text()
    assert not re.search(r"^\s*(from|import) (stagedml|pylightnix)", text, flags=re.MULTILINE)
