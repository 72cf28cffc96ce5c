"""The learning curves of a realization: what its training measured on the way.

Two places tell of it. The log holds TensorBoard's events, many to an epoch, also of a training that runs or was killed;
they are read as far as they go. `protocol.json` and `metrics.json` hold what came out of each epoch, and are there
without any log. TensorFlow is not imported; TensorBoard is, for its format, where there is a log.

Our training loop writes a learning rate with each loss. So in a log where one folder has a learning rate, that one
counts batches, and the others, which have none, count epochs.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.core.refs import is_rref, parse_rref
from stagedml.errors import UsageError
from stagedml.ml.libraries import LibraryMissing, imported
from stagedml.ml.series import (
    EPOCHS,
    LEARNING_RATE,
    OF_RUNNING,
    STEPS,
    TEST,
    TRAIN,
    VALID,
    Series,
    is_number,
    of_protocol,
    series_of,
)
from stagedml.store.layout import LOG_FOLDER
from stagedml.store.objects import Store

logger = logging.getLogger(__name__)

_PROTOCOL, _METRICS = "protocol.json", "metrics.json"


@dataclass(frozen=True, slots=True)
class Curves:
    """The learning curves of a realization, or of a folder: losses first, then other measures, then how it went."""

    of: str
    series: tuple[Series, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What was measured."""
        return tuple(dict.fromkeys(one.name for one in self.series))


def curves(of: str | os.PathLike[str], store: Store | None = None) -> Curves:
    """The learning curves of a realization, or of any folder with TensorBoard's events in it; none where nothing tells.

    Args:
        of: a realization, or a folder, such as `build.log_dir` of a training that runs.
        store: where the realization is; default the current store.

    Raises:
        UsageError: it is neither.
        NotInStore: there is no such realization.
        LibraryMissing: it takes TensorBoard to read them.
    """
    passed: Any = of  # whoever checks no types passes other things, too
    if is_rref(passed):
        from stagedml.authoring.session import current_store

        return Curves(passed, _read((store or current_store()).path(parse_rref(passed))))
    if not isinstance(passed, (str, os.PathLike)) or not Path(passed).is_dir():
        raise UsageError(f"curves: {passed!r} is neither a realization nor a folder")
    return Curves(os.fspath(passed), _read(Path(passed)))


def _read(folder: Path) -> tuple[Series, ...]:
    by_epoch = [*of_protocol(_json(folder / _PROTOCOL)), *_of_history(_json(folder / _METRICS))]
    log = folder / LOG_FOLDER
    try:
        logged = list(_of_events(log if log.is_dir() else folder))
    except LibraryMissing as error:
        if not by_epoch:
            raise
        logger.warning("only what was measured after epochs is read: %s", error)
        logged = []
    found = {(one.name, one.split, one.over): one for one in (*by_epoch, *logged)}
    return tuple(sorted(found.values(), key=_place))


def _place(series: Series) -> tuple[object, ...]:
    splits = (TRAIN, VALID, TEST)
    return (
        series.name in OF_RUNNING,
        series.name != "loss",
        series.name,
        series.over != STEPS,
        splits.index(series.split) if series.split in splits else len(splits),
        series.split,
    )


# -- what was measured after each epoch -------------------------------------------------------------------------------


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _of_history(metrics: Any) -> Iterator[Series]:
    """Of a history as Keras keeps it: lists with a number for each epoch, those of the held-out split as `val_...`."""
    history = metrics.get("history") if isinstance(metrics, dict) else None
    for name, values in history.items() if isinstance(history, dict) else ():
        if isinstance(values, list) and values and all(map(is_number, values)):
            split = VALID if name.startswith("val_") else TRAIN
            yield series_of(name.removeprefix("val_"), split, EPOCHS, dict(enumerate(map(float, values), start=1)))


# -- TensorBoard's events ---------------------------------------------------------------------------------------------


def _of_events(log: Path) -> Iterator[Series]:
    folders = {folder: scalars for folder, files in _event_files(log) if (scalars := _scalars(files))}
    trainings = {folder for folder, scalars in folders.items() if LEARNING_RATE in scalars}
    for folder, scalars in folders.items():
        over = STEPS if not trainings or folder in trainings else EPOCHS
        split = TRAIN if trainings == {folder} else folder
        yield from (series_of(name, split, over, values) for name, values in scalars.items())


def _event_files(log: Path) -> Iterator[tuple[str, list[str]]]:
    """The folders with event files in them, by their place in the log, and the files, oldest first."""
    for folder, _, names in sorted(os.walk(log)):
        if files := [os.path.join(folder, name) for name in sorted(names) if "tfevents" in name]:
            yield Path(folder).relative_to(log).as_posix(), files


def _scalars(files: Iterable[str]) -> dict[str, dict[int, float]]:
    """The numbers in some event files: name -> step -> value. A training that went on from a checkpoint has several
    files; the later one tells how it was."""
    events = imported("tensorboard.compat.proto.event_pb2", "reading a training's log")
    tensors = imported("tensorboard.util.tensor_util", "reading a training's log")
    damaged = imported("google.protobuf.message", "reading a training's log").DecodeError
    found: dict[str, dict[int, float]] = {}
    for file in files:
        for payload in _payloads(Path(file)):
            try:
                event = events.Event.FromString(payload)
            except damaged as error:
                logger.info("%s: the events are read up to here: %s", file, error)
                break
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
                elif value.HasField("tensor") and not value.tensor.tensor_shape.dim:
                    array = tensors.make_ndarray(value.tensor)
                    if array.dtype.kind in "fiu":
                        found.setdefault(value.tag, {})[event.step] = float(array)
    return found


def _payloads(path: Path) -> Iterator[bytes]:
    """The records of a file, up to one that is damaged or still being written."""
    from stagedml.ml.tfrecord import DamagedRecords, read_frames

    checksum_bytes = 4
    try:
        for frame in read_frames(path):
            yield frame[:-checksum_bytes]
    except (DamagedRecords, OSError) as error:
        logger.info("the events are read up to here: %s", error)
