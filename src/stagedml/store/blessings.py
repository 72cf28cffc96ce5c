"""Derivations that a person declared to be equal: one JSON file for each that was blessed, in no hash.

`<side>/blessed/<dhash>-<name>.json` names the derivation whose realizations may stand for those of this one, who said
so, when and why. What was adopted for it says so in its metadata, too, and stays when the file goes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from stagedml.core.refs import DerivationRef, is_dref
from stagedml.store import atomic
from stagedml.store.objects import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Blessing:
    """That one derivation makes what another one made."""

    old: str  #: the derivation whose realizations are taken
    new: str  #: the one that they are taken for
    reason: str
    user: str
    when: float  #: seconds since the epoch


def bless(store: Store, ref: DerivationRef, blessing: Blessing) -> None:
    """Note a blessing, in place of an earlier one of the same derivation. Raises StoreUnusable."""
    place = store.layout.blessing(ref)
    with store.own_errors():
        place.parent.mkdir(exist_ok=True)
        atomic.write_file(place, json.dumps(asdict(blessing), sort_keys=True) + "\n", durable=store.durable)


def blessing_of(store: Store, ref: DerivationRef) -> Blessing | None:
    """The blessing of a derivation, if it has one."""
    place = f"{store.side_text}/blessed/{ref.folder}.json"
    try:
        with open(place, "rb") as file:
            found = Blessing(**json.loads(file.read()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        logger.warning("%s cannot be read, so nobody is blessed by it: %s", place, error)
        return None
    return found if is_dref(found.old) and found.new == str(ref) else None


def sweep(store: Store) -> None:
    """Forget the blessings of derivations that are gone."""
    for path in map(Path, atomic.paths_in(store.layout.all_blessings)):
        if path.suffix == ".json" and not (store.layout.storage / path.stem).exists():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
