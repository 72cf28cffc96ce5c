"""What the plan says, and that nothing else happens while it is drawn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format import independent_reader as reader
from stagedml import (
    Build,
    RefPath,
    exactly,
    instantiate,
    mklens,
    output,
    plan,
    realize,
    realize_many,
    redefine,
    stage,
    using_store,
)
from stagedml.core.plan import Plan, Verdict
from stagedml.core.reasons import Cause
from stagedml.core.refs import parse_rref
from stagedml.engine.console import plan_lines
from stagedml.settings import read_settings
from stagedml.store import atomic
from stagedml.store.objects import Store
from stagedml.testing import toys

REUSE, ADOPT, BUILD, DEPENDS = Verdict.REUSE, Verdict.ADOPT, Verdict.BUILD, Verdict.DEPENDS


def verdicts(drawn: Plan) -> dict[str, tuple[Verdict, Cause | None, str]]:
    return {step.name: (step.verdict, step.cause, step.detail) for step in drawn.steps}


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with what changes when something is written."""
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in [folder, *folder.rglob("*")]}


def forget(store: Store, rref: str) -> None:
    """Remove a realization, as a collection of garbage would."""
    atomic.remove_tree(store.path(parse_rref(rref)))


def test_an_empty_store_builds_everything_for_the_first_time_inputs_first(store: Store) -> None:
    drawn = plan(instantiate(toys.all_counted))
    assert [step.name for step in drawn.steps] == ["text", "upper", "count"]
    assert set(verdicts(drawn).values()) == {(BUILD, Cause.FIRST_BUILD, "first build")}
    assert drawn.targets == (drawn.steps[-1].dref,)
    assert drawn.builds == drawn.steps


def test_what_is_there_is_reused(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    drawn = plan(instantiate(toys.all_counted))
    assert [step.verdict for step in drawn.steps] == [REUSE] * 3
    assert drawn.steps[-1].rrefs == (rref,)
    assert drawn.builds == ()


def test_a_changed_parameter_is_named_and_so_is_what_rests_on_it(store: Store) -> None:
    realize(instantiate(toys.all_counted, "hello"))
    drawn = verdicts(plan(instantiate(toys.all_counted, "world")))
    assert drawn["text"] == (BUILD, Cause.CONFIG, 'content "hello" -> "world"')
    assert drawn["upper"] == (DEPENDS, Cause.INPUT, "on text")
    assert drawn["count"] == (DEPENDS, Cause.INPUT, "on upper")


def test_the_nearest_namesake_is_compared(store: Store) -> None:
    realize(instantiate(toys.sample, seed=1))
    realize(instantiate(toys.sample, seed=2, constant=True))
    drawn = verdicts(plan(instantiate(toys.sample, seed=3, constant=True)))
    assert drawn["sample"] == (BUILD, Cause.CONFIG, "seed 2 -> 3")


def edited(body: int) -> Any:
    """Two editions of one stage."""
    if body == 1:

        @stage(toys.Text, name="edited")
        def one(build: Build, *, text: RefPath = output("text.txt")) -> None:
            build.path(text).write_text("one")

        return one

    @stage(toys.Text, name="edited")
    def other(build: Build, *, text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text("other")

    return other


def test_changed_code_is_named(store: Store) -> None:
    realize(instantiate(edited(1)))
    verdict, cause, detail = verdicts(plan(instantiate(edited(2))))["edited"]
    line = edited.__code__.co_firstlineno + 12
    assert (verdict, cause, detail) == (BUILD, Cause.CODE, f"code {__file__}:{line} (other)")


def test_force_is_a_reason(store: Store) -> None:
    realize(instantiate(toys.all_counted))
    drawn = verdicts(plan(instantiate(toys.all_counted), force=True))
    assert drawn["text"][0] is drawn["upper"][0] is REUSE
    assert drawn["count"] == (BUILD, Cause.FORCED, "forced")
    drawn = verdicts(plan(instantiate(toys.all_counted), force=["text", "count"]))
    assert drawn["text"] == (BUILD, Cause.FORCED, "forced")
    assert drawn["upper"] == (DEPENDS, Cause.INPUT, "on text")
    assert drawn["count"] == (BUILD, Cause.FORCED, "forced")


def test_missing_instances_are_named(store: Store) -> None:
    realize_many(instantiate(toys.sample), instances=2)
    (step,) = plan(instantiate(toys.sample), instances=4).steps
    assert (step.verdict, step.cause, step.detail) == (BUILD, Cause.INSTANCE_MISSING, "instance 2, 3 missing")
    assert step.instances == (2, 3)


def test_missing_bytes_are_named(store: Store) -> None:
    rref = realize(instantiate(toys.text))
    path = mklens(rref).text.syspath
    path.parent.chmod(0o755)
    path.unlink()
    assert verdicts(plan(instantiate(toys.text)))["text"] == (BUILD, Cause.BYTES_MISSING, f"bytes missing of {rref}")


def test_what_may_come_out_as_before_depends_on_it(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    forget(store, mklens(rref).source.source.rref)
    drawn = verdicts(plan(instantiate(toys.all_counted)))
    assert drawn["text"][:2] == (BUILD, Cause.FIRST_BUILD)
    assert drawn["upper"] == (DEPENDS, Cause.INPUT, "on text")
    assert drawn["count"] == (DEPENDS, Cause.INPUT, "on upper")
    assert realize(instantiate(toys.all_counted)) == rref


def test_other_realizations_of_the_inputs_are_a_reason(store: Store) -> None:
    def shouted() -> toys.Text:
        return toys.upper(source=toys.text())

    rref = realize(instantiate(shouted))
    text = mklens(rref).source.rref
    other = store.layout.realization(parse_rref(text)).with_name("0" * 32)
    shutil.copytree(store.path(parse_rref(text)), other)
    chosen = f"rref:{'0' * 32}-{text[38:]}"

    def shouted_from_the_other() -> toys.Text:
        return toys.upper(source=redefine(toys.text, new_matcher=exactly(chosen))())

    drawn = verdicts(plan(instantiate(shouted_from_the_other)))
    assert drawn["text"][0] is REUSE
    assert drawn["upper"] == (BUILD, Cause.INPUT, "other realizations of text")


def test_a_matcher_that_nothing_can_satisfy_is_a_reason(store: Store) -> None:
    rref = realize(instantiate(toys.text))
    gone = rref.replace(rref[5:37], "0" * 32)
    target = instantiate(redefine(toys.text, new_matcher=exactly(gone)))
    assert verdicts(plan(target))["text"] == (BUILD, Cause.MATCHER, "no realization that its matcher takes")


def test_a_dry_run_returns_the_plan_and_writes_nothing(store: Store) -> None:
    target = instantiate(toys.all_counted)
    before = everything(store.layout.root)
    drawn = realize(target, dry_run=True)
    assert isinstance(drawn, Plan)
    assert drawn == plan(target)
    assert everything(store.layout.root) == before


def test_a_realize_with_nothing_to_do_writes_nothing(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    before = everything(store.layout.root)
    assert realize(instantiate(toys.all_counted)) == rref
    assert everything(store.layout.root) == before


def test_a_plan_reads_as_aligned_lines(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted, "hello"))
    realize(instantiate(toys.text, content="new"))
    drawn = plan(instantiate(toys.all_counted, "new"))
    lines = plan_lines(drawn)
    assert [line.split("  ")[0].strip() for line in lines] == ["reuse", "build", "depends"]
    assert lines[1].endswith("input source: another text")
    assert plan_lines(plan(instantiate(toys.all_counted, "hello")))[-1].endswith(rref[5:11])
    assert len({line.index(step.dref[5:11]) for line, step in zip(lines, drawn.steps, strict=True)}) == 1


# -- against brute force ----------------------------------------------------------------------------------------------

#: A graph: for each node the nodes before it that are its inputs.
GRAPHS = st.integers(1, 6).flatmap(
    lambda size: st.tuples(*(st.sets(st.integers(0, node - 1)) if node else st.just(set()) for node in range(size)))
)


def graph(edges: tuple[set[int], ...]) -> list[toys.Node]:
    """All nodes of a graph; the targets of one closure."""
    nodes: list[toys.Node] = []
    for node, inputs in enumerate(edges):
        nodes.append(toys.node(label=f"n{node}", inputs=[nodes[before] for before in sorted(inputs)]))
    return nodes


def brute_force(edges: tuple[set[int], ...], present: set[int]) -> list[set[Verdict]]:
    """The verdicts that each node may have; of what has to be made, some can be adopted from another graph."""
    found: list[set[Verdict]] = []
    for node, inputs in enumerate(edges):
        if all(found[before] == {REUSE} for before in inputs):
            found.append({REUSE} if node in present else {BUILD, ADOPT})
        else:
            found.append({DEPENDS, ADOPT} if node in present else {BUILD, ADOPT, DEPENDS})
    return found


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for many examples: what one of them left is what the next one finds."""
    root = tmp_path_factory.mktemp("graphs")
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))) as store:
        yield store


@given(GRAPHS, st.data())
@settings(deadline=None, max_examples=25)
def test_plans_of_graphs_are_those_of_brute_force_and_realize_restores_everything(
    shared_store: Store, edges: tuple[set[int], ...], data: st.DataObject
) -> None:
    target = instantiate(graph, edges)
    whole = realize_many(target)
    doomed = data.draw(st.sets(st.integers(0, len(edges) - 1)))
    for node in doomed:
        forget(shared_store, whole[node][0])
    drawn = plan(target)
    by_dref = {step.dref: step.verdict for step in drawn.steps}
    present = set(range(len(edges))) - doomed
    allowed = brute_force(edges, present)
    assert all(by_dref[str(dref)] in verdicts for dref, verdicts in zip(target.result, allowed, strict=True))
    assert realize_many(target) == whole
    assert plan(target).builds == ()
    assert all(shared_store.path(parse_rref(rref)).is_dir() for (rref,) in whole)


def test_the_store_of_the_graphs_is_sound(shared_store: Store) -> None:
    realize_many(instantiate(graph, (set(), {0})))
    assert reader.read_store(shared_store.layout.storage).findings == []
