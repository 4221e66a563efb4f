"""Decoding in a separate process, for decoders that end the whole program on a damaged file. Only for those."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from easydl.images.worker import Worker

_idle: SimpleQueue[Worker] = SimpleQueue()


def decode_in_subprocess(path: str, frame: int | None, plugin: str) -> np.ndarray:
    """As ``pydicom.pixels.pixel_array`` by one of pydicom's plugins; ``frame`` counts from 0, None means all.

    Raises:
        WorkerError: The decoder failed, or its process ended.
    """
    worker = _worker()
    try:
        return np.asarray(worker.ask([path, frame, plugin]))
    finally:
        if worker.alive:
            _idle.put(worker)


def decode(question: list[Any]) -> np.ndarray:
    """The worker's side of `decode_in_subprocess`."""
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    path, frame, plugin = question
    return np.ascontiguousarray(
        pixel_array(dcmread(path), index=frame, decoding_plugin=plugin, correct_unused_bits=False)
    )


def _worker() -> Worker:
    """One that waits, or a new one."""
    while True:
        try:
            worker = _idle.get_nowait()
        except Empty:
            return Worker(decode)
        if worker.alive:
            return worker
