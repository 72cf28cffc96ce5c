"""A store that we filled, read by Pylightnix's own functions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pylightnix import StorageSettings

from compat.conftest import Act
from compat.plain import our_store, plain_storage, plx
from format import independent_reader as reader
from stagedml import RRef, instantiate, latest, mklens, pinned, realize, realize_many, rref2dref, using_store
from stagedml.store.objects import Store
from stagedml.testing import toys


def filled(root: Path) -> tuple[Store, StorageSettings, dict[str, RRef]]:
    """Toy stages: a chain, three instances, and a pinned input."""
    store = our_store(root)
    with using_store(store):
        counted = realize(instantiate(toys.all_counted, "Hello"))
        samples = realize_many(instantiate(toys.sample), instances=3)

        def again() -> toys.Count:
            return toys.count(source=pinned(mklens(counted).source.rref, toys.Text), scale=2)

        rrefs = {"counted": counted, "again": realize(instantiate(again))}
    rrefs.update({f"sample {index}": rref for index, rref in enumerate(samples)})
    return store, plain_storage(root), rrefs


def ours(store: Store) -> set[str]:
    return {str(rref) for dref in store.derivations() for rref in store.realizations(dref)}


def test_its_listings_show_everything_and_nothing_else(act: Act) -> None:
    def check(root: Path) -> None:
        store, S, rrefs = filled(root)
        assert set(plx.allrrefs(S=S)) == ours(store)
        assert set(plx.alldrefs(S=S)) == {str(dref) for dref in store.derivations()}
        assert set(plx.drefrrefs(rref2dref(rrefs["sample 0"]), S=S)) == {rrefs[f"sample {i}"] for i in range(3)}
        assert set(plx.find("sample", S=S)) == {rrefs[f"sample {i}"] for i in range(3)}
        assert set(plx.find(S=S)) == ours(store)
        assert reader.read_store(store.layout.storage).findings == []

    act(check)


def test_its_shell_tools_reach_the_files(act: Act) -> None:
    def check(root: Path) -> None:
        _, S, rrefs = filled(root)
        counted = rrefs["counted"]
        path = plx.rref2path(counted, S=S)
        assert set(plx.lsref(counted, S=S)) == set(os.listdir(path))
        assert set(plx.lsref(rref2dref(counted), S=S)) == {"config.json", counted[5:37]}
        assert plx.catref(counted, ["result", "counts.json"], S=S) == ['{"E": 1.0, "H": 1.0, "L": 2.0, "O": 1.0}']
        sizes = plx.du(S=S)
        assert set(sizes) == set(plx.alldrefs(S=S))
        assert all(size > 0 for _, sizes_of in sizes.values() for size in sizes_of.values())
        link = plx.linkrref(counted, destdir=plx.Path(str(root / "links")), S=S)
        assert os.path.samefile(link, path)
        assert plx.path2rref(plx.Path(path)) == counted

    act(check)


def test_its_walks_over_what_depends_on_what_agree_with_ours(act: Act) -> None:
    def check(root: Path) -> None:
        store, S, rrefs = filled(root)
        with using_store(store):
            source = mklens(rrefs["counted"]).source
            behind = {source.rref, source.source.rref}
        assert plx.rrefdeps([rrefs["counted"]], S=S) == behind
        tops = {rrefs["again"], rrefs["counted"], *(rrefs[f"sample {i}"] for i in range(3))}
        assert plx.rootrrefs(S=S) == tops
        drefs, unneeded = plx.store_gc([], [rrefs["counted"]], S=S)
        assert unneeded == ours(store) - behind - {rrefs["counted"]}
        assert drefs == {rref2dref(rref) for rref in unneeded}

    act(check)


def test_what_it_removes_is_built_again(act: Act) -> None:
    def check(root: Path) -> None:
        store, S, rrefs = filled(root)
        for rref in ("counted", "again"):
            plx.rmref(rrefs[rref], S=S)
        plx.rmref(rref2dref(rrefs["sample 0"]), S=S)
        with using_store(store):
            assert realize(instantiate(toys.all_counted, "Hello")) == rrefs["counted"]
            assert realize_many(instantiate(toys.sample), instances=1) == [rrefs["sample 0"]]
        assert reader.read_store(store.layout.storage).findings == []

    act(check)


def test_its_matchers_select_from_our_realizations(act: Act) -> None:
    def check(root: Path) -> None:
        store, S, rrefs = filled(root)
        samples = sorted(rrefs[f"sample {i}"] for i in range(3))
        last = rrefs["sample 2"]
        assert plx.match_latest()(S, list(samples)) == [last]
        assert set(plx.match_latest(3)(S, list(samples)) or []) == set(samples)
        assert plx.match_latest(4)(S, list(samples)) is None
        assert plx.match_all(S, list(samples)) == samples
        assert set(plx.match_some(2)(S, list(samples)) or []) < set(samples)
        assert plx.match_only()(S, [rrefs["counted"]]) == [rrefs["counted"]]
        assert plx.match_exact([last])(S, list(samples)) == [last]
        with using_store(store):
            assert latest()(None, list(samples)) == [last]
        assert latest()(S, list(samples)) == [last]

    act(check)


def compare(mine: Any, theirs: Any, fields: dict[str, Any]) -> int:
    """Compare two lenses in every field below; returns how many there were."""
    compared = 0
    for name, value in fields.items():
        one, other = mine.get(name), theirs.get(name)
        assert one.optval == other.optval == value
        compared += 1
        if plx.isrefpath(value):
            assert one.refpath == other.refpath
            assert str(one.syspath) == other.syspath
            if os.path.isfile(other.syspath):
                assert one.contents == other.contents
        elif plx.isdref(value):
            assert (one.dref, one.rref, str(one.syspath)) == (other.dref, other.rref, other.syspath)
            compared += compare(one, other, plx.cfgdict(plx.drefcfg(value, other.ctx.S)))
        elif isinstance(value, dict):
            compared += compare(one, other, value)
    return compared


def test_its_lens_and_ours_agree_on_every_field(act: Act) -> None:
    def check(root: Path) -> int:
        store, S, rrefs = filled(root)
        compared = 0
        for rref in map(RRef, sorted(ours(store))):
            mine, theirs = mklens(rref, store=store), plx.mklens(rref, S=S)
            assert (mine.dref, mine.rref, str(mine.syspath)) == (theirs.dref, theirs.rref, theirs.syspath)
            compared += compare(mine, theirs, plx.cfgdict(plx.drefcfg(rref2dref(rref), S)))
        assert mklens(rrefs["counted"], S=S).source.source.content.val == "Hello"
        assert mklens(rrefs["counted"], S=S).source.source.text.contents == "Hello"
        return compared

    assert act(check) > 40


def test_its_lens_reads_fields_of_json_files_as_ours_does(act: Act) -> None:
    def check(root: Path) -> None:
        store, S, rrefs = filled(root)
        counted, sample = rrefs["counted"], rrefs["sample 1"]
        assert mklens(counted, store=store).counts.L.val == plx.mklens(counted, S=S).counts.L.val == 2.0
        accuracy = plx.mklens(sample, S=S).metrics.accuracy.val
        assert mklens(sample, store=store).metrics.accuracy.val == accuracy

    act(check)
