"""The Heatmap: an array on the image's grid, what it explains, its verdict, and how it shows and saves itself."""

from __future__ import annotations

import html as escaping
import io
import os
import tempfile
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import RESEARCH_USE
from easydl.explanation.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from easydl.images import Scan

DPI = 150


@dataclass(eq=False)
class Heatmap:
    """Where the evidence for one class lies in one image. Made by `easydl.saliency`.

    Attributes:
        array: float32, 0..1 (relative to the largest evidence in this image), the scan's spatial shape.
        scan: The image it belongs to.
        target: The class that is explained.
        probability: What the model gives this class, 0..1; for a segmenter the mean over the outlined pixels; for a
            regression the value.
        verdict: Whether to believe it; None when it was not tested.
        method: ``"gradcam"`` or ``"occlusion"``.
        layer: The layer whose feature map was explained.
        task: The model's task.
        window: (low, high) in HU that black and white stand for in pictures; None for images that are not CT.
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
    method: str = "gradcam"
    layer: str = ""
    task: str = "classification"
    window: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def show(self, ax: Axes | None = None) -> Figure:
        """The original beside the overlay, with class, probability and verdict; for a volume its strongest slice.

        Args:
            ax: Draw into these axes instead of a figure of its own.

        Returns:
            A matplotlib figure.
        """
        from easydl.explanation.drawing import draw

        return draw(self, ax)

    def save(self, path: str | Path) -> Path:
        """Write the picture as PNG; a file that is there is replaced in one step.

        Args:
            path: Ends in ``.png``; ``.png`` is added when it does not.

        Returns:
            The path written.
        """
        path = Path(path)
        path = path if path.suffix.lower() == ".png" else path.with_name(path.name + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".heatmap-", suffix=".png")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._repr_png_())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return path

    def to_dict(self) -> dict[str, Any]:
        """What ``heatmaps/index.json`` records of it: image, target, probability or value, verdict and notes."""
        return {
            "image": self.scan.source,
            "target": self.target,
            "probability": None if self.task == "regression" else float(self.probability),
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            **({"value": float(self.probability)} if self.task == "regression" else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }

    def answer(self) -> str:
        """The class with its probability, or the value, as the picture says it."""
        if self.task == "regression":
            return f"{self.target}: {self.probability:.3g}"
        return f"{self.target}, probability {self.probability:.2f}"

    def __repr__(self) -> str:
        level = self.verdict.level if self.verdict else "not tested"
        shape = " x ".join(map(str, self.array.shape))
        return f"<Heatmap of {shape} for {self.answer()}; verdict {level}>"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.show().savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        said = f"{self.verdict.level}. {self.verdict.sentence}" if self.verdict else "Not tested."
        alternative = escaping.escape(f"Heatmap for {self.answer()}. {said} {RESEARCH_USE}", quote=True)
        data = b64encode(self._repr_png_()).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{alternative}" style="max-width:100%">'
