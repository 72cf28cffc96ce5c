"""A folder in which TensorBoard finds the logs of realizations, and of builds that run, by names for people.

    <folder>/train, learning_rate=0.1/events...             what `__log__` of a realization holds, linked file by file
    <folder>/train, learning_rate=0.1/valid/events...       its folders are folders here
    <folder>/train, learning_rate=1.0/events...

- A name says the stage, and the parameters and inputs that differ among those of that stage which are shown. Where that
  is not enough, the instance or the start of a hash follows. A name that was given stays, also when the build is
  published: who looks at a curve goes on looking at it.
- What is published is linked symbolically. The files of a build that runs are hard links where there can be some:
  TensorBoard takes a file that vanishes for ended, and would miss what was written last before it moved into the store.
- Names of stages are looked up at each `refresh`, so what is built later comes in. What is collected goes.
- The folder is its owner's: nothing outside is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from stagedml.core.refs import DerivationRef, RealizationRef, parse_dref
from stagedml.errors import StagedmlError, UsageError
from stagedml.inspection.hparams import tell_parameters, tell_results
from stagedml.inspection.logs import RunningBuild, RunningBuilds
from stagedml.inspection.metrics import metrics_in
from stagedml.inspection.parameters import differing, values_of, words_of
from stagedml.inspection.selectors import find_all
from stagedml.store import atomic
from stagedml.store.layout import LOG_FOLDER
from stagedml.store.metadata import Metadata, UnreadableMetadata
from stagedml.store.objects import NotInStore, Store

_LONGEST_NAME_BYTES = 160  # a file name has at most 255; an instance or a hash may follow
_NOT_IN_NAMES = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))
_SHORT = 6  #: characters of a hash


@dataclass(frozen=True, slots=True)
class Run:
    """A log that is shown.

    Attributes:
        name: what TensorBoard calls it; runs of folders in it begin so, too.
        ref: the realization; of a build that runs the derivation; "" of a folder that is neither.
        path: where the log is.
    """

    name: str
    ref: str
    path: str


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the log of a run is, and what is known of it."""

    log: Path
    derivation: DerivationRef | None = None
    realization: RealizationRef | None = None  #: None while it runs
    instances: tuple[int, ...] = ()
    began: float = 0.0  #: seconds since the epoch
    ended: float = 0.0  #: seconds since the epoch

    @property
    def stage(self) -> str:
        """What a name begins with."""
        if self.derivation is not None:
            return self.derivation.name
        folder = self.log.parent if self.log.name == LOG_FOLDER else self.log
        return folder.name or "log"

    @property
    def hash(self) -> str:
        if self.realization is not None:
            return self.realization.rhash
        return hashlib.sha256(os.fsencode(self.log)).hexdigest()


class LogTree:
    """The links to some logs.

    Args:
        store: where the realizations are.
        texts: what is shown, as of `selectors.find_all`; the name of a stage of which a build runs; a folder of logs,
            such as `build.log_dir`. Without any, and without builds, everything that there is.
        builds: builds that are shown, too.
        folder: where the links go; it is made.

    Raises:
        NotInStore: one of the texts stands for nothing, as UsageError where it says too little.
        LibraryMissing: it takes TensorBoard.
    """

    def __init__(self, store: Store, texts: Sequence[str], builds: Sequence[RunningBuild], folder: Path) -> None:
        self.folder = folder
        self._store = store
        self._running = RunningBuilds(store)
        self._is_all = not texts and not builds
        self._fixed = [*map(_of_build, builds), *filter(None, map(self._of_folder, texts))]
        self._texts = [text for text in texts if not _is_folder(store, text)]
        self._runs: dict[str, _Source] = {}
        self._linked: dict[str, frozenset[Path]] = {}
        self._done: set[str] = set()  # names of runs whose links never change again
        self._without: set[RealizationRef] = set()  # realizations that have no events
        folder.mkdir()
        self._add([*self._fixed, *self._meant(is_strict=True)])

    @property
    def runs(self) -> tuple[Run, ...]:
        """What is shown."""
        return tuple(
            Run(name, str(source.realization or source.derivation or ""), str(source.log))
            for name, source in sorted(self._runs.copy().items())  # another thread may refresh meanwhile
        )

    def refresh(self) -> None:
        """Link what there is by now."""
        meant = self._meant(is_strict=False)
        self._follow()
        self._add(meant)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _meant(self, *, is_strict: bool) -> list[_Source]:
        """The logs that the texts stand for; if it is strict, each must stand for something."""
        running = self._running.now()
        if self._is_all:
            references = [ref for one in self._store.derivations() for ref in self._store.realizations(one)]
            return [*self._with_events(references), *map(_of_build, running)]
        found: list[_Source] = []
        for text in self._texts:
            builds = [build for build in running if _is_meant(build, text)]
            try:
                found += self._with_events(find_all(self._store, [text]))
            except (NotInStore, UsageError):
                if is_strict and not builds:
                    raise
            found += map(_of_build, builds)
        return found

    def _with_events(self, references: Iterable[RealizationRef]) -> Iterator[_Source]:
        """Those of some realizations that have something to show and are not shown yet."""
        shown = {source.realization for source in self._runs.values()}
        for ref in references:
            if ref not in shown and ref not in self._without:
                source = self._of_realization(ref)
                if _has_events(source.log):
                    yield source
                else:
                    self._without.add(ref)

    def _of_realization(self, ref: RealizationRef) -> _Source:
        known = self._known(ref)
        return _Source(
            log=self._store.layout.realization(ref) / LOG_FOLDER,
            derivation=ref.derivation,
            realization=ref,
            instances=known.instances if known is not None else (),
            began=known.builds[-1].started if known is not None else self._store.started(ref),
            ended=known.builds[-1].stopped if known is not None else self._store.started(ref),
        )

    def _of_folder(self, text: str) -> _Source | None:
        """What a folder outside of the storage shows: the build that fills it, if one does."""
        if not _is_folder(self._store, text):
            return None
        folder = Path(text).expanduser().resolve()
        for build in self._running.now():
            outpath = Path(build.folder).resolve()
            if folder in (outpath, outpath / LOG_FOLDER):
                return _of_build(build)
        return _Source(folder / LOG_FOLDER if (folder / LOG_FOLDER).is_dir() else folder)

    def _known(self, ref: RealizationRef) -> Metadata | None:
        try:
            return self._store.metadata(ref)
        except UnreadableMetadata:
            return None

    def _follow(self) -> None:
        """Go on with the realization where a build was published meanwhile; forget what is gone."""
        for name, source in list(self._runs.items()):
            if source.log.parent.is_dir() or source.derivation is None:
                continue
            if source.realization is not None:
                self._remove(name)
            elif (published := self._published(source)) is not None:
                if any(other.realization == published.realization for other in self._runs.values()):
                    self._remove(name)
                else:
                    self._runs[name] = published

    def _published(self, source: _Source) -> _Source | None:
        """What became of a build."""
        assert source.derivation is not None
        made = map(self._of_realization, self._store.realizations(source.derivation))
        return max(
            (one for one in made if set(source.instances) <= set(one.instances)),
            key=lambda one: one.ended,
            default=None,
        )

    def _remove(self, name: str) -> None:
        del self._runs[name]
        self._done.discard(name)
        self._linked.pop(name, None)
        atomic.remove_tree(self.folder / name)

    def _add(self, sources: Iterable[_Source]) -> None:
        """Show what is not shown yet, and bring the links up to date."""
        shown = {source.log for source in self._runs.values()}
        new = {
            source.log: source
            for source in sources
            if source.log not in shown and (source.derivation is None or source.log.parent.is_dir())
        }
        if new:
            bases = self._bases([*self._runs.values(), *new.values()])
            alike: dict[str, list[_Source]] = {}
            for source, base in bases.items():
                alike.setdefault(base, []).append(source)
            for source in new.values():
                self._runs[self._free_name(bases[source], source, alike[bases[source]])] = source
        for name, source in self._runs.items():
            if name not in self._done:
                self._link(name, source)

    # -- names --------------------------------------------------------------------------------------------------------

    def _bases(self, sources: Sequence[_Source]) -> dict[_Source, str]:
        """What the name of each of some runs begins with: its stage, and what differs from others of that stage."""
        by_stage: dict[str, list[_Source]] = {}
        for source in sources:
            by_stage.setdefault(source.stage, []).append(source)
        found = {}
        for stage, own in by_stage.items():
            values = [values_of(self._config(source)) for source in own]
            for source, own_values in zip(own, differing(values), strict=True):
                name = ", ".join(filter(None, (stage, words_of(own_values)))).translate(_NOT_IN_NAMES)
                found[source] = name.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore")
        return found

    def _config(self, source: _Source) -> Mapping[str, Any]:
        """The config of a run's derivation; nothing where it cannot be told."""
        with contextlib.suppress(StagedmlError):
            if source.derivation is not None:
                return self._store.config(source.derivation)
        return {}

    def _free_name(self, base: str, source: _Source, alike: Sequence[_Source]) -> str:
        """A name that is not given yet, as short as can be. All in `alike` would be called the same."""
        names = [base] if len(alike) == 1 else []
        instances = [one.instances for one in alike]
        if source.instances and len({one.derivation for one in alike}) == 1 and len(set(instances)) == len(alike):
            names.append(f"{base}, instance {', '.join(map(str, source.instances[:3]))}")
        names += [f"{base}, {source.hash[:_SHORT]}", f"{base}, {source.hash}"]
        return next(name for name in names if name not in self._runs)

    # -- links --------------------------------------------------------------------------------------------------------

    def _link(self, name: str, source: _Source) -> None:
        """Bring the folder of a run up to date."""
        top = self.folder / name
        if not top.is_dir():
            top.mkdir()
            if source.derivation is not None:
                tell_parameters(top, self._config(source), source.began)
        before = self._linked.get(name, frozenset())
        now = frozenset(_files_in(source.log))
        for file in sorted(now - before):
            (top / file).parent.mkdir(parents=True, exist_ok=True)
            _make_link(source.log / file, top / file, is_hard=source.realization is None)
        if source.realization is not None:
            tell_results(top, metrics_in(source.log.parent), source.ended)
            self._done.add(name)
        elif source.log.is_dir():  # else what is not seen is not gone, but on its way into the store
            for file in before - now:
                (top / file).unlink(missing_ok=True)
            self._linked[name] = now


def _of_build(build: RunningBuild) -> _Source:
    return _Source(
        log=Path(build.folder) / LOG_FOLDER,
        derivation=parse_dref(build.dref),
        instances=(build.instance,),
        began=build.began,
    )


def _is_meant(build: RunningBuild, text: str) -> bool:
    return text == build.dref or fnmatchcase(parse_dref(build.dref).name, text)


def _is_folder(store: Store, text: str) -> bool:
    """Whether a text is a folder, and not one in the storage, which stands for a realization."""
    folder = os.path.expanduser(text)
    if os.sep not in text or not os.path.isdir(folder):
        return False
    return not Path(folder).resolve().is_relative_to(store.layout.storage.resolve())


def _has_events(log: Path) -> bool:
    return any("tfevents" in file.name for file in _files_in(log))


def _files_in(log: Path) -> Iterator[Path]:
    """The files of a log, by their places in it. What is no file, such as a pipe, may keep who reads it for ever."""
    for folder, _, names in os.walk(log):
        place = Path(folder).relative_to(log)
        yield from (place / name for name in names if os.path.isfile(os.path.join(folder, name)))


def _make_link(file: Path, link: Path, *, is_hard: bool) -> None:
    """Link to a file; nothing where it is gone or linked already."""
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        try:
            (os.link if is_hard else os.symlink)(file, link)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:
            if not is_hard:
                raise
            os.symlink(file, link)  # it is on another file system, or another user's
