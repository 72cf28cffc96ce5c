"""BERT's configuration: two dialects, one meaning, and errors that tell everything at once."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml.toy_bert import CONFIG
from stagedml.ml.models.bert.config import (
    ACTIVATIONS,
    UnusableBertConfig,
    read_bert_config,
    read_huggingface_config,
    write_bert_config,
)

GOOGLE: dict[str, Any] = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 24,
    "initializer_range": 0.02,
    "intermediate_size": 36,
    "max_position_embeddings": 16,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "type_vocab_size": 2,
    "vocab_size": 40,
}
HUGGINGFACE = GOOGLE | {
    "architectures": ["BertModel"],
    "layer_norm_eps": 1e-12,
    "model_type": "bert",
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "transformers_version": "4.8.2",
    "use_cache": True,
}


def _file(tmp_path: Path, values: object) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    return path


def test_google_files_are_read_and_their_idle_fields_passed_over(tmp_path: Path) -> None:
    assert read_bert_config(_file(tmp_path, GOOGLE)) == CONFIG
    assert read_bert_config(_file(tmp_path, GOOGLE | {"directionality": "bidi", "pooler_fc_size": 768})) == CONFIG


def test_gelu_is_the_tanh_form_for_google_and_the_exact_one_for_huggingface(tmp_path: Path) -> None:
    assert read_bert_config(_file(tmp_path, GOOGLE)).hidden_act == "gelu"
    assert read_huggingface_config(_file(tmp_path, HUGGINGFACE)) == replace(CONFIG, hidden_act="gelu_exact")
    assert read_huggingface_config(_file(tmp_path, HUGGINGFACE | {"hidden_act": "gelu_new"})) == CONFIG


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_written_is_read_back(tmp_path: Path, activation: str) -> None:
    config = replace(CONFIG, hidden_act=activation, hidden_dropout_prob=0.0)
    write_bert_config(tmp_path / "bert_config.json", config)
    assert read_bert_config(tmp_path / "bert_config.json") == config


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    values = GOOGLE | {"hidden_size": 25, "vocab_size": "40", "hidden_act": "swish", "rotary": True}
    del values["type_vocab_size"]
    with pytest.raises(UnusableBertConfig) as caught:
        read_bert_config(_file(tmp_path, values))
    text = str(pickle.loads(pickle.dumps(caught.value)))
    assert str(tmp_path / "config.json") in text
    for problem in (
        "hidden_size 25 is no multiple of 4 heads",
        "vocab_size is '40', not of type int",
        "hidden_act is 'swish'",
        "unknown field 'rotary'",
        "type_vocab_size is missing",
    ):
        assert problem in text


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', not 'bert'"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05, not 1e-12"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"hidden_act": "gelu_fast"}, "hidden_act is 'gelu_fast'"),
        ({"hidden_act": ["gelu"]}, "hidden_act is ['gelu'], not of type str"),
    ],
)
def test_a_huggingface_model_that_the_encoder_does_not_implement_is_refused(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UnusableBertConfig) as caught:
        read_huggingface_config(_file(tmp_path, HUGGINGFACE | change))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, not positive"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True, not of type int"),
        ({"hidden_dropout_prob": 1}, "hidden_dropout_prob is 1, outside [0, 1)"),
        ({"initializer_range": 0.0}, "initializer_range is 0.0, not positive"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnusableBertConfig) as caught:
        read_bert_config(_file(tmp_path, GOOGLE | change))
    assert problem in str(caught.value)


def test_files_that_are_absent_or_no_json_object_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableBertConfig, match="No such file"):
        read_bert_config(tmp_path / "absent.json")
    with pytest.raises(UnusableBertConfig, match="a JSON list, not an object"):
        read_bert_config(_file(tmp_path, [1]))
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(UnusableBertConfig, match="not JSON"):
        read_bert_config(tmp_path / "text.json")
