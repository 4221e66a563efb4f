"""The Heatmap: an array on the image's grid, what it explains, its verdict, and how it shows and saves itself."""

from __future__ import annotations

import html as escaping
import io
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import RESEARCH_USE
from easydl.explanation.methods import METHODS
from easydl.explanation.verdict import Verdict
from easydl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from easydl.images import Scan

DPI, BELOW = 150, "Rows of text below"


@dataclass(eq=False)
class Heatmap:
    """Where the evidence for one class lies in one image. Made by `easydl.saliency`.

    Attributes:
        array: float32, 0..1 (relative to the largest evidence in this image), the scan's spatial shape.
        scan: The image it belongs to.
        target: The class that is explained.
        probability: What the model gives this class, 0..1; for a segmentation model the mean over the segmented pixels;
            for a regression the value.
        verdict: Whether to believe it; None when it was not tested.
        reference: What the study's table says of this image; empty where it is not known.
        right: Whether the answer is the reference; None for values, and where it is not known.
        method: As given to `easydl.saliency`.
        layer: The layer whose feature map was explained; empty for methods that look at none.
        task: The task of the model, or of the head.
        window: (low, high) in HU that black and white stand for in figures; None for images that are not CT.
        notes: What else to know, in sentences.

    Example:
        >>> heatmap = easydl.saliency(model, "case.dcm")  # doctest: +SKIP
        >>> heatmap.array.shape, heatmap.verdict.level  # doctest: +SKIP
        ((512, 512), 'PASS')
    """

    array: np.ndarray
    scan: Scan
    target: str
    probability: float
    verdict: Verdict | None = None
    reference: str = ""
    right: bool | None = None
    method: str = "gradcam"
    layer: str = ""
    task: str = "classification"
    window: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def show(self, ax: Axes | None = None) -> Figure:
        """The original beside the overlay, with class, probability and verdict; for a volume its strongest slice.

        Args:
            ax: Draw into these axes instead of a new figure.

        Returns:
            A matplotlib figure.
        """
        from easydl.explanation.drawing import Caption, draw

        task = Task(self.task)
        method = "Seg-HiRes-Grad-CAM" if task.has_masks and self.method == "gradcam" else METHODS[self.method].title
        caption = Caption(
            title=f"{self.prediction()}\n{method}: what {'makes it larger' if task.is_value else 'speaks for it'}",
            level=self.verdict.level if self.verdict else "",
            text=self._text,
        )
        return draw(self.scan, self.array, caption, window=self.window, ax=ax)

    @property
    def _text(self) -> str:
        """What stands below the figure."""
        verdict = self.verdict.sentence if self.verdict else "No test was run on this map (verdict=False)."
        judged = {True: "; the answer is right", False: "; the answer is wrong", None: ""}[self.right]
        known = [f"Reference: {self.reference}{judged}."] if self.reference else []
        return " ".join([*known, verdict, *self.notes])

    def save(self, path: str | Path) -> Path:
        """Write the figure or the map, as the ending says; a file that is there is replaced in one step.

        Args:
            path: ``.png`` (also without an ending): the figure. ``.npy``: the array. ``.nii`` or ``.nii.gz``: the map on
                the grid of the scan's file. ``.dcm``: the figure as a secondary capture in the study of the scan.

        Returns:
            The path written.

        Raises:
            InputError: Another ending, NIfTI of an image without a position, or DICOM of an image that was not DICOM.

        Example:
            >>> heatmap.save("heatmap.nii.gz")  # doctest: +SKIP

        References:
            DICOM PS3.3 A.8, secondary capture.
        """
        from easydl.explanation.saving import save

        return save(self, path)

    def in_words(self, masks: Mapping[str, Any] | None = None) -> str:
        """Where the map lies, in words: the part of the body, and how much of it is at the border or on text.

        Sides are the patient's where the file says how the patient lies, otherwise those of the image.

        Args:
            masks: Organs by name, each a file or an array on the image's grid (not 0 is inside): which share of the map
                lies in each, and in which third of the one that holds the middle of its strongest part. Without them
                thirds are those of the body, which is found by a threshold.

        Returns:
            One sentence, without an interval: it describes this one map.

        Raises:
            InputError: A mask that is empty, not readable or on another grid.

        Example:
            >>> heatmap.in_words(masks={"lung": "lung.nii.gz"})  # doctest: +SKIP
            'Upper third of the left lung, 62% inside the lung, 31% at the border: look at the marker.'
        """
        from easydl.explanation.words import in_words

        return in_words(self, masks)

    def to_dict(self) -> dict[str, Any]:
        """What ``heatmaps/index.json`` records of it: image, target, probability or value, verdict, place in words and notes."""
        is_value = Task(self.task).is_value
        return {
            "image": self.scan.source,
            "target": self.target,
            "probability": None if is_value else float(self.probability),
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            **({"value": float(self.probability)} if is_value else {}),
            **({"reference": self.reference, "right": self.right} if self.reference else {}),
            "words": self.in_words(),
            **({"notes": list(self.notes)} if self.notes else {}),
        }

    def prediction(self) -> str:
        """The class with its probability, or the value, as the figure says it."""
        if Task(self.task).is_value:
            return f"{self.target}: {self.probability:.3g}"
        return f"{self.target}, probability {self.probability:.2f}"

    def __repr__(self) -> str:
        level = self.verdict.word.lower() if self.verdict else "not tested"
        shape = " x ".join(map(str, self.array.shape))
        return f"<Heatmap of {shape} for {self.prediction()}; verdict {level}>"

    def _repr_png_(self) -> bytes:
        from easydl.explanation.drawing import height_below

        buffer = io.BytesIO()
        # A page that has the verdict and the sentence as its own text may leave out so many rows at the foot.
        facts = {"Comment": RESEARCH_USE, BELOW: str(round(height_below(self._text) * DPI))}
        self.show().savefig(buffer, format="png", dpi=DPI, metadata=facts)
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        verdict = f"{self.verdict.word}. {self.verdict.sentence}" if self.verdict else "Not tested."
        alternative = escaping.escape(f"Heatmap for {self.prediction()}. {verdict} {RESEARCH_USE}", quote=True)
        data = b64encode(self._repr_png_()).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{alternative}" style="max-width:100%">'
        if self.verdict is None:
            return image
        table = self.verdict.details.to_html(index=False, escape=True, border=0)
        return f"{image}<details><summary>What was measured</summary>{table}</details>"
