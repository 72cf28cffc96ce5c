"""Pretrained BERTs in every layout: what is read computes what the model computed elsewhere, and nothing is lost."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml.toy_bert import CONFIG, VOCAB, even_arrays, random_arrays
from stagedml.ml.models.bert.config import BertConfig, read_huggingface_config

pytestmark = pytest.mark.tensorflow

REFERENCE = json.loads((Path(__file__).parent / "reference" / "toy.json").read_text())
CLASSES = len(REFERENCE["labels"])
Arrays = dict[str, NDArray[np.float32]]


def write_google(folder: Path, write_weights: Callable[[Path, Arrays], None]) -> None:
    from stagedml.ml.models.bert.config import write_bert_config

    write_bert_config(folder / "bert_config.json", CONFIG)
    (folder / "vocab.txt").write_bytes(VOCAB)
    write_weights(folder / "bert_model.ckpt", even_arrays(CONFIG, CLASSES))


def as_tensorflow1(folder: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import write_checkpoint

    write_google(folder, write_checkpoint)


def as_tensorflow2(folder: Path) -> None:
    from stagedml.ml.models.bert.export import write_object_checkpoint

    write_google(folder, lambda prefix, arrays: write_object_checkpoint(prefix, CONFIG, arrays))


def as_tensorflow2_by(generation: str) -> Callable[[Path], None]:
    """Writes what Google's own converter makes of names and shapes, without any of our code."""

    def write_weights(prefix: Path, arrays: Arrays) -> None:
        from official.nlp.tools import tf1_bert_checkpoint_converter_lib as converter

        from stagedml.ml.framework import tf

        replacements = getattr(converter, generation)
        saved = tf.Module()
        saved.weights = []
        for name, array in arrays.items():
            if name.startswith("bert/"):
                converted = converter._bert_name_replacement(name, replacements)
                # Of 2019's names the table has the output of attention under another one.
                shape = converter._get_new_shape(
                    converted.replace("self_attention_output", "self_attention/attention_output"), array.shape, 4
                )
                saved.weights.append(tf.Variable(array.reshape(shape or array.shape), name=converted))
        tf.train.Checkpoint(model=saved).save(str(prefix))

    return lambda folder: write_google(folder, write_weights)


def as_huggingface(folder: Path) -> None:
    from stagedml.ml.models.bert.huggingface import write_model

    write_model(folder, CONFIG, VOCAB, even_arrays(CONFIG, CLASSES), lower_case=True, labels=REFERENCE["labels"])


LAYOUTS = {
    "TensorFlow 1": as_tensorflow1,
    "TensorFlow 2": as_tensorflow2,
    "TensorFlow 2 of 2019": as_tensorflow2_by("BERT_NAME_REPLACEMENTS"),
    "TensorFlow 2 by its converter": as_tensorflow2_by("BERT_V2_NAME_REPLACEMENTS"),
    "Hugging Face": as_huggingface,
}


@pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS)
def test_what_is_read_computes_what_pytorch_does(write: Callable[[Path], None], tmp_path: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import load_encoder
    from stagedml.ml.models.bert.encoder import build_encoder
    from stagedml.ml.models.bert.pretrained import read_pretrained

    folder = tmp_path / "at" / "any" / "depth"
    folder.mkdir(parents=True)
    write(folder)
    read = read_pretrained(tmp_path)
    assert (read.config, read.vocab) == (CONFIG, VOCAB)
    written = even_arrays(CONFIG, CLASSES)
    for name, array in read.arrays.items():
        np.testing.assert_array_equal(array, written[name], err_msg=name)
        assert array.shape == written[name].shape
    encoder = build_encoder(read.config)
    load_encoder(encoder, read.config, read.arrays)
    for case in REFERENCE["cases"]:
        outputs = encoder(as_batch(case), training=False)["encoder_outputs"]
        for layer, hidden in zip(outputs, case["hidden"][1:], strict=True):
            # Single precision through three layers.
            np.testing.assert_allclose(layer.numpy()[0][:, REFERENCE["dimensions"]], hidden, atol=1e-5, rtol=0)


def as_batch(case: dict[str, Any]) -> dict[str, NDArray[np.int32]]:
    ids = np.array([case["input_ids"]], np.int32)
    segments = np.array([case["segment_ids"]], np.int32)
    return {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": segments}


def test_a_classifier_that_is_exported_answers_in_pytorch_what_it_answers_here(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    from stagedml.ml.models.bert.classifier import Classifier
    from stagedml.ml.models.bert.huggingface import read_tensors

    as_huggingface(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == REFERENCE["tensors"]
    classifier = Classifier(CONFIG, CLASSES)
    classifier.load(read_tensors(tmp_path / "model.safetensors"))
    for case in REFERENCE["cases"]:
        batch = as_batch(case)
        names = {"input_ids": "input_word_ids", "input_mask": "input_mask", "segment_ids": "input_type_ids"}
        logits = classifier.logits({ours: batch[theirs] for ours, theirs in names.items()}, training=False)
        np.testing.assert_allclose(logits.numpy()[0], case["logits"], atol=1e-5, rtol=0)


SHAPES = (
    replace(CONFIG, num_hidden_layers=1, num_attention_heads=1, type_vocab_size=1),
    replace(CONFIG, hidden_size=6, num_attention_heads=6, intermediate_size=1, num_hidden_layers=2),
    replace(
        CONFIG, hidden_size=8, num_attention_heads=2, vocab_size=8, max_position_embeddings=8, num_hidden_layers=12
    ),
)


@pytest.mark.parametrize("config", SHAPES)
@pytest.mark.parametrize("classes", [0, 1, 3])
def test_tensorflow2_and_back_is_exact_and_the_same_bytes(config: BertConfig, classes: int, tmp_path: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import read_checkpoint
    from stagedml.ml.models.bert.export import write_object_checkpoint

    arrays = random_arrays(config) if not classes else even_arrays(config, classes)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_object_checkpoint(tmp_path / folder / "bert_model.ckpt", config, arrays)
    assert_equal(read_checkpoint(tmp_path / "a" / "bert_model.ckpt"), arrays)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@given(
    layers=st.integers(1, 3),
    heads=st.integers(1, 4),
    head_size=st.integers(1, 5),
    others=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    classes=st.integers(0, 4),
    activation=st.sampled_from(["gelu", "gelu_exact", "relu", "tanh"]),
)
@settings(max_examples=40, deadline=None)
def test_hugging_face_and_back_is_exact(
    layers: int,
    heads: int,
    head_size: int,
    others: list[int],
    classes: int,
    activation: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from stagedml.ml.models.bert.huggingface import read_tensors, write_model

    vocabulary, inner, positions, segments = others
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=heads * head_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        hidden_act=activation,
        max_position_embeddings=positions,
        type_vocab_size=segments,
    )
    arrays = random_arrays(config) if not classes else even_arrays(config, classes)
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, config, VOCAB, arrays, lower_case=False)
    assert_equal(read_tensors(folder / "model.safetensors"), arrays)
    assert read_huggingface_config(folder / "config.json") == config
    written = json.loads((folder / "config.json").read_text())
    assert written["architectures"] == ["BertForSequenceClassification" if classes else "BertModel"]
    assert written.get("problem_type") == {0: None, 1: "regression"}.get(classes, "single_label_classification")


def assert_equal(found: Arrays, wanted: Arrays) -> None:
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].shape == array.shape


def test_all_heads_of_pretraining_survive_hugging_faces_names(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    from stagedml.ml.models.bert.huggingface import read_tensors, write_model

    hidden = CONFIG.hidden_size
    heads = {
        "cls/predictions/output_bias": (CONFIG.vocab_size,),
        "cls/predictions/transform/LayerNorm/beta": (hidden,),
        "cls/predictions/transform/LayerNorm/gamma": (hidden,),
        "cls/predictions/transform/dense/bias": (hidden,),
        "cls/predictions/transform/dense/kernel": (hidden, hidden),
        "cls/seq_relationship/output_bias": (2,),
        "cls/seq_relationship/output_weights": (2, hidden),
    }
    random = np.random.default_rng(0)
    arrays = random_arrays(CONFIG) | {
        name: random.normal(size=shape).astype(np.float32) for name, shape in heads.items()
    }
    write_model(tmp_path, CONFIG, VOCAB, arrays, lower_case=True)
    path = tmp_path / "model.safetensors"
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertForPreTraining"]
    # As Hugging Face publishes such a model: with what is tied, old names of scales, and places.
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(path).items()
    }
    assert "cls.predictions.transform.dense.weight" in tensors
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].copy()
    tensors["bert.embeddings.position_ids"] = np.arange(16)[None]
    save_file(tensors, path)
    assert_equal(read_tensors(path), arrays)


def test_tf_models_loads_what_is_written_for_it(tmp_path: Path) -> None:
    from official.nlp.modeling.models import BertClassifier
    from official.nlp.modeling.networks import BertEncoder

    from stagedml.ml.framework import tf
    from stagedml.ml.models.bert.export import write_object_checkpoint

    arrays = even_arrays(CONFIG, 2)
    write_object_checkpoint(tmp_path / "model.ckpt", CONFIG, arrays)
    model = BertClassifier(
        BertEncoder(
            vocab_size=40, hidden_size=24, num_layers=3, num_attention_heads=4, max_sequence_length=16,
            type_vocab_size=2, inner_dim=36,
        ),
        num_classes=2,
    )  # fmt: skip
    tf.train.Checkpoint(model=model).restore(str(tmp_path / "model.ckpt")).assert_consumed()
    query = next(
        weight for weight in model.weights if weight.name == "transformer/layer_2/self_attention/query/kernel:0"
    )
    wanted = arrays["bert/encoder/layer_2/attention/self/query/kernel"]
    np.testing.assert_array_equal(query.numpy().reshape(24, 24), wanted)


def test_what_an_optimizer_saved_is_passed_over(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf, tf_keras
    from stagedml.ml.models.bert.checkpoint import encoder_arrays, read_checkpoint
    from stagedml.ml.models.bert.encoder import build_encoder

    encoder = build_encoder(CONFIG)
    optimizer = tf_keras.optimizers.legacy.Adam()
    optimizer.apply_gradients([(tf.ones_like(variable), variable) for variable in encoder.trainable_variables])
    saved = tf.train.Checkpoint(model=encoder, optimizer=optimizer).save(str(tmp_path / "model.ckpt"))
    assert_equal(read_checkpoint(Path(saved)), encoder_arrays(encoder, CONFIG))


def test_a_folder_with_nothing_or_too_much_in_it_is_told(tmp_path: Path) -> None:
    from stagedml.ml.models.bert.pretrained import NoSinglePretrained, read_pretrained

    (tmp_path / "vocab.txt").write_bytes(VOCAB)
    with pytest.raises(NoSinglePretrained) as caught:
        read_pretrained(tmp_path)
    text = str(pickle.loads(pickle.dumps(caught.value)))
    assert text.startswith(f"{tmp_path} holds no pretrained BERT; wanted is one folder with vocab.txt and either")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    as_tensorflow1(tmp_path / "one")
    as_huggingface(tmp_path / "two")
    with pytest.raises(NoSinglePretrained, match=r"several pretrained BERTs: one/bert_model.ckpt, two/model.safet"):
        read_pretrained(tmp_path)


def test_a_checkpoint_of_another_model_of_tensorflow2_is_named(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.models.bert.checkpoint import UnreadableCheckpoint, read_checkpoint

    saved = tf.Module()
    saved.weights = [tf.Variable([1.0], name="transformer/layer_0/rotary/kernel"), tf.Variable([2.0], name="conv")]
    tf.train.Checkpoint(model=saved).write(str(tmp_path / "model.ckpt"))
    with pytest.raises(UnreadableCheckpoint, match=r"not in Google's layouts: model/weights/0/.*, model/weights/1/"):
        read_checkpoint(tmp_path / "model.ckpt")
