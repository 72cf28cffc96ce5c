"""Every verb: its text, its JSON against its schema, its exit codes, and what it says to bad input of three kinds."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest

from cli.conftest import Run
from stagedml.cli.arguments import parser
from stagedml.cli.main import EXIT_FAILED, EXIT_USAGE
from stagedml.cli.schema import schema, views

TOYS = "stagedml.testing.toys:"
TEXT, COUNTED, SAMPLE = f"{TOYS}text", f"{TOYS}all_counted", f"{TOYS}sample"
TRAINED = "inspection.trainings:all_trained"
FAILING = "cli.failing:failing"
GONE = f"rref:{'0' * 32}-{'1' * 32}-gone"


class Bad(NamedTuple):
    """Arguments that are wrong, the exit code, and what is said."""

    arguments: list[str]
    code: int
    told: str


class Verb(NamedTuple):
    """Arguments that are right, what their text holds, and wrong ones."""

    arguments: list[str]
    text: str
    bad: list[Bad]
    code: int = 0


BAD_REFS = [
    Bad(["gone"], EXIT_FAILED, "gone is not in the store"),
    Bad(["go"], EXIT_FAILED, "go is not in the store"),
    Bad(["text@word"], EXIT_USAGE, "after a name goes @latest, @best"),
    Bad(["coutn"], EXIT_FAILED, "did you mean count"),
    Bad([GONE], EXIT_FAILED, "is not in the store"),
]
BAD_STAGES = [
    Bad(["no_such_stage"], EXIT_USAGE, "has no stage 'no_such_stage'"),
    Bad(["no.module:stage"], EXIT_USAGE, "there is no module 'no'"),
    Bad([COUNTED, "contents=x"], EXIT_USAGE, "did you mean content"),
]
VERBS = {
    "bless": Verb(
        ["text", TEXT, "content=blessed", "--reason", "alike"],
        "dref:",
        [
            Bad(["gone", TEXT, "--reason", "x"], EXIT_FAILED, "gone is not in the store"),
            Bad([f"dref:{'0' * 32}-gone", TEXT, "--reason", "x"], EXIT_FAILED, "is not in the store"),
            Bad(["text", TEXT, "--reason", " "], EXIT_USAGE, "give a reason"),
            Bad(["text", TEXT], EXIT_USAGE, "required: --reason"),
        ],
    ),
    "cat": Verb(
        ["count", "counts"],
        '"W": 1',
        [
            Bad(["count", "no.txt"], EXIT_USAGE, "there is no such file; there are: "),
            Bad(["count", "../x"], EXIT_USAGE, "without `..`"),
            Bad(["count", "result"], EXIT_USAGE, "is no single file; there are: counts.json"),
        ],
    ),
    "check": Verb(
        [TEXT, "content=w"], "identical", [*BAD_STAGES[:2], Bad([TEXT, "--times", "0"], EXIT_USAGE, "at least 1")]
    ),
    "completion": Verb(
        ["bash"],
        "complete -o",
        [
            Bad(["tcsh"], EXIT_USAGE, "invalid choice: 'tcsh'"),
            Bad([], EXIT_USAGE, "required: shell"),
            Bad(["bash", "--json"], EXIT_USAGE, "unrecognized arguments: --json"),
        ],
    ),
    "config": Verb(
        [],
        "--root",
        [
            Bad(["--jsn"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["more"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["--root"], EXIT_USAGE, "expected one argument"),
        ],
    ),
    "copy": Verb(
        ["text", "--to", "other"],
        "rref:",
        [
            Bad(["gone", "--to", "other"], EXIT_FAILED, "gone is not in the store"),
            Bad(["text"], EXIT_USAGE, "required: --to"),
            Bad(["text", "--to", ""], EXIT_USAGE, "--to: give the folder"),
        ],
    ),
    "dedup": Verb(
        ["--dry-run"],
        "would be linked",
        [
            Bad(["--smallest", "x"], EXIT_USAGE, "'x' is no size"),
            Bad(["more"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["--dry"], EXIT_USAGE, "unrecognized arguments"),
        ],
    ),
    "diff": Verb(
        ["count~1", "count"],
        "+ rref:",
        [
            Bad(["count", "gone"], EXIT_FAILED, "gone is not in the store"),
            Bad(["count"], EXIT_USAGE, "required: NEW"),
            Bad(["count~9", "count"], EXIT_FAILED, "count~1 is the first"),
        ],
    ),
    "doctor": Verb(
        [],
        "realizations in",
        [
            Bad(["--jsn"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["more"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["--root"], EXIT_USAGE, "expected one argument"),
        ],
    ),
    "du": Verb([], "TOTAL", BAD_REFS),
    "export": Verb(
        ["text", "-o", "text.tar"],
        "",
        [
            Bad(["gone", "-o", "x.tar"], EXIT_FAILED, "gone is not in the store"),
            Bad(["text", "-o", "no/folder/x.tar"], EXIT_USAGE, "cannot be written"),
            Bad([], EXIT_USAGE, "required: REF"),
        ],
    ),
    "gc": Verb(
        [],
        "kept",
        [
            Bad(["--grace", "soon"], EXIT_USAGE, "'soon' is no length of time"),
            Bad(["--keep", "dref:0000"], EXIT_FAILED, "dref:0000 is not in the store"),
            Bad(["--max-size", "much"], EXIT_USAGE, "'much' is no size"),
            Bad(["--keep-best", ":3"], EXIT_USAGE, "give METRIC or METRIC:N"),
        ],
    ),
    "help": Verb(
        ["roots", "add"],
        "usage: stagedml roots add ",
        [
            Bad(["lss"], EXIT_USAGE, "did you mean ls"),
            Bad(["roots", "ad"], EXIT_USAGE, "invalid choice: 'ad'"),
            Bad(["--json"], EXIT_USAGE, "unrecognized arguments"),
        ],
    ),
    "import": Verb(
        ["text.tar"],
        "rref:",
        [
            Bad(["no.tar"], EXIT_USAGE, "cannot be read"),
            Bad(["notes.txt"], EXIT_FAILED, "archive"),
            Bad(["text.tar", "more"], EXIT_USAGE, "unrecognized arguments"),
        ],
    ),
    "init": Verb(
        [],
        "a store in",
        [
            Bad(["notes.txt"], EXIT_FAILED, "cannot be used"),
            Bad(["a", "b"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["--jsn"], EXIT_USAGE, "unrecognized arguments"),
        ],
    ),
    "log": Verb(
        ["count"],
        "building",
        [BAD_REFS[0], BAD_REFS[2], Bad(["-f", "--json"], EXIT_USAGE, "-f follows")],
    ),
    "ls": Verb(
        [],
        "INSTANCES",
        [
            Bad(["a", "b"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["--all"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["--root"], EXIT_USAGE, "expected one argument"),
        ],
    ),
    "path": Verb(
        ["count", "counts"],
        "result/counts.json",
        [*BAD_REFS[:2], Bad(["count", "no.txt"], EXIT_USAGE, "its fields are counts")],
    ),
    "plan": Verb(
        [COUNTED],
        "build    text",
        [
            *BAD_STAGES,
            Bad([COUNTED, "--content", "x"], EXIT_USAGE, "a parameter of a stage is written content=x"),
            Bad([COUNTED, "--read-only=1", "--forc"], EXIT_USAGE, "a parameter of a stage is written read_only=1"),
        ],
    ),
    "plot": Verb(
        ["sample", "--results"],
        "<svg",
        [*BAD_REFS[:2], Bad(["sample", "--results", "--metric", "f1"], EXIT_USAGE, "f1")],
    ),
    "realize": Verb([COUNTED], "rref:", [*BAD_STAGES, Bad([FAILING], EXIT_FAILED, "no luck")]),
    "retry": Verb(
        [],
        "",
        [
            Bad(["more"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["--json"], EXIT_USAGE, "unrecognized arguments"),
            Bad(["--root"], EXIT_USAGE, "expected one argument"),
        ],
        code=EXIT_FAILED,
    ),
    "roots": Verb(
        [],
        "kept/text",
        [
            Bad(["rm", "no"], EXIT_USAGE, "there is no such link"),
            Bad(["add", "a/../../x", "text"], EXIT_USAGE, "give NAME"),
            Bad(["add", "x", "gone"], EXIT_FAILED, "gone is not in the store"),
        ],
    ),
    "schema": Verb(
        ["ls"],
        "RealizationLine",
        [
            Bad(["lss"], EXIT_USAGE, "did you mean ls"),
            Bad(["shell"], EXIT_USAGE, "no verb 'shell' prints JSON"),
            Bad(["ls", "--json"], EXIT_USAGE, "unrecognized arguments"),
        ],
    ),
    "shell": Verb(
        ["text", "--", "sh", "-c", "exit 7"],
        "",
        [*BAD_REFS[:2], Bad(["text", "--", "/no/such/program"], EXIT_USAGE, "cannot be started")],
        code=7,
    ),
    "show": Verb(["sample"], "accuracy: ", BAD_REFS),
    "stages": Verb(
        [],
        "all_bert_finetune_glue",
        [
            Bad(["all_bert_finetune_gleu"], EXIT_USAGE, "did you mean all_bert_finetune_glue"),
            Bad(["all_"], EXIT_USAGE, "stands for several stages"),
            Bad(["gc"], EXIT_USAGE, "has no stage 'gc'"),
        ],
    ),
    "tensorboard": Verb(
        ["tr*"],
        "http://127.0.0.1:",
        [
            *BAD_REFS,
            Bad(["text"], EXIT_USAGE, "text: there are no events of TensorBoard in any log"),
            Bad(["--port", "65536"], EXIT_USAGE, "port=65536: give a number up to 65535"),
        ],
    ),
    "tree": Verb(
        ["count"],
        "└─ upper",
        [*BAD_REFS[:2], Bad(["count", "--depth", "-1"], EXIT_USAGE, "--depth -1: give how many")],
    ),
    "verify": Verb([], "", BAD_REFS),
    "why": Verb(
        ["count"],
        'content "one" -> "two"',
        [*BAD_REFS[:2], Bad(["count", "x=1"], EXIT_USAGE, "so it takes no arguments")],
    ),
    "why-alive": Verb(["kept/text"], "kept/text", BAD_REFS),
}


@pytest.fixture
def made(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store with a few realizations, and a run that failed; in a folder with an archive of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for arguments in (
        [TEXT, "content=w", "--out-link", "kept/text"],
        [COUNTED, "one"],
        [COUNTED, "two"],
        [SAMPLE, "--instances", "2"],
        [TRAINED, "content=w"],
    ):
        code, _, err = run("realize", *arguments)
        assert code == 0, err
    assert run("export", "text", "-o", "text.tar")[0] == 0
    assert run("realize", FAILING)[0] == EXIT_FAILED
    Path("notes.txt").write_text("no store and no archive")


def all_verbs() -> list[str]:
    (verbs,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return list(verbs.choices)


def test_there_is_a_case_for_every_verb() -> None:
    assert sorted(all_verbs()) == sorted(VERBS)


def ran(run: Run, root: str, verb: str, *arguments: str) -> tuple[int, str, str]:
    """Run a verb; the one that goes on until Ctrl-C gets that as soon as it has printed something."""
    if verb != "tensorboard":
        return run(verb, *arguments)
    command = [sys.executable, "-m", "stagedml.cli.main", verb, "--root", root, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = first + process.stdout.read(), process.stderr.read()
    return process.returncode, out, err


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("verb", VERBS)
def test_the_text_of_a_verb_and_its_exit_code(run: Run, root: str, verb: str) -> None:
    case = VERBS[verb]
    code, out, err = ran(run, root, verb, *case.arguments)
    assert code == case.code, err
    assert case.text in out
    assert "\033" not in out


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("verb", views())
def test_the_json_of_a_verb_is_of_the_form_that_its_schema_tells(run: Run, root: str, verb: str) -> None:
    case = VERBS[verb]
    code, out, err = ran(run, root, verb, "--json", *case.arguments)
    assert (code, err if verb not in ("realize", "check") else "") == (case.code, "")
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.Draft202012Validator(closed(schema(verb))).validate(found)


def closed(form: Any) -> Any:
    """A schema that takes no fields beside those that it names."""
    if isinstance(form, list):
        return [closed(item) for item in form]
    if not isinstance(form, dict):
        return form
    more = {"additionalProperties": False} if isinstance(form.get("properties"), dict) else {}
    return {**{key: closed(value) for key, value in form.items()}, **more}


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("verb", "bad"),
    [(verb, bad) for verb, case in VERBS.items() for bad in case.bad],
    ids=lambda value: str(value)[:60],
)
def test_bad_input_is_told_with_what_to_do(run: Run, verb: str, bad: Bad) -> None:
    code, out, err = run(verb, *bad.arguments)
    assert (code, out) == (bad.code, ""), err
    assert bad.told in err
    assert "Traceback" not in err
