"""Chains of realizations, each of which begins where the one before ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stagedml.authoring.pylightnix import RRef
from stagedml.engine.events import Observer
from stagedml.engine.realize import Force, Target, realize
from stagedml.errors import UsageError


def realize_recursive(
    step: Callable[[int, RRef | None], Target[Any] | None],
    epochs: int,
    epochs_step: int = 1,
    *,
    force: Force = False,
    args: Mapping[str, Any] | None = None,
    offline: bool | None = None,
    observer: Observer | None = None,
) -> dict[int, RRef]:
    """Realize a chain, such as a training that goes on from its last result, deciding each step by the one before.

        def step(epochs: int, previous: RRef | None) -> Instantiated[Model] | None:
            if previous is None:
                return instantiate(lambda: train(data=data(), rate=1e-3))
            if mklens(previous).metrics.accuracy.val > 0.9:
                return None                                            # good enough
            rate = 1e-4 if epochs > 20 else 1e-3
            return instantiate(lambda: train(data=data(), rate=rate, start=pinned(previous, Weights)))

        models = realize_recursive(step, epochs=50, epochs_step=10)    # {10: rref, 20: rref, ...}

    Each step is a derivation of its own, whose config names the very realization that it went on from: `pinned` makes
    the previous one an input and keeps it. So what is there is reused when the chain is realized again or made longer,
    and if an early step is built anew and comes out otherwise, what went on from the old one is not taken for it.

    Where the steps do not depend on what came out, a loop inside one stage function is better: it hands on references,
    `model = train(data=data, start=model, rate=rate)`, and so is planned, and shown by `plan`, as a whole.

    Args:
        step: called with the number of epochs that its result is to stand for, and with the realization of the step
            before, None at first. It returns what `instantiate` returned, or None to end the chain early.
        epochs: how many epochs the last step's result stands for.
        epochs_step: how many more each step stands for; the last one takes what remains.
        force, args, offline, observer: as of `realize`, for each step.

    Returns:
        the realization of each step, by its number of epochs. All of it is safe from collection as long as this
        process lives; to keep it longer, link to the last one: each keeps the one that it went on from.

    Raises:
        UsageError: `epochs` or `epochs_step` is no number of epochs, or a step returned something else.
        BuildError: a step could not be built; those before it stay in the store, and are reused the next time.
    """
    numbers: tuple[tuple[str, object], ...] = (("epochs", epochs), ("epochs_step", epochs_step))
    for name, number in numbers:
        if type(number) is not int or number < 1:
            raise UsageError(f"realize_recursive({name}={number!r}): give a whole number, at least 1")
    if not callable(step):
        raise UsageError(
            f"realize_recursive({step!r}): give a function of the epochs and the previous realization that returns "
            f"what `instantiate` returned"
        )
    realized: dict[int, RRef] = {}
    previous: RRef | None = None
    for done in range(0, epochs, epochs_step):
        until = min(done + epochs_step, epochs)
        target = step(until, previous)
        if target is None:
            break
        previous = realize(target, force=force, args=args, offline=offline, observer=observer)
        realized[until] = previous
    return realized
