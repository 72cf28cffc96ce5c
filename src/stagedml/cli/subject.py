"""What a verb is asked about: something in the store, or a stage that could be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stagedml.authoring.instantiate import Instantiated
from stagedml.authoring.session import store_initialize
from stagedml.engine.catalogue import declared, knows_stage
from stagedml.errors import UsageError
from stagedml.inspection.selectors import find
from stagedml.settings import read_settings
from stagedml.store.objects import Store


def subject(what: str, arguments: Sequence[str], root: str | None) -> tuple[Store, str | Instantiated[Any]]:
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
        store_initialize(root)
        return Store.open(settings, create=False), declared(what, arguments, settings.catalogue)
    if arguments:
        raise UsageError(f"{what} is no stage of the catalogue and no MODULE:FUNCTION, so it takes no arguments")
    store = Store.open(settings, create=False)
    return store, str(find(store, what))
