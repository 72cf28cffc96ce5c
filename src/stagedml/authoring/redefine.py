"""Variants of stages, and realizations as inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar, cast

from stagedml.authoring import schema
from stagedml.authoring.artifact import Artifact, bound, is_artifact_type
from stagedml.authoring.build import Build, check_outputs, mark_start, mark_stop
from stagedml.authoring.matchers import StageMatcher, latest
from stagedml.authoring.pylightnix import Derivation, DRef
from stagedml.authoring.realized import MustBeThere, require
from stagedml.authoring.registry import Declaration, caller
from stagedml.authoring.stage import Override, OwnRealizer, Stage, declaring, overriding
from stagedml.core import config as configs
from stagedml.core.config import Config
from stagedml.core.refs import RealizationRef, dref_of, is_dref, parse_rref
from stagedml.errors import UsageError
from stagedml.store.atomic import copy_tree
from stagedml.store.layout import CONTEXT_FILE, UNHASHED

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A", bound=Artifact)


class CannotPin(UsageError):
    """A realization does not hold what the artifact type says."""

    def __init__(self, rref: str, artifact: str, problem: str) -> None:
        super().__init__(rref, artifact, problem)
        self.rref, self.artifact, self.problem = rref, artifact, problem

    def __str__(self) -> str:
        return f"{self.rref} cannot be pinned as {self.artifact}: {self.problem}"


class CannotRedefine(UsageError):
    """What was given to `redefine` has no single stage behind it."""

    def __init__(self, stage: str, problem: str) -> None:
        super().__init__(stage, problem)
        self.stage, self.problem = stage, problem

    def __str__(self) -> str:
        return f"redefine({self.stage}): {self.problem}"


def redefine(
    stage: Callable[P, R],
    new_config: Callable[[dict[str, Any]], Any] | None = None,
    new_matcher: StageMatcher | None = None,
    *,
    at: Stage[..., Any] | None = None,
) -> Callable[P, R]:
    """A variant of a stage function, with other parameters or another matcher.

    The variant is declared anew: its name, derived fields, types and fingerprint are computed again, and the original
    leaves nothing behind.

    Args:
        stage: a stage, or a function that composes stages and returns one reference.
        new_config: changes the parameters it is given, a dict; `mklens(parameters).learning_rate.val = 1e-5` works on
            it.
        new_matcher: which realizations stand for it.
        at: the stage inside a composed function that is meant, wherever it is called; default the one it returns.

    Raises:
        InvalidArguments: when called, if `new_config` leaves unknown names or values of wrong types.
        CannotRedefine: an argument is not what it should be; when called, if the function does not return what one of
            our stages declared, or never calls the stage that `at` names.
    """
    name = getattr(stage, "__name__", repr(stage))
    if not callable(stage):
        raise CannotRedefine(name, "pass a stage function, not what it returned")
    for argument, given in (("new_config", new_config), ("new_matcher", new_matcher)):
        if given is not None and not callable(given):
            raise CannotRedefine(name, f"{argument}={given!r} is no function")
    if at is not None and not isinstance(at, Stage):
        raise CannotRedefine(name, f"at={at!r} is no stage; name a function that is decorated with `@stage`")
    meant: Any = at or (stage if isinstance(stage, Stage) else None)

    @functools.wraps(stage)
    def variant(*args: P.args, **kwargs: P.kwargs) -> R:
        override = Override(new_config, new_matcher)
        if meant is None:
            return _composed(name, functools.partial(stage, *args, **kwargs), override)
        with overriding(meant, override):
            result = stage(*args, **kwargs)
        if not override.used:
            raise CannotRedefine(name, f"it never calls the stage {meant.__name__}, which `at=` names")
        return result

    return variant


def _composed(name: str, compose: Callable[[], R], override: Override) -> R:
    """What a function composes, its result changed."""
    registry = declaring(name)
    earlier = frozenset(registry.declarations)
    with registry.rematching(override.new_matcher) as conflicts:
        result = compose()
    for dref, conflict in conflicts.items():
        if dref != result:
            raise conflict
    return _redeclared(name, result, override, earlier)


def _redeclared(name: str, result: R, override: Override, earlier: Collection[str]) -> R:
    registry = declaring(name)
    original = registry.declarations.get(str(result)) if is_dref(result) else None
    if original is None or original.stage is None:
        raise CannotRedefine(name, "it does not return the reference of one stage; name the stage to change with `at=`")
    matched = Override(override.new_config, override.new_matcher or original.matcher)
    given = {**original.parameters, **original.exec_values}
    if original.dref in earlier:  # someone else's, too: with another matcher it is a conflict
        return cast(R, original.stage.declare(registry, given, matched))
    derivation = registry.withdraw(original)
    declared: object = original.stage.declare(registry, given, matched)
    if isinstance(derivation.realizer, MustBeThere):
        require(registry, str(declared))  # a variant of what must be there must be there
    if str(declared) != original.dref:
        registry.declare(original, derivation)  # others may need it; what nobody needs is never written
    return cast(R, declared)


def pinned(rref: str, artifact: type[A]) -> A:
    """Make a realization an input: a derivation of its own that holds exactly these files.

    Its files are links to the realization's, and its config names it, so that it is kept alive.

    Args:
        rref: a realization in the current store.
        artifact: what it holds; its fields are taken over from the config of the realization's derivation.

    Raises:
        NotInStore: there is no such realization.
    """
    registry = declaring("pinned")
    source = parse_rref(rref)
    if not is_artifact_type(artifact):
        raise CannotPin(rref, repr(artifact), "give the artifact type that it holds, a class derived from Artifact")
    registry.store.path(source)
    config = _pinned_config(registry.store.config(source.derivation), rref, artifact)
    declaration = Declaration(
        stage=None,
        parameters={},
        exec_values={},
        config=config,
        text=configs.canonical(config),
        ref=configs.reference(config),
        inputs=configs.inputs_of(config),
        matcher=latest(),
        caller=caller(),
    )
    realizer = PinnedRealizer(declaration, source)
    registry.declare(declaration, Derivation(DRef(declaration.dref), declaration.matcher, realizer))
    return cast(A, bound(artifact, declaration.dref, registry))


def _pinned_config(original: Config, rref: str, artifact: type[Artifact]) -> Config:
    missing = [name for name in artifact.artifact_fields if name not in original]
    if missing:
        raise CannotPin(rref, artifact.__name__, f"its config has no field {', '.join(missing)}")
    fields = {name: original[name] for name in artifact.artifact_fields}
    elsewhere = [name for name, value in fields.items() if configs.inputs_of({name: value})]
    if elsewhere:
        raise CannotPin(rref, artifact.__name__, f"{', '.join(elsewhere)} leads into other derivations; pin those")
    for name, annotation in artifact.field_types().items():
        try:
            check = schema.compile_check(annotation, f"{artifact.__name__}.{name}")
            check(configs.resolve(fields[name], dref_of(rref)), name)
        except schema.Mismatch as error:
            raise CannotPin(rref, artifact.__name__, "; ".join(error.problems)) from None
    own: dict[str, Any] = {"pinned": str(rref)}
    prefixes = [name for name in original.get("stagedml", {}).get("prefixes", []) if name in fields]
    if prefixes:
        own["prefixes"] = prefixes
    return {**fields, "name": original["name"], "stagedml": own}


class PinnedRealizer(OwnRealizer):
    """Links the files of a realization into another one."""

    def __init__(self, declaration: Declaration, source: RealizationRef) -> None:
        self.declaration = declaration
        self.source = source
        self.links_to = (source,)

    def run(self, build: Build) -> tuple[float, float]:
        started = mark_start(build.outpath)
        copy_tree(build.store.path(self.source), build.outpath, skip=UNHASHED | {CONTEXT_FILE})
        check_outputs(build)
        return started, mark_stop(build.outpath)
