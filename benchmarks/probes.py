"""What a store promises, put to the test: one probe a line, one tool a column.

    python benchmarks/probes.py [--only stagedml|pylightnix] [--json]

The same probes are put to StagedML and to plain Pylightnix, each through its own functions. Every probe runs in a
process of its own, under a time limit, on a store of its own. The exit code is 1 where a cell of StagedML's is "no".
"""

import argparse
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

TIME_LIMIT_S = 120
PATIENCE_S = 30
DISK_BYTES = 512 * 1024
PAGE_BYTES = 4096

FILE = "artifact.txt"
#: Events of the interpreter that change a file system; a kill comes before one of them.
CHANGES = frozenset({"open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"})


# -- what is built ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What a builder does. Nothing of it is in a hash: the tools know the builds of a probe by a label alone.

    Attributes:
        files: what it writes, by name.
        journal: a file to which it appends a line when it begins.
        gate: a file that it waits for before it writes.
        half: what it does once it has written half a file: raise an exception, or die by SIGKILL.
        changes_to_live: after the last file, so many changes of the file system until it dies; negative: it lives.
    """

    files: Mapping[str, str]
    journal: str = ""
    gate: str = ""
    half: str = ""
    changes_to_live: int = -1


def perform(work: Work, folder: Path) -> None:
    """The body of every builder here."""
    if work.journal:
        with open(work.journal, "a") as journal:
            journal.write("built\n")
    if work.gate:
        until(Path(work.gate).exists)
    for name, text in work.files.items():
        with (folder / name).open("w") as file:
            if work.half:
                file.write(text[: len(text) // 2])
                file.flush()
                if work.half == "raise":
                    raise RuntimeError("this builder fails on purpose")
                os.kill(os.getpid(), signal.SIGKILL)
            file.write(text)
    if work.changes_to_live >= 0:
        die_after(work.changes_to_live)


def die_after(changes: int) -> None:
    """Let this process kill itself before a later change of the file system; there is no way back."""
    left = changes

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in CHANGES or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    sys.addaudithook(hook)


# -- the tools --------------------------------------------------------------------------------------------------------


class Tool(Protocol):
    """A store, as the probes use it."""

    def realize(
        self, label: str, work: Work, *, again: bool = False, on_wait: Callable[[], object] = lambda: None
    ) -> str:
        """The reference of a stage that has one parameter, a label.

        Args:
            label: the parameter.
            work: what the builder does if it runs.
            again: build it even if it is there.
            on_wait: called if somebody else builds it at the moment.
        """

    def path(self, reference: str) -> Path:
        """The folder behind a reference."""

    def references(self) -> list[str]:
        """All that is published."""

    def verify(self) -> list[str]:
        """What is wrong with the store: a line for each finding, with its path; nothing where a tool does not look."""

    def repair(self) -> None:
        """Put what is wrong out of the way."""


def open_stagedml(root: Path) -> Tool:
    from stagedml import Artifact, Build, Exec, instantiate, realize, stage, using_store
    from stagedml.engine.events import Observer
    from stagedml.settings import read_settings
    from stagedml.store.objects import Store
    from stagedml.store.verify import repair, verify

    class Tree(Artifact):
        """Some files."""

    @stage(Tree, name="tree")
    def tree(build: Build, *, label: str, work: Exec[str] = "") -> None:
        perform(Work(**json.loads(work)), build.outpath)

    class StagedML:
        def __init__(self) -> None:
            self.store = Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))

        def realize(
            self, label: str, work: Work, *, again: bool = False, on_wait: Callable[[], object] = lambda: None
        ) -> str:
            class Waiting(Observer):
                def waiting(self, dref: str, owner: str) -> None:
                    on_wait()

            arguments = {"work": json.dumps(asdict(work))}
            with using_store(self.store):
                target = instantiate(tree, label=label)
                return str(realize(target, args=arguments, force=again, observer=Waiting()))

        def path(self, reference: str) -> Path:
            from stagedml.core.refs import parse_rref

            return self.store.path(parse_rref(reference))

        def references(self) -> list[str]:
            return [str(rref) for dref in self.store.derivations() for rref in self.store.realizations(dref)]

        def verify(self) -> list[str]:
            return [f"{found.path} {found.detail}" for found in verify(self.store).findings]

        def repair(self) -> None:
            repair(self.store, verify(self.store))

    return StagedML()


def open_pylightnix(root: Path) -> Tool:
    import pylightnix

    plx: Any = pylightnix  # some of its functions are typed, some are not
    storage = plx.mkSS(str(root))
    plx.fsinit(storage)

    class Pylightnix:
        def realize(
            self, label: str, work: Work, *, again: bool = False, on_wait: Callable[[], object] = lambda: None
        ) -> str:
            def tree(r: Any) -> Any:
                def build(b: Any) -> None:
                    perform(work, Path(plx.build_outpath(b)))

                config = plx.mkconfig({"name": "tree", "label": label})
                return plx.mkdrv(config, plx.match_latest(), plx.build_wrapper(build), r)

            return str(plx.realize1(plx.instantiate(tree, S=storage), force_rebuild=again))

        def path(self, reference: str) -> Path:
            return Path(plx.rref2path(plx.RRef(reference), S=storage))

        def references(self) -> list[str]:
            return sorted(plx.allrrefs(S=storage))

        def verify(self) -> list[str]:
            return []  # there is no such function

        def repair(self) -> None:
            """There is nothing that could."""

    return Pylightnix()


TOOLS: Mapping[str, Callable[[Path], Tool]] = {"stagedml": open_stagedml, "pylightnix": open_pylightnix}
TITLES = {"stagedml": "StagedML", "pylightnix": "Pylightnix 0.3.0"}


# -- the probes -------------------------------------------------------------------------------------------------------


class No(Exception):
    """A tool did not pass; says what happened."""


class Skipped(Exception):
    """A probe could not be made here; says why."""


Open = Callable[[Path], Tool]


def names_matter(open_tool: Open, folder: Path) -> None:
    check_two_trees(open_tool(folder / "root"), {"one": "the same"}, {"two": "the same"})


def boundaries_matter(open_tool: Open, folder: Path) -> None:
    check_two_trees(open_tool(folder / "root"), {"1": "ab", "2": "c"}, {"1": "a", "2": "bc"})


def check_two_trees(tool: Tool, first: Mapping[str, str], second: Mapping[str, str]) -> None:
    """Two builds of one stage, whose outcomes differ, are two realizations."""
    references = [tool.realize("two", Work(first)), tool.realize("two", Work(second), again=True)]
    if references[0] == references[1]:
        raise No(f"both get one reference, and what is kept under it is {contents(tool.path(references[0]))}")
    for reference, wanted in zip(references, (first, second), strict=True):
        if contents(tool.path(reference)) != wanted:
            raise No(f"{reference} holds {contents(tool.path(reference))}, {wanted} was built")


def flipped_byte_is_found(open_tool: Open, folder: Path) -> None:
    tool = open_tool(folder / "root")
    path = tool.path(tool.realize("flip", Work({FILE: "right"}))) / FILE
    check_sound(tool)
    flip(path)
    if not any(str(path) in finding for finding in tool.verify()):
        raise No("nothing notices it")


def flipped_byte_is_not_served(open_tool: Open, folder: Path) -> None:
    tool = open_tool(folder / "root")
    work = Work({FILE: "right"}, journal=str(folder / "journal"))
    reference = tool.realize("flip", work)
    flip(tool.path(reference) / FILE)
    tool.repair()

    def realize_and_read() -> str:
        fresh = open_tool(folder / "root")
        return (fresh.path(fresh.realize("flip", work)) / FILE).read_text()

    served = Child(realize_and_read).answer()
    if served != "right":
        raise No(f"the next realize serves {served!r}, {'right'!r} was built")
    if lines(folder / "journal") != 2:
        raise No("the right bytes are there, but nothing was built again")
    check_sound(tool)


def flip(path: Path) -> None:
    """Change a byte of a file and nothing else that can be seen from outside."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def published_is_read_only(open_tool: Open, folder: Path) -> None:
    tool = open_tool(folder / "root")
    path = tool.path(tool.realize("still", Work({FILE: "right", "other": "also"})))
    writable = [place for place in (path, *sorted(path.rglob("*"))) if place.stat().st_mode & 0o222]
    if writable:
        raise No(f"with write bits: {', '.join(place.name for place in writable)}")


def exception_leaves_nothing(open_tool: Open, folder: Path) -> None:
    tool = open_tool(folder / "root")
    wanted = Work({FILE: "right", "other": "also"})
    try:
        tool.realize("failing", replace(wanted, half="raise"))
    except Exception as error:
        if "on purpose" not in f"{error} {error.__cause__} {error.args}":
            raise No(f"the error says nothing of the builder's own: {error}") from error
    else:
        raise No("the builder's exception went by unnoticed")
    if tool.references():
        raise No(f"a failed build is published: {tool.references()}")
    check_sound(tool)
    check_next(tool, folder, "failing", wanted)


def kill_amid_build_leaves_nothing(open_tool: Open, folder: Path) -> None:
    wanted = Work({FILE: "right", "other": "also"})
    child = Child(lambda: open_tool(folder / "root").realize("killed", replace(wanted, half="die")))
    if not child.was_killed():
        raise No("the builder did not run")
    tool = open_tool(folder / "root")
    if tool.references():
        raise No(f"a killed build is published: {tool.references()}")
    check_next(tool, folder, "killed", wanted)


def kill_amid_publish_leaves_nothing(open_tool: Open, folder: Path) -> None:
    """Killed before the first change of the file system after the builder's last, before the second, and so on."""
    wanted = Work({FILE: "right", "other": "also"})
    problems: list[str] = []
    for changes in range(1000):
        root = folder / f"root-{changes}"
        work = replace(wanted, changes_to_live=changes)
        child = Child(lambda root=root, work=work: open_tool(root).realize("killed", work))  # type: ignore[misc]
        if not child.was_killed():
            child.answer()
            break
        tool = open_tool(root)
        try:
            for reference in tool.references():
                if (found := contents(tool.path(reference))) != wanted.files:
                    raise No(f"half of it is published: {found}")
            check_next(tool, root, "killed", wanted)
        except No as no:
            problems.append(str(no))
    if problems:
        raise No(f"after {len(problems)} of {changes} kills; the last one: {problems[-1]}")
    if changes < 3:
        raise No(f"publishing is but {changes} changes of the file system?")


def full_disk_leaves_nothing(open_tool: Open, folder: Path) -> None:
    """First the artifacts do not fit; then there is no space at all, then one page of it, then two, and so on."""
    disk = folder / "disk"
    tool = open_tool(disk / "root")
    kept = tool.realize("kept", Work({"kept": "right"}))
    if fits(tool, "large", Work({FILE: "x" * DISK_BYTES})):
        raise No("more was published than the disk holds")
    smaller = Work({FILE: "right"})
    if not fits(tool, "large", smaller):
        raise No("what the failed build wrote keeps the disk full: the next realize, of less, fails")
    labels = ["large", "pages-0"]
    while True:
        with ballast(disk, pages=len(labels) - 2):
            if fits(tool, labels[-1], smaller):
                break
        labels.append(f"pages-{len(labels) - 1}")
        if len(labels) > 100:
            raise No("no space is ever enough")
    if labels[-1] == "pages-0":
        raise No("a full disk goes by unnoticed")
    if contents(tool.path(kept)) != {"kept": "right"} or kept not in tool.references():
        raise No("what was published before is gone")
    for label in labels:
        if contents(tool.path(tool.realize(label, smaller))) != smaller.files:
            raise No("realized once there is space, it is not what was built")
    check_sound(tool)
    check_copies(disk, len(labels))


def fits(tool: Tool, label: str, work: Work) -> bool:
    """Whether something is realized; if not, the error must be about space, and the store must be sound."""
    before = tool.references()
    try:
        tool.realize(label, work)
    except Exception as error:
        check_says_no_space(error)
        check_sound(tool)
        if tool.references() != before:
            raise No(f"it failed, and yet there is {set(tool.references()) - set(before)}") from error
        return False
    return True


def check_says_no_space(error: BaseException) -> None:
    chain: BaseException | None = error
    said = ""
    while chain is not None:
        said += f"{chain} {chain.args} "
        chain = chain.__cause__ or chain.__context__
    if "No space left" not in said:
        raise No(f"the error says nothing of space: {type(error).__name__}: {error}")


@contextlib.contextmanager
def ballast(disk: Path, pages: int) -> Iterator[None]:
    """Fill a disk but for some pages."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * PAGE_BYTES)
    os.truncate(path, max(0, path.stat().st_size - pages * PAGE_BYTES))
    yield
    path.unlink()


def second_process_waits(open_tool: Open, folder: Path) -> None:
    journal, waiting = folder / "journal", folder / "waiting"
    work = Work({FILE: "right"}, journal=str(journal), gate=str(folder / "gate"))

    def realize() -> str:
        return open_tool(folder / "root").realize("shared", work, on_wait=waiting.touch)

    first = Child(realize)
    until(lambda: lines(journal) == 1 or first.ended())
    second = Child(realize)
    until(lambda: lines(journal) == 2 or waiting.exists() or second.ended())
    (folder / "gate").touch()
    references = {first.answer(), second.answer()}
    if lines(journal) != 1:
        raise No("both build it")
    if len(references) != 1:
        raise No(f"they get different references: {references}")
    if not waiting.exists():
        raise No("the second one does not say that it waits")
    tool = open_tool(folder / "root")
    if contents(tool.path(references.pop())) != work.files:
        raise No("what they get is not what was built")
    check_sound(tool)


PROBES: Mapping[str, Callable[[Open, Path], None]] = {
    "file names matter": names_matter,
    "boundaries between files matter": boundaries_matter,
    "a flipped byte, time stamp kept, is found": flipped_byte_is_found,
    "... and never served after": flipped_byte_is_not_served,
    "published files and folders are read-only": published_is_read_only,
    "an exception leaves nothing half-written": exception_leaves_nothing,
    "a full disk leaves nothing half-written": full_disk_leaves_nothing,
    "a kill amid a build leaves nothing half-written": kill_amid_build_leaves_nothing,
    "a kill amid publishing leaves nothing half-written": kill_amid_publish_leaves_nothing,
    "a second process waits and reuses": second_process_waits,
}
NEEDS_DISK = frozenset({full_disk_leaves_nothing})


# -- what the probes share --------------------------------------------------------------------------------------------


def contents(realization: Path) -> dict[str, str]:
    """The artifacts of a realization, without what the tools add."""
    added = ("context.json", "__")
    return {
        str(path.relative_to(realization)): path.read_text()
        for path in sorted(realization.rglob("*"))
        if path.is_file() and not path.name.startswith(added)
    }


def check_sound(tool: Tool) -> None:
    findings = tool.verify()
    if findings:
        raise No(f"the store does not verify: {'; '.join(findings)}")


def check_next(tool: Tool, root: Path, label: str, work: Work) -> None:
    """The next realize gives what was asked for, and nothing of an attempt before it is left anywhere."""
    try:
        reference = tool.realize(label, work)
    except Exception as error:
        raise No(f"the next realize fails: {type(error).__name__}: {error}") from error
    if contents(tool.path(reference)) != work.files:
        raise No(f"the next realize gives {contents(tool.path(reference))}")
    if tool.references() != [reference]:
        raise No(f"published are {tool.references()}, wanted was {reference}")
    check_sound(tool)
    check_copies(root, 1)


def check_copies(root: Path, wanted: int) -> None:
    copies = sorted(str(path.relative_to(root)) for path in root.rglob(FILE))
    if len(copies) != wanted:
        raise No(f"the attempt's files stay for ever: {len(copies)} instead of {wanted}, such as {copies[-1]}")
    temporary = [str(path.relative_to(root)) for path in root.rglob("*.tmp")]
    if temporary:
        raise No(f"left over: {', '.join(temporary)}")


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.005)


class Child:
    """A function that runs in a forked process."""

    def __init__(self, function: Callable[[], str]) -> None:
        reader, writer = os.pipe()
        self._status: int | None = None
        self._said = os.fdopen(reader)
        self._process = os.fork()
        if self._process == 0:
            self._run(function, writer)
        os.close(writer)

    @staticmethod
    def _run(function: Callable[[], str], writer: int) -> NoReturn:
        status, said = 0, ""
        try:
            said = function()
        except BaseException as error:
            status, said = 1, f"{type(error).__name__}: {error}"
        os.write(writer, said.encode()[:PAGE_BYTES])
        os._exit(status)

    def ended(self) -> bool:
        if self._status is None:
            process, status = os.waitpid(self._process, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if process else None
        return self._status is not None

    def was_killed(self) -> bool:
        """Wait for its end; whether that came by SIGKILL."""
        try:
            until(self.ended)
        except TimeoutError:
            os.kill(self._process, signal.SIGKILL)
            raise No("a process hangs") from None
        return self._status == -signal.SIGKILL

    def answer(self) -> str:
        """Wait for its end; what the function returned."""
        killed = self.was_killed()
        with self._said as reader:
            said = reader.read()
        if self._status != 0:
            raise No(f"a process fails: {'it was killed' if killed else said}")
        return said


# -- running them -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """What came of one probe for one tool: `yes`, `no` or `skipped`, and why."""

    answer: str
    why: str = ""


def probe_here(tool: str, probe: str, folder: Path) -> Cell:
    """Put one probe to one tool in this process."""
    try:
        PROBES[probe](TOOLS[tool], folder)
    except No as no:
        return Cell("no", str(no))
    except Skipped as skipped:
        return Cell("skipped", str(skipped))
    except Exception as error:
        traceback.print_exc()
        return Cell("no", f"{type(error).__name__}: {error}")
    return Cell("yes")


def probe_apart(tool: str, probe: str) -> Cell:
    """Put one probe to one tool in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="stagedml-probe-") as name, contextlib.ExitStack() as mounted:
        folder = Path(name)
        if PROBES[probe] in NEEDS_DISK:
            try:
                mounted.enter_context(small_disk(folder / "disk"))
            except Skipped as skipped:
                return Cell("skipped", str(skipped))
        answer = folder / "answer.json"
        command = [sys.executable, __file__, "--probe", tool, probe, str(folder), str(answer)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            _, said = process.communicate(timeout=TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Cell("no", f"did not end within {TIME_LIMIT_S} s")
        if not answer.exists():
            return Cell("no", f"its process ended with {process.returncode}: {said[-500:]}")
        return Cell(**json.loads(answer.read_text()))


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise Skipped("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def print_table(table: Mapping[str, Mapping[str, Cell]], tools: list[str]) -> None:
    footnotes: list[str] = []
    width = max(map(len, table)) + 2
    print(" " * width + "".join(f"{TITLES[tool]:<18}" for tool in tools).rstrip())
    for probe, cells in table.items():
        shown = []
        for tool in tools:
            text = cells[tool].answer
            if cells[tool].why:
                footnotes.append(cells[tool].why)
                text += f" [{len(footnotes)}]"
            shown.append(f"{text:<18}")
        print(f"{probe:<{width}}" + "".join(shown).rstrip())
    if footnotes:
        print()
    for number, why in enumerate(footnotes, start=1):
        print(f"[{number}] {why}")


def main() -> int:
    parser = argparse.ArgumentParser(description="What a store promises, put to the test.")
    parser.add_argument("--only", choices=list(TOOLS), help="one tool instead of all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--probe", nargs=4, metavar=("TOOL", "PROBE", "FOLDER", "ANSWER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        tool, probe, folder, answer = arguments.probe
        cell = probe_here(tool, probe, Path(folder))
        Path(answer).write_text(json.dumps(asdict(cell)))
        return 0
    tools = [arguments.only] if arguments.only else list(TOOLS)
    cells = [(tool, probe) for probe in PROBES for tool in tools]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        results = dict(zip(cells, pool.map(lambda cell: probe_apart(*cell), cells), strict=True))
    table = {probe: {tool: results[tool, probe] for tool in tools} for probe in PROBES}
    if arguments.json:
        rows = [{"probe": probe, **{tool: asdict(cell) for tool, cell in row.items()}} for probe, row in table.items()]
        print(json.dumps(rows, indent=2))
    else:
        print_table(table, tools)
    return int(any(row["stagedml"].answer == "no" for row in table.values() if "stagedml" in row))


if __name__ == "__main__":
    sys.exit(main())
