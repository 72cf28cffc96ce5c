"""The quickstart: `make quickstart`.

Generates text and a paraphrase task, pre-trains a small BERT, fine-tunes it, and shows what came out. Nothing is fetched.
The store is the usual one: `PYLIGHTNIX_ROOT` or `STAGEDML_ROOT`, else `~/_pylightnix`.
"""

from __future__ import annotations

import json
import sys
import time

from stagedml.engine.console import shown
from stagedml.stages.all import *

started = time.monotonic()
store_initialize()
rref = realize(instantiate(all_quickstart_finetune_glue), observer=shown(show_plan=True))

metrics = json.loads(mklens(rref).metrics.contents)
pretraining = json.loads(mklens(rref).bert.metrics.contents)
task = json.loads(mklens(rref).data.rows.contents)
print(f"{time.monotonic() - started:.1f} s, store {current_store().layout.storage}")
print(f"rref       {rref}")
print(f"path       {rref2path(rref)}")
print(f"pretrained {pretraining['eval_accuracy']:.1%} of the hidden words of unseen stories named")
print(f"fine-tuned on {task['train']['rows']} pairs; on the {task['test']['rows']} of dev:")
print(f"accuracy   {metrics['test_accuracy']:.1%}  (always the larger class: @@)")
print(f"F1         {metrics['test_f1']:.1%}")
