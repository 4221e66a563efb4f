"""Decoding in a process apart, for decoders that end the whole program on a damaged file. It is used only for those."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

_idle: SimpleQueue[Any] = SimpleQueue()
"""Processes that wait for work. They end with this one: their standard input is closed then."""


class DecoderBroke(Exception):
    """The process that decoded came to an end, or said why it could not."""


def decode_in_subprocess(path: str, frame: int | None, plugin: str) -> np.ndarray:
    """The stored values of a DICOM file, decoded in another process.

    Args:
        path: The file.
        frame: The frame, from 0; all when None.
        plugin: The name of pydicom's decoding plugin.

    Returns:
        As ``pydicom.pixels.pixel_array``.

    Raises:
        DecoderBroke: The decoder failed, or its process ended.
    """
    helper = _helper()
    assert helper.stdin is not None and helper.stdout is not None
    try:
        helper.stdin.write(json.dumps([path, frame, plugin]).encode() + b"\n")
        helper.stdin.flush()
        head = json.loads(helper.stdout.readline())
        if "error" in head:
            _idle.put(helper)
            raise DecoderBroke(head["error"])
        dtype, shape = np.dtype(head["dtype"]), tuple(head["shape"])
        raw = helper.stdout.read(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        values = np.frombuffer(raw, dtype).reshape(shape)
    except (OSError, ValueError) as problem:
        helper.kill()
        helper.communicate()
        raise DecoderBroke("the decoder broke off") from problem
    _idle.put(helper)
    return values


def work() -> None:
    """Answer lines of [path, frame, plugin] on standard input with an array each, until it is closed."""
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    answers = sys.stdout.buffer
    sys.stdout = sys.stderr  # What a library prints must not mix with the answers.
    warnings.simplefilter("ignore")
    for line in sys.stdin.buffer:
        path, frame, plugin = json.loads(line)
        try:
            values = np.ascontiguousarray(pixel_array(dcmread(path), index=frame, decoding_plugin=plugin))
        except Exception as problem:
            answers.write(json.dumps({"error": f"{type(problem).__name__}: {problem}"[:500]}).encode() + b"\n")
        else:
            answers.write(json.dumps({"dtype": values.dtype.str, "shape": values.shape}).encode() + b"\n")
            answers.write(values.tobytes())
        answers.flush()


def _helper() -> Any:
    """A process that waits for work, or a new one."""
    while True:
        try:
            helper = _idle.get_nowait()
        except Empty:
            return subprocess.Popen(
                [sys.executable, "-c", "from easydl.images.decoder_process import work; work()"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        if helper.poll() is None:
            return helper
