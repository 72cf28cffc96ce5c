"""Which faults a test meets each time, and which only among the slow ones."""

from __future__ import annotations

from typing import Any

import pytest

from stagedml.testing.faults import Fault


def faults(*each_time: Fault) -> list[Any]:
    """All of them, to be met one by one; those not named wait for `make test-slow`."""
    return [pytest.param(fault, marks=() if fault in each_time else pytest.mark.slow) for fault in Fault]
