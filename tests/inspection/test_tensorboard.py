"""TensorBoard on the logs of a store: what its own pages get, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from inspection.event_files import write_events
from inspection.test_logtree import Training
from inspection.trainings import all_trained
from stagedml import Policy, TensorBoard, UsageError, gc, instantiate, realize, realize_many, repl_build, repl_realize
from stagedml import runtb as begun
from stagedml.inspection import tensorboard_process
from stagedml.inspection.tensorboard import NoLogs, TensorBoardEnded, serve
from stagedml.ml.libraries import LibraryMissing
from stagedml.store.objects import Store
from stagedml.testing import toys

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def get(url: str, path: str, **posted: Any) -> Any:
    """What TensorBoard's own page would get."""
    data = json.dumps(posted).encode() if posted else None
    request = urllib.request.Request(f"{url}data/plugin/{path}", data, {"Content-Type": "application/json"})
    with _open(request, timeout=30) as answer:
        return json.load(answer)


def wait_for(look: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """What `look` returns, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.1)
    return found


def runs(url: str) -> set[str]:
    return set(get(url, "scalars/tags"))


def losses(url: str, run: str) -> list[float]:
    return [value for _, _, value in get(url, f"scalars/scalars?run={quote(run)}&tag=loss")]


def sessions(url: str) -> dict[str, dict[str, Any]]:
    """The rows of the HParams tab."""
    statuses = [f"STATUS_{status}" for status in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
    asked = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": statuses, "colParams": []}
    return {group["name"]: group for group in get(url, "hparams/session_groups", **asked)["sessionGroups"]}


def metrics(row: dict[str, Any]) -> dict[str, float]:
    return {"/".join(filter(None, value["name"].values())): value["value"] for value in row["metricValues"]}


def answers(url: str) -> bool:
    with contextlib.suppress(OSError), _open(url, timeout=5):
        return True
    return False


def is_running(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def processes_on(folder: str) -> set[int]:
    """The processes that were started with a folder in their command lines."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if folder.encode() in path.read_bytes() and is_running(int(path.parent.name)):
                found.add(int(path.parent.name))
    return found


def scratch_of(store: Store) -> list[str]:
    return [name for name in os.listdir(store.layout.scratch) if name.startswith("tensorboard")]


@pytest.fixture
def runtb() -> Iterator[Callable[..., TensorBoard]]:
    with contextlib.ExitStack() as stack:
        yield lambda *of, **how: stack.enter_context(begun(*of, **how))


RunTb = Callable[..., TensorBoard]


def test_scalars_and_parameters_of_what_is_published_and_of_what_runs(
    store: Store, runtb: RunTb, tmp_path: Path
) -> None:
    realize_many(instantiate(all_trained, 0.25, "a note"), instances=2)
    training = Training(store, tmp_path / "gate")
    board = runtb("train")
    first, second, running = (
        "train, note=a note, rate=0.25, instance 0",
        "train, note=a note, rate=0.25, instance 1",
        "train, note=plain, rate=0.5",
    )
    assert {run.name for run in board.served.runs} == {first, second, running}
    wait_for(lambda: len(runs(board.url)) == 8, "all that is logged")
    assert losses(board.url, f"{first}/train") == [0.25, 0.125]
    assert losses(board.url, f"{second}/valid") == [0.5]
    assert losses(board.url, f"{running}/train") == [0.5]

    rows = sessions(board.url)
    assert rows.keys() == {first, second, running}
    assert rows[first]["hparams"] == {"rate": 0.25, "note": "a note", "shuffled": True}
    assert rows[running]["hparams"] == {"rate": 0.5, "note": "plain", "shuffled": True}
    assert [metrics(rows[name])["metrics/accuracy"] for name in (first, second)] == [0.75, 0.875]
    assert metrics(rows[second]) == {"metrics/accuracy": 0.875, "train/loss": 0.125, "valid/loss": 0.5}
    assert "metrics/accuracy" not in metrics(rows[running])
    experiment = get(board.url, "hparams/experiment", experimentName="")
    assert {one["name"]: one["type"].removeprefix("DATA_TYPE_") for one in experiment["hparamInfos"]} == {
        "rate": "FLOAT64",
        "note": "STRING",
        "shuffled": "BOOL",
    }

    rref = training.go_on()
    realize(instantiate(all_trained, 0.125))
    wait_for(lambda: losses(board.url, f"{running}/train") == [0.5, 0.25], "the rest of what ran")
    wait_for(lambda: metrics(sessions(board.url)[running]).get("metrics/accuracy") == 0.75, "its results")
    wait_for(lambda: losses(board.url, "train, note=plain, rate=0.125/train") == [0.125, 0.0625], "a later one")
    assert rref in {run.ref for run in board.served.runs}
    assert sessions(board.url)[running]["sessions"][0]["status"] == "STATUS_SUCCESS"

    assert board.url.startswith("http://127.0.0.1:")
    assert repr(board) == f"<TensorBoard {board.url}, 4 runs; stop() ends it>"
    assert f'<a href="{board.url}"' in board._repr_html_()
    processes = processes_on(board.served.folder)
    assert len(processes) == 2  # and its data server
    board.stop()
    board.stop()
    assert not any(map(is_running, processes))
    assert not answers(board.url)
    assert not scratch_of(store)
    assert not os.listdir(store.layout.locks)
    assert repr(board) == f"<TensorBoard {board.url}, stopped>"
    assert "href" not in board._repr_html_()


def test_several_serve_at_a_time_and_nobody_elses_is_touched(store: Store, runtb: RunTb, tmp_path: Path) -> None:
    realize(instantiate(all_trained))
    write_events(tmp_path / "other", {"loss": {1: 1.0}})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"logdir": str(tmp_path / "other"), "port": port, "host": "127.0.0.1"}
    command = [sys.executable, "-m", "tensorboard.main", *(f"--{name}={value}" for name, value in options.items())]
    somebody = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/"), "the other TensorBoard")
        first = runtb("train")
        second = runtb(str(tmp_path / "other"))
        with pytest.raises(UsageError, match=f"port {port} is in use; give another one, or none for a free one"):
            runtb("train", port=port)
        assert len(scratch_of(store)) == 2
        first.stop()
        wait_for(lambda: runs(second.url) == {"other"}, "the second one's runs")
        second.stop()
        assert somebody.poll() is None
        assert answers(f"http://127.0.0.1:{port}/")
    finally:
        somebody.terminate()
        somebody.wait()
    assert runtb("train", port=port).url == f"http://127.0.0.1:{port}/"


def test_it_ends_with_a_session_that_is_killed_and_gc_sweeps_what_is_left(store: Store) -> None:
    realize(instantiate(all_trained), link="kept")
    program = (
        "import os, time; from stagedml import *\n"
        f"store_initialize({str(store.layout.root)!r})\n"
        "board = runtb()\n"
        "if os.fork() == 0: raise SystemExit\n"  # which is not the session, and ends nothing
        "os.wait()\n"
        "print(board.url, board.served.folder, flush=True)\n"
        "time.sleep(60)\n"
    )
    session = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert session.stdout is not None
    at_once = Policy(scratch_s=0)
    try:
        with session.stdout as stream:
            url, folder = stream.readline().split()
        assert answers(url)
        processes = processes_on(folder)
        gc(force=True, policy=at_once)
        assert os.path.isdir(folder)
    finally:
        session.kill()
        session.wait()
    wait_for(lambda: not any(map(is_running, processes)), "the end of all its processes", seconds=10)
    assert not answers(url)
    gc(force=True, policy=at_once)
    assert not os.path.exists(folder)


def test_a_build_that_is_paused_for_a_person_can_be_watched(store: Store, runtb: RunTb) -> None:
    repl_realize(instantiate(all_trained))
    build = repl_build()
    board = runtb(build)
    write_events(build.log_dir, {"loss": {1: 0.5}})
    wait_for(lambda: "train" in runs(board.url), "what is logged")
    assert [(run.name, run.ref) for run in board.served.runs] == [("train", build.reference)]


def test_a_store_that_one_may_only_read_is_shown(store: Store, runtb: RunTb, monkeypatch: pytest.MonkeyPatch) -> None:
    realize(instantiate(all_trained))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write to everything
    board = runtb()
    assert not scratch_of(store)
    assert not board.served.folder.startswith(str(store.layout.root))
    wait_for(lambda: runs(board.url), "its runs")
    board.stop()
    assert not os.path.exists(board.served.folder)


# -- what cannot be ---------------------------------------------------------------------------------------------------


def test_what_has_no_logs_is_told(store: Store) -> None:
    with pytest.raises(NoLogs, match=r"store-v0: there are no events of TensorBoard in any log"):
        begun()
    realize(instantiate(toys.all_counted))
    with pytest.raises(NoLogs, match=r"^text, upper: there are no events .* below `build.log_dir`"):
        begun("text", "upper")
    assert isinstance(pickle.loads(pickle.dumps(NoLogs("store", ["a"]))), NoLogs)
    assert str(pickle.loads(pickle.dumps(TensorBoardEnded("ended", ["a", "b"])))) == "TensorBoard ended\n  a\n  b"
    assert not scratch_of(store)
    assert not os.listdir(store.layout.locks)


@pytest.mark.parametrize("port", [-1, 1 << 16, True, "6006", 1.5])
def test_what_is_no_port_is_refused(store: Store, port: Any) -> None:
    with pytest.raises(UsageError, match="give a number up to 65535"):
        begun(port=port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "300.1.1.1", "é" * 99])
def test_an_address_that_is_not_this_machines_is_refused(store: Store, host: str) -> None:
    with pytest.raises(UsageError, match=f"TensorBoard cannot serve on {host}, port any: "):
        begun(host=host)
    assert not scratch_of(store)


def test_one_that_does_not_start_tells_what_it_printed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    realize(instantiate(all_trained))
    monkeypatch.setattr("stagedml.inspection.tensorboard.COMMAND", "import sys; sys.exit('no luck today')")
    with pytest.raises(TensorBoardEnded, match=r"ended while it started\n  no luck today"):
        begun()
    assert not scratch_of(store)


def test_one_that_somebody_ends_is_noticed(store: Store, runtb: RunTb) -> None:
    realize(instantiate(all_trained))
    board = runtb()
    board.wait(0.01)
    for process in processes_on(tensorboard_process.COMMAND) & processes_on(board.served.folder):
        os.kill(process, signal.SIGKILL)
    with pytest.raises(TensorBoardEnded, match="ended by itself, with -9"):
        board.wait(10)
    assert "stopped" in repr(board)


def test_without_tensorboard_it_is_said_what_installs_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    realize(instantiate(all_trained))
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    monkeypatch.setattr(sys, "meta_path", [one for one in sys.meta_path if "ditable" not in type(one).__module__])
    with pytest.raises(LibraryMissing, match=r"tensorboard is not installed.*pip install 'stagedml\[tf\]'"):
        serve(store)


def test_tensorflow_is_imported_neither_here_nor_there(store: Store) -> None:
    realize(instantiate(all_trained))
    program = (
        "import re, sys; from pathlib import Path; from stagedml import *\n"
        f"store_initialize({str(store.layout.root)!r})\n"
        "with runtb() as board:\n"
        "    process = board._process.pid\n"
        "    assert 'tensorflow' not in sys.modules\n"
        "    assert 'libtensorflow' not in Path(f'/proc/{process}/maps').read_text()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
