"""Two segmentation models in a row: the first finds the organ, the second the lesion in it. It trains neither."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from easydl import networks
from easydl.errors import RESEARCH_USE, InputError, ModelError, unknown_name
from easydl.fileio import sha256
from easydl.images import Scan, prepare
from easydl.images.file_errors import missing
from easydl.networks import metadata_of, save_model
from easydl.networks.metadata import ModelMetadata
from easydl.networks.model_file.load import metadata_in
from easydl.prediction.segmentation import segment_scan
from easydl.tasks import Task

ORGAN, LESION, METADATA = "find_organ.keras", "find_lesion.keras", "cascade.json"
MAX_JSON_BYTES, MAX_MARGIN_MM = 100_000, 1000.0


class _Metadata(BaseModel):
    """What ``cascade.json`` holds; anything else is refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    schema_: Literal[1] = Field(alias="schema")
    note: str = ""
    organs: list[str] = Field(min_length=1)
    margin_mm: float = Field(ge=0, le=MAX_MARGIN_MM)
    sha256: dict[str, str]


@dataclass(eq=False)
class Cascade:
    """Two trained segmentation models; made by `cascade`, taken by `easydl.predict` and `easydl.evaluate`.

    Attributes:
        find_organ: Segments the organ on the whole scan.
        find_lesion: Segments the lesion in the part around the organ.
        organs: The classes of the first that count as the organ.
        margin_mm: How far around the organ the second looks.
    """

    find_organ: Any
    find_lesion: Any
    organs: tuple[str, ...]
    margin_mm: float

    def __repr__(self) -> str:
        lesions = ", ".join(metadata_of(self.find_lesion).classes[1:])
        return f"<Cascade: {lesions} within {self.margin_mm:g} mm of {', '.join(self.organs)}. {RESEARCH_USE}>"

    def segment(
        self, scan: Scan, notes: list[str] | None = None, *, mirror: bool = False, **post_processing: bool
    ) -> np.ndarray:
        """The second model's classes on the scan's own grid; nothing beyond the margin around the organ.

        Args:
            scan: The whole scan.
            notes: What must be known about the mask is added here.
            mirror: For both models, as in `easydl.predict`.
            **post_processing: For the second model, as in `easydl.predict`.

        Returns:
            int32 ``(*scan.shape)``.
        """
        first, second = metadata_of(self.find_organ), metadata_of(self.find_lesion)
        notes = [] if notes is None else notes
        mask = segment_scan(self.find_organ, first, scan, notes, mirror=mirror)
        organ = np.isin(mask, [first.classes.index(name) for name in self.organs])
        out = np.zeros(scan.shape, np.int32)
        names = ", ".join(self.organs)
        if not organ.any():
            notes.append(f"{names} was not found on the scan, so nothing was looked for and the mask is empty.")
            return out
        if scan.spacing_mm is None:
            notes.append(f"The scan's spacing is not known: the margin is {self.margin_mm:g} pixels instead of mm.")
        box = self._box(organ, scan.spacing_mm)
        # Values are brought to the model's units over the whole scan, as they were in training, and then cut out.
        pixels = prepare(scan, channels=second.channels, units=second.units, normalise=second.normalise)
        part = replace(scan, pixels=pixels[box], units=second.units, affine=None, grid=None)
        changes: dict[str, Any] = {"normalise": "percentile"}
        longest, max_side = max(scan.shape), second.max_side
        if second.reduced and max_side is not None and longest > max_side:
            # Training reduced whole images of this size: the part is shown at the scale that it had in them.
            changes["max_side"] = max(2, round(max(part.shape) * max_side / longest))
        prepared = second.model_copy(update=changes)
        out[box] = segment_scan(self.find_lesion, prepared, part, notes, mirror=mirror, **post_processing)
        size = " x ".join(str(side) for side in part.shape)
        notes.append(f"{', '.join(second.classes[1:])} was looked for in the {size} pixels around {names}, not beyond.")
        return out

    def _box(self, organ: np.ndarray, spacing_mm: tuple[float, ...] | None) -> tuple[slice, ...]:
        """The organ's bounding box with the margin, which is in pixels where the spacing is not known."""
        box = []
        for axis, mm in enumerate(spacing_mm or (1.0,) * organ.ndim):
            inside = np.flatnonzero(organ.any(axis=tuple(other for other in range(organ.ndim) if other != axis)))
            margin = math.ceil(self.margin_mm / mm)
            box.append(slice(max(0, inside[0] - margin), inside[-1] + 1 + margin))
        return tuple(box)

    def save(self, folder: str | Path) -> Path:
        """Write both models and a ``cascade.json`` into one folder, which is there whole or as it was before.

        Args:
            folder: The folder; a cascade that is there already is replaced.

        Returns:
            The folder.

        Raises:
            ModelError: Something else is in the folder, or it could not be written.
        """
        folder = Path(folder).expanduser()
        if folder.exists() and not (folder / METADATA).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise ModelError(
                f"{folder.name} is there already and holds no cascade.",
                "a new or empty folder.",
                "Choose another name.",
            )
        # A folder cannot be replaced in one step as a file can: the old one stands aside until the new one is there.
        draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        try:
            draft.mkdir(parents=True)
            for model, name in ((self.find_organ, ORGAN), (self.find_lesion, LESION)):
                save_model(model, draft / name)
            metadata = {
                "schema": 1,
                "note": RESEARCH_USE,
                "organs": list(self.organs),
                "margin_mm": self.margin_mm,
                "sha256": {name: sha256(draft / name) for name in (ORGAN, LESION)},
            }
            (draft / METADATA).write_text(json.dumps(metadata, indent=1, allow_nan=False), "utf-8")
            if folder.exists():
                os.replace(folder, old)
            os.replace(draft, folder)
        except OSError as problem:
            if old.exists() and not folder.exists():
                os.replace(old, folder)
            raise ModelError(
                f"The cascade could not be written to {folder.name}: {problem.strerror or type(problem).__name__}.",
                "a folder that can be written to, with room for both models.",
                "Free some space or choose another folder. A cascade that was there before is unchanged.",
            ) from problem
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        return folder


def cascade(find_organ: Any, find_lesion: Any, *, organ: str | int | None = None, margin_mm: float = 10.0) -> Cascade:
    """Put two trained segmentation models in a row: the organ first, then the lesion in it.

    A lesion model that sees the organ alone cannot take something elsewhere for a lesion; what the first model misses,
    the second cannot find either.

    Args:
        find_organ: A segmentation model of easydl or its ``.keras`` file; it sees the whole scan.
        find_lesion: The same for the lesion. Trained on whole scans or on parts of them: values are brought to its units
            over the whole scan, and long images are reduced as whole ones when its training reduced some.
        organ: Which class of the first counts, by name or index; every structure when None.
        margin_mm: How far around the organ the second looks, in mm (in pixels where a scan's spacing is not known), 0 to
            1000.

    Returns:
        A `Cascade`: give it to `easydl.predict` and `easydl.evaluate`; ``save(folder)`` writes it and
        ``easydl.load_model(folder)`` opens it.

    Raises:
        InputError: The organ is not a structure of the first model, or the margin is out of its range.
        ModelError: A model does not segment, or one is for images and the other for volumes.

    Example:
        >>> import easydl
        >>> easydl.cascade(easydl.unet(classes=["background", "liver"]), easydl.unet(classes=["background", "tumour"]))
        <Cascade: tumour within 10 mm of liver. Research use only...>

    References:
        Christ et al. 2016, Cascaded fully convolutional networks for liver and lesion segmentation, arXiv:1610.02177.
    """
    first, second = (
        networks.load_network(model) if isinstance(model, str | Path) else model for model in (find_organ, find_lesion)
    )
    metadata = [metadata_of(model) for model in (first, second)]
    for each in metadata:
        if not Task(each.task).has_masks:
            raise ModelError(
                f"A model of the cascade has the task {each.task}.", "two segmentation models.", "Use easydl.segmenter."
            )
    if metadata[0].dimension != metadata[1].dimension:
        raise ModelError(
            "One model of the cascade takes images (2D), the other volumes (3D).",
            "two of the same kind.",
            "Replace one.",
        )
    classes = metadata[0].classes
    if organ is None:
        organs = classes[1:]
    elif organ in classes[1:]:
        organs = (str(organ),)
    elif isinstance(organ, int) and not isinstance(organ, bool) and 1 <= organ < len(classes):
        organs = (classes[organ],)
    else:
        raise unknown_name(
            f"`organ` is {organ!r}.",
            organ,
            classes[1:],
            do="Correct it, or leave it out.",
            expected="one of {}, or its index.",
        )
    is_number = isinstance(margin_mm, int | float) and not isinstance(margin_mm, bool)
    if not is_number or not 0 <= margin_mm <= MAX_MARGIN_MM:
        raise InputError(
            f"`margin_mm` is {margin_mm!r}.",
            f"a number from 0 to {MAX_MARGIN_MM:g}.",
            "Use margin_mm=10, for instance.",
        )
    return Cascade(first, second, organs, float(margin_mm))


def load_model(path: str | Path) -> Any:
    """Open a model file of easydl, or the folder of a cascade. Nothing in it is run.

    Args:
        path: A ``.keras`` file that `easydl.save_model` wrote, or a folder that ``Cascade.save`` wrote.

    Returns:
        The Keras model, not compiled (see `easydl.networks.load_network`), or the `Cascade`.

    Raises:
        ModelError: No such file, another kind of file, or one that is damaged, altered or newer than this easydl.

    Example:
        >>> load_model("model.keras").summary()  # doctest: +SKIP
    """
    path = Path(path).expanduser()
    if not (path / METADATA).is_file():
        return networks.load_network(path)
    try:
        if (path / METADATA).stat().st_size > MAX_JSON_BYTES:
            raise ValueError("size")
        metadata = _Metadata.model_validate_json((path / METADATA).read_bytes())
        if metadata.sha256 != {name: sha256(path / name) for name in (ORGAN, LESION)}:
            raise ValueError("checksum")
        first, second = (networks.load_network(path / name) for name in (ORGAN, LESION))
        loaded = cascade(first, second, margin_mm=metadata.margin_mm)
        if not set(metadata.organs) <= set(loaded.organs):
            raise ValueError("organs")
    except (OSError, ValueError, ValidationError) as problem:
        why = (
            "one of its files is missing" if isinstance(problem, OSError) else f"its {METADATA} does not fit its files"
        )
        raise ModelError(
            f"The cascade in {path.name} cannot be used: {why}.",
            f"a folder with {ORGAN}, {LESION} and {METADATA} as easydl wrote them.",
            "Get the folder again from where it was made.",
        ) from problem
    return replace(loaded, organs=tuple(metadata.organs))


def check_paths(model: Any, source: Any = None) -> None:
    """Refuse the path of a model or of an image that is not there, before TensorFlow is loaded.

    Raises:
        ModelError: No model file there, or one that easydl did not make.
        InputError: Nothing at the path of the source.
    """
    if isinstance(model, (str, Path)) and not (Path(model).expanduser() / METADATA).is_file():
        metadata_in(model)
    if isinstance(source, (str, Path)):
        parts = str(source).split(
            "#"
        )  # of a file with several frames or series, the part after the last one says which
        if not any(Path("#".join(parts[:end])).exists() for end in range(1, len(parts) + 1)):
            raise missing(source)


def open_model(model: Any) -> tuple[Any, ModelMetadata]:
    """A model, or the one in a ``.keras`` file or a cascade's folder, with its metadata (of a cascade the second's)."""
    model = load_model(model) if isinstance(model, (str, Path)) else model
    return model, metadata_of(model.find_lesion if isinstance(model, Cascade) else model)


def predict_mask(
    model: Any, metadata: ModelMetadata, scan: Scan, notes: list[str] | None = None, **options: bool
) -> np.ndarray:
    """The mask of a segmentation model or a cascade in the axes of the scan, which the network sees in one orientation."""
    seen = scan.oriented()
    if isinstance(model, Cascade):
        mask = model.segment(seen, notes, **options)
    else:
        mask = segment_scan(model, metadata, seen, notes, **options)
    return seen.as_in(scan, mask)
