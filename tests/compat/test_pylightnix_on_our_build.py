"""Pylightnix's own functions about builds, called by a builder of ours on the `Build` that it is handed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compat import plain
from compat.plain import instantiate, our_store, plx, words
from stagedml import (
    Artifact,
    Build,
    Exec,
    RefPath,
    UsageError,
    every,
    mklens,
    output,
    realize,
    realize_many,
    redefine,
    rref2path,
    stage,
    using_store,
)
from stagedml.store.objects import Store
from stagedml.testing import toys


class Probed(Artifact):
    """What a probe wrote."""

    out: RefPath


class Probe:
    """What a test lets run inside of a builder, and what comes of it; no part of the stage."""

    def __init__(self) -> None:
        self.look: Callable[[Any], Any] = lambda build: None  #: called with the build
        self.given: Any = None  #: what the builder was handed
        self.got: Any = None  #: what `look` gave
        self.rargs: dict[str, dict[str, Any]] = {}  #: what stages of Pylightnix's were given at `realize`


PROBE = Probe()


@pytest.fixture(autouse=True)
def _fresh_probe() -> None:
    vars(PROBE).update(vars(Probe()))


@stage(Probed, name="probing")
def probing(
    build: Build,
    *,
    source: toys.Text,
    several: list[toys.Sample],
    rate: float = 0.5,
    note: str | None = None,
    out: RefPath = output("deep/out.txt"),
    pace: Exec[str] = "slow",
) -> None:
    """Let a test look at its build."""
    path = build.path(out)
    path.parent.mkdir()
    path.write_text("done")
    PROBE.given = {"source": source, "several": several, "out": out}
    PROBE.got = PROBE.look(build)


def composed() -> Probed:
    samples = redefine(toys.sample, new_matcher=every())()
    return probing(source=toys.upper(source=toys.text(content="hello")), several=[samples])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return our_store(tmp_path)


def looked(store: Store, look: Callable[[Any], Any], target: Callable[..., Probed] = composed) -> tuple[Any, str]:
    """What a function gave that was called with a build, and what was realized."""
    PROBE.look = look
    with using_store(store):
        realize_many(instantiate(toys.sample), instances=2)
        rref = realize(instantiate(target), args={"pace": "quick"})
    return PROBE.got, rref


def test_build_config_is_the_config_with_its_paths_resolved(store: Store) -> None:
    (theirs, ours), rref = looked(store, lambda build: (plx.cfgdict(plx.build_config(build)), build.config))
    dref = f"dref:{rref[38:]}"
    assert theirs == ours
    assert theirs["out"] == [dref, "deep", "out.txt"]
    assert (theirs["rate"], theirs["note"], theirs["name"]) == (0.5, None, "probing")


def test_build_name_is_the_name_of_the_derivation(store: Store) -> None:
    assert looked(store, plx.build_name)[0] == "probing"


def test_build_context_names_the_realizations_of_everything_behind(store: Store) -> None:
    context, rref = looked(store, plx.build_context)
    assert sorted(dref[38:] for dref in context) == ["sample", "text", "upper"]
    with using_store(store):
        assert context[mklens(rref).source.dref] == [mklens(rref).source.rref]
    assert sorted(map(len, context.values())) == [1, 1, 2]


def test_build_deref_gives_one_realization_and_build_deref_all(store: Store) -> None:
    def look(build: Build) -> Any:
        given = PROBE.given
        return plx.build_deref(build, given["source"]), plx.build_deref_(build, given["several"][0])

    (one, several), rref = looked(store, look)
    with using_store(store):
        assert one == mklens(rref).source.rref
        assert several == sorted(realize_many(instantiate(toys.sample), instances=2))


def test_build_path_and_build_paths_lead_into_inputs_and_outputs(store: Store) -> None:
    def look(build: Build) -> Any:
        given = PROBE.given
        numbers = [Path(path).read_text() for path in plx.build_paths(build, given["several"][0].number)]
        ours = [str(path) for path in build.paths(given["several"][0].number)]  # in the order of contents
        assert sorted(ours) == plx.build_paths(build, given["several"][0].number)
        text = Path(plx.build_path(build, given["source"].text)).read_text()
        return text, len(set(numbers)), Path(plx.build_path(build, given["out"])).read_text()

    assert looked(store, look)[0] == ("HELLO", 2, "done")


def test_build_outpath_and_build_outpaths_are_the_folder_that_is_filled(store: Store) -> None:
    def look(build: Build) -> Any:
        Path(plx.build_outpath(build), "more.txt").write_text("more")
        return plx.build_outpath(build) == str(build.outpath), plx.build_outpaths(build) == [str(build.outpath)]

    got, rref = looked(store, look)
    assert got == (True, True)
    with using_store(store):
        assert Path(rref2path(rref), "more.txt").read_text() == "more"


def test_build_environ_adds_the_config_to_the_environment_with_paths_as_files(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_SAID", "so")
    (whole, small, outpath), _ = looked(
        store, lambda build: (plx.build_environ(build), plx.build_environ(build, {"A": "1"}), str(build.outpath))
    )
    assert whole["PROBE_SAID"] == "so"
    assert small["A"] == "1"
    assert "PROBE_SAID" not in small
    for environment in (whole, small):
        assert environment["rate"] == "0.5"
        assert environment["name"] == "probing"
        assert environment["out"] == os.path.join(outpath, "deep/out.txt")
        assert all(isinstance(value, str) for value in environment.values())


def test_build_cattrs_has_the_parameters_as_attributes_that_can_be_set(store: Store) -> None:
    def look(build: Build) -> Any:
        attributes = plx.build_cattrs(build)
        attributes.model = "kept until the build ends"
        return attributes.rate, attributes.note, plx.build_cattrs(build).model

    assert looked(store, look)[0] == (0.5, None, "kept until the build ends")


def test_its_lenses_walk_from_our_build(store: Store) -> None:
    def look(build: Build) -> Any:
        lens = plx.mklens(build)
        return (
            lens.rate.val,
            lens.source.text.contents,
            lens.source.source.text.contents,  # of an input's input
            lens.source.rref == build.rref(PROBE.given["source"]),
            lens.out.syspath == str(build.path(PROBE.given["out"])),
        )

    assert looked(store, look)[0] == (0.5, "HELLO", "hello", True, True)


def test_what_was_given_at_realize_is_its_rarg(store: Store) -> None:
    assert looked(store, lambda build: build.rarg)[0] == {"pace": "quick"}


def test_what_marks_the_beginning_and_the_end_is_there_for_its_readers(store: Store) -> None:
    _, rref = looked(store, lambda build: None)
    S = plain.plain_storage(store.layout.root)
    assert plx.rrefbstart(rref, S)
    assert plx.rrefbstop(rref, S)
    assert plx.rrefbdelta(rref, S) >= 0


def test_inputs_that_were_written_for_pylightnix_are_found_just_so(store: Store) -> None:
    def mixed(r: Any) -> Probed:
        return probing(source=toys.upper(source=toys.Text(plain_text(r))), several=[])

    def plain_text(r: Any) -> Any:
        def build(b: Any) -> None:
            Path(plx.build_outpath(b), "text.txt").write_text("theirs")

        config = {"name": "text-file", "text": [plx.selfref, "text.txt"]}
        return plx.mkdrv(plx.mkconfig(config), plx.match_only(), plx.build_wrapper(build), r)

    def look(build: Build) -> Any:
        return plx.mklens(build).source.source.text.contents, Path(
            plx.build_path(build, PROBE.given["source"].text)
        ).read_text()

    assert looked(store, look, mixed)[0] == ("theirs", "THEIRS")


# -- arguments of a realization ---------------------------------------------------------------------------------------


def told(r: Any, name: str = "told", source: Any = None) -> Any:
    """A stage of Pylightnix's that writes down what it was given at `realize`."""

    def build(b: Any) -> None:
        PROBE.rargs[name] = dict(b.rarg)
        Path(plx.build_outpath(b), "told").write_text(str(b.rarg.get("word", "nothing")))

    config = {"name": name, "out": [plx.selfref, "told"], **({"source": source} if source else {})}
    return plx.mkdrv(plx.mkconfig(config), plx.match_only(), plx.build_wrapper(build), r)


def test_each_plain_stage_gets_its_own_arguments_and_no_others(store: Store) -> None:
    with using_store(store):

        def chain(r: Any) -> Any:
            return told(r, "second", told(r, "first"))

        target = instantiate(chain)
        first = mklens(target.result).source.dref
        rref = realize(target, args={target.result: {"word": "hi"}, first: {"depth": 3}})
        assert mklens(rref).out.contents == "hi"
    assert PROBE.rargs == {"first": {"depth": 3}, "second": {"word": "hi"}}


def test_without_arguments_a_plain_stage_gets_none(store: Store) -> None:
    with using_store(store):
        realize(instantiate(told))
    assert PROBE.rargs == {"told": {}}


def test_a_plain_stage_may_be_given_what_is_no_json(store: Store) -> None:
    callback = object()
    with using_store(store):
        target = instantiate(told)
        rref = realize(target, args={target.result: {"callback": callback, "path": Path("/x"), "word": "hi"}})
        assert mklens(rref).out.contents == "hi"
        assert realize(instantiate(told)) == rref
    assert PROBE.rargs["told"]["callback"] is callback


def test_arguments_are_in_no_hash_of_a_plain_stage_either(store: Store) -> None:
    with using_store(store):
        target = instantiate(told)
        rref = realize(target, args={target.result: {"word": "hi"}})
        assert realize(target, args={target.result: {"word": "bye"}}) == rref


def test_arguments_for_stages_of_both_kinds_go_where_they_belong(store: Store) -> None:
    PROBE.look = lambda build: build.rarg
    with using_store(store):

        def mixed(r: Any) -> Any:
            theirs = told(r)
            return [probing(source=toys.text(content=str(theirs)), several=[]), theirs]

        target = instantiate(mixed)
        ours, theirs = target.result
        realize_many(target, args={"pace": "quick", theirs: {"pace": "theirs"}})
        assert PROBE.got == {"pace": "quick"}
        assert PROBE.rargs == {"told": {"pace": "theirs"}}
        target = instantiate(mixed)
        with pytest.raises(UsageError, match=r"no Exec parameter of it; there are: pace"):
            realize_many(target, args={ours: {"word": "hi"}})
        with pytest.raises(UsageError, match=r"there are: pace; a stage of Pylightnix's own takes `args=\{reference"):
            realize_many(target, args={"word": "hi"})


def test_arguments_for_what_is_not_in_the_closure_are_refused(store: Store) -> None:
    with using_store(store):
        other = instantiate(words).result
        with pytest.raises(UsageError, match=f"args: {other} is not in this closure, which holds dref:.*-told"):
            realize(instantiate(told), args={other: {"word": "hi"}})
        with pytest.raises(UsageError, match="wanted a dict of Exec values"):
            realize(instantiate(told), args=["word"])  # type: ignore[call-overload]
