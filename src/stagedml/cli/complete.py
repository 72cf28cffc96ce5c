"""Completion in bash, zsh and fish: verbs and options by argparse's own words, stages, parameters and references live.

The shell runs `stagedml` for each TAB, with variables that argcomplete reads. What cannot be told, as without a store,
completes to nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterable

import argcomplete
from argcomplete.shell_integration import shellcode

from stagedml.cli.arguments import VERBS
from stagedml.cli.schema import views as verbs_with_json
from stagedml.core.refs import RealizationRef
from stagedml.errors import StagedmlError
from stagedml.settings import read_settings
from stagedml.store.objects import Store

Completer = Callable[..., Iterable[str]]


def run(arguments: argparse.Namespace) -> int:
    print(shellcode(["stagedml"], shell=arguments.shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process."""
    _attach(parser)
    argcomplete.autocomplete(parser, always_complete_options=False)


def _attach(parser: argparse.ArgumentParser) -> None:
    """Give every argument that stands for something of ours what completes it."""
    completers: dict[str, Completer] = {
        "REF": _references,
        "OLD": _references,
        "NEW": _references,
        "REF|STAGE": _references_and_stages,
        "STAGE": _stages,
        "ARGUMENT": _parameters,
        "FILE": _files,
        "LINK": _links,
        "METRIC": _metrics,
        "PARAMETER": _numbers,
        "VERB": _verbs,
    }
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in dict.fromkeys(action.choices.values()):
                _attach(sub)
        elif isinstance(action.metavar, str) and action.metavar in completers:
            action.completer = completers[action.metavar]  # type: ignore[attr-defined]


def _store(arguments: argparse.Namespace) -> Store:
    return Store.open(read_settings(root=arguments.root), create=False)


def _references(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The names of stages that have realizations; of one with several, the hashes, once it is told."""
    with contextlib.suppress(StagedmlError, OSError):
        store = _store(parsed_args)
        realizations = [ref for one in store.derivations() for ref in store.realizations(one)]
        names = {ref.name for ref in realizations}
        name, at, _choice = prefix.partition("@")
        if at and name in names:
            return [f"{name}@latest", f"{name}@best", f"{name}@lowest:"]
        hashes = [ref.rhash[:12] for ref in realizations if prefix and ref.rhash.startswith(prefix)]
        return sorted(names) + hashes
    return []


def _stages(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The names of the catalogue; those that bring all that they need first said without `all_`."""
    from stagedml.engine.catalogue import stages_of

    with contextlib.suppress(StagedmlError):
        module, colon, _name = prefix.rpartition(":")
        names = list(stages_of(module or read_settings().catalogue))
        if colon:
            return [f"{module}:{name}" for name in names]
        return [*names, *(name.removeprefix("all_") for name in names if name.startswith("all_"))]
    return []


def _references_and_stages(prefix: str, parsed_args: argparse.Namespace, **more: object) -> list[str]:
    return [*_references(prefix, parsed_args, **more), *_stages(prefix, parsed_args, **more)]


def _parameters(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """`NAME=` for what the stage takes, and `STAGE.NAME=` for what stages inside do, if there is a store."""
    from stagedml.authoring.session import using_store
    from stagedml.engine.catalogue import names_to_set, parameter_names, stage_named

    named = getattr(parsed_args, "stage", None) or getattr(parsed_args, "what", None)
    with contextlib.suppress(StagedmlError):
        stage = stage_named(named or "", read_settings().catalogue)
        names = parameter_names(stage)
        with contextlib.suppress(StagedmlError, OSError), using_store(_store(parsed_args)):
            names = names_to_set(stage, parsed_args.arguments or ())
        return [f"{name}=" for name in names]
    return []


def _links(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The links that keep something: their names below the experiments folder; of those elsewhere, their paths."""
    from stagedml.store import roots

    with contextlib.suppress(StagedmlError, OSError):
        layout = _store(parsed_args).layout
        names = [
            (os.path.relpath(link.path, layout.experiments), link.target)
            for link in roots.links(layout, [])
            if not link.elsewhere
        ]
        return [target if name.startswith(f"{roots.AUTO}/") else name for name, target in names]
    return []


def _metrics(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """What was measured of the realizations that are named before: the numbers of `metrics.json`, and curves."""
    from stagedml.inspection.curves import curves
    from stagedml.inspection.metrics import metrics_in

    found: dict[str, None] = {}
    with contextlib.suppress(StagedmlError, OSError):
        store = _store(parsed_args)
        for ref in _named(store, parsed_args):
            found |= dict.fromkeys(name for name in metrics_in(store.path(ref)) if "[" not in name)
            found |= dict.fromkeys(curves(str(ref), store).names)
    return list(found)


def _numbers(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The parameters of the realizations that are named before which are numbers."""
    with contextlib.suppress(StagedmlError, OSError):
        store = _store(parsed_args)
        configs = [store.config(ref.derivation) for ref in _named(store, parsed_args)]
        return [name for config in configs for name, value in config.items() if type(value) in (int, float)]
    return []


def _named(store: Store, parsed_args: argparse.Namespace) -> list[RealizationRef]:
    from stagedml.inspection.selectors import find_all

    return find_all(store, parsed_args.refs or ())


def _verbs(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Those that print JSON for `schema`; for `help` all."""
    return list(VERBS if parsed_args.verb == "help" else verbs_with_json())


def _files(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The files of the realization that is named before; else of the working directory."""
    from stagedml.inspection.selectors import find

    if getattr(parsed_args, "ref", None) is None:
        return list(argcomplete.completers.FilesCompleter()(prefix))
    with contextlib.suppress(StagedmlError, OSError):
        store = _store(parsed_args)
        root = store.path(find(store, parsed_args.ref))
        paths = (os.path.join(folder, name) for folder, _folders, names in os.walk(root) for name in names)
        return sorted(os.path.relpath(path, root) for path in paths)
    return []
