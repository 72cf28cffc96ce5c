"""`realize_recursive`: chains in which each realization goes on from the one before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from stagedml import (
    Artifact,
    Build,
    BuildError,
    Instantiated,
    Policy,
    RefPath,
    RRef,
    Store,
    UsageError,
    gc,
    instantiate,
    linkrref,
    mklens,
    output,
    pinned,
    realize,
    realize_recursive,
    stage,
)
from stagedml.engine.events import Observer


class Weights(Artifact):
    """Where a training was when it ended."""

    weights: RefPath
    metrics: RefPath


@stage(Weights, name="train")
def train(
    build: Build,
    *,
    epochs: int,
    rate: float,
    start: Weights | None = None,
    weights: RefPath = output("weights.json"),
    metrics: RefPath = output("metrics.json"),
) -> None:
    """Write down which rate each epoch had; a rate below zero diverges."""
    if rate < 0:
        raise ZeroDivisionError("diverged")
    before = json.loads(build.path(start.weights).read_text()) if start else []
    after = [*before, *[rate] * epochs]
    build.path(weights).write_text(json.dumps(after))
    build.path(metrics).write_text(json.dumps({"loss": 1 / (1 + sum(after))}))


class Trainings(Observer):
    """Counts the trainings that ran; what is pinned is no training."""

    def __init__(self) -> None:
        self.ran = 0

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        self.ran += hasattr(mklens(dref), "epochs")


Step = Callable[[int, "RRef | None"], "Instantiated[Weights] | None"]


def steps(rates: dict[int, float], every: int = 2) -> Step:
    """Trainings of `every` epochs, each with the rate that is named for its end."""

    def step(epochs: int, previous: RRef | None) -> Instantiated[Weights]:
        def declared() -> Weights:
            start = pinned(previous, Weights) if previous else None
            return train(epochs=min(every, epochs), rate=rates[epochs], start=start)

        return instantiate(declared)

    return step


def rates_of(rref: str) -> Any:
    return json.loads(mklens(rref).weights.contents)


def test_each_step_goes_on_from_the_one_before(store: Store) -> None:
    chain = realize_recursive(steps({2: 0.5, 4: 0.25, 6: 0.125}), epochs=6, epochs_step=2)
    assert list(chain) == [2, 4, 6]
    assert rates_of(chain[6]) == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    assert rates_of(chain[2]) == [0.5, 0.5]


def test_what_is_there_is_reused_and_a_longer_chain_goes_on(store: Store) -> None:
    rates = {2: 0.5, 4: 0.25, 6: 0.125, 8: 0.5}
    first, again, longer = Trainings(), Trainings(), Trainings()
    chain = realize_recursive(steps(rates), 6, 2, observer=first)
    assert realize_recursive(steps(rates), 6, 2, observer=again) == chain
    assert realize_recursive(steps(rates), 8, 2, observer=longer).items() > chain.items()
    assert (first.ran, again.ran, longer.ran) == (3, 0, 1)


def test_other_parameters_in_the_middle_change_the_chain_from_there_on(store: Store) -> None:
    chain = realize_recursive(steps({2: 0.5, 4: 0.25, 6: 0.125}), 6, 2)
    changed = Trainings()
    other = realize_recursive(steps({2: 0.5, 4: 0.75, 6: 0.125}), 6, 2, observer=changed)
    assert changed.ran == 2
    assert other[2] == chain[2]
    assert rates_of(other[6]) == [0.5, 0.5, 0.75, 0.75, 0.125, 0.125]
    assert other[6] != chain[6]


def test_a_step_may_look_at_the_one_before_and_end_the_chain(store: Store) -> None:
    def step(epochs: int, previous: RRef | None) -> Instantiated[Weights] | None:
        loss = mklens(previous).metrics.loss.val if previous else 1.0
        return None if loss < 0.3 else steps(dict.fromkeys(range(1, 9), loss), 1)(epochs, previous)

    chain = realize_recursive(step, 8)
    assert list(chain) == [1, 2, 3, 4, 5]
    assert mklens(chain[5]).metrics.loss.val < 0.3 <= mklens(chain[4]).metrics.loss.val


def test_the_last_step_takes_what_remains(store: Store) -> None:
    asked: list[int] = []

    def step(epochs: int, previous: RRef | None) -> Instantiated[Weights]:
        asked.append(epochs)
        return instantiate(train, epochs=epochs, rate=0.5)

    assert list(realize_recursive(step, 5, 2)) == asked == [2, 4, 5]
    assert list(realize_recursive(step, 2, 10)) == [2]


def test_a_failed_step_leaves_those_before_it(store: Store) -> None:
    with pytest.raises(BuildError, match="diverged"):
        realize_recursive(steps({2: 0.5, 4: -1, 6: 0.5}), 6, 2)
    after = Trainings()
    realize_recursive(steps({2: 0.5, 4: 1, 6: 0.5}), 6, 2, observer=after)
    assert after.ran == 2


def test_force_rebuilds_every_step(store: Store) -> None:
    chain = realize_recursive(steps({2: 0.5, 4: 0.25}), 4, 2)
    forced = Trainings()
    assert realize_recursive(steps({2: 0.5, 4: 0.25}), 4, 2, force=True, observer=forced) == chain
    assert forced.ran == 2


def test_the_whole_chain_is_kept_by_its_last_link(store: Store) -> None:
    chain = realize_recursive(steps({2: 0.5, 4: 0.25, 6: 0.125}), 6, 2)
    linkrref(chain[6])
    store.claims.forget()
    gc(force=True, policy=Policy(grace_s=0))
    assert [rates_of(rref)[-1] for rref in chain.values()] == [0.5, 0.25, 0.125]


def test_the_same_chain_by_references_is_one_closure(store: Store) -> None:
    def whole() -> Weights:
        model: Weights | None = None
        for rate in (0.5, 0.25):
            model = train(epochs=2, rate=rate, start=model)
        assert model is not None
        return model

    chain = realize_recursive(steps({2: 0.5, 4: 0.25}), 4, 2)
    target = instantiate(whole)
    assert len(target.closure.derivations) == 2
    assert rates_of(realize(target)) == rates_of(chain[4])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((None, 3), "give a function of the epochs"),
        ((steps({}), 0), r"epochs=0\): give a whole number, at least 1"),
        ((steps({}), "3"), r"epochs='3'\): give a whole number"),
        ((steps({}), 3, 0.5), r"epochs_step=0.5\): give a whole number"),
        ((lambda epochs, previous: train, 3), r"pass what `instantiate\(stage, ...\)` returned"),
    ],
)
def test_what_is_no_chain_is_refused(store: Store, arguments: Any, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        realize_recursive(*arguments)
