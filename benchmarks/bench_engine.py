"""How long it takes to find that nothing is to be done, and to do trivial things, beside other tools, in one run.

    python benchmarks/bench_engine.py [--only ours,joblib] [--parts times,linearity] [--quick] [--json FILE]
    python benchmarks/bench_engine.py --profile nothing-chain [--stages 1000]

Two shapes: a chain, in which stage i reads what stage i-1 wrote, and a wide graph, so many independent stages and one
that reads them all. `nothing to do` is a store that holds everything; `from nothing` an empty one. Every time is taken
in a fresh process, which knows nothing of earlier ones, from after its imports until it has the last result: opening
the store, declaring, looking, building. What was filled a moment ago is in the kernel's cache, on the disk too. The
tools take turns, so that all have the same disturbance; each result is checked, and a builder that runs where there is
nothing to do fails the run. Ratios and targets are of medians; a target that is missed is reported, and the exit code
is 0 all the same.

The other tools are used as their documentation recommends (`engine_TOOL.py`, beside this file, says how), each in an
environment of its own that is made when first needed. `luigi` asks for the last task, and looks at nothing else where
its file is there; `luigi-all` asks for each. Neither they nor our store sync what they write here, but Hamilton, whose
SQLite does on a disk; a line of its own says what our `durable` costs.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import importlib
import json
import math
import os
import platform
import pstats
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CHAIN, WIDE = "chain", "wide"
NOTHING_TO_DO, FROM_NOTHING = "nothing to do", "from nothing"
WORKS = {"nothing": (NOTHING_TO_DO, "compute"), "build": (FROM_NOTHING, "compute"), "plan": ("planning", "plan_only")}


# -- tools ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tool:
    """One of those that are compared.

    Attributes:
        name: as it is asked for and printed.
        module: `engine_<module>.py`, which holds its program.
        requirements: what its environment holds; none for ours, which has the environment of this process.
        rounds: how often it is measured.
        work: the function of the module.
        store_of: the tool whose store it reads; it is not measured from nothing, then.
        longest_chain: beyond this, it would take too long.
        chain_once: a chain takes it so long that it is measured a single time, and not on the disk.
    """

    name: str
    module: str
    requirements: tuple[str, ...]
    rounds: int
    work: str = "compute"
    store_of: str | None = None
    longest_chain: int | None = None
    chain_once: bool = False


OURS = Tool("ours", "stagedml", (), 5)
TOOLS = (
    OURS,
    Tool("joblib", "joblib", ("joblib==1.6.0",), 5),
    Tool("luigi", "luigi", ("luigi==3.8.1",), 2),
    Tool("luigi-all", "luigi", ("luigi==3.8.1",), 2, work="compute_all", store_of="luigi"),
    Tool("hamilton", "hamilton", ("sf-hamilton==1.90.0",), 2),
    Tool(
        "pylightnix",
        "pylightnix",
        ("pylightnix==0.3.0", "setuptools<81"),  # it imports distutils
        2,
        longest_chain=1000,
        chain_once=True,
    ),
)


def python_of(tool: Tool, environments: Path) -> str:
    """The interpreter of a tool's environment, which is made if it is not there or holds something else."""
    if not tool.requirements:
        return sys.executable
    folder = environments / tool.module
    python = str(folder / "bin" / "python")
    wanted = "\n".join((sys.version, *tool.requirements))
    ready = folder / "requirements"
    with contextlib.suppress(OSError):
        if ready.read_text() == wanted:
            return python
    print(f"making {folder} with {', '.join(tool.requirements)}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if uv := shutil.which("uv"):
        commands = [
            [uv, "venv", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--compile-bytecode", "--python", python],
        ]
    else:
        commands = [[sys.executable, "-m", "venv", str(folder)], [python, "-m", "pip", "install"]]
    commands[-1] += tool.requirements
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{tool.name}: {' '.join(command)} failed; leave it out with --only\n{done.stderr}")
    ready.write_text(wanted)
    return python


# -- one measurement --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What one piece of work took.

    Attributes:
        seconds: by the wall clock.
        cpu_s: of processor time, all threads of the process; much less than `seconds` on a disturbed machine.
        extra_mib: by how much the process's memory grew at most.
    """

    seconds: float
    cpu_s: float
    extra_mib: float


def memory_mib(name: str) -> float:
    """A line of the kernel's about this process: VmRSS now, VmHWM at most.

    `ru_maxrss` is the same, but begins with what the parent had when it started this process.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def expected(work: str, shape: str, count: int) -> int:
    """What the work must find: the value of the last stage, or how many stages there are."""
    if work in ("declare", "plan_only"):
        return count + (shape == WIDE)
    return sum(range(count)) if shape == CHAIN else sum(number * number for number in range(count))


def run_work(module: str, work: str, shape: str, count: int, folder: Path, *, profiled: bool) -> None:
    """Measure one piece of work in this process; prints it as JSON, or where its time goes."""
    task: Callable[[], int] = getattr(importlib.import_module(f"engine_{module}"), work)(shape, count, folder)
    profile = cProfile.Profile()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the largest memory begins anew: importing needs some, too
    memory, cpu, begin = memory_mib("VmRSS"), time.process_time(), time.perf_counter()
    found = profile.runcall(task) if profiled else task()
    seconds, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    if found != expected(work, shape, count):
        sys.exit(f"{module}: {work} of a {shape} of {count} gave {found}, not {expected(work, shape, count)}")
    if profiled:
        where_spent = pstats.Stats(profile).strip_dirs()
        for order in ("cumulative", "tottime"):
            where_spent.sort_stats(order).print_stats(30)
        return
    print(json.dumps(asdict(Measured(seconds, cpu_s, memory_mib("VmHWM") - memory))))


def in_fresh_process(
    tool: Tool,
    python: str,
    what: str,
    shape: str,
    count: int,
    folder: Path,
    *,
    work: str | None = None,
    durable: bool = False,
    profiled: bool = False,
) -> str:
    """Measure in a process that is new; returns what it printed last, or all of it."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STAGEDML_", "PYLIGHTNIX_", "LUIGI_", "HAMILTON_", "JOBLIB_"))
    }
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    environment["STAGEDML_DURABLE"] = str(int(durable))
    environment["BENCH_ENGINE_NOTHING_TO_DO"] = "" if what == FROM_NOTHING else "1"  # builders that run raise
    folder.mkdir(exist_ok=True)
    command = [python, os.path.abspath(__file__), "--work", tool.module, work or tool.work, shape, str(count)]
    done = subprocess.run(
        [*command, str(folder), str(int(profiled))],
        cwd=folder.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"\n{tool.name}: {what}, a {shape} of {count} stages: {done.stderr}")
    return done.stdout if profiled else done.stdout.splitlines()[-1]


# -- many measurements ------------------------------------------------------------------------------------------------


@dataclass
class Cell:
    """One tool at one piece of work, measured several times.

    Attributes:
        part: of the run: `times`, `linearity`, `durable`, `not durable`.
    """

    part: str
    what: str
    shape: str
    stages: int
    where: str
    tool: str
    rounds: list[Measured] = field(default_factory=list)

    @property
    def best_s(self) -> float:
        return min(measured.seconds for measured in self.rounds)

    @property
    def median_s(self) -> float:
        return statistics.median(measured.seconds for measured in self.rounds)

    @property
    def cpu_s(self) -> float:
        return statistics.median(measured.cpu_s for measured in self.rounds)

    @property
    def extra_mib(self) -> float:
        return statistics.median(measured.extra_mib for measured in self.rounds)

    def to_json(self) -> dict[str, Any]:
        medians = {"median_s": self.median_s, "cpu_s": self.cpu_s, "extra_mib": self.extra_mib}
        return {**asdict(self), "best_s": self.best_s, **medians}


@dataclass
class Bench:
    """What is measured, and with what.

    Attributes:
        tools: those that were asked for, with the interpreter of each.
        places: `tmpfs` and `disk`, and a folder there.
        most_rounds: no tool is measured more often.
    """

    tools: dict[Tool, str]
    places: dict[str, Path]
    most_rounds: int
    cells: list[Cell] = field(default_factory=list)

    def cell(self, what: str, shape: str, stages: int, where: str, tool: str) -> Cell | None:
        """What was measured of a tool beside the others."""
        key = ("times", what, shape, stages, where, tool)
        return next((c for c in self.cells if (c.part, c.what, c.shape, c.stages, c.where, c.tool) == key), None)

    def measure(
        self,
        cell: Cell,
        tool: Tool,
        folder: Path,
        *,
        work: str | None = None,
        durable: bool = False,
    ) -> None:
        """Add a round to a cell."""
        if cell.where != "tmpfs":
            os.sync()  # what others are about to write must not be in the way
        line = in_fresh_process(
            tool, self.tools[tool], cell.what, cell.shape, cell.stages, folder, work=work, durable=durable
        )
        cell.rounds.append(Measured(**json.loads(line)))
        if cell not in self.cells:
            self.cells.append(cell)
        print(".", end="", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def folder(self, where: str) -> Iterator[Path]:
        """A folder for a while."""
        from stagedml.store.atomic import remove_tree

        folder = Path(tempfile.mkdtemp(dir=self.places[where], prefix="bench-engine-"))
        try:
            yield folder
        finally:
            remove_tree(folder)

    def compare(self, shape: str, stages: int, where: str, *, rounds_from_nothing: int) -> None:
        """All tools from nothing, then with nothing to do."""
        from stagedml.store.atomic import remove_tree

        tools = [tool for tool in self.tools if not self._takes_too_long(tool, shape, stages, where)]
        print(f"\n{where}, {shape}, {stages:,} stages ", end="", file=sys.stderr, flush=True)
        with self.folder(where) as top:
            building = {tool: Cell("times", FROM_NOTHING, shape, stages, where, tool.name) for tool in tools}
            looking = {tool: Cell("times", NOTHING_TO_DO, shape, stages, where, tool.name) for tool in tools}
            for number in range(rounds_from_nothing):
                for tool in tools:
                    if tool.store_of is None and number < self._rounds(tool, shape):
                        remove_tree(top / tool.name)
                        self.measure(building[tool], tool, top / tool.name)
            for number in range(self.most_rounds):
                for tool in tools:
                    if number < self._rounds(tool, shape):
                        self.measure(looking[tool], tool, top / (tool.store_of or tool.name))

    def _rounds(self, tool: Tool, shape: str) -> int:
        return 1 if shape == CHAIN and tool.chain_once else min(tool.rounds, self.most_rounds)

    def _takes_too_long(self, tool: Tool, shape: str, stages: int, where: str) -> bool:
        if shape != CHAIN:
            return False
        return stages > (tool.longest_chain or stages) or (tool.chain_once and where != "tmpfs")

    def grow(self, shape: str, sizes: Sequence[int], longest_s: float) -> None:
        """Ours at several sizes, on the tmpfs: from nothing, declaring and planning alone, with nothing to do."""
        where = "tmpfs"
        works = ((NOTHING_TO_DO, "compute"), ("declaring", "declare"), ("planning", "plan_only"))
        # Chains are built once. Each of their realizations names all that it rests on, as Pylightnix's format has it:
        # what a chain writes grows with the square of its length whoever writes it, so no line is fitted to that.
        rounds_from_nothing = 1 if shape == CHAIN else 2
        took_s, size = 0.0, sizes[0]
        for stages in sizes:
            if took_s * (stages / size) ** 2 > longest_s:
                print(f"\n{stages:,} stages, {shape}: left out, for it would take long", file=sys.stderr)
                break
            print(f"\n{where}, {shape}, {stages:,} stages, ours ", end="", file=sys.stderr, flush=True)
            with self.folder(where) as top:
                building = Cell("linearity", FROM_NOTHING, shape, stages, where, OURS.name)
                for number in range(rounds_from_nothing):
                    self.measure(building, OURS, top / str(number))
                    if building.rounds[-1].seconds > longest_s / 10:
                        break
                cells = [Cell("linearity", what, shape, stages, where, OURS.name) for what, _ in works]
                for _ in range(min(3, self.most_rounds)):
                    for cell, (_, work) in zip(cells, works, strict=True):
                        self.measure(cell, OURS, top / "0", work=work)
            took_s, size = building.median_s, stages

    def durable(self, stages: int) -> None:
        """Ours from nothing, durable and not, on the disk."""
        print("\ndisk, durable ", end="", file=sys.stderr, flush=True)
        cells = [Cell(part, FROM_NOTHING, WIDE, stages, "disk", OURS.name) for part in ("not durable", "durable")]
        with self.folder("disk") as top:
            for number in range(min(3, self.most_rounds)):
                for cell in cells:
                    self.measure(cell, OURS, top / f"{number} {cell.part}", durable=cell.part == "durable")


# -- what is printed --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A straight line fitted to the medians at several sizes.

    Attributes:
        exponent: of the power of the size that fits best: 1 where it grows in proportion, less where a part is fixed,
            more where it gets worse, which R² hardly tells.
    """

    what: str
    shape: str
    quantity: str
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    slope: float
    intercept: float
    r_squared: float
    exponent: float

    def texts(self, sizes: Sequence[int]) -> tuple[str, ...]:
        unit, scale, small = ("s", 1e6, "us") if self.quantity == "seconds" else ("MiB", 1024, "KiB")
        digits = 3 if unit == "s" else 1
        by_size = {size: f"{value:.{digits}f} {unit}" for size, value in zip(self.sizes, self.values, strict=True)}
        return (
            self.what if unit == "s" else "  memory for it",
            self.shape,
            *(by_size.get(size, "") for size in sizes),
            f"{self.slope * scale:.3g} {small}",
            f"{self.intercept:.{digits}f} {unit}",
            f"{self.r_squared:.4f}",
            f"{self.exponent:.2f}",
        )


def fitted(what: str, shape: str, quantity: str, points: dict[int, float]) -> Line:
    """Least squares, of the values and of their logarithms."""
    sizes, values = tuple(points), tuple(points.values())
    slope, intercept = statistics.linear_regression(sizes, values)
    r_squared = statistics.correlation(sizes, values) ** 2 if len(set(values)) > 1 else 1.0
    logarithms = [math.log(max(value, 1e-9)) for value in values]
    exponent = statistics.linear_regression([math.log(size) for size in sizes], logarithms).slope
    return Line(what, shape, quantity, sizes, values, slope, intercept, r_squared, exponent)


def lines(bench: Bench) -> Iterator[Line]:
    """Time and memory of each piece of work that was measured at several sizes."""
    series: dict[tuple[str, str], list[Cell]] = {}
    for cell in bench.cells:
        if cell.part == "linearity" and (cell.what, cell.shape) != (FROM_NOTHING, CHAIN):
            series.setdefault((cell.what, cell.shape), []).append(cell)
    for (what, shape), cells in series.items():
        if len(cells) < 2:
            continue  # larger sizes were left out
        yield fitted(what, shape, "seconds", {cell.stages: cell.median_s for cell in cells})
        yield fitted(what, shape, "memory", {cell.stages: cell.extra_mib for cell in cells})


@dataclass(frozen=True)
class Target:
    """How fast ours is to be: a median, in seconds."""

    what: str
    shape: str
    stages: int
    where: str
    limit_s: float


TARGETS = (
    *(
        Target(NOTHING_TO_DO, shape, stages, where, limit_s)
        for where in ("tmpfs", "disk")
        for stages, limit_s in ((1000, 0.06), (3000, 0.18))
        for shape in (CHAIN, WIDE)
    ),
    Target(FROM_NOTHING, WIDE, 1000, "tmpfs", 0.30),
    Target(FROM_NOTHING, CHAIN, 1000, "tmpfs", 0.5),
)


def judged(bench: Bench) -> Iterator[tuple[Target, Cell, bool]]:
    """The targets whose work was measured, and whether they are met."""
    for target in TARGETS:
        cell = bench.cell(target.what, target.shape, target.stages, target.where, OURS.name)
        if cell is not None:
            yield target, cell, cell.median_s <= target.limit_s


def times_rows(bench: Bench, text: Callable[[Cell, Cell | None], str]) -> Iterator[tuple[str, ...]]:
    """A line for each piece of work; a column for each tool, of whose cell and ours `text` makes something."""
    compared = [cell for cell in bench.cells if cell.part == "times"]
    for what in (NOTHING_TO_DO, FROM_NOTHING):
        for shape, stages, where in dict.fromkeys((c.shape, c.stages, c.where) for c in compared if c.what == what):
            ours = bench.cell(what, shape, stages, where, OURS.name)
            cells = [bench.cell(what, shape, stages, where, tool.name) for tool in bench.tools]
            texts = ["" if cell is None else text(cell, ours) for cell in cells]
            yield what, shape, f"{stages:,}", where, *texts


def time_text(cell: Cell, ours: Cell | None) -> str:
    return f"{cell.best_s:.3f}  {cell.median_s:.3f}" if len(cell.rounds) > 1 else f"{cell.best_s:.3f}"


def ratio_text(cell: Cell, ours: Cell | None) -> str:
    if ours is None or cell is ours:
        return ""
    return f"{cell.median_s / ours.median_s:.2f}"


def memory_text(cell: Cell, ours: Cell | None) -> str:
    return f"{cell.extra_mib:.1f}"


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from stagedml.core.words import table

    if found := table(header, list(rows)):
        print(title, *found, sep="\n", end="\n\n")


def report(bench: Bench, *, quick: bool) -> None:
    """Print all tables."""
    header = ("WHAT", "SHAPE", "STAGES", "WHERE", *(tool.name.upper() for tool in bench.tools))
    show("Seconds in process: best and median, or the only one", header, times_rows(bench, time_text))
    if OURS in bench.tools and len(bench.tools) > 1:
        show("How many times as long as ours", header, times_rows(bench, ratio_text))
    show("MiB by which the process grew", header, times_rows(bench, memory_text))
    fits = list(lines(bench))
    sizes = sorted({size for line in fits for size in line.sizes})
    header = ("OURS, TMPFS", "SHAPE", *(f"{size:,}" for size in sizes), "A STAGE", "AT NONE", "R²", "POWER")
    show(
        "How it grows with the number of stages (chains from nothing write the square of it)",
        header,
        [line.texts(sizes) for line in fits],
    )
    plain, durable = (
        next((cell for cell in bench.cells if cell.part == part), None) for part in ("not durable", "durable")
    )
    if plain is not None and durable is not None:
        more_ms = 1000 * (durable.median_s - plain.median_s) / plain.stages
        print(
            f"durable: from nothing, wide, {plain.stages:,} stages on the disk took {durable.median_s:.3f} s, "
            f"not durable {plain.median_s:.3f} s: {more_ms:.2f} ms more a stage\n"
        )
    if not quick:
        show(
            "Targets, of the median; what of it is processor time tells how much the machine was disturbed",
            ("WHAT", "SHAPE", "STAGES", "WHERE", "AT MOST", "FOUND", "PROCESSOR", ""),
            (
                (
                    *(target.what, target.shape, f"{target.stages:,}", target.where),
                    *(f"{target.limit_s:.2f} s", f"{cell.median_s:.3f} s", f"{cell.cpu_s:.3f} s"),
                    "met" if met else "MISSED",
                )
                for target, cell, met in judged(bench)
            ),
        )


def to_json(bench: Bench) -> dict[str, Any]:
    """Everything that was measured, each round of it."""
    return {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
        "requirements": {tool.name: tool.requirements for tool in bench.tools},
        "times": [cell.to_json() for cell in bench.cells],
        "lines": [asdict(line) for line in lines(bench)],
        "targets": [
            {**asdict(target), "median_s": cell.median_s, "cpu_s": cell.cpu_s, "met": met}
            for target, cell, met in judged(bench)
        ],
    }


# -- the command ------------------------------------------------------------------------------------------------------


def is_tmpfs(folder: Path) -> bool:
    """Whether a folder is in memory."""
    done = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.strip() in ("tmpfs", "ramfs")


def disk_folder() -> Path:
    """The first usual folder for temporary files that is not in memory."""
    for folder in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.home()):
        if folder.is_dir() and not is_tmpfs(folder):
            return folder
    sys.exit("no temporary folder is on a disk; name one with --disk")


def profile_ours(case: str, stages: int, where: Path) -> None:
    """Print where our time goes in one case."""
    from stagedml.store.atomic import remove_tree

    name, shape = case.split("-")
    what, work = WORKS[name]
    folder = Path(tempfile.mkdtemp(dir=where, prefix="bench-engine-"))
    try:
        if what != FROM_NOTHING:
            in_fresh_process(OURS, sys.executable, FROM_NOTHING, shape, stages, folder / "ours")
        print(f"{what}, {shape}, {stages:,} stages; the profiler makes calls look slower than they are")
        arguments = (OURS, sys.executable, what, shape, stages, folder / "ours")
        print(in_fresh_process(*arguments, work=work, profiled=True))
    finally:
        remove_tree(folder)


def chosen_tools(names: str) -> list[Tool]:
    """The tools of `--only`; what reads the store of another brings it along."""
    known = {tool.name: tool for tool in TOOLS}
    wanted = [name.strip() for name in names.split(",")] if names else list(known)
    for name in wanted:
        if name not in known:
            sys.exit(f"--only: no {name!r}; there are {', '.join(known)}")
    wanted += [other for name in wanted if (other := known[name].store_of)]
    return [tool for tool in TOOLS if tool.name in wanted]


def default_environments() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stagedml-bench-engine"


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", type=Path, default=Path("/dev/shm"), help="a folder on a tmpfs (/dev/shm)")
    parser.add_argument("--disk", type=Path, help="a folder on a disk (one for temporary files)")
    parser.add_argument("--environments", type=Path, default=default_environments(), help="where the others live")
    parser.add_argument("--only", default="", metavar="TOOL,...", help=", ".join(tool.name for tool in TOOLS))
    parser.add_argument("--parts", default="times,linearity", help="times, linearity, or both (both)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the stages, two rounds, no targets")
    parser.add_argument("--longest-s", type=float, default=300, help="sizes that would take longer are left out (300)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    cases = [f"{work}-{shape}" for work in WORKS for shape in (CHAIN, WIDE)]
    parser.add_argument("--profile", choices=cases, help="only this: where our time goes")
    parser.add_argument("--stages", type=int, default=1000, help="for --profile (1000)")
    parser.add_argument("--work", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        module, work, shape, count, folder, profiled = arguments.work
        run_work(module, work, shape, int(count), Path(folder), profiled=profiled == "1")
        return
    if arguments.profile:
        profile_ours(arguments.profile, arguments.stages, arguments.where)
        return
    begin = time.monotonic()
    quick: bool = arguments.quick
    bench = Bench(
        tools={tool: python_of(tool, arguments.environments) for tool in chosen_tools(arguments.only)},
        places={"tmpfs": arguments.where, "disk": arguments.disk or disk_folder()},
        most_rounds=2 if quick else 5,
    )
    scale = 10 if quick else 1
    if "times" in arguments.parts:
        for where in bench.places:
            for shape in (CHAIN, WIDE):
                bench.compare(shape, 1000 // scale, where, rounds_from_nothing=bench.most_rounds)
                bench.compare(shape, 3000 // scale, where, rounds_from_nothing=1)
        if OURS in bench.tools:
            bench.durable(1000 // scale)
    if "linearity" in arguments.parts and OURS in bench.tools:
        bench.grow(WIDE, [size // scale for size in (1000, 2000, 5000, 10_000)], arguments.longest_s)
        bench.grow(CHAIN, [size // scale for size in (1000, 2000, 4000)], arguments.longest_s)
    print(file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(json.dumps(to_json(bench), indent=2))
    report(bench, quick=quick)
    missed = [not met for _, _, met in judged(bench)]
    print(
        f"{sum(missed)} of {len(missed)} targets missed; {time.monotonic() - begin:.0f} s on "
        f"{os.cpu_count()} processors with a load of {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
