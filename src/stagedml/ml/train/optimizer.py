"""The optimizer that BERT and the Transformer are trained with, as tf-models-official implements it.

The rate rises linearly from 0 over the first steps and falls again, by a polynomial, to its end; or by the inverse
square root of the step, which knows no end (Vaswani et al. 2017, Attention Is All You Need, 5.3). Weight decay acts on
the weights themselves (AdamW; LAMB on demand) and spares biases and layer normalisation; without decay, AdamW is Adam.
Gradients are clipped to a global norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stagedml.errors import UsageError

Algorithm = Literal["adamw", "lamb"]
Schedule = Literal["polynomial", "inverse_sqrt"]

_NOT_DECAYED = ["LayerNorm", "layer_norm", "bias"]


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights follow their gradients.

    Attributes:
        learning_rate: at the end of the warm-up, where it is highest.
        warmup_share: the share of all steps over which the rate rises, in [0, 1].
        warmup_steps: the number of steps over which it does, in the place of the share.
        schedule: how it falls: "polynomial", or "inverse_sqrt".
        end_learning_rate: at the last step; of a polynomial.
        decay_power: 1 for a line from the highest rate to the last one, 2 for a parabola, ...; of a polynomial.
        weight_decay: the share of a weight, times the rate, that it loses at each step.
        clip_norm: gradients whose global norm is larger are scaled down to it; 0 for none.
        algorithm: "adamw", or "lamb" for very large batches.
        betas: what the moving averages of gradients and of their squares keep of themselves at a step, in [0, 1).
        epsilon: what is added to the square root that gradients are divided by.
    """

    learning_rate: float
    warmup_share: float = 0.1
    warmup_steps: int | None = None
    schedule: Schedule = "polynomial"
    end_learning_rate: float = 0.0
    decay_power: float = 1.0
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    algorithm: Algorithm = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        problems = []
        if not self.learning_rate > 0:
            problems.append(f"learning_rate is {self.learning_rate}, not positive")
        if not 0 <= self.warmup_share <= 1:
            problems.append(f"warmup_share is {self.warmup_share}, outside [0, 1]")
        problems += [
            f"{name} is {getattr(self, name)}, below 0"
            for name in ("end_learning_rate", "decay_power", "weight_decay", "clip_norm", "epsilon")
            if not getattr(self, name) >= 0
        ]
        if self.warmup_steps is not None and self.warmup_steps < 0:
            problems.append(f"warmup_steps is {self.warmup_steps}, below 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            problems.append(f"betas are {self.betas}, outside [0, 1)")
        for name, choices in (("algorithm", Algorithm), ("schedule", Schedule)):
            if getattr(self, name) not in get_args(choices):
                problems.append(f"{name} is {getattr(self, name)!r}, none of {', '.join(get_args(choices))}")
        if problems:
            raise UsageError("settings of the optimizer: " + "; ".join(problems))


def create_optimizer(settings: OptimizerSettings, rate: Any) -> Any:
    """Make a Keras optimizer.

    Args:
        settings: all but the rate and the clipping, which are the step's affair.
        rate: a float32 variable, the learning rate of the next step.
    """
    # Both classes are what `official.nlp.optimization.create_optimizer` puts together; that function fixes the decay.
    from official.nlp.optimization import LAMB, AdamWeightDecay

    common = {
        "learning_rate": lambda: rate,
        "weight_decay_rate": settings.weight_decay,
        "beta_1": settings.betas[0],
        "beta_2": settings.betas[1],
        "epsilon": settings.epsilon,
        "exclude_from_weight_decay": _NOT_DECAYED,
    }
    if settings.algorithm == "lamb":
        return LAMB(**common)
    return AdamWeightDecay(gradient_clip_norm=0.0, **common)


def learning_rate(settings: OptimizerSettings, step: int, total_steps: int) -> float:
    """The rate of a step (from 0) of a training of so many steps."""
    warmup_steps = settings.warmup_steps
    if warmup_steps is None:
        warmup_steps = round(settings.warmup_share * total_steps)
    if step < warmup_steps:
        return settings.learning_rate * step / warmup_steps
    if settings.schedule == "inverse_sqrt":
        return settings.learning_rate * math.sqrt(max(warmup_steps, 1) / max(step, 1))
    left = 1 - min(step, total_steps) / total_steps
    falls = settings.learning_rate - settings.end_learning_rate
    return float(falls * left**settings.decay_power + settings.end_learning_rate)
