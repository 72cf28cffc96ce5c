"""How fast the store is, beside the same system calls without it and beside Pylightnix, in one run.

    python benchmarks/bench_store.py [--where FOLDER] [--disk FOLDER] [--quick] [--json]

Every number is the median of several measurements (of a large file with Pylightnix, and of deleting on the disk, there
is one), each in a fresh process on data made anew by another one; the tools take turns, so that all have the same
disturbance. `floor` is what one cannot do without: the same system calls, and BLAKE3, with nothing around them; of a
large file it is BLAKE3 alone, on one processor. Stores are on a tmpfs, the disk beside it, and not durable; what
`durable` costs has lines of its own. A target that is missed is reported; the exit code is 0 all the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
BUFFER_BYTES = 64 * MIB
SMALL_BYTES = 4096
FILES_A_FOLDER = 1000
CHAIN = 10
BUILD = (0, 243964722, 0.0, 1.0, "here", "me")


@dataclass(frozen=True)
class Measured:
    """What one piece of work took.

    Attributes:
        seconds: by the wall clock.
        extra_mib: by how much the process's largest memory grew.
    """

    seconds: float
    extra_mib: float


def measured(work: Callable[[], object]) -> Measured:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    return Measured(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


# -- publishing -------------------------------------------------------------------------------------------------------

CONFIG = {"name": "bench"}


def our_store(where: Path, *, durable: bool = False) -> Any:
    from stagedml.settings import read_settings
    from stagedml.store.objects import Store

    return Store.open(read_settings({"STAGEDML_DURABLE": str(int(durable))}, root=where))


def plain_storage(where: Path) -> Any:
    from pylightnix import fsinit, mkSS

    storage = mkSS(str(where))
    fsinit(storage)
    return storage


def fill_file(tree: Path, size: int) -> None:
    """One file of so many MiB."""
    data = os.urandom(min(BUFFER_BYTES, size * MIB))
    with (tree / "file").open("wb") as file:
        for _ in range(max(1, size * MIB // len(data))):
            file.write(data)


def fill_files(tree: Path, count: int) -> None:
    """So many files of 4 KiB, in folders of a thousand."""
    data = os.urandom(SMALL_BYTES)
    for number in range(count):
        folder = tree / str(number // FILES_A_FOLDER)
        if number % FILES_A_FOLDER == 0:
            folder.mkdir()
        (folder / str(number)).write_bytes(number.to_bytes(8, "little") + data[8:])


def prepare_tree(where: Path, size: int, fill: Callable[[Path, int], None]) -> None:
    """A store in which a tree is built and not yet published; what else is written to the disk is there before."""
    from stagedml.core.config import canonical, reference

    store = our_store(where)
    store.add_config(canonical(CONFIG), reference(CONFIG))
    tree = store.layout.scratch / "out"
    tree.mkdir()
    os.sync()
    fill(tree, size)


def prepare_file(where: Path, size: int) -> None:
    prepare_tree(where, size, fill_file)


def prepare_files(where: Path, size: int) -> None:
    prepare_tree(where, size, fill_files)


def publish(where: Path, *, durable: bool = False) -> Measured:
    from stagedml.core.config import reference
    from stagedml.store.metadata import BuildRecord
    from stagedml.store.publish import publish as publish_tree

    store = our_store(where, durable=durable)
    tree = store.layout.scratch / "out"
    build = BuildRecord(*BUILD)
    return measured(lambda: publish_tree(store, reference(CONFIG), tree, context={}, inputs={}, build=build))


def publish_on(cpus: int, where: Path) -> Measured:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])
    return publish(where)


def hash_buffer(size: int) -> Measured:
    """BLAKE3 of so many MiB with nothing to read, on one processor."""
    from blake3 import blake3

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    data = os.urandom(min(BUFFER_BYTES, size * MIB))

    def work() -> None:
        hasher = blake3()
        for _ in range(max(1, size * MIB // len(data))):
            hasher.update(data)
        hasher.hexdigest()

    return measured(work)


def read_and_hash(where: Path) -> Measured:
    """Read a file in pieces and hash them, on one processor: what publishing it has to do at the least."""
    from blake3 import blake3

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    path = where / "store-v0.stagedml" / "scratch" / "out" / "file"

    def work() -> None:
        hasher = blake3()
        buffer = bytearray(MIB)
        descriptor = os.open(path, os.O_RDONLY)
        while count := os.readv(descriptor, [buffer]):
            hasher.update(memoryview(buffer)[:count])
        os.close(descriptor)
        hasher.hexdigest()

    return measured(work)


def hash_files(where: Path) -> Measured:
    """Read, hash and chmod what is to be published, and nothing else."""
    from blake3 import blake3

    top = where / "store-v0.stagedml" / "scratch" / "out"

    def work() -> None:
        pending = [str(top)]
        while pending:
            with os.scandir(pending.pop()) as items:
                for item in items:
                    if item.is_dir(follow_symlinks=False):
                        pending.append(item.path)
                        continue
                    size = item.stat(follow_symlinks=False).st_size
                    descriptor = os.open(item.path, os.O_RDONLY)
                    blake3(os.read(descriptor, size)).hexdigest()
                    os.close(descriptor)
                    os.chmod(item.path, 0o444)

    return measured(work)


def publish_plain(where: Path) -> Measured:
    """Pylightnix's `mkrealization`: dirhash, chmod and rename."""
    from pylightnix.core import mkconfig, mkdrv_, mkrealization
    from pylightnix.types import Path as PlainPath

    storage = plain_storage(where)
    dref = mkdrv_(mkconfig(CONFIG), S=storage)
    tree = where / "store-v0.stagedml" / "scratch" / "out"
    return measured(lambda: mkrealization(dref, {}, PlainPath(str(tree)), S=storage))


# -- collecting -------------------------------------------------------------------------------------------------------


def names(size: int) -> Iterator[tuple[str, str]]:
    """The folder of a derivation and the hash of its realization, so many times."""
    for number in range(size):
        folder, rhash = (hashlib.md5(f"{kind}{number}".encode()).hexdigest() for kind in "dr")
        yield f"{folder}-stage-{number % CHAIN}", rhash


def is_kept(number: int) -> bool:
    """Every other chain is reachable."""
    return number // CHAIN % 2 == 1


def prepare_store(where: Path, size: int) -> None:
    """A store with so many realizations in chains of ten, each with its config; a link keeps every other chain."""
    from stagedml.store import metadata
    from stagedml.store.metadata import BuildRecord, Metadata

    layout = our_store(where).layout
    layout.experiments.mkdir()
    context: dict[str, list[str]] = {}
    for number, (folder, rhash) in enumerate(names(size)):
        if number % CHAIN == 0:
            context = {}
        rref = f"rref:{rhash}-{folder}"
        place = f"{layout.storage}/{folder}"
        os.mkdir(place)
        os.mkdir(f"{place}/{rhash}")
        os.mkdir(f"{layout.metadata}/{folder}")
        _write(f"{place}/config.json", "{}")
        _write(f"{place}/{rhash}/context.json", json.dumps(context, indent=4))
        _write(f"{place}/{rhash}/artifact", "x")
        known = Metadata(rref, "0" * 64, "0" * 64, {}, (), (BuildRecord(*BUILD),))
        _write(f"{layout.metadata}/{folder}/{rhash}.json", metadata.to_text(known))
        os.chmod(f"{place}/{rhash}", 0o555)
        context[f"dref:{folder}"] = [rref]
        if number % CHAIN == CHAIN - 1 and is_kept(number):
            os.symlink(f"{place}/{rhash}", layout.experiments / str(number))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def plan(where: Path, size: int) -> Measured:
    from stagedml.store.gc import Policy, plan_gc

    store = our_store(where)
    found: list[Any] = []
    result = measured(lambda: found.append(plan_gc(store, Policy(grace_s=0))))
    assert len(found[0].realizations) == found[0].kept == size // 2
    return result


def list_folders(where: Path) -> Measured:
    storage = str(where / "store-v0")

    def work() -> None:
        for name in os.listdir(storage):
            os.listdir(f"{storage}/{name}")

    return measured(work)


def plan_plain(where: Path, size: int, *, delete: bool) -> Measured:
    from pylightnix.bashlike import rmref
    from pylightnix.core import store_gc
    from pylightnix.types import RRef

    storage = plain_storage(where)
    roots = [
        RRef(f"rref:{rhash}-{folder}")
        for number, (folder, rhash) in enumerate(names(size))
        if number % CHAIN == CHAIN - 1 and is_kept(number)
    ]

    def work() -> None:
        drefs, rrefs = store_gc([], roots, S=storage)
        assert len(rrefs) == size // 2
        if delete:
            for dref in drefs:
                rmref(dref, S=storage)

    return measured(work)


def collect(where: Path, size: int) -> Measured:
    from stagedml.store.collect import collect as collect_planned
    from stagedml.store.gc import Policy, plan_gc

    store = our_store(where)
    policy = Policy(grace_s=0)
    result = measured(lambda: collect_planned(store, plan_gc(store, policy)))
    assert len(os.listdir(store.layout.storage)) == size // 2
    return result


def rename_and_unlink(where: Path, size: int) -> Measured:
    """What takes so many realizations away: rename each, its derivation and its metadata; unlink and rmdir."""
    storage, metadata = where / "store-v0", where / "store-v0.stagedml" / "metadata"
    doomed = [name for number, name in enumerate(names(size)) if not is_kept(number)]

    def work() -> None:
        for folder, rhash in doomed:
            os.rename(f"{storage}/{folder}/{rhash}", f"{storage}/{folder}/{rhash}.tmp")
            os.rename(f"{storage}/{folder}", f"{storage}/{folder}.tmp")
            os.rename(f"{metadata}/{folder}", f"{metadata}/{folder}.tmp")
        for folder, rhash in doomed:
            inner = f"{storage}/{folder}.tmp/{rhash}.tmp"
            os.chmod(inner, 0o700)
            for path in (f"{inner}/context.json", f"{inner}/artifact", f"{storage}/{folder}.tmp/config.json"):
                os.unlink(path)
            os.rmdir(inner)
            os.rmdir(f"{storage}/{folder}.tmp")
            os.unlink(f"{metadata}/{folder}.tmp/{rhash}.json")
            os.rmdir(f"{metadata}/{folder}.tmp")

    return measured(work)


# -- processes --------------------------------------------------------------------------------------------------------

PREPARE: dict[str, Callable[[Path, int], None]] = {
    "nothing": lambda where, size: None,
    "file": prepare_file,
    "files": prepare_files,
    "store": prepare_store,
}
MEASURE: dict[str, Callable[[Path, int], Measured]] = {
    "publish": lambda where, size: publish(where),
    "publish on one processor": lambda where, size: publish_on(1, where),
    "publish on two processors": lambda where, size: publish_on(2, where),
    "publish durably": lambda where, size: publish(where, durable=True),
    "publish, Pylightnix": lambda where, size: publish_plain(where),
    "hash a buffer": lambda where, size: hash_buffer(size),
    "read and hash": lambda where, size: read_and_hash(where),
    "hash files": lambda where, size: hash_files(where),
    "plan": plan,
    "plan, Pylightnix": lambda where, size: plan_plain(where, size, delete=False),
    "list folders": lambda where, size: list_folders(where),
    "collect": collect,
    "collect, Pylightnix": lambda where, size: plan_plain(where, size, delete=True),
    "rename and unlink": rename_and_unlink,
}


def in_fresh_process(step: str, name: str, where: Path, size: int) -> Measured:
    command = [sys.executable, __file__, "--step", step, name, str(where), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # Pylightnix talks when imported
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def run_step(step: str, name: str, where: Path, size: int) -> None:
    if step == "prepare":
        PREPARE[name](where, size)
        result = Measured(0, 0)
    else:
        result = MEASURE[name](where, size)
    print(json.dumps(asdict(result)))


# -- cases ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One kind of work, done by us and by others.

    Attributes:
        prepare: what makes the data, by name.
        size: of the data.
        works: column -> what is measured, by name.
        repetitions: how often.
        keeps: whether the work leaves the data as it was, so that it need not be made anew.
        once: columns that take long and are measured a single time.
    """

    prepare: str
    size: int
    works: dict[str, str]
    repetitions: int
    keeps: bool = False
    once: tuple[str, ...] = ()


def run_case(case: Case, folder: Path) -> dict[str, Measured]:
    """The median of each column."""
    from stagedml.store.atomic import remove_tree

    results: dict[str, list[Measured]] = {column: [] for column in case.works}
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-store-", ignore_cleanup_errors=True) as name:
        where = Path(name) / "root"
        for repetition in range(case.repetitions):
            for column, work in case.works.items():
                if repetition and column in case.once:
                    continue
                if not (case.keeps and where.exists()):
                    remove_tree(where)
                    where.mkdir()
                    in_fresh_process(
                        "prepare", "nothing" if work == "hash a buffer" else case.prepare, where, case.size
                    )
                results[column].append(in_fresh_process("measure", work, where, case.size))
                print(".", end="", file=sys.stderr, flush=True)
        remove_tree(where)
    return {
        column: Measured(
            statistics.median(result.seconds for result in found),
            statistics.median(result.extra_mib for result in found),
        )
        for column, found in results.items()
    }


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: is measured.
        where: on a tmpfs or the disk.
        ours, floor, plain: in `unit`; None where there is nothing to compare with.
        unit: `s` or `MiB`.
        target: in words; empty where there is none.
        met: whether it was reached.
    """

    what: str
    where: str
    ours: float
    floor: float | None = None
    plain: float | None = None
    unit: str = "s"
    target: str = ""
    met: bool | None = None

    @property
    def times_floor(self) -> float | None:
        return self.ours / self.floor if self.floor else None

    def texts(self) -> tuple[str, ...]:
        def text(value: float | None) -> str:
            if value is None:
                return ""
            return f"{value:.0f} MiB" if self.unit == "MiB" else f"{value:.3f} s"

        ratio = "" if self.times_floor is None else f"{self.times_floor:.2f} x"
        met = {None: "", True: "met", False: "MISSED"}[self.met]
        return self.what, self.where, text(self.ours), text(self.floor), ratio, text(self.plain), self.target, met

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "times_floor": self.times_floor}


def seconds(found: dict[str, Measured], column: str) -> float | None:
    return found[column].seconds if column in found else None


def file_rows(mib: int, repetitions: int, where: str, folder: Path) -> Iterator[Row]:
    """One large file."""
    works = {
        "one": "publish on one processor",
        "two": "publish on two processors",
        "floor": "hash a buffer",
        "read": "read and hash",
        "plain": "publish, Pylightnix",
    }
    if len(os.sched_getaffinity(0)) < 2:
        del works["two"]
    if where != "tmpfs":
        del works["plain"]
    found = run_case(Case("file", mib, works, repetitions, once=("plain",)), folder)
    floor = found["floor"].seconds
    for column, share in (("one", 0.6), ("two", 0.9)):
        if column in found:
            ours = found[column].seconds
            yield Row(
                f"publish a file of {mib / 1024:g} GiB on {column} processor{'s' * (column == 'two')}",
                where,
                ours,
                floor,
                seconds(found, "plain"),
                target=f"{share:.0%} of the floor's rate; {floor / ours:.0%}",
                met=floor / ours >= share,
            )
    yield Row("  read and hashed, nothing else, on one", where, found["read"].seconds, floor)
    extra = max(found[column].extra_mib for column in ("one", "two") if column in found)
    plain = found["plain"].extra_mib if "plain" in found else None
    yield Row("  memory for it", where, extra, None, plain, "MiB", "under 64 MiB", extra < 64)


def files_row(count: int, repetitions: int, where: str, folder: Path, limit_s: float | None) -> Row:
    """Many small files."""
    works = {"ours": "publish", "floor": "hash files", "plain": "publish, Pylightnix"}
    found = run_case(Case("files", count, works, repetitions), folder)
    ours = found["ours"].seconds
    target, met = (f"at most {limit_s} s", ours <= limit_s) if limit_s is not None else ("", None)
    return Row(
        f"publish {count:,} files of 4 KiB",
        where,
        ours,
        found["floor"].seconds,
        found["plain"].seconds,
        target=target,
        met=met,
    )


def plan_rows(
    count: int, repetitions: int, where: str, folder: Path, limit_s: float | None, limit_mib: float | None = None
) -> Iterator[Row]:
    """Planning a collection."""
    works = {"ours": "plan", "floor": "list folders"}
    if count <= 5000:
        works["plain"] = "plan, Pylightnix"
    found = run_case(Case("store", count, works, repetitions, keeps=True), folder)
    ours = found["ours"]
    target, met = (f"at most {limit_s} s", ours.seconds <= limit_s) if limit_s is not None else ("", None)
    yield Row(
        f"plan a collection of {count:,} realizations",
        where,
        ours.seconds,
        found["floor"].seconds,
        seconds(found, "plain"),
        target=target,
        met=met,
    )
    if limit_mib is not None:
        met = ours.extra_mib < limit_mib
        yield Row("  memory for it", where, ours.extra_mib, None, None, "MiB", f"under {limit_mib:g} MiB", met)


def collect_row(count: int, repetitions: int, where: str, folder: Path, limit_s: float | None) -> Row:
    """Planning and deleting."""
    works = {"ours": "collect", "floor": "rename and unlink", "plain": "collect, Pylightnix"}
    found = run_case(Case("store", count, works, repetitions), folder)
    ours = found["ours"].seconds
    target, met = (f"at most {limit_s} s", ours <= limit_s) if limit_s is not None else ("", None)
    return Row(
        f"plan and delete half of {count:,} realizations",
        where,
        ours,
        found["floor"].seconds,
        found["plain"].seconds,
        target=target,
        met=met,
    )


def durable_row(count: int, repetitions: int, folder: Path) -> Row:
    """What `durable` costs; the floor is the same without it."""
    works = {"ours": "publish durably", "floor": "publish"}
    found = run_case(Case("files", count, works, repetitions), folder)
    more = found["ours"].seconds - found["floor"].seconds
    files = "file" if count == 1 else "files"
    what = f"publish {count:,} {files} of 4 KiB durably (floor: not durably)"
    return Row(
        what, "disk", found["ours"].seconds, found["floor"].seconds, target=f"durable costs {1000 * more:.1f} ms"
    )


def rows(where: Path, disk: Path, *, quick: bool) -> Iterator[Row]:
    """Every line, as soon as it is known."""
    few, some = (1, 3) if quick else (3, 5)
    yield from file_rows(512 if quick else 2048, 3, "tmpfs", where)
    yield files_row(2000 if quick else 20_000, some, "tmpfs", where, None if quick else 0.4)
    yield from plan_rows(1000 if quick else 5000, some, "tmpfs", where, None if quick else 0.12)
    if not quick:
        yield from plan_rows(100_000, 3, "tmpfs", where, 3, 150)
    yield collect_row(1000 if quick else 5000, few, "tmpfs", where, None if quick else 0.5)
    if not quick:
        yield from file_rows(2048, 3, "disk", disk)
        yield files_row(5000, 3, "disk", disk, None)
        yield from plan_rows(1000, 3, "disk", disk, None)
        yield collect_row(1000, 1, "disk", disk, None)
    for count in (1, 100, 1000):
        yield durable_row(count, some, disk)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", type=Path, default=Path("/dev/shm"), help="a folder on a tmpfs (/dev/shm)")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="a folder on a disk")
    parser.add_argument("--quick", action="store_true", help="smaller data, fewer repetitions, no targets in seconds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step, name, where, size = arguments.step
        run_step(step, name, Path(where), int(size))
        return
    begin = time.monotonic()
    found = []
    for row in rows(arguments.where, arguments.disk, quick=arguments.quick):
        found.append(row)
    print(file=sys.stderr)
    if arguments.json:
        print(json.dumps([row.to_json() for row in found], indent=2))
        return
    from stagedml.core.words import table

    header = ("WHAT", "WHERE", "OURS", "FLOOR", "RATIO", "PYLIGHTNIX", "TARGET", "")
    for line in table(header, [row.texts() for row in found]):
        print(line)
    missed = sum(row.met is False for row in found)
    load = os.getloadavg()[0]
    print(
        f"{missed or 'no'} target{'s' * (missed != 1)} missed; {time.monotonic() - begin:.0f} s on "
        f"{os.cpu_count()} processors with a load of {load:.1f}"
    )


if __name__ == "__main__":
    main()
