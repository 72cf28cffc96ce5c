"""The quickstart: `make quickstart`.

Generates text and a paraphrase task, pre-trains a small BERT, fine-tunes it, and shows what came out. Nothing is
fetched. The store is the usual one: `PYLIGHTNIX_ROOT` or `STAGEDML_ROOT`, else `~/_pylightnix`.
"""

from __future__ import annotations

import json
import time
from collections import Counter

from stagedml.engine.console import shown
from stagedml.stages.all import *

started = time.monotonic()
store_initialize()
rref = realize(instantiate(all_quickstart_finetune_glue), observer=shown(show_plan=True))
seconds = time.monotonic() - started

model = mklens(rref)
metrics = json.loads(model.metrics.contents)
pretraining = json.loads(model.bert.metrics.contents)
rows = json.loads(model.data.rows.contents)
dev = (model.data.glue.folder.syspath / "dev.tsv").read_text(encoding="utf-8-sig").splitlines()[1:]
larger_class = max(Counter(line[0] for line in dev).values()) / len(dev)

print(f"pre-trained: names {pretraining['eval_accuracy']:.1%} of the hidden words in stories that it has not seen")
print(f"fine-tuned on {rows['train']['rows']} pairs of sentences; on the {len(dev)} of dev:")
print(f"  accuracy {metrics['test_accuracy']:.1%} (the larger class alone: {larger_class:.1%})")
print(f"  F1       {metrics['test_f1']:.1%}")
print(f"rref {rref}")
print(f"path {rref2path(rref)}")
print(f"{seconds:.1f} s; to look around: .venv/bin/stagedml ls")
