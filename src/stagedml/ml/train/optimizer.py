"""The optimizer that BERT is trained with, as tf-models-official implements it.

The rate rises linearly from 0 over the first steps and falls again, by a polynomial, to its end. Weight decay acts on
the weights themselves (AdamW; LAMB on demand) and spares biases and layer normalisation. Gradients are clipped to a
global norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from stagedml.errors import UsageError
from stagedml.ml.framework import tf_keras

Algorithm = Literal["adamw", "lamb"]

_NOT_DECAYED = ["LayerNorm", "layer_norm", "bias"]


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights follow their gradients.

    Attributes:
        learning_rate: at the end of the warm-up, where it is highest.
        warmup_share: the share of all steps over which the rate rises, in [0, 1].
        end_learning_rate: at the last step.
        decay_power: 1 for a line from the highest rate to the last one, 2 for a parabola, ...
        weight_decay: the share of a weight, times the rate, that it loses at each step.
        clip_norm: gradients whose global norm is larger are scaled down to it; 0 for none (AdamW only).
        algorithm: "adamw", or "lamb" for very large batches.
    """

    learning_rate: float
    warmup_share: float = 0.1
    end_learning_rate: float = 0.0
    decay_power: float = 1.0
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    algorithm: Algorithm = "adamw"

    def __post_init__(self) -> None:
        problems = []
        if not self.learning_rate > 0:
            problems.append(f"learning_rate is {self.learning_rate}, not positive")
        if not 0 <= self.warmup_share <= 1:
            problems.append(f"warmup_share is {self.warmup_share}, outside [0, 1]")
        problems += [
            f"{name} is {getattr(self, name)}, below 0"
            for name in ("end_learning_rate", "decay_power", "weight_decay", "clip_norm")
            if not getattr(self, name) >= 0
        ]
        if self.algorithm not in get_args(Algorithm):
            problems.append(f"algorithm is {self.algorithm!r}, none of {', '.join(get_args(Algorithm))}")
        if problems:
            raise UsageError("settings of the optimizer: " + "; ".join(problems))


def create_optimizer(settings: OptimizerSettings, total_steps: int) -> Any:
    """Make a Keras optimizer for a training of so many steps."""
    # Both modules are what `official.nlp.optimization.create_optimizer` puts together; that function fixes the decay.
    from official.nlp.optimization import LAMB, AdamWeightDecay

    common = {
        "learning_rate": learning_rate_schedule(settings, total_steps),
        "weight_decay_rate": settings.weight_decay,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-6,
        "exclude_from_weight_decay": _NOT_DECAYED,
    }
    if settings.algorithm == "lamb":
        return LAMB(**common)
    return AdamWeightDecay(gradient_clip_norm=settings.clip_norm, **common)


def learning_rate_schedule(settings: OptimizerSettings, total_steps: int) -> Any:
    """The rate as a function of the step, from 0: a Keras schedule."""
    from official.nlp.optimization import WarmUp

    decay = tf_keras.optimizers.schedules.PolynomialDecay(
        initial_learning_rate=settings.learning_rate,
        decay_steps=total_steps,
        end_learning_rate=settings.end_learning_rate,
        power=settings.decay_power,
    )
    warmup_steps = round(settings.warmup_share * total_steps)
    if not warmup_steps:
        return decay
    return WarmUp(initial_learning_rate=settings.learning_rate, decay_schedule_fn=decay, warmup_steps=warmup_steps)
