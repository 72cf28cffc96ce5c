"""Adoption: what was made of the same bytes by the same code is linked, not built; in doubt it is built."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from stagedml import (
    Artifact,
    Build,
    RefPath,
    best,
    instantiate,
    latest,
    mklens,
    output,
    realize,
    realize_many,
    redefine,
    rmref,
    rref2path,
    stage,
)
from stagedml.authoring.build import derive_seed
from stagedml.core.plan import Verdict
from stagedml.core.refs import parse_rref
from stagedml.engine.events import Observer
from stagedml.engine.realize import plan
from stagedml.store.objects import Store
from stagedml.store.verify import verify
from stagedml.testing import toys


class Made(Observer):
    """What was built and what was adopted, by the names of the stages."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.adopted_: list[str] = []

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self.built.append(dref[38:])

    def adopted(self, dref: str, rref: str, source: str) -> None:
        self.adopted_.append(dref[38:])


class Data(Artifact):
    """Some rows."""

    rows: RefPath
    cased: bool


class Told(Artifact):
    """A text."""

    text: RefPath


@stage(Data, name="data")
def data(
    build: Build, *, note: str = "", content: str = "rows", cased: bool = True, rows: RefPath = output("rows.txt")
) -> None:
    build.path(rows).write_text(content)


@stage(Told, name="told")
def told(build: Build, *, data: Data, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(f"{build.path(data.rows).read_text()} {data.cased}")


@stage(Told, name="retold")
def retold(build: Build, *, data: Told, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(build.path(data.text).read_text() + "!")


def chain(note: str = "", content: str = "rows", cased: bool = True) -> Told:
    return retold(data=told(data=data(note=note, content=content, cased=cased)))


def test_what_is_made_of_the_same_bytes_is_adopted(store: Store) -> None:
    first = realize(instantiate(chain))
    made = Made()
    second = realize(instantiate(chain, "a note that changes no byte"), observer=made)
    assert (made.built, made.adopted_) == (["data"], ["told", "retold"])
    assert second != first
    assert mklens(second).text.contents == mklens(first).text.contents == "rows True!"
    assert mklens(second).text.syspath.samefile(mklens(first).text.syspath)
    assert verify(store).findings == ()
    assert realize(instantiate(chain, "a note that changes no byte"), dry_run=True).builds == ()


def test_other_bytes_are_built_from(store: Store) -> None:
    realize(instantiate(chain))
    made = Made()
    assert mklens(realize(instantiate(chain, content="others"), observer=made)).text.contents == "others True!"
    assert (made.built, made.adopted_) == (["data", "told", "retold"], [])


def test_another_declared_field_beside_the_same_bytes_is_built_from(store: Store) -> None:
    realize(instantiate(chain))
    made = Made()
    assert mklens(realize(instantiate(chain, cased=False), observer=made)).text.contents == "rows False!"
    assert made.built == ["data", "told", "retold"]


def test_the_plan_tells_what_would_be_adopted(store: Store) -> None:
    realize(instantiate(chain))
    drawn = {step.name: step for step in plan(instantiate(chain, "note")).steps}
    assert [step.verdict for step in drawn.values()] == [Verdict.BUILD, Verdict.DEPENDS, Verdict.DEPENDS]
    assert drawn["told"].detail == "on data"
    realize(instantiate(data, note="note"))
    drawn = {step.name: step for step in plan(instantiate(chain, "note")).steps}
    assert [step.verdict for step in drawn.values()] == [Verdict.REUSE, Verdict.ADOPT, Verdict.ADOPT]
    assert drawn["told"].detail == "input data: another data"


def test_nothing_is_adopted_when_forced(store: Store) -> None:
    realize(instantiate(chain))
    made = Made()
    realize(instantiate(chain, "note"), observer=made, force=["told"])
    assert (made.built, made.adopted_) == (["data", "told"], ["retold"])


# -- instances and matchers -------------------------------------------------------------------------------------------


@stage(toys.Text, name="evaluated")
def evaluated(build: Build, *, sample: toys.Sample, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(build.path(sample.number).read_text())


def evaluation(of: int) -> toys.Text:
    return evaluated(sample=redefine(toys.sample, new_matcher=best("accuracy", of=of))())


def test_a_worse_instance_rebuilds_no_evaluation_of_the_best_and_a_better_one_does(store: Store) -> None:
    numbers = [random.Random(derive_seed(0, instance)).random() for instance in range(12)]
    rref = realize(instantiate(evaluation, 1))
    seen = set()
    for count in range(1, 12):
        is_better = numbers[count] > max(numbers[:count])
        made = Made()
        after = realize(instantiate(evaluation, count + 1), observer=made)
        assert made.built == ["sample", *["evaluated"] * is_better]
        assert (after != rref) is is_better
        assert mklens(after).text.contents == repr(max(numbers[: count + 1]))
        rref = after
        seen.add(is_better)
    assert seen == {False, True}


@stage(toys.Sample, name="noted-sample")
def noted_sample(
    build: Build,
    *,
    data: Data,
    number: RefPath = output("number.txt"),
    metrics: RefPath = output("metrics.json"),
) -> None:
    build.path(number).write_text(str(build.seed))
    build.path(metrics).write_text(json.dumps({"accuracy": build.seed}))


def test_each_instance_is_adopted_from_its_own(store: Store) -> None:
    def sampled(note: str) -> toys.Sample:
        return noted_sample(data=data(note=note))

    first = realize_many(instantiate(sampled, "one"), instances=3)
    made = Made()
    second = realize_many(instantiate(sampled, "two"), instances=4, observer=made)
    assert made.adopted_ == ["noted-sample"] * 3
    assert made.built == ["data", "noted-sample"]
    assert [mklens(rref).number.contents for rref in second[:3]] == [mklens(rref).number.contents for rref in first]


@stage(toys.Text, name="told-number")
def told_number(build: Build, *, sample: toys.Sample, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(build.path(sample.number).read_text())


def test_a_plan_that_adopts_several_instances_does_not_say_what_follows(store: Store) -> None:
    """Which of them the matcher takes is known when they are there."""

    def chosen(note: str) -> toys.Text:
        return told_number(sample=redefine(noted_sample, new_matcher=best("accuracy", of=2))(data=data(note=note)))

    realize(instantiate(chosen, "one"))
    realize(instantiate(data, note="two"))
    verdicts = {step.name: step.verdict for step in plan(instantiate(chosen, "two")).steps}
    assert [*verdicts.values()] == [Verdict.REUSE, Verdict.ADOPT, Verdict.DEPENDS]
    made = Made()
    realize(instantiate(chosen, "two"), observer=made)
    assert (made.built, made.adopted_) == ([], ["noted-sample", "noted-sample", "told-number"])


class Joined(Artifact):
    """Texts."""

    text: RefPath


@stage(Joined, name="joined")
def joined(build: Build, *, sample: toys.Sample, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(" ".join(path.read_text() for path in build.paths(sample.number)))


def test_realizations_of_an_input_come_in_the_order_of_their_contents(store: Store) -> None:
    def both(note: str) -> Joined:
        return joined(sample=redefine(noted_sample, new_matcher=latest(3))(data=data(note=note)))

    texts = []
    for number in range(4):  # references are in another order each time
        realize(instantiate(both, str(number)))
        texts.append(mklens(realize(instantiate(both, str(number)), force=["joined"])).text.contents)
    assert len(set(texts)) == 1


# -- what is not adopted ----------------------------------------------------------------------------------------------


@stage(Told, name="spelling")
def spelling(build: Build, *, data: Data, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(str(build.path(data.rows)))


@stage(Told, name="spelling-link")
def spelling_config(build: Build, *, data: Data, text: RefPath = output("text.json")) -> None:
    build.path(text).write_text(json.dumps(build.config))


@stage(Told, name="asking")
def asking(build: Build, *, data: Data, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(mklens(build).data.note.val)


@stage(Told, name="reading-times")
def reading_times(build: Build, *, data: Data, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(str((build.path(data) / "__buildstart__.txt").exists()))


@stage(Told, name="reading-realizations")
def reading_realizations(build: Build, *, data: Data, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(str(len(build.rref(data))))


@stage(Told, name="ordering")
def ordering(build: Build, *, data: Data, other: Data, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text("".join(build.path(one.rows).read_text() for one in sorted([data, other])))


@pytest.mark.parametrize(
    "reader", [spelling, spelling_config, asking, reading_times, reading_realizations], ids=lambda one: one.__name__
)
def test_what_tells_or_reads_more_of_its_input_is_built(store: Store, reader: object) -> None:
    def read(note: str) -> Told:
        made: Told = reader(data=data(note=note))  # type: ignore[operator]
        return made

    texts = []
    for note in ("one", "two"):
        made = Made()
        rref = realize(instantiate(read, note), observer=made)
        assert len(made.built) == 2
        texts.append(mklens(rref).text.syspath.read_text())
    assert "one" not in texts[1]
    assert str(store.layout.root) not in texts[1] or Path(texts[1]).exists()


def test_a_builder_that_orders_its_inputs_by_reference_is_not_adopted(store: Store) -> None:
    def ordered(first: str, second: str) -> Told:
        return ordering(data=data(note=first, content="a"), other=data(note=second, content="b"))

    for note in range(6):
        made = Made()
        realize(instantiate(ordered, f"a{note}", f"b{note}"), observer=made)
        assert "ordering" in made.built


@stage(Told, name="ordering-paths")
def ordering_paths(build: Build, *, inputs: list[Data], text: RefPath = output("text.txt")) -> None:
    paths = sorted(build.path(one.rows) for one in inputs)
    build.path(text).write_text("".join(path.read_text() for path in paths))


@stage(Told, name="ordering-fields")
def ordering_fields(build: Build, *, inputs: list[Data], text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text("".join(build.path(rows).read_text() for rows in sorted(one.rows for one in inputs)))


@stage(Told, name="ordering-config")
def ordering_config(build: Build, *, inputs: list[Data], text: RefPath = output("text.txt")) -> None:
    references = sorted(build.config["inputs"])
    build.path(text).write_text("".join(build.path([one, "rows.txt"]).read_text() for one in references))


@stage(Told, name="asking-input")
def asking_input(build: Build, *, inputs: list[Data], text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text("".join(mklens(one).note.val for one in inputs))


@pytest.mark.parametrize(
    "reader", [ordering_paths, ordering_fields, ordering_config, asking_input], ids=lambda one: one.__name__
)
def test_a_builder_that_asks_for_what_is_behind_a_list_of_inputs_is_not_adopted(store: Store, reader: object) -> None:
    def read(note: int) -> Told:
        made: Told = reader(inputs=[data(note=f"a{note}", content="a"), data(content="b")])  # type: ignore[operator]
        return made

    for note in range(6):
        made = Made()
        realize(instantiate(read, note), observer=made)
        assert len(made.built) == (3 if note == 0 else 2)


class Listed(Artifact):
    """A folder."""

    rows: RefPath


@stage(Told, name="listing")
def listing(build: Build, *, data: Listed, text: RefPath = output("text.txt")) -> None:
    names = [path.name for path in sorted(build.path(data.rows).iterdir())]
    build.path(text).write_text(" ".join(names))


@stage(Listed, name="listed")
def listed(build: Build, *, note: str, rows: RefPath = output("rows")) -> None:
    for name in ("0" * 32, "1" * 31, "b", "a"):
        (build.path(rows) / name).parent.mkdir(exist_ok=True)
        (build.path(rows) / name).write_text("")


def test_ordering_the_files_of_one_input_is_in_nobodys_way(store: Store) -> None:
    def both(note: str) -> Told:
        return listing(data=listed(note=note))

    realize(instantiate(both, "one"))
    made = Made()
    realize(instantiate(both, "two"), observer=made)
    assert made.adopted_ == ["listing"]


@stage(Told, name="naming")
def naming(build: Build, *, inputs: list[Data], text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(" ".join(str(one) for one in inputs))


def test_references_that_changed_places_are_spelt_anew(store: Store) -> None:
    def named(*notes: str) -> Told:
        return naming(inputs=[data(note=note) for note in notes])

    texts = [mklens(realize(instantiate(named, *notes))).text.contents for notes in (("a", "b"), ("b", "a"))]
    assert texts[1].split() == texts[0].split()[::-1]


class Nested(Artifact):
    """What was told of some data, with the data."""

    data: Data
    text: RefPath


@stage(Nested, name="nested")
def nested(build: Build, *, data: Data, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text("the same")


@stage(Told, name="reading-nested")
def reading_nested(build: Build, *, one: Nested, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(f"{build.path(one.data.rows).read_text()} {one.data.cased}")


def test_what_is_read_of_the_input_of_an_input_counts(store: Store) -> None:
    def read(note: str, content: str = "rows", cased: bool = True) -> Told:
        return reading_nested(one=nested(data=data(note=note, content=content, cased=cased)))

    assert mklens(realize(instantiate(read, "one"))).text.contents == "rows True"
    assert mklens(realize(instantiate(read, "one", cased=False))).text.contents == "rows False"
    assert mklens(realize(instantiate(read, "one", "others"))).text.contents == "others True"
    made = Made()
    realize(instantiate(read, "two"), observer=made)
    assert (made.built, made.adopted_) == (["data"], ["nested", "reading-nested"])


@stage(Told, name="pair")
def pair(build: Build, *, inputs: list[Data], text: RefPath = output("text.txt")) -> None:
    together = [build.path(one.rows).read_text() for one in inputs]
    build.path(text).write_text(f"{together} {len(set(inputs))}")


def test_two_inputs_with_the_same_bytes_are_not_one(store: Store) -> None:
    def pairs(notes: Sequence[str]) -> Told:
        return pair(inputs=[data(note=note) for note in notes])

    assert mklens(realize(instantiate(pairs, ["one", "one"]))).text.contents == "['rows', 'rows'] 1"
    assert mklens(realize(instantiate(pairs, ["one", "two"]))).text.contents == "['rows', 'rows'] 2"
    made = Made()
    realize(instantiate(pairs, ["three", "four"]), observer=made)
    assert made.adopted_ == ["pair"]


@stage(Told, name="which")
def which(build: Build, *, inputs: list[Data], text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(str([inputs.index(one) for one in inputs]))


def test_which_of_several_inputs_is_given_twice_is_not_confused(store: Store) -> None:
    def several(notes: str) -> Told:
        return which(inputs=[data(note=note) for note in notes])

    assert mklens(realize(instantiate(several, "aba"))).text.contents == "[0, 1, 0]"
    assert mklens(realize(instantiate(several, "abb"))).text.contents == "[0, 1, 1]"
    assert mklens(realize(instantiate(several, "aab"))).text.contents == "[0, 0, 2]"
    made = Made()
    assert mklens(realize(instantiate(several, "cdc"), observer=made)).text.contents == "[0, 1, 0]"
    assert "which" in made.adopted_


def test_inputs_that_an_edit_upstream_exchanges_are_not_confused(store: Store) -> None:
    def pairs(contents: Sequence[str]) -> Told:
        return pair(inputs=[data(note=str(place), content=content) for place, content in enumerate(contents)])

    assert mklens(realize(instantiate(pairs, ["a", "b"]))).text.contents == "['a', 'b'] 2"
    assert mklens(realize(instantiate(pairs, ["b", "a"]))).text.contents == "['b', 'a'] 2"


def test_damaged_bytes_are_not_adopted(store: Store) -> None:
    rref = realize(instantiate(chain))
    path = mklens(mklens(rref).data.rref).text.syspath
    path.chmod(0o644)
    path.write_text("rows Xrue")
    made = Made()
    second = realize(instantiate(chain, "note"), observer=made)
    assert mklens(second).text.contents == "rows True!"
    assert made.built == ["data", "told"]
    assert {finding.ref for finding in verify(store).findings} == {mklens(rref).data.rref}


def test_what_was_collected_is_built_again(store: Store) -> None:
    for rref in (realize(instantiate(chain)), mklens(realize(instantiate(chain))).data.rref):
        rmref(rref, force=True)
    made = Made()
    realize(instantiate(chain, "note"), observer=made)
    assert made.built == ["data", "told", "retold"]


def test_the_log_and_the_times_of_an_adopted_build_are_those_of_the_build(store: Store) -> None:
    def logged(note: str) -> Told:
        return logging(data=data(note=note))

    first, second = (realize(instantiate(logged, note)) for note in ("one", "two"))
    known = store.metadata(parse_rref(second))
    assert known is not None
    (build,) = known.builds
    assert build.adopted == first
    assert build.published >= build.stopped
    assert (Path(rref2path(second)) / "__log__" / "epochs").read_text() == "3"


@stage(Told, name="logging")
def logging(build: Build, *, data: Data, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text("done")
    (build.log_dir / "epochs").write_text("3")
