"""`bless` and `borrow`: what a person answers for is adopted, recorded, and goes no further than was said."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from stagedml import (
    Artifact,
    Build,
    Policy,
    RefPath,
    RRef,
    best,
    bless,
    borrow,
    gc,
    instantiate,
    mklens,
    output,
    plan,
    realize,
    realize_many,
    redefine,
    rmref,
    rref2dref,
    stage,
    using_store,
    why,
)
from stagedml.core.plan import Verdict
from stagedml.core.reasons import Cause
from stagedml.core.refs import InvalidReference, parse_dref, parse_rref
from stagedml.engine.blessing import CannotBless
from stagedml.engine.events import Observer
from stagedml.engine.turn import CannotBorrow
from stagedml.store import blessings
from stagedml.store.metadata import BuildRecord
from stagedml.store.objects import NotInStore, Store
from stagedml.testing import toys


class Made(Observer):
    """What was built and what was adopted, by the names of the stages."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.adopted_: list[str] = []

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self.built.append(parse_dref(dref).name)

    def adopted(self, dref: str, rref: str, source: str) -> None:
        self.adopted_.append(parse_dref(dref).name)


def shouted(content: str) -> toys.Text:
    return toys.upper(source=toys.text(content=content))


def record(store: Store, rref: str) -> BuildRecord:
    known = store.metadata(parse_rref(rref))
    assert known is not None
    return known.builds[-1]


def made(target: object, **options: object) -> tuple[RRef, Made]:
    observer = Made()
    rref: RRef = realize(target, observer=observer, **options)  # type: ignore[call-overload]
    return rref, observer


# -- bless ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["derivation", "realization"])
def test_what_is_blessed_is_adopted_and_says_who_and_why(store: Store, by: str) -> None:
    old = realize(instantiate(toys.text, content="one"))
    target = instantiate(toys.text, content="two")
    bless(rref2dref(old) if by == "derivation" else old, target, reason="  they mean the same ")
    (step,) = plan(target).steps
    assert (step.verdict, step.cause, step.rrefs) == (Verdict.ADOPT, Cause.BLESSED, (old,))
    rref, observer = made(target)
    assert (observer.built, observer.adopted_) == ([], ["text"])
    assert mklens(rref).text.contents == "one"
    assert mklens(rref).content.val == "two"
    build = record(store, rref)
    assert (build.adopted, build.key) == (old, "")
    (event,) = why(rref).events
    assert event.verdict == "adopted"
    assert str(event.reasons[0]) == (
        f"blessed by {getpass.getuser()} as equal to text {rref2dref(old)[5:11]}: they mean the same"
    )
    assert plan(target).builds == ()


def test_what_rests_on_something_blessed_is_adopted_in_turn(store: Store) -> None:
    realize(instantiate(toys.all_counted, "one"))
    target = instantiate(toys.all_counted, "two")
    bless(realize(instantiate(toys.text, content="one")), instantiate(toys.text, content="two"), reason="alike")
    rref, observer = made(target)
    assert (observer.built, observer.adopted_) == ([], ["text", "upper", "count"])
    assert [event.reasons[0].cause for event in why(rref).events] == [Cause.BLESSED, Cause.INPUT, Cause.INPUT]
    assert made(target)[1].adopted_ == []


def test_a_blessing_in_the_middle_of_a_chain_holds_for_inputs_of_equal_contents(store: Store) -> None:
    old = realize(instantiate(shouted, "one"))

    @stage(toys.Text, name="quiet")
    def quiet(build: Build, *, source: toys.Text, text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text(build.path(source.text).read_text().lower())

    target = instantiate(lambda: quiet(source=toys.text(content="one")))
    bless(old, target, reason="who cares")
    rref, observer = made(target)
    assert (observer.built, observer.adopted_) == ([], ["quiet"])
    assert mklens(rref).text.contents == "ONE"


def test_inputs_that_hold_other_contents_are_built_from_and_the_reason_says_so(store: Store) -> None:
    old = realize(instantiate(shouted, "one"))
    target = instantiate(shouted, "two")
    bless(old, target, reason="alike")
    rref, observer = made(target)
    assert (observer.built, observer.adopted_) == (["text", "upper"], [])
    assert mklens(rref).text.contents == "TWO"
    event = why(rref).events[-1]
    assert (event.verdict, event.reasons[0].cause) == ("built", Cause.INPUT)
    assert (
        str(event.reasons[-1]) == f"blessed as equal to upper {rref2dref(old)[5:11]}, whose inputs hold other contents"
    )


def test_what_is_adopted_by_a_blessing_is_offered_to_nobody_else(store: Store) -> None:
    """The key of `quiet` on "one" is that of the second one too, which nobody blessed."""
    old = realize(instantiate(shouted, "one"))

    @stage(toys.Text, name="quiet")
    def quiet(build: Build, *, source: toys.Text, text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text(build.path(source.text).read_text().lower())

    def over(note: str) -> toys.Text:
        return quiet(source=noted(note=note))

    @stage(toys.Text, name="noted")
    def noted(build: Build, *, note: str, text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text("one")

    bless(old, instantiate(over, "blessed"), reason="alike")
    blessed, first = made(instantiate(over, "blessed"))
    other, second = made(instantiate(over, "not"))
    assert (first.adopted_, second.adopted_) == (["quiet"], [])
    assert second.built == ["noted", "quiet"]
    assert (mklens(blessed).text.contents, mklens(other).text.contents) == ("ONE", "one")
    third = made(instantiate(over, "not either"))  # by the key of what was built
    assert (third[1].adopted_, mklens(third[0]).text.contents) == (["quiet"], "one")


def test_a_blessing_is_of_one_derivation_and_in_one_direction(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    bless(old, instantiate(toys.text, content="two"), reason="alike")
    realize(instantiate(toys.text, content="two"))
    assert made(instantiate(toys.text, content="three"))[1].built == ["text"]
    rmref(old, force=True)
    assert mklens(made(instantiate(toys.text, content="one"))[0]).text.contents == "one"


def test_what_was_adopted_stays_when_the_blessing_is_exchanged(store: Store) -> None:
    olds = [realize(instantiate(toys.text, content=content)) for content in ("one", "other")]
    target = instantiate(toys.text, content="two")
    bless(olds[0], target, reason="first thought")
    rref = realize(target)
    bless(olds[1], target, reason="second thought")
    assert realize(target) == rref
    assert "first thought" in str(why(rref).events[-1].reasons[0])
    rmref(rref, force=True)
    again = realize(target)
    assert mklens(again).text.contents == "other"
    assert "second thought" in str(why(again).events[-1].reasons[0])


def test_nothing_is_adopted_when_forced(store: Store) -> None:
    bless(realize(instantiate(toys.text, content="one")), instantiate(toys.text, content="two"), reason="alike")
    rref, observer = made(instantiate(toys.text, content="two"), force=True)
    assert observer.built == ["text"]
    assert mklens(rref).text.contents == "two"


def test_of_instances_those_that_are_there_are_adopted_each_from_its_own(store: Store) -> None:
    first = realize_many(instantiate(toys.sample, seed=1), instances=2)
    target = instantiate(toys.sample, seed=2)
    bless(first[0], target, reason="alike")
    observer = Made()
    second = realize_many(target, instances=3, observer=observer)
    assert (observer.built, observer.adopted_) == (["sample"], ["sample"] * 2)
    assert [record(store, rref).adopted for rref in second] == [*first, ""]
    assert [mklens(rref).number.contents for rref in second[:2]] == [mklens(rref).number.contents for rref in first]
    assert record(store, second[2]).instance == 2


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_a_blessing_without_a_reason_is_refused(store: Store, reason: str) -> None:
    old = realize(instantiate(toys.text, content="one"))
    with pytest.raises(CannotBless, match="give a reason"):
        bless(old, instantiate(toys.text, content="two"), reason=reason)
    assert made(instantiate(toys.text, content="two"))[1].built == ["text"]


def test_what_cannot_be_blessed_says_why(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    with pytest.raises(CannotBless, match="one and the same"):
        bless(old, instantiate(toys.text, content="one"), reason="alike")
    with pytest.raises(CannotBless, match="no realization in this store"):
        bless(
            str(instantiate(toys.text, content="three").result), instantiate(toys.text, content="two"), reason="alike"
        )
    with pytest.raises(CannotBless, match="it is no reference"):
        bless("text", instantiate(toys.text, content="two"), reason="alike")
    with pytest.raises(CannotBless, match="no realization in this store"):
        bless(f"rref:{'0' * 32}-{'1' * 32}-text", instantiate(toys.text, content="two"), reason="alike")


def test_a_blessing_that_cannot_be_read_is_none(store: Store) -> None:
    target = instantiate(toys.text, content="two")
    bless(realize(instantiate(toys.text, content="one")), target, reason="alike")
    place = store.layout.blessing(parse_dref(str(target.result)))
    for text in ("", "[]", "{}", '{"old": 1}', json.dumps({"old": [], "new": 1, "reason": "", "user": "", "when": 0})):
        place.write_text(text)
        assert plan(target).steps[0].verdict is Verdict.BUILD
    place.write_bytes(b"\xff")
    assert made(target)[1].built == ["text"]


def test_a_blessing_does_not_stand_for_a_file_that_was_copied_to_another_name(store: Store) -> None:
    target, other = (instantiate(toys.text, content=content) for content in ("two", "three"))
    bless(realize(instantiate(toys.text, content="one")), target, reason="alike")
    text = store.layout.blessing(parse_dref(str(target.result))).read_text()
    store.layout.blessing(parse_dref(str(other.result))).write_text(text)
    assert made(other)[1].built == ["text"]


def test_collection_forgets_blessings_of_what_is_gone(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"), link="kept")
    realized, pending = (instantiate(toys.text, content=content) for content in ("two", "three"))
    for target in (realized, pending):
        bless(old, target, reason="alike")
    rref = realize(realized, link="too")
    store.claims.forget()
    gc(force=True, policy=Policy(grace_s=0))
    refs = [parse_dref(str(target.result)) for target in (realized, pending)]
    assert [blessings.blessing_of(store, ref) is not None for ref in refs] == [True, False]
    assert "alike" in str(why(rref).events[-1].reasons[0])


def test_a_blessing_by_what_was_collected_builds(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    target = instantiate(toys.text, content="two")
    bless(old, target, reason="alike")
    rmref(old, force=True)
    rref, observer = made(target)
    assert observer.built == ["text"]
    assert mklens(rref).text.contents == "two"


def test_a_blessing_by_what_was_collected_does_not_blame_inputs(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    target = instantiate(toys.text, content="two")
    bless(old, target, reason="alike")
    rmref(old, force=True)
    assert "whose inputs hold other contents" not in str(why(realize(target)).events[-1].reasons)


def test_damaged_bytes_are_not_adopted_by_a_blessing(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    target = instantiate(toys.text, content="two")
    bless(old, target, reason="alike")
    path = mklens(old).text.syspath
    path.chmod(0o644)
    path.write_text("onE")
    rref, observer = made(target)
    assert observer.built == ["text"]
    assert mklens(rref).text.contents == "two"


# -- borrow -----------------------------------------------------------------------------------------------------------


def test_what_is_borrowed_stands_for_the_target_whatever_it_was_made_from(store: Store) -> None:
    old = realize(instantiate(shouted, "one"))
    target = instantiate(shouted, "two")
    observer = Made()
    rref = borrow(old, target, reason="for a trial", observer=observer)
    assert (observer.built, observer.adopted_) == (["text"], ["upper"])
    assert mklens(rref).text.contents == "ONE"
    assert rref2dref(rref) == target.result
    assert (record(store, rref).adopted, record(store, rref).key) == (old, "")
    event = why(rref).events[-1]
    assert (event.verdict, event.source) == ("adopted", old)
    says = f"blessed by {getpass.getuser()} as equal to upper {old[5:11]}: for a trial"
    assert str(event.reasons[0]) == says
    assert realize(target) == rref


def test_what_is_borrowed_is_offered_to_nobody_else(store: Store) -> None:
    old = realize(instantiate(shouted, "one"))
    borrow(old, instantiate(shouted, "two"), reason="for a trial")

    def over(content: str) -> toys.Text:
        return toys.upper(source=retold(source=toys.text(content=content)))

    @stage(toys.Text, name="retold")
    def retold(build: Build, *, source: toys.Text, text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text(build.path(source.text).read_text())

    assert mklens(made(instantiate(over, "two"))[0]).text.contents == "TWO"


def test_a_target_that_is_there_stays_as_it_is(store: Store) -> None:
    old = realize(instantiate(shouted, "one"))
    target = instantiate(shouted, "two")
    there = realize(target)
    said = why(there)
    observer = Made()
    assert borrow(old, target, reason="for a trial", observer=observer) == there
    assert (observer.built, observer.adopted_) == ([], [])
    assert mklens(there).text.contents == "TWO"
    assert why(there) == said


def test_what_rests_on_something_borrowed_is_built_from_it(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    borrow(old, instantiate(toys.text, content="two"), reason="for a trial")
    rref, observer = made(instantiate(shouted, "two"))
    assert observer.built == ["upper"]
    assert mklens(rref).text.contents == "ONE"
    assert "for a trial" in str(why(rref).blessed[0].reasons[0])


class Named(Artifact):
    """A text that goes by another name."""

    heading: RefPath


@stage(Named, name="named")
def named(build: Build, *, heading: RefPath = output("title.txt"), more: RefPath = output("more.txt")) -> None:
    build.path(heading).write_text("title")
    build.path(more).write_text("more")


@stage(toys.Text, name="spelling")
def spelling(build: Build, *, source: toys.Text, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(str(build.path(source.text)))


def spelt(content: str) -> toys.Text:
    return spelling(source=toys.text(content=content))


def test_what_lacks_a_promised_file_cannot_be_borrowed(store: Store) -> None:
    old = realize(instantiate(toys.text))
    with pytest.raises(
        CannotBless, match=r"it has no title\.txt, more\.txt, which the stage promises|more\.txt, title"
    ):
        borrow(old, instantiate(named), reason="for a trial")
    assert store.realizations(parse_dref(str(instantiate(named).result))) == []


def test_what_spells_where_it_comes_from_cannot_be_borrowed(store: Store) -> None:
    old = realize(instantiate(spelt, "one"))
    target = instantiate(spelt, "two")
    with pytest.raises(CannotBorrow, match=r"text\.txt spells") as error:
        borrow(old, target, reason="for a trial")
    assert (error.value.source, error.value.path) == (old, "text.txt")
    assert store.realizations(parse_dref(str(target.result))) == []


def test_what_cannot_be_borrowed_says_why(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    target = instantiate(toys.text, content="two")
    with pytest.raises(CannotBless, match="give a reason"):
        borrow(old, target, reason=" ")
    with pytest.raises(InvalidReference, match="is not a reference"):
        borrow(rref2dref(old), target, reason="for a trial")
    with pytest.raises(NotInStore):
        borrow(f"rref:{'0' * 32}-{old[38:]}", target, reason="for a trial")
    with pytest.raises(CannotBless, match="it is one of its realizations"):
        borrow(
            old,
            instantiate(toys.text, content="one"),
            reason="for a trial",
        )
    assert store.realizations(parse_dref(str(target.result))) == []


def test_what_lost_its_record_cannot_be_borrowed(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    store.layout.metadata_of(parse_rref(old)).unlink()
    with pytest.raises(CannotBless, match="nothing is recorded of it"):
        borrow(old, instantiate(toys.text, content="two"), reason="for a trial")


def test_what_lacks_a_file_that_it_had_cannot_be_borrowed(store: Store) -> None:
    old = realize(instantiate(named))
    folder = store.path(parse_rref(old))
    folder.chmod(0o755)
    (folder / "more.txt").unlink()

    @stage(Named, name="less")
    def less(build: Build, *, heading: RefPath = output("title.txt")) -> None:
        build.path(heading).write_text("other")

    with pytest.raises(CannotBless, match="it is damaged"):
        borrow(old, instantiate(less), reason="for a trial")


def test_what_is_damaged_cannot_be_borrowed(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    path = mklens(old).text.syspath
    path.chmod(0o644)
    path.write_text("onE")
    with pytest.raises(CannotBless, match="it is damaged"):
        borrow(old, instantiate(toys.text, content="two"), reason="for a trial")


def test_a_target_of_several_instances_cannot_be_borrowed_for(store: Store) -> None:
    old = realize(instantiate(toys.sample, seed=1))
    target = instantiate(redefine(toys.sample, new_matcher=best("accuracy", of=3)), seed=2)
    with pytest.raises(CannotBless, match="wants 3 instances"):
        borrow(old, target, reason="for a trial")


class Other(Artifact):
    """A file under another name."""

    other: RefPath


@stage(Other, name="other")
def other_file(build: Build, *, other: RefPath = output("other.txt")) -> None:
    build.path(other).write_text("other")


def test_what_lacks_a_promised_file_is_not_blessed(store: Store) -> None:
    old = realize(instantiate(toys.text))
    with pytest.raises(CannotBless, match=r"it has no other\.txt, which the stage promises"):
        bless(old, instantiate(other_file), reason="they are the same")


class Difference(Artifact):
    """What is in one and not in the other."""

    text: RefPath


@stage(Difference, name="difference")
def difference(
    build: Build, *, one: toys.Text, two: toys.Text, note: str = "", text: RefPath = output("text.txt")
) -> None:
    build.path(text).write_text(f"{build.path(one.text).read_text()}-{build.path(two.text).read_text()}")


def test_inputs_that_are_exchanged_do_not_hold_the_same_contents(store: Store) -> None:
    def of(one: str, two: str, note: str = "") -> Difference:
        return difference(one=toys.text(content=one), two=toys.text(content=two), note=note)

    old = realize(instantiate(of, "a", "b"))
    bless(old, instantiate(of, "b", "a"), reason="a try")
    assert mklens(realize(instantiate(of, "b", "a"))).text.contents == "b-a"
    bless(old, instantiate(of, "a", "b", "note"), reason="only a note")
    blessed = realize(instantiate(of, "a", "b", "note"))
    known = store.metadata(parse_rref(blessed))
    assert known is not None
    assert known.builds[-1].adopted == old


def test_inputs_of_which_no_contents_are_known_are_not_the_same(store: Store) -> None:
    def shouted(content: str, note: str) -> Difference:
        return difference(one=toys.text(content=content), two=toys.text(content="b"), note=note)

    old = realize(instantiate(shouted, "a", ""))
    new = realize(instantiate(toys.text, content="c"))
    bless(old, instantiate(shouted, "c", "note"), reason="a try")
    for rref in (mklens(old).one.rref, new):
        store.layout.metadata_of(parse_rref(rref)).unlink()
    with using_store(Store(store.layout)):
        assert mklens(realize(instantiate(shouted, "c", "note"))).text.contents == "c-b"


@pytest.mark.parametrize("reason", [None, 3, "", " \n"])
def test_a_reason_is_a_text(store: Store, reason: Any) -> None:
    old = realize(instantiate(toys.text))
    with pytest.raises(CannotBless, match="give a reason"):
        bless(old, instantiate(toys.text, content="new"), reason=reason)
    with pytest.raises(CannotBless, match="give a reason"):
        borrow(old, instantiate(toys.text, content="new"), reason=reason)
