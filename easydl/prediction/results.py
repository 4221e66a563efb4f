"""What a prediction is: a table of probabilities, or a mask on the source grid. It computes none of them."""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import csv_text, write_text
from easydl.images import Scan
from easydl.studies.labels import JOIN

if TYPE_CHECKING:
    from easydl.networks.metadata import Head


@dataclass(eq=False)
class Predictions:
    """One row per image: the predicted class and the probability of every class.

    Attributes:
        frame: Columns ``image``, ``patient``, ``label`` (when known), ``prediction``, ``confidence`` (0 to 1) and one
            ``p(<class>)`` per class (0 to 1). For multilabel the findings of 0.5 and more are joined by ``"; "``; for
            ordinal the prediction is the median of the distribution; for regression there is one column ``value``
            instead. For several questions all but image and patient begin with the question, as in
            ``cancer: p(yes)``.
        classes: Class names in order; for several questions their names.
        patients_known: False when every image counted as a patient.
        name: What the predictions are of.
        task: ``classification``, ``multilabel``, ``ordinal``, ``regression`` or ``heads``.
        heads: For several questions, what each answers, by name.
        notes: What was assumed, in words.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    patients_known: bool = True
    name: str = ""
    task: str = "classification"
    heads: dict[str, Head] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def head(self, name: str) -> Predictions:
        """The predictions of one of several questions, with the columns of a single one.

        Args:
            name: The question.

        Raises:
            InputError: There is no such question.
        """
        if name not in self.heads:
            raise InputError(
                f"The predictions answer no question {name!r}.",
                f"one of {', '.join(map(repr, self.heads)) or 'none: the model answers a single question'}.",
                "Correct the name.",
            )
        start = f"{name}: "
        own = {column: column.removeprefix(start) for column in self.frame.columns if column.startswith(start)}
        both = [column for column in self.frame.columns if column in own or not self._of_a_question(column)]
        asked = self.heads[name]
        return Predictions(
            self.frame[both].rename(columns=own),
            asked.classes,
            self.patients_known,
            self.name,
            asked.task,
            notes=self.notes,
        )

    def _of_a_question(self, column: str) -> bool:
        return any(column.startswith(f"{name}: ") for name in self.heads)

    def __repr__(self) -> str:
        return f"<Predictions of {len(self.frame)} images. {RESEARCH_USE}>"

    def _repr_html_(self) -> str:
        table = self.frame.head(50).to_html(index=False, escape=True, border=0, float_format="{:.3f}".format)
        more = f"<p>{len(self.frame) - 50} more rows</p>" if len(self.frame) > 50 else ""
        more += "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"{table}{more}<p><small>{html.escape(RESEARCH_USE)}</small></p>"

    def save(self, path: str | Path) -> Path:
        """Write the table as CSV (UTF-8); its first line is the research-use sentence as a comment.

        Cells that a spreadsheet would run as a formula are preceded by an apostrophe (CWE-1236).
        """
        return write_text(path, f"# {RESEARCH_USE}\n{csv_text(self.frame)}")


def answers(outputs: np.ndarray, task: str, classes: Sequence[str]) -> dict[str, Any]:
    """What a model puts out as the columns of a table.

    Args:
        outputs: float32 ``(images, classes)`` probabilities, or ``(images, 1)`` numbers.
        task: Of the model, or of one of its questions.
        classes: Class names in order.

    Returns:
        ``value``; or ``prediction``, ``confidence`` and one ``p(<class>)`` per class.

    Example:
        >>> import numpy as np
        >>> found = answers(np.array([[0.4, 0.3, 0.3]]), "ordinal", ["mild", "moderate", "severe"])
        >>> str(found["prediction"][0])
        'moderate'
    """
    if task == "regression":
        return {"value": outputs[:, 0]}
    names = np.asarray(classes, dtype=object)
    found: dict[str, Any] = {}
    if task == "multilabel":
        found["prediction"] = [JOIN.join(names[row]) for row in outputs >= 0.5]
        found["confidence"] = np.maximum(outputs, 1 - outputs).min(axis=1)
    else:
        chosen = median_grade(outputs) if task == "ordinal" else outputs.argmax(axis=1)
        found["prediction"] = names[chosen]
        found["confidence"] = np.take_along_axis(outputs, chosen[:, None], axis=1)[:, 0]
    return found | {f"p({name})": outputs[:, number] for number, name in enumerate(classes)}


def median_grade(probabilities: np.ndarray) -> np.ndarray:
    """The median of each distribution over ordered classes: the grade with the least expected absolute error.

    Args:
        probabilities: ``(images, grades)``, each row summing to 1.

    Returns:
        int ``(images,)``: the first grade at which half of the probability is reached.
    """
    # With room for rounding: 0.1 + 0.4 may be a little less than a half.
    return (np.cumsum(probabilities, axis=1) < 0.5 - 1e-6).sum(axis=1)


@dataclass(eq=False)
class Segmentation:
    """A predicted mask on the grid of its scan.

    Attributes:
        mask: int32 class indices, the scan's spatial shape; 0 is the background.
        scan: The scan it was made from.
        classes: Class names, background first.
        label_values: The number of each class in a saved file; None counts up from 0.
        notes: What must be known about it, in words.
    """

    mask: np.ndarray
    scan: Scan
    classes: tuple[str, ...]
    label_values: tuple[int, ...] | None = None
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {value:.2f} {unit}" for name, (value, unit) in self.sizes().items())
        return f"<Segmentation of one scan (n = 1, no interval): {parts}. {RESEARCH_USE}>"

    @property
    def array(self) -> np.ndarray:
        """The mask as the numbers that a saved file holds."""
        values = np.asarray(self.label_values or range(len(self.classes)))
        return values[self.mask]

    @property
    def affine(self) -> np.ndarray | None:
        """The scan's affine (LPS, depth first)."""
        return self.scan.affine

    def sizes(self) -> dict[str, tuple[float, str]]:
        """Volume (mL), area (mm2), or a count of pixels when the spacing is not known, of every structure."""
        spacing = self.scan.spacing_mm
        one, unit = (1.0, "pixels") if spacing is None else (float(np.prod(spacing)), "mm2")
        if spacing is not None and self.mask.ndim == 3:
            one, unit = one / 1000.0, "mL"
        return {name: (float((self.mask == k).sum()) * one, unit) for k, name in enumerate(self.classes) if k}

    def save(self, path: str | Path) -> Path:
        """Write the mask: ``.nii`` or ``.nii.gz`` on the source grid (volumes), or ``.png`` (images).

        Raises:
            InputError: The name fits neither, or the scan has no position in space for NIfTI.
        """
        path = Path(path)
        if path.name.lower().endswith((".nii", ".nii.gz")) and self.mask.ndim == 3:
            if self.affine is None:
                raise InputError("The scan has no position in space.", "a scan with an affine.", "Use .array instead.")
            from easydl.images.nifti import write_nifti

            return write_nifti(self.array, self.affine, path)
        if path.suffix.lower() == ".png" and self.mask.ndim == 2:
            return self._save_png(path)
        kind = "a volume: .nii.gz or .nii" if self.mask.ndim == 3 else "an image: .png"
        raise InputError(f"A mask cannot be saved as {path.name}.", f"for {kind}.", "Choose such a name.")

    def to_dicom(self, path: str | Path) -> Path:
        """Write the mask as a DICOM Segmentation beside its source series, for PACS viewers (PS3.3 A.51).

        See `easydl.clinical.write_seg`; the source must have been read from DICOM.
        """
        from importlib import import_module

        # The room above is looked up by name: predictions must not depend on how a hospital stores them.
        return import_module("easydl.clinical").write_seg(self, path)

    def show(self, ax: Any = None) -> Any:
        """A matplotlib figure: the original beside the outline, at the slice where the structure is largest."""
        from matplotlib.figure import Figure

        from easydl.studies.plots import grey

        scan, mask = self.scan, self.mask
        if mask.ndim == 3:
            level = int((mask > 0).sum(axis=(1, 2)).argmax())
            scan = replace(scan, pixels=scan.pixels[level : level + 1])
            mask = mask[level]
        rows, columns = scan.upright
        mask = mask[::rows, ::columns]
        axes = [ax] if ax is not None else None
        if axes is None:
            figure = Figure(figsize=(7.2, 3.9), dpi=110, layout="constrained")
            axes = list(figure.subplots(1, 2))
            axes[0].imshow(grey(scan), cmap="gray", vmin=0, vmax=255, aspect=scan.aspect)
            axes[0].set_title("original", fontsize=9)
        axes[-1].imshow(grey(scan), cmap="gray", vmin=0, vmax=255, aspect=scan.aspect)
        for k, colour in zip(
            range(1, len(self.classes)), ("#ffb000", "#56b4e9", "#009e73", "#cc79a7") * 16, strict=False
        ):
            if (mask == k).any():
                axes[-1].contour(mask == k, levels=[0.5], colors=colour, linewidths=1.2)
                axes[-1].plot([], [], color=colour, label=self.classes[k])
        if axes[-1].get_legend_handles_labels()[0]:
            axes[-1].legend(fontsize=7, loc="lower right")
        axes[-1].set_title("predicted outline", fontsize=9)
        for axis in axes:
            axis.axis("off")
        figure = axes[-1].figure
        figure.text(0.5, 0.005, RESEARCH_USE, ha="center", va="bottom", fontsize=5.5, color="#555555")
        return figure

    def _save_png(self, path: Path) -> Path:
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("Comment", RESEARCH_USE)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=".png", dir=path.parent)
        os.close(handle)
        values = self.array
        Image.fromarray(values.astype(np.uint8 if values.max() < 256 else np.uint16)).save(temporary, pnginfo=info)
        os.replace(temporary, path)
        return path


@dataclass(eq=False)
class Case:
    """One segmented scan beside its reference, as the metrics take it.

    Attributes:
        image: Address of the scan.
        patient: Its patient.
        predicted: int32 class indices on the source grid.
        reference: The same for the reference mask.
        spacing_mm: Spacing in the order of the axes, or None.
        classes: Class names, background first.
    """

    image: str
    patient: str
    predicted: np.ndarray
    reference: np.ndarray
    spacing_mm: tuple[float, ...] | None
    classes: tuple[str, ...]
