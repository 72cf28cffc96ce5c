"""Types of parameters that many stages have: numbers within bounds, which are looked at where a stage is declared.

What a training or a tokenizer takes is checked by its own settings, too, whoever calls it.
"""

from __future__ import annotations

from typing import Annotated

from stagedml.authoring.schema import Interval

Count = Annotated[int, Interval(ge=1)]
RowLength = Annotated[int, Interval(ge=5)]  # room for three special tokens and a piece of each of two texts
Natural = Annotated[int, Interval(ge=0)]
Positive = Annotated[float, Interval(gt=0)]
NotNegative = Annotated[float, Interval(ge=0)]
Share = Annotated[float, Interval(ge=0, le=1)]
ShareBelowOne = Annotated[float, Interval(ge=0, lt=1)]
ShareBetween = Annotated[float, Interval(gt=0, lt=1)]
