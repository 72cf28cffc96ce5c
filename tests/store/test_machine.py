"""A store is driven at random, and a plain model says what must be in it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from format import independent_reader as reader
from stagedml import instantiate, linkrref, realize, using_store
from stagedml.core.refs import parse_rref
from stagedml.engine.events import Observer
from stagedml.settings import read_settings
from stagedml.store import atomic
from stagedml.store.collect import NoRoots, collect
from stagedml.store.gc import Policy, plan_gc
from stagedml.store.objects import Store
from stagedml.store.roots import remove_link
from stagedml.store.verify import Kind, repair, verify
from stagedml.testing import toys
from stagedml.testing.faults import Fault, with_fault

#: label -> labels of the inputs
GRAPH: dict[str, tuple[str, ...]] = {"a": (), "b": (), "c": ("a",), "d": ("a", "b"), "e": ("c", "d"), "f": ("b",)}
LABELS = st.sampled_from(sorted(GRAPH))
NOW = Policy(grace_s=0, scratch_s=0)


def graph(label: str) -> toys.Node:
    return toys.node(label=label, inputs=[graph(inner) for inner in GRAPH[label]])


def behind(labels: set[str]) -> set[str]:
    """Some nodes, and all that they rest on."""
    found: set[str] = set()
    pending = list(labels)
    while pending:
        label = pending.pop()
        found.add(label)
        pending += GRAPH[label]
    return found


class Builds(Observer):
    """Which nodes were built."""

    def __init__(self) -> None:
        self.labels: set[str] = set()

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self.labels.add(dref[-1])


class StoreMachine(RuleBasedStateMachine):
    """The model: which nodes are published, and which links lead where."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="stagedml-machine-"))
        self.store = self.opened()
        self.published: set[str] = set()
        self.links: dict[str, str] = {}
        self.rrefs: dict[str, str] = {}

    def opened(self) -> Store:
        return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=self.folder))

    def teardown(self) -> None:
        atomic.remove_tree(self.folder)

    def present(self) -> set[str]:
        found = set()
        for derivation in self.store.derivations():
            for ref in self.store.realizations(derivation):
                label = ref.name.removeprefix("node-")
                assert self.rrefs.setdefault(label, str(ref)) == str(ref)  # for ever
                found.add(label)
        return found

    @rule(label=LABELS)
    def publish_or_reuse(self, label: str) -> None:
        """What is not there is built, nothing else, and comes out as ever."""
        builds = Builds()
        with using_store(self.store):
            rref = realize(instantiate(graph, label), observer=builds)
        assert self.rrefs.setdefault(label, rref) == rref
        assert builds.labels == behind({label}) - self.published if label not in self.published else not builds.labels
        self.published |= behind({label})

    @precondition(lambda self: self.published)
    @rule(data=st.data(), name=st.sampled_from(["x", "y", "deep/z"]))
    def link(self, data: st.DataObject, name: str) -> None:
        label = data.draw(st.sampled_from(sorted(self.published)))
        with using_store(self.store):
            linkrref(self.rrefs[label], name)
        self.links[name] = label

    @precondition(lambda self: self.links)
    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.links)))
        remove_link(self.store, name)
        del self.links[name]

    def kept(self) -> set[str]:
        return behind({label for label in self.links.values() if label in self.published})

    @rule()
    def collect(self) -> None:
        self.store.claims.forget()
        plan = plan_gc(self.store, NOW)
        going = {parse_rref(rref).name.removeprefix("node-") for rref in plan.realizations}
        assert going == self.published - self.kept()
        try:
            collect(self.store, plan)
        except NoRoots:
            assert not self.kept()
        else:
            self.published &= self.kept()

    @precondition(lambda self: self.published)
    @rule(data=st.data(), act=st.sampled_from(["flip", "remove", "add"]))
    def corrupt(self, data: st.DataObject, act: str) -> None:
        """Damage is found, put away, and what rested on it is known; the next realize builds anew."""
        label = data.draw(st.sampled_from(sorted(self.published)))
        ref = parse_rref(self.rrefs[label])
        folder = self.store.path(ref)
        folder.chmod(0o755)
        file = folder / "trace.txt"
        file.chmod(0o644)
        times = file.stat()
        if act == "flip":
            file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        elif act == "remove":
            file.unlink()
        else:
            (folder / "more").write_text("")
        report = verify(self.store)
        unfit = {finding.ref for finding in report.findings if finding.kind not in (Kind.WRITABLE, Kind.ORPHAN)}
        assert unfit == {str(ref)}
        repair(self.store, report)
        self.published.discard(label)
        broken = {name for name in self.published if label in behind({name})}
        found = verify(self.store).findings
        assert {finding.ref[-1] for finding in found} == broken
        assert {finding.kind for finding in found} <= {Kind.CONTEXT}
        for name in sorted(broken | {label}):  # mended before anything else happens
            with using_store(self.store):
                realize(instantiate(graph, name))
            self.published |= behind({name})
        assert verify(self.store).findings == ()

    @rule(label=LABELS, number=st.integers(0, 60), fault=st.sampled_from(Fault))
    def crash_while_realizing(self, label: str, number: int, fault: Fault) -> None:
        with using_store(self.store):
            target = instantiate(graph, label)
            with_fault(lambda: realize(target), number, fault)
        now = self.present()
        assert self.published <= now <= self.published | behind({label})
        self.published = now

    @rule(number=st.integers(0, 30), fault=st.sampled_from(Fault))
    def crash_while_collecting(self, number: int, fault: Fault) -> None:
        self.store.claims.forget()
        with_fault(lambda: collect(self.store, plan_gc(self.store, NOW)), number, fault)
        now = self.present()
        assert self.kept() <= now <= self.published
        self.published = now

    @rule()
    def reopen(self) -> None:
        self.store.claims.forget()
        self.store = self.opened()

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        assert self.present() == self.published
        findings = verify(self.store).findings
        assert {finding.kind for finding in findings} <= {Kind.ORPHAN}, findings
        assert reader.read_store(self.store.layout.storage).findings == []


def drive(examples: int) -> None:
    run_state_machine_as_test(
        StoreMachine, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None)
    )


def test_a_store_is_what_a_plain_model_says() -> None:
    drive(15)


@pytest.mark.slow
def test_a_store_is_what_a_plain_model_says_for_long() -> None:
    drive(600)
