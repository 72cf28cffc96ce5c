"""Mapping a function over many items in processes of their own, in order.

The processes are fresh interpreters that import what the function needs and nothing else: no framework, and not the
`__main__` of the caller. So it does not matter who calls: a script, a notebook, a thread, a build that was forked.

Rules this module keeps:
- Results come in the order of the items, whatever the number of processes.
- A few items a process are under way, however many there are.
- A process ends with the one that started it, however that ends. Of one that dies, the caller is told.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from typing import Any, TypeVar

from stagedml.errors import BuildError, StagedmlError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class WorkerDied(BuildError):
    """A process that worked for a build ended before it was told to."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        how = f"with status {self.status}"
        if self.status < 0:
            how = f"by signal {-self.status} ({signal.strsignal(-self.status)})"
        return f"a worker process ended {how}; its last words are in the log; if memory ran out, try fewer workers"


def map_in_order(
    function: Callable[[_Item], _Result], items: Iterator[_Item], workers: int, *, worth: int
) -> Generator[_Result, None, None]:
    """Map in processes, or, for one worker or a few items, right here.

    Args:
        function: one that can be pickled: of a module, or a partial of such a one.
        items: what to map; can be pickled.
        workers: how many processes.
        worth: a process is worth its start if it has so many items to work on.

    Raises:
        WorkerDied: a process was killed.
        Exception: what the function raised.
    """
    first = list(islice(items, workers * worth))
    items = chain(first, items)
    if workers <= 1 or len(first) < workers * worth:
        yield from map(function, items)
        return
    with _Workers(function, workers) as pool:
        pending = deque(pool.submit(item) for item in islice(items, 2 * workers))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(item) for item in islice(items, 1))


class _Workers:
    """Some processes, and a thread for each that talks to it."""

    def __init__(self, function: Callable[[Any], Any], count: int) -> None:
        self._function = pickle.dumps(function)
        self._count = count
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._started: list[_Worker] = []
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")

    def __enter__(self) -> _Workers:
        try:
            for _ in range(self._count):
                self._started.append(_Worker(self._function))
        except BaseException:
            self.__exit__()
            raise
        for worker in self._started:
            self._idle.put(worker)
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._started:
            worker.process.kill()  # it keeps nothing; a thread that waits for it hears of its end
        self._threads.shutdown(cancel_futures=True)
        for worker in self._started:
            worker.close()

    def submit(self, item: object) -> Future[Any]:
        return self._threads.submit(self._work, item)

    def _work(self, item: object) -> object:
        worker = self._idle.get()
        try:
            return worker.ask(item)
        finally:
            self._idle.put(worker)


class _Worker:
    """One process."""

    def __init__(self, function: bytes) -> None:
        command = [sys.executable, "-c", _COMMAND, json.dumps(sys.path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._function: bytes | None = function

    def ask(self, item: object) -> object:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            if self._function is not None:
                self.process.stdin.write(self._function)
                self._function = None
            pickle.dump(item, self.process.stdin, pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()
            result, error = pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as died:
            raise WorkerDied(self.process.wait()) from died
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):  # of what was not yet sent
                pipe.close()


def serve() -> None:
    """What a process does: read the function, then answer each item, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    asked = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes into the log
    function = pickle.load(asked)
    while True:
        try:
            item = pickle.load(asked)
        except EOFError:
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = (function(item), None)
        except Exception as error:
            if not isinstance(error, StagedmlError):
                traceback.print_exc()
            answer = (None, error)
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    f"from {serve.__module__} import {serve.__name__}; {serve.__name__}()"
)
