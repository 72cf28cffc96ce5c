"""`stagedml export`, `import` and `copy`."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO

from stagedml.cli.output import show
from stagedml.core import words
from stagedml.errors import UsageError
from stagedml.inspection.plain import as_json
from stagedml.inspection.selectors import find_all
from stagedml.settings import read_settings
from stagedml.store.archive import Imported, copy, export, import_archive
from stagedml.store.members import ArchiveNotWritten
from stagedml.store.objects import Store

_SHOWN_EVERY_S = 0.1


def run_export(arguments: argparse.Namespace) -> int:
    settings = read_settings(root=arguments.root)
    store = Store.open(settings, create=False)
    refs = find_all(store, arguments.refs)
    if arguments.output == "-":
        if sys.stdout.isatty() or sys.__stdout__ is None:
            raise UsageError("an archive is nothing to look at; give -o FILE, or a pipe: `stagedml export REF | ...`")
        place, opened = "standard output", _standard_output()
    else:
        place, opened = arguments.output, _written_whole(arguments.output, durable=settings.durable)
    with _progress("export") as on_progress, opened as stream:
        try:
            exported = export(store, refs, stream, records=arguments.records, on_progress=on_progress)
        except ArchiveNotWritten as error:
            raise ArchiveNotWritten(place, error.reason, error.size_bytes) from error
    if arguments.json:
        print(as_json(exported), file=sys.stderr if arguments.output == "-" else sys.stdout)
    else:
        print(f"{_realizations(len(exported.realizations))}, {words.size(exported.size_bytes)}", file=sys.stderr)
    return 0


def run_import(arguments: argparse.Namespace) -> int:
    with _input(arguments.file) as stream:
        store = Store.open(read_settings(root=arguments.root))
        with _progress("import") as on_progress:
            imported = import_archive(store, stream, on_progress=on_progress)
    _tell(arguments, imported)
    return 0


def run_copy(arguments: argparse.Namespace) -> int:
    source = Store.open(read_settings(root=arguments.root), create=False)
    refs = find_all(source, arguments.refs)
    if not arguments.to:
        raise UsageError("--to: give the folder that holds the other store")
    destination = Store.open(read_settings(root=arguments.to))
    with _progress("copy") as on_progress:
        imported = copy(source, destination, refs, on_progress=on_progress)
    _tell(arguments, imported)
    return 0


def _tell(arguments: argparse.Namespace, imported: Imported) -> None:
    show(arguments, imported, lambda imported: imported.asked)
    if arguments.json:
        return
    there = f"; {_realizations(len(imported.present))} there already" if imported.present else ""
    print(f"{_realizations(len(imported.imported))}, {words.size(imported.size_bytes)}{there}", file=sys.stderr)


def _realizations(count: int) -> str:
    return words.count(count, "realization")


def _standard_output() -> contextlib.AbstractContextManager[BinaryIO]:
    """Standard output without Python's buffer, which would complain once more if nobody reads."""
    sys.stdout.flush()
    return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)


@contextlib.contextmanager
def _written_whole(place: str, *, durable: bool) -> Iterator[BinaryIO]:
    """A file that has its name when it is complete, and is not there otherwise. A device or a pipe is written as is."""
    if not place or os.path.isdir(place):
        raise UsageError(f"{place!r} is no file; give -o FILE")
    try:
        is_file = not os.path.exists(place) or stat.S_ISREG(os.stat(place).st_mode)
        final = os.path.realpath(place)
        temporary = f"{final}.{uuid.uuid4().hex[:8]}.tmp"
        flags = os.O_WRONLY | os.O_CLOEXEC
        opened = os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o666) if is_file else os.open(place, flags)
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}") from error
    try:
        with open(opened, "wb", buffering=0) as stream:
            yield stream
            if durable and is_file:
                os.fsync(stream.fileno())
        if is_file:
            os.replace(temporary, final)
    except BaseException:
        if is_file:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise


def _input(place: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if place == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("give the FILE of an archive, or a pipe: `... | stagedml import`")
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        return open(place, "rb", buffering=0)
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _progress(verb: str) -> Iterator[Callable[[int, int], None] | None]:
    """Shows on a terminal how many bytes are done, and clears the line after the block."""
    if not sys.stderr.isatty():
        yield None
        return
    shown = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _SHOWN_EVERY_S:
            shown = time.monotonic()
            sys.stderr.write(f"\r{verb} {words.size(done)} of {words.size(total)}\033[K")
            sys.stderr.flush()

    try:
        yield show
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
