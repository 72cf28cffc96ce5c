"""Our stages, instantiated and realized by Pylightnix's engine; and both compute one reference for one config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylightnix import DRef, Registry

from compat import plain
from compat.conftest import Act
from compat.plain import doubled, our_store, plain_storage, plx, words
from format import independent_reader as reader
from stagedml import instantiate, mklens, mknode, output, realize, realized, stage, using_store
from stagedml.authoring.artifact import Artifact
from stagedml.authoring.build import Build, MissingOutputs
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.realized import NotRealized
from stagedml.authoring.session import Storage
from stagedml.core import config as configs
from stagedml.store.verify import verify
from stagedml.testing import toys

# Our stages take Pylightnix's registry as `r`, too; the types do not say so.
text: Any = toys.text
upper: Any = toys.upper
count: Any = toys.count


def composed(r: Registry) -> toys.Count:
    """Our stages, called as Pylightnix's are."""
    counted: toys.Count = count(source=upper(source=text(content="hello", r=r), r=r), r=r)
    return counted


def test_its_engine_realizes_what_we_instantiated(act: Act) -> None:
    def check(root: Path) -> None:
        store, S = our_store(root), plain_storage(root)
        with using_store(store):
            rref = plx.realize1(instantiate(toys.all_counted, "hello"))
            assert plx.realize1(instantiate(toys.all_counted, "hello")) == rref
            assert plx.realizeMany(instantiate(toys.all_counted, "hello")) == [rref]
            result, closure, context = plx.realize(instantiate(toys.all_counted, "hello"))
            assert context == {result: [rref]}
            assert closure.targets == [result]
            assert mklens(rref).counts.val == plx.mklens(rref, S=S).counts.val
            assert mklens(rref).counts.L.val == 2.0
            assert realize(instantiate(toys.all_counted, "hello")) == rref  # and we reuse it
        assert reader.read_store(store.layout.storage).findings == []
        report = verify(store)
        assert (report.findings, report.realizations, report.untracked) == ((), 3, 0)

    act(check)


@pytest.mark.parametrize("ours", [True, False])
def test_its_own_instantiate_takes_our_stages(act: Act, ours: bool) -> None:
    def check(root: Path) -> None:
        S: Any = plain_storage(root)
        S = Storage.of(our_store(root)) if ours else S
        written = plx.realize1(plx.instantiate(toys.text, content="abc", S=S))
        assert plx.mklens(written, S=S).text.contents == "abc"
        counted = plx.realize1(plx.instantiate(composed, S=S))
        assert plx.mklens(counted, S=S).counts.L.val == 2.0
        assert reader.read_store(Path(plx.fsstorage(S))).findings == []
        with using_store(our_store(root)):
            assert realize(instantiate(toys.text, content="abc")) == written
            assert realize(instantiate(toys.all_counted, "hello")) == counted

    act(check)


def test_stages_of_both_kinds_mix_on_its_engine(act: Act) -> None:
    def check(root: Path) -> None:
        S = plain_storage(root)

        def mixed(r: Registry) -> toys.Text:
            theirs = doubled(r, lambda r: DRef(upper(source=text(content="x", r=r), r=r)), "text")
            return toys.Text(text(content=str(theirs), r=r))

        rref = plx.realize1(plx.instantiate(mixed, S=S))
        assert plx.mklens(rref, S=S).content.out.contents == "XX"

    act(check)


def test_exec_values_are_its_realize_arguments(act: Act) -> None:
    def check(root: Path) -> None:
        with using_store(our_store(root)):
            target = instantiate(toys.all_counted)
            rref = plx.realize1(target, realize_args={target.result: {"workers": 5}})
            assert Path(mklens(rref).syspath, "__log__", "workers").read_text() == "5"

    act(check)


class Broken(Artifact):
    """What is never made."""

    promised: RefPath


@stage(Broken, name="broken")
def broken(build: Build, *, promised: RefPath = output("promised")) -> None:
    """Forgets its output."""


def test_a_missing_output_is_noticed_on_its_engine(act: Act) -> None:
    def check(root: Path) -> None:
        with using_store(our_store(root)), pytest.raises(MissingOutputs, match="promised"):
            plx.realize1(instantiate(broken))

    act(check)


def test_it_redefines_our_stages(act: Act) -> None:
    def check(root: Path) -> None:
        def other_content(config: dict[str, Any]) -> None:
            config["content"] = "other"

        S = plain_storage(root)
        rref = plx.realize1(plx.instantiate(plx.redefine(toys.text, other_content), S=S))
        assert plx.mklens(rref, S=S).text.contents == "other"

    act(check)


def test_its_step_by_step_interface_takes_our_closures(act: Act) -> None:
    def check(root: Path) -> None:
        with using_store(our_store(root)):
            target = instantiate(toys.text, content="x")
            helper = plx.repl_realize(target, force_interrupt=True)
            build = plx.repl_build(helper)
            Path(plx.build_outpath(build), "text.txt").write_text("by hand")
            rref = plx.repl_continueBuild(build, helper)
            assert mklens(rref).text.contents == "by hand"

    act(check)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
PLAIN = VALUES.filter(lambda value: not any(word in json.dumps(value) for word in ("ref:", "__self__")))
CONFIGS = st.dictionaries(st.text(min_size=1), PLAIN, max_size=6).map(lambda config: {**config, "name": "any-name"})


@given(CONFIGS)
@settings(deadline=None, max_examples=150)
def test_both_compute_one_reference_for_one_config(config: dict[str, Any]) -> None:
    canonical_text = configs.canonical(config)
    canonical = json.loads(canonical_text)
    theirs = plx.mkdref(plx.trimhash(plx.cfghash(plx.mkconfig(canonical))), plx.cfgname(plx.mkconfig(canonical)))
    assert (
        theirs == str(configs.reference(config)) == f"dref:{reader.derivation_hash(canonical_text.encode())}-any-name"
    )
    assert plx.cfgserialize(plx.mkconfig(canonical)) == canonical_text


def test_both_declare_one_derivation_for_one_stage(act: Act) -> None:
    def check(root: Path) -> None:
        S = plain_storage(root)
        with using_store(our_store(root)):
            for closure in (instantiate(toys.all_counted).closure, plain.instantiate(on_words).closure):
                for derivation in closure.derivations:
                    config = plx.drefcfg_(derivation.dref, S=S)
                    assert plx.mkdrv_(config, S=S) == derivation.dref

    act(check)


def on_words(r: Registry) -> toys.Text:
    return toys.text(content=str(words(r)))


def test_nodes_and_what_must_be_there_mean_the_same_to_its_engine(act: Act) -> None:
    def check(root: Path) -> None:
        store, S = our_store(root), plain_storage(root)

        def given() -> toys.Text:
            return mknode({"text": output("text.txt")}, {"text.txt": "given"}, artifact=toys.Text)

        def shouted() -> toys.Text:
            return toys.upper(source=realized(given)())

        with using_store(store):
            with pytest.raises(NotRealized, match="mknode is asked for"):
                plx.realize1(instantiate(shouted))
            assert list(store.layout.tmp.iterdir()) == []
            node = plx.realize1(instantiate(given))
            assert plx.mklens(plx.realize1(instantiate(shouted)), S=S).text.contents == "GIVEN"
            assert realize(instantiate(given)) == node
        assert reader.read_store(store.layout.storage).findings == []

    act(check)
