"""A store that Pylightnix filled with its own stages, read by us and built upon."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pylightnix import Build as PlainBuild
from pylightnix import DRef, Registry, RRef, StorageSettings

from compat import plain
from compat.conftest import Act
from compat.plain import doubled, instantiate, our_store, pair, plain_storage, plx, whole, words
from compat.test_read_by_pylightnix import compare
from format import independent_reader as reader
from stagedml import (
    Build,
    RefPath,
    every,
    latest,
    mklens,
    output,
    pinned,
    plan,
    realize,
    realize_many,
    stage,
    using_store,
)
from stagedml.core.plan import Verdict
from stagedml.core.refs import parse_dref
from stagedml.store.verify import Kind, verify
from stagedml.testing import toys


def node(r: Registry) -> DRef:
    return DRef(plx.mknode(r, {"a": 1}, artifacts={"one": b"1", "two": b"2"}, name="node"))


@stage(toys.Text, name="more")
def more(build: Build, *, source: DRef, words: RefPath, text: RefPath = output("text.txt")) -> None:
    """A stage of ours on top of one of Pylightnix's."""
    assert mklens(build).source.out.contents == build.path(words).read_text()
    build.path(text).write_text(build.path(words).read_text() + " more")


def more_words(r: Registry) -> toys.Text:
    source = words(r)
    return more(source=source, words=[source, "w.txt"])


STAGES = (words, doubled, whole, node)


def filled(root: Path) -> tuple[StorageSettings, dict[str, RRef]]:
    S = plain_storage(root)
    rrefs = {stage.__name__: RRef(plx.realize1(plx.instantiate(stage, S=S))) for stage in STAGES}
    first, second = plx.realizeMany(plx.instantiate(pair, S=S))
    plain.RUNS.clear()
    return S, {**rrefs, "first": first, "second": second}


def test_we_see_what_it_built(act: Act) -> None:
    def check(root: Path) -> None:
        S, rrefs = filled(root)
        store = our_store(root)
        seen = {str(rref) for dref in store.derivations() for rref in store.realizations(dref)}
        assert seen == set(rrefs.values()) == set(plx.allrrefs(S=S))
        assert reader.read_store(store.layout.storage).realizations == dict.fromkeys(seen)
        assert reader.read_store(store.layout.storage).findings == []

    act(check)


def test_our_lens_agrees_with_its_own_on_every_field(act: Act) -> None:
    def check(root: Path) -> None:
        S, rrefs = filled(root)
        store = our_store(root)
        for rref in rrefs.values():
            mine, theirs = mklens(rref, store=store), plx.mklens(rref, S=S)
            compare(mine, theirs, plx.cfgdict(plx.drefcfg(theirs.dref, S)))
        assert mklens(rrefs["doubled"], store=store).source.out.contents == "one two"
        assert Path(mklens(rrefs["whole"], store=store).get("all").syspath).name == rrefs["whole"][5:37]

    act(check)


def test_our_matchers_select_from_its_realizations(act: Act) -> None:
    def check(root: Path) -> None:
        S, rrefs = filled(root)
        both = sorted([rrefs["first"], rrefs["second"]])
        assert every()(S, both) == both
        assert latest(2)(S, both) == both
        assert latest(3)(S, both) is None
        assert latest()(S, [rrefs["words"]]) == [rrefs["words"]]

    act(check)


@pytest.mark.parametrize("stage", STAGES)
def test_the_plan_reuses_what_it_built(act: Act, stage: Callable[[Registry], DRef]) -> None:
    def check(root: Path) -> None:
        _, rrefs = filled(root)
        with using_store(our_store(root)):
            drawn = plan(instantiate(stage))
            assert [step.verdict for step in drawn.steps] == [Verdict.REUSE] * len(drawn.steps)
            assert realize(instantiate(stage)) == rrefs[stage.__name__]
        assert plain.RUNS == {}

    act(check)


def test_all_outputs_of_one_build_are_reused(act: Act) -> None:
    def check(root: Path) -> None:
        _, rrefs = filled(root)
        with using_store(our_store(root)):
            assert realize_many(instantiate(pair)) == sorted([rrefs["first"], rrefs["second"]])
        assert plain.RUNS == {}

    act(check)


def test_we_build_on_top_of_it_and_it_reads_the_result(act: Act) -> None:
    def check(root: Path) -> None:
        S, rrefs = filled(root)
        store = our_store(root)
        with using_store(store):
            rref = realize(instantiate(more_words))
            assert mklens(rref).source.rref == rrefs["words"]
            assert mklens(rref).text.contents == "one two more"

            def pinned_words() -> toys.Text:
                held = pinned(rref, toys.Text)
                return toys.upper(source=held)

            assert mklens(realize(instantiate(pinned_words))).text.contents == "ONE TWO MORE"
        assert plain.RUNS == {}
        assert plx.mklens(rref, S=S).source.out.contents == "one two"
        assert plx.rrefdeps([rref], S=S) == {rrefs["words"]}
        assert plx.realize1(plx.instantiate(doubled, S=S)) == rrefs["doubled"]
        assert reader.read_store(store.layout.storage).findings == []

    act(check)


def test_what_it_built_and_somebody_damaged_is_built_again(act: Act) -> None:
    def check(root: Path) -> None:
        S, rrefs = filled(root)
        store = our_store(root)
        deep = Path(plx.mklens(rrefs["whole"], S=S).deeper.out.syspath)
        deep.parent.chmod(0o755)
        deep.unlink()
        with using_store(store):
            again = realize(instantiate(whole))
            assert mklens(again).deeper.out.contents == "deep"
        assert plain.RUNS == {"whole": 1}

    act(check)


def test_a_file_that_it_fetched_is_reused(act: Act) -> None:
    def check(root: Path) -> None:
        S = plain_storage(root)
        (root / "corpus.txt").write_text("a corpus")
        digest = hashlib.sha256(b"a corpus").hexdigest()

        def corpus(r: Registry) -> DRef:
            return DRef(plx.fetchurl2(url=f"file://{root}/corpus.txt", sha256=digest, name="corpus", r=r))

        fetched = plx.realize1(plx.instantiate(corpus, S=S))
        (root / "corpus.txt").unlink()
        store = our_store(root)
        with using_store(store):
            assert realize(instantiate(corpus)) == fetched
            assert mklens(fetched).out.contents == "a corpus"
            (dref,) = store.derivations()
            assert dref == parse_dref(mklens(fetched).dref)

    act(check)


def _write(path: Path, text: str) -> None:
    path.parent.chmod(0o755)
    path.chmod(0o644)
    path.write_text(text)


def test_what_it_built_is_verified_by_its_own_hash(act: Act) -> None:
    def check(root: Path) -> None:
        S, rrefs = filled(root)
        store = our_store(root)
        report = verify(store)
        assert (report.findings, report.untracked) == ((), 0)
        path = Path(plx.rref2path(rrefs["words"], S)) / "w.txt"
        _write(path, path.read_text().replace("one", "two"))
        (finding,) = verify(store).findings
        assert (finding.kind, finding.ref) == (Kind.DAMAGED, rrefs["words"])

    act(check)


def test_a_hash_of_its_that_depends_on_the_order_of_folders_is_not_held_against_it(act: Act) -> None:
    def check(root: Path) -> None:
        def folders(r: Registry) -> DRef:
            def build(b: PlainBuild) -> None:
                for name in ("a", "b", "c"):
                    (Path(plx.build_outpath(b)) / name).mkdir()
                    (Path(plx.build_outpath(b)) / name / "file").write_text(name)

            config = plx.mkconfig({"name": "folders"})
            return DRef(plx.mkdrv(config, plx.match_only(), plx.build_wrapper(build), r=r))

        S = plain_storage(root)
        rref = plx.realize1(plx.instantiate(folders, S=S))
        store = our_store(root)
        assert verify(store).findings == ()
        _write(Path(plx.rref2path(rref, S)) / "a" / "file", "other")
        report = verify(store)
        assert (report.findings, report.untracked) == ((), 1)

    act(check)
