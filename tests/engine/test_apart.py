"""Builds in processes of their own: what becomes of builders that misbehave, and of the others meanwhile."""

from __future__ import annotations

import importlib
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compat import plain
from engine import hostile
from engine.hostile import Text
from stagedml import Build, Resources, UsageError, instantiate, lrealize, output, realize, realize_many, stage
from stagedml.authoring.pylightnix import RefPath
from stagedml.cli.main import main
from stagedml.core.refs import parse_rref
from stagedml.engine import apart
from stagedml.engine.console import LineObserver
from stagedml.engine.events import Observer
from stagedml.engine.failures import BuildFailed, BuildsFailed
from stagedml.engine.journal import events_of, past_runs
from stagedml.engine.slots import Slots
from stagedml.engine.surroundings import commit_of
from stagedml.store.layout import BUILD_LOG, LOG_FOLDER
from stagedml.store.objects import Store
from stagedml.store.verify import repair, verify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="supervising is done in Linux's way")


def built(stage_: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    return realize(instantiate(stage_, *args, **kwargs), jobs=2)


def failure_of(stage_: Callable[..., Any], *args: Any, **kwargs: Any) -> BuildFailed:
    with pytest.raises(BuildFailed) as caught:
        built(stage_, *args, **kwargs)
    return caught.value


def text_of(store: Store, rref: str) -> str:
    return (store.path(parse_rref(rref)) / "text").read_text()


def log_of(store: Store, rref: str) -> str:
    return (store.path(parse_rref(rref)) / LOG_FOLDER / BUILD_LOG).read_text()


def below(process: int) -> list[int]:
    """The processes below one, the servers for builds left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == process:
            child = int(folder.name)
            found += [child, *below(child)]
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(store: Store) -> Iterator[None]:
    """Whatever happens, the store is whole, and no process of a build is left."""
    built(hostile.good, number=0)
    servers = [server._process.pid for server in apart._servers.values() if server.is_alive]
    yield
    patience = time.monotonic() + 3
    while (left := [one for server in servers for one in below(server)]) and time.monotonic() < patience:
        time.sleep(0.02)
    assert left == []
    assert verify(store).findings == ()
    assert built(hostile.good, number=0)


@pytest.mark.parametrize(
    ("stage_", "arguments", "told"),
    [
        (hostile.hungry, {}, "314,572,800 are what its stage allows"),
        (hostile.hungry_child, {}, "314,572,800 are what its stage allows"),
        (hostile.exits, {}, "its process ended with exit code 3 before the builder did"),
        (hostile.exits, {"code": 0}, "its process ended with exit code 0 before the builder did"),
        (hostile.exits_politely, {}, "SystemExit: 0"),
        (hostile.dies, {"number": int(signal.SIGSEGV)}, "its process was ended by SIGSEGV"),
        (hostile.dies, {"number": int(signal.SIGKILL)}, "its process was ended by SIGKILL, as the system does when"),
        (hostile.forks, {}, "it left processes running, which were ended:"),
        (hostile.forks_and_hangs, {}, "it ran for longer than 0.5 s, which its stage allows"),
        (hostile.leaves_programs, {}, "sleep 1000; let the builder wait for what it starts"),
        (hostile.prints, {"lines": 1_000_000}, "it printed more than 67,108,864 bytes"),
        (hostile.raises, {}, "KeyError: 'missing'"),
        (hostile.raises_oddly, {}, "Unsendable: one text"),
    ],
)
def test_a_builder_that_misbehaves_is_an_error_that_names_the_stage(
    stage_: Any, arguments: dict[str, Any], told: str, store: Store
) -> None:
    error = failure_of(stage_, **arguments)
    assert told in error.reason
    assert str(error).startswith(f"building {stage_.name_template} failed: {error.reason}")
    assert Path(error.scratch).is_dir()
    assert error.dref in str(error)


def test_the_others_go_on_when_one_is_ended(store: Store) -> None:
    with pytest.raises(BuildFailed, match="hungry"):
        realize_many(instantiate(lambda: [hostile.hungry(), hostile.good(number=1, seconds=1)]), jobs=2)
    assert [one.name for one in store.layout.storage.glob("*-good-1/*/text")] == ["text"]


def test_a_builder_that_comes_back_twice_speaks_once(store: Store) -> None:
    assert text_of(store, built(hostile.comes_back_twice)) == "x"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_process_that_the_builder_forks_publishes_nothing(store: Store, jobs: int) -> None:
    for stage_ in (hostile.forked_child_returns, hostile.forked_child_raises):
        assert text_of(store, realize(instantiate(stage_), jobs=jobs)) == "parent"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_process_that_a_builder_of_pylightnix_forks_publishes_nothing(store: Store, jobs: int) -> None:
    assert text_of(store, realize(plain.instantiate(plain.forking), jobs=jobs)) == "parent"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_link_in_the_place_of_the_output_is_refused(store: Store, tmp_path: Path, jobs: int) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(BuildFailed, match="is gone, or something else now"):
        realize(instantiate(hostile.becomes_a_link, elsewhere=str(tmp_path / "elsewhere")), jobs=jobs)
    assert os.access(tmp_path / "elsewhere" / "text", os.W_OK)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_builder_that_writes_to_its_input_fails_and_the_input_is_mended(store: Store, jobs: int) -> None:
    target = instantiate(lambda: hostile.writes_to_its_input(of=hostile.good(number=80)))
    with pytest.raises(BuildFailed, match="text, an input, was written to during the build"):
        realize(target, jobs=jobs)
    repair(store, verify(store))
    assert text_of(store, realize(instantiate(hostile.good, number=80))) == "80[]"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("speechless", "Speechless: (its text cannot be had: RuntimeError)"),
        ("surrogate", "ValueError: a\\udc80b"),
        ("no error", "NoError"),
        ("long", "ValueError: xxxx"),
    ],
)
def test_odd_errors_are_told_as_well_as_they_can_be(store: Store, which: str, told: str, jobs: int) -> None:
    with pytest.raises(BuildFailed) as caught:
        realize(instantiate(hostile.raises_one_of, which=which), jobs=jobs)
    assert caught.value.reason.startswith(told)
    assert len(str(caught.value).encode()) < 20_000


def test_a_collection_takes_nothing_of_what_a_run_is_about_to_build(store: Store) -> None:
    code = f"""
        from stagedml import *
        store_initialize({str(store.layout.root)!r})
        gc(force=True, policy=Policy(grace_s=0))
    """

    def several() -> Text:
        return hostile.good(number=53, of=[hostile.good(number=52, of=[hostile.good(number=51, seconds=2)])])

    lrealize(instantiate(hostile.good, number=50), jobs=2)  # a link, for the collector to be willing
    collector = threading.Timer(
        0.7, subprocess.run, ([sys.executable, "-c", textwrap.dedent(code)],), {"env": environment(), "check": True}
    )
    collector.start()
    assert realize(instantiate(several), jobs=2)
    collector.join()


def test_what_may_not_be_killed_is_not_waited_for() -> None:
    code = """
        import os, subprocess
        from stagedml.engine import forkserver
        kill, sleeper = os.kill, subprocess.Popen(["sleep", "60"])
        def refuse(process, number):
            if process == sleeper.pid:
                raise PermissionError
            kill(process, number)
        forkserver.os.kill = refuse
        other = subprocess.Popen(["sleep", "60"])
        forkserver.kill_all()
        assert other.wait() == -9
        assert sleeper.poll() is None
        kill(sleeper.pid, 9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment(), check=True, timeout=30)


def test_a_module_that_another_process_cannot_import_says_what_to_do(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden_stages.py").write_text(
        "from stagedml import *\nfrom engine.hostile import Text\n@stage(Text, name='hidden')\n"
        "def hidden(build: Build, *, text: RefPath = output('text')) -> None:\n    build.path(text).write_text('x')\n"
    )
    with monkeypatch.context() as context:
        context.syspath_prepend(str(tmp_path))
        stage_ = importlib.import_module("hidden_stages").hidden
        declared = instantiate(stage_)
    with pytest.raises(BuildFailed, match=r"No module named 'hidden_stages'.*realize it with `jobs=1`"):
        realize(declared, jobs=2)
    assert realize(declared)


def test_the_display_needs_no_standard_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert realize(instantiate(hostile.good, number=60))


def test_the_traceback_begins_with_the_builder_and_the_log_is_shown(store: Store) -> None:
    error = failure_of(hostile.raises)
    lines = error.frames.splitlines()
    assert lines[0].endswith("in raises")
    assert lines[-1].strip().startswith('return table["missing"]') or "~" in lines[-1]
    assert error.log == "just before"
    assert isinstance(error.__cause__, KeyError)
    assert "KeyError: 'missing'" in Path(error.log_path).read_text()


def test_the_traceback_here_begins_with_the_builder_too(store: Store) -> None:
    with pytest.raises(BuildFailed) as caught:
        realize(instantiate(hostile.raises))
    assert caught.value.frames.splitlines()[0].endswith("in raises")


def test_what_is_printed_is_kept_with_the_realization_and_is_in_no_hash(store: Store) -> None:
    rref = built(hostile.prints, lines=2)
    assert [line[:4] for line in log_of(store, rref).splitlines()] == ["0 xx", "1 xx", "from"]
    assert realize(instantiate(hostile.prints, lines=2), force=True) == rref


def test_nothing_printed_is_no_log(store: Store) -> None:
    assert not (store.path(parse_rref(built(hostile.comes_back_twice))) / LOG_FOLDER).exists()


def test_a_build_finds_itself_where_the_session_is(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOSTILE", "a\nb")
    process, folder, rest = log_of(store, built(hostile.where)).split(" ", 2)
    assert int(process) != os.getpid()
    assert folder == str(tmp_path)
    assert rest == f"a\nb {sys.argv[0]} None False\n"


def test_the_same_reference_here_and_apart(store: Store) -> None:
    def several() -> list[Text]:
        one = hostile.good(number=1)
        return [hostile.good(number=3, of=[one, hostile.good(number=2, of=[one])]), one]

    here = realize_many(instantiate(several))
    assert realize_many(instantiate(several), force=["good-1", "good-2", "good-3"], jobs=3) == here


class Listener(Observer):
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        self.heard.append((dref[38:], label, done, total, unit))

    def message(self, dref: str, text: str) -> None:
        self.heard.append((dref[38:], text))


def test_observers_hear_of_builds_apart(store: Store) -> None:
    listener = Listener()
    realize(instantiate(hostile.good, number=5), jobs=2, observer=listener)
    assert listener.heard == [("good-5", "work", 1, 2, "steps"), ("good-5", "half of it")]


def test_independent_builds_run_at_the_same_time(store: Store, tmp_path: Path) -> None:
    def several() -> list[Text]:
        return [hostile.marks(folder=str(tmp_path), seconds=1, number=number) for number in range(3)]

    realize_many(instantiate(several), jobs=2)
    began, ended = ([float((tmp_path / f"{n}-{what}").read_text()) for n in range(3)] for what in ("began", "ended"))
    assert sorted(began)[1] < min(ended)  # two together
    assert max(began) >= min(ended)  # the third when there was room


def test_after_a_failure_nothing_new_is_begun(store: Store) -> None:
    with pytest.raises(BuildFailed, match="KeyError"):
        realize_many(instantiate(lambda: [hostile.good(number=9, of=[hostile.good(number=8, of=[hostile.raises()])])]))
    assert not list(store.layout.storage.glob("*-good-[89]/*/text"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_keep_going_builds_what_does_not_rest_on_a_failure(store: Store, jobs: int) -> None:
    def several() -> list[Text]:
        bad = hostile.raises()
        return [hostile.good(number=1, of=[hostile.good(number=2, of=[bad])]), hostile.good(number=3), bad]

    with pytest.raises(BuildsFailed) as caught:
        realize_many(instantiate(several), jobs=jobs, keep_going=True)
    (failure,) = caught.value.failures
    assert isinstance(failure, BuildFailed)
    assert failure.dref.endswith("-raises")
    assert "not tried, since they rest on these: good-2, good-1" in str(caught.value)
    assert len(list(store.layout.storage.glob("*-good-3/*/text"))) == 1
    assert not list(store.layout.storage.glob("*-good-[12]/*/text"))


def test_a_full_disk_leaves_room_for_the_others(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        code = f"""
            import sys
            from engine import hostile
            from stagedml import *
            store_initialize({str(small / "root")!r})
            try:
                realize(instantiate(hostile.fills_the_disk), jobs=2)
            except BuildError as error:
                print(error)
            realize(instantiate(hostile.good, number=1), jobs=2)
            print("went on")
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment(), capture_output=True)
    finally:
        subprocess.run(["umount", small], check=True)
    told = done.stdout.decode()
    assert "building fills-the-disk failed: OSError: [Errno 28]" in told, done.stderr.decode()
    assert "what the builder had written was deleted" in told
    assert told.endswith("went on\n")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_an_interrupt_ends_all_of_it_at_once(store: Store) -> None:
    def several() -> list[Text]:
        return [hostile.good(number=number, seconds=100) for number in range(4)]

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        realize_many(instantiate(several), jobs=4)
    assert time.monotonic() - started < 1 + 3
    signal.signal(signal.SIGINT, handler)
    assert realize_many(instantiate(lambda: [hostile.good(number=7)]), jobs=4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_builds_end_with_the_session_and_the_next_one_waits_for_their_end(
    store: Store, tmp_path: Path, number: int
) -> None:
    code = f"""
        from engine import hostile
        from stagedml import *
        store_initialize({str(store.layout.root)!r})
        realize(instantiate(hostile.marks, folder={str(tmp_path)!r}, seconds=100), jobs=2)
    """
    session = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=environment())
    patience = time.monotonic() + 60
    while not (tmp_path / "0-began").exists() and time.monotonic() < patience:
        time.sleep(0.02)
    builds = below(session.pid)
    assert len(builds) == 3  # server, supervisor, builder
    session.send_signal(number)
    assert session.wait() == -number
    patience = time.monotonic() + 3
    while any(Path(f"/proc/{one}").exists() for one in builds) and time.monotonic() < patience:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{one}").exists() for one in builds)
    assert not (tmp_path / "0-ended").exists()


def test_a_server_that_is_gone_is_replaced(store: Store) -> None:
    for server in apart._servers.values():
        server._process.kill()
        server._process.wait()
    assert built(hostile.good, number=11)


@pytest.mark.parametrize(
    "wrong",
    [{"cpus": -1}, {"cpus": "2"}, {"memory": "4 apples"}, {"memory": 0}, {"gpus": 1.5}, {"timeout_s": 0}],
)
def test_wrong_resources_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Resources(**wrong)


@pytest.mark.parametrize(("text", "size"), [("4G", 4 << 30), ("1.5 KiB", 1536), ("10", 10), ("2mb", 2 << 20), (7, 7)])
def test_sizes_of_memory(text: int | str, size: int) -> None:
    assert Resources(memory=text).memory_bytes == size


def test_slots_are_taken_while_there_are_some() -> None:
    slots = Slots(3, cpus=2, memory_bytes=100, gpus=(0, 3))

    class Full(Exception):
        pass

    def is_free() -> None:
        raise Full

    def look() -> None:
        if len(slots._taken) == len(before):  # it waits
            raise Full

    def fits(wanted: Resources) -> tuple[int, ...] | None:
        with slots.held(wanted, look) as gpus:
            return gpus

    before: list[Any] = []
    one = Resources(cpus=1)
    with slots.held(Resources(cpus=1, gpus=1, memory=60), lambda: None) as first:
        assert first == (0,)
        before = [*slots._taken]
        for wanted in (Resources(memory=60), Resources(gpus=2), Resources(cpus=2)):
            with pytest.raises(Full):
                fits(wanted)
        with slots.held(Resources(gpus=1), lambda: None) as second, slots.held(one, lambda: None) as third:
            assert (second, third) == ((3,), None)
            before = [*slots._taken]
            with pytest.raises(Full):  # the fourth
                fits(Resources())
        before = [*slots._taken]
        assert fits(Resources(gpus=1)) == (3,)
    before = [*slots._taken]
    assert fits(Resources(cpus=99)) is None  # it is alone
    with slots.held(one, lambda: None):
        before = [*slots._taken]
        with pytest.raises(Full):
            fits(Resources(cpus=99))
    with pytest.raises(UsageError, match="x wants 3 GPUs, and 2 are here"):
        slots.check("x", Resources(gpus=3))
    with pytest.raises(Full), slots.held(one, is_free):
        pass
    assert slots._taken == []


def test_instances_are_built_at_the_same_time(store: Store, tmp_path: Path) -> None:
    rrefs = realize_many(instantiate(hostile.marked, folder=str(tmp_path), seconds=1), instances=3, jobs=2)
    assert len(set(rrefs)) == 3
    began, ended = ([float((tmp_path / f"{n}-{what}").read_text()) for n in range(3)] for what in ("began", "ended"))
    assert sorted(began)[1] < min(ended)
    assert max(began) >= min(ended)


def test_of_several_instances_the_failure_of_one_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "fail-1").touch()
    with pytest.raises(BuildFailed, match="ValueError: 1 fails"):
        realize_many(instantiate(hostile.marked, folder=str(tmp_path), seconds=0.1), instances=3, jobs=3)
    (tmp_path / "fail-1").unlink()
    assert len(realize_many(instantiate(hostile.marked, folder=str(tmp_path), seconds=0.1), instances=3, jobs=3)) == 3


def test_what_needs_a_gpu_does_not_keep_others_waiting(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    @stage(Text, name="on-gpu", resources=Resources(gpus=1))
    def on_gpu(build: Build, *, folder: str, number: int, text: RefPath = output("text")) -> None:
        Path(folder, f"gpu-{number}").write_text(str(time.time()))
        time.sleep(0.5)
        build.path(text).write_text("x")

    def several() -> list[Text]:
        others = [hostile.marks(folder=str(tmp_path), seconds=0.1, number=number) for number in range(2)]
        return [*(on_gpu(folder=str(tmp_path), number=number) for number in range(4)), *others]

    realize_many(instantiate(several), jobs=2)
    gpus = sorted(float((tmp_path / f"gpu-{number}").read_text()) for number in range(4))
    assert all(later - sooner >= 0.5 for sooner, later in itertools.pairwise(gpus))
    assert float((tmp_path / "1-ended").read_text()) < gpus[-1]


def test_a_build_sees_the_gpus_that_it_is_given(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")

    @stage(Text, name="with-gpu", resources=Resources(gpus=1))
    def with_gpu(build: Build, *, text: RefPath = output("text")) -> None:
        build.path(text).write_text(os.environ["CUDA_VISIBLE_DEVICES"])

    @stage(Text, name="without-gpu", resources=Resources(gpus=0))
    def without_gpu(build: Build, *, text: RefPath = output("text")) -> None:
        build.path(text).write_text(os.environ["CUDA_VISIBLE_DEVICES"])

    assert text_of(store, built(with_gpu)) == "4"
    assert text_of(store, built(without_gpu)) == "-1"


@pytest.mark.parametrize("jobs", [0, -1, True, "2", 1.5])
def test_wrong_numbers_of_jobs_are_refused(store: Store, jobs: Any) -> None:
    with pytest.raises(UsageError, match="give how many builds may run at once"):
        realize(instantiate(hostile.good, number=0), jobs=jobs)


def test_tensorflow_is_loaded_for_those_who_import_it() -> None:
    assert apart._modules_for(["numpy", "tensorflow.python", "official.nlp"]) == (
        "triton",
        "tensorflow",
        "tf_keras",
    )
    assert apart._modules_for(["numpy"]) == ()


@pytest.mark.tensorflow
def test_tensorflow_takes_the_same_keras_in_a_process_of_its_own_whatever_the_session_s_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    assert text_of(store, built(hostile.keras)) == "True"


SCRIPT = """
from __future__ import annotations
from dataclasses import dataclass
from stagedml import *
import helpers
{change}
LEVEL = 3
class Scripted(Artifact):
    text: RefPath
    level: int
@dataclass
class Box:
    a: int
def helper(x):
    return Box(x * LEVEL).a
@stage(Scripted, name="scripted")
def scripted(build: Build, *, level: int = 1, text: RefPath = output("text")) -> None:
    import os
    print(os.getpid())
    build.path(text).write_text(f"{{helper(level)}} {{helpers.f()}}")
@stage(Scripted, name="second")
def second(build: Build, *, of: Scripted, level: int = 1, text: RefPath = output("text")) -> None:
    build.path(text).write_text(build.path(of.text).read_text() + f" {{of.level}}")
if __name__ == "__main__":
    import os
    store_initialize("root")
    rref = realize(instantiate(lambda: second(of=scripted(level=2))), jobs=2)
    print(open(rref2path(rref) + "/text").read())
"""


@pytest.mark.parametrize(
    ("change", "told"), [("", "6 1 2\n"), ("helpers.f = lambda: 7", "6 7 2\n")], ids=["plain", "changing a module"]
)
def test_stages_of_a_script_are_built_as_the_script_has_them(tmp_path: Path, change: str, told: str) -> None:
    (tmp_path / "helpers.py").write_text("def f():\n    return 1\n")
    (tmp_path / "script.py").write_text(SCRIPT.format(change=change))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment(), capture_output=True)
    assert done.stdout.decode().endswith(told), done.stderr.decode()


CELLS = [
    "from stagedml import *\nimport helpers\nstore_initialize('root')",
    "class Cell(Artifact):\n    text: RefPath\n    level: int\ndef helper(x):\n    return x * 3 + helpers.f()",
    "@stage(Cell, name='cell')\ndef cell(build: Build, *, level: int = 1, text: RefPath = output('text')) -> None:\n"
    "    build.path(text).write_text(str(helper(level)))",
    "rref = realize(instantiate(cell, level=2), jobs=2)",
]


@pytest.mark.parametrize(("change", "told"), [("", "7"), ("helpers.f = lambda: 5", "11")])
def test_stages_of_a_notebook_are_built_as_the_notebook_has_them(tmp_path: Path, change: str, told: str) -> None:
    (tmp_path / "helpers.py").write_text("def f():\n    return 1\n")
    code = f"""
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        for cell in {[*CELLS[:2], change, *CELLS[2:]]!r}:
            shell.run_cell(cell, store_history=True).raise_error()
        shell.run_cell("print('>', open(rref2path(rref) + '/text').read())").raise_error()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, env=environment(), capture_output=True
    )
    assert f"> {told}\n" in done.stdout.decode(), done.stderr.decode()


def test_what_cannot_be_sent_says_so(tmp_path: Path) -> None:
    code = """
        from IPython.core.interactiveshell import InteractiveShell
        from stagedml import UsageError
        shell = InteractiveShell.instance()
        def run(cell):
            shell.run_cell(cell, store_history=True).raise_error()
        run("from stagedml import *\\nimport threading\\nlock = threading.Lock()\\nstore_initialize('root')")
        run("class Cell(Artifact):\\n    text: RefPath")
        run("@stage(Cell, name='cell')\\ndef cell(build: Build, *, text: RefPath = output('text')) -> None:\\n"
            "    with lock:\\n        build.path(text).write_text('x')")
        try:
            run("realize(instantiate(cell), jobs=2)")
        except UsageError as error:
            print(">", error)
        run("realize(instantiate(cell), jobs=1)")
        print("> built")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, env=environment(), capture_output=True
    )
    told = done.stdout.decode()
    assert "> cell cannot be built in a process of its own: TypeError: cannot pickle '_thread.lock'" in told
    assert told.endswith("> built\n"), done.stderr.decode()


def test_a_helper_that_is_edited_between_declaration_and_build_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("def f():\n    return 1\n")
    pipeline = """
        import helpers
        from stagedml import *
        class Made(Artifact):
            text: RefPath
        @stage(Made, name="made")
        def made(build: Build, *, text: RefPath = output("text")) -> None:
            build.path(text).write_text(str(helpers.f()))
    """
    (tmp_path / "pipeline.py").write_text(textwrap.dedent(pipeline))
    code = """
        import pipeline
        from stagedml import *
        store_initialize("root")
        declared = instantiate(pipeline.made)
        open("helpers.py", "w").write("def f():\\n    return 22\\n")
        try:
            realize(declared, jobs=2)
        except BuildError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, env=environment(), capture_output=True
    )
    assert "helpers.py (1:f) changed between declaration and build" in done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_build_used_and_ran_on_is_recorded(store: Store, jobs: int) -> None:
    known = store.metadata(parse_rref(realize(instantiate(hostile.busy), jobs=jobs)))
    assert known is not None
    (record,) = known.builds
    assert record.environment["python"] == sys.version.split()[0]
    assert record.environment["versions"]["numpy"]
    assert record.resources["wall_s"] >= 0.3
    assert 0.25 < record.resources["cpu_s"] < 5
    if jobs == 2:
        assert 150_000_000 < record.resources["peak_memory_bytes"] < 400_000_000


def test_the_use_of_gpus_is_recorded(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "nvidia-smi"
    stand_in.write_text(
        "#!/bin/sh\necho 'GPU-9, 1, 4096'\n"
        'for p in $(cat /proc/$PPID/task/$PPID/children); do echo "GPU-0, $p, 512"; done\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    known = store.metadata(parse_rref(built(hostile.good, number=41, seconds=4.5)))
    assert known is not None
    used = known.builds[0].resources
    assert 512 << 20 <= used["peak_gpu_memory_bytes"] <= 2 * 512 << 20  # its program is told of, too
    assert 1.5 < used["gpu_s"] < 5


def test_show_tells_what_a_build_used_and_where_its_log_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    rref = built(hostile.prints, lines=1)
    assert main(["show", "--root", str(store.layout.root), rref]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^used      \d+\.\d s of CPU time, .* of memory$", told, re.MULTILINE)
    assert f"log       {store.path(parse_rref(rref)) / LOG_FOLDER / BUILD_LOG}\n" in told


def test_builds_of_one_name_are_told_apart(store: Store) -> None:
    stream = io.StringIO()

    def several() -> list[Text]:
        return [hostile.prints(lines=1), hostile.prints(lines=2), hostile.good(number=70)]

    drefs = instantiate(several).result
    realize_many(instantiate(several), jobs=2, observer=LineObserver(stream))
    told = stream.getvalue()
    assert all(f"prints {dref[5:11]}: building\n" in told for dref in drefs[:2])
    assert "good-70: building\n" in told


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True).stdout


def test_the_commit_of_the_code_and_whether_it_is_dirty_are_told(tmp_path: Path) -> None:
    assert commit_of(str(tmp_path / "missing")) == {}
    git(tmp_path, "init", "--quiet")
    assert commit_of(str(tmp_path)) == {}
    (tmp_path / "code.py").write_text("x = 1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    (tmp_path / "other.py").write_text("")
    assert commit_of(str(tmp_path)) == {"commit": commit, "dirty": False}
    (tmp_path / "code.py").write_text("x = 2")
    assert commit_of(str(tmp_path)) == {"commit": commit, "dirty": True}


def events(store: Store) -> list[tuple[str, str]]:
    run = next(past_runs(store.layout))
    return [(line["event"], line.get("dref", "")[38:]) for line in events_of(Path(run.path))]


def test_a_run_has_a_journal(store: Store) -> None:
    realize(instantiate(lambda: hostile.good(number=1, of=[hostile.good(number=2)])), jobs=2)
    assert events(store) == [
        ("began", ""),
        ("planned", ""),
        *[("started", "good-2"), ("progress", "good-2"), ("message", "good-2"), ("finished", "good-2")],
        *[("started", "good-1"), ("progress", "good-1"), ("message", "good-1"), ("finished", "good-1")],
        ("ended", ""),
    ]
    run = next(past_runs(store.layout))
    assert (run.how, run.command) == ("done", tuple(sys.argv))
    before = len(list(past_runs(store.layout)))
    realize(instantiate(hostile.good, number=2))  # nothing to do
    assert len(list(past_runs(store.layout))) == before


def test_a_journal_tells_how_a_run_failed(store: Store) -> None:
    failure_of(hostile.raises)
    assert events(store)[-2:] == [("failed", "raises"), ("ended", "")]
    run = next(past_runs(store.layout))
    assert run.how == "failed"
    last = events_of(Path(run.path))[-1]
    assert last["error"].startswith("BuildFailed: building raises failed: KeyError: 'missing'")


def test_a_run_does_not_fail_for_its_journal(store: Store) -> None:
    for path in store.layout.runs.iterdir():
        path.unlink()
    store.layout.runs.rmdir()
    store.layout.runs.write_text("no folder")
    assert realize(instantiate(hostile.good, number=31))
    assert list(past_runs(store.layout)) == []
