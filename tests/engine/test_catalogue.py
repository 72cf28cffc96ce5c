"""Stages as a person types them: abbreviated names, and parameters as NAME=VALUE."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from stagedml import Build, RefPath, UsageError, output, realize, rref2path, stage
from stagedml.authoring.lens import mklens
from stagedml.engine.catalogue import declared, knows_stage, stage_named
from stagedml.inspection.stages import stage as described
from stagedml.inspection.stages import stages
from stagedml.store.objects import Store
from stagedml.testing import toys

CATALOGUE = "toy_catalogue"


def all_counted(content: str = "hello", times: int = 1) -> toys.Count:
    return toys.count(source=toys.upper(source=toys.text(content=content * times)))


@stage(toys.Text, name="1-text")
def first(build: Build, *, content: str = "a", text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(content)


@stage(toys.Text, name="upper-case")
def shouted(build: Build, *, source: toys.Text, times: int = 1, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(build.path(source.text).read_text().upper() * times)


@stage(toys.Text, name="shouted")
def other(build: Build, *, source: toys.Text, times: int = 1, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(build.path(source.text).read_text() * times)


@stage(toys.Text, name="copy-{label}")
def copied(build: Build, *, source: toys.Text, label: str, times: int = 1, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(build.path(source.text).read_text() * times)


def same_named(source: toys.Text, label: str) -> toys.Text:
    @stage(toys.Text, name="same")
    def same(
        build: Build,
        *,
        source: toys.Text,
        label: str = label,
        times: int = 1,
        text: RefPath = output("text.txt"),
    ) -> None:
        build.path(text).write_text(build.path(source.text).read_text() * times)

    return same(source=source)


def all_shouted_loud() -> toys.Count:
    return toys.count(source=shouted(source=first()))


def all_copied_twice() -> toys.Text:
    return copied(source=copied(source=first(), label="a"), label="b")


def all_mixed_up() -> toys.Text:
    return other(source=shouted(source=first()))


def all_of_two_modules() -> toys.Text:
    return same_named(same_named(first(), "a"), "b")


def all_scaled(scale: float = 1) -> toys.Count:
    return toys.count(source=first(), scale=scale)


def all_drawn(seed: int = 0) -> toys.Sample:
    return toys.sample(seed=seed)


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    module: Any = types.ModuleType(CATALOGUE)
    module.all_counted, module.all_drawn, module.count, module.realize = all_counted, all_drawn, toys.count, realize
    for function in (all_shouted_loud, all_copied_twice, all_mixed_up, all_of_two_modules, all_scaled):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, CATALOGUE, module)


def target(stage: str, *arguments: str) -> Any:
    return mklens(declared(stage, arguments, CATALOGUE).result)


@pytest.mark.parametrize("text", ["all_counted", "counted", "all-counted", "all_coun", "counte", "all-cou"])
def test_a_stage_goes_by_what_tells_it_from_others(text: str) -> None:
    assert stage_named(text, CATALOGUE) is all_counted


def test_a_whole_name_is_not_taken_for_the_beginning_of_another() -> None:
    assert stage_named("count", CATALOGUE) is toys.count


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cou", "stands for several stages; give more of it: all_counted, count"),
        ("all_co", "stands for several stages; give more of it: all_copied_twice, all_counted"),
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
    with pytest.raises(UsageError, match=f"did you mean {CATALOGUE}:all_counted"):
        stage_named(f"{CATALOGUE}:all_counte", CATALOGUE)


def test_a_name_that_a_module_has_not_is_told_with_those_that_it_has() -> None:
    with pytest.raises(UsageError, match=f"has no stage 'xyz'; there are: {CATALOGUE}:all_copied_twice, "):
        stage_named(f"{CATALOGUE}:xyz", CATALOGUE)
    with pytest.raises(UsageError, match="json has no stage 'xyz'; there is none in it"):
        stage_named("json:xyz", CATALOGUE)


def test_a_file_in_place_of_its_module_is_told_with_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "folder" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "own_stages.py").touch()
    (tmp_path / "folder" / "lonely_stages.py").touch()
    monkeypatch.chdir(tmp_path)
    for text, told in (
        ("folder/package/own_stages.py:all_x", "write package.own_stages:all_x, after export PYTHONPATH=folder"),
        ("./folder/package/own_stages:all_x", "write package.own_stages:all_x, after export PYTHONPATH=folder"),
        (f"{tmp_path}/folder/lonely_stages.py:all_x", "write lonely_stages:all_x, after export PYTHONPATH=folder"),
        ("./no/such.py:all_x", "write MODULE:FUNCTION, and name the folder that holds the module in PYTHONPATH"),
        (".:all_x", "write MODULE:FUNCTION, and name the folder that holds the module in PYTHONPATH"),
    ):
        with pytest.raises(UsageError, match=f"is no name of a module; {told}$"):
            stage_named(text, CATALOGUE)
    monkeypatch.chdir(tmp_path / "folder")
    for text in ("lonely_stages:all_x", "lonely_stages.py:all_x"):
        with pytest.raises(UsageError, match=r"there is no module .*; write lonely_stages:all_x, after export .*=\.$"):
            stage_named(text, CATALOGUE)
    monkeypatch.syspath_prepend(tmp_path / "folder")
    with pytest.raises(UsageError, match=r"is no name of a module; write lonely_stages:all_x$"):
        stage_named("./lonely_stages.py:all_x", CATALOGUE)


def test_only_whole_names_count_where_realizations_are_meant_as_well() -> None:
    assert knows_stage("counted", CATALOGUE)
    assert not knows_stage("counte", CATALOGUE)


def test_a_parameter_of_the_stage_that_comes_out_can_be_set() -> None:
    assert target("counted", "aab", "scale=2").scale.val == 2.0


def test_a_parameter_of_a_stage_inside_can_be_set() -> None:
    changed = target("counted", "text.content=12", "count.scale=3")
    assert changed.source.source.content.val == "12"
    assert changed.scale.val == 3.0


def test_a_stage_inside_goes_by_the_name_that_a_plan_shows_and_by_that_of_its_function() -> None:
    for named in ("upper-case", "shouted"):
        changed = target("shouted_loud", f"{named}.times=3", "1-text.content=x")
        assert changed.source.times.val == 3
        assert changed.source.source.content.val == "x"


def test_one_of_several_names_that_a_stage_declares_is_refused_with_what_changes_all() -> None:
    with pytest.raises(UsageError, match=r"copy-a, copy-b are all declared by copied; copied\.times changes all"):
        declared("copied_twice", ["copy-a.times=2"], CATALOGUE)
    changed = target("copied_twice", "copied.times=2")
    assert changed.times.val == changed.source.times.val == 2


def test_a_name_that_several_stages_go_by_is_refused_with_what_tells_them_apart() -> None:
    with pytest.raises(
        UsageError,
        match=r"'shouted\.times' stands for .* write upper-case\.times or other\.times$",
    ):
        declared("mixed_up", ["shouted.times=2"], CATALOGUE)
    assert target("mixed_up", "upper-case.times=2").source.times.val == 2
    with pytest.raises(UsageError, match=r"'same\.times' stands .*; tell them apart in Python: redefine"):
        declared("of_two_modules", ["same.times=2"], CATALOGUE)


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
        (["quite_another=2"], "there are: content, times, source, scale, workers, text.content, upper.source$"),
        (["times=two"], "all_counted: times: wanted int, got 'two'"),
        (["scale=two"], "scale: wanted float, got 'two'"),
        (["count.scael=2"], r"did you mean count\.scale or count\.source\?$"),
        (["times=1", "times=2"], "times is given twice"),
        (["a", "1", "2"], "too many positional arguments"),
    ],
)
def test_what_a_stage_does_not_take_is_refused_with_what_may_be_meant(arguments: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        declared("counted", arguments, CATALOGUE)


def test_what_may_be_meant_is_told_once() -> None:
    with pytest.raises(UsageError, match=r"did you mean scale\?$"):
        declared("scaled", ["scal=2"], CATALOGUE)


def test_a_variant_leaves_no_config_of_the_original_behind(store: Store) -> None:
    realize(declared("counted", ["scale=2", "text.content=x"], CATALOGUE))
    scales = [store.config(ref).get("scale") for ref in store.derivations() if ref.name == "count"]
    assert scales == [2.0]


def test_settings_that_are_handed_on_are_no_parameter_of_their_own() -> None:
    def all_handed_on(seed: int = 0, **settings: Any) -> toys.Sample:
        return toys.sample(seed=seed, **settings)

    setattr(sys.modules[CATALOGUE], "all_handed_on", all_handed_on)  # noqa: B010
    assert [parameter.name for parameter in described("all_handed_on", CATALOGUE).parameters] == ["seed"]
    assert target("handed_on", "constant=true").constant.val is True


def test_what_composes_stages_names_the_one_whose_parameters_can_be_given_too() -> None:
    assert described("all_minilm_finetune_glue", "stagedml.stages.all").settings_of == ("bert_finetune_glue",)
    assert described("bert_finetune_glue", "stagedml.stages.all").settings_of == ()


def test_each_stage_of_the_catalogue_tells_what_it_does_and_each_family_its_paper() -> None:
    for view in stages("stagedml.stages.all"):
        assert view.text, view.name
        assert view.artifact, view.name
        assert view.family, view.name
        if view.name.startswith("all_") and "quickstart" not in view.name:
            assert re.search(r"\b(19|20)\d\d\b", view.family), view.name


@pytest.mark.parametrize("text", ["None", "null"])
def test_none_is_written_as_in_python_or_in_json(store: Store, text: str) -> None:
    found = declared("dryrun_transformer", [f"average_decay={text}"], "stagedml.stages.all")
    assert mklens(found).average_decay.optval is None
