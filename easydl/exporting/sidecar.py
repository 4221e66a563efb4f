"""The JSON file beside a converted model: what it is given, what it answers, and how that becomes a decision."""

from __future__ import annotations

from typing import Any

from easydl.errors import RESEARCH_USE
from easydl.exporting.results import Export
from easydl.fileio import sha256
from easydl.networks.metadata import ModelMetadata
from easydl.networks.model_file.save import versions
from easydl.prediction.image_to_image import corruption_of
from easydl.tasks import Task

AXES = {2: "image, height, width, channel", 3: "image, depth, height, width, channel"}
GREY = {
    "percentile": "Values without a unit (MR, 16 bits) are scaled so that the image's 0.5th and 99.5th percentile become 0 "
    "and 255, and cut off there; 8-bit images are taken as they are.",
    "z-score": "Values are scaled so that the mean of the voxels above the lowest value becomes 127.5, and 5 standard "
    "deviations become 127.5 below and above it, and cut off there.",
}
HOUNSFIELD = "Hounsfield units: the stored values times the rescale slope plus the rescale intercept."
INVERTED = (
    "DICOM gets its rescale or modality LUT; what is stored inverted (MONOCHROME1) is inverted, so that bone is bright."
)
PADDING = "Padding of DICOM becomes the lowest value of the other pixels."
FRAME = "Volumes are turned so that depth runs from the head to the feet, rows to the back, and columns to the patient's left."
CHANNELS = {
    1: "Colour becomes one channel: 0.299 red + 0.587 green + 0.114 blue.",
    3: "The channels are red, green and blue, or the three image columns of the training's table in their order; one grey image "
    "is repeated in all three.",
}
COLUMNS = "The channels are the image columns of the training's table in their order."
ROUNDED = "8-bit images are rounded to integers after resizing."
RESIZED = (
    "Resized to this size by linear interpolation, with an anti-alias filter where it becomes smaller (Pillow's BILINEAR); "
    "the aspect ratio is not kept."
)
WINDOWS = (
    "A window of the scan on the working grid; windows overlap by half, and their probabilities are averaged with weights "
    "that fall from the centre (a Gaussian, standard deviation one eighth of the window)."
)


def description(metadata: ModelMetadata, size: tuple[int, ...], names: list[str], made: Export) -> dict[str, Any]:
    """What another program must know. No name, path or digest of an image or a patient is in it."""
    task = Task(metadata.task)
    outputs = [
        {"name": name, **_output(metadata, head)}
        for name, head in zip(names, sorted(metadata.heads) or [""], strict=True)
    ]
    training = {
        key: metadata.training[key] for key in ("images", "patients", "validation_images") if key in metadata.training
    }
    return {
        "note": RESEARCH_USE,
        "file": made.path.name,
        "sha256": sha256(made.path),
        "weights": made.weights,
        "pruned": made.pruned,
        "task": str(task),
        "image": {
            "name": "image",
            "type": "float32",
            "axes": AXES[metadata.dimension],
            "size": list(size),
            "channels": metadata.channels,
            "units": metadata.units,
            "preparation": _preparation(metadata, task),
            "inside": f"The network maps {metadata.window[0]:g} to {metadata.window[1]:g} to its own range itself.",
            "spacing_mm": None if metadata.spacing_mm is None else list(metadata.spacing_mm),
        },
        "covariates": [_covariate(one) for one in metadata.covariates],
        "outputs": outputs,
        "label_values": None if metadata.label_values is None else list(metadata.label_values),
        "agreement": made.to_dict()["agreement"],
        "size": made.to_dict()["size"],
        "notes": made.notes,
        "training": training,
        "versions": versions(),
    }


def _preparation(metadata: ModelMetadata, task: Task) -> list[str]:
    """What is done to an image, in this order."""
    frame = [FRAME] if metadata.dimension == 3 else []
    values = [HOUNSFIELD, PADDING] if metadata.units == "HU" else [INVERTED, PADDING, GREY[metadata.normalise]]
    values = [*frame, *values, CHANNELS.get(metadata.channels, COLUMNS)]
    if task.per_pixel:
        out = [*values, *_grid(metadata), WINDOWS]
        return (
            [*out, f"It was trained to undo: {corruption}."]
            if task.makes_images and (corruption := corruption_of(metadata))
            else out
        )
    rounded = [ROUNDED] if metadata.units == "0-255" and metadata.normalise == "percentile" else []
    return [*values, RESIZED, *rounded]


def _grid(metadata: ModelMetadata) -> list[str]:
    """The working grid of what takes scans of any size, as `easydl.prediction.grid` makes it."""
    if metadata.spacing_mm is not None:
        return ["The working grid has the spacing spacing_mm; a scan without a spacing keeps its own grid."]
    if metadata.dimension == 3 or metadata.max_side is None:
        return ["The working grid is the scan's own."]
    return [
        f"The working grid is the scan's own, made smaller where its longest side has more than {metadata.max_side} pixels."
    ]


def _covariate(one: Any) -> dict[str, Any]:
    if one.categories is not None:
        return {"name": one.name, "categories": list(one.categories), "encoding": "1 at the category, 0 elsewhere"}
    return {
        "name": one.name,
        "mean": one.mean,
        "standard_deviation": one.std,
        "encoding": "(value - mean) / standard deviation, then 0; or 0, then 1 where it is missing",
    }


def _output(metadata: ModelMetadata, head: str) -> dict[str, Any]:
    if metadata.task.makes_images:
        return {"task": str(metadata.task), "meaning": f"values in {metadata.units}, within the window"}
    decision = metadata.decision(head)
    if decision.task.is_value:
        return {
            "head": head or None,
            "task": str(decision.task),
            "classes": list(decision.classes),
            "meaning": "a value",
        }
    if not decision.task.exclusive:
        rule = "a label is present from its threshold on"
    elif decision.task.ordered:
        rule = "the first class at which the sum of the probabilities reaches a half"
    elif decision.positive in decision.thresholds:
        rule = f"{decision.positive} from its threshold on, else {decision.classes[0]}"
    else:
        rule = "the most probable class"
    thresholds = {
        name: {
            "value": float(decision.values[k]),
            "chosen": decision.thresholds[name].text if name in decision.thresholds else None,
        }
        for k, name in enumerate(decision.classes)
        if name in decision.decided_by_threshold
    }
    return {
        "head": head or None,
        "task": str(decision.task),
        "classes": list(decision.classes),
        "meaning": "probabilities, 0 to 1",
        "decision": rule,
        "thresholds": thresholds,
    }
