"""rundocker.sh with a stand-in for docker that records what it is asked, and the docker files."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from standins import Programs

TOOLS = ("bash", "basename", "cat", "cut", "dirname", "getent", "grep", "id", "mkdir", "mv", "sed", "sort", "tr")


class Docker(Programs):
    """Runs rundocker.sh with a PATH on which `docker` writes down its arguments, and `run` ends as told."""

    def __init__(self, script: Path, folder: Path) -> None:
        super().__init__(folder / "bin", TOOLS)
        self.script, self.home, self.record = script, folder / "home", folder / "record"
        self.home.mkdir()
        self.becomes()

    def becomes(
        self, version: str = "Docker version 28", info: str = "[name=seccomp]", build: str = ":", run: str = ":"
    ) -> None:
        """What the stand-in answers, and what it does to build and to run; both see the script's environment."""
        self.install(
            "docker",
            f"""case $1 in
            --version) echo '{version}'; exit ;;
            info) {info if info.startswith("exit") else f"echo '{info}'; exit"} ;;
            esac
            for word in "$@"; do printf '%s\\n' "$word"; done >>'{self.record}'; echo >>'{self.record}'
            case $1 in build) {build} ;; run) {run} ;; esac""",
        )

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": str(self.path), "HOME": str(self.home), **more}

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.script), *arguments],
            env=self.environment(**environment),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[list[str]]:
        return (
            [call.split("\n") for call in self.record.read_text().strip().split("\n\n")] if self.record.exists() else []
        )

    def last(self) -> list[str]:
        return self.calls()[-1]


def values(call: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(call) if name == option]


@pytest.fixture
def docker(repository: Path, tmp_path: Path) -> Docker:
    return Docker(repository / "rundocker.sh", tmp_path)


def test_it_builds_the_image_and_runs_its_shell_as_the_same_user(docker: Docker, repository: Path) -> None:
    done = docker.run()
    assert done.returncode == 0, done.stderr
    build, run = docker.calls()
    assert build[0] == "build"
    assert values(build, "--file") == [str(repository / "docker" / "stagedml_dev.docker")]
    assert build[-1] == str(repository)
    assert run[0] == "run"
    assert values(build, "--tag") == run[-1:] == [f"stagedml-dev:{os.getuid()}"]
    assert values(run, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert set(values(run, "--group-add")) == {str(group) for group in {os.getgid(), *os.getgroups()}}
    assert values(run, "--workdir") == [str(repository)]
    assert f"{repository}:{repository}" in values(run, "--volume")
    assert not {"--gpus", "--tty", "--userns"} & set(run)


def test_a_user_whom_no_file_knows_has_a_name_inside(docker: Docker) -> None:
    docker.install(
        "id", 'case "$*" in -u) echo 71234567 ;; -g) echo 7000001 ;; -un) echo ada ;; -G) echo 7000001 7000002 ;; esac'
    )
    docker.install("getent", '[ "$2" = 7000001 ] && echo "analytical engines:*:7000001:ada,charles" || exit 2')
    done = docker.run()
    assert done.returncode == 0, done.stderr
    run = docker.last()
    assert values(run, "--user") == ["71234567:7000001"]
    inside = {value.split(":")[1]: Path(value.split(":")[0]) for value in values(run, "--volume") if ":/etc/" in value}
    assert "ada:x:71234567:7000001::/tmp:/bin/bash" in inside["/etc/passwd"].read_text().splitlines()
    groups = inside["/etc/group"].read_text().splitlines()
    assert "analytical engines:*:7000001:" in groups
    assert "group7000002:x:7000002:" in groups
    assert {"6573", "9455"} == {value.split(":")[1] for value in values(run, "--publish")}


@pytest.mark.parametrize(
    ("version", "info", "expected", "named"),
    [
        ("Docker version 28", "[name=seccomp name=rootless]", {"--user": ["0:0"]}, False),
        ("Docker version 28", "[name=userns]", {"--user": ["me"], "--userns": ["host"]}, True),
        ("podman version 5", "rootless=true", {"--user": ["me"], "--userns": ["keep-id"]}, True),
        ("podman version 5", "rootless=false", {"--user": ["me"]}, True),
    ],
)
def test_what_is_written_belongs_to_the_user_under_every_engine(
    docker: Docker, version: str, info: str, expected: dict[str, list[str]], named: bool
) -> None:
    docker.becomes(version=version, info=info)
    assert docker.run().returncode == 0
    me = f"{os.getuid()}:{os.getgid()}"
    for option in ("--user", "--userns"):
        assert values(docker.last(), option) == [me if value == "me" else value for value in expected.get(option, [])]
    assert any(value.endswith(":/etc/passwd:ro") for value in values(docker.last(), "--volume")) == named


def test_it_mounts_the_store_at_its_own_path_and_makes_it_first(docker: Docker, tmp_path: Path) -> None:
    assert docker.run().returncode == 0
    store = docker.home / "_pylightnix"
    assert store.is_dir()
    assert f"{store}:{store}" in values(docker.last(), "--volume")
    assert f"PYLIGHTNIX_ROOT={store}" in values(docker.last(), "--env")

    other, experiments, mirror = tmp_path / "an other", tmp_path / "experiments", tmp_path / "mirror"
    mirror.mkdir()
    mirrors = f"{mirror}:https://mirror.example:8443/data"
    done = docker.run(
        STAGEDML_ROOT=str(other), STAGEDML_EXPERIMENTS=str(experiments), STAGEDML_MIRRORS=mirrors, STAGEDML_JOBS="3"
    )
    assert done.returncode == 0, done.stderr
    run = docker.last()
    assert {f"{other}:{other}", f"{experiments}:{experiments}", f"{mirror}:{mirror}:ro"} <= set(values(run, "--volume"))
    assert {f"PYLIGHTNIX_ROOT={other}", "STAGEDML_MIRRORS", "STAGEDML_JOBS"} <= set(values(run, "--env"))

    assert "there is a colon in it" in docker.run(STAGEDML_ROOT=str(tmp_path / "a:b")).stderr


def test_an_argument_is_a_docker_file_or_an_image(docker: Docker, tmp_path: Path) -> None:
    mine = tmp_path / "My_image.docker"
    mine.write_text("FROM scratch\n")
    assert docker.run(str(mine)).returncode == 0
    assert values(docker.calls()[0], "--file") == [str(mine)]
    assert docker.last()[-1] == f"stagedml-my-image:{os.getuid()}"

    docker.record.unlink()
    assert docker.run("registry.example:5000/tools/python:3.12", "--", "python", "-V").returncode == 0
    assert [call[0] for call in docker.calls()] == ["run"]
    assert docker.last()[-2:] == ["registry.example:5000/tools/python:3.12", "-V"]


def test_a_command_takes_the_place_of_the_images_own(docker: Docker) -> None:
    assert docker.run("--", "make", "test", "PYTEST_ARGS=-k 'a b'").returncode == 0
    assert values(docker.last(), "--entrypoint") == ["make"]
    assert docker.last()[-3:] == [f"stagedml-dev:{os.getuid()}", "test", "PYTEST_ARGS=-k 'a b'"]


def test_it_passes_the_gpus_on_where_there_are_any(docker: Docker) -> None:
    docker.install("nvidia-smi", 'echo "GPU 0: Some GPU (UUID: GPU-0)"')
    assert docker.run().returncode == 0
    assert values(docker.last(), "--gpus") == ["all"]

    docker.becomes(version="podman version 5", info="rootless=true")
    assert docker.run().returncode == 0
    assert values(docker.last(), "--device") == ["nvidia.com/gpu=all"]

    docker.install("nvidia-smi", 'echo "No devices were found"; exit 6')
    assert docker.run().returncode == 0
    assert not {"--gpus", "--device"} & set(docker.last())


def test_ports_are_the_users_own_and_open_to_this_machine_alone(docker: Docker) -> None:
    docker.install("id", 'case "$*" in -un) echo me ;; *) echo 4321 ;; esac')
    done = docker.run()
    assert values(docker.last(), "--publish") == ["127.0.0.1:6327:6327", "127.0.0.1:9209:9209"]
    assert {"STAGEDML_TENSORBOARD_PORT=6327", "STAGEDML_JUPYTER_PORT=9209"} <= set(values(docker.last(), "--env"))
    assert "port 6327 for runtensorboard" in done.stderr
    assert "port 9209 for runjupyter" in done.stderr

    with socket.create_server(("127.0.0.1", 9209)):
        assert docker.run().returncode == 0
    assert values(docker.last(), "--publish")[1] == "127.0.0.1:9210:9210"

    assert docker.run(STAGEDML_PORTS="7001 7002").returncode == 0
    assert values(docker.last(), "--publish") == ["127.0.0.1:7001:7001", "127.0.0.1:7002:7002"]
    assert docker.run(STAGEDML_PORTS="none").returncode == 0
    assert values(docker.last(), "--publish") == []
    assert "give two ports, or none" in docker.run(STAGEDML_PORTS="7001").stderr


def test_proxies_reach_the_build_and_the_container_and_no_list_of_processes(docker: Docker) -> None:
    docker.becomes(build="echo $http_proxy", run="echo $HTTPS_PROXY")
    secret = "http://me:secret@proxy.example:3128"
    done = docker.run(http_proxy=secret, HTTPS_PROXY=secret, no_proxy="localhost")
    assert (done.stdout.count(secret), done.stderr.count(secret)) == (1, 1)  # the run's and the build's own words
    build, run = docker.calls()
    assert values(build, "--build-arg") == ["http_proxy", "no_proxy", "HTTPS_PROXY"]
    assert {"http_proxy", "no_proxy", "HTTPS_PROXY"} <= set(values(run, "--env"))
    assert "secret" not in docker.record.read_text()


def test_what_is_piped_in_reaches_the_command_and_its_exit_code_comes_back(docker: Docker) -> None:
    docker.becomes(run="cat; exit 42")
    done = docker.run("--", "cat", stdin="a line\n")
    assert (done.returncode, done.stdout) == (42, "a line\n")
    assert "--interactive" in docker.last()
    assert "--tty" not in docker.last()


def test_at_a_terminal_the_container_has_one(docker: Docker) -> None:
    child = pexpect.spawn("/bin/bash", [str(docker.script)], env=docker.environment(), timeout=30)
    child.expect(pexpect.EOF)
    assert {"--interactive", "--tty"} <= set(docker.last())


def test_a_signal_reaches_the_container(docker: Docker, tmp_path: Path) -> None:
    started, stopped = tmp_path / "started", tmp_path / "stopped"
    docker.becomes(run=f"trap 'echo >{stopped}; exit 9' TERM; echo >{started}; while :; do read -t 0.1 <> <(:); done")
    child = subprocess.Popen(["bash", str(docker.script)], env=docker.environment(), stderr=subprocess.DEVNULL)
    while not started.exists():
        assert child.poll() is None
        time.sleep(0.05)
    child.terminate()
    assert child.wait(timeout=30) == 9
    assert stopped.exists()


def test_it_helps_and_refuses_before_anything_is_built(docker: Docker) -> None:
    assert docker.run("--help").stdout.startswith("Usage: rundocker.sh [DOCKERFILE|IMAGE]")
    for arguments, complaint in (
        (("--gpu",), "unknown option --gpu"),
        (("missing.docker",), "no docker file at missing.docker"),
        (("./missing",), "no docker file at ./missing"),
        ((str(docker.script), "bash"), "unexpected argument bash; a command stands behind --"),
    ):
        done = docker.run(*arguments)
        assert (done.returncode, complaint in done.stderr) == (2, True)
    docker.becomes(info="exit 1")
    assert "docker does not answer" in docker.run().stderr
    docker.remove("docker")
    assert "docker is not on PATH" in docker.run().stderr
    assert docker.calls() == []


def test_a_failed_image_build_runs_nothing(docker: Docker) -> None:
    docker.becomes(build="exit 7")
    assert docker.run().returncode == 7
    assert [call[0] for call in docker.calls()] == ["build"]


DOCKER_FILES = ("stagedml_ci.docker", "stagedml_dev.docker", "stagedml_user.docker")


def test_every_docker_file_passes_hadolint(repository: Path) -> None:
    assert {path.name for path in (repository / "docker").iterdir()} == set(DOCKER_FILES)
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not in this environment")
    done = subprocess.run(
        [hadolint, *DOCKER_FILES], cwd=repository / "docker", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", DOCKER_FILES)
def test_an_image_installs_what_the_locks_say_and_sees_what_it_copies(repository: Path, name: str) -> None:
    text = re.sub(r"\\\n\s*", "", (repository / "docker" / name).read_text())
    assert re.search(r"^RUN .*3rdparty/bootstrap\.sh packages", text, flags=re.MULTILINE)
    assert not re.search(r"^RUN .*\bpip3? install", text, flags=re.MULTILINE)
    let_through = [line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    for line in re.findall(r"^COPY (.*) \S+$", text, flags=re.MULTILINE):
        for source in line.split():
            assert (repository / source).exists()
            assert any(f"{each}/".startswith(source.rstrip("/") + "/") for each in let_through), source
