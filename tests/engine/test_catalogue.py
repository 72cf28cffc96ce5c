"""Stages as a person types them: abbreviated names, and parameters as NAME=VALUE."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from stagedml import UsageError, realize, rref2path
from stagedml.authoring.lens import mklens
from stagedml.engine.catalogue import declared, knows_stage, stage_named
from stagedml.store.objects import Store
from stagedml.testing import toys

CATALOGUE = "toy_catalogue"


def all_counted(content: str = "hello", times: int = 1) -> toys.Count:
    return toys.count(source=toys.upper(source=toys.text(content=content * times)))


def all_drawn(seed: int = 0) -> toys.Sample:
    return toys.sample(seed=seed)


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    module: Any = types.ModuleType(CATALOGUE)
    module.all_counted, module.all_drawn, module.count, module.realize = all_counted, all_drawn, toys.count, realize
    monkeypatch.setitem(sys.modules, CATALOGUE, module)


def target(stage: str, *arguments: str) -> Any:
    return mklens(declared(stage, arguments, CATALOGUE).result)


@pytest.mark.parametrize("text", ["all_counted", "counted", "all-counted", "all_coun", "counte", "all-co"])
def test_a_stage_goes_by_what_tells_it_from_others(text: str) -> None:
    assert stage_named(text, CATALOGUE) is all_counted


def test_a_whole_name_is_not_taken_for_the_beginning_of_another() -> None:
    assert stage_named("count", CATALOGUE) is toys.count


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("c", "stands for several stages; give more of it: all_counted, count"),
        ("al", "stands for several stages; give more of it: all_counted, all_drawn"),
        ("all_drown", "did you mean all_drawn?"),
        ("realize", "has no stage 'realize'"),
        ("", "has no stage ''"),
        ("nothing_like_it", "`stagedml stages` lists"),
        ("no_such_module:all", "there is no module 'no_such_module'"),
    ],
)
def test_what_is_no_stage_is_refused_with_what_may_be_meant(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        stage_named(text, CATALOGUE)


def test_a_module_and_function_are_not_abbreviated() -> None:
    with pytest.raises(UsageError, match="did you mean all_counted"):
        stage_named(f"{CATALOGUE}:all_counte", CATALOGUE)


def test_only_whole_names_count_where_realizations_are_meant_as_well() -> None:
    assert knows_stage("counted", CATALOGUE)
    assert not knows_stage("counte", CATALOGUE)


def test_a_parameter_of_the_stage_that_comes_out_can_be_set() -> None:
    assert target("counted", "aab", "scale=2").scale.val == 2.0


def test_a_parameter_of_a_stage_inside_can_be_set() -> None:
    changed = target("counted", "text.content=12", "count.scale=3")
    assert changed.source.source.content.val == "12"
    assert changed.scale.val == 3.0


def test_a_parameter_of_the_function_goes_before_those_of_stages() -> None:
    assert target("counted", "times=2", "content=x").source.source.content.val == "xx"


def test_hyphens_are_as_good_as_underscores_in_the_name_of_a_parameter() -> None:
    with pytest.raises(UsageError, match=r"all_counted has no parameter 'up_per\.content'"):
        declared("counted", ["up-per.content=2"], CATALOGUE)


def test_an_exec_parameter_can_be_set_by_name(store: Store) -> None:
    path = Path(rref2path(realize(declared("counted", ["workers=3"], CATALOGUE))))
    assert (path / "__log__" / "workers").read_text() == "3"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tmies=2"], "all_counted has no parameter 'tmies'; did you mean times"),
        (["scael=2"], "did you mean scale"),
        (["txt.content=2"], "did you mean text.content"),
        (["quite_another=2"], "there are: content, times, count.scale"),
        (["times=two"], "all_counted: times: wanted int, got 'two'"),
        (["scale=two"], "scale: wanted float, got 'two'"),
        (["times=1", "times=2"], "times is given twice"),
        (["a", "1", "2"], "too many positional arguments"),
    ],
)
def test_what_a_stage_does_not_take_is_refused_with_what_may_be_meant(arguments: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        declared("counted", arguments, CATALOGUE)


def test_a_variant_leaves_no_config_of_the_original_behind(store: Store) -> None:
    realize(declared("counted", ["scale=2", "text.content=x"], CATALOGUE))
    scales = [store.config(ref).get("scale") for ref in store.derivations() if ref.name == "count"]
    assert scales == [2.0]
