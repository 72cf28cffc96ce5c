"""What the training core offers beyond plain steps: accumulation, averages, callbacks, precisions, devices."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inspection.event_files import tags_of
from ml.toy_training import Interrupted, Points, Regression, Told, bits, rows, run, weights
from stagedml.errors import UsageError

pytestmark = pytest.mark.tensorflow

#: Four steps of two batches an epoch, the last of them of one.
SHORT = Points(sizes=(16, 9, 16, 3, 5, 16, 16))


# -- batches ---------------------------------------------------------------------------------------------------------


def test_a_budget_of_tokens_gives_short_rows_larger_batches_of_one_size_a_length() -> None:
    from stagedml.ml.train.batching import LengthBatches

    batches = LengthBatches(*rows(400), batch_size=20, batch_tokens=256, seed=3)
    epoch = list(batches.epoch(0))
    assert len(epoch) == batches.steps_per_epoch == len(list(batches.epoch(1)))
    assert sorted(np.concatenate([batch["row"] for batch in epoch]).tolist()) == list(range(400))
    shapes = {batch["ids"].shape for batch in epoch}
    assert all(count <= 20 and count * length <= 256 for count, length in shapes)
    full = {length: max(count for count, other in shapes if other == length) for _, length in shapes}
    assert full == {length: min(20, 256 // length) for length in full}
    assert len(shapes) <= len(full) + 1  # what is left over


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    from stagedml.ml.train.batching import LengthBatches

    batches = LengthBatches({"ids": [np.ones(50), np.ones(50)]}, {}, batch_size=9, batch_tokens=10, seed=0)
    assert [batch["ids"].shape for batch in batches.epoch(0)] == [(1, 56), (1, 56)]


def test_what_is_made_ahead_comes_in_order_and_its_errors_too() -> None:
    from stagedml.ml.train.batching import ahead

    def items() -> Iterator[int]:
        yield from range(5)
        raise KeyError("gone")

    left = ahead(items())
    assert list(itertools.islice(left, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="gone"):
        next(left)
    assert list(ahead(iter(range(7)), 1)) == list(range(7))


def test_who_stops_early_leaves_no_thread() -> None:
    from stagedml.ml.train.batching import ahead

    left = ahead(itertools.count())
    assert next(left) == 0
    assert [thread.name for thread in threading.enumerate()].count("batches") == 1
    left.close()
    assert "batches" not in [thread.name for thread in threading.enumerate()]


# -- accumulation ----------------------------------------------------------------------------------------------------


class Parts(Points):
    """Every batch of `Points` in two, of which the first has two thirds of the rows."""

    def __init__(self, sizes: tuple[int, ...] = (18, 9, 18, 3)) -> None:
        super().__init__(sizes=sizes)
        self.steps_per_epoch = 2 * len(sizes)

    def epoch(self, number: int) -> Iterator[dict[str, NDArray[Any]]]:
        for batch in super().epoch(number):
            cut = 2 * len(batch["y"]) // 3
            yield {name: column[:cut] for name, column in batch.items()}
            yield {name: column[cut:] for name, column in batch.items()}


def test_several_batches_a_step_train_as_one_batch_of_all_their_rows() -> None:
    whole, one = run(data=Points(sizes=(18, 9, 18, 3)), dropout=0.0)
    parts, two = run(data=Parts(), dropout=0.0, accumulate=2)
    assert [report.steps for report in two.reports] == [4, 4, 4]
    np.testing.assert_allclose(weights(parts), weights(whole), atol=1e-6)
    losses, expected = ([report.loss for report in trained.reports] for trained in (two, one))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_an_epoch_s_last_step_takes_the_batches_that_are_left() -> None:
    _, trained = run(data=SHORT, accumulate=3, epochs=1)
    assert trained.reports[0].steps == 3


@pytest.mark.parametrize(("steps", "epochs"), [(3, 4), (6, 2)])
def test_an_epoch_of_so_many_steps_goes_on_where_the_one_before_it_stopped(steps: int, epochs: int) -> None:
    whole, _ = run(data=SHORT, accumulate=2, epochs=3)
    model, trained = run(data=SHORT, accumulate=2, epochs=epochs, steps_per_epoch=steps)
    assert [(report.epoch, report.steps) for report in trained.reports] == [(n + 1, steps) for n in range(epochs)]
    assert bits(model) == bits(whole)


def test_dropout_differs_between_the_batches_of_a_step() -> None:
    class Twice(Points):
        """The same rows twice."""

        def epoch(self, number: int) -> Iterator[dict[str, NDArray[Any]]]:
            for batch in super().epoch(number):
                yield from (batch, batch)

    data = Twice(sizes=(16,))
    data.steps_per_epoch = 2
    twice, _ = run(data=data, accumulate=2, epochs=2)
    once, _ = run(data=Points(sizes=(16,)), epochs=2)
    assert np.abs(weights(twice) - weights(once)).max() > 1e-4
    twice, _ = run(data=data, accumulate=2, epochs=2, dropout=0.0)
    once, _ = run(data=Points(sizes=(16,)), epochs=2, dropout=0.0)
    np.testing.assert_allclose(weights(twice), weights(once), atol=1e-6)


# -- averages --------------------------------------------------------------------------------------------------------


def test_the_average_follows_the_weights_step_by_step() -> None:
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.step import Step

    with TrainSettings(OptimizerSettings(1e-2)).building(1):
        network = Regression()
    batches = list(Points().epoch(0))
    step = Step(network.model, network.loss, OptimizerSettings(1e-2), batches[0], seed=1, average_decay=0.3)
    expected = weights(network.model)
    for number, batch in enumerate(batches):
        step([batch], number=number, rate=1e-2)
        decay = min(0.3, (2 + number) / (11 + number))
        expected = decay * expected + (1 - decay) * weights(network.model)
    raw = weights(network.model)
    with step.averaged():
        np.testing.assert_allclose(weights(network.model), expected, atol=1e-6)
    assert np.array_equal(weights(network.model), raw)
    assert np.abs(raw - expected).max() > 1e-3


def test_averaged_weights_are_measured_and_handed_over_beside_the_raw_ones() -> None:
    measured: list[NDArray[np.float32]] = []

    def after_epoch(model: Any) -> Any:
        return lambda report: measured.append(weights(model))

    model, trained = run(after=after_epoch, average_decay=0.9)
    assert np.array_equal(measured[-1], weights(model))
    plain, untouched = run()
    assert trained.raw is not None
    assert [array.tobytes() for array in trained.raw] == bits(plain) != bits(model)
    assert untouched.raw is None


# -- callbacks -------------------------------------------------------------------------------------------------------


def report(epoch: int, **measured: float) -> Any:
    from stagedml.ml.train.callbacks import EpochReport

    return EpochReport(epoch, 1, 0.0, measured)


def history(*values: float) -> list[Any]:
    return [report(epoch, f1=value) for epoch, value in enumerate(values, 1)]


def test_the_best_epoch_is_the_first_that_none_was_better_than() -> None:
    from stagedml.ml.train.callbacks import KeepBest

    nan = float("nan")
    for values, higher, best in (
        ((0.5, 0.7, 0.7, 0.6), True, 1),
        ((0.5, 0.7, 0.4, 0.6), False, 2),
        ((nan, 0.2, nan), True, 1),
        ((nan, nan), True, None),
        ((float("-inf"), 0.1), True, 1),
        ((), True, None),
    ):
        assert KeepBest("f1", higher=higher).best(history(*values)) == best
    assert KeepBest("f1", least_change=0.1).best(history(0.5, 0.55, 0.62)) == 2


def test_patience_ends_a_training_and_the_best_weights_are_handed_over() -> None:
    from stagedml.ml.train.callbacks import KeepBest

    scores = {1: 0.1, 2: 0.9, 3: 0.8, 4: 0.7, 5: 0.99}
    seen: dict[int, NDArray[np.float32]] = {}

    def after_epoch(model: Any) -> Any:
        def measure(report: Any) -> dict[str, float]:
            seen[report.epoch] = weights(model)
            return {"f1": scores[report.epoch]}

        return measure

    model, trained = run(after=after_epoch, epochs=5, callbacks=[KeepBest("f1", patience=2)])
    assert (len(trained.reports), trained.epoch) == (4, 2)
    assert np.array_equal(weights(model), seen[2])
    model, trained = run(after=after_epoch, epochs=5, callbacks=[KeepBest("f1", patience=2)], average_decay=0.9)
    assert np.array_equal(weights(model), seen[2])
    assert trained.raw is not None
    assert trained.raw[0].tobytes() != bits(model)[0]
    model, trained = run(after=after_epoch, epochs=5, callbacks=[KeepBest("f1")])
    assert (len(trained.reports), trained.epoch) == (5, 5)
    assert np.array_equal(weights(model), seen[5])


def test_each_plateau_lowers_the_learning_rate_once() -> None:
    from stagedml.ml.train.callbacks import ReduceOnPlateau

    plateau = ReduceOnPlateau("f1", factor=0.1, patience=2)
    rates = [plateau.rate(history(*(0.5, 0.6, 0.6, 0.5, 0.4, 0.6, 0.7, 0.7)[:end])) for end in range(9)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])
    with pytest.raises(UsageError, match=r"factor is 1.*patience 0"):
        ReduceOnPlateau("f1", factor=1, patience=0)


def test_a_lower_rate_reaches_the_steps(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.train.callbacks import ReduceOnPlateau
    from stagedml.ml.train.optimizer import OptimizerSettings, learning_rate

    run(
        data=Points(sizes=(16,) * 10),
        epochs=3,
        after_epoch=lambda report: {"f1": 0.5},
        callbacks=[ReduceOnPlateau("f1")],
        log_dir=tmp_path,
    )
    (events,) = (tmp_path / "train").iterdir()
    told = {
        event.step: float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.tag == "learning_rate"
    }
    planned = {step: learning_rate(OptimizerSettings(1e-2), step - 1, 30) for step in told}
    assert {step: told[step] / planned[step] for step in told} == pytest.approx({10: 1, 20: 1, 30: 0.5})


def test_watching_what_nobody_measures_is_an_error_that_names_what_is() -> None:
    from stagedml.ml.train.callbacks import KeepBest, MetricNotMeasured

    with pytest.raises(MetricNotMeasured, match=r"no 'f2' is measured after an epoch; there are accuracy, f1"):
        run(after_epoch=lambda report: {"f1": 1.0, "accuracy": 0.0}, callbacks=[KeepBest("f2")])
    with pytest.raises(UsageError, match="2 callbacks keep the best weights"):
        run(callbacks=[KeepBest("f1"), KeepBest("f2")])
    with pytest.raises(UsageError, match="patience is 0"):
        KeepBest("f1", patience=0)


def test_histograms_and_a_profile_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    from stagedml.ml.train.callbacks import Histograms, Profile

    run(log_dir=tmp_path, epochs=2, callbacks=[Histograms(), Profile(after=3, steps=2)])
    assert {step for tag, step in tags_of(tmp_path / "train") if "kernel" in tag} == {1, 2}
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_a_training_that_is_too_short_for_a_profile_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from stagedml.ml.train.callbacks import Profile

    run(log_dir=tmp_path, epochs=1, callbacks=[Profile(after=9)])
    assert "no profile: it begins after 9 steps, and there were 8" in caplog.text
    assert not list(tmp_path.rglob("*.xplane.pb"))


# -- precisions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precisions_train_nearly_as_float32_does(precision: str) -> None:
    _, exact = run(dropout=0.0, epochs=6)
    model, rough = run(dropout=0.0, epochs=6, precision=precision)
    assert {variable.dtype.name for variable in model.trainable_variables} == {"float32"}
    assert rough.reports[-1].loss == pytest.approx(exact.reports[-1].loss, rel=0.1)
    assert rough.reports[-1].loss != exact.reports[-1].loss


def test_float16_skips_steps_whose_scaled_gradients_overflow_and_goes_on() -> None:
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.step import Step

    settings = TrainSettings(OptimizerSettings(1e-2), precision="float16")
    with settings.building(1):
        network = Regression(dropout=0.0)
    (batch, *_) = Points(scale=30.0).epoch(0)
    step = Step(network.model, network.loss, settings.optimizer, batch, seed=1, scale_loss=True)
    before = bits(network.model)
    scales = []
    for number in range(20):
        assert np.isfinite(float(step([batch], number=number, rate=1e-2)))
        scales.append(float(step.optimizer.loss_scale))
    assert scales[0] < 2**15
    assert scales[-1] == scales[-2]
    assert bits(network.model) != before


# -- settings --------------------------------------------------------------------------------------------------------


def test_impossible_settings_are_refused_all_at_once() -> None:
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings

    with pytest.raises(
        UsageError,
        match=r"epochs is 0, below 1; steps_per_epoch is 0.*average_decay is 1\.5.*devices is 'two'.*none of open",
    ):
        TrainSettings(
            OptimizerSettings(1e-2),
            epochs=0,
            steps_per_epoch=0,
            average_decay=1.5,
            devices="two",  # type: ignore[arg-type]
            compilation="jit",  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("compilation", ["shapes", "xla"])
def test_however_the_step_is_compiled_it_computes_the_same(compilation: str) -> None:
    data = Points(sizes=(16, 9, 16))
    # XLA draws noise of its own.
    dropout = 0.0 if compilation == "xla" else 0.1
    compiled, _ = run(data=data, compilation=compilation, dropout=dropout)
    plain, _ = run(data=data, dropout=dropout)
    np.testing.assert_allclose(weights(compiled), weights(plain), atol=1e-5)


# -- going on after an interruption ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end_at", [2, 4, 6, 7, 11])
def test_an_epoch_of_so_many_steps_resumes_to_the_same_bits(tmp_path: Path, end_at: int) -> None:
    from stagedml.ml.train.callbacks import Histograms
    from stagedml.ml.train.resume import Checkpoints

    options: dict[str, Any] = {"data": SHORT, "accumulate": 2, "epochs": 4, "steps_per_epoch": 3}
    expected, reference = run(**options)
    checkpoints = Checkpoints(tmp_path, every_steps=2)
    with pytest.raises(Interrupted):
        run(progress=Told(end_at), checkpoints=checkpoints, **options)
    told = Told()
    model, trained = run(progress=told, checkpoints=checkpoints, callbacks=[Histograms()], **options)
    assert told.resumed_at == {2: 0, 4: 3, 6: 5, 7: 6, 11: 9}[end_at]  # what is only shown makes no other training
    assert (bits(model), trained.reports) == (bits(expected), reference.reports)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("end_at", [2, 5, 8, 9])
def test_all_at_once_resumes_to_the_same_bits(tmp_path: Path, precision: str, end_at: int) -> None:
    from stagedml.ml.train.callbacks import KeepBest, ReduceOnPlateau
    from stagedml.ml.train.resume import Checkpoints

    scores = {1: 0.5, 2: 0.4, 3: 0.3}
    options: dict[str, Any] = {
        "data": SHORT,
        "epochs": 3,
        "accumulate": 2,
        "average_decay": 0.9,
        "precision": precision,
        "after_epoch": lambda report: {"f1": scores[report.epoch], "loss": report.loss},
        "callbacks": [KeepBest("f1"), ReduceOnPlateau("f1")],
    }
    expected, reference = run(**options)
    checkpoints = Checkpoints(tmp_path, every_steps=3)
    with pytest.raises(Interrupted):
        run(progress=Told(end_at), checkpoints=checkpoints, **options)
    told = Told()
    model, trained = run(progress=told, checkpoints=checkpoints, **options)
    assert told.resumed_at == {2: 0, 5: 4, 8: 7, 9: 8}[end_at]
    assert bits(model) == bits(expected)
    assert (trained.reports, trained.epoch) == (reference.reports, reference.epoch)
    assert trained.raw is not None
    assert reference.raw is not None
    assert [array.tobytes() for array in trained.raw] == [array.tobytes() for array in reference.raw]
    # Once it is over, the same comes out without a step.
    told = Told()
    model, trained = run(progress=told, checkpoints=checkpoints, **options)
    assert told.steps == []
    assert bits(model) == bits(expected)


# -- several devices -------------------------------------------------------------------------------------------------

_MIRRORED = """
import json, sys
from stagedml.ml.framework import tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
sys.path.insert(0, sys.argv[1])
from ml.toy_training import Points, run, weights
options = json.loads(sys.argv[2])
data = Points(sizes=options.pop("sizes"), scale=options.pop("scale", 1.0))
model, trained = run(data=data, devices="mirrored", **options)
print(json.dumps([weights(model).tolist(), [report.loss for report in trained.reports]]))
"""


SIZES = (18, 9, 18, 3, 1) * 4


def mirrored(*, sizes: tuple[int, ...] = SIZES, **options: Any) -> tuple[NDArray[np.float64], list[float]]:
    """A training on two logical CPU devices, in a process of its own."""
    script = [sys.executable, "-c", _MIRRORED, str(Path(__file__).parents[1]), json.dumps({"sizes": sizes, **options})]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    values, losses = json.loads(done.stdout.splitlines()[-1])
    return np.array(values), losses


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain", marks=pytest.mark.slow),
        pytest.param({"accumulate": 2, "average_decay": 0.9}, id="more"),
    ],
)
def test_two_devices_train_as_one(options: Mapping[str, Any]) -> None:
    values, losses = mirrored(dropout=0.0, **options)
    model, trained = run(data=Points(sizes=SIZES), dropout=0.0, **options)
    assert sum(report.steps for report in trained.reports) == (30 if options else 60)
    np.testing.assert_allclose(values, weights(model), atol=1e-5)
    np.testing.assert_allclose(losses, [report.loss for report in trained.reports], rtol=1e-5)


def test_two_devices_scale_the_loss_as_one_does() -> None:
    # Small numbers, so that on neither side a step overflows and is skipped.
    _, losses = mirrored(dropout=0.0, precision="float16", scale=0.1)
    _, trained = run(data=Points(sizes=SIZES, scale=0.1), dropout=0.0, precision="float16")
    np.testing.assert_allclose(losses, [report.loss for report in trained.reports], rtol=0.03)


def test_a_device_draws_the_dropout_of_a_batch_of_a_step() -> None:
    class Halves(Points):
        """Every batch in two halves."""

        def epoch(self, number: int) -> Iterator[dict[str, NDArray[Any]]]:
            for batch in super().epoch(number):
                cut = len(batch["y"]) // 2
                yield {name: column[:cut] for name, column in batch.items()}
                yield {name: column[cut:] for name, column in batch.items()}

    sizes = (18, 9, 18, 3, 2) * 4
    halves = Halves(sizes=sizes)
    halves.steps_per_epoch = 2 * len(sizes)
    model, _ = run(data=halves, accumulate=2, dropout=0.3)
    values, _ = mirrored(dropout=0.3, sizes=sizes)
    np.testing.assert_allclose(values, weights(model), atol=1e-5)
