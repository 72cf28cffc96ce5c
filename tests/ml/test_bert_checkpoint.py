"""BERT's weights: read, written and put into the encoder exactly."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.numpy_bert import ACTIVATIONS, forward
from ml.toy_bert import CONFIG, random_arrays, random_batch

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_encoder_agrees_with_numpy_in_every_layer(activation: str) -> None:
    from stagedml.ml.models.bert.checkpoint import load_encoder
    from stagedml.ml.models.bert.encoder import build_encoder

    config = replace(CONFIG, hidden_act=activation)
    arrays, batch = random_arrays(config), random_batch(config)
    encoder = build_encoder(config)
    load_encoder(encoder, config, arrays)
    outputs = encoder(batch, training=False)

    mask = batch["input_mask"]
    states, pooled = forward(
        arrays,
        batch["input_word_ids"],
        batch["input_type_ids"],
        mask,
        heads=config.num_attention_heads,
        activation=activation,
    )
    assert len(outputs["encoder_outputs"]) == config.num_hidden_layers
    for ours, theirs in zip(outputs["encoder_outputs"], states[1:], strict=True):
        # Single precision through three layers; what stands at padding is nobody's business.
        np.testing.assert_allclose(ours.numpy()[mask == 1], theirs[mask == 1], atol=1e-5)
    np.testing.assert_allclose(outputs["pooled_output"].numpy(), pooled, atol=1e-5)


def test_dropout_is_the_configurations_unless_told_otherwise() -> None:
    from stagedml.ml.models.bert.encoder import build_encoder

    for arguments, wanted in (({}, (0.1, 0.1)), ({"hidden_dropout": 0.3, "attention_dropout": 0.0}, (0.3, 0.0))):
        settings = build_encoder(CONFIG, **arguments).get_config()
        assert (settings["output_dropout"], settings["attention_dropout"]) == wanted


def test_fresh_weights_follow_the_configuration_and_the_seed() -> None:
    from stagedml.ml.framework import tf_keras
    from stagedml.ml.models.bert.checkpoint import encoder_arrays
    from stagedml.ml.models.bert.encoder import build_encoder

    config = replace(CONFIG, initializer_range=0.5)
    drawn = []
    for seed in (1, 1, 2):
        tf_keras.utils.set_random_seed(seed)
        drawn.append(encoder_arrays(build_encoder(config), config)["bert/embeddings/word_embeddings"])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    # A normal distribution cut at two standard deviations keeps 88 % of its width.
    assert drawn[0].std() == pytest.approx(0.5 * 0.88, rel=0.1)


def test_a_checkpoint_of_googles_first_release_loads(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.models.bert.checkpoint import encoder_arrays, encoder_shapes, load_encoder, read_checkpoint
    from stagedml.ml.models.bert.encoder import build_encoder

    heads = {
        "cls/predictions/output_bias": (CONFIG.vocab_size,),
        "cls/predictions/transform/LayerNorm/beta": (CONFIG.hidden_size,),
        "cls/predictions/transform/LayerNorm/gamma": (CONFIG.hidden_size,),
        "cls/predictions/transform/dense/bias": (CONFIG.hidden_size,),
        "cls/predictions/transform/dense/kernel": (CONFIG.hidden_size, CONFIG.hidden_size),
        "cls/seq_relationship/output_bias": (2,),
        "cls/seq_relationship/output_weights": (2, CONFIG.hidden_size),
    }
    random = np.random.default_rng(0)
    values = {
        name: random.normal(size=shape).astype(np.float32) for name, shape in (encoder_shapes(CONFIG) | heads).items()
    }
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in values.items():
            tf.compat.v1.get_variable(name, initializer=value)
            for slot in ("adam_m", "adam_v"):
                tf.compat.v1.get_variable(f"{name}/{slot}", initializer=value * 0)
        tf.compat.v1.get_variable("global_step", initializer=np.int64(1_000_000))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "bert_model.ckpt"))

    arrays = read_checkpoint(tmp_path / "bert_model.ckpt")
    assert set(arrays) == set(values)
    encoder = build_encoder(CONFIG)
    load_encoder(encoder, CONFIG, arrays)
    for name, array in encoder_arrays(encoder, CONFIG).items():
        np.testing.assert_array_equal(array, values[name], err_msg=name)


def test_what_is_written_is_read_back_and_the_bytes_depend_on_nothing_else(tmp_path: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import read_checkpoint, write_checkpoint

    arrays = random_arrays(CONFIG) | {"output_bias": np.arange(3, dtype=np.float32)}
    for name, order in (("a", list(arrays)), ("b", list(reversed(arrays)))):
        (tmp_path / name).mkdir()
        write_checkpoint(tmp_path / name / "bert_model.ckpt", {key: arrays[key] for key in order})
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    back = read_checkpoint(tmp_path / "a" / "bert_model.ckpt")
    assert set(back) == set(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(back[key], array)


def test_weights_that_do_not_fit_are_all_named_and_none_is_set() -> None:
    from stagedml.ml.models.bert.checkpoint import CheckpointMismatch, encoder_arrays, load_encoder
    from stagedml.ml.models.bert.encoder import build_encoder

    encoder = build_encoder(CONFIG)
    before = encoder_arrays(encoder, CONFIG)
    arrays = random_arrays(CONFIG)
    del arrays["bert/pooler/dense/bias"]
    arrays["bert/encoder/layer_3/output/dense/bias"] = np.zeros(24, dtype=np.float32)
    arrays["bert/embeddings/word_embeddings"] = np.zeros((41, 24), dtype=np.float32)
    with pytest.raises(CheckpointMismatch) as caught:
        load_encoder(encoder, CONFIG, arrays)
    text = str(pickle.loads(pickle.dumps(caught.value)))
    assert "missing: bert/pooler/dense/bias" in text
    assert "unknown: bert/encoder/layer_3/output/dense/bias" in text
    assert "bert/embeddings/word_embeddings has shape (41, 24), not (40, 24)" in text
    for name, array in encoder_arrays(encoder, CONFIG).items():
        np.testing.assert_array_equal(array, before[name])


def test_absent_damaged_and_foreign_checkpoints_are_told_apart(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.models.bert.checkpoint import UnreadableCheckpoint, read_checkpoint, write_checkpoint

    with pytest.raises(UnreadableCheckpoint, match="matching files"):
        read_checkpoint(tmp_path / "absent.ckpt")
    write_checkpoint(tmp_path / "cut.ckpt", random_arrays(CONFIG))
    data = tmp_path / "cut.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(UnreadableCheckpoint, match=r"cut\.ckpt"):
        read_checkpoint(tmp_path / "cut.ckpt")
    foreign = tf.train.Checkpoint(kernel=tf.Variable([1.0])).write(str(tmp_path / "foreign.ckpt"))
    with pytest.raises(UnreadableCheckpoint, match="not in Google's layout"):
        read_checkpoint(Path(foreign))
