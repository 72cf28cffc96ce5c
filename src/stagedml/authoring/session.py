"""The one default store of a process, and the store of the moment.

`store_initialize` sets the default for all threads; `using_store` another one for a block of code. Nothing else in
StagedML is global but the realize that a person takes part in (`engine/repl.py`), and what a notebook shows realizes
with (`engine/console.py`).
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections.abc import Iterator
from typing import cast

from stagedml.authoring.artifact import ConfigSource
from stagedml.authoring.pylightnix import Path, StorageSettings, current_registry
from stagedml.authoring.watching import tell
from stagedml.settings import Settings, read_settings
from stagedml.store.objects import Store

_lock = threading.Lock()
_default: Store | None = None
_moment: contextvars.ContextVar[Store | None] = contextvars.ContextVar("stagedml_store", default=None)


class Storage(StorageSettings):
    """A store, as Pylightnix's functions take one (`S=`)."""

    store: Store

    @classmethod
    def of(cls, store: Store) -> Storage:
        layout = store.layout
        storage = cls(Path(str(layout.root)), Path(str(layout.storage)), Path(str(layout.tmp)))
        storage.store = store
        return storage


def store_initialize(
    root: str | os.PathLike[str] | None = None,
    *,
    storage: str | os.PathLike[str] | None = None,
    tmp: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
) -> None:
    """Make the store if it is not there, and make it this process's default; `current_store` returns it.

    Args:
        root: the folder that holds it; else `PYLIGHTNIX_ROOT` or `STAGEDML_ROOT`, else `~/_pylightnix`.
        storage: the storage alone; else `PYLIGHTNIX_STORAGE`, else `<root>/store-v0`.
        tmp: where plain Pylightnix stages work; else `PYLIGHTNIX_TMP`, else `<root>/tmp`.
        settings: all of it at once, instead of the above.

    Raises:
        StoreUnusable: the folder cannot be made, is of a newer version, or lies on two file systems.
    """
    global _default
    store = Store.open(settings or read_settings(root=root, storage=storage, tmp=tmp))
    with _lock:
        if _default is not None and _default.layout.live == store.layout.live:
            store.claims = _default.claims  # what this process realized stays claimed
        _default = store


@contextlib.contextmanager
def using_store(store: Store) -> Iterator[Store]:
    """Make a store the current one inside the block, in this thread or task only."""
    token = _moment.set(store)
    try:
        yield store
    finally:
        _moment.reset(token)


def current_store() -> Store:
    """The store of the moment, else the default one, else the one that the environment names if it is there."""
    tell("the store")
    store = _moment.get() or _default
    return store if store is not None else Store.open(read_settings(), create=False)


def current_source() -> ConfigSource:
    """Who knows configs at the moment: the registry that stages are being declared in, else the current store."""
    registry = current_registry()
    if registry is not None and hasattr(registry, "config_of"):
        return cast(ConfigSource, registry)
    return current_store()


def store_of(storage: StorageSettings | None) -> Store:
    """The store behind Pylightnix's `S`; None stands for the current one."""
    tell("the store")
    if storage is None:
        return current_store()
    if isinstance(storage, Storage):
        return storage.store
    settings = read_settings(root=storage.root, storage=storage.storage, tmp=storage.tmpdir)
    store = _moment.get() or _default
    if store is not None and (store.layout.storage, store.layout.tmp) == (settings.storage, settings.tmp):
        return store
    return Store.open(settings)
