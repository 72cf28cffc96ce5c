"""Builders that misbehave, and some that do not."""

# ruff: noqa: T201 - builders print

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from stagedml import Artifact, Build, RefPath, Resources, output, stage


class Text(Artifact):
    """A file."""

    text: RefPath


@stage(Text, name="hungry", resources=Resources(memory="300M"))
def hungry(build: Build, *, text: RefPath = output("text")) -> None:
    held = []
    while True:
        held.append(bytearray(10_000_000))


@stage(Text, name="hungry-child", resources=Resources(memory="300M"))
def hungry_child(build: Build, *, text: RefPath = output("text")) -> None:
    endless = "held = []\nwhile True: held.append(bytearray(10_000_000))"
    subprocess.run([sys.executable, "-c", endless], check=True)


@stage(Text, name="exits")
def exits(build: Build, *, code: int = 3, text: RefPath = output("text")) -> None:
    print("before the end", flush=True)
    build.path(text).write_text("x")
    os._exit(code)


@stage(Text, name="exits-politely")
def exits_politely(build: Build, *, text: RefPath = output("text")) -> None:
    build.path(text).write_text("x")
    sys.exit(0)


@stage(Text, name="dies")
def dies(build: Build, *, number: int, text: RefPath = output("text")) -> None:
    os.kill(os.getpid(), number)


@stage(Text, name="forks")
def forks(build: Build, *, text: RefPath = output("text")) -> None:
    build.path(text).write_text("x")
    if os.fork() == 0:
        time.sleep(1000)


@stage(Text, name="forks-and-hangs", resources=Resources(timeout_s=0.5))
def forks_and_hangs(build: Build, *, text: RefPath = output("text")) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    time.sleep(1000)


@stage(Text, name="comes-back-twice")
def comes_back_twice(build: Build, *, text: RefPath = output("text")) -> None:
    build.path(text).write_text("x")
    os.fork()


@stage(Text, name="leaves-programs")
def leaves_programs(build: Build, *, text: RefPath = output("text")) -> None:
    build.path(text).write_text("x")
    subprocess.run("setsid sleep 1000 & sleep 1000 &", shell=True, check=True)


@stage(Text, name="prints")
def prints(build: Build, *, lines: int, text: RefPath = output("text")) -> None:
    line = "x" * 1023 + "\n"
    for number in range(lines):
        sys.stdout.write(f"{number} {line}")
    os.system("echo from a program >&2")
    build.path(text).write_text("x")


@stage(Text, name="fills-the-disk")
def fills_the_disk(build: Build, *, text: RefPath = output("text")) -> None:
    with open(build.path(text), "wb") as file:
        while True:
            file.write(bytes(1 << 20))


@stage(Text, name="raises")
def raises(build: Build, *, text: RefPath = output("text")) -> None:
    print("just before")
    helper({})


def helper(table: dict[str, str]) -> str:
    return table["missing"]


class Unsendable(Exception):
    """An error that does not survive a pickle."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__("one text")


@stage(Text, name="raises-oddly")
def raises_oddly(build: Build, *, text: RefPath = output("text")) -> None:
    raise Unsendable(open(os.devnull), lambda: 1)  # noqa: SIM115


@stage(Text, name="good-{number}")
def good(
    build: Build,
    *,
    number: int,
    of: list[Text] = [],  # noqa: B006 - nobody changes it
    seconds: float = 0.0,
    text: RefPath = output("text"),
) -> None:
    build.progress("work", 1, 2, "steps")
    build.message("half of it")
    if seconds:
        subprocess.run(["sleep", str(seconds)], check=True)
    found = [build.path(one.text).read_text() for one in of]
    build.path(text).write_text(f"{number}{found}")


@stage(Text, name="where")
def where(build: Build, *, number: int = 0, text: RefPath = output("text")) -> None:
    """Write where and how it runs."""
    told = [os.getpid(), os.getcwd(), os.environ.get("HOSTILE"), sys.argv[0], os.environ.get("CUDA_VISIBLE_DEVICES")]
    print(*told, "tensorflow" in sys.modules, flush=True)
    build.path(text).write_text("x")


@stage(Text, name="keras")
def keras(build: Build, *, text: RefPath = output("text")) -> None:
    from stagedml.ml.framework import tf, tf_keras

    build.path(text).write_text(str(tf.keras.Model is tf_keras.Model))


@stage(Text, name="marks")
def marks(build: Build, *, folder: str, seconds: float, number: int = 0, text: RefPath = output("text")) -> None:
    """Leave marks of when it ran."""
    Path(folder, f"{number}-began").write_text(str(time.time()))
    time.sleep(seconds)
    Path(folder, f"{number}-ended").write_text(str(time.time()))
    build.path(text).write_text(f"{number}")


@stage(Text, name="busy")
def busy(build: Build, *, text: RefPath = output("text")) -> None:
    """Keep a core and some memory busy for a moment."""
    import numpy as np

    held = np.ones(20_000_000)  # 160 MB
    until = time.process_time() + 0.3
    while time.process_time() < until:
        held[:1000] += 1
    build.path(text).write_text(str(len(held)))


@stage(Text, name="once")
def once(build: Build, *, trace: str, text: RefPath = output("text")) -> None:
    if Path(trace).exists():
        raise ValueError("only once")
    Path(trace).touch()
    build.path(text).write_text("x")


@stage(Text, name="marked")
def marked(build: Build, *, folder: str, seconds: float, text: RefPath = output("text")) -> None:
    """Leave marks of when each instance ran."""
    if Path(folder, f"fail-{build.instance}").exists():
        raise ValueError(f"{build.instance} fails")
    Path(folder, f"{build.instance}-began").write_text(str(time.time()))
    time.sleep(seconds)
    Path(folder, f"{build.instance}-ended").write_text(str(time.time()))
    build.path(text).write_text(f"{build.seed}")


@stage(Text, name="forked-child-returns")
def forked_child_returns(build: Build, *, text: RefPath = output("text")) -> None:
    child = os.fork()
    if child == 0:
        build.path(text).write_text("child")
        return
    time.sleep(0.3)
    os.waitpid(child, 0)
    build.path(text).write_text("parent")


@stage(Text, name="forked-child-raises")
def forked_child_raises(build: Build, *, text: RefPath = output("text")) -> None:
    child = os.fork()
    if child == 0:
        raise ValueError("in the child")
    os.waitpid(child, 0)
    build.path(text).write_text("parent")


@stage(Text, name="becomes-a-link")
def becomes_a_link(build: Build, *, elsewhere: str, text: RefPath = output("text")) -> None:
    Path(elsewhere, "text").write_text("x")
    build.outpath.rmdir() if not os.listdir(build.outpath) else shutil.rmtree(build.outpath)
    build.outpath.symlink_to(elsewhere)


class Speechless(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoError(Exception):
    """An error that is read as something else."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return int, (3,)


@stage(Text, name="raises-one-of")
def raises_one_of(build: Build, *, which: str, text: RefPath = output("text")) -> None:
    if which == "speechless":
        raise Speechless
    if which == "no error":
        raise NoError
    raise ValueError("a\udc80b" if which == "surrogate" else "x" * 10_000_000)


@stage(Text, name="writes-to-its-input")
def writes_to_its_input(build: Build, *, of: Text, text: RefPath = output("text")) -> None:
    given = Path(build.path(of.text))
    given.chmod(0o644)
    given.write_text("other")
    given.chmod(0o444)
    build.path(text).write_text("x")
