"""The presets by modality, with their anatomy rules. They describe; the pixels are changed elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from easydl.augmentation.operations import (
    HU_ONLY,
    RELATIVE_ONLY,
    Brightness,
    Contrast,
    Flip,
    Gamma,
    Noise,
    Offset,
    Operation,
    Rotation,
    Scale,
    Shift,
)
from easydl.augmentation.sides import sided_names
from easydl.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf
    from matplotlib.figure import Figure

    from easydl.augmentation.augmenter import Augmenter

SAFE_DEGREES = 15.0


@dataclass(frozen=True)
class Preset:
    """Realistic variation for one kind of image, and what it must never do to the anatomy.

    A preset first draws its parameters and then applies them, so any augmented image can be made again.

    Attributes:
        name: What ``fit(augment=...)`` takes.
        purpose: For which images, in words.
        operations: What it does, each with its range.
        rules: What it must not do and why, in sentences.
        notes: What was left out for this study, in sentences; filled in by `adapted`.

    Example:
        >>> str(preset("chest_xray").operations[0])
        'turns the image up to 7° either way'
    """

    name: str
    purpose: str = ""
    operations: tuple[Operation, ...] = ()
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name != "none" and not any(operation.ranges() for operation in self.operations):
            warnings.warn(
                f'The augmentation preset "{self.name}" changes nothing: no operation has a range. '
                'Choose augment="none" if that is what you want.',
                UserWarning,
                stacklevel=3,
            )

    def adapted(
        self,
        *,
        dimension: int = 2,
        units: str = "0-255",
        classes: Iterable[str] = (),
        spacing_mm: tuple[float, ...] | None = None,
    ) -> Preset:
        """This preset without the operations that would be wrong for these images, and the reasons as notes.

        Args:
            dimension: 2 for images, 3 for volumes.
            units: ``"0-255"``, ``"relative"`` or ``"HU"``.
            classes: Class and mask names; one that names a side forbids mirror images.
            spacing_mm: (depth, row, column) of a volume's grid; without it volumes are not tilted.

        Returns:
            A preset with the remaining operations and one note for each kind left out.
        """
        notes: list[str] = []
        sided = sided_names(classes)
        kept: list[Operation] = []
        dropped: list[str] = []
        for operation in self.operations:
            if isinstance(operation, RELATIVE_ONLY if units == "HU" else HU_ONLY):
                dropped.append(type(operation).__name__.lower())
            elif isinstance(operation, Flip) and sided:
                notes.append(f"No mirror images: {_quoted(sided)} names a side, and a mirror makes that false.")
            elif isinstance(operation, Flip) and dimension == 2 and "depth" in operation.axes:
                axes = tuple(axis for axis in operation.axes if axis != "depth")
                kept += [Flip(axes)] if axes else []
            elif isinstance(operation, Rotation):
                degrees, tilt = operation.degrees, operation.tilt_degrees
                if sided and degrees > SAFE_DEGREES:
                    degrees = SAFE_DEGREES
                    notes.append(
                        f"Turned by at most {SAFE_DEGREES:g}°: half a turn would exchange the sides "
                        f"that {_quoted(sided)} names."
                    )
                if dimension == 3 and tilt and spacing_mm is None:
                    notes.append("Volumes are not tilted out of their slices: the slice spacing is not known.")
                kept.append(Rotation(degrees, tilt if dimension == 3 and spacing_mm is not None else 0.0))
            else:
                kept.append(operation)
        if dropped and units == "HU":
            notes.append(f"Left out: {', '.join(dropped)}. Hounsfield units are measurements, not shades.")
        return replace(self, operations=tuple(kept), notes=(*self.notes, *notes))

    def draw(self, count: int | tf.Tensor, *, seed: int = 0, counter: int | tf.Tensor = 0) -> dict[str, tf.Tensor]:
        """Draw the parameters of one batch; the same seed and counter give the same parameters, always.

        Args:
            count: Images in the batch.
            seed: Of the training run.
            counter: Running number of the batch.

        Returns:
            Parameter name -> float32 ``(count,)``, and ``"noise_seed"`` for the noise itself.
        """
        from easydl.augmentation.augmenter import draw

        return draw(self.operations, count, seed=seed, counter=counter)

    def apply(
        self,
        images: Any,
        masks: Any = None,
        *,
        drawn: dict[str, tf.Tensor],
        units: str = "0-255",
        window: tuple[float, float] = (0.0, 255.0),
        spacing_mm: tuple[float, ...] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Apply drawn parameters to a batch, images and masks by the same movement.

        Args:
            images: ``(batch, *spatial, channel)``, any real type.
            masks: Integer ``(batch, *spatial)``, or None.
            drawn: What `draw` returned.
            units: ``"0-255"``, ``"relative"`` or ``"HU"``.
            window: (low, high) in those units; what comes in from outside the image is ``low`` (air).
            spacing_mm: Grid of the batch, or None for square pixels.

        Returns:
            float32 images of the same shape, and masks of their own type, whose values are all old ones or 0
            (background).
        """
        from easydl.augmentation.augmenter import apply

        return apply(self.operations, images, masks, drawn=drawn, units=units, window=window, spacing_mm=spacing_mm)

    def augmenter(
        self,
        *,
        dimension: int,
        units: str,
        window: tuple[float, float],
        seed: int,
        classes: Iterable[str] = (),
        spacing_mm: tuple[float, ...] | None = None,
    ) -> Augmenter:
        """The function that augments batches inside ``tf.data``.

        Args:
            dimension: 2 or 3.
            units: ``"0-255"``, ``"relative"`` or ``"HU"``.
            window: (low, high) in those units.
            seed: Of the training run; recorded with it.
            classes: Class and mask names, for the laterality rule.
            spacing_mm: Grid of a 3D batch (depth, row, column); needed only for tilting volumes.

        Returns:
            A callable ``(images, masks=None, counter=None) -> (images, masks)`` with ``.preset``, ``.notes``.
        """
        from easydl.augmentation.augmenter import Augmenter

        adapted = self.adapted(dimension=dimension, units=units, classes=classes, spacing_mm=spacing_mm)
        return Augmenter(preset=adapted, units=units, window=window, seed=seed, spacing_mm=spacing_mm)

    def show(self, study: Any, n: int = 6, *, row: int = 0, seed: int = 0) -> Figure:
        """The original beside ``n`` augmented copies, with the drawn values in words.

        Args:
            study: A `Study`.
            n: Augmented copies, 1 to 24.
            row: Which image of the study.
            seed: Of the draw.

        Returns:
            A matplotlib figure.
        """
        from easydl.augmentation.gallery import show

        return show(self, study, n, row=row, seed=seed)

    def __str__(self) -> str:
        return "; ".join(str(operation) for operation in self.operations) or "changes nothing"


def _quoted(names: list[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


_PRESETS = {
    preset.name: preset
    for preset in (
        Preset("none", "any image", (), ("The images are used as they are.",)),
        Preset(
            "chest_xray",
            "chest films, and any film whose side matters",
            (
                Rotation(7),
                Shift(0.05),
                Scale(0.9, 1.1),
                Brightness(0.08),
                Contrast(0.8, 1.25),
                Gamma(0.8, 1.25),
                Noise(0.02),
            ),
            (
                "No left-right mirror image: the heart is on the left; a mirrored film is situs inversus.",
                "No upside-down film: nobody reads one.",
            ),
        ),
        Preset(
            "ct",
            "CT in Hounsfield units, slices and volumes",
            (Rotation(7, 3), Shift(0.05), Scale(0.9, 1.1), Noise(0.02, 15), Offset(5)),
            (
                "Hounsfield units stay Hounsfield units: no contrast, brightness or gamma.",
                "No mirror image: liver, heart and stomach have their side.",
            ),
        ),
        Preset(
            "mri",
            "MR images and volumes, whose grey values mean something only beside their neighbours",
            (
                Rotation(10, 5),
                Shift(0.05),
                Scale(0.9, 1.1),
                Brightness(0.1),
                Contrast(0.7, 1.4),
                Gamma(0.7, 1.4),
                Noise(0.03),
            ),
            ("No mirror image: the halves of the brain are not the same, and neither is the abdomen.",),
        ),
        Preset(
            "fundus",
            "colour photographs of the retina",
            (
                Rotation(180),
                Flip(("left-right", "up-down")),
                Shift(0.03),
                Scale(0.9, 1.1),
                Brightness(0.08),
                Contrast(0.8, 1.25),
                Gamma(0.85, 1.2),
                Noise(0.01),
            ),
            ("Mirrored and turned freely, unless a class or mask names a side: mirrors exchange the eyes.",),
        ),
    )
}


def preset(name: str) -> Preset:
    """The augmentation preset of this name.

    Args:
        name: ``"none"``, ``"chest_xray"``, ``"ct"``, ``"mri"`` or ``"fundus"``.

    Returns:
        The `Preset`.

    Raises:
        InputError: No preset has this name.

    Example:
        >>> preset("ct").rules[0]
        'Hounsfield units stay Hounsfield units: no contrast, brightness or gamma.'
    """
    if name not in _PRESETS:
        raise InputError(
            f'There is no augmentation preset called "{name}".',
            "one of " + ", ".join(f'"{known}"' for known in _PRESETS) + ".",
            "Choose one of these; easydl.presets() says what each of them does.",
        )
    return _PRESETS[name]


def presets() -> pd.DataFrame:
    """All augmentation presets, one a row.

    Returns:
        Columns ``name``, ``for what``, ``what it does`` and ``anatomy rule``.

    Example:
        >>> list(presets()["name"])
        ['none', 'chest_xray', 'ct', 'mri', 'fundus']
    """
    return pd.DataFrame(
        {
            "name": list(_PRESETS),
            "for what": [preset.purpose for preset in _PRESETS.values()],
            "what it does": [str(preset) for preset in _PRESETS.values()],
            "anatomy rule": [" ".join(preset.rules) for preset in _PRESETS.values()],
        }
    )
