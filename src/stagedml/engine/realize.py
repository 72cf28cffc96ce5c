"""The front door: the functions that users call to plan a closure, and to reuse or build each derivation in it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, overload

from stagedml.authoring.instantiate import Instantiated, references_in
from stagedml.authoring.matchers import StageMatcher
from stagedml.authoring.pylightnix import Closure, RRef
from stagedml.authoring.realized import MustBeThere, stage_behind
from stagedml.authoring.session import Storage, store_of
from stagedml.authoring.stage import OwnRealizer, Stage, StageRealizer
from stagedml.core import config as configs
from stagedml.core.plan import Plan, PlanStep, Verdict
from stagedml.core.reasons import Cause, Reason
from stagedml.core.refs import is_dref, parse_dref, parse_rref
from stagedml.engine.console import default_observer
from stagedml.engine.events import Observer
from stagedml.engine.nodes import ForeignMatcher, Node
from stagedml.engine.run import Run
from stagedml.errors import UsageError
from stagedml.settings import read_settings
from stagedml.store import roots
from stagedml.store.objects import Store

R = TypeVar("R")
#: What `instantiate` returned, or the closure in it.
Target: TypeAlias = "Instantiated[R] | tuple[R, Closure] | Closure"
#: Which derivations are meant: the targets (True), or those of some stages, names or references.
Force: TypeAlias = "bool | Stage[..., Any] | str | Iterable[Stage[..., Any] | str]"


def prepare(
    target: Target[Any],
    *,
    force: Force = False,
    args: Mapping[str, Any] | None = None,
    instances: int | None = None,
    offline: bool | None = None,
    jobs: int | None = None,
    keep_going: bool = False,
    observer: Observer | None = None,
    by_hand: Force = False,
) -> tuple[Any, Run]:
    """The result of a closure, and its run; `by_hand` says what a person may take over. Raises UsageError."""
    passed: Any = target  # whoever checks no types passes other things, too
    count: object = instances
    if count is not None and (type(count) is not int or count < 1):
        raise UsageError(f"instances={count!r}: ask for a whole number, at least one")
    if isinstance(passed, Closure):
        result, closure = passed.result, passed
    elif isinstance(passed, tuple) and len(passed) == 2 and isinstance(passed[1], Closure):
        result, closure = passed
    else:
        raise UsageError(f"{target!r} cannot be realized; pass what `instantiate(stage, ...)` returned")
    store = store_of(closure.S)
    targets = dict.fromkeys(str(dref) for dref in closure.targets)
    nodes = _nodes(closure, store)
    if instances is not None:
        for node in nodes:
            node.instances = instances if node.dref in targets else 0
    for node in _meant(nodes, targets, force, "force"):
        node.forced = True
    for node in _meant(nodes, targets, by_hand, "force_interrupt"):
        node.by_hand = True
    settings = read_settings()
    return result, Run(
        store=store,
        nodes=nodes,
        targets=tuple(targets),
        arguments=_arguments(nodes, args) if args else {},
        offline=settings.offline if offline is None else offline,
        mirrors=settings.mirrors,
        observer=observer or default_observer(),
        jobs=_jobs(settings.jobs if jobs is None else jobs),
        keep_going=_flag("keep_going", keep_going),
    )


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name}={value!r}: give True or False")
    return value


def _jobs(jobs: object) -> int:
    if type(jobs) is not int or jobs < 1:
        raise UsageError(f"jobs={jobs!r}: give how many builds may run at once, at least one")
    return jobs


def _nodes(closure: Closure, store: Store) -> list[Node]:
    """The derivations behind the targets, inputs first; a registry of Pylightnix's may hold others as well."""
    needed = {str(dref) for dref in closure.targets}
    storage = Storage.of(store)
    nodes = []
    for derivation in reversed(closure.derivations):
        if derivation.dref not in needed:
            continue
        realizer, matcher = derivation.realizer, derivation.matcher
        if isinstance(realizer, StageRealizer):
            ref, inputs, config = (
                realizer.declaration.ref,
                realizer.declaration.inputs,
                realizer.declaration.config,
            )
        else:
            ref = parse_dref(derivation.dref)
            config = store.config(ref)
            inputs = configs.inputs_of(config)
        needed.update(inputs)
        nodes.append(
            Node(
                ref=ref,
                dref=str(ref),
                derivation=derivation,
                inputs=inputs,
                outputs=tuple(configs.outputs_of(config).values()),
                matcher=matcher.rule if isinstance(matcher, StageMatcher) else ForeignMatcher(matcher, storage),
            )
        )
    nodes.reverse()
    return nodes


def _meant(nodes: Iterable[Node], targets: Collection[str], which: Force, argument: str) -> list[Node]:
    if isinstance(which, bool):
        return [node for node in nodes if which and node.dref in targets]
    passed: Any = which  # whoever checks no types passes other things, too
    named = list(passed) if isinstance(passed, Iterable) and not isinstance(passed, str) else [passed]
    if not all(isinstance(what, (str, Stage)) for what in named):
        raise UsageError(f"{argument}={which!r}: pass True, or stages, their names or references, one or several")
    found = []
    for what in named:
        meant = [node for node in nodes if _is_meant(node, what)]
        if not meant:
            names = ", ".join(sorted({node.ref.name for node in nodes}))
            raise UsageError(f"{argument}: {what} is not in this closure, which holds {names}")
        found += meant
    return found


def _is_meant(node: Node, what: Stage[..., Any] | str) -> bool:
    if isinstance(what, str):
        return what in (node.dref, node.ref.name)
    return stage_behind(node.derivation) is what


def _arguments(nodes: Sequence[Node], args: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Exec values for each derivation.

    NAME goes to every stage that has it, STAGE.NAME to those of that name, what stands under a reference to that one.
    """
    if not isinstance(args, Mapping):
        raise UsageError(f"args={args!r}: wanted a dict of Exec values, or of references and such dicts")
    given: dict[str, dict[str, Any]] = {}
    by_dref = {node.dref: node for node in nodes}
    foreign = any(not isinstance(node.derivation.realizer, OwnRealizer) for node in nodes)
    stages = {node.dref: stage for node in nodes if (stage := stage_behind(node.derivation)) is not None}
    for name, value in sorted(args.items(), key=lambda item: "." not in str(item[0])):  # what is meant for one wins
        if name in by_dref:
            if not isinstance(value, Mapping):
                raise UsageError(f"args: {name}: wanted a dict of Exec values, got {value!r}")
            given.setdefault(name, {}).update(value)
            continue
        if is_dref(name):
            raise UsageError(f"args: {name} is not in this closure, which holds {', '.join(sorted(by_dref))}")
        owner, _, parameter = str(name).rpartition(".")
        takers = [
            dref
            for dref, stage in stages.items()
            if parameter in stage.exec_checks and (not owner or _same(owner, parse_dref(dref).name, stage.__name__))
        ]
        if not takers:
            known = sorted({exec_name for stage in stages.values() for exec_name in stage.exec_checks})
            raise UsageError(
                f"args: no stage here has an Exec parameter {name!r}; there are: {', '.join(known) or 'none'}"
                + "; a stage of Pylightnix's own takes `args={reference: {...}}`" * foreign
            )
        for dref in takers:
            given.setdefault(dref, {}).setdefault(parameter, value)
    for node in nodes:
        if node.dref in given and isinstance(node.derivation.realizer, OwnRealizer):
            node.derivation.realizer.exec_arguments(given[node.dref])
    return given


def _same(owner: str, *names: str) -> bool:
    """Whether a stage of these names is meant."""
    return owner.replace("-", "_") in {name.replace("-", "_") for name in names}


def plan(
    target: Target[Any],
    *,
    force: Force = False,
    args: Mapping[str, Any] | None = None,
    instances: int | None = None,
) -> Plan:
    """What `realize` would do with these arguments, and why; nothing is built."""
    _, run = prepare(target, force=force, args=args, instances=instances, observer=Observer())
    return _drawn(run)


def _drawn(run: Run) -> Plan:
    """The plan to be shown; it says of what `realize` would refuse to build that it would."""
    drawn = run.plan()
    refused = {node.dref for node in run.nodes if isinstance(node.derivation.realizer, MustBeThere)}
    steps = [
        dataclasses.replace(step, reasons=(_refusal(step), *step.reasons))
        if step.verdict is Verdict.BUILD and step.dref in refused
        else step
        for step in drawn.steps
    ]
    return dataclasses.replace(drawn, steps=tuple(steps))


def _refusal(step: PlanStep) -> Reason:
    return Reason(step.cause or Cause.FIRST_BUILD, "refused, as `realized` says")


@overload
def realize(
    target: Target[Any],
    *,
    force: Force = ...,
    args: Mapping[str, Any] | None = ...,
    offline: bool | None = ...,
    link: str | os.PathLike[str] | None = ...,
    jobs: int | None = ...,
    keep_going: bool = ...,
    observer: Observer | None = ...,
    dry_run: Literal[False] = ...,
) -> RRef: ...
@overload
def realize(
    target: Target[Any],
    *,
    force: Force = ...,
    args: Mapping[str, Any] | None = ...,
    offline: bool | None = ...,
    link: str | os.PathLike[str] | None = ...,
    jobs: int | None = ...,
    keep_going: bool = ...,
    observer: Observer | None = ...,
    dry_run: Literal[True],
) -> Plan: ...
def realize(
    target: Target[Any],
    *,
    force: Force = False,
    args: Mapping[str, Any] | None = None,
    offline: bool | None = None,
    link: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    keep_going: bool = False,
    observer: Observer | None = None,
    dry_run: bool = False,
) -> RRef | Plan:
    """Make sure that a stage and everything behind it is in the store; build what is not there.

    Args:
        target: what `instantiate` returned; it must have one result.
        force: rebuild the target (True), or the given stages, names or references.
        args: values of Exec parameters: NAME for all stages that have it, STAGE.NAME for those of one name, or a
            reference and a dict for one.
        offline: never try the network; default what `STAGEDML_OFFLINE` says.
        link: keep the result by a link: a path below the experiments folder, or, beginning with `/` or `./`, a
            path anywhere.
        jobs: how many builds may run at once; default what `STAGEDML_JOBS` says, else 1. With 1 they run in this
            process, where a debugger works; with more, each in a process of its own: what it prints is kept, its
            `Resources` are held to, and if it dies it takes nothing with it.
        keep_going: after a failed build, go on with what does not rest on it.
        observer: listens to what happens; default a display on standard error where that is a terminal.
        dry_run: return the plan and build nothing.

    Returns:
        the realization that the target's matcher selects.

    Raises:
        UsageError: the target has several results; use `realize_many`.
        BuildFailed: a builder raised, or its process did not come to a good end.
        BuildsFailed: several did, or with `keep_going` something was left out.
        CannotBeSent: with `jobs`, code or what it holds cannot be sent to another process.
        MatcherUnsatisfied: what was built is not what a matcher wants.
        CannotLink: the link cannot be made; this is looked at before anything is built.
    """
    result, run = prepare(
        target, force=force, args=args, offline=offline, jobs=jobs, keep_going=keep_going, observer=observer
    )
    one_target(run, result)
    place = None if link is None else roots.as_place(link)
    if place is not None:
        roots.place_of(run.store, place)
    if dry_run:
        return _drawn(run)
    run.realize()
    rref = one_result(run)
    if place is not None:
        roots.add_link(run.store, place, parse_rref(rref))
    return rref


def one_target(run: Run, result: Any) -> None:
    """Make sure that a closure has one result. Raises UsageError."""
    if len(run.targets) != 1:
        raise UsageError(f"this closure has {len(run.targets)} results, {result!r}; use `realize_many`")


def one_result(run: Run) -> RRef:
    """The realization of the one target of a run that is over. Raises UsageError where there are several."""
    rrefs = run.chosen[run.targets[0]]
    if len(rrefs) != 1:
        raise UsageError(f"{run.targets[0]} has {len(rrefs)} realizations by its matcher; use `realize_many`")
    return RRef(rrefs[0])


def tryrealize(target: Target[Any]) -> RRef | None:
    """The realization of a stage, if it and everything behind it is in the store; else None, and nothing is built.

    Raises:
        UsageError: the target has several results, or its matcher takes several realizations.
    """
    result, run = prepare(target, observer=Observer())
    one_target(run, result)
    return one_result(run) if run.reuse() else None


def lrealize(
    target: Target[Any],
    link: str | os.PathLike[str] | None = None,
    *,
    force: Force = False,
    args: Mapping[str, Any] | None = None,
    offline: bool | None = None,
    jobs: int | None = None,
    keep_going: bool = False,
    observer: Observer | None = None,
) -> RRef:
    """As `realize`, and keep the result by a link below the experiments folder; default the name of the stage."""
    if link is None:
        result, run = prepare(target, observer=Observer())
        one_target(run, result)
        link = parse_dref(run.targets[0]).name
    return realize(
        target,
        force=force,
        args=args,
        offline=offline,
        link=link,
        jobs=jobs,
        keep_going=keep_going,
        observer=observer,
    )


def realize_many(
    target: Target[Any],
    *,
    instances: int | None = None,
    force: Force = False,
    args: Mapping[str, Any] | None = None,
    offline: bool | None = None,
    link: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    keep_going: bool = False,
    observer: Observer | None = None,
) -> Any:
    """As `realize`, for any number of results and instances.

    Args:
        instances: build this many instances of each target, each with a seed of its own, and return them all, in order;
            default those that the matcher selects.
        link: as of `realize`; several realizations get `<link>-0`, `<link>-1`, ...
        jobs, keep_going: as of `realize`.

    Returns:
        the stage function's result with every reference replaced by the list of its realizations.
    """
    result, run = prepare(
        target,
        force=force,
        args=args,
        instances=instances,
        offline=offline,
        jobs=jobs,
        keep_going=keep_going,
        observer=observer,
    )
    place = None if link is None else roots.as_place(link)
    if place is not None:
        roots.place_of(run.store, place)
    run.realize()
    found = {
        dref: run.instances_of(dref, instances) if instances else [RRef(rref) for rref in run.chosen[dref]]
        for dref in dict.fromkeys(references_in(result))
    }
    if place is not None:
        linked = [rref for rrefs in found.values() for rref in rrefs]
        for index, rref in enumerate(linked):
            roots.add_link(run.store, place if len(linked) == 1 else f"{place}-{index}", parse_rref(rref))
    return _replace(result, lambda dref: list(found[dref]))


def _replace(value: Any, realized: Callable[[str], list[RRef]]) -> Any:
    if is_dref(value):
        return realized(str(value))
    if isinstance(value, (list, tuple)):
        items = (_replace(item, realized) for item in value)
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)  # a named tuple, or a plain one
    if isinstance(value, dict):
        return {key: _replace(item, realized) for key, item in value.items()}
    return value
