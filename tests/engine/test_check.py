"""`check`: built again and compared, on stages that do not repeat, each for a reason that people run into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import hostile, nondeterminism
from engine.nondeterminism import EXPECTED
from stagedml import UsageError, check, gc, instantiate, mknode, realize
from stagedml.cli.main import main
from stagedml.core.refs import parse_rref
from stagedml.engine import apart
from stagedml.engine.failures import BuildFailed
from stagedml.ml.sameness import Sameness, Tolerance
from stagedml.store.gc import Policy
from stagedml.store.objects import Store
from stagedml.store.verify import verify


@pytest.mark.parametrize("name", EXPECTED)
def test_the_verdict_and_the_first_difference_are_right(name: str, store: Store) -> None:
    expected = EXPECTED[name]
    found = check(instantiate(expected.declare))
    (comparison,) = found.comparisons
    assert found.sameness == expected.sameness, comparison.told()
    assert (comparison.first.path if comparison.first else "") == expected.file
    if expected.epoch:
        assert comparison.epoch is not None
        assert comparison.epoch.epoch == expected.epoch
    assert bool(found.kept) == (expected.sameness == Sameness.DIFFERENT)
    assert all(Path(folder).is_dir() for folder in found.kept)
    known = store.metadata(parse_rref(found.rref))
    assert known is not None
    (record,) = known.checks
    assert (record.times, record.sameness, record.told) == (1, str(expected.sameness), comparison.told())
    assert known.is_repeatable == (expected.sameness == Sameness.IDENTICAL)
    assert verify(store).findings == ()


def test_several_rebuilds_are_compared_and_verdicts_add_up(store: Store) -> None:
    assert len(check(instantiate(EXPECTED["seeded"].declare), times=2).comparisons) == 2
    found = check(instantiate(EXPECTED["seeded"].declare))
    realize(instantiate(EXPECTED["seeded"].declare), force=True)
    known = store.metadata(parse_rref(found.rref))
    assert known is not None
    assert [record.times for record in known.checks] == [2, 1]
    assert not [server for key, server in apart._servers.items() if key[1].hash_seed is not None]
    assert not [path for path in store.layout.scratch.iterdir() if path.name.startswith("check-")]


def test_tolerance_decides_what_is_close(store: Store) -> None:
    target = instantiate(EXPECTED["summed"].declare)
    assert check(target).sameness == Sameness.CLOSE
    assert check(target, tolerance=Tolerance(rtol=0, atol=0)).sameness == Sameness.DIFFERENT


def test_gc_warns_of_what_a_check_has_shown_not_to_repeat(store: Store) -> None:
    rref = check(instantiate(EXPECTED["stamped"].declare)).rref
    rows = {row.rref: row.repeatable for row in gc(policy=Policy(grace_s=0)).rows}
    assert rows.get(rref, False) is False


def test_a_rebuild_that_fails_says_so(store: Store, tmp_path: Path) -> None:
    target = instantiate(hostile.once, trace=str(tmp_path / "trace"))
    realize(target)
    with pytest.raises(BuildFailed, match=r"built once more, it failed: ValueError: only once"):
        check(target)


@pytest.mark.parametrize("times", [0, True, "2"])
def test_wrong_times_are_refused(store: Store, times: Any) -> None:
    with pytest.raises(UsageError, match="give a whole number, at least 1"):
        check(instantiate(hostile.good, number=1), times=times)


def test_what_runs_no_code_is_not_checked(store: Store) -> None:
    with pytest.raises(UsageError, match="there is nothing to check"):
        check(instantiate(lambda: mknode({"a": 1}, name="node")))


def test_the_verb(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(store.layout.root)
    module = nondeterminism.__name__
    assert main(["check", "--root", root, f"{module}:stamped"]) == 1
    rref, told, kept = capsys.readouterr().out.splitlines()
    assert told.startswith("different: report.json: made.at_ns ")
    assert kept.startswith("the rebuild is kept in ")
    assert main(["show", "--root", root, rref]) == 0
    assert f"1 rebuild: {told}" in capsys.readouterr().out
    assert main(["check", "--root", root, "--json", "--times", "2", f"{module}:seeded"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sameness"] == "identical"
    assert len(document["comparisons"]) == 2
