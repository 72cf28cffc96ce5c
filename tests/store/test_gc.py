"""Collection: what is kept, what goes, and what an interrupted collection leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pylightnix
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faulting import faults
from format import independent_reader as reader
from stagedml import (
    Build,
    Exec,
    RefPath,
    RRef,
    UsageError,
    gc,
    instantiate,
    latest,
    linkrref,
    lrealize,
    mklens,
    output,
    pinned,
    realize,
    realize_many,
    redefine,
    rmref,
    stage,
    using_store,
    why_alive,
)
from stagedml.authoring.session import Storage
from stagedml.core.refs import DerivationRef, RealizationRef, parse_dref, parse_rref
from stagedml.engine.failures import BuildFailed
from stagedml.engine.realize import plan as make_plan
from stagedml.inspection import listing, selectors, views
from stagedml.settings import read_settings
from stagedml.store import atomic
from stagedml.store.collect import Collected, NoRoots, StillNeeded, collect
from stagedml.store.gc import Policy, RootKind, describe, plan_gc
from stagedml.store.leftovers import DAY_S
from stagedml.store.objects import DamagedFile, NotInStore, Store
from stagedml.store.publish import begin_build, building
from stagedml.store.verify import Kind, verify
from stagedml.testing import toys
from stagedml.testing.faults import Fault, count_calls, with_fault
from unprivileged import as_nobody

NOW = Policy(grace_s=0)


def graph(edges: dict[str, list[str]], top: str) -> toys.Node:
    """A node of a graph that is given as label -> labels of inputs."""
    return toys.node(label=top, inputs=[graph(edges, label) for label in edges[top]])


def node(label: str, *inputs: str) -> RRef:
    edges = {label: list(inputs), **{name: [] for name in inputs}}
    return realize(instantiate(graph, edges, label))


def present(store: Store) -> set[str]:
    return {str(ref) for derivation in store.derivations() for ref in store.realizations(derivation)}


def labels(rrefs: Iterator[str] | set[str] | tuple[str, ...]) -> set[str]:
    return {parse_rref(rref).name.removeprefix("node-") for rref in rrefs}


def collected(store: Store, policy: Policy = NOW) -> Collected:
    """Collect as a process that realized nothing, and see that the store is as it should be."""
    store.claims.forget()
    done = collect(store, plan_gc(store, policy))
    assert verify(store).findings == ()
    assert reader.read_store(store.layout.storage).findings == []
    return done


def everything(store: Store) -> dict[str, tuple[int, float]]:
    folders = atomic.folders_below(store.layout.root)
    paths = (path for folder, others in folders for path in (folder, *(item.path for item in others)))
    return {path: (os.lstat(path).st_mode, os.lstat(path).st_mtime) for path in paths}


# -- what goes and what stays -----------------------------------------------------------------------------------------


def test_what_no_root_leads_to_goes_with_its_config_and_metadata(store: Store) -> None:
    kept = lrealize(instantiate(toys.all_counted))
    before = present(store)
    node("c", "a", "b")
    done = collected(store)
    assert labels(done.realizations) == {"a", "b", "c"}
    assert len(done.derivations) == 3
    assert present(store) == before
    assert {path.name for path in store.layout.metadata.iterdir()} == {parse_rref(rref).folder for rref in before}
    assert len(store.derivations()) == 3
    assert realize(instantiate(toys.all_counted)) == kept


def test_planning_changes_nothing(store: Store) -> None:
    lrealize(instantiate(toys.all_counted))
    node("a")
    before = everything(store)
    assert plan_gc(store, NOW) == plan_gc(store, NOW)
    garbage = gc(policy=NOW)
    assert "nothing was deleted" not in str(garbage)  # this process claims all of it
    store.claims.forget()
    del before[str(store.layout.live)]
    before = {path: stamp for path, stamp in before.items() if not path.startswith(str(store.layout.live))}
    garbage = gc(policy=NOW)
    assert "1 realization of 2 B" in str(garbage)
    assert "nothing was deleted" in str(garbage)
    now = {path: stamp for path, stamp in everything(store).items() if not path.startswith(str(store.layout.live))}
    assert now == before


def test_a_store_without_any_root_is_left_alone(store: Store) -> None:
    node("a")
    store.claims.forget()
    before = present(store)
    with pytest.raises(NoRoots, match="stagedml roots add NAME REF"):
        gc(force=True, policy=NOW)
    assert "no link keeps anything" in str(gc(policy=NOW))
    assert present(store) == before


def test_what_this_process_realized_stays(store: Store) -> None:
    lrealize(instantiate(toys.all_counted))
    node("b", "a")
    assert gc(force=True, policy=NOW).collected is not None
    assert labels(present(store)) >= {"a", "b"}
    assert {reason.root.kind for reason in why_alive(node("a"))} >= {RootKind.PROCESS}


def test_what_is_young_stays_with_what_it_rests_on(store: Store) -> None:
    lrealize(instantiate(toys.all_counted))
    top = node("b", "a")
    store.claims.forget()
    (reason,) = why_alive(node("a"))[-1:]
    store.claims.forget()
    assert plan_gc(store).realizations == ()
    later = time.time() + DAY_S + 60
    for path in (store.layout.context(parse_rref(top)), store.layout.metadata_of(parse_rref(top))):
        os.utime(path, (later, later))
    assert plan_gc(store, now=later).realizations == ()
    assert set(plan_gc(store, now=later + DAY_S).realizations) == {top, *present_named(store, "node-a")}
    assert reason.root.kind in (RootKind.YOUNG, RootKind.PROCESS)


def present_named(store: Store, name: str) -> set[str]:
    return {rref for rref in present(store) if parse_rref(rref).name == name}


def test_a_pinned_realization_keeps_its_source(store: Store) -> None:
    source = realize(instantiate(toys.text, content="mine"))

    def upper_of_pinned() -> toys.Text:
        return toys.upper(source=pinned(source, toys.Text))

    lrealize(instantiate(upper_of_pinned))
    node("a")
    assert labels(collected(store).realizations) == {"a"}
    assert source in present(store)
    assert [len(reason.path) for reason in why_alive(source)][:1] == [3]
    with pytest.raises(StillNeeded, match="pins it"):
        rmref(source)


def test_what_came_to_be_needed_after_the_plan_is_spared(store: Store) -> None:
    lrealize(instantiate(toys.all_counted))
    first, second = node("a"), node("b")
    store.claims.forget()
    plan = plan_gc(store, NOW)
    linkrref(first)
    done = collect(store, plan)
    assert (done.realizations, done.spared) == ((second,), (first,))
    assert first in present(store)
    assert collect(store, plan).realizations == ()  # once


def test_what_is_gone_is_built_again_even_in_a_session_that_declared_it_before(store: Store) -> None:
    lrealize(instantiate(toys.text, content="kept"))
    target = instantiate(toys.all_counted)
    rref = realize(target)
    assert len(collected(store).derivations) == 3
    assert realize(target) == rref
    assert mklens(rref).counts.H.val == 1.0
    assert verify(store).findings == ()
    assert reader.read_store(store.layout.storage).findings == []


def test_derivations_that_were_never_built_go_when_they_are_old(store: Store) -> None:
    lrealize(instantiate(toys.text, content="kept"))
    instantiate(toys.text, content="never built")
    assert collected(store, Policy()).derivations == ()
    assert len(collected(store).derivations) == 1


def test_damaged_contexts_do_not_hide_what_they_keep(store: Store) -> None:
    top = lrealize(instantiate(graph, {"c": ["b"], "b": ["a"], "a": []}, "c"))
    path = store.layout.context(parse_rref(top))
    path.parent.chmod(0o755)
    path.unlink()
    store.claims.forget()
    assert plan_gc(store, NOW).realizations == ()  # metadata tells
    store.layout.metadata_of(parse_rref(top)).unlink()
    with pytest.raises(DamagedFile, match="what it rests on is unknown"):
        gc(force=True, policy=NOW)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_exactly_what_is_reachable_stays(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    names = [chr(ord("a") + index) for index in range(count)]
    edges = {
        name: data.draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=3)) if index else []
        for index, name in enumerate(names)
    }
    roots = data.draw(st.lists(st.sampled_from(names), unique=True))
    root = tmp_path_factory.mktemp("store")
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))) as store:
        rrefs = {name: realize(instantiate(graph, edges, name)) for name in names}
        for name in roots:
            linkrref(rrefs[name], f"roots/{name}")
        needed: set[str] = set()
        pending = list(roots)
        while pending:
            name = pending.pop()
            needed.add(name)
            pending += edges[name]
        store.claims.forget()
        plan = plan_gc(store, NOW)
        assert labels(plan.realizations) == set(names) - needed
        assert plan.rootless == (not roots)
        for position, rref in enumerate(plan.realizations):  # dependents first
            inputs = edges[parse_rref(rref).name.removeprefix("node-")]
            assert not labels(plan.realizations[:position]) & set(inputs)
        if roots:
            collect(store, plan)
            assert labels(present(store)) == needed
            assert verify(store).findings == ()


# -- policies ---------------------------------------------------------------------------------------------------------


def samples(store: Store) -> list[str]:
    rrefs: list[RRef] = realize_many(instantiate(toys.sample), instances=4)
    for age, rref in enumerate(reversed(rrefs)):
        for path in (store.layout.context(parse_rref(rref)), store.layout.metadata_of(parse_rref(rref))):
            os.utime(path, (1e9 - age, 1e9 - age))
    lrealize(instantiate(toys.text, content="kept"))
    store.claims.forget()
    return [str(rref) for rref in rrefs]


def test_the_latest_realizations_of_each_derivation_may_be_kept(store: Store) -> None:
    rrefs = samples(store)
    assert set(plan_gc(store, Policy(grace_s=0, keep_latest=1)).realizations) == set(rrefs[:3])
    assert set(plan_gc(store, Policy(grace_s=0, keep_latest=3)).realizations) == set(rrefs[:1])


def test_the_best_realizations_of_each_derivation_may_be_kept(store: Store) -> None:
    rrefs = samples(store)
    best = max(rrefs, key=lambda rref: float(mklens(rref).metrics.accuracy.val))
    worst = min(rrefs, key=lambda rref: float(mklens(rref).metrics.accuracy.val))
    assert set(rrefs) - set(plan_gc(store, Policy(grace_s=0, keep_best=("accuracy", 1))).realizations) == {best}
    assert plan_gc(store, Policy(grace_s=0, keep_best=("accuracy", 3))).realizations == (worst,)
    with pytest.raises(UsageError, match="nothing that would go has 'acuracy'"):
        plan_gc(store, Policy(grace_s=0, keep_best=("acuracy", 3)))


def test_the_latest_may_be_kept_up_to_a_size(store: Store) -> None:
    rrefs = samples(store)
    sizes = {row.rref: row.size_bytes for row in describe(store, plan_gc(store, NOW))}
    enough = len("kept") + sizes[rrefs[3]] + sizes[rrefs[2]]
    assert set(plan_gc(store, Policy(grace_s=0, max_bytes=enough)).realizations) == set(rrefs[:2])
    assert set(plan_gc(store, Policy(grace_s=0, max_bytes=0)).realizations) == set(rrefs)
    assert plan_gc(store, Policy(grace_s=0, max_bytes=10**9)).realizations == ()


def test_a_policy_keeps_what_a_kept_realization_rests_on(store: Store) -> None:
    top = node("b", "a")
    lrealize(instantiate(toys.text, content="kept"))
    old = node("a")
    os.utime(store.layout.context(parse_rref(old)), (1, 1))
    os.utime(store.layout.metadata_of(parse_rref(old)), (1, 1))
    store.claims.forget()
    assert set(plan_gc(store, Policy(grace_s=3600)).realizations) == set()
    assert {top, old} <= present(store)


@stage(toys.Text, name="dice", deterministic=False)
def dice(build: Build, *, text: RefPath = output("text.txt")) -> None:
    """Never the same twice."""
    build.path(text).write_bytes(os.urandom(8))


def test_a_plan_tells_what_a_rebuild_would_cost_and_where_it_would_differ(store: Store) -> None:
    realize(instantiate(dice))
    lrealize(instantiate(toys.text, content="kept"))
    store.claims.forget()
    garbage = gc(policy=NOW)
    (row,) = garbage.rows
    assert (row.size_bytes, row.repeatable) == (8, False)
    assert "a rebuild gives other bytes" in str(garbage)


# -- processes --------------------------------------------------------------------------------------------------------


@stage(toys.Text, name="slow")
def slow(build: Build, *, source: toys.Text, gate: Exec[str] = "", text: RefPath = output("text.txt")) -> None:
    """Wait for a file; then read the input."""
    Path(f"{gate}.started").touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    build.path(text).write_text(build.path(source.text).read_text())


def slow_graph() -> toys.Text:
    return slow(source=toys.text(content="an input"))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@contextlib.contextmanager
def slow_build(root: Path, gate: Path) -> Iterator[int]:
    """A process that builds `slow`, as far as the gate."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))):
                realize(instantiate(slow_graph), args={"gate": str(gate)})
            status = 0
        finally:
            os._exit(status)
    try:
        until(Path(f"{gate}.started").exists)
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_what_a_running_build_uses_stays_until_it_ends(store: Store, tmp_path: Path) -> None:
    lrealize(instantiate(toys.text, content="kept"))
    gate = tmp_path / "gate"
    with slow_build(store.layout.root, gate) as child:
        done = collected(store, Policy(grace_s=0, scratch_s=0))
        assert done.realizations == ()
        assert done.leftovers == ()  # its scratch is in use
        gate.touch()
        assert os.waitpid(child, 0)[1] == 0
    assert len(collected(store).realizations) == 2


def test_a_forked_child_keeps_what_it_uses_when_its_parent_forgets(store: Store, tmp_path: Path) -> None:
    lrealize(instantiate(toys.text, content="kept"))
    first = node("a")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            node("b")
            (tmp_path / "claimed").touch()
            until((tmp_path / "gate").exists)
            status = 0
        finally:
            os._exit(status)
    until((tmp_path / "claimed").exists)
    assert collected(store).realizations == ()
    (tmp_path / "gate").touch()
    assert os.waitpid(child, 0)[1] == 0
    assert labels(collected(store).realizations) == {"a", "b"}
    assert first not in present(store)


def test_what_a_killed_process_used_goes_with_its_scratch(store: Store, tmp_path: Path) -> None:
    lrealize(instantiate(toys.text, content="kept"))
    with slow_build(store.layout.root, tmp_path / "gate") as child:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert list(store.layout.live.iterdir())
    done = collected(store, Policy(grace_s=0, scratch_s=0))
    assert [leftover.kind for leftover in done.leftovers] == ["scratch"]
    assert len(done.realizations) == 1
    assert list(store.layout.scratch.iterdir()) == list(store.layout.locks.iterdir()) == []
    assert list(store.layout.live.iterdir()) == []


def test_collecting_while_others_build_breaks_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    kept = "kept"
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))) as store:
        lrealize(instantiate(toys.text, content=kept))
        workers = []
        for worker in range(3):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    for number in range(12):
                        with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))):
                            edges = {"a": [], "b": ["a"], f"c{number % 4}": ["a", "b"]}
                            rref = realize(instantiate(graph, edges, f"c{number % 4}"))
                            assert mklens(rref).trace.contents.endswith(f"c{number % 4}\n")
                            assert worker >= 0
                    status = 0
                finally:
                    os._exit(status)
            workers.append(child)
        store.claims.forget()
        rounds = 0
        statuses: dict[int, int] = {}
        while len(statuses) < len(workers):
            collect(store, plan_gc(store, Policy(grace_s=0, scratch_s=0)))
            rounds += 1
            for child in set(workers) - statuses.keys():
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    statuses[child] = status
        assert set(statuses.values()) == {0}
        assert rounds > 3
        collected(store)
        assert len(present(store)) == 1


def test_readers_wait_for_no_collector_and_who_waits_says_for_whom(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    target = instantiate(toys.all_counted)
    rref = realize(target)
    done: list[str] = []

    def read() -> None:
        with using_store(store):
            assert mklens(rref).counts.H.val == 1.0
            assert not make_plan(target).builds
            assert verify(store).findings == ()
            assert len(listing.ls(store)) == 3
            assert views.show(store, selectors.find(store, "count")).rref == rref
            done.append("read")
            realize(target)
            done.append("realized")

    caplog.set_level("INFO", logger="stagedml")
    reader_thread = threading.Thread(target=read)
    with store.alone():
        reader_thread.start()
        until(lambda: f"waiting for process {os.getpid()}" in caplog.text)
        assert done == ["read"]
    reader_thread.join(60)
    assert done == ["read", "realized"]


# -- single realizations ----------------------------------------------------------------------------------------------


def test_why_alive_names_the_root_and_the_way(store: Store) -> None:
    top = lrealize(instantiate(graph, {"c": ["b"], "b": ["a"], "a": []}, "c"), "exp/c")
    store.claims.forget()
    (bottom,) = present_named(store, "node-a")
    reason = why_alive(bottom)[0]
    assert (reason.root.kind, reason.root.name) == (RootKind.LINK, str(store.layout.experiments / "exp/c"))
    assert [parse_rref(rref).name for rref in reason.path] == ["node-c", "node-b", "node-a"]
    assert str(reason).splitlines()[0] == f"link {store.layout.experiments}/exp/c"
    assert reason.path[0] == top
    with pytest.raises(NotInStore):
        why_alive(f"rref:{'0' * 32}-{'1' * 32}-x")


def test_rmref_asks_who_needs_it(store: Store) -> None:
    top = realize(instantiate(graph, {"b": ["a"], "a": []}, "b"))
    (bottom,) = present_named(store, "node-a")
    with pytest.raises(StillNeeded, match="uses it"):
        rmref(top)
    store.claims.forget()
    with pytest.raises(StillNeeded, match=f"{top} rests on it"):
        rmref(bottom)
    linkrref(top)
    with pytest.raises(StillNeeded, match="the link"):
        rmref(top)
    link = store.layout.experiments / "node-b"
    link.unlink()
    link.symlink_to(store.layout.derivation(parse_rref(top).derivation))
    with pytest.raises(StillNeeded, match="the link"):
        rmref(top)
    assert rmref(bottom, force=True) == (bottom,)
    assert {finding.kind for finding in verify(store).findings} == {Kind.CONTEXT}
    assert rmref(str(parse_rref(top).derivation), force=True) == (top,)
    assert verify(store).findings == ()
    with pytest.raises(NotInStore):
        rmref(top)
    assert [ref.name for ref in store.derivations()] == ["node-a"]


# -- what is left behind ----------------------------------------------------------------------------------------------


@stage(toys.Text, name="failing")
def failing(build: Build, *, text: RefPath = output("text.txt")) -> None:
    """Write something, then fail."""
    build.path(text).write_text("half")
    raise RuntimeError("on purpose")


def test_what_failed_builds_left_is_swept_by_age(store: Store) -> None:
    with pytest.raises(BuildFailed):
        realize(instantiate(failing))
    assert plan_gc(store).leftovers == ()
    later = time.time() + 4 * DAY_S
    (leftover,) = plan_gc(store, now=later).leftovers
    assert leftover.kind == "scratch"
    assert "left behind" in str(gc(policy=Policy(scratch_s=0))).lower()
    collect(store, plan_gc(store, Policy(scratch_s=0)))
    assert list(store.layout.scratch.iterdir()) == []


def test_each_kind_of_leftover_has_its_own_age(store: Store) -> None:
    layout = store.layout
    rref = lrealize(instantiate(toys.text, content="kept"))
    dref = parse_rref(rref).derivation
    for path in (
        layout.downloads(dref) / "part",
        layout.quarantine / "damaged" / "file",
        layout.tmp / "pylightnix" / "file",
        layout.derivation(dref) / f"{'0' * 32}.tmp" / "file",
        layout.storage / f"{'0' * 32}-gone.12345678.tmp" / "file",
        layout.metadata / f"{'0' * 32}-gone" / "file",
        layout.scratch / "config-x" / "file",
    ):
        path.parent.mkdir(parents=True)
        path.write_text("")
    ages = {
        leftover.kind: days
        for days in (40, 20, 5, 1.5, 0)
        for leftover in plan_gc(store, now=time.time() + days * DAY_S + 60).leftovers
    }
    assert ages == {
        "download": 20,
        "quarantine": 40,
        "journal": 40,
        "pylightnix": 5,
        "interrupted": 0,
        "metadata": 1.5,
        "declaring": 1.5,
    }
    assert [leftover.path[-12:] for leftover in plan_gc(store).leftovers] == ["12345678.tmp"]
    later = time.time() + 40 * DAY_S
    assert len(collect(store, plan_gc(store, now=later), now=later).leftovers) == 8
    assert plan_gc(store, now=later).leftovers == ()
    assert verify(store).findings == ()


def test_the_scratch_of_a_running_build_is_not_swept(store: Store) -> None:
    dref = parse_dref(instantiate(toys.text, content="x").result)
    with building(store, dref, {}, 0) as (scratch, _):
        begin_build(store, scratch)
        assert plan_gc(store, Policy(scratch_s=0)).leftovers == ()
    assert len(plan_gc(store, Policy(scratch_s=0)).leftovers) == 1


# -- interruptions ----------------------------------------------------------------------------------------------------


def check(root: Path, fault: Fault) -> None:
    def made(folder: Path) -> Store:
        store = Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=folder))
        with using_store(store):
            lrealize(instantiate(graph, {"b": ["a"], "a": []}, "b"))
            realize(instantiate(graph, {"d": ["c", "a"], "c": ["a"], "a": []}, "d"))
            realize_many(instantiate(toys.sample), instances=2)
            lrealize(instantiate(redefine(toys.sample, new_matcher=latest())))
        store.claims.forget()
        return store

    def work(store: Store) -> Callable[[], object]:
        return lambda: collect(store, plan_gc(store, NOW))

    store = made(root / "reference")
    calls = count_calls(work(store))
    expected = present(store)
    assert labels(expected) == {"a", "b", "sample"}
    assert any(call.startswith("rename") for call in calls)
    for number, call in enumerate(calls):
        store = made(root / str(number))
        before = present(store)
        outcome = with_fault(work(store), number, fault)
        if outcome.error is not None:
            assert "StoreError" in outcome.family, (call, outcome.error)
        found = verify(store).findings
        assert {finding.kind for finding in found} <= {Kind.ORPHAN}, (call, found)
        assert reader.read_store(store.layout.storage).findings == [], call
        assert expected <= present(store) <= before, call
        later = time.time() + 2 * DAY_S
        collect(store, plan_gc(store, NOW), now=later)
        assert present(store) == expected, call
        assert [finding for finding in verify(store).findings if "metadata" not in finding.path] == [], call
        assert list(store.layout.storage.rglob("*.tmp")) == [], call
        with using_store(store):
            realize(instantiate(graph, {"d": ["c", "a"], "c": ["a"], "a": []}, "d"))


@pytest.mark.parametrize("fault", faults(Fault.KILL_AFTER, Fault.ENOSPC))
def test_an_interrupted_collection_leaves_a_valid_store(tmp_path: Path, fault: Fault) -> None:
    check(tmp_path, fault)


@pytest.mark.unprivileged
@pytest.mark.parametrize("fault", faults(Fault.KILL_AFTER))
def test_an_interrupted_collection_is_in_no_unprivileged_users_way(nobody_path: Path, fault: Fault) -> None:
    as_nobody(check, nobody_path, fault)


def test_a_full_disk_is_collected(small_disk: Path) -> None:
    store = Store.open(read_settings({}, root=small_disk))
    with using_store(store):
        lrealize(instantiate(toys.text, content="kept"))
        node("b", "a")
        with contextlib.suppress(OSError), open(small_disk / "ballast", "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        done = collected(store)
        assert labels(done.realizations) == {"a", "b"}
        assert done.freed_bytes > 0
        (small_disk / "ballast").unlink()
        node("b", "a")
        assert verify(store).findings == ()


# -- stores that Pylightnix filled ------------------------------------------------------------------------------------


def test_a_store_that_pylightnix_filled_is_collected(tmp_path: Path) -> None:
    plx: Any = pylightnix  # some of its functions are typed, some are not

    def make(r: pylightnix.Registry, name: str, source: str | None = None) -> pylightnix.DRef:
        def build(b: pylightnix.Build) -> None:
            (Path(pylightnix.build_outpath(b)) / "data").write_text(name)

        config = pylightnix.mkconfig({"name": name, **({"source": source} if source else {})})
        return pylightnix.mkdrv(config, plx.match_only(), pylightnix.build_wrapper(build), r=r)

    storage = pylightnix.mkSS(str(tmp_path))
    pylightnix.fsinit(storage)
    top, other = (
        str(plx.realize1(plx.instantiate(function, S=storage)))
        for function in (lambda r: make(r, "b", make(r, "a")), lambda r: make(r, "c"))
    )
    with using_store(Store.open(read_settings({}, root=tmp_path))) as store:
        assert len(present(store)) == 3
        linkrref(top)
        done = collected(store)
        assert done.realizations == (other,)
        assert set(pylightnix.allrrefs(S=Storage.of(store))) == present(store)
        assert verify(store).findings == ()


def test_a_source_that_was_pinned_of_late_is_kept_before_anything_is_built(store: Store) -> None:
    source = realize(instantiate(toys.text, content="mine"))
    lrealize(instantiate(toys.text, content="kept"))
    instantiate(lambda: pinned(source, toys.Text))
    store.claims.forget()
    later = time.time() + DAY_S - 60
    for path in (store.layout.context(parse_rref(source)), store.layout.metadata_of(parse_rref(source))):
        os.utime(path, (1, 1))
    assert plan_gc(store, now=later).realizations == ()
    assert plan_gc(store, NOW).realizations == (source,)


def test_a_second_store_initialize_keeps_what_the_first_one_claimed(tmp_path: Path) -> None:
    script = (
        "from stagedml import *\nfrom stagedml.testing import toys\n"
        "store_initialize(); rref = realize(instantiate(toys.text)); store_initialize()\n"
        "import gc as memory; memory.collect()\n"
        "print(len(gc(policy=Policy(grace_s=0)).plan.realizations))"
    )
    environment = {**os.environ, "PYLIGHTNIX_ROOT": str(tmp_path), "STAGEDML_DURABLE": "0"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout == "0\n"


def test_verify_is_not_misled_by_what_is_collected_while_it_reads(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lrealize(instantiate(toys.text, content="kept"))
    node("b", "a")
    store.claims.forget()
    plan = plan_gc(store, NOW)
    derivations, listed = store.derivations(), store.realizations

    def then_collected(ref: DerivationRef) -> list[RealizationRef]:
        found = listed(ref)
        if ref == derivations[-1]:
            monkeypatch.undo()
            assert collect(store, plan).realizations
        return found

    monkeypatch.setattr(store, "realizations", then_collected)
    report = verify(store)
    assert (report.findings, report.realizations) == ((), 3)


def test_what_was_not_shown_stays_even_where_all_beside_it_goes(store: Store) -> None:
    lrealize(instantiate(toys.text, content="kept"))
    (first,) = realize_many(instantiate(toys.sample), instances=1)[:1]
    store.claims.forget()
    plan = plan_gc(store, NOW)
    second = realize_many(instantiate(toys.sample), instances=2)[1]
    store.claims.forget()
    assert collect(store, plan).realizations == (first,)
    assert second in present(store)
    assert verify(store).findings == ()


@pytest.mark.parametrize("wrong", [{"grace_s": -1}, {"max_bytes": -5}, {"keep_latest": -1}, {"keep_best": ("x", -1)}])
def test_a_policy_of_negative_numbers_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}=.*0 or more"):
        Policy(**wrong)
