"""`easydl.export`: a model for other programs, with its agreement measured. Converters and comparisons are beside it."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import InputError, ModelError
from easydl.exporting.results import Export, Size
from easydl.fileio import replacing, write_text
from easydl.option_model import documented
from easydl.options_of_use import ExportOptions
from easydl.prediction.grid import PATCH_2D, PATCH_3D
from easydl.tasks import Task

if TYPE_CHECKING:
    import keras

    from easydl.networks.metadata import ModelMetadata
    from easydl.studies import Study

FORMATS = {".tflite": "TensorFlow Lite", ".onnx": "ONNX", ".xml": "OpenVINO"}
MOST_EXAMPLES = 200
"""Images on which the ranges inside an int8 network and the statistics of a pruned one are measured."""
FEW_EXAMPLES = 10
BFLOAT16 = (
    "OpenVINO was run with INFERENCE_PRECISION_HINT=f32. Set it, too: without it processors with bfloat16 calculate in that, "
    "and masks of a U-Net may differ by whole structures."
)


@documented(ExportOptions)
def export(
    model: keras.Model | str | Path,
    path: str | Path,
    study: Study | None = None,
    *,
    to: str = "float32",
    prune: float | None = None,
    verbose: bool = True,
) -> Export:
    """Convert a model for other programs, and measure on a study how far it still answers as the Keras model does.

    The ending of ``path`` chooses the format: ``.tflite`` (TensorFlow Lite, LiteRT: phones, small computers), ``.onnx``
    (ONNX Runtime and most others; needs the extra ``[onnx]``) or ``.xml`` (OpenVINO, with a ``.bin`` beside it; needs the
    extra ``[openvino]``). Beside it lies a JSON file (``m.onnx.easydl.json`` beside ``m.onnx``): the classes in order, what is
    done to an image before, its size, the thresholds, and what was measured. Inputs and outputs stay float32.

    Args:
        model: A model of easydl, or the path of one. A cascade is exported model by model.
        path: The file to write.
        study: Images to measure on, and for int8 to choose the ranges by: the validation part. With labels the difference in
            AUC (kappa, mean absolute error) is measured, too.
        {options}
        verbose: Whether to print what was measured.

    Returns:
        An `Export`: ``.path``, ``.size``, ``.agreement`` (every number with n and a 95% interval by patient), ``.table``.

    Raises:
        InputError: An unknown ending or option, or int8 without a study.
        ModelError: The model does not fit the study, or has a layer that the format lacks.
        MissingPackageError: The optional package of a format is not installed.

    Example:
        >>> easydl.export(model, "m.tflite", val, to="int8")  # doctest: +SKIP

    References:
        Jacob et al. 2018, arXiv:1712.05877 (int8); Han et al. 2016, Deep compression, arXiv:1510.00149 (pruning,
        quantisation and Huffman's code, one after the other).
    """
    path = Path(path).expanduser()
    ExportOptions.checked(to=to, prune=prune)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(f"{ending} ({name})" for ending, name in FORMATS.items())
        raise InputError(
            f"The file is called {path.name}.", f"a name that ends in one of {known}.",
            "Choose an ending; a Keras file is written by easydl.save_model.",
        )  # fmt: skip
    if to == "int8" and (study is None or not len(study)):
        raise InputError(
            'to="int8" was given without a study.',
            "images like those it will be used on: the range of every layer's values is chosen by them.",
            'Give the validation part: easydl.export(model, path, val, to="int8").',
        )
    return _exported(model, path, study, to, prune, verbose)


def _exported(model: Any, path: Path, study: Study | None, to: str, prune: float | None, verbose: bool) -> Export:
    from easydl._tf import load_tensorflow

    load_tensorflow()
    from easydl.exporting.agreement import measured
    from easydl.exporting.converters import output_names
    from easydl.exporting.pruning import pruned
    from easydl.exporting.runners import as_call, runner
    from easydl.prediction import check_classes
    from easydl.prediction.cascades import open_model

    model, metadata = open_model(model)
    if hasattr(model, "find_organ"):
        raise InputError(
            "A cascade was given, which is two models.", "one model.", "Export its find_organ and its find_lesion."
        )
    if study is not None:
        _check_study(metadata, study)
        check_classes(metadata, study)
    size, names = _size(model, metadata), output_names(model)
    examples = _examples(model, metadata, size, study) if study is not None and (prune or to == "int8") else []
    smaller = model if prune is None else pruned(model, prune, examples)
    with TemporaryDirectory() as folder:
        draft = Path(folder) / f"{path.stem}{path.suffix.lower()}"
        _write(smaller, draft, size, to, examples)
        plain = draft
        if smaller is not model or to != "float32":
            plain = Path(folder) / f".plain{path.suffix.lower()}"
            _write(model, plain, size, "float32", [])
        bytes_of = Size(*_sizes(draft), *_sizes(plain))
        call = as_call(runner(draft), names, bool(metadata.heads))
        agreement = measured(model, call, size, study) if study is not None else []
        notes = _notes(metadata, study, to, prune, len(examples))
        if study is None:
            notes.append(_on_noise(model, call, size))
        if path.suffix.lower() == ".xml":
            notes.append(BFLOAT16)
        _put(draft, path)
    made = Export(path, path.with_name(f"{path.name}.easydl.json"), to, prune, bytes_of, agreement, notes)
    _describe(made, metadata, size, names)
    if verbose:
        print(made)
    return made


def _write(model: Any, path: Path, size: tuple[int, ...], to: Any, examples: Sequence[Any]) -> None:
    from easydl.exporting import converters

    def work() -> None:
        if path.suffix.lower() == ".tflite":
            path.write_bytes(converters.to_tflite(model, size, to, examples))
        elif path.suffix.lower() == ".onnx":
            converters.to_onnx(model, path, size, to, examples)
        else:
            converters.to_openvino(model, path, size, to, examples)

    converters.converted(work, model)


def _files(path: Path) -> list[Path]:
    return [path, path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else [path]


def _sizes(path: Path) -> tuple[int, int]:
    """Bytes of the files as they are, and in a zip file."""
    files, archive = _files(path), path.with_name("sizes.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        for file in files:
            zipped.write(file, file.suffix)
    found = sum(file.stat().st_size for file in files), archive.stat().st_size
    archive.unlink()
    return found


def _put(draft: Path, path: Path) -> None:
    """Give the files their names, each whole; the weights first, which the .xml refers to."""
    for file in reversed(_files(draft)):
        with replacing(path.with_suffix(file.suffix) if file != draft else path) as target:
            shutil.copyfile(file, target)


def _size(model: Any, metadata: ModelMetadata) -> tuple[int, ...]:
    """The spatial size of the exported network: other programs want one that is fixed."""
    fixed = tuple(side for side in metadata.size if side is not None)
    if len(fixed) == metadata.dimension:
        return tuple(int(side) for side in fixed)
    most = metadata.patch or ((PATCH_2D,) * 2 if metadata.dimension == 2 else (PATCH_3D,) * 3)
    return tuple(-(-side // step) * step for side, step in zip(most, metadata.multiples, strict=True))


def _check_study(metadata: ModelMetadata, study: Study) -> None:
    if metadata.dimension != study.dimension:
        raise ModelError(
            f"The model takes {metadata.dimension}D images, the study ({study.name}) holds {study.dimension}D ones.",
            "a study of the model's dimension.",
            "Give the validation part of the study that the model was trained on.",
        )


def _examples(model: Any, metadata: ModelMetadata, size: tuple[int, ...], study: Study) -> list[dict[str, np.ndarray]]:
    """Images of the study, evenly chosen, as the network is given them."""
    from easydl.exporting.agreement import given

    rows = np.unique(np.linspace(0, len(study) - 1, min(MOST_EXAMPLES, len(study))).round().astype(int))
    part = study.rows(study.frame.index[rows])
    found = _windows(metadata, size, part) if Task(metadata.task).per_pixel else given(model, part)
    return [one if isinstance(one, dict) else {"image": one} for one in found]


def _windows(metadata: ModelMetadata, size: tuple[int, ...], study: Study) -> Iterator[np.ndarray]:
    """What a network for masks or images sees of every scan: its middle, and a corner where it is larger."""
    from easydl.prediction.grid import working_grid

    for row in range(len(study)):
        pixels = working_grid(metadata, study.scan(row))
        short = [(0, max(0, need - have)) for have, need in zip(pixels.shape, size, strict=False)]
        padded = np.pad(pixels, [*short, (0, 0)], mode="edge").astype(np.float32)
        room = [have - need for have, need in zip(padded.shape, size, strict=False)]
        corners = {tuple(side // 2 for side in room), (0,) * len(size)}
        for corner in sorted(corners):
            yield padded[tuple(slice(a, a + side) for a, side in zip(corner, size, strict=True))][None]


def _notes(metadata: ModelMetadata, study: Study | None, to: str, prune: float | None, examples: int) -> list[str]:
    from easydl.prediction.seen import seen_rows, sentence

    notes = []
    if examples:
        few = f" Fewer than {FEW_EXAMPLES} say little." if examples < FEW_EXAMPLES else ""
        what = {
            "the ranges of the int8 values": to == "int8",
            "the statistics of batch normalisation after pruning": prune,
        }
        chosen = " and ".join(name for name, on in what.items() if on)
        notes.append(
            f"{chosen[0].upper()}{chosen[1:]} were measured on {examples} images (or windows) of this study.{few}"
        )
    if study is not None and any(rows := seen_rows([metadata], study)[0]):
        notes.append(f"{sentence(rows)} On new images a model is less sure, and a small difference more often decides.")
    return notes


def _on_noise(model: Any, call: Any, size: tuple[int, ...]) -> str:
    """Without a study: that the file runs at all, and answers noise as the Keras model does."""
    from easydl.exporting.converters import signature
    from easydl.networks import metadata_of
    from easydl.prediction import compiled

    low, high = metadata_of(model).window
    rng = np.random.default_rng(0)
    noise: Any = {
        name: rng.uniform(low, high, tuple(spec.shape)).astype(np.float32)
        if name == "image"
        else rng.uniform(0, 1, tuple(spec.shape)).astype(np.float32)
        for name, spec in signature(model, size, 1).items()
    }
    noise = noise if len(noise) > 1 else noise["image"]
    one, two = compiled(model)(noise), call(noise)
    pairs = [(one[name], two[name]) for name in two] if isinstance(two, dict) else [(one, two)]
    apart = max(float(np.abs(np.asarray(a) - b).max()) for a, b in pairs)
    return (
        f"No study was given, so the agreement was not measured. On one image of noise the largest difference of an answer "
        f"is {apart:.3g}."
    )


def _describe(made: Export, metadata: ModelMetadata, size: tuple[int, ...], names: list[str]) -> None:
    from easydl.exporting.sidecar import description

    write_text(made.sidecar, json.dumps(description(metadata, size, names, made), indent=1, allow_nan=False) + "\n")
