"""The shape of a BERT model, read from the two `config.json` dialects that exist.

Rules this module keeps:
- A `BertConfig` means the same wherever it came from. The dialects differ in one word: Google's "gelu" is the tanh
  approximation, Hugging Face's "gelu" is the exact function. Inside StagedML, and in every `bert_config.json` that
  StagedML writes, Google's meaning holds and the exact function is spelt "gelu_exact", which other readers refuse
  instead of misreading.
- A field that is missing, of the wrong type, or unknown is an error; fields which are known to change nothing are
  passed over by name. All problems of a file are told at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from stagedml.errors import UsageError

ACTIVATIONS = {
    "gelu": "x * P(X <= x) for a standard normal X, by the tanh approximation",
    "gelu_exact": "x * P(X <= x) for a standard normal X, by the error function",
    "relu": "max(x, 0)",
    "tanh": "the hyperbolic tangent",
}
"""What `hidden_act` may be, and what it stands for."""

LAYER_NORM_EPSILON = 1e-12
"""Added to the variance by every layer normalisation of BERT."""

# What Hugging Face calls them -> what we do.
_HUGGINGFACE_ACTIVATIONS = {
    "gelu": "gelu_exact",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
    "tanh": "tanh",
}

# The other way; of two that mean the same, the one that Hugging Face's own files use.
_ACTIVATIONS_OF_HUGGINGFACE = {"gelu_exact": "gelu", "gelu": "gelu_new", "relu": "relu", "tanh": "tanh"}

# Fields of Google's files that its own code never reads.
_GOOGLE_IDLE = frozenset(
    {
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
    }
)

# Fields of Hugging Face's files that say nothing about the encoder: provenance, heads, generation, storage.
_HUGGINGFACE_IDLE = _GOOGLE_IDLE | {
    "_name_or_path",
    "architectures",
    "bos_token_id",
    "classifier_dropout",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "label2id",
    "pad_token_id",
    "problem_type",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}

# Fields of Hugging Face's files with the one value that our encoder implements.
_HUGGINGFACE_FIXED: dict[str, Any] = {
    "add_cross_attention": False,
    "is_decoder": False,
    "layer_norm_eps": LAYER_NORM_EPSILON,
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "tie_word_embeddings": True,
}


class UnusableBertConfig(UsageError):
    """A model's configuration does not describe a BERT that can be built."""

    def __init__(self, source: str, problems: tuple[str, ...]) -> None:
        super().__init__(source, problems)
        self.source, self.problems = source, problems

    def __str__(self) -> str:
        return f"{self.source} does not describe a BERT that StagedML can build: " + "; ".join(self.problems)


@dataclass(frozen=True)
class BertConfig:
    """The shape of one BERT model; the names are those of Google's `bert_config.json`.

    Attributes:
        vocab_size: word pieces.
        hidden_size: width of the embeddings and of each layer's output; a multiple of `num_attention_heads`.
        num_hidden_layers: transformer layers.
        num_attention_heads: attention heads of each layer.
        intermediate_size: width of each layer's feed-forward part.
        hidden_act: what stands between the two halves of the feed-forward part, from `ACTIVATIONS`.
        hidden_dropout_prob: dropout after the embeddings and after both parts of a layer, in [0, 1).
        attention_probs_dropout_prob: dropout of attention weights, in [0, 1).
        max_position_embeddings: the longest sequence, in word pieces.
        type_vocab_size: segments (2: first and second text).
        initializer_range: standard deviation of the truncated normal distribution that weights start from.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        if problems := _value_problems(asdict(self)):
            raise UnusableBertConfig("BertConfig", tuple(problems))

    @property
    def head_size(self) -> int:
        """The width of one attention head."""
        return self.hidden_size // self.num_attention_heads


_FIELDS: dict[str, type] = get_type_hints(BertConfig)


def read_bert_config(path: Path) -> BertConfig:
    """Read a `bert_config.json` of Google's, or one that `write_bert_config` wrote.

    Raises:
        UnusableBertConfig: it cannot be read, or its fields are not those of a BERT.
    """
    values = _read_json(path)
    return _checked(path, {name: value for name, value in values.items() if name not in _GOOGLE_IDLE}, [])


def read_huggingface_config(path: Path) -> BertConfig:
    """Read a `config.json` of Hugging Face's BertModel.

    Raises:
        UnusableBertConfig: it cannot be read, or its fields are not those of a BERT that the encoder implements.
    """
    values = _read_json(path)
    problems = [] if "model_type" in values else ["model_type is missing"]
    for name, wanted in _HUGGINGFACE_FIXED.items():
        if (value := values.pop(name, wanted)) != wanted:
            problems.append(f"{name} is {value!r}, not {wanted!r}")
    if isinstance(activation := values.get("hidden_act"), str):
        values["hidden_act"] = _HUGGINGFACE_ACTIVATIONS.get(activation, activation)
    return _checked(path, {name: value for name, value in values.items() if name not in _HUGGINGFACE_IDLE}, problems)


def write_bert_config(path: Path, config: BertConfig) -> None:
    """Write a `bert_config.json`, the same bytes for the same configuration."""
    path.write_text(json.dumps(asdict(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_huggingface_config(path: Path, config: BertConfig, described: Mapping[str, Any]) -> None:
    """Write a `config.json` of Hugging Face's, the same bytes for the same arguments.

    Args:
        path: the file.
        config: the encoder's shape.
        described: what else there is to say, such as of a head; fields that `read_huggingface_config` passes over.
    """
    shape = asdict(config) | {"hidden_act": _ACTIVATIONS_OF_HUGGINGFACE[config.hidden_act]}
    values = {**shape, **_HUGGINGFACE_FIXED, **described, "dtype": "float32"}
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableBertConfig(str(path), (str(error.strerror),)) from error
    except ValueError as error:
        raise UnusableBertConfig(str(path), (f"not JSON ({error})",)) from error
    if not isinstance(values, dict):
        raise UnusableBertConfig(str(path), (f"a JSON {type(values).__name__}, not an object",))
    return values


def _checked(path: Path, values: dict[str, Any], problems: list[str]) -> BertConfig:
    """Make a configuration of exactly the fields there are; `problems` are what the caller found already."""
    fitting = {name: values[name] for name, kind in _FIELDS.items() if name in values and _fits(values[name], kind)}
    problems += [f"{name} is missing" for name in _FIELDS if name not in values]
    problems += [
        f"{name} is {values[name]!r}, not of type {kind.__name__}"
        for name, kind in _FIELDS.items()
        if name in values and name not in fitting
    ]
    problems += _value_problems(fitting)
    problems += [f"unknown field {name!r}" for name in sorted(set(values) - set(_FIELDS))]
    if problems:
        raise UnusableBertConfig(str(path), tuple(problems))
    return BertConfig(**{name: _FIELDS[name](value) for name, value in fitting.items()})


def _fits(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _value_problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of fields that are there and have the right type."""
    problems = [
        f"{name} is {value}, not positive"
        for name, value in values.items()
        if (_FIELDS[name] is int or name == "initializer_range") and not value > 0
    ]
    problems += [
        f"{name} is {value}, outside [0, 1)"
        for name, value in values.items()
        if name.endswith("dropout_prob") and not 0 <= value < 1
    ]
    if (activation := values.get("hidden_act", "gelu")) not in ACTIVATIONS:
        problems.append(f"hidden_act is {activation!r}, none of {', '.join(ACTIVATIONS)}")
    hidden, heads = values.get("hidden_size", 0), values.get("num_attention_heads", 1)
    if hidden > 0 and heads > 0 and hidden % heads:
        problems.append(f"hidden_size {hidden} is no multiple of {heads} heads")
    return problems
