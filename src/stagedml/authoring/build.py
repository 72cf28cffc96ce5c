"""The `Build` that a builder works with, and running a builder.

A builder writes into `build.outpath`, reads its inputs through `build.path`, takes all randomness from `build.seed`,
and writes whatever has a clock in it below `build.log_dir`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import time
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from blake3 import blake3

from stagedml.authoring.artifact import Artifact, ConfigSource
from stagedml.authoring.distributions import versions_of
from stagedml.authoring.pylightnix import (
    BuildArgs,
    Context,
    DRef,
    Output,
    PylightnixBuild,
    RefPath,
    RRef,
    StorageSettings,
)
from stagedml.authoring.pylightnix import Path as PylightnixPath
from stagedml.authoring.session import store_of
from stagedml.authoring.watching import InputPath
from stagedml.core import config as configs
from stagedml.core.config import Config, is_ref_path
from stagedml.core.refs import is_dref, parse_rref
from stagedml.errors import BuildError, UsageError
from stagedml.store import atomic
from stagedml.store.checkpoints import slot, slots
from stagedml.store.layout import BUILD_START_FILE, BUILD_STOP_FILE, LOG_FOLDER
from stagedml.store.objects import Store, output_exists

logger = logging.getLogger(__name__)


class MissingOutputs(BuildError):
    """A builder ended without having written what its stage promises."""

    def __init__(self, dref: str, missing: Sequence[str]) -> None:
        super().__init__(dref, tuple(missing))
        self.dref, self.missing = dref, tuple(missing)

    def __str__(self) -> str:
        return f"the builder of {self.dref} ended without writing {', '.join(self.missing)}, which its stage promises"


class NotAnInput(UsageError):
    """A builder asked for something that is not among its inputs."""

    def __init__(self, dref: str, asked: str) -> None:
        super().__init__(dref, asked)
        self.dref, self.asked = dref, asked

    def __str__(self) -> str:
        return f"{self.asked} is no input of {self.dref}; make it a parameter of the stage"


class BuildListener:
    """What a build reports while it runs; all methods do nothing."""

    def progress(self, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        """Something countable went on."""

    def message(self, text: str) -> None:
        """Something a person wants to know now, such as where to look."""


def stage_seed(config: Config) -> int:
    """The seed that a config holds, 0 if it has none that is an integer."""
    seed = config.get("seed")
    return seed if type(seed) is int else 0


def derive_seed(seed: int, instance: int) -> int:
    """The seed of one instance: 31 bits, derived from the stage's seed and the instance's number."""
    text = f"stagedml seed 1\n{seed}\n{instance}\n"
    return int.from_bytes(blake3(text.encode()).digest(length=4), "little") & 0x7FFFFFFF


class Build(PylightnixBuild):
    """One realization being built.

    Pylightnix's own functions (`build_path`, `build_outpath`, `mklens`, ...) take it as well.
    """

    def __init__(
        self,
        *,
        storage: StorageSettings | None,
        dref: str,
        context: Mapping[str, Sequence[str]],
        outpath: Path,
        scratch: Path,
        instance: int = 0,
        arguments: Mapping[str, Any] | None = None,
        offline: bool = False,
        mirrors: str = "",
        listener: BuildListener | None = None,
        checkpoints: Path | None = None,
        imports: Collection[str] = (),
    ) -> None:
        self._store = store_of(storage)
        self._reads: dict[str, None] = {}
        super().__init__(BuildArgs(storage, DRef(dref), cast(Context, context), None, None, {}, dict(arguments or {})))
        self.outpaths = Output([PylightnixPath(str(outpath))])
        self.outpath = outpath
        self._scratch = scratch
        self.instance = instance
        self.offline = offline
        self.mirrors = mirrors
        self._listener = listener or BuildListener()
        self._checkpoints = checkpoints
        self._imports = imports

    # -- what leads beyond the declared fields of the inputs --------------------------------------------------------

    @property
    def reads(self) -> tuple[str, ...]:
        """What the builder asked for that says more of its inputs than their declared fields and contents."""
        return tuple(self._reads)

    def note(self, what: str) -> None:
        """Note that the builder asked for something of that kind, so that nobody adopts what it made."""
        self._reads[what] = None

    @property
    def store(self) -> Store:
        """The store that is built in."""
        self.note("the store")
        return self._store

    @property
    def context(self) -> Context:
        """All that the build rests on, for Pylightnix's functions."""
        self.note("the context")
        return {DRef(ref): [RRef(rref) for rref in rrefs] for ref, rrefs in self._context.items()}

    @context.setter
    def context(self, value: Context) -> None:
        self._context = value

    @property
    def dref(self) -> DRef:
        """The derivation that is built."""
        self.note("its own reference")
        return self._dref

    @dref.setter
    def dref(self, value: DRef) -> None:
        self._dref = value

    # -- what the derivation is made of ------------------------------------------------------------------------------

    @property
    def reference(self) -> str:
        """The derivation that is built, for who runs the builder."""
        return str(self._dref)

    @property
    def config_source(self) -> ConfigSource:
        """Who knows the configs of the inputs, for their declared fields."""
        return self._store

    @property
    def promised(self) -> Collection[tuple[str, bool]]:
        """The outputs that the stage promises, each as its path and whether that is a prefix."""
        return configs.outputs_of(self._store.config_of(self._dref)).values()

    @property
    def config(self) -> Config:
        """The config of the derivation, paths of its own outputs resolved."""
        resolved: Config = configs.resolve(dict(self._store.config_of(self._dref)), str(self._dref))
        return {name: _watched(value) for name, value in resolved.items()}

    @property
    def seed(self) -> int:
        """The seed of this instance, derived from the parameter `seed` (0 where there is none) and `instance`."""
        return derive_seed(stage_seed(self._store.config_of(self._dref)), self.instance)

    @property
    def scratch(self) -> Path:
        """A folder for what is not to be kept, on the store's file system. Made when asked for."""
        self._scratch.mkdir(exist_ok=True)
        return self._scratch

    @property
    def log_dir(self) -> Path:
        """A folder for events, timings and TensorBoard, kept with the realization, in no hash. Made when asked for."""
        folder = self.outpath / LOG_FOLDER
        folder.mkdir(exist_ok=True)
        return folder

    @functools.cached_property
    def checkpoint_dir(self) -> Path:
        """A folder that outlives a crash. What a builder writes there, its next attempt finds. Made when asked for.

        It belongs to this derivation with these inputs, this instance, these values of the Exec parameters and these
        versions of Python and of what the builder imports; any of them other, and it is another folder. It is gone when
        the build has succeeded, so what is to be kept is written to `outpath`. No two processes have it at a time.

        What a builder makes after going on must be what it makes without a break, byte for byte. And a crash may come
        at any moment: write beside, and rename.
        """
        if self._checkpoints is None:
            folder = self.scratch / "checkpoints"
            folder.mkdir(exist_ok=True)
            return folder
        packages = versions_of(self._imports, "lock")
        way = {"arguments": dict(self.rarg), "python": platform.python_version(), "packages": packages}
        found = slot(self._checkpoints, way)
        if not any(found.iterdir()) and any(
            other != found and any(other.iterdir()) for other in slots(self._checkpoints)
        ):
            self.message("an earlier attempt kept checkpoints, with other Exec values or packages: they are not used")
        return found

    def paths(self, path: RefPath | str) -> list[Path]:
        """The files a path stands for: one for each realization of the input it leads into, in the order of contents.

        Args:
            path: a field of an artifact, one of the stage's own outputs, or an input itself.

        Raises:
            NotAnInput: it leads to something that is not an input of this stage.
        """
        parts: list[str] = [path] if isinstance(path, str) else [str(part) for part in path]
        if isinstance(path, list) and not is_ref_path(path):
            raise NotAnInput(str(self._dref), repr(path))
        if parts[0] == self._dref:
            return [self.outpath.joinpath(*parts[1:])]
        if len(parts) == 1:
            self.note("the folder of an input")  # in which are its logs, times and context, too
        return [InputPath(self._store.path(parse_rref(rref)), *parts[1:]) for rref in self._realizations(parts[0])]

    def path(self, path: RefPath | str) -> Path:
        """The one file a path stands for; as `paths`, for an input with exactly one realization."""
        found = self.paths(path)
        if len(found) != 1:
            raise UsageError(f"{path} stands for {len(found)} realizations here: read them with `build.paths`")
        return found[0]

    def rrefs(self, dref: str) -> list[RRef]:
        """The realizations of an input, in the order of their contents. Raises NotAnInput."""
        self.note("references of realizations")
        return self._realizations(dref)

    def _realizations(self, dref: str) -> list[RRef]:
        """In an order that does not change with what is behind them."""
        if dref not in self._context:
            raise NotAnInput(str(self._dref), dref)
        found = [RRef(rref) for rref in self._context[DRef(dref)]]
        return found if len(found) < 2 else sorted(found, key=lambda rref: (self._content(rref), rref))

    def _content(self, rref: str) -> str:
        known = self._store.metadata(parse_rref(rref))
        return known.content if known is not None else ""

    def rref(self, dref: str) -> RRef:
        """The one realization of an input."""
        found = self.rrefs(dref)
        if len(found) != 1:
            raise UsageError(f"{dref} has {len(found)} realizations here: read them with `build.rrefs`")
        return found[0]

    def progress(self, label: str, done: int, total: int | None = None, unit: str = "", note: str = "") -> None:
        """Tell how far the build is; shown while it runs, kept nowhere."""
        self._listener.progress(label, done, total, unit, note)

    def message(self, text: str) -> None:
        """Tell something that a person wants to know now; shown and logged."""
        logger.info("%s: %s", self._dref, text)
        self._listener.message(text)


def _watched(value: Any) -> Any:
    """A config's value with references that tell when they are ordered."""
    if isinstance(value, str):
        return Artifact(value) if value[:5] == "dref:" and is_dref(value) else value
    if isinstance(value, list):
        return [_watched(item) for item in value]
    if isinstance(value, dict):
        return {key: _watched(item) for key, item in value.items()}
    return value


def mark_start(outpath: Path, moment: float | None = None) -> float:
    """Write Pylightnix's start file, of now if no other moment is given; returns that, seconds since the epoch."""
    return _mark(outpath, BUILD_START_FILE, moment)


def mark_stop(outpath: Path) -> float:
    """Write Pylightnix's stop file; returns the time, seconds since the epoch."""
    return _mark(outpath, BUILD_STOP_FILE)


def _mark(outpath: Path, name: str, moment: float | None = None) -> float:
    moment = time.time() if moment is None else moment
    atomic.write_over(f"{outpath}/{name}", time_text(moment).encode(), 0o644)
    return moment


def time_text(moment: float) -> str:
    """A time as Pylightnix's `timestring` writes it: `261121-19:42:40:876050+0000`."""
    seconds, microseconds = divmod(round(moment * 1_000_000), 1_000_000)
    local = time.localtime(seconds)
    return f"{time.strftime('%y%m%d-%H:%M:%S', local)}:{microseconds:06d}{time.strftime('%z', local)}"


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Let what a builder forks end with the block: only the process that entered it goes on to publish."""
    owner = os.getpid()
    try:
        yield
    except BaseException:
        if os.getpid() != owner:
            traceback.print_exc()
            os._exit(1)
        raise
    if os.getpid() != owner:
        os._exit(0)


def check_outputs(build: Build, outpath: Path | None = None) -> None:
    """Make sure that everything promised was written, there or to another folder. Raises MissingOutputs."""
    tree = outpath or build.outpath
    missing = [path + ".*" * prefix for path, prefix in build.promised if not output_exists(tree, path, prefix)]
    if missing:
        raise MissingOutputs(build.reference, missing)
