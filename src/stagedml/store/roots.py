"""Links into the store: what a person wants to keep.

A symbolic link below the experiments folder, at any depth, that leads to a realization keeps it and all that it rests
on; one that leads to a derivation's folder keeps all of its realizations. A link may lead there by way of another link,
so that links elsewhere can be kept track of: `auto/` below the experiments folder holds links to those.

Links that lead nowhere, or elsewhere, are nobody's business; one into another store is that store's. A folder that
cannot be read is, since it may hold links. The store remembers each experiments folder that it was opened with, so that
who collects with other settings sees the links of all.

A link that is made here leads to the folder of a realization. Only such a one is replaced, and what it kept is logged.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from blake3 import blake3

from stagedml.core.refs import RealizationRef, is_folder, is_rhash, parse_folder
from stagedml.errors import StoreError, UsageError
from stagedml.settings import STORAGE_NAME
from stagedml.store import atomic
from stagedml.store.layout import Layout
from stagedml.store.objects import Store

logger = logging.getLogger(__name__)

AUTO = "auto"  #: the folder of links to links elsewhere
_TEMPORARY = ".tmp"
_LONGEST_NAME_BYTES = 240  # and a few more while it is made


class CannotLink(UsageError):
    """A link into the store cannot be made where it was wanted, or removed."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class RootsUnknown(StoreError):
    """A folder that may hold links into the store cannot be looked at."""

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(folder, problem)
        self.folder, self.problem = folder, problem

    def __str__(self) -> str:
        return (
            f"{self.folder}, which may hold links that keep realizations: {self.problem}; make it readable, or "
            f"`stagedml roots forget {self.folder}`"
        )


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link below an experiments folder.

    Attributes:
        path: where it is, absolute.
        target: what it says.
        ref: the realization or derivation it leads to; empty if it leads nowhere or elsewhere.
        elsewhere: the storage of another store that it leads into; empty if it does not, or if `ref` is not empty.
    """

    path: str
    target: str
    ref: str
    elsewhere: str = ""


def experiments_folders(layout: Layout) -> list[Path]:
    """Where links are looked for: this one's folder, the default one, and all that the store was opened with."""
    folders = [layout.experiments, layout.default_experiments]
    with contextlib.suppress(FileNotFoundError):
        marks = (item.path for item in os.scandir(layout.known_experiments) if item.is_symlink())
        folders += [Path(os.path.normpath(os.path.join(layout.known_experiments, os.readlink(mark)))) for mark in marks]
    return list(dict.fromkeys(folders))


def forget(store: Store, folder: Path) -> None:
    """No longer look for links in an experiments folder. Raises CannotLink if it was not known."""
    try:
        os.unlink(store.layout.experiments_mark(folder))
    except FileNotFoundError:
        known = ", ".join(map(str, experiments_folders(store.layout)))
        raise CannotLink(str(folder), f"not a folder of links that this store remembers; these are: {known}") from None


def links(layout: Layout, unknown: list[RootsUnknown] | None = None) -> list[Link]:
    """All links below the experiments folders.

    Args:
        layout: the store's.
        unknown: takes the errors about folders that cannot be looked at, which are raised otherwise.

    Raises:
        RootsUnknown: a folder that is there, or was, cannot be looked at.
    """
    storages = _storages(layout)
    found = []
    for folder in experiments_folders(layout):
        try:
            if not folder.is_dir():
                if os.path.lexists(folder) or layout.experiments_mark(folder).is_symlink():
                    raise RootsUnknown(str(folder), "there is no such folder")
                continue
            for path in _links_below(folder):
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    target = os.readlink(path)
                    ref = _leads_to(path, target, storages)
                    found.append(Link(path, target, ref, "" if ref else _another_storage(layout, path)))
        except RootsUnknown as error:
            if unknown is None:
                raise
            unknown.append(error)
    return sorted(found, key=lambda link: link.path)


def _storages(layout: Layout) -> tuple[str, ...]:
    """How paths into the storage begin."""
    return tuple(dict.fromkeys((f"{layout.storage}/", f"{os.path.realpath(layout.storage)}/")))


def _links_below(top: Path) -> Iterator[str]:
    pending = [os.fspath(top)]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as items:
                for item in items:
                    if item.is_symlink():
                        if not item.name.endswith(_TEMPORARY):
                            yield item.path
                    elif item.is_dir(follow_symlinks=False):
                        pending.append(item.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RootsUnknown(folder, error.strerror or str(error)) from error


def _leads_to(path: str, target: str, storages: tuple[str, ...]) -> str:
    inside = _below(target, storages)
    if inside is None or ".." in inside:
        inside = _below(os.path.realpath(path), storages)
    if inside is None or not os.path.exists(path):
        inside = _moved(target, storages[0])
    if inside is None:
        return ""
    derivation = parse_folder(inside[0])
    if derivation is None:
        return ""
    if len(inside) > 1 and is_rhash(inside[1]):
        return str(RealizationRef(inside[1], derivation.dhash, derivation.name))
    return str(derivation)


def _another_storage(layout: Layout, path: str) -> str:
    """The storage of another store that a link leads into, though what it kept there may be gone; "" of others."""
    real = Path(os.path.realpath(path))
    folder = real if is_folder(real.name) else real.parent
    storage = folder.parent
    is_there = is_folder(folder.name) and storage.is_dir()
    return str(storage) if is_there and str(storage) != os.path.realpath(layout.storage) else ""


def owner_of_experiments(layout: Layout) -> Path | None:
    """The root of another store, if the experiments folder in use is where that one has its own links."""
    default, folder = layout.default_experiments, Path(os.path.realpath(layout.experiments))
    storage = folder.parent / STORAGE_NAME
    is_a_stores = layout.experiments != default and folder.name == default.name and storage.is_dir()
    return folder.parent if is_a_stores and str(storage) != os.path.realpath(layout.storage) else None


def _moved(target: str, storage: str) -> list[str] | None:
    """What a link meant that led into a store which was moved or copied: a realization that is here, too."""
    parts = target.split("/")
    for folder, rhash in pairwise(parts):
        if is_folder(folder) and is_rhash(rhash) and os.path.isdir(f"{storage}{folder}/{rhash}"):
            return [folder, rhash]
    return None


def _below(path: str, storages: Iterable[str]) -> list[str] | None:
    for storage in storages:
        if path.startswith(storage):
            return path[len(storage) :].rstrip("/").split("/")
    return None


def add_link(store: Store, place: str, ref: RealizationRef) -> Path:
    """Link to a realization, and so keep it. A link to a realization that is there already is replaced.

    Args:
        store: where the realization is.
        place: the link's path below the experiments folder; or, beginning with `/` or `./`, a path anywhere,
            which the experiments folder then has a link to.
        ref: the realization.

    Returns:
        the link's absolute path.

    Raises:
        CannotLink: the place leads out of the experiments folder, or something else is there.
        NotInStore: there is no such realization.
        StoreUnusable: the link cannot be written.
    """
    layout = store.layout
    path = place_of(store, place)
    with store.changing():
        target = store.path(ref)
        before = _made_for(path)
        with store.own_errors():
            _symlink(target, path)
            if _is_elsewhere(layout, path):
                _symlink(path, _auto_link(layout, path))
            store.remember_experiments()
    if before not in (None, ref):
        logger.warning("%s kept %s until now", path, before)
    return path


def _made_for(link: Path) -> RealizationRef | None:
    """The realization that a link was made for, though it may be gone, or in another store; None of anything else."""
    try:
        folder, rhash = os.readlink(link).split("/")[-2:]
    except (OSError, ValueError):
        return None
    derivation = parse_folder(folder)
    if derivation is None or not is_rhash(rhash):
        return None
    return RealizationRef(rhash, derivation.dhash, derivation.name)


def _is_elsewhere(layout: Layout, path: Path) -> bool:
    """Whether a link is not found below the experiments folder, links to folders being no part of it."""
    real = Path(os.path.realpath(path.parent))
    return not real.is_relative_to(os.path.realpath(layout.experiments))


def _auto_link(layout: Layout, path: Path) -> Path:
    return layout.experiments / AUTO / f"{path.name[:200]}-{blake3(os.fsencode(path)).hexdigest()[:16]}"


def as_place(link: object) -> str:
    """A link's path as it was given, as text. Raises UsageError for what is no path."""
    path: object = os.fspath(link) if isinstance(link, (str, os.PathLike)) else None
    if not isinstance(path, str) or "\0" in path:
        raise UsageError(f"link={link!r}: give a path, such as 'mrpc/first', as a str or a path object")
    return path


def place_of(store: Store, place: str) -> Path:
    """Where `add_link` would make a link. Raises CannotLink if it would not."""
    layout = store.layout
    path, anywhere = _path_of(layout, place)
    if not anywhere and (".." in place.split("/") or path == layout.experiments):
        raise CannotLink(place, f"not a name below {layout.experiments}; give NAME, FOLDER/NAME, or ./PATH")
    real = Path(os.path.realpath(path.parent))
    if any(real.is_relative_to(os.path.realpath(top)) for top in (layout.storage, layout.side)):
        raise CannotLink(str(path), "inside of the store, where nothing is written; links to it lie elsewhere")
    if len(os.fsencode(path.name)) > _LONGEST_NAME_BYTES:
        raise CannotLink(str(path), f"a name of more than {_LONGEST_NAME_BYTES} bytes; choose a shorter one")
    if path.name.endswith(_TEMPORARY):
        raise CannotLink(str(path), f"names that end in {_TEMPORARY} are for links that are being made")
    if os.path.lexists(path) and _made_for(path) is None:
        what = f"a link to {os.readlink(path)}" if path.is_symlink() else "something that is no link"
        raise CannotLink(str(path), f"{what} is there; choose another name, or move it away")
    return path


def _path_of(layout: Layout, place: str) -> tuple[Path, bool]:
    """Where a link is meant to be, and whether that was given as a path to anywhere."""
    anywhere = place.startswith(("/", "./"))
    return Path(os.path.abspath(place if anywhere else layout.experiments / place)), anywhere


def _symlink(target: Path, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise CannotLink(str(path), "a part of the path is no folder; choose another name") from None
    temporary = f"{path}.{atomic.unique(4)}{_TEMPORARY}"
    os.symlink(target, temporary)
    try:
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def remove_link(store: Store, name: str, *, force: bool = False) -> Path:
    """Remove a link, given as to `add_link`; one that is none of this store's only with `force`.

    Raises:
        CannotLink: there is none, or it is none of this store's.
    """
    path, _ = _path_of(store.layout, name)
    if not path.is_symlink():
        raise CannotLink(str(path), "there is no such link; `stagedml roots` lists them")
    if not force and (what := _foreign(store.layout, path)):
        raise CannotLink(str(path), f"{what}, so it is left alone; `stagedml roots rm --force` removes it all the same")
    with store.own_errors():
        os.unlink(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(_auto_link(store.layout, path))
    return path


def _foreign(layout: Layout, path: Path) -> str:
    """What a link is that is none of this store's; "" of those that are, though what they kept may be gone."""
    if storage := _another_storage(layout, os.fspath(path)):
        return f"it leads into another store, {storage}"
    is_ours = _made_for(path) is not None or path.parent == layout.experiments / AUTO
    return "" if is_ours or _leads_to(str(path), os.readlink(path), _storages(layout)) else "it leads to no realization"
