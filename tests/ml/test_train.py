"""The training loop: what makes it repeat, and what stops it."""

from __future__ import annotations

import errno
import functools
import logging
import os
import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inspection.event_files import tags_of
from ml.toy_training import Interrupted, Points, Told, bits, rows, run
from stagedml.errors import UsageError

pytestmark = pytest.mark.tensorflow


# -- batches ---------------------------------------------------------------------------------------------------------


def test_an_epoch_has_each_row_once_in_full_batches_of_similar_length() -> None:
    from stagedml.ml.train.batching import LENGTH_STEP, LengthBatches

    ragged, scalars = rows(101)
    batches = LengthBatches(ragged, scalars, batch_size=10, seed=3)
    epoch = list(batches.epoch(0))
    assert len(epoch) == batches.steps_per_epoch == 11
    assert sorted(np.concatenate([batch["row"] for batch in epoch]).tolist()) == list(range(101))
    assert sorted(len(batch["row"]) for batch in epoch) == [1, *[10] * 10]
    for batch in epoch:
        assert batch["ids"].shape[1] % LENGTH_STEP == 0
        for padded, row in zip(batch["ids"], batch["row"], strict=True):
            assert padded[padded > 0].tolist() == ragged["ids"][row].tolist()
    padding = sum(int((batch["ids"] == 0).sum()) for batch in epoch)
    assert padding < 0.4 * sum(batch["ids"].size for batch in epoch)


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    from stagedml.ml.train.batching import LengthBatches

    def order(seed: int, epoch: int, *, after: int = 0) -> list[int]:
        batches = LengthBatches(*rows(50), batch_size=4, seed=seed)
        for earlier in range(after):
            list(batches.epoch(earlier))
        return [int(row) for batch in batches.epoch(epoch) for row in batch["row"]]

    assert order(1, 2) == order(1, 2) == order(1, 2, after=2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_shuffled_batches_have_each_row_once_in_an_order_of_seed_and_epoch() -> None:
    from stagedml.ml.train.batching import ShuffledBatches

    columns = {"x": np.arange(23)[:, None] * np.ones(2), "row": np.arange(23)}
    batches = ShuffledBatches(columns, batch_size=5, seed=1)
    epochs = [list(batches.epoch(number)) for number in (0, 1, 0)]
    assert [len(batch["row"]) for batch in epochs[0]] == [5, 5, 5, 5, 3]
    assert batches.steps_per_epoch == 5
    orders = [np.concatenate([batch["row"] for batch in epoch]).tolist() for epoch in epochs]
    assert sorted(orders[0]) == list(range(23))
    assert orders[0] == orders[2] != orders[1]
    assert all(np.array_equal(batch["x"][:, 0], batch["row"]) for batch in epochs[0])
    with pytest.raises(ValueError, match="x, row differ in their numbers of rows"):
        ShuffledBatches({**columns, "row": np.arange(22)}, batch_size=5, seed=1)
    with pytest.raises(ValueError, match="no rows"):
        ShuffledBatches({"x": np.zeros((0, 2))}, batch_size=5, seed=1)
    with pytest.raises(UsageError, match="batch_size is 0, below 1"):
        ShuffledBatches(columns, batch_size=0, seed=1)


def test_sorted_batches_know_where_their_rows_come_from() -> None:
    from stagedml.ml.train.batching import SortedBatches

    batches = SortedBatches(*rows(33), batch_size=8)
    assert np.concatenate([batch["row"] for batch in batches.epoch()]).tolist() == batches.order.tolist()


def test_columns_of_different_lengths_are_each_as_long_as_their_own_longest_row_and_the_longer_one_counts() -> None:
    from stagedml.ml.train.batching import LengthBatches

    generator = np.random.default_rng(0)
    texts = {name: [generator.integers(1, 9, generator.integers(1, 60)) for _ in range(200)] for name in ("a", "b")}
    row = {"row": np.arange(200)}
    seen = []
    for batch in LengthBatches(texts, row, batch_size=99, batch_tokens=256, seed=0).epoch(0):
        for name, column in texts.items():
            assert batch[name].shape[1] == -(-max(len(column[place]) for place in batch["row"]) // 8) * 8
            for padded, place in zip(batch[name], batch["row"], strict=True):
                assert padded[padded != 0].tolist() == column[place].tolist()
        assert len(batch["row"]) == 1 or len(batch["row"]) * max(batch[name].shape[1] for name in texts) <= 256
        seen += batch["row"].tolist()
    assert sorted(seen) == list(range(200))


def test_columns_that_do_not_fit_together_are_refused() -> None:
    from stagedml.ml.train.batching import LengthBatches

    with pytest.raises(ValueError, match="numbers of rows: a has 1, label has 2"):
        LengthBatches({"a": [np.ones(2)]}, {"label": np.ones(2)}, batch_size=1, seed=0)
    with pytest.raises(ValueError, match="no rows"):
        LengthBatches({"a": []}, {}, batch_size=1, seed=0)


# -- optimizer -------------------------------------------------------------------------------------------------------


def test_the_learning_rate_rises_and_falls_in_straight_lines() -> None:
    from stagedml.ml.train.optimizer import OptimizerSettings, learning_rate

    settings = OptimizerSettings(learning_rate=1e-3, warmup_share=0.1)
    # As in BERT's own code, the decay counts from step 0, so that the rate falls a little where the two lines meet.
    expected = {0: 0.0, 5: 5e-4, 9: 9e-4, 10: 9e-4, 50: 5e-4, 100: 0.0}
    assert {step: learning_rate(settings, step, 100) for step in expected} == pytest.approx(expected)
    flat = OptimizerSettings(learning_rate=1e-3, warmup_share=0, end_learning_rate=1e-3)
    assert learning_rate(flat, 0, 100) == learning_rate(flat, 77, 100) == 1e-3


def test_the_learning_rate_falls_by_the_inverse_square_root_as_the_paper_of_the_transformer_says() -> None:
    from stagedml.ml.train.optimizer import OptimizerSettings, learning_rate

    settings = OptimizerSettings((512 * 4000) ** -0.5, warmup_steps=4000, schedule="inverse_sqrt")
    for step in (1, 1000, 3999, 4000, 4001, 100_000):
        expected = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)  # Vaswani et al. 2017, (3)
        assert learning_rate(settings, step, 100_000) == pytest.approx(expected)
    at_once = OptimizerSettings(1e-3, warmup_steps=0, schedule="inverse_sqrt")
    assert [learning_rate(at_once, step, 10) for step in (0, 1, 4)] == pytest.approx([1e-3, 1e-3, 5e-4])


def test_without_decay_and_with_other_betas_a_step_is_adam_s() -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.train.optimizer import OptimizerSettings, create_optimizer

    settings = OptimizerSettings(1e-2, weight_decay=0.0, betas=(0.8, 0.98), epsilon=1e-9)
    weight = tf.Variable([2.0, -3.0], name="kernel")
    optimizer = create_optimizer(settings, tf.Variable(0.01))
    mean, square, expected = np.zeros(2), np.zeros(2), np.array([2.0, -3.0])
    for number, gradient in enumerate([[0.5, -1.0], [0.1, 2.0], [-0.3, 0.0]], 1):
        optimizer.apply_gradients([(tf.constant(gradient), weight)])
        mean = 0.8 * mean + 0.2 * np.array(gradient)
        square = 0.98 * square + 0.02 * np.square(gradient)
        expected -= 0.01 * mean / (1 - 0.8**number) / (np.sqrt(square / (1 - 0.98**number)) + 1e-9)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)


def test_a_step_is_that_of_adamw_with_clipping_and_spares_biases() -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.step import Step

    class Linear(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable([2.0, -3.0], name="dense/kernel")
            self.bias = tf.Variable([5.0], name="dense/bias")

        def loss(self, batch: Mapping[str, Any]) -> Any:
            """Its gradients are the batch."""
            return tf.reduce_sum(self.kernel * batch["kernel"][0]) + tf.reduce_sum(self.bias * batch["bias"][0])

    rate, decay, epsilon = 0.1, 0.5, 1e-6
    model = Linear()
    batches = [
        {name: np.array([values], dtype=np.float32) for name, values in batch.items()}
        for batch in ({"kernel": [3.0, 0.0], "bias": [4.0]}, {"kernel": [0.1, -0.2], "bias": [0.3]})
    ]
    settings = OptimizerSettings(rate, weight_decay=decay, clip_norm=1.0)
    step = Step(model, model.loss, settings, batches[0], seed=0)
    values = {"kernel": np.array([2.0, -3.0]), "bias": np.array([5.0])}
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in values.items()}
    for number, gradient in enumerate(batches):
        step([gradient], number=number, rate=rate)
        norm = np.sqrt(sum(np.square(part).sum() for part in gradient.values()))
        for name in values:
            clipped = gradient[name][0] / max(norm, 1.0)
            first, second = moments[name]
            first, second = 0.9 * first + 0.1 * clipped, 0.999 * second + 0.001 * clipped**2
            moments[name] = first, second
            scale = np.sqrt(1 - 0.999 ** (number + 1)) / (1 - 0.9 ** (number + 1))
            values[name] = values[name] * (1 - (rate * decay if name == "kernel" else 0))
            values[name] -= rate * scale * first / (np.sqrt(second) + epsilon)
    np.testing.assert_allclose(model.kernel.numpy(), values["kernel"], rtol=1e-5)
    np.testing.assert_allclose(model.bias.numpy(), values["bias"], rtol=1e-5)


def test_impossible_settings_are_refused_all_at_once() -> None:
    from stagedml.ml.train.optimizer import OptimizerSettings

    with pytest.raises(UsageError, match=r"learning_rate is -1.*warmup_share is 2.*weight_decay is -0\.1"):
        OptimizerSettings(learning_rate=-1, warmup_share=2, weight_decay=-0.1)
    with pytest.raises(UsageError, match=r"warmup_steps is -1, .*betas are .*schedule is 'cosine', none of"):
        OptimizerSettings(1, warmup_steps=-1, betas=(0.9, 1.0), schedule="cosine")  # type: ignore[arg-type]


# -- the loop --------------------------------------------------------------------------------------------------------


def fit(seed: int, **options: Any) -> tuple[list[bytes], list[float]]:
    model, trained = run(seed, **options)
    return bits(model), [report.loss for report in trained.reports]


def test_two_trainings_in_one_process_give_the_same_bits() -> None:
    first = fit(seed=1)
    random.random()
    np.random.rand()
    fit(seed=2, epochs=1)
    assert fit(seed=1) == first
    assert fit(seed=2) != first


def test_training_learns() -> None:
    _, losses = fit(seed=1, epochs=8)
    assert losses[-1] < 0.5 * losses[0]


def test_dropout_differs_from_step_to_step_and_from_layer_to_layer() -> None:
    from stagedml.ml.framework import tf, tf_keras
    from stagedml.ml.train.determinism import fix_dropout

    class Noisy(tf_keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = tf_keras.layers.Dropout(0.5), tf_keras.layers.Dropout(0.5)

        def call(self, x: Any) -> Any:
            return tf.stack([self.first(x, training=True), self.second(x, training=True)])

    def masks(seed: int, at: int) -> NDArray[np.float32]:
        layer, step = Noisy(), tf.Variable(at, dtype=tf.int64)
        assert fix_dropout(layer, seed, step) == 2
        values: NDArray[np.float32] = layer(tf.ones((40, 50))).numpy()
        return values

    once = masks(1, 0)
    assert np.array_equal(once, masks(1, 0))
    assert not np.array_equal(once[0], once[1])
    assert not np.array_equal(once, masks(1, 1))
    assert not np.array_equal(once, masks(2, 0))
    assert np.mean(once > 0) == pytest.approx(0.5, abs=0.03)
    assert set(np.unique(once).tolist()) == {0.0, 2.0}


def test_seeded_leaves_the_caller_s_generators_as_they_were() -> None:
    from stagedml.ml.train.determinism import seeded

    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    with seeded(1):
        random.random()
        np.random.rand()
    assert (random.random(), np.random.rand()) == expected


def test_a_loss_that_is_not_finite_stops_the_training_and_says_where() -> None:
    from stagedml.ml.train.results import LossNotFinite

    with pytest.raises(LossNotFinite) as caught:
        fit(seed=1, data=Points(scale=1e30))
    assert caught.value.step == 1
    assert "at step 1 (epoch 1, learning rate" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_progress_and_epochs_are_told_in_order() -> None:
    told: list[tuple[Any, ...]] = []
    epochs: list[int] = []
    fit(
        seed=1,
        epochs=2,
        label="fit",
        progress=lambda *message: told.append(message),
        after_epoch=lambda report: epochs.append(report.epoch),
    )
    assert [(label, done, total, unit) for label, done, total, unit, _ in told] == [
        ("fit", step, 16, "steps") for step in range(1, 17)
    ]
    assert told[-1][4].startswith("epoch 2/2, loss ")
    assert epochs == [1, 2]


def test_scalars_go_to_the_log_folder(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf

    fit(seed=1, epochs=3, log_dir=tmp_path)
    (events,) = (tmp_path / "train").iterdir()
    found = {
        (value.tag, event.step)
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert found == {(tag, step) for tag in ("loss", "learning_rate", "examples_per_second") for step in (10, 20)}


# -- going on after an interruption ----------------------------------------------------------------------------------

SHORT = Points(sizes=(16, 9, 16, 3))


def measure(report: Any) -> dict[str, float]:
    """What an evaluation may come to: numbers that no rounding must change."""
    return {"loss": report.loss / 3, "count": report.steps}


def short_fit(told: Told, checkpoints: Any = None, seed: int = 1, **options: Any) -> tuple[list[Any], list[float]]:
    options = {"epochs": 2, "data": SHORT, "after_epoch": measure, **options}
    return fit(seed, progress=told, checkpoints=checkpoints, **options)


def interrupted(end_at: int, checkpoints: Any, **options: Any) -> Told:
    """A short training that ends at a step."""
    told = Told(end_at)
    with pytest.raises(Interrupted):
        short_fit(told, checkpoints, **options)
    return told


@functools.cache
def uninterrupted(precision: str = "float32") -> tuple[list[Any], list[float]]:
    """What a short training ends in."""
    return short_fit(Told(), precision=precision)


@pytest.mark.parametrize(("precision", "ends"), [("float32", range(1, 9)), ("bfloat16", (2, 6, 8))])
def test_wherever_it_is_interrupted_a_training_ends_in_the_same_bits(
    tmp_path: Path, precision: str, ends: Sequence[int]
) -> None:
    from stagedml.ml.train.resume import Checkpoints

    for end_at in ends:
        checkpoints = Checkpoints(tmp_path / str(end_at), every_steps=3)
        assert interrupted(end_at, checkpoints, precision=precision).steps == list(range(1, end_at + 1))
        again = Told()
        assert short_fit(again, checkpoints, precision=precision) == uninterrupted(precision)
        # Every three steps, and at the end of the epoch.
        assert again.resumed_at == {1: 0, 2: 0, 3: 0, 4: 3, 5: 4, 6: 4, 7: 4, 8: 7}[end_at]
        assert again.steps == list(range(again.resumed_at + 1, 9))


def test_a_training_that_is_interrupted_again_and_again_gets_to_its_end(tmp_path: Path) -> None:
    from stagedml.ml.train.resume import Checkpoints

    checkpoints = Checkpoints(tmp_path, every_steps=1)
    for end_at in (1, 2, 4, 5, 8):
        told = interrupted(end_at, checkpoints)
        assert told.resumed_at == {1: 0, 2: 0, 4: 1, 5: 3, 8: 4}[end_at]
        assert len([path for path in tmp_path.rglob("*") if path.is_file()]) <= 2
    told = Told()
    assert short_fit(told, checkpoints) == uninterrupted()
    assert told.steps == [8]
    # Once it is over, nothing is left to do.
    told = Told()
    assert short_fit(told, checkpoints) == uninterrupted()
    assert told.steps == []


def test_reports_come_back_with_what_was_measured_which_is_not_measured_again(tmp_path: Path) -> None:
    from stagedml.ml.train.callbacks import EpochReport
    from stagedml.ml.train.resume import Checkpoints

    def reports(measured: list[int], fail_at: int | None = None) -> list[EpochReport]:
        def after_epoch(report: EpochReport) -> dict[str, float]:
            measured.append(report.epoch)
            if report.epoch == fail_at:
                raise Interrupted
            return {"accuracy": 0.1 + 0.2, "rows": 7}

        checkpoints = Checkpoints(tmp_path, every_steps=1)
        _, trained = run(data=SHORT, after_epoch=after_epoch, checkpoints=checkpoints)
        return list(trained.reports)

    first: list[int] = []
    with pytest.raises(Interrupted):
        reports(first, fail_at=2)
    second: list[int] = []
    found = reports(second)
    assert (first, second) == ([1, 2], [2, 3])
    assert [(report.epoch, report.steps, report.measured) for report in found] == [
        (epoch, 4, {"accuracy": 0.1 + 0.2, "rows": 7}) for epoch in (1, 2, 3)
    ]
    assert reports([]) == found


def test_checkpoints_of_another_training_are_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from stagedml.ml.train.resume import Checkpoints

    caplog.set_level(logging.INFO)
    checkpoints = Checkpoints(tmp_path, every_steps=1)
    interrupted(6, checkpoints)
    for other, named in (
        ({"seed": 2}, "initial weights, seed"),
        ({"learning_rate": 2e-2}, "settings"),
        ({"data": Points(scale=2.0, sizes=(16, 9, 16, 3))}, "batch"),
        ({"identity": {"dropout": 0.5}}, "identity"),
    ):
        caplog.clear()
        assert interrupted(1, Checkpoints(tmp_path, every_steps=99), **other).resumed_at == 0
        assert f"of another training (other {named})" in caplog.text, other
    assert interrupted(7, checkpoints).resumed_at == 5


def test_a_disk_that_is_full_costs_the_checkpoint_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from stagedml.ml.train.resume import Checkpoints

    checkpoints = Checkpoints(tmp_path, every_steps=1)
    interrupted(3, checkpoints)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert short_fit(Told(), checkpoints) == uninterrupted()
    assert "there is no checkpoint at step 5, the training goes on: [Errno 28]" in caplog.text
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before[-1:]
    assert interrupted(4, checkpoints).resumed_at == 2


def test_a_training_that_diverged_starts_at_its_beginning_again(tmp_path: Path) -> None:
    from stagedml.ml.train.results import LossNotFinite
    from stagedml.ml.train.resume import Checkpoints

    class Diverging(Points):
        def epoch(self, number: int) -> Iterator[dict[str, NDArray[Any]]]:
            for batch in super().epoch(number):
                yield {name: array * np.float32(1e30 if number else 1) for name, array in batch.items()}

    checkpoints = Checkpoints(tmp_path / "checkpoints", every_steps=1)
    for _ in range(2):
        told = Told()
        with pytest.raises(LossNotFinite):
            short_fit(told, checkpoints, data=Diverging(sizes=(16, 9)), log_dir=tmp_path / "log")
        assert told.steps == [1, 2]
        assert not [path for path in checkpoints.folder.rglob("*") if path.is_file()]


def test_steps_keep_their_numbers_where_a_training_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.train.resume import Checkpoints

    options: dict[str, Any] = {"data": Points(), "epochs": 3}
    checkpoints = Checkpoints(tmp_path / "checkpoints", every_steps=4)
    interrupted(14, checkpoints, **options)
    caplog.set_level(logging.INFO)
    short_fit(Told(), checkpoints, log_dir=tmp_path / "log", **options)
    assert "train: resumed at step 12 of 24" in caplog.text
    (events,) = (tmp_path / "log" / "train").iterdir()
    steps = {event.step for event in tf.compat.v1.train.summary_iterator(str(events)) if event.summary.value}
    assert steps == {20}


@pytest.mark.parametrize(("end_at", "resumed_at"), [(3, 0), (14, 12), (23, 20)])
def test_where_a_training_goes_on_its_log_has_all_steps_once(tmp_path: Path, end_at: int, resumed_at: int) -> None:
    from stagedml.ml.train.results import log_scalars
    from stagedml.ml.train.resume import Checkpoints

    def after_epoch(report: Any) -> None:
        log_scalars(tmp_path / log, "valid", report.epoch, {"f1": 0.5})

    options: dict[str, Any] = {"data": Points(), "epochs": 3, "after_epoch": after_epoch}
    checkpoints, log = Checkpoints(tmp_path / "checkpoints", every_steps=4), "first"
    with pytest.raises(Interrupted):
        run(progress=Told(end_at), checkpoints=checkpoints, log_dir=tmp_path / log, **options)
    told, log = Told(), "second"
    run(progress=told, checkpoints=checkpoints, log_dir=tmp_path / log, **options)
    assert told.resumed_at == resumed_at
    assert sorted(step for tag, step in tags_of(tmp_path / log / "train") if tag == "loss") == [10, 20]
    assert sorted(step for _, step in tags_of(tmp_path / log / "valid")) == [1, 2, 3]


def test_precision_is_put_back_and_unknown_ones_refused() -> None:
    from stagedml.ml.framework import tf_keras
    from stagedml.ml.train.precision import precision

    with precision("bfloat16"):
        assert tf_keras.layers.Dense(1).compute_dtype == "bfloat16"
    assert tf_keras.layers.Dense(1).compute_dtype == "float32"
    with pytest.raises(UsageError, match="none of float32, bfloat16, float16"), precision("float8"):  # type: ignore[arg-type]
        pass


def test_shards_come_whole_in_an_order_of_each_epochs_own_and_one_at_a_time_is_loaded() -> None:
    from stagedml.ml.train.batching import LengthBatches, ShardBatches

    loaded: list[int] = []

    def load(shard: int) -> LengthBatches:
        loaded.append(shard)
        return LengthBatches({"ids": [np.full(4, 10 * shard + row) for row in range(5)]}, {}, batch_size=2, seed=1)

    shards = [(3, functools.partial(load, shard)) for shard in range(6)]
    batches = ShardBatches(shards, seed=1)
    assert batches.steps_per_epoch == 18
    orders = []
    for epoch in range(3):
        rows = [int(row[0]) for batch in batches.epoch(epoch) for row in batch["ids"]]
        assert sorted(rows) == [10 * shard + row for shard in range(6) for row in range(5)]
        orders.append([rows[place] // 10 for place in range(0, 30, 5)])
        assert [row // 10 for row in rows] == [shard for shard in orders[-1] for _ in range(5)]
        assert rows == [int(row[0]) for batch in ShardBatches(shards, seed=1).epoch(epoch) for row in batch["ids"]]
    assert len(set(map(tuple, orders))) == 3
    loaded.clear()
    assert list(ShardBatches(shards[:1], seed=1).epoch(0))
    assert loaded == [0]


def test_batches_without_rows_are_refused_in_the_settings_of_each_recipe() -> None:
    from stagedml.ml.models.bert.finetuning import FinetuneSettings
    from stagedml.ml.models.bert.pretraining import PretrainSettings

    for settings in (FinetuneSettings, PretrainSettings):
        with pytest.raises(UsageError, match="batch_size is 0, below 1"):
            settings(batch_size=0)
    with pytest.raises(UsageError, match="batch_tokens is 0, below 1"):
        FinetuneSettings(batch_tokens=0)
