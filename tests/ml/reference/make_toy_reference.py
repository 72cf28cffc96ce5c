"""Make `toy.json`: what a small BERT of ours, exported, computes in an implementation that is not ours.

    python tests/ml/reference/make_toy_reference.py write FOLDER        # in the environment of development
    python -m venv other && other/bin/pip install torch==2.13.0 transformers==5.23.0
    other/bin/python tests/ml/reference/make_toy_reference.py measure FOLDER

The model is `even_arrays(CONFIG, 3)` of toy_bert.py.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROWS = [([2, 17, 9, 3], [0, 0, 0, 0]), ([2, 5, 6, 7, 3, 30, 3], [0, 0, 0, 0, 0, 1, 1])]
DIMENSIONS = list(range(0, 24, 5))


def write(folder: Path) -> None:
    """Write the model in Hugging Face's layout."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from ml.toy_bert import CONFIG, VOCAB, even_arrays
    from stagedml.ml.models.bert.huggingface import write_model

    folder.mkdir()
    write_model(folder, CONFIG, VOCAB, even_arrays(CONFIG, 3), lower_case=True, labels=("no", "maybe", "yes"))


def measure(folder: Path) -> None:
    """Run the model on each row by itself, without padding."""
    # Not part of the development environment, so unknown to its type checker.
    torch, transformers = import_module("torch"), import_module("transformers")

    model, told = transformers.BertForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    problems = [told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if told[kind]]
    if problems:
        raise SystemExit(f"the names do not fit: {problems}")
    cases: list[dict[str, Any]] = []
    for ids, segments in ROWS:
        with torch.no_grad():
            result = model.eval()(
                input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([segments]), output_hidden_states=True
            )
        cases.append(
            {
                "input_ids": ids,
                "segment_ids": segments,
                # The embeddings, then each layer: [position][dimension].
                "hidden": [
                    [[round(float(number), 6) for number in place[DIMENSIONS]] for place in state[0]]
                    for state in result.hidden_states
                ],
                "logits": [round(float(number), 6) for number in result.logits[0]],
            }
        )
    reference = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "labels": [model.config.id2label[number] for number in range(3)],
        "tensors": {name: list(tensor.shape) for name, tensor in sorted(model.state_dict().items())},
        "dimensions": DIMENSIONS,
        "cases": cases,
    }
    Path(__file__).with_name("toy.json").write_text(json.dumps(reference) + "\n", encoding="utf-8")


if __name__ == "__main__":
    {"write": write, "measure": measure}[sys.argv[1]](Path(sys.argv[2]))
