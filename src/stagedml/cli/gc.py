"""`stagedml gc`, `roots` and `why-alive`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from stagedml.authoring.session import using_store
from stagedml.cli.output import complain, show, table
from stagedml.core import words
from stagedml.engine import keep
from stagedml.engine.catalogue import declared_line
from stagedml.errors import UsageError
from stagedml.inspection.answers import Collection, KeptBy
from stagedml.inspection.selectors import find
from stagedml.settings import read_settings
from stagedml.store import roots
from stagedml.store.gc import Policy
from stagedml.store.objects import NotInStore, Store


def _store(arguments: argparse.Namespace) -> Store:
    settings = read_settings(root=arguments.root)
    Store.open(settings, create=False)  # refuse to make one just to look at it
    return Store.open(settings)


def run_gc(arguments: argparse.Namespace) -> int:
    with using_store(_store(arguments)) as store:
        kept = [_reference(store, text) for text in arguments.keep]
        garbage = keep.gc(arguments.delete, policy=_policy(arguments), keep=kept)
    show(arguments, Collection.of(garbage), lambda _: garbage.lines())
    return 0


def _reference(store: Store, text: str) -> str:
    """A realization by what `show` takes, or else the text itself, which names a stage then."""
    try:
        return str(find(store, text))
    except NotInStore:
        if text.startswith(("rref:", "dref:")):
            raise
    try:
        declared_line(text, read_settings().catalogue)
    except UsageError as error:
        raise UsageError(f"--keep {text}: there is no such realization, and as a stage: {error}") from error
    return text


def _policy(arguments: argparse.Namespace) -> Policy:
    default = Policy()

    def span(text: str | None, otherwise: float) -> float:
        return otherwise if text is None else words.parse_span(text)

    grace_s = span(arguments.grace, default.grace_s)
    return Policy(
        grace_s=max(grace_s, span(arguments.older_than, 0.0)),
        max_bytes=None if arguments.max_size is None else words.parse_size(arguments.max_size),
        keep_latest=arguments.keep_latest,
        keep_best=None if arguments.keep_best is None else _best(arguments.keep_best),
        scratch_s=span(arguments.scratch_age, default.scratch_s),
        resumable_s=span(arguments.resumable_age, default.resumable_s),
        quarantine_s=span(arguments.quarantine_age, default.quarantine_s),
    )


def _best(text: str) -> tuple[str, int]:
    metric, _, number = text.partition(":")
    if not metric or not (number or "1").isdecimal():
        raise UsageError(f"--keep-best {text}: give METRIC or METRIC:N, as in accuracy:3")
    return metric, int(number or "1")


def run_roots(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    told: Path | None = None
    if arguments.action == "add":
        told = roots.add_link(store, arguments.name, find(store, arguments.ref))
    elif arguments.action == "rm":
        told = roots.remove_link(store, arguments.name, force=arguments.force)
    elif arguments.action == "forget":
        roots.forget(store, Path(arguments.name).absolute())
    if arguments.json or arguments.action is None:
        show(arguments, _links(store), partial(_lines, store))
    elif told is not None:
        print(told)
    return 0


def _links(store: Store) -> tuple[roots.Link, ...]:
    """The links there are; on standard error, where nobody can tell."""
    unknown: list[roots.RootsUnknown] = []
    links = roots.links(store.layout, unknown)
    for error in unknown:
        complain(str(error))
    return tuple(links)


def _lines(store: Store, links: tuple[roots.Link, ...]) -> list[str]:
    if not links:
        print(
            f"no links below {store.layout.experiments}; `stagedml roots add NAME REF` makes one",
            file=sys.stderr,
        )
    return table(("LINK", "KEEPS"), [(link.path, _kept(link)) for link in links])


def _kept(link: roots.Link) -> str:
    """What a link keeps."""
    return link.ref or f"{'in another store' if link.elsewhere else 'nothing'}: {link.target}"


def run_why_alive(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    ref = find(store, arguments.ref)
    with using_store(store):
        reasons = keep.why_alive(str(ref))
    show(arguments, tuple(map(KeptBy.of, reasons)), lambda _: map(str, reasons))
    if not reasons:
        print(f"nothing keeps {ref}; the next `stagedml gc --delete` takes it", file=sys.stderr)
    return 0
