"""The shell scripts are linted, and env.sh is read by bash and zsh."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from standins import Programs

SCRIPTS = (".ci/run", "3rdparty/bootstrap.sh", "3rdparty/relock.sh", "3rdparty/tensorflow.sh", "env.sh", "rundocker.sh")


def test_every_shell_script_passes_shellcheck(repository: Path) -> None:
    found = {
        str(path.relative_to(repository)) for path in (*repository.glob("*.sh"), *repository.glob("3rdparty/*.sh"))
    }
    assert found <= set(SCRIPTS)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip("shellcheck is not in this environment")
    done = subprocess.run([shellcheck, *SCRIPTS], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_continuous_integration_runs_what_a_developer_runs(repository: Path) -> None:
    assert (repository / ".ci" / "run").read_text().splitlines()[-1] == "exec make test </dev/null"
    assert os.access(repository / ".ci" / "run", os.X_OK)


STAGES = """
from stagedml import Artifact, Build, RefPath, output, stage

class Text(Artifact):
    text: RefPath

@stage(Text, name="text")
def text(build: Build, *, word: str, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(word)

def some(word: str) -> Text:
    return text(word=word)
"""
PATHS = ("PYTHONPATH", "VIRTUAL_ENV", "STAGEDML_ROOT", "PYLIGHTNIX_ROOT", "STAGEDML_EXPERIMENTS")


def in_env(
    shell: str, env: Path, commands: str, cwd: str | Path = "/", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The commands in a strict shell that read `env` first, in the environment in which the tests run."""
    variables = {name: value for name, value in os.environ.items() if name not in PATHS}
    return subprocess.run(
        [shell, "-euc", f". '{env}' && {commands}"],
        cwd=cwd,
        env={**variables, "STAGEDML_VENV": sys.prefix, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} here")
    return str(request.param)


@pytest.fixture
def env(repository: Path) -> Path:
    return repository / "env.sh"


@pytest.fixture
def spaced(repository: Path, tmp_path: Path) -> Path:
    """A working tree whose path has a space in it, with no environment of its own yet."""
    tree = tmp_path / "a tree"
    (tree / "3rdparty").mkdir(parents=True)
    for name in ("env.sh", "Makefile", "3rdparty/tensorflow.sh"):
        shutil.copy(repository / name, tree / name)
    return tree


SHOW = 'command -v python && echo "$PYTHONPATH" && echo "$STAGEDML_ROOT" && echo "$STAGEDML_EXPERIMENTS"'


def test_it_enters_the_environment_from_any_folder(shell: str, env: Path, repository: Path) -> None:
    done = in_env(shell, env, SHOW, HOME="/the/home")
    assert done.stdout.splitlines() == [
        f"{sys.prefix}/bin/python",
        str(repository / "src"),
        "/the/home/_pylightnix",
        "/the/home/_pylightnix/roots",
    ], done.stderr


def test_a_path_with_a_space_and_a_relative_one_will_do(shell: str, spaced: Path) -> None:
    done = in_env(shell, Path("a tree/env.sh"), SHOW, cwd=spaced.parent, HOME="/a home", CDPATH="/usr:/tmp")
    assert done.stdout.splitlines()[1:] == [f"{spaced}/src", "/a home/_pylightnix", "/a home/_pylightnix/roots"]


def test_it_keeps_what_the_user_set(shell: str, env: Path, repository: Path) -> None:
    done = in_env(shell, env, SHOW, PYTHONPATH="/mine", PYLIGHTNIX_ROOT="/store", STAGEDML_EXPERIMENTS="/links")
    assert done.stdout.splitlines()[1:] == [f"{repository}/src:/mine", "/store", "/links"], done.stderr


@pytest.mark.parametrize("python_path", [None, "", "/it's a 'path':/b"])
def test_deactivate_restores_what_was_there_however_often_it_was_read(
    shell: str, env: Path, python_path: str | None
) -> None:
    show = 'echo "$PATH:${PYTHONPATH-unset}:${STAGEDML_SOURCE-unset}:${STAGEDML_ROOT-unset}:${VIRTUAL_ENV-unset}"'
    given = {} if python_path is None else {"PYTHONPATH": python_path}
    commands = f". '{env}'; . '{env}'; echo \"$PYTHONPATH\"; deactivate; {show}; typeset -f"
    done = in_env(shell, env, commands, PATH="/usr/bin:/bin", **given)
    first, second, *functions = done.stdout.splitlines()
    assert first.count(f"{env.parent}/src") == 1
    assert second == f"/usr/bin:/bin:{'unset' if python_path is None else python_path}:unset:unset:unset", done.stderr
    assert not [line for line in functions if "stagedml" in line]


def test_an_environment_that_cannot_be_made_changes_nothing(shell: str, spaced: Path) -> None:
    commands = f". '{spaced}/env.sh' || echo \"failed ${{STAGEDML_ROOT-unset}} ${{PYTHONPATH-unset}}\"; typeset -f"
    done = subprocess.run(
        [shell, "-c", commands],
        env={"PATH": "/usr/bin:/bin", "HOME": "/the/home"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["failed unset unset"], done.stdout
    assert f"env.sh: there is no environment at {spaced}/.venv; see above" in done.stderr


def test_every_helper_that_is_listed_is_there(shell: str, env: Path) -> None:
    names = [line.split()[0] for line in in_env(shell, env, "envhelp").stdout.splitlines()]
    assert {"runipython", "runjupyter", "runtensorboard", "runtests", "typecheck"} < set(names)
    assert {"stagedml_gc", "buildtf", "installtf"} < set(names)
    done = in_env(shell, env, " && ".join(f"typeset -f {name} >/dev/null" for name in names) + " && echo all")
    assert done.stdout == "all\n", done.stderr


def test_runtests_and_runipython_run_this_trees_code(shell: str, env: Path, tmp_path: Path) -> None:
    done = in_env(shell, env, "runtests --collect-only -q tests/test_shell.py")
    assert "test_shell.py" in done.stdout, done.stderr
    where = "import stagedml; print(realize, stagedml.__file__)"
    done = in_env(shell, env, f'runipython -c "{where}"', HOME=str(tmp_path))
    assert "<function realize" in done.stdout, done.stderr
    assert str(env.parent / "src" / "stagedml") in done.stdout


@pytest.fixture
def recording(tmp_path: Path) -> Programs:
    """Stand-ins that print how they are called, for programs that would serve for ever."""
    programs = Programs(tmp_path / "programs", ())
    for name in ("jupyter", "tensorboard", "stagedml"):
        programs.install(name, f'echo {name} "$@"')
    return programs


def test_servers_stay_on_this_machine_and_open_no_browser(
    shell: str, env: Path, recording: Programs, tmp_path: Path
) -> None:
    calls = f"PATH='{recording.path}':$PATH; runjupyter --port=1; runtensorboard one; runtensorboard '{tmp_path}'"
    assert in_env(shell, env, calls).stdout.splitlines() == [
        "jupyter lab --no-browser --port=1",
        "stagedml tensorboard one",
        f"tensorboard --logdir {tmp_path}",
    ]


def test_in_a_container_servers_answer_on_the_published_ports(
    shell: str, env: Path, recording: Programs, tmp_path: Path
) -> None:
    calls = f"PATH='{recording.path}':$PATH; runjupyter; runtensorboard one; runtensorboard '{tmp_path}'"
    done = in_env(shell, env, calls, STAGEDML_JUPYTER_PORT="8901", STAGEDML_TENSORBOARD_PORT="6011")
    assert done.stdout.splitlines() == [
        "jupyter lab --no-browser --ip=0.0.0.0 --port=8901 --port-retries=0 --allow-root",
        "stagedml tensorboard one --host 0.0.0.0 --port 6011",
        f"tensorboard --logdir {tmp_path} --host 0.0.0.0 --port 6011",
    ]


def test_the_shell_python_and_the_command_line_plan_the_same_collection(shell: str, env: Path, tmp_path: Path) -> None:
    (tmp_path / "mystages.py").write_text(STAGES)
    settings = {"STAGEDML_ROOT": str(tmp_path / "store"), "PYTHONPATH": str(tmp_path)}
    realize = "stagedml realize mystages:some word=one --out-link kept; stagedml realize mystages:some word=two"
    assert in_env(shell, env, realize, **settings).returncode == 0
    python = "from stagedml import gc, store_initialize, Policy; from stagedml.inspection.plain import as_json; "
    python += "from stagedml.inspection.answers import Collection; store_initialize(); "
    python += "print(as_json(Collection.of(gc(policy=Policy(grace_s=0)))))"
    plans = [
        json.loads(in_env(shell, env, command, **settings).stdout)
        for command in ("stagedml_gc --grace 0 --json", "stagedml gc --grace 0 --json", f"python -c '{python}'")
    ]
    for plan in plans:
        assert plan["realizations"].pop()["rref"].endswith("-text")  # its age moves on between the calls
        assert plan["realizations"] == []
    assert plans[0] == plans[1] == plans[2]


def test_it_says_how_to_use_it_when_it_is_run(shell: str, env: Path) -> None:
    done = subprocess.run([shell, env], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "type '. ./env.sh'" in done.stderr


def test_another_shell_is_told_which_will_do(env: Path) -> None:
    if shutil.which("dash") is None:
        pytest.skip("no dash here")
    done = subprocess.run(["dash", "-c", f". {env}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "env.sh: works in bash and zsh\n")
