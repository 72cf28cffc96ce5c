"""The shell scripts: linted, and run for what they do; docker is a stand-in that records what it is asked."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = (".ci/run", "3rdparty/bootstrap.sh", "3rdparty/relock.sh", "env.sh", "rundocker.sh")


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


class Docker:
    """Runs rundocker.sh with a PATH on which `docker` writes down its arguments."""

    def __init__(self, script: Path, folder: Path) -> None:
        self.script, self.home, self.bin, self.record = script, folder / "home", folder / "bin", folder / "record"
        self.home.mkdir()
        self.bin.mkdir()
        for name in ("bash", "basename", "dirname", "grep", "id", "mkdir", "tr", "cat"):
            program = shutil.which(name)
            assert program is not None
            (self.bin / name).symlink_to(program)
        self.install(
            "docker", f'for word in "$@"; do printf "%s\\n" "$word"; done >>{self.record}; echo >>{self.record}'
        )

    def install(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.bin / name).chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.script), *arguments],
            env={"PATH": str(self.bin), "HOME": str(self.home), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[list[str]]:
        return (
            [call.split("\n") for call in self.record.read_text().strip().split("\n\n")] if self.record.exists() else []
        )


def values(call: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(call) if name == option]


@pytest.fixture
def docker(repository: Path, tmp_path: Path) -> Docker:
    return Docker(repository / "rundocker.sh", tmp_path)


def test_rundocker_builds_the_image_and_runs_a_shell_as_the_same_user(docker: Docker, repository: Path) -> None:
    done = docker.run()
    assert done.returncode == 0, done.stderr
    build, run = docker.calls()
    assert build[0] == "build"
    assert values(build, "--file") == [str(repository / "docker" / "stagedml_dev.docker")]
    assert build[-1] == str(repository / "3rdparty")
    assert run[0] == "run"
    assert run[-2:] == ["stagedml-stagedml-dev", "bash"]
    assert values(build, "--tag") == run[-2:-1]
    assert values(run, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert {str(os.getgid())} <= set(values(run, "--group-add"))
    assert values(run, "--workdir") == [str(repository)]
    assert f"{repository}:{repository}" in values(run, "--volume")
    assert "--gpus" not in run
    assert "--tty" not in run


def test_rundocker_mounts_the_store_at_its_own_path_and_makes_it_first(docker: Docker, tmp_path: Path) -> None:
    assert docker.run().returncode == 0
    store = docker.home / "_pylightnix"
    assert store.is_dir()
    assert f"{store}:{store}" in values(docker.calls()[-1], "--volume")
    assert f"PYLIGHTNIX_ROOT={store}" in values(docker.calls()[-1], "--env")

    other, experiments, mirror = tmp_path / "other", tmp_path / "experiments", tmp_path / "mirror"
    mirror.mkdir()
    mirrors = f"{mirror}:https://mirror.example:8443/data"
    done = docker.run(STAGEDML_ROOT=str(other), STAGEDML_EXPERIMENTS=str(experiments), STAGEDML_MIRRORS=mirrors)
    assert done.returncode == 0, done.stderr
    run = docker.calls()[-1]
    assert {f"{other}:{other}", f"{experiments}:{experiments}", f"{mirror}:{mirror}:ro"} <= set(values(run, "--volume"))
    assert {f"PYLIGHTNIX_ROOT={other}", f"STAGEDML_MIRRORS={mirrors}"} <= set(values(run, "--env"))


def test_rundocker_takes_a_docker_file_and_a_command(docker: Docker, tmp_path: Path) -> None:
    mine = tmp_path / "My_image.docker"
    mine.write_text("FROM scratch\n")
    done = docker.run(str(mine), "--", "make", "test", "PYTEST_ARGS=-k 'a b'")
    assert done.returncode == 0, done.stderr
    build, run = docker.calls()
    assert values(build, "--file") == [str(mine)]
    assert run[-4:] == ["stagedml-my-image", "make", "test", "PYTEST_ARGS=-k 'a b'"]


def test_rundocker_passes_the_gpus_on_where_there_are_any(docker: Docker) -> None:
    docker.install("nvidia-smi", 'echo "GPU 0: Some GPU (UUID: GPU-0)"')
    assert docker.run().returncode == 0
    assert values(docker.calls()[-1], "--gpus") == ["all"]

    docker.install("nvidia-smi", 'echo "No devices were found"; exit 6')
    assert docker.run().returncode == 0
    assert "--gpus" not in docker.calls()[-1]


def test_rundocker_helps_and_refuses_without_calling_docker(docker: Docker) -> None:
    assert docker.run("--help").stdout.startswith("Usage: rundocker.sh [DOCKERFILE]")
    for arguments, complaint in (
        (("--gpu",), "unknown option --gpu"),
        (("missing.docker",), "no docker file at missing.docker"),
        (("--", "true"), ""),
        ((str(docker.script), "bash"), "unexpected argument bash; a command stands behind --"),
    ):
        done = docker.run(*arguments)
        assert (done.returncode, complaint in done.stderr) == (2 if complaint else 0, True)
    assert [call[0] for call in docker.calls()] == ["build", "run"]

    (docker.bin / "docker").unlink()
    assert "docker is not on PATH" in docker.run().stderr


def test_a_failed_image_build_runs_nothing(docker: Docker) -> None:
    docker.install("docker", f'echo "$1" >>{docker.record}; echo >>{docker.record}; exit 7')
    assert docker.run().returncode == 7
    assert [call[0] for call in docker.calls()] == ["build"]


def in_env(shell: str, repository: Path, commands: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    if Path(sys.prefix) != repository / ".venv":
        pytest.skip("env.sh would make .venv; `make test` runs this in it")
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [shell, "-c", f". '{repository}/env.sh' && {commands}"],
        cwd="/",
        env={**variables, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_env_enters_the_pinned_environment_from_any_folder(shell: str, repository: Path) -> None:
    show = 'command -v python && echo "$PYTHONPATH" && echo "$STAGEDML_ROOT" && echo "$STAGEDML_EXPERIMENTS"'
    done = in_env(shell, repository, show, HOME="/the/home")
    assert done.stdout.splitlines() == [
        str(repository / ".venv" / "bin" / "python"),
        str(repository / "src"),
        "/the/home/_pylightnix",
        "/the/home/_pylightnix/roots",
    ], done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_env_keeps_what_the_user_set(shell: str, repository: Path) -> None:
    show = 'echo "$PYTHONPATH" && echo "$STAGEDML_ROOT" && echo "$STAGEDML_EXPERIMENTS"'
    done = in_env(shell, repository, show, PYTHONPATH="/mine", PYLIGHTNIX_ROOT="/store", STAGEDML_EXPERIMENTS="/links")
    assert done.stdout.splitlines() == [f"{repository}/src:/mine", "/store", "/links"], done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_helper_that_env_lists_is_there_and_works(shell: str, repository: Path, tmp_path: Path) -> None:
    listed = in_env(shell, repository, "envhelp")
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert {"runipython", "runtests", "typecheck", "runtensorboard"} < set(names), listed.stderr
    for command, expected in (
        (" && ".join(f"command -v {name} >/dev/null" for name in names) + " && echo all", "all"),
        ("runtests --collect-only -q tests/test_shell.py", "test_shell.py"),
        (f"HOME={tmp_path} runipython -c 'print(realize)'", "<function realize"),
        ("runtensorboard one two", ""),
    ):
        done = in_env(shell, repository, command)
        assert expected in done.stdout, done.stderr
        assert done.returncode == (0 if expected else 2), done.stderr


def test_env_says_how_to_use_it_when_it_is_run(repository: Path) -> None:
    done = subprocess.run(["bash", repository / "env.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "type '. env.sh'" in done.stderr
