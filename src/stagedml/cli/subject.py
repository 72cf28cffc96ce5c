"""What a verb is asked about: something in the store, or a stage that could be."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from stagedml.authoring.instantiate import Instantiated
from stagedml.authoring.session import using_store
from stagedml.engine.catalogue import declared, knows_stage
from stagedml.errors import UsageError
from stagedml.inspection.logs import find_or_tell
from stagedml.settings import read_settings
from stagedml.store.objects import Store


@contextlib.contextmanager
def looked_at(root: str | None) -> Iterator[Store]:
    """The store, which is current inside the block: to declare stages in it, and to ask about them.

    Who only looks makes none: where there is none, an empty one that is gone afterwards stands for it.
    """
    settings = read_settings(root=root)
    with contextlib.ExitStack() as stack:
        if settings.storage.is_dir():
            store = Store.open(settings, create=False)
        else:
            if root is not None:  # who names one may have mistyped it
                print(f"there is no store in {settings.root} yet; this is as of an empty one", file=sys.stderr)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stagedml-"))
            store = Store.open(read_settings(root=folder))
        stack.enter_context(using_store(store))
        yield store


@contextlib.contextmanager
def subject(what: str, arguments: Sequence[str], root: str | None) -> Iterator[tuple[Store, str | Instantiated[Any]]]:
    """The store, and the realization in it or the declared stage that a person means.

    Args:
        what: a stage as of `realize`; else a reference or a stage's name in the store, as of `inspection.selectors`.
        arguments: the stage's.
        root: the folder that holds the store; None for what the settings say.

    Raises:
        UsageError: there is no such thing, or it takes no such arguments.
        NotInStore: there is no such realization.
    """
    settings = read_settings(root=root)
    if not what.startswith(("rref:", "dref:")) and knows_stage(what, settings.catalogue):
        with looked_at(root) as store:
            yield store, declared(what, arguments, settings.catalogue)
        return
    if arguments:
        raise UsageError(f"{what} is no stage of the catalogue and no MODULE:FUNCTION, so it takes no arguments")
    store = Store.open(settings, create=False)
    yield store, str(find_or_tell(store, what))
