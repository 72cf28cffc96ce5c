"""Mapping a function over many items in processes of their own, in order.

The processes are fresh interpreters that import what the function needs and nothing else: no framework, and not the
`__main__` of the caller. So it does not matter who calls: a script, a notebook, a thread, a build that was forked.

Rules this module keeps:
- Results come in the order of the items, whatever the number of processes.
- A few items a process are under way, however many there are.
- A process ends with the one that started it, however that ends. Of one that dies, the caller is told.
- A process runs the code of this package that its caller has loaded, or nothing: edits in between are told of.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import traceback
import types
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


class ModulesChanged(BuildError):
    """Modules were edited after the build had loaded them, so that its workers would run other code than it does."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        super().__init__(modules)
        self.modules = modules

    def __str__(self) -> str:
        return f"{', '.join(self.modules)} changed while the build ran; realize it again, in a fresh session"


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
        ModulesChanged: modules that it needs are not on the disk what they are in memory.
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
        self._function = function
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

    def __init__(self, function: Callable[[Any], Any]) -> None:
        command = [sys.executable, "-c", _COMMAND, json.dumps(sys.path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._function = function
        self._is_known = False

    def ask(self, item: object) -> object:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            if not self._is_known:
                pickle.dump(self._function, self.process.stdin)
                self.process.stdin.flush()
                self._is_known = True
                theirs = pickle.load(self.process.stdout)
                ours = loaded_code(self._function)
                if changed := tuple(sorted(name for name in {*ours} & {*theirs} if ours[name] != theirs[name])):
                    raise ModulesChanged(changed)
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
    pickle.dump(loaded_code(function), answers)
    answers.flush()
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


def loaded_code(function: Callable[..., Any]) -> dict[str, str]:
    """A digest of the code of each module of this package that a function's module leads to, by its name."""
    pending, digests = [_scope_of(function)], dict[str, str]()
    while pending:
        scope = pending.pop()
        name = scope.get("__name__", "")
        if name not in digests and name.partition(".")[0] == __name__.partition(".")[0]:
            digests[name] = hashlib.sha256(repr(_facts(scope)).encode()).hexdigest()
            pending += map(_scope_of, scope.values())
    return digests


def _scope_of(value: Any) -> dict[str, Any]:
    """The globals of a module, or of the module that a function or class is of."""
    while isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, types.ModuleType):
        return vars(value)
    if isinstance(value, type):
        value = next((item for item in vars(value).values() if isinstance(item, types.FunctionType)), None)
    return getattr(value, "__globals__", {})


def _facts(scope: dict[str, Any]) -> list[tuple[str, object]]:
    """What a module says: its functions, the methods of its classes, and its plain constants."""
    facts: list[tuple[str, object]] = []
    pending = [("", scope)]
    while pending:
        prefix, names = pending.pop()
        for name, value in sorted(names.items()):
            function = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
            if isinstance(function, types.FunctionType):
                if function.__module__ == scope["__name__"]:
                    facts.append((prefix + name, _code_facts(function.__code__)))
            elif isinstance(value, type):
                if value.__module__ == scope["__name__"] and not prefix:
                    pending.append((f"{name}.", dict(vars(value))))
            elif not name.startswith("__") and isinstance(value, _PLAIN):
                facts.append((prefix + name, _constant(value)))
    return facts


def _code_facts(code: types.CodeType) -> object:
    return (code.co_code, code.co_names, code.co_varnames, tuple(map(_constant, code.co_consts)))


def _constant(value: object) -> object:
    if isinstance(value, types.CodeType):
        return _code_facts(value)
    if isinstance(value, tuple):
        return tuple(map(_constant, value))
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value


_PLAIN = (str, bytes, int, float, tuple, frozenset)
_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    f"from {serve.__module__} import {serve.__name__}; {serve.__name__}()"
)
