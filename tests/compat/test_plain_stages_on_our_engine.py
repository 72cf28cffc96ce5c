"""Stages written for Pylightnix alone, instantiated and realized by us."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pylightnix import Build as PlainBuild
from pylightnix import DRef, Registry, RRef, build_outpath, build_wrapper, mkconfig, mkdrv, selfref

from compat import plain
from compat.conftest import Act
from compat.plain import doubled, instantiate, our_store, pair, plain_storage, plx, whole, words
from format import independent_reader as reader
from stagedml import BuildError, mklens, plan, realize, realize_many, using_store
from stagedml.core.plan import Verdict
from stagedml.store.objects import Store
from stagedml.testing import toys


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    plain.RUNS.clear()


def content(store: Store) -> bool:
    assert reader.read_store(store.layout.storage).findings == []
    leftovers = [path.name for path in store.layout.scratch.iterdir()] + list(map(str, store.layout.locks.iterdir()))
    assert leftovers == []
    return True


def test_one_alone_is_built_once_and_reused(act: Act) -> None:
    def check(root: Path) -> None:
        store = our_store(root)
        with using_store(store):
            rref = realize(instantiate(words, text="three"))
            assert realize(instantiate(words, text="three")) == rref
            assert mklens(rref).out.contents == "three"
            assert mklens(rref).alpha.y.val == [1, None]
        assert plain.RUNS == {"words": 1}
        assert content(store)
        config = store.layout.config(store.derivations()[0]).read_text()
        assert config.index('"text"') < config.index('"name"') < config.index('"alpha"')  # as it was written
        assert plx.mklens(rref, S=plain_storage(root)).out.contents == "three"

    act(check)


def test_a_chain_of_them_is_built_in_order(act: Act) -> None:
    def check(root: Path) -> None:
        store = our_store(root)
        with using_store(store):
            assert [step.verdict for step in plan(instantiate(doubled)).steps] == [Verdict.BUILD, Verdict.BUILD]
            rref = realize(instantiate(doubled))
            assert mklens(rref).out.contents == "one twoone two"
            assert [step.verdict for step in plan(instantiate(doubled)).steps] == [Verdict.REUSE, Verdict.REUSE]
        assert content(store)
        assert plain.RUNS == {"words": 1, "doubled": 1}

    act(check)


def test_one_is_an_input_of_ours_and_ours_of_it(act: Act) -> None:
    def check(root: Path) -> None:
        store = our_store(root)

        def ours(r: Registry) -> DRef:
            return toys.upper(source=toys.text(content="ours "))

        def sandwich(r: Registry) -> toys.Text:
            theirs = doubled(r, ours, "text")
            return toys.text(content=str(theirs))  # any string that is a reference is an input

        with using_store(store):
            rref = realize(instantiate(sandwich))
            assert mklens(rref).content.out.contents == "OURS OURS "
            assert mklens(rref).content.source.source.text.contents == "ours "
        assert content(store)
        assert plx.mklens(rref, S=plain_storage(root)).content.source.source.text.contents == "ours "

    act(check)


def test_one_is_taken_as_an_artifact_of_ours(act: Act) -> None:
    def check(root: Path) -> None:
        def text_file(r: Registry) -> DRef:
            def build(b: PlainBuild) -> None:
                Path(build_outpath(b), "text.txt").write_text("theirs")

            config = {"name": "text-file", "text": [selfref, "text.txt"]}
            return mkdrv(mkconfig(config), plx.match_only(), build_wrapper(build), r)

        def shouted(r: Registry) -> toys.Text:
            theirs = toys.Text(text_file(r))
            assert theirs.text == [theirs, "text.txt"]
            return toys.upper(source=theirs)

        store = our_store(root)
        with using_store(store):
            assert mklens(realize(instantiate(shouted))).text.contents == "THEIRS"
        assert content(store)

    act(check)


def test_outputs_of_one_build_are_realizations_of_their_own(act: Act) -> None:
    def check(root: Path) -> None:
        store = our_store(root)
        with using_store(store):
            first, second = realize_many(instantiate(pair))
            assert realize_many(instantiate(pair)) == [first, second]
            accuracies = {mklens(rref).out.accuracy.val for rref in (first, second)}
        assert accuracies == {0.0, 0.5}
        assert plain.RUNS == {"pair": 1}
        assert content(store)

    act(check)


def test_all_outputs_are_built_again_when_one_is_gone(act: Act) -> None:
    def check(root: Path) -> None:
        store = our_store(root)
        with using_store(store):
            both = realize_many(instantiate(pair, matcher=plx.match_some(2)))
            plx.rmref(both[0], S=plain_storage(root))
            assert realize_many(instantiate(pair, matcher=plx.match_some(2))) == both
        assert plain.RUNS == {"pair": 2}

    act(check)


def test_a_matcher_of_its_own_that_cannot_be_satisfied_is_named(act: Act) -> None:
    def check(root: Path) -> None:
        with using_store(our_store(root)), pytest.raises(BuildError, match=r"pair.*matcher .* is not satisfied"):
            realize_many(instantiate(pair, matcher=plx.match_some(3)))

    act(check)


def test_instances_of_one_are_built_one_by_one(act: Act) -> None:
    def check(root: Path) -> None:
        def counted(r: Registry) -> DRef:
            def build(b: PlainBuild) -> None:
                plain.ran("counted")
                Path(build_outpath(b), "n").write_text(str(plain.RUNS["counted"]))

            return mkdrv(mkconfig({"name": "counted", "seed": 7}), plx.match_latest(), build_wrapper(build), r)

        store = our_store(root)
        with using_store(store):
            rrefs = realize_many(instantiate(counted), instances=3)
            assert realize_many(instantiate(counted), instances=3) == rrefs
            assert len(set(rrefs)) == 3
        assert plain.RUNS == {"counted": 3}
        assert content(store)

    act(check)


def test_its_outputs_deep_in_the_config_are_looked_at(act: Act) -> None:
    def check(root: Path) -> None:
        store = our_store(root)
        with using_store(store):
            rref = realize(instantiate(whole))
            deep = mklens(rref).deeper.out.syspath
            assert mklens(rref).get("all").syspath == deep.parent
            deep.parent.chmod(0o755)
            deep.unlink()
            assert realize(instantiate(whole)) == rref
            assert deep.read_text() == "deep"
        assert plain.RUNS == {"whole": 2}
        assert content(store)

    act(check)


def test_its_fetching_works(act: Act) -> None:
    def check(root: Path) -> None:
        (root / "corpus.txt").write_text("a corpus")
        digest = hashlib.sha256(b"a corpus").hexdigest()

        def corpus(r: Registry) -> DRef:
            return DRef(plx.fetchurl2(url=f"file://{root}/corpus.txt", sha256=digest, name="corpus", r=r))

        store = our_store(root)
        with using_store(store):
            assert mklens(realize(instantiate(corpus))).out.contents == "a corpus"
        assert content(store)

    act(check)


def test_its_arguments_reach_the_builder(act: Act) -> None:
    def check(root: Path) -> None:
        def told(r: Registry) -> DRef:
            def build(b: PlainBuild) -> None:
                Path(build_outpath(b), "told").write_text(b.rarg["word"])

            return mkdrv(
                mkconfig({"name": "told", "out": [selfref, "told"]}), plx.match_only(), build_wrapper(build), r
            )

        with using_store(our_store(root)):
            target = instantiate(told)
            assert mklens(realize(target, args={target.result: {"word": "hi"}})).out.contents == "hi"

    act(check)


def test_what_its_builder_raises_is_named(act: Act) -> None:
    def check(root: Path) -> None:
        def broken(r: Registry) -> DRef:
            def build(b: PlainBuild) -> None:
                raise ValueError("no good")

            return mkdrv(mkconfig({"name": "broken"}), plx.match_only(), build_wrapper(build), r)

        with using_store(our_store(root)), pytest.raises(BuildError, match=r"broken.*no good"):
            realize(instantiate(broken))

    act(check)


def test_a_redefined_one_is_built_as_redefined(act: Act) -> None:
    def check(root: Path) -> None:
        def louder(config: dict[str, object]) -> None:
            config["text"] = "LOUD"

        store = our_store(root)
        with using_store(store):
            rref: RRef = realize(instantiate(plx.redefine(words, louder)))
            assert mklens(rref).out.contents == "LOUD"
            assert [dref.name for dref in store.derivations()] == ["words"]  # nothing is left of the original
        assert content(store)

    act(check)


def test_a_closure_that_pylightnix_made_is_realized_without_what_it_does_not_need(act: Act) -> None:
    def check(root: Path) -> None:
        S = plain_storage(root)

        def chosen(r: Registry) -> DRef:
            whole(r)
            return doubled(r)

        rref = realize(plx.instantiate(chosen, S=S))
        assert mklens(rref, S=S).out.contents == "one twoone two"
        assert plain.RUNS == {"words": 1, "doubled": 1}

    act(check)
