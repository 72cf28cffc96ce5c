"""`instantiate`: run a stage function and collect what it declares into a closure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

from stagedml.authoring.pylightnix import Closure, DRef, set_current_registry
from stagedml.authoring.pylightnix import current_registry as _current_registry
from stagedml.authoring.registry import StageRegistry
from stagedml.authoring.session import Storage, current_store
from stagedml.authoring.stage import Stage
from stagedml.core.refs import is_dref
from stagedml.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


class Instantiated(tuple[Any, Any], Generic[R]):
    """The pair `(result, closure)`, as Pylightnix's functions take it, with names for its parts."""

    __slots__ = ()

    def __new__(cls, result: R, closure: Closure) -> Instantiated[R]:
        return super().__new__(cls, (result, closure))

    def __getnewargs__(self) -> tuple[R, Closure]:
        return self.result, self.closure  # copies call __new__ with both, not with one tuple

    @property
    def result(self) -> R:
        """What the stage function returned."""
        value: R = self[0]
        return value

    @property
    def closure(self) -> Closure:
        """Everything that has to be realized for it."""
        value: Closure = self[1]
        return value

    def __repr__(self) -> str:
        return f"Instantiated({self.result!r}, {len(self.closure.derivations)} derivations)"


class NoDerivations(UsageError):
    """A stage function did not return references."""

    def __init__(self, stage: str, returned: str) -> None:
        super().__init__(stage, returned)
        self.stage, self.returned = stage, returned

    def __str__(self) -> str:
        return (
            f"{self.stage} returned {self.returned}; a stage function returns a reference to a stage, "
            f"or a list, tuple or dict of references"
        )


def instantiate(stage: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Instantiated[R]:
    """Declare a stage, and all stages behind it, in the current store. Nothing is built.

    Args:
        stage: a stage, or a function that calls stages and returns one or several references; also one that was written
            for Pylightnix, which is given its registry as `r`.
        args, kwargs: its arguments.

    Returns:
        the result, and the closure that `realize` takes.

    Raises:
        UsageError: of many kinds; what is wrong with the arguments, the config or the code.
    """
    name = getattr(stage, "__name__", repr(stage))
    if not callable(stage):
        raise UsageError(f"{name} is no stage function: pass the function itself, then its arguments")
    store = current_store()
    registry = StageRegistry(store)
    outer = _current_registry()
    set_current_registry(registry)
    try:
        if _takes_registry(stage):
            kwargs["r"] = registry
        result = stage(*args, **kwargs)
        targets = list(dict.fromkeys(references_in(result)))
        if not targets:
            raise NoDerivations(name, f"{result!r}")
        derivations = registry.publish(targets)
    finally:
        set_current_registry(outer)
        registry.close()
    return Instantiated(result, Closure(result, [DRef(ref) for ref in targets], derivations, Storage.of(store)))


def _takes_registry(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `r` for Pylightnix's registry; ours find it by themselves."""
    if isinstance(function, Stage):
        return False
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "r" in parameters


def references_in(value: Any) -> Iterator[str]:
    """The derivation references in a result: one, or a list, tuple or dict of them, nested as you like."""
    if is_dref(value):
        yield str(value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from references_in(item)
