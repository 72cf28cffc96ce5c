"""What the HParams tab of TensorBoard is told of a realization: the parameters of its stage, and what came out.

It is told by two files of events in the folder of the run: one when the run is first seen, one when it is done.
TensorBoard reads a file on from where it was, so neither is changed once it is there. Parameters are numbers, texts and
truth values; inputs and outputs are none. Metrics are the numbers in `metrics.json` but for those in lists, as
`metrics/NAME`; TensorBoard keeps them as 32-bit floats. TensorFlow is not imported.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stagedml.core import words
from stagedml.core.refs import is_dref
from stagedml.inspection.metrics import single
from stagedml.ml.libraries import imported

_PURPOSE = "showing logs"
_STARTED, _ENDED = "events.out.tfevents.0.stagedml", "events.out.tfevents.1.stagedml"


def tell_parameters(folder: Path, config: Mapping[str, Any], began: float) -> None:
    """Write what a run is made of.

    Args:
        folder: of the run.
        config: of the derivation.
        began: seconds since the epoch.
    """
    start = _module("tensorboard.plugins.hparams.plugin_data_pb2").SessionStartInfo(start_time_secs=began)
    for name, value in parameters(config).items():
        kept = start.hparams[words.printable(name)]
        if isinstance(value, bool):
            kept.bool_value = value
        elif isinstance(value, (int, float)) and abs(value) <= sys.float_info.max:
            kept.number_value = value
        else:
            kept.string_value = words.printable(str(value))
    _write(folder / _STARTED, began, [_note("SESSION_START_INFO_TAG", session_start_info=start)])


def tell_results(folder: Path, metrics: Mapping[str, float], ended: float) -> None:
    """Write what came out of a run.

    Args:
        folder: of the run.
        metrics: as of `metrics.metrics_in`.
        ended: seconds since the epoch.
    """
    summary = _module("tensorboard.compat.proto.summary_pb2").Summary
    success = _module("tensorboard.plugins.hparams.api_pb2").STATUS_SUCCESS
    plugin_data = _module("tensorboard.plugins.hparams.plugin_data_pb2")
    end = plugin_data.SessionEndInfo(status=success, end_time_secs=ended)
    numbers = [
        summary.Value(tag=f"metrics/{words.printable(name)}", simple_value=float(value))
        for name, value in single(metrics).items()
        if abs(value) <= sys.float_info.max
    ]
    _write(folder / _ENDED, ended, [_note("SESSION_END_INFO_TAG", session_end_info=end), *numbers])


def parameters(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """The parameters in a config that are numbers, texts or truth values."""
    return {
        name: value
        for name, value in sorted(config.items())
        if name not in ("name", "stagedml")
        and isinstance(value, (bool, int, float, str))
        and not (isinstance(value, str) and is_dref(value))
    }


def _note(tag: str, **what: Any) -> Any:
    """A value of a summary that says something to the HParams tab alone."""
    summary = _module("tensorboard.compat.proto.summary_pb2").Summary
    metadata = _module("tensorboard.plugins.hparams.metadata")
    data = _module("tensorboard.plugins.hparams.plugin_data_pb2").HParamsPluginData(**what)
    return summary.Value(
        tag=getattr(metadata, tag), tensor=metadata.NULL_TENSOR, metadata=metadata.create_summary_metadata(data)
    )


def _write(path: Path, at: float, values: Sequence[Any]) -> None:
    """Write a file of events."""
    event = _module("tensorboard.compat.proto.event_pb2").Event
    summary = _module("tensorboard.compat.proto.summary_pb2").Summary
    writer = _module("tensorboard.summary.writer.record_writer").RecordWriter
    with open(path, "wb") as file:
        records = writer(file)
        records.write(event(wall_time=at, file_version="brain.Event:2").SerializeToString())
        records.write(event(wall_time=at, summary=summary(value=values)).SerializeToString())


def _module(name: str) -> Any:
    return imported(name, _PURPOSE, "tf")
