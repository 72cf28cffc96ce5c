"""Completion, asked as shells ask for it; and in real shells where there are some."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from cli.conftest import Run
from stagedml import store_initialize

TOYS = "stagedml.testing.toys"
STAGEDML = Path(sys.executable).with_name("stagedml")


def completions(line: str, root: str, tmp_path: Path) -> set[str]:
    """What the shell gets for a line with the cursor at its end."""
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "STAGEDML_ROOT": root,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "stagedml.cli.main"], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr == ""
    return {word.strip() for word in answer.read_text().split("\n") if word.strip()}


@pytest.fixture
def filled(run: Run, root: str) -> str:
    for arguments in ([f"{TOYS}:all_counted", "--out-link", "mine/first"], [f"{TOYS}:sample"]):
        assert run("realize", *arguments)[0] == 0
    return root


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stagedml wh", {"why", "why-alive"}),
        ("stagedml ls --j", {"--json"}),
        ("stagedml show co", {"count"}),
        ("stagedml diff text up", {"upper"}),
        ("stagedml show sample@", {"sample@latest", "sample@best", "sample@lowest:"}),
        ("stagedml cat count re", {"result/counts.json"}),
        ("stagedml realize all_minilm_e", {"all_minilm_export_glue"}),
        ("stagedml realize minilm_f", {f"minilm_finetune_{what}" for what in ("glue", "squad11", "squad20")}),
        ("stagedml plan all_fetchglue fo", {"folder="}),
        (f"stagedml plan {TOYS}:count sc", {"scale="}),
        ("stagedml completion ", {"bash", "zsh", "fish"}),
        ("stagedml roots add x up", {"upper"}),
        ("stagedml tensorboard upp", {"upper"}),
        (f"stagedml plan {TOYS}:all_counted co", {"content=", "count.scale=", "count.source=", "count.workers="}),
        (f"stagedml plan {TOYS}:all_counted word te", {"text.content="}),
        (f"stagedml plan {TOYS}:all_counted sc", {"scale="}),
        ("stagedml roots rm mi", {"mine/first"}),
        ("stagedml plot sample --metric ac", {"accuracy"}),
        ("stagedml plot count --by sc", {"scale"}),
        ("stagedml help why", {"why", "why-alive"}),
        ("stagedml schema comp", set()),
        ("stagedml --root /nowhere show co", set()),
        ("stagedml show zz", set()),
    ],
)
def test_a_word_is_completed_by_what_can_stand_there(
    line: str, expected: set[str], filled: str, tmp_path: Path
) -> None:
    assert completions(line, filled, tmp_path) == expected


def test_links_of_another_store_are_not_offered_for_removal(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    store_initialize(other)
    monkeypatch.setenv("STAGEDML_EXPERIMENTS", f"{filled}/roots")
    assert completions("stagedml roots rm mi", filled, tmp_path) == {"mine/first"}
    assert completions("stagedml roots rm mi", str(other), tmp_path) == set()


def test_without_a_store_references_complete_to_nothing(tmp_path: Path) -> None:
    assert completions("stagedml show te", str(tmp_path / "none"), tmp_path) == set()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_real_shell_completes_a_reference(shell: str, filled: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    plain = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}[shell]
    environment = {
        "PATH": f"{STAGEDML.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "STAGEDML_ROOT": filled,
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    session = pexpect.spawn(program, plain, env=environment, encoding="utf-8", timeout=40, dimensions=(40, 200))
    enable = {
        "bash": 'eval "$(stagedml completion bash)"; echo rea""dy',
        "zsh": 'autoload -U compinit; compinit -u; eval "$(stagedml completion zsh)"; echo rea""dy',
        "fish": "stagedml completion fish | source; echo rea''dy",
    }[shell]
    session.sendline(enable)
    session.expect("ready")
    session.send("stagedml path upp\t")
    session.expect("upper")
    session.sendline()
    session.expect(f"{filled}/store-v0/[0-9a-f]{{32}}-upper/[0-9a-f]{{32}}")
    session.close(force=True)
