"""How results look: colour only on a terminal, as wide as it is; and logs that are followed while they grow."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pexpect
import pytest

from cli.conftest import Run
from stagedml.cli.main import EXIT_FAILED

TOYS = "stagedml.testing.toys"


def on_terminal(root: str, *arguments: str, columns: int = 80, environment: dict[str, str] | None = None) -> str:
    """What a verb shows on a terminal."""
    # These two, which some runners of tests set, would tell of another terminal.
    surroundings = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    child = pexpect.spawn(
        sys.executable,
        ["-m", "stagedml.cli.main", *arguments],
        env={**surroundings, "STAGEDML_ROOT": root, "TERM": "xterm", **(environment or {})},
        dimensions=(50, columns),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    shown: str = child.before
    return shown.replace("\r\n", "\n")


@pytest.fixture
def filled(run: Run, root: str) -> str:
    assert run("realize", f"{TOYS}:all_counted")[0] == 0
    long = "a-name-that-goes-on-and-on-" * 6
    assert run("realize", f"{TOYS}:node", f"label={long}end", "inputs=[]")[0] == 0
    return root


def test_there_is_colour_on_a_terminal(filled: str) -> None:
    assert "\033[33mbuild\033[0m" in on_terminal(filled, "plan", f"{TOYS}:all_counted", "other")
    assert "\033[1m" in on_terminal(filled, "ls").splitlines()[0]


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_there_is_none_where_it_is_not_wanted(filled: str, environment: dict[str, str]) -> None:
    for arguments in (["plan", f"{TOYS}:all_counted", "other"], ["ls"], ["show", "count"], ["why", "count"]):
        assert "\033[" not in on_terminal(filled, *arguments, environment=environment)


@pytest.mark.parametrize("columns", [80, 200])
def test_tables_are_no_wider_than_the_terminal(filled: str, columns: int) -> None:
    for arguments in (["ls"], ["du"], ["stages"], ["log", "--runs"], ["why", "count"]):
        lines = on_terminal(filled, *arguments, columns=columns, environment={"NO_COLOR": "1"}).splitlines()
        assert max(map(len, lines)) <= columns, arguments


ESCAPE = "\033]0;title\007\033[2J"
SPELT = r"\x1b]0;title\x07\x1b[2J"


def test_no_name_makes_a_terminal_do_anything(run: Run, root: str) -> None:
    realized = run("realize", "cli.failing:measuring", f"metric={ESCAPE}")
    for arguments in (
        ["show", "measuring"],
        ["show", ESCAPE],
        ["ls", ESCAPE],
        [f"--{ESCAPE}"],
        ["path", "measuring", ESCAPE],
    ):
        shown = on_terminal(root, *arguments)
        assert ESCAPE not in shown
        assert SPELT in shown, arguments
    assert realized[0] == 0
    code, _, err = run("realize", "cli.failing:measuring", f"metric={ESCAPE}", "fails=true")
    assert code == 1
    assert "\033" not in err
    assert SPELT in err


def test_nothing_is_cut_in_a_pipe(run: Run, filled: str) -> None:
    _, out, _ = run("ls")
    assert "on-and-on-end" in out
    assert "..." not in out


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_log_is_followed_until_the_build_is_over(run: Run, root: str, tmp_path: Path, jobs: str) -> None:
    gate = tmp_path / "gate"
    blocking = [f"{TOYS}:blocking", f"gate={gate}", "--jobs", jobs]
    builder = pexpect.spawn(
        sys.executable,
        ["-m", "stagedml.cli.main", "realize", *blocking],
        env={**os.environ, "STAGEDML_ROOT": root},
        encoding="utf-8",
        timeout=60,
    )
    builder.expect("blocking")
    opening = threading.Timer(1.0, gate.touch)
    opening.start()
    code, out, err = 1, "", ""
    while code:  # until it has begun
        code, out, err = run("log", "blocking", "-f")
    builder.expect(pexpect.EOF)
    opening.join()
    assert code == 0
    if jobs == "1":
        assert "done in" in out
        assert "its builder ran in the session's process" in err
    code, out, err = run("log", "-f")
    assert (code, err) == (0, "nothing runs just now; the last run:\n")
    assert out.splitlines()[-1].endswith("done")


def test_what_a_builder_prints_is_no_result(run: Run) -> None:
    _, out, err = run("realize", "cli.failing:printing")
    rref, path = out.splitlines()
    assert rref.startswith("rref:")
    assert Path(path).is_dir()
    assert "what a builder prints" in err


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_what_the_output_has_no_letter_for_is_spelt_out(run: Run, root: str, environment: dict[str, str]) -> None:
    for label in ("ä", "ö"):
        assert run("realize", f"{TOYS}:text", f"content={label}")[0] == 0

    def told(*arguments: str) -> tuple[int, bytes, bytes]:
        command = [sys.executable, "-m", "stagedml.cli.main", *arguments]
        done = subprocess.run(
            command, capture_output=True, check=False, env={**os.environ, **environment, "STAGEDML_ROOT": root}
        )
        return done.returncode, done.stdout, done.stderr

    code, out, err = told("ls")
    assert (code, err) == (0, b"")
    assert rb"content=\xe4" in out
    code, out, err = told("show", "n\u00e4her")
    assert (code, out) == (EXIT_FAILED, b"")
    assert err.startswith(b"stagedml: n\\")


def test_what_tells_realizations_apart_is_whole_on_a_narrow_terminal(run: Run, root: str) -> None:
    for rate in ("0.000125", "0.000135"):
        assert run("realize", "cli.failing:lasting", f"rate={rate}", "epochs=2")[0] == 0
    lines = on_terminal(root, "ls", columns=50, environment={"NO_COLOR": "1"}).splitlines()
    assert [line for line in lines if line.startswith("  ")] == ["  rate=0.000125", "  rate=0.000135"]
    assert len(lines) == 5
    wide = on_terminal(root, "ls", columns=120, environment={"NO_COLOR": "1"}).splitlines()
    assert len(wide) == 3
    assert wide[1].endswith("  rate=0.000125")


def test_runs_tell_the_stage_on_a_narrow_terminal(
    run: Run, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"NO_COLOR": "1", "STAGEDML_ROOT": root}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        command = [sys.executable, "-m", "stagedml", "realize", f"{TOYS}:text", f"content={folder * 80}"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
        told = on_terminal(root, "log", "--runs", columns=70, environment=environment)
        assert f"stagedml realize {TOYS}:text" in told, folder
        assert (f"all in {tmp_path / folder}" in told) == (folder == "a")
    assert str(tmp_path / "b") in on_terminal(root, "log", "--runs", columns=300, environment=environment)


def test_a_full_disk_behind_standard_output_is_not_taken_for_the_stores(filled: str) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "stagedml", "--root", filled, "ls"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (EXIT_FAILED, "stagedml: standard output: No space left on device\n")
