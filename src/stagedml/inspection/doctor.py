"""Is this machine fit for StagedML, and the store in order? What is wrong, and what to do about it.

Nothing is changed but for probe files in the store's scratch folder, which are gone afterwards; no framework is
imported, and no file of a realization is read, as `verify` does.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagedml.core import words
from stagedml.engine.apart import gpus_here, memory_of_machine
from stagedml.errors import StagedmlError
from stagedml.inspection import logs
from stagedml.inspection.configuration import empty_among, experiments_of_another
from stagedml.remotes.mirrors import parse_mirrors
from stagedml.settings import VARIABLES, Settings, read_settings
from stagedml.store import roots
from stagedml.store.layout import Layout
from stagedml.store.metadata import UnreadableMetadata
from stagedml.store.objects import Store

FINE, WARNING, PROBLEM = "ok", "warning", "problem"
_LITTLE_BYTES = 5 << 30
_PACKAGES = ("pylightnix", "numpy", "blake3", "tensorflow", "tensorflow-text", "tf-keras", "tf-models-official")
_OLDEST, _NEWEST = (3, 10), (3, 13)
_RUNS_TOLD = 3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What came of looking at one thing.

    Attributes:
        subject: what was looked at.
        state: `ok`, `warning` or `problem`.
        told: what was found.
        remedy: what to do about it; "" if nothing.
    """

    subject: str
    state: str
    told: str
    remedy: str = ""


def diagnose(root: str | None = None) -> tuple[Diagnosis, ...]:
    """Look at Python, packages, settings, store, disk, links, mirrors, GPUs and past runs."""
    found = [_python(), *_packages(), _builds_apart(), _gpus()]
    try:
        settings = read_settings(root=root)
    except StagedmlError as error:
        return (*found, Diagnosis("settings", PROBLEM, str(error), "`stagedml config` tells where each comes from"))
    found += [*_empty(), *_experiments(settings), *_mirrors(settings)]
    try:
        store = Store.open(settings, create=False)
    except StagedmlError as error:
        return (*found, Diagnosis("store", PROBLEM, str(error), "`stagedml init` makes a store"))
    return (*found, *_store(store))


def _python() -> Diagnosis:
    told = f"Python {platform.python_version()} at {sys.executable}"
    if _OLDEST <= sys.version_info[:2] <= _NEWEST:
        return Diagnosis("python", FINE, told)
    return Diagnosis("python", WARNING, told, "it is tried with CPython 3.10 to 3.13; `make environment` takes one")


def _packages() -> Iterator[Diagnosis]:
    there: dict[str, str] = {}
    missing: list[str] = []
    for name in _PACKAGES:
        try:
            there[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    yield Diagnosis("packages", FINE, ", ".join(f"{name} {version}" for name, version in there.items()))
    if missing:
        remedy = "BERT and the like need them: pip install 'stagedml[tf]', or `make environment`"
        yield Diagnosis("packages", WARNING, f"not installed: {', '.join(missing)}", remedy)
    if os.environ.get("TF_USE_LEGACY_KERAS", "1") not in ("1", "true", "True"):
        remedy = "unset it: the models of the catalogue are Keras 2's"
        yield Diagnosis("packages", WARNING, "TF_USE_LEGACY_KERAS says that Keras 3 is to be used", remedy)


def _builds_apart() -> Diagnosis:
    told = f"{words.count(os.cpu_count() or 1, 'CPU')}, {words.size(memory_of_machine())} of memory"
    if platform.system() == "Linux":
        return Diagnosis("machine", FINE, told)
    return Diagnosis("machine", WARNING, told, "builds in processes of their own need Linux; realize with jobs=1")


def _gpus() -> Diagnosis:
    gpus = gpus_here()
    if gpus and shutil.which("nvidia-smi") is None:
        remedy = "install the driver's tools: without them nobody knows what a build used of a GPU"
        return Diagnosis("gpus", WARNING, f"{words.count(len(gpus), 'GPU')}, and no nvidia-smi on PATH", remedy)
    return Diagnosis("gpus", FINE, f"{words.count(len(gpus), 'GPU')} for builds here")


def _empty() -> Iterator[Diagnosis]:
    every = [variable for variables, _ in VARIABLES.values() for variable in variables]
    if empty := empty_among(every, os.environ):
        told = f"set to nothing, which counts as not set: {', '.join(empty)}"
        yield Diagnosis("settings", WARNING, told, f"unset {' '.join(empty)}")


def _experiments(settings: Settings) -> Iterator[Diagnosis]:
    if told := experiments_of_another(settings):
        remedy = f"export STAGEDML_EXPERIMENTS={shlex.quote(str(Layout.of(settings).default_experiments))}"
        yield Diagnosis("settings", WARNING, told, remedy)


def _mirrors(settings: Settings) -> Iterator[Diagnosis]:
    try:
        mirrors = parse_mirrors(settings.mirrors)
    except StagedmlError as error:
        yield Diagnosis("mirrors", PROBLEM, str(error), "mend STAGEDML_MIRRORS")
        return
    folders = [Path(text) for text in settings.mirrors.split(os.pathsep) if text.startswith(("/", "~", "."))]
    gone = [str(folder) for folder in folders if not folder.expanduser().is_dir()]
    if gone:
        yield Diagnosis("mirrors", WARNING, f"no folder at {', '.join(gone)}", "mend STAGEDML_MIRRORS")
    elif mirrors:
        yield Diagnosis("mirrors", FINE, f"{words.count(len(mirrors), 'mirror')} asked before the network")
    if settings.offline:
        yield Diagnosis("network", FINE, "STAGEDML_OFFLINE: it is never tried")


def _store(store: Store) -> Iterator[Diagnosis]:
    yield from _contents(store)
    yield _writing(store)
    free = store.free_bytes()
    remedy = "`stagedml gc` shows what could go" if free < _LITTLE_BYTES else ""
    yield Diagnosis("disk", WARNING if remedy else FINE, f"{words.size(free)} free", remedy)
    yield from _links(store)
    yield from _past(store)


def _contents(store: Store) -> Iterator[Diagnosis]:
    derivations = store.derivations()
    realizations, unreadable = 0, 0
    for derivation in derivations:
        for ref in store.realizations(derivation):
            realizations += 1
            try:
                store.metadata(ref)
            except UnreadableMetadata:
                unreadable += 1
    told = f"{words.count(realizations, 'realization')} in {store.layout.storage}"
    yield Diagnosis("store", FINE, told)
    if unreadable:
        told = f"the metadata of {words.count(unreadable, 'realization')} cannot be read"
        yield Diagnosis("store", PROBLEM, told, "`stagedml verify` names them")


def _writing(store: Store) -> Diagnosis:
    """Whether the file system does what publishing and adopting need."""
    name = store.layout.scratch / f"doctor-{uuid.uuid4().hex[:8]}"
    other = name.with_suffix(".link")
    try:
        name.write_bytes(b"")
        _tried(lambda: os.link(name, other))
        links = os.stat(name).st_nlink == 2
    except OSError as error:
        told = f"{store.layout.scratch} cannot be written: {error.strerror}"
        return Diagnosis("store", PROBLEM, told, "builds cannot be published here; look at its owner, or the disk")
    finally:
        for path in (other, name):
            _tried(lambda path=path: path.unlink())  # type: ignore[misc]
    if links:
        return Diagnosis("store", FINE, "its file system takes writes and hard links")
    remedy = "adopting copies files here, and `dedup` saves nothing"
    return Diagnosis("store", WARNING, "its file system makes no hard links", remedy)


def _tried(work: Callable[[], None]) -> None:
    try:
        work()
    except OSError:
        return


def _links(store: Store) -> Iterator[Diagnosis]:
    unknown: list[roots.RootsUnknown] = []
    links = roots.links(store.layout, unknown)
    for error in unknown:
        yield Diagnosis("roots", WARNING, str(error))
    nowhere = [link.path for link in links if not link.ref and not link.elsewhere]
    elsewhere = [link for link in links if link.elsewhere]
    yield Diagnosis("roots", FINE, f"{words.count(sum(bool(link.ref) for link in links), 'link')} in use")
    if elsewhere:
        told = f"{words.count(len(elsewhere), 'link')} into other stores, the first {elsewhere[0].path} into "
        yield Diagnosis("roots", FINE, told + elsewhere[0].elsewhere)
    if nowhere:
        told = f"{words.count(len(nowhere), 'link')} to nothing, the first {nowhere[0]}"
        yield Diagnosis("roots", WARNING, told, "`stagedml roots` lists them, `roots rm NAME` removes one")


def _past(store: Store) -> Iterator[Diagnosis]:
    last = logs.runs(store)[:_RUNS_TOLD]
    badly = [run for run in last if run.state in ("failed", logs.KILLED) and not run.mended]
    if badly:
        told = f"of the last {_RUNS_TOLD} runs, {len(badly)} did not end well"
        yield Diagnosis("runs", WARNING, told, "`stagedml log` tells of the last one, `stagedml retry` goes on with it")
