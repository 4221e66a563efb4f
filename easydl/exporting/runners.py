"""A converted file that is run as other programs run it, so that it can be compared. It converts nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from easydl.exporting.converters import CPU, SERVE, Batch

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
"""OpenVINO's setting against bfloat16, in which it calculates on processors that have it by default."""
Run = Callable[[Batch], list[np.ndarray]]
"""From one image to the answers in the order of their names."""


def as_call(run: Run, names: Sequence[str], several: bool) -> Callable[[Any], Any]:
    """The converted model as a function of batches, as `easydl.prediction.compiled` gives one of a Keras model.

    One image at a time, which every format takes.
    """

    def call(given: Any) -> Any:
        batch = given if isinstance(given, dict) else {"image": given}
        batch = {name: np.asarray(values, np.float32) for name, values in batch.items()}
        answers = [run({name: each[k : k + 1] for name, each in batch.items()}) for k in range(len(batch["image"]))]
        joined = [np.concatenate(parts) for parts in zip(*answers, strict=True)]
        return dict(zip(names, joined, strict=True)) if several else joined[0]

    return call


def runner(path: Path) -> Run:
    """What runs a file, by its ending."""
    return {".tflite": _tflite, ".onnx": _onnx, ".xml": _openvino}[path.suffix.lower()](path)


def _tflite(path: Path) -> Run:
    interpreter = _interpreter(str(path))
    interpreter.allocate_tensors()
    serve = interpreter.get_signature_runner(SERVE)

    def run(given: Batch) -> list[np.ndarray]:
        found = serve(**given)
        return [np.array(found[name]) for name in sorted(found)]

    return run


def _interpreter(path: str) -> Any:
    """TensorFlow's own, as long as it has one: it is to move to a package of its own (ai-edge-litert)."""
    import tensorflow as tf

    if not hasattr(tf.lite, "Interpreter"):
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_path=path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it will move
        return tf.lite.Interpreter(model_path=path)


def _onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=[CPU])
    return lambda given: session.run(None, given)


def _openvino(path: Path) -> Run:
    import openvino

    network = openvino.Core().compile_model(str(path), "CPU", EXACT)
    return lambda given: [np.array(one) for one in network(given).values()]
