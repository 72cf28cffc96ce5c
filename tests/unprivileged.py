"""Run a function as a user whom the kernel does not trust.

Root may write to read-only files and folders, so a test of permissions that runs as root shows nothing.
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

NOBODY = 65534


class FailedAsNobody(AssertionError):
    """The function raised something that cannot be pickled, or its process ended without an answer."""


def as_nobody(function: Callable[..., T], *arguments: object) -> T:
    """Call `function` as user and group 65534, in a forked process, where the tests run as root; else call it here.

    The result, and the exception that the function raises, come back by pickle. The fixture `nobody_path` gives a
    folder to work in. What the function needs should have been imported before: the interpreter's own folder may be
    out of reach for this user.
    """
    if os.geteuid() != 0:
        return function(*arguments)
    closed = [folder for folder in Path(__file__).resolve().parents if not folder.stat().st_mode & 0o001]
    if closed:  # such as root's own home: the stages' sources could not be read
        pytest.skip(f"{closed[-1]} is closed to other users; clone elsewhere to run this as root")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(writer, function, arguments)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    if not answer:
        raise FailedAsNobody(f"{function.__qualname__}: its process ended with {os.waitstatus_to_exitcode(status)}")
    result, error, text = pickle.loads(answer)
    if isinstance(error, BaseException):
        raise error from FailedAsNobody(text)
    if text:
        raise FailedAsNobody(text)
    value: T = result
    return value


def _answer(writer: int, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """In the forked process: give up root, call, write (result, error, traceback) and end without any clean-up."""
    result: object = None
    error: BaseException | None = None
    text = ""
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.environ["HOME"] = "/nonexistent"
        result = function(*arguments)
    except BaseException as raised:
        error, text = raised, traceback.format_exc()
    try:
        answer = pickle.dumps((result, error, text))
        pickle.loads(answer)
    except Exception:
        answer = pickle.dumps((None, None, text or f"{function.__qualname__} returned {result!r}: no pickle of it"))
    with os.fdopen(writer, "wb") as stream:
        stream.write(answer)
    os._exit(0)
