"""Links into the store: where they may be, what they keep, and what is no business of theirs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from stagedml import (
    RRef,
    UsageError,
    gc,
    instantiate,
    linkrref,
    linkrrefs,
    lrealize,
    plan,
    realize,
    realize_many,
    using_store,
    why_alive,
)
from stagedml.core.refs import parse_rref
from stagedml.settings import read_settings
from stagedml.store.gc import Policy
from stagedml.store.objects import NotInStore, Store
from stagedml.store.roots import CannotLink, RootsUnknown, add_link, forget, links, remove_link
from stagedml.store.verify import verify
from stagedml.testing import toys
from unprivileged import as_nobody

NOW = Policy(grace_s=0)


def node(label: str) -> RRef:
    """A realization that only a link keeps: this process forgets that it made it."""
    return realize(instantiate(toys.node, label=label, inputs=[]))


def fresh(store: Store) -> Store:
    """The same store, as a process that realized nothing sees it."""
    store.claims.forget()
    return store


def kept(store: Store) -> set[str]:
    fresh(store)
    going = set(gc(policy=NOW).plan.realizations)
    return {str(ref) for derivation in store.derivations() for ref in store.realizations(derivation)} - going


def test_links_at_any_depth_keep_a_realization_and_what_it_rests_on(store: Store) -> None:
    target = instantiate(toys.all_counted)
    rref = lrealize(target, "deep/er/still")
    node("other")
    assert (store.layout.experiments / "deep/er/still").resolve() == store.path(parse_rref(rref))
    assert len(kept(store)) == 3


def test_the_default_name_of_a_link_is_the_stages(store: Store) -> None:
    rref = lrealize(instantiate(toys.all_counted))
    assert [(link.path, link.ref) for link in links(store.layout)] == [(str(store.layout.experiments / "count"), rref)]
    other = node("a")
    assert linkrref(other) == str(store.layout.experiments / "node-a")


def test_a_link_to_a_file_inside_keeps_the_realization(store: Store) -> None:
    rref = node("a")
    store.layout.experiments.mkdir()
    (store.layout.experiments / "trace").symlink_to(store.path(parse_rref(rref)) / "trace.txt")
    assert kept(store) == {rref}


def test_a_link_to_a_derivation_keeps_all_its_realizations(store: Store) -> None:
    (rrefs,) = [realize_many(instantiate(toys.sample), instances=3)]
    store.layout.experiments.mkdir()
    (store.layout.experiments / "all").symlink_to(store.layout.derivation(parse_rref(rrefs[0]).derivation))
    assert kept(store) == set(rrefs)


def test_relative_links_and_links_by_way_of_another_keep_too(store: Store, tmp_path: Path) -> None:
    first, second = node("a"), node("b")
    folder = store.layout.experiments / "mine"
    folder.mkdir(parents=True)
    (folder / "relative").symlink_to(os.path.relpath(store.path(parse_rref(first)), folder))
    (tmp_path / "elsewhere").symlink_to(store.path(parse_rref(second)))
    (folder / "twice").symlink_to(tmp_path / "elsewhere")
    assert kept(store) == {first, second}


def test_links_that_lead_nowhere_or_elsewhere_are_tolerated(store: Store, tmp_path: Path) -> None:
    rref = lrealize(instantiate(toys.node, label="a", inputs=[]), "mine")
    folder = store.layout.experiments
    gone = store.layout.storage / f"{'0' * 32}-gone" / ("1" * 32)
    for name, target in (
        ("dangling", tmp_path / "nothing"),
        ("gone", gone),
        ("loop", folder / "loop"),
        ("foreign", tmp_path),
        ("storage", store.layout.storage),
        ("stray", store.layout.storage / "stray"),
        ("escaping", store.layout.storage / ".." / "x"),
    ):
        (folder / name).symlink_to(target)
    (folder / "notes.txt").write_text("mine")
    assert [Path(link.path).name for link in links(store.layout) if link.ref] == ["mine"]
    assert kept(store) == {rref}


def test_a_link_elsewhere_keeps_until_it_is_removed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rref = realize(instantiate(toys.node, label="a", inputs=[]), link="./result")
    assert (tmp_path / "result").resolve() == store.path(parse_rref(rref))
    assert kept(store) == {rref}
    (tmp_path / "result").unlink()
    assert kept(store) == set()


def test_a_link_is_replaced_and_anything_else_is_not(store: Store) -> None:
    first, second = node("a"), node("b")
    place = Path(linkrref(first, "best"))
    assert Path(linkrref(second, "best")) == place
    assert place.resolve() == store.path(parse_rref(second))
    assert os.listdir(place.parent) == ["best"]
    (store.layout.experiments / "file").write_text("mine")
    for name, problem in (
        ("file", "something that is no link is there"),
        ("file/inner", "a part of the path is no folder"),
        ("a/../../out", "not a name below"),
        ("a/../..", "not a name below"),
        ("", "not a name below"),
        (str(store.layout.storage / "x"), "inside of the store"),
        ("name.tmp", "are for links that are being made"),
        ("n" * 250, "choose a shorter one"),
    ):
        with pytest.raises(CannotLink, match=problem):
            linkrref(first, name)
    assert (store.layout.experiments / "file").read_text() == "mine"


def test_a_link_that_cannot_be_made_is_refused_before_anything_is_built(store: Store) -> None:
    target = instantiate(toys.node, label="a", inputs=[])
    for call in (
        lambda: realize(target, link="a/../../out"),
        lambda: realize_many(target, link="a/../../out"),
        lambda: lrealize(target, "a/../../out"),
    ):
        with pytest.raises(UsageError, match="not a name below"):
            call()
    assert plan(target).builds


def test_several_results_get_a_link_each(store: Store) -> None:
    rrefs = realize_many(instantiate(toys.sample), instances=2, link="runs/sample")
    assert {Path(link.path).name: link.ref for link in links(store.layout)} == {
        "sample-0": rrefs[0],
        "sample-1": rrefs[1],
    }
    more = [node("a"), rrefs[0], rrefs[1]]
    names = sorted(os.path.relpath(path, store.layout.experiments) for path in linkrrefs(more, "all"))
    assert names == ["all/node-a", *sorted(f"all/sample-{parse_rref(rref).rhash[:8]}" for rref in rrefs)]


def test_removing_a_link_frees_and_only_links_are_removed(store: Store) -> None:
    lrealize(instantiate(toys.node, label="a", inputs=[]), "x/y")
    with pytest.raises(CannotLink, match="no such link"):
        remove_link(store, "x")
    remove_link(store, "x/y")
    assert kept(store) == set()


def test_a_link_to_what_is_not_there_is_refused(store: Store) -> None:
    gone = parse_rref(f"rref:{'0' * 32}-{'1' * 32}-gone")
    with pytest.raises(NotInStore):
        add_link(store, "x", gone)
    assert not store.layout.experiments.exists()


def test_links_in_a_folder_that_the_store_was_once_opened_with_are_seen_by_all(tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    root = {"STAGEDML_ROOT": str(tmp_path / "root"), "STAGEDML_DURABLE": "0"}
    with using_store(Store.open(read_settings({**root, "STAGEDML_EXPERIMENTS": str(folder)}))):
        rref = lrealize(instantiate(toys.node, label="a", inputs=[]))
    with using_store(Store.open(read_settings(root))) as store:
        assert store.layout.experiments != folder
        assert kept(store) == {rref}
        assert [str(reason.root.name) for reason in why_alive(rref)][:1] == [str(folder / "node-a")]
        os.rename(folder, tmp_path / "moved")
        with pytest.raises(RootsUnknown, match="stagedml roots forget"):
            gc()
        with pytest.raises(CannotLink, match=str(folder)):
            forget(store, tmp_path)
        forget(store, folder)
        assert kept(store) == set()


@pytest.mark.unprivileged
def test_a_folder_that_cannot_be_read_may_hold_links(nobody_path: Path) -> None:
    def check() -> None:
        with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=nobody_path / "root"))) as store:
            lrealize(instantiate(toys.node, label="a", inputs=[]), "shut/link")
            (store.layout.experiments / "shut").chmod(0)
            with pytest.raises(RootsUnknown, match="Permission denied"):
                gc()

    as_nobody(check)


def test_links_into_a_store_that_was_copied_elsewhere_keep_what_they_meant(tmp_path: Path) -> None:
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "old"))):
        rref = lrealize(instantiate(toys.node, label="a", inputs=[]))
    shutil.copytree(tmp_path / "old", tmp_path / "new", symlinks=True)
    (tmp_path / "old").rename(tmp_path / "gone")
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "new"))) as store:
        assert kept(store) == {rref}  # its links say the old place, and mean this one


@pytest.mark.unprivileged
def test_who_may_only_read_opens_a_store_that_lacks_a_folder_of_ours(nobody_path: Path) -> None:
    def check() -> None:
        root = nobody_path / "root"
        with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))) as store:
            rref = realize(instantiate(toys.node, label="a", inputs=[]))
            store.claims.forget()
            store.layout.live.rmdir()
        store.layout.side.chmod(0o555)
        reader = Store.open(read_settings(root=root), create=False)
        assert reader.path(parse_rref(rref)).is_dir()

    as_nobody(check)


@pytest.mark.parametrize("instead", ["nothing", "a file", "a dangling link"])
def test_a_folder_of_links_that_is_gone_is_asked_for(store: Store, instead: str) -> None:
    lrealize(instantiate(toys.node, label="a", inputs=[]))
    folder = store.layout.experiments
    folder.rename(folder.with_name("moved"))
    if instead == "a file":
        folder.write_text("")
    elif instead == "a dangling link":
        folder.symlink_to("nowhere")
    with pytest.raises(RootsUnknown, match="there is no such folder"):
        gc(force=True, policy=NOW)
    other = Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=store.layout.root))
    unknown: list[RootsUnknown] = []
    assert links(other.layout, unknown) == []
    assert [error.folder for error in unknown] == [str(folder)]


def test_a_link_made_by_way_of_a_linked_folder_keeps(store: Store, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    store.layout.experiments.mkdir()
    (store.layout.experiments / "project").symlink_to(tmp_path / "project")
    rref = lrealize(instantiate(toys.node, label="a", inputs=[]), "project/best")
    assert (tmp_path / "project" / "best").is_symlink()
    assert kept(store) == {rref}
    remove_link(store, "project/best")
    assert kept(store) == set()
    assert [link.target for link in links(store.layout)] == [str(tmp_path / "project")]


def test_nothing_is_written_into_a_realization_by_way_of_a_link_to_it(store: Store) -> None:
    rref = lrealize(instantiate(toys.node, label="a", inputs=[]), "a")
    for place in ("a/b", "a/b/c"):
        with pytest.raises(CannotLink, match="inside of the store"):
            linkrref(rref, place)
    assert verify(store).findings == ()
