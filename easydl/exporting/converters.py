"""A Keras model as bytes of TensorFlow Lite, ONNX or OpenVINO. It measures nothing."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from easydl.errors import EasyDLError, ModelError, missing_package

CPU, SERVE = "CPUExecutionProvider", "serve"
PACKAGES = {".onnx": ("onnx", ("onnx", "tf2onnx", "onnxruntime")), ".xml": ("openvino", ("openvino",))}
"""For an ending the optional extra, and its packages."""
Weights = Literal["float32", "float16", "int8"]
Batch = dict[str, np.ndarray]
"""One image as the network takes it: ``image`` (1, *size, channels), and ``covariates`` (1, width) where it takes them."""


def to_tflite(model: Any, size: Sequence[int], weights: Weights, examples: Sequence[Batch]) -> bytes:
    """TensorFlow Lite for one image at a time; inputs and outputs are float32 whatever the weights are.

    ``examples`` show which values occur inside the network, for int8: every layer's values then get 256 steps between the
    lowest and the highest (Jacob et al. 2018, arXiv:1712.05877).
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _saved_model(model, folder, size, 1)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SERVE])
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert() if weights != "int8" else _tflite_int8(converter, examples))


def _tflite_int8(converter: Any, examples: Sequence[Batch]) -> bytes:
    """All but the last step, from logits to probabilities: in 256 steps the surest answers would all be equal.

    On PneumoniaMNIST these ties cost 0.016 of the AUC, though the decisions stayed.
    """
    import tensorflow as tf

    converter.representative_dataset = lambda: iter(examples)
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=["SOFTMAX", "LOGISTIC"])
    made = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=lambda: iter(examples), debug_options=options
    )
    return bytes(made.get_nondebug_quantized_model())


def _saved_model(model: Any, folder: str, size: Sequence[int], batch: int | None) -> None:
    """TensorFlow's own format, from which two of the others are made; answers go by their names."""
    import keras

    part, specs, names = keras.Model(model.input, model.output), signature(model, size, batch), output_names(model)

    def serve(image: Any, covariates: Any = None) -> dict[str, Any]:
        out = part(image if covariates is None else {"image": image, "covariates": covariates}, training=False)
        return out if isinstance(out, dict) else {names[0]: out}

    archive = keras.export.ExportArchive()
    archive.track(part)
    archive.add_endpoint(SERVE, serve, input_signature=[specs[name] for name in sorted(specs, reverse=True)])
    archive.write_out(folder, verbose=False)


def to_onnx(model: Any, path: Path, size: Sequence[int], weights: Weights, examples: Sequence[Batch]) -> None:
    """An ONNX file for any number of images; written by Keras with tf2onnx, made smaller by ONNX Runtime's own tools."""
    check_packages(".onnx")
    specs = signature(model, size, None)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx asks NumPy for names that it had before 2.0
        plain = path if weights == "float32" else Path(folder) / "float32.onnx"
        given = [specs if len(specs) > 1 else specs["image"]]
        model.export(str(plain), format="onnx", verbose=False, input_signature=given)
        _rename_onnx(plain, output_names(model))
        if weights == "float16":
            import onnx
            from onnxruntime.transformers.float16 import convert_float_to_float16

            onnx.save(convert_float_to_float16(onnx.load(str(plain)), keep_io_types=True), str(path))
        if weights == "int8":
            _onnx_int8(plain, path, examples)


def _rename_onnx(path: Path, names: Sequence[str]) -> None:
    """The answers get the names that they have in Keras, instead of Identity:0 and Identity_1:0."""
    import onnx

    file = onnx.load(str(path))
    new = {output.name: name for output, name in zip(file.graph.output, names, strict=True)}
    for output in file.graph.output:
        output.name = new[output.name]
    for node in file.graph.node:
        node.output[:] = [new.get(name, name) for name in node.output]
        node.input[:] = [new.get(name, name) for name in node.input]
    onnx.checker.check_model(file)
    onnx.save(file, str(path))


def _onnx_int8(plain: Path, path: Path, examples: Sequence[Batch]) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[Batch] = iter(examples)

        def get_next(self) -> Any:
            return next(self.rest, None)

    last = [node.name for node in onnx.load(str(plain)).graph.node if node.op_type in ("Softmax", "Sigmoid")]
    kinds = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}
    quantize_static(str(plain), str(path), Reader(), per_channel=True, nodes_to_exclude=last, **kinds)


def to_openvino(model: Any, path: Path, size: Sequence[int], weights: Weights, examples: Sequence[Batch]) -> None:
    """OpenVINO's .xml and .bin, for any number of images; of int8 weights for one at a time.

    Keras' own route goes through OpenVINO's Python converter, which sends usage statistics over the network without
    asking (openvino-telemetry); reading a file of TensorFlow or TensorFlow Lite does not.
    """
    check_packages(".xml")
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        if weights == "int8":
            source = source / "model.tflite"
            source.write_bytes(to_tflite(model, size, weights, examples))
        else:
            _saved_model(model, folder, size, None)
        graph = openvino.Core().read_model(str(source))
        for one in graph.inputs:
            one.get_tensor().set_names({"covariates" if "covariates" in one.get_any_name() else "image"})
        for one, name in zip(graph.outputs, output_names(model), strict=True):
            one.get_tensor().set_names({name})
        openvino.save_model(graph, str(path), compress_to_fp16=weights == "float16")


def signature(model: Any, size: Sequence[int], batch: int | None) -> dict[str, Any]:
    """What the converted model is given, by name."""
    import tensorflow as tf

    given = model.input if isinstance(model.input, dict) else {"image": model.input}
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in given.items()}
    shapes["image"] = (*size, shapes["image"][-1])
    return {name: tf.TensorSpec((batch, *shape), tf.float32, name=name) for name, shape in shapes.items()}


def output_names(model: Any) -> list[str]:
    """What the answers are called: the heads, or the last layer."""
    return sorted(model.output) if isinstance(model.output, dict) else [model.layers[-1].name]


def converted(work: Any, model: Any) -> Any:
    """What ``work()`` gives; what a converter cannot do is one sentence, not the pages that it prints."""
    try:
        return work()
    except EasyDLError:
        raise
    except Exception as problem:
        said = next((line.strip() for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
        raise ModelError(
            f"The converter cannot convert {model.name}: {said[:200]}",
            "a network whose layers the other format has.",
            'Choose another format (.tflite, .onnx, .xml), or to="float32", or another network.',
        ) from problem


def check_packages(ending: str) -> None:
    """Refuse a format whose optional packages are not installed.

    Raises:
        MissingPackageError: One of them is not.
    """
    from importlib.util import find_spec

    extra, packages = PACKAGES.get(ending, ("", ()))
    if absent := [package for package in packages if find_spec(package) is None]:
        raise missing_package(" ".join(absent), extra, f"Writing {'ONNX' if extra == 'onnx' else 'OpenVINO'} files")
