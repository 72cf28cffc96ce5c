"""3rdparty/tensorflow.sh on a small git repository in TensorFlow's place, with stand-ins for bazel, clang and GPUs."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
import venv
import zipfile
from pathlib import Path

import pytest

from standins import Programs

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
TOOLS = (
    *("awk", "basename", "bash", "chmod", "cp", "cut", "dirname", "env", "flock", "git", "grep", "mkdir"),
    *("mv", "paste", "rm", "sed", "sha256sum", "sleep", "sort", "sync", "tail", "uname"),
)
BAZEL = textwrap.dedent("""\
    if [ "$1" = --version ]; then echo "bazel 7.4.1"; exit; fi
    printf '%s\\n' "$@" >>"$RECORD"
    house=bazel-bin/tensorflow/tools/pip_package/wheel_house
    mkdir -p $house
    """)


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    return subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True).stdout


class Tree(Programs):
    """A working tree whose sources.txt pins a commit of a repository of the test's own."""

    def __init__(self, repository: Path, folder: Path) -> None:
        super().__init__(folder / "bin", TOOLS)
        self.record = folder / "record"
        self.third = folder / "a tree" / "3rdparty"
        self.third.mkdir(parents=True)
        self.script = self.third / "tensorflow.sh"
        self.script.write_text((repository / "3rdparty" / "tensorflow.sh").read_text())

        self.upstream = folder / "upstream"
        self.upstream.mkdir()
        git(self.upstream, "init", "--quiet")
        (self.upstream / ".bazelversion").write_text("7.4.1\n")
        (self.upstream / "configure").write_text("#!/bin/bash\nread -r answer || env >configured\n")
        (self.upstream / "configure").chmod(0o755)
        git(self.upstream, "add", ".")
        git(self.upstream, "commit", "--quiet", "--message", "the pinned one")
        self.commit = git(self.upstream, "rev-parse", "HEAD").strip()
        git(self.upstream, "commit", "--quiet", "--allow-empty", "--message", "a later one")
        self.pin()

        python = self.third.parent / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(
            f'#!/bin/bash\n[ "$1" != -m ] || {{ printf "%s\\n" "$@" >>"$RECORD"; exit; }}\nexec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
        self.install("clang", "echo 18.1.8")
        self.free(100)
        self.install("curl", 'while [ "$1" != --output ]; do shift; done; exec cp "${3#file://}" "$2"')
        self.install("bazel", f'{BAZEL}echo "wheel $$" >$house/tensorflow-2.20.0-{TAG}-{TAG}-linux_x86_64.whl')

    def pin(self, *more: str) -> None:
        lines = (f"tensorflow file://{self.upstream} {self.commit}", *more)
        (self.third / "sources.txt").write_text("# NAME URL HASH\n" + "".join(f"{line}\n" for line in lines))

    def free(self, gib: int) -> None:
        """Let the disk have so much left, whatever the machine's own has."""
        self.install("df", f"echo header; echo /dev/disk 1 1 {gib * 1024 * 1024} 1% /")

    def source(self) -> Path:
        return self.third / "build" / f"source-{self.commit}"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(self.script), *arguments],
            env={"PATH": str(self.path), "HOME": str(self.path), "RECORD": str(self.record), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=120)
        return process.returncode, stdout, stderr

    def fails(self, *arguments: str, **environment: str) -> str:
        """What it says; nothing that looks like a wheel may be left."""
        code, stdout, stderr = self.run(*arguments, **environment)
        assert (code, stdout) == (1, ""), stderr
        assert not list(self.third.glob("build/wheels/*/*.whl"))
        assert "no wheel of" in self.run("install")[2]
        return stderr

    def asked(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Tree:
    return Tree(repository, tmp_path)


def test_it_builds_the_pinned_commit_once_and_installs_the_wheel(tree: Tree) -> None:
    code, stdout, stderr = tree.run("build")
    assert code == 0, stderr
    wheel = Path(stdout.strip())
    assert wheel.parent == tree.third / "build" / "wheels" / f"{tree.commit}-{VERSION}-cpu"
    source = tree.source()
    assert git(source, "rev-parse", "HEAD").strip() == tree.commit
    assert "//tensorflow/tools/pip_package:wheel" in tree.asked()
    assert f"--repo_env=HERMETIC_PYTHON_VERSION={VERSION}" in tree.asked()
    assert "--config=cuda_wheel" not in tree.asked()
    configured = (source / "configured").read_text().splitlines()
    assert {"TF_NEED_CUDA=0", f"CLANG_COMPILER_PATH={tree.path}/clang"} <= set(configured)

    content = wheel.read_text()
    assert tree.run("build")[:2] == (0, stdout)
    assert wheel.read_text() == content

    tree.record.unlink()
    code, _, stderr = tree.run("install")
    assert (code, "make clean-venv environment goes back" in stderr) == (0, True)
    assert tree.asked() == ["-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)]


def test_with_a_gpu_it_builds_for_what_is_there(tree: Tree) -> None:
    tree.install(
        "nvidia-smi",
        'case $1 in --list-gpus) echo "GPU 0: One"; echo "GPU 1: Two" ;; *) printf "9.0\\n8.0\\n9.0\\n" ;; esac',
    )
    code, stdout, stderr = tree.run("build")
    assert code == 0, stderr
    assert Path(stdout).parent.name.endswith("-cuda")
    assert "--config=cuda_wheel" in tree.asked()
    configured = (tree.source() / "configured").read_text().splitlines()
    assert {"TF_NEED_CUDA=1", "HERMETIC_CUDA_COMPUTE_CAPABILITIES=8.0,9.0"} <= set(configured)
    assert "no wheel of" in tree.run("install", "cpu")[2]
    assert tree.run("install", "cuda")[0] == 0


def test_it_says_what_is_missing_before_anything_is_fetched(tree: Tree) -> None:
    tree.free(1)
    assert "has 1 GiB free, and a build takes about 40" in tree.fails("build")
    tree.install("clang", "echo 14.0.6")
    assert "needs clang 17 or later: clang is 14.0.6" in tree.fails("build")
    tree.remove("clang")
    assert "there is none on PATH" in tree.fails("build")
    tree.remove("bazel")
    tree.remove("curl")
    assert "needs bazel on PATH, or curl to fetch it with" in tree.fails("build")
    tree.remove("git")
    assert "git is not on PATH" in tree.fails("build")
    (tree.third.parent / ".venv" / "bin" / "python").unlink()
    assert "run make environment first" in tree.run("build")[2]
    assert not tree.source().exists()
    for arguments in ((), ("build", "tpu"), ("make",), ("build", "cpu", "cuda")):
        assert tree.run(*arguments)[0] == 2


def test_without_a_network_it_says_so_and_a_later_call_succeeds(tree: Tree) -> None:
    away = tree.upstream.rename(tree.upstream.with_name("away"))
    assert f"could not fetch {tree.commit}" in tree.fails("build")
    away.rename(tree.upstream)
    assert tree.run("build")[0] == 0


def test_a_commit_that_upstream_does_not_have_is_not_built(tree: Tree) -> None:
    tree.commit = "0" * 39 + "1"
    tree.pin()
    assert f"could not fetch {tree.commit}" in tree.fails("build")


def test_another_pin_fetches_another_source_and_builds_another_wheel(tree: Tree) -> None:
    first = tree.run("build")[1]
    tree.commit = git(tree.upstream, "rev-parse", "HEAD").strip()
    tree.pin()
    assert "no wheel of" in tree.run("install")[2]
    code, second, stderr = tree.run("build")
    assert (code, first != second) == (0, True), stderr
    assert git(tree.source(), "rev-parse", "HEAD").strip() == tree.commit


def test_a_build_that_fails_or_is_killed_leaves_no_wheel_and_is_gone_on_with(tree: Tree) -> None:
    good = (tree.path / "bazel").read_text().removeprefix("#!/bin/bash\n")
    tree.install("bazel", f"{BAZEL}exit 3")
    assert "the build failed" in tree.fails("build")
    tree.install("bazel", BAZEL)
    assert f"left no wheel for {VERSION}" in tree.fails("build")

    tree.install("bazel", f"{BAZEL}echo half >$house/tensorflow-2.20.0-{TAG}-{TAG}-linux_x86_64.whl; sleep 60")
    process = tree.start("build")
    house = tree.source() / "bazel-bin" / "tensorflow" / "tools" / "pip_package" / "wheel_house"
    while not list(house.glob("*.whl")):
        assert process.poll() is None
        time.sleep(0.05)
    assert "another build works in" in tree.run("build")[2]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert "no wheel of" in tree.run("install")[2]

    (tree.source() / ".git" / "index.lock").write_text("")
    tree.upstream.rename(tree.upstream.with_name("away"))  # what was fetched is not fetched again
    tree.install("bazel", good)
    assert tree.run("build")[0] == 0


def test_a_configuration_that_fails_shows_its_end(tree: Tree) -> None:
    (tree.upstream / "configure").write_text("#!/bin/bash\necho 'no such compiler'\nexit 4\n")
    git(tree.upstream, "commit", "--quiet", "--all", "--message", "broken")
    tree.commit = git(tree.upstream, "rev-parse", "HEAD").strip()
    tree.pin()
    assert "no such compiler" in tree.fails("build")


def test_bazelisk_is_fetched_where_bazel_is_of_another_version_and_only_the_pinned_one_is_run(tree: Tree) -> None:
    bazel = (tree.path / "bazel").read_text()
    tree.install("bazel", "echo bazel 6.5.0")
    bazelisk = tree.upstream / "bazelisk"
    bazelisk.write_text("#!/bin/sh\ntouch ran\n")
    sum_of_good = hashlib.sha256(bazel.encode()).hexdigest()
    tree.pin(f"bazelisk-{os.uname().machine} file://{bazelisk} {sum_of_good}")
    assert f"is not what sources.txt pins: expected sha256 {sum_of_good}" in tree.fails("build")
    assert not (tree.source() / "ran").exists()

    bazelisk.write_text(bazel)
    assert tree.run("build")[0] == 0
    assert "//tensorflow/tools/pip_package:wheel" in tree.asked()


@pytest.mark.slow
def test_pip_puts_the_wheel_in_the_place_of_what_was_there(tree: Tree, tmp_path: Path) -> None:
    """With a real environment, which `deactivate` and the lock know nothing of."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    wheel = tmp_path / f"tensorflow-2.20.0-{TAG}-none-any.whl"
    for word in ("pinned", "built"):
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("tensorflow.py", f"word = {word!r}\n")
            archive.writestr(
                "tensorflow-2.20.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tensorflow\nVersion: 2.20.0\n"
            )
            archive.writestr(
                "tensorflow-2.20.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {TAG}-none-any\n"
            )
            archive.writestr("tensorflow-2.20.0.dist-info/RECORD", "")
        if word == "pinned":
            subprocess.run([environment / "bin" / "pip", "install", "--quiet", "--no-index", wheel], check=True)
    tree.install("bazel", f"{BAZEL}cp {wheel} $house/{wheel.name}")
    for verb in ("build", "install"):
        code, _, stderr = tree.run(verb, STAGEDML_VENV=str(environment))
        assert code == 0, stderr
    show = [str(environment / "bin" / "python"), "-c", "import tensorflow; print(tensorflow.word)"]
    assert subprocess.run(show, check=True, capture_output=True, text=True).stdout == "built\n"


def test_what_is_pinned_is_the_tensorflow_of_the_lock(repository: Path) -> None:
    version = pytest.importorskip("tensorflow").version
    commit = version.GIT_VERSION.rpartition("-g")[2]  # its first digits
    assert (
        f"tensorflow https://github.com/tensorflow/tensorflow {commit}"
        in (repository / "3rdparty" / "sources.txt").read_text()
    )
    assert f"tensorflow=={version.VERSION} " in (repository / "3rdparty" / "lock.txt").read_text()
