"""`stagedml gc`, `roots` and `why-alive`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from stagedml.authoring.session import using_store
from stagedml.core import words
from stagedml.engine import keep
from stagedml.errors import UsageError
from stagedml.inspection import views
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
    if arguments.json:
        print(json.dumps(garbage.to_json(), indent=2))
        return 0
    print(garbage)
    return 0


def _reference(store: Store, text: str) -> str:
    """A realization by what `show` takes, or else the text itself, which names a stage then."""
    try:
        return str(views.find(store, text)) if len(text) >= 4 else text
    except NotInStore:
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
    if arguments.action == "add":
        print(roots.add_link(store, arguments.name, views.find(store, arguments.ref)))
    elif arguments.action == "rm":
        print(roots.remove_link(store, arguments.name))
    elif arguments.action == "forget":
        roots.forget(store, Path(arguments.name).absolute())
    else:
        _list(store, as_json=arguments.json)
    return 0


def _list(store: Store, *, as_json: bool) -> None:
    unknown: list[roots.RootsUnknown] = []
    links = roots.links(store.layout, unknown)
    for error in unknown:
        print(f"stagedml: {error}", file=sys.stderr)
    if as_json:
        print(json.dumps([dataclasses.asdict(link) for link in links], indent=2))
        return
    for line in words.table(("LINK", "KEEPS"), [(link.path, link.ref or f"nothing: {link.target}") for link in links]):
        print(line)
    if not links:
        print(
            f"no links below {store.layout.experiments}; `stagedml roots add NAME REF` makes one",
            file=sys.stderr,
        )


def run_why_alive(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    ref = views.find(store, arguments.ref)
    with using_store(store):
        reasons = keep.why_alive(str(ref))
    if arguments.json:
        found = [
            {"kind": reason.root.kind.value, "name": reason.root.name, "path": list(reason.path)} for reason in reasons
        ]
        print(json.dumps(found, indent=2))
        return 0
    for reason in reasons:
        print(reason)
    if not reasons:
        print(f"nothing keeps {ref}; the next `stagedml gc --delete` takes it", file=sys.stderr)
    return 0
