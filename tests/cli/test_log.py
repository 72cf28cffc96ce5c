"""What `log` and `retry` tell of builds and runs that go on, are over, and never were."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.conftest import Run
from stagedml.cli.main import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED, EXIT_USAGE
from stagedml.inspection.logs import RunningBuilds
from stagedml.settings import read_settings
from stagedml.store.objects import Store

TALKING, HEARD = "cli.failing:talking", "cli.failing:heard"
_PATIENCE_S = 30.0

#: Starts `stagedml` with some arguments in a process of its own.
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(root: str) -> Iterator[Start]:
    paths = os.pathsep.join(path for path in sys.path if path)
    started: list[subprocess.Popen[str]] = []

    def start_verb(verb: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stagedml.cli.main", verb, "--root", root, *arguments]
        environment = {**os.environ, "PYTHONPATH": paths}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start_verb
    for process in started:
        process.kill()
        process.communicate()


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(root: str) -> list[str]:
    """The derivations of which builds go on."""
    store = Store.open(read_settings(root=root), create=False)
    return [build.dref for build in RunningBuilds(store).now()]


def hash_of(run: Run, name: str) -> str:
    rhash: str = run("path", name)[1].strip().rpartition("/")[2]
    return rhash[:12]


@pytest.mark.parametrize("called", ["talking", "talk", "hash", "talking@latest"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_following_shows_the_build_that_goes_on_and_each_line_of_it_once(
    run: Run, start: Start, root: str, tmp_path: Path, called: str, jobs: str
) -> None:
    assert run("realize", TALKING, "--exec", "who=older", "--jobs", "2")[0] == 0
    ref = hash_of(run, "talking") if called == "hash" else called
    gate = tmp_path / "gate"
    builder = start("realize", TALKING, "--force", "--exec", "who=newer", "--exec", f"gate={gate}", "--jobs", jobs)
    wait_for(lambda: running(root))
    follower = start("log", ref, "-f")
    assert follower.stdout is not None
    seen = follower.stdout.readline()
    gate.touch()
    out, err = follower.communicate(timeout=_PATIENCE_S)
    assert builder.wait(_PATIENCE_S) == 0
    assert follower.returncode == 0
    if jobs == "2":
        assert (seen + out, err) == ("first of newer\nlast of newer\n", "")
    else:
        assert [line.split("  ")[1].partition(" in ")[0] for line in (seen + out).splitlines()] == [
            "talking: building",
            "talking: done",
        ]
        assert err.startswith("its builder ran in the session's process")
        assert "--jobs 2" in err


def test_following_waits_for_what_a_run_is_yet_to_build(run: Run, start: Start, root: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    builder = start("realize", HEARD, "--exec", "who=it", "--exec", f"gate={gate}", "--jobs", "2")
    wait_for(lambda: running(root) if Path(root, "store-v0").is_dir() else ())
    follower = start("log", "listening", "-f")
    assert follower.stderr is not None
    assert follower.stderr.readline() == "listening is yet to be built; waiting\n"
    gate.touch()
    assert builder.wait(_PATIENCE_S) == 0
    out, err = follower.communicate(timeout=_PATIENCE_S)
    assert (follower.returncode, out, err) == (0, "heard it\n", "")


def test_a_log_that_is_not_of_the_last_build_says_so(run: Run) -> None:
    for name in ("older", "newer"):
        assert run("realize", TALKING, "--force", "--exec", f"who={name}", "--jobs", "2")[0] == 0
    code, out, err = run("log", "talking")
    assert (code, out) == (0, "first of older\nlast of older\n")
    assert err == "it was built 2 times, to the same bytes; this log is the first build's, the one that is kept\n"


def test_a_build_that_ran_apart_is_not_said_to_have_run_in_the_session(run: Run) -> None:
    assert run("realize", TALKING)[0] == 0
    assert run("log", "talking")[2].startswith("its builder ran in the session's process")
    assert run("realize", TALKING, "--force", "--jobs", "2")[0] == 0
    assert run("log", "talking")[2].startswith("what the last build printed is not kept, since it came to the bytes")


@pytest.mark.parametrize("ref", [["talking"], []])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGTERM, EXIT_TERMINATED)])
def test_who_stops_following_is_told_nothing(
    start: Start, root: str, tmp_path: Path, ref: list[str], number: int, code: int
) -> None:
    gate = tmp_path / "gate"
    builder = start("realize", TALKING, "--exec", f"gate={gate}", "--jobs", "2")
    wait_for(lambda: running(root) if Path(root, "store-v0").is_dir() else ())
    follower = start("log", *ref, "-f")
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.send_signal(number)
    assert follower.communicate(timeout=_PATIENCE_S)[1] == ""
    assert follower.returncode == code
    gate.touch()
    assert builder.wait(_PATIENCE_S) == 0


def test_an_interrupted_build_is_named_once_in_the_log(run: Run, start: Start, root: str, tmp_path: Path) -> None:
    builder = start("realize", TALKING, "--exec", f"gate={tmp_path / 'never'}")
    wait_for(lambda: running(root) if Path(root, "store-v0").is_dir() else ())
    builder.send_signal(signal.SIGINT)
    err = builder.communicate(timeout=_PATIENCE_S)[1]
    assert builder.returncode == EXIT_INTERRUPTED
    assert err.count("KeyboardInterrupt") == 1
    out = run("log")[1]
    assert out.count("KeyboardInterrupt") == 1
    assert [line.split("  ")[1] for line in out.splitlines()[-2:]] == [
        "talking: failed: KeyboardInterrupt",
        "interrupted",
    ]


def test_runs_can_be_asked_for_by_what_they_were_to_build(run: Run) -> None:
    assert run("init")[0] == 0
    assert run("log", "--runs")[2].startswith("nothing was built in ")
    assert run("realize", TALKING)[0] == 0
    assert run("realize", HEARD)[0] == 0
    for ref, count in (("talking", 1), ("talk", 1), (hash_of(run, "listening"), 1), ("listening", 1)):
        code, out, err = run("log", ref, "--runs")
        assert (code, len(out.splitlines()) - 1, err) == (0, count, ""), ref
    assert len(run("log", "--runs")[1].splitlines()) == 3
    code, out, err = run("log", "nothing", "--runs")
    assert (code, out) == (0, "")
    assert err.startswith("no run was to build nothing in ")
    assert run("log", "nothing", "--runs", "--json")[1] == "[]\n"


def test_retry_says_how_the_run_ended_and_leaves_alone_what_goes_on(
    run: Run, start: Start, root: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    builder = start("realize", TALKING, "--exec", f"gate={gate}")
    wait_for(lambda: running(root) if Path(root, "store-v0").is_dir() else ())
    code, _, err = run("retry")
    assert code == EXIT_USAGE
    assert "one still goes on, and `stagedml log -f` follows it: stagedml realize" in err
    builder.kill()
    builder.wait(_PATIENCE_S)
    gate.touch()
    code, out, err = run("retry")
    assert (code, out[:5]) == (0, "rref:")
    assert f"in {os.getcwd()}, it was killed: stagedml realize" in err


def test_what_was_mended_and_ran_again_is_done(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "from stagedml import *\nclass Text(Artifact):\n    text: RefPath\n"
        "@stage(Text, name='mended')\ndef mended(build: Build, *, text: RefPath = output('text')) -> None:\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "to_mend", raising=False)
    (tmp_path / "to_mend.py").write_text(f"{text}    raise RuntimeError('no luck')\n")
    assert run("realize", "to_mend:mended", "--force")[0] == EXIT_FAILED
    assert "of the last 3 runs, 1 did not end well" in run("doctor")[1]
    assert [one["mended"] for one in json.loads(run("log", "--runs", "--json")[1])] == [False]

    monkeypatch.delitem(sys.modules, "to_mend")
    (tmp_path / "to_mend.py").write_text(f"{text}    build.path(text).write_text('now it is whole')\n")
    importlib.invalidate_caches()
    assert run("realize", TALKING)[0] == 0  # which mends nothing
    assert "of the last 3 runs, 1 did not end well" in run("doctor")[1]
    assert run("realize", "to_mend:mended")[0] == 0
    assert "did not end well" not in run("doctor")[1]
    code, out, err = run("retry")
    assert (code, out) == (0, "")
    assert err.startswith("nothing to do: it failed, and has succeeded since: stagedml realize ")
    assert [one["mended"] for one in json.loads(run("log", "--runs", "--json")[1])] == [False, False, True]


def test_a_stage_with_other_arguments_mends_nothing(run: Run) -> None:
    measuring = "cli.failing:measuring"
    assert run("realize", measuring, "metric=a", "fails=true")[0] == EXIT_FAILED
    assert run("realize", measuring, "metric=a")[0] == 0
    assert run("retry")[0] == EXIT_FAILED


def test_show_and_why_tell_that_the_last_build_failed(run: Run) -> None:
    assert run("realize", "cli.failing:failing")[0] == EXIT_FAILED
    for verb in ("show", "why"):
        code, out, err = run(verb, "failing")
        assert (code, out) == (EXIT_FAILED, "")
        assert "its last build failed; `stagedml log failing` tells more" in err
    assert "its last build" not in run("show", "fail")[2]


def test_what_is_shown_though_nothing_runs_is_said(run: Run) -> None:
    assert run("realize", TALKING)[0] == 0
    code, out, err = run("log", "-f")
    assert code == 0
    assert out.endswith("done\n")
    assert err == "nothing runs just now; the last run:\n"


def test_a_long_argument_is_told_in_short(run: Run) -> None:
    text, long = "stagedml.testing.toys:text", "x" * 100_000
    assert run("realize", text, f"content={long}")[0] == 0
    for command in (["log"], ["log", "--runs"], ["show", "text"], ["ls"], ["ls", long], ["show", long], ["plan", long]):
        told = run(*command)
        assert max(map(len, told[1].splitlines() + told[2].splitlines())) < 1100, command
    assert long in run("show", "text", "--json")[1]
