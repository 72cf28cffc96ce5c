"""`realized`: stages that must be in the store already, and are never built for the asking."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, ParamSpec, TypeVar

from stagedml.authoring.artifact import ConfigSource
from stagedml.authoring.build import Build
from stagedml.authoring.instantiate import references_in
from stagedml.authoring.pylightnix import Context, Derivation, DRef, StorageSettings
from stagedml.authoring.registry import StageRegistry
from stagedml.authoring.stage import OwnRealizer, Stage, StageRealizer, declaring
from stagedml.core.code import Code
from stagedml.core.refs import parse_dref
from stagedml.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


class NotRealized(UsageError):
    """A stage that must be in the store already is not."""

    def __init__(self, dref: str, detail: str) -> None:
        super().__init__(dref, detail)
        self.dref, self.detail = dref, detail

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"{parse_dref(self.dref).name} is asked for with `realized`, so it is not built, and it is not in the "
            f"store{detail}\n"
            f"  derivation {self.dref}\n"
            f"  realize the stage without `realized`, or bring it from another store (`stagedml copy`, `import`)"
        )


def realized(stage: Callable[P, R]) -> Callable[P, R]:
    """The same stage, which must be in the store already: where it is not, realizing it is an error, not a build.

        realize(instantiate(realized(my_long_running_stage), "MRPC"))

    It is the same derivation as ever. What lies behind it may be built, if its bytes are gone; whether the stage itself
    is there is looked at before anything is built, as far as can be known by then. Where one closure asks for a stage
    both with and without `realized`, it must be there.

    Args:
        stage: a stage, or a function that returns references to stages, each of which must be there; also one that was
            written for Pylightnix.

    Raises:
        NotRealized: when realized, if it is not there, or `force` or `instances` ask for more than there is.
    """
    if not callable(stage):
        raise UsageError(f"realized({stage!r}): pass a stage function, not what it returned")
    name = getattr(stage, "__name__", repr(stage))

    @functools.wraps(stage)
    def variant(*args: P.args, **kwargs: P.kwargs) -> R:
        registry = declaring(name)
        result = stage(*args, **kwargs)
        for dref in references_in(result):
            require(registry, dref)
        return result

    return variant


def require(registry: StageRegistry, dref: str) -> None:
    """Let a declared derivation be one that is never built."""
    declared = registry.builders.get(DRef(dref))
    if declared is not None and not isinstance(declared.realizer, MustBeThere):
        realizer = MustBeThere(dref, declared.realizer)
        registry.builders[DRef(dref)] = Derivation(declared.dref, declared.matcher, realizer)


class MustBeThere(OwnRealizer):
    """Stands where a realizer was, and refuses to build."""

    def __init__(self, dref: str, realizer: Callable[..., Any]) -> None:
        self.dref, self.realizer = dref, realizer

    def refuse(self, detail: str = "") -> NoReturn:
        """Raise NotRealized."""
        raise NotRealized(self.dref, detail)

    def run(self, build: Build) -> tuple[float, float]:
        self.refuse()

    def __call__(
        self, S: StorageSettings | None, dref: DRef, context: Context, arguments: Mapping[str, Any]
    ) -> NoReturn:
        self.refuse()  # Pylightnix's engine asks the object itself

    @property
    def code(self) -> Code | None:
        return self.realizer.code if isinstance(self.realizer, OwnRealizer) else None

    def view(self, source: ConfigSource) -> Any:
        """What was made of the same bytes may be adopted: that is no build."""
        return self.realizer.view(source) if isinstance(self.realizer, OwnRealizer) else None

    def exec_arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return self.realizer.exec_arguments(given) if isinstance(self.realizer, OwnRealizer) else dict(given)


def stage_behind(derivation: Derivation) -> Stage[..., Any] | None:
    """The stage of ours that declared a derivation; None for what no stage of ours did."""
    realizer = derivation.realizer
    if isinstance(realizer, MustBeThere):
        realizer = realizer.realizer
    return realizer.stage if isinstance(realizer, StageRealizer) else None
