"""`why`, `diff` and `bless`: what they print, as text and as JSON, and what they say to bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stagedml import Build, RefPath, instantiate, output, realize, rref2dref, stage, using_store
from stagedml.cli.main import EXIT_FAILED, EXIT_USAGE, main
from stagedml.cli.why import diff_lines, why_lines
from stagedml.core.reasons import Cause, Reason
from stagedml.core.refs import parse_rref
from stagedml.inspection.compare import Changed, ChangedCode, Comparison
from stagedml.inspection.why import Event, Why
from stagedml.settings import read_settings
from stagedml.store.objects import Store
from stagedml.testing import toys

TOYS = "stagedml.testing.toys:all_counted"
TEXT = "stagedml.testing.toys:text"
SAMPLE = "stagedml.testing.toys:sample"


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def made(capsys: pytest.CaptureFixture[str], root: str, *arguments: str) -> str:
    """The reference of what is realized."""
    return run(capsys, "realize", "--root", root, *arguments)[1].splitlines()[0]


def words_of(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


# -- why --------------------------------------------------------------------------------------------------------------


def test_why_tells_what_led_to_a_realization_the_target_last(capsys: pytest.CaptureFixture[str], root: str) -> None:
    first = made(capsys, root, TOYS, "one")
    rref = made(capsys, root, TOYS, "two")
    code, out, err = run(capsys, "why", "--root", root, rref)
    head, text, upper, count, since = out.splitlines()
    assert (code, err) == (0, "")
    assert head.split() == ["STAGE", "HASH", "WHEN", "WHY"]
    assert words_of(text)[:2] + words_of(text)[3:] == ["built", "text", "just now", 'content "one" -> "two"']
    assert words_of(upper)[-1] == "input source: another text"
    assert words_of(count) == ["built", "count", rref[5:11], "just now", "input source: another upper"]
    assert since == f"compared with count {first[5:17]}"
    assert len({line.index("  ", line.index("now") if "now" in line else 0) for line in (text, upper, count)}) == 1


def test_why_tells_what_would_be_built_of_a_stage_and_its_arguments(
    capsys: pytest.CaptureFixture[str], root: str
) -> None:
    made(capsys, root, TOYS, "one")
    code, out, _ = run(capsys, "why", "--root", root, TOYS, "content=two")
    head, text, upper, count, _ = out.splitlines()
    assert code == 0
    assert head.split() == ["STAGE", "HASH", "TAKES", "WHY"]
    assert [words_of(line)[0] for line in (text, upper, count)] == ["build", "depends", "depends"]
    assert words_of(text)[-1] == 'content "one" -> "two"'
    assert run(capsys, "ls", "--root", root, "--json")[1].count("rref:") == 3


def test_of_a_stage_that_is_there_why_says_that_nothing_would_be_built(
    capsys: pytest.CaptureFixture[str], root: str
) -> None:
    rref = made(capsys, root, TOYS)
    code, out, err = run(capsys, "why", "--root", root, TOYS)
    assert (code, err) == (0, "nothing would be built; what is there was made so:\n")
    assert out.splitlines()[1:] == [f"built  count  {rref[5:11]}  just now  first build"]


@pytest.mark.parametrize("spelling", ["rref", "hash", "dref", "name"])
def test_why_takes_what_show_takes(capsys: pytest.CaptureFixture[str], root: str, spelling: str) -> None:
    rref = made(capsys, root, TOYS)
    text = {"rref": rref, "hash": rref[5:13], "dref": rref2dref(rref), "name": "count"}[spelling]
    assert run(capsys, "why", "--root", root, text)[1].splitlines()[1:] == [
        f"built  count  {rref[5:11]}  just now  first build"
    ]


def test_json_of_why_holds_every_event(capsys: pytest.CaptureFixture[str], root: str) -> None:
    first = made(capsys, root, TOYS, "one")
    rref = made(capsys, root, TOYS, "two")
    _, out, _ = run(capsys, "why", "--root", root, rref, "--json")
    document = json.loads(out)
    assert document["target"] == rref
    assert [event["name"] for event in document["events"]] == ["text", "upper", "count"]
    assert document["events"][0]["reasons"] == [
        {"cause": "config field", "subject": "content", "before": '"one"', "after": '"two"'}
    ]
    assert document["events"][-1]["since"] == first
    _, out, _ = run(capsys, "why", "--root", root, TOYS, "three", "--json")
    assert [event["verdict"] for event in json.loads(out)["events"]] == ["build", "depends", "depends"]


def test_what_was_adopted_says_from_what(capsys: pytest.CaptureFixture[str], root: str) -> None:
    first = made(capsys, root, TOYS, "one")
    rref = made(capsys, root, TOYS, "ONE")
    lines = run(capsys, "why", "--root", root, rref)[1].splitlines()
    assert [words_of(line)[0] for line in lines[1:4]] == ["built", "built", "adopted"]
    assert lines[4:] == [f"adopted from count {first[5:17]}"]


def test_a_long_chain_stays_on_one_screen(capsys: pytest.CaptureFixture[str], root: str) -> None:
    store = Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))

    def chain(first: str) -> toys.Text:
        text = toys.text(content=first)
        for _ in range(60):
            text = toys.upper(source=text)
        return text

    with using_store(store):
        for first in ("one", "two"):
            rref = realize(instantiate(chain, first))
    _, out, _ = run(capsys, "why", "--root", root, rref)
    lines = out.splitlines()
    assert len(lines) <= 24
    assert 'content "one" -> "two"' in lines[1]
    (target,) = (line for line in lines if rref[5:11] in line)
    assert lines.index(target) >= len(lines) - 3
    (left_out,) = (line for line in lines if line.startswith("..."))
    told = sum(line.startswith(("built ", "adopted  ")) for line in lines)
    assert left_out == f"... {61 - told} events more, --json has them all"
    assert len(json.loads(run(capsys, "why", "--root", root, rref, "--json")[1])["events"]) == 61


REF = f"rref:{'a' * 32}-{'b' * 32}-stage"


def event(name: str = "stage", *reasons: Reason) -> Event:
    return Event(name, REF, "built", reasons, when=0.0)


def lines_of(*events: Event) -> list[str]:
    return why_lines(Why(REF, events))


def test_many_and_long_reasons_are_wrapped_below_each_other() -> None:
    reasons = [Reason(Cause.CONFIG, f"parameter_{number}", f"{number}", "0") for number in range(30)]
    lines = lines_of(event("stage", *reasons))
    assert max(map(len, lines)) <= 110
    assert len(lines) < 10
    assert lines[-1].endswith("and 22 more")
    column = lines[0].index("WHY")
    assert all(line[:column].strip() == "" and line[column] != " " for line in lines[2:])
    words = "because " * 60
    lines = lines_of(event("stage", Reason(Cause.BLESSED, words)))
    assert " ".join(line[lines[0].index("WHY") :] for line in lines[1:]).split() == words.split()


def test_long_names_leave_room_for_the_reason() -> None:
    lines = lines_of(event("n" * 200, Reason(Cause.CONFIG, "seed", "1", "2")))
    assert max(map(len, lines)) <= 120
    assert "..." in lines[1]
    assert lines[1].endswith("seed 1 -> 2")


@pytest.mark.parametrize("odd", ["\x1b[31mred", "two\nlines", "\udcff", "tab\tbed", "äöü"])
def test_odd_characters_reach_no_terminal(odd: str) -> None:
    (line,) = lines_of(event("stage", Reason(Cause.CONFIG, "text", "", odd)))[1:]
    assert line.isprintable()
    found = Comparison(
        REF, REF.replace("a", "c", 1), False, (Changed(odd, odd, None),), (ChangedCode(odd, odd, (f"+{odd}",)),),
        True, True, (Changed(odd, None, odd),), (), (Changed(odd, 1, 2),), (Changed(odd, 1, None),),
    )  # fmt: skip
    assert all(line.isprintable() for line in diff_lines(found))


def test_of_what_no_record_is_left_why_says_so(capsys: pytest.CaptureFixture[str], root: str) -> None:
    rref = made(capsys, root, TEXT)
    store = Store.open(read_settings(root=root), create=False)
    store.layout.metadata_of(parse_rref(rref)).unlink()
    assert "nothing is recorded of it" in run(capsys, "why", "--root", root, rref)[1]


# -- diff -------------------------------------------------------------------------------------------------------------


def test_diff_prints_what_differs_and_nothing_else(capsys: pytest.CaptureFixture[str], root: str) -> None:
    first = made(capsys, root, SAMPLE, "seed=1")
    second = made(capsys, root, SAMPLE, "seed=2")
    code, out, err = run(capsys, "diff", "--root", root, first, second)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[:2] == [f"- {first}", f"+ {second}"]
    assert lines[2:5] == ["", "config", "  seed  1  ->  2"]
    assert [line for line in lines if line and not line.startswith((" ", "-", "+"))] == [
        "config",
        "metrics",
        "files (bytes)",
    ]
    assert any(line.split()[0] == "accuracy" for line in lines[6:])


def test_what_was_forced_is_compared_with_what_was_there_before(capsys: pytest.CaptureFixture[str], root: str) -> None:
    first = made(capsys, root, "cli.failing:lasting", "rate=1")
    rref = made(capsys, root, "cli.failing:lasting", "rate=2")
    assert made(capsys, root, "cli.failing:lasting", "rate=2", "--force") == rref
    code, out, err = run(capsys, "why", "--root", root, rref)
    assert (code, err) == (0, "")
    _, built, again, compared = out.splitlines()
    assert built.split()[:3] == again.split()[:3] == ["built", "lasting", rref[5:11]]
    assert built.endswith("rate 1.0 -> 2.0")
    assert again.endswith("forced, the same bytes again")
    assert compared == f"compared with lasting {first[5:17]}"


def test_of_histories_how_they_end_is_shown(capsys: pytest.CaptureFixture[str], root: str) -> None:
    refs = [made(capsys, root, "cli.failing:lasting", f"rate={rate}", f"epochs={n}") for rate, n in ((1, 40), (2, 50))]
    out = run(capsys, "show", "--root", root, refs[0])[1]
    assert "  f1: 0.25, 0.125\n  history.loss: 40 values, last 0.025\n" in out
    assert "  ... of long lists the last number; `stagedml plot` draws histories, --json has all\n" in out
    assert "[" not in out
    out = run(capsys, "diff", "--root", root, *refs)[1]
    metrics = out.partition("metrics\n")[2].partition("\n\n")[0]
    assert [line.split() for line in metrics.splitlines()[:-1]] == [
        ["accuracy", "0.5", "->", "1.0"],
        ["f1[0]", "0.25", "->", "0.5"],
        ["f1[1]", "0.125", "->", "0.25"],
        ["history.loss,", "last", "0.025", "->", "0.04"],
    ]
    assert "last number" in metrics.splitlines()[-1]
    found = json.loads(run(capsys, "diff", "--root", root, "--json", *refs)[1])
    assert len(found["metrics"]) == 53


def test_diff_of_one_and_the_same_says_so(capsys: pytest.CaptureFixture[str], root: str) -> None:
    rref = made(capsys, root, TEXT)
    assert run(capsys, "diff", "--root", root, rref, "text") == (0, f"- {rref}\n+ {rref}\none and the same\n", "")


def test_json_of_diff_holds_every_section(capsys: pytest.CaptureFixture[str], root: str) -> None:
    first, second = (made(capsys, root, TOYS, content) for content in ("one", "ONE"))
    document = json.loads(run(capsys, "diff", "--root", root, first, second, "--json")[1])
    assert set(document) == {
        "old", "new", "same_contents", "config", "code", "code_known", "code_differs", "packages", "inputs", "metrics",
        "files",
    }  # fmt: skip
    assert document["same_contents"] is True
    assert [(one["name"], one["same_contents"]) for one in document["inputs"]] == [("upper", True)]


def test_diff_shows_the_source_that_changed(capsys: pytest.CaptureFixture[str], root: str) -> None:
    def edition(number: int) -> Any:
        if number == 1:

            @stage(toys.Text, name="edition")
            def one(build: Build, *, text: RefPath = output("text.txt")) -> None:
                build.path(text).write_text("one")

            return one

        @stage(toys.Text, name="edition")
        def two(build: Build, *, text: RefPath = output("text.txt")) -> None:
            build.path(text).write_text("two")

        return two

    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))):
        first, second = (realize(instantiate(edition(number))) for number in (1, 2))
    lines = run(capsys, "diff", "--root", root, first, second)[1].splitlines()
    assert "code" in lines
    assert any(line.startswith("    -") and 'write_text("one")' in line for line in lines)
    assert any(line.startswith("    +") and 'write_text("two")' in line for line in lines)


def test_of_very_many_differences_a_screen_is_shown() -> None:
    changes = tuple(Changed(f"name{number}", number, 0) for number in range(1000))
    found = Comparison("a", "b", False, changes, (), True, False, (), (), changes, changes)
    lines = list(diff_lines(found))
    assert len(lines) < 110
    assert lines.count("  ... 970 more, --json has them all") == 3


# -- bless ------------------------------------------------------------------------------------------------------------


def test_bless_lets_the_next_realize_adopt_and_why_say_so(capsys: pytest.CaptureFixture[str], root: str) -> None:
    old = made(capsys, root, TEXT, "content=one")
    code, out, err = run(capsys, "bless", "--root", root, old, TEXT, "content=two", "--reason", "they mean the same")
    dref = out.strip()
    assert code == 0
    assert dref.startswith("dref:")
    assert rref2dref(old) in err
    planned = run(capsys, "why", "--root", root, TEXT, "content=two")[1]
    rref = made(capsys, root, TEXT, "content=two")
    assert rref2dref(rref) == dref
    told = run(capsys, "why", "--root", root, rref)[1]
    for lines in (planned.splitlines(), told.splitlines()):
        assert lines[1].split()[0] in ("adopt", "adopted")
        assert "they mean the same" in " ".join(" ".join(lines[1:-1]).split())
        assert lines[-1] == f"adopted from text {old[5:17]}"


def test_what_rests_on_something_blessed_says_so_at_the_end(capsys: pytest.CaptureFixture[str], root: str) -> None:
    old = made(capsys, root, TEXT, "content=one")
    run(capsys, "bless", "--root", root, old, TEXT, "content=two", "--reason", "they mean the same")
    rref = made(capsys, root, TOYS, "two")
    *_, last = run(capsys, "why", "--root", root, rref)[1].splitlines()
    assert last.startswith("rests on text ")
    assert last.endswith("they mean the same")


def test_json_of_bless_names_both(capsys: pytest.CaptureFixture[str], root: str) -> None:
    old = made(capsys, root, TEXT, "content=one")
    arguments = ("--root", root, "text", TEXT, "content=two", "--reason", "alike", "--json")
    code, out, err = run(capsys, "bless", *arguments)
    assert (code, err) == (0, "")
    assert json.loads(out)["old"] == rref2dref(old)
    assert json.loads(out)["new"].endswith("-text")


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["why", "nothing"], EXIT_FAILED, "nothing is not in the store"),
        (["why", f"rref:{'0' * 32}-{'1' * 32}-text"], EXIT_FAILED, "is not in the store"),
        (["why", f"dref:{'1' * 32}-text"], EXIT_FAILED, "is not in the store"),
        (["why", "rref:1"], EXIT_FAILED, "give at least 4 characters"),
        (["why", "stagedml.testing.toys:nothing"], EXIT_USAGE, "has no stage 'nothing'"),
        (["why", "text", "content=one"], EXIT_USAGE, "so it takes no arguments"),
        (["why", TOYS, "one", "two"], EXIT_USAGE, "too many positional arguments"),
        (["why", SAMPLE, "seed=five"], EXIT_USAGE, "seed: wanted int, got 'five'"),
        (["diff", "text", "nothing"], EXIT_FAILED, "nothing is not in the store"),
        (["diff", "nothing", "text"], EXIT_FAILED, "nothing is not in the store"),
        (["diff", "text", "abc"], EXIT_FAILED, "give at least 4 characters"),
        (["bless", "nothing", TEXT, "--reason", "alike"], EXIT_FAILED, "nothing is not in the store"),
        (["bless", f"dref:{'1' * 32}-text", TEXT, "--reason", "alike"], EXIT_FAILED, "is not in the store"),
        (["bless", "text", TEXT, "--reason", " "], EXIT_USAGE, "give a reason"),
        (["bless", "text", TEXT, "--reason", "alike"], EXIT_USAGE, "one and the same"),
        (["bless", "text", "no.such:stage", "--reason", "alike"], EXIT_USAGE, "there is no module 'no'"),
        (["bless", "text", TEXT, "contents=x", "--reason", "alike"], EXIT_USAGE, "contents"),
    ],
)
def test_bad_input_names_what_is_wrong(
    capsys: pytest.CaptureFixture[str], root: str, arguments: list[str], code: int, says: str
) -> None:
    made(capsys, root, TEXT)
    got, out, err = run(capsys, arguments[0], "--root", root, *arguments[1:])
    assert (got, out) == (code, "")
    assert says in err
    assert err.startswith("stagedml: ")


@pytest.mark.parametrize("verb", ["why", "diff", "bless"])
def test_an_ambiguous_reference_lists_what_it_may_mean(
    capsys: pytest.CaptureFixture[str], root: str, verb: str
) -> None:
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))):
        rrefs = {realize(instantiate(toys.sample, constant=True, seed=seed)) for seed in (1, 2)}
    (start,) = {rref[5:37] for rref in rrefs}
    more = {"why": [], "diff": ["sample"], "bless": [TEXT, "--reason", "alike"]}[verb]
    code, out, err = run(capsys, verb, "--root", root, start[:8], *more)
    assert (code, out) == (EXIT_USAGE, "")
    assert all(rref in err for rref in rrefs)


@pytest.mark.parametrize(
    ("arguments", "wants"), [(["diff", "text"], "NEW"), (["why"], "REF"), (["bless", "text", TEXT], "--reason")]
)
def test_what_is_left_out_is_asked_for(capsys: pytest.CaptureFixture[str], arguments: list[str], wants: str) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == EXIT_USAGE
    assert wants in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["why", "text"], ["diff", "text", "text"]])
def test_asking_makes_no_store(capsys: pytest.CaptureFixture[str], root: str, arguments: list[str]) -> None:
    code, _, err = run(capsys, arguments[0], "--root", root, *arguments[1:])
    assert code == EXIT_FAILED
    assert root in err
    assert not Path(root).exists()


def test_a_choice_among_realizations_is_no_module(capsys: pytest.CaptureFixture[str], root: str) -> None:
    run(capsys, "realize", "--root", root, "stagedml.testing.toys:sample")
    code, out, err = run(capsys, "why", "--root", root, "sample@lowest:loss")
    assert (code, err) == (0, "")
    assert "first build" in out
