"""Writes files of TensorBoard's events, as TensorFlow does."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.util.tensor_util import make_tensor_proto

from stagedml.ml.crc32c import checksum


def _masked(data: bytes) -> bytes:
    plain = checksum(data)
    return struct.pack("<I", (((plain >> 15) | (plain << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _record(event: Event) -> bytes:
    payload: bytes = event.SerializeToString()
    length = struct.pack("<Q", len(payload))
    return length + _masked(length) + payload + _masked(payload)


def scalar(step: int, name: str, value: float, *, old: bool = False) -> bytes:
    """The record of one number; `old` as the first TensorFlow wrote it."""
    if old:
        return _record(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)])))
    tensor = make_tensor_proto(value, dtype="float32")
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    return _record(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, tensor=tensor, metadata=metadata)])))


def text(step: int, name: str, words: str) -> bytes:
    """The record of what is no number."""
    return _record(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, tensor=make_tensor_proto(words))])))


def write_events(folder: Path, scalars: Mapping[str, Mapping[int, float]], name: str = "1") -> Path:
    """A file of numbers: name -> step -> value."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"events.out.tfevents.{name}.host.1.0.v2"
    records = [_record(Event(file_version="brain.Event:2"))]
    records += [scalar(step, tag, value) for tag, values in scalars.items() for step, value in values.items()]
    file.write_bytes(b"".join(records))
    return file


def tags_of(folder: Path) -> list[tuple[str, int]]:
    """The tags of all events below a folder, with their steps."""
    from stagedml.ml.framework import tf

    return [
        (value.tag, event.step)
        for path in folder.rglob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
