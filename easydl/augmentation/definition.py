"""The `Preset`: operations with their ranges, and what is left out for the images at hand. It changes no pixel."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from easydl.augmentation.artefacts import BiasField, Colour, Ghosting, Motion, Speckle, Stain
from easydl.augmentation.extras import MIXING, PICTURES_ONLY
from easydl.augmentation.laterality import sided_names
from easydl.augmentation.operations import Brightness, Contrast, Flip, Gamma, Offset, Operation, Rotation
from easydl.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf
    from matplotlib.figure import Figure

    from easydl.augmentation.augmenter import Augmenter

SAFE_DEGREES = 15.0
MIXABLE = ("classification", "multilabel")
_RELATIVE_ONLY = (Brightness, Contrast, Gamma, BiasField, Ghosting, Motion, Speckle, Colour, Stain)
_HU_ONLY = (Offset,)
_RED_GREEN_BLUE_ONLY = (Colour, Stain)


@dataclass(frozen=True)
class Preset:
    """Realistic variation for one kind of image, and what it must never do to the anatomy.

    A preset first draws its parameters and then applies them, so any augmented image can be made again.

    Attributes:
        name: What ``fit(augment=...)`` takes, such as ``"chest_xray"`` or ``"chest_xray+mixup"``.
        purpose: For which images, in words.
        operations: What it does, each with its range.
        rules: What it must not do and why, in sentences.
        mirrored: What comes in from outside when the image moves: its own mirror image, for pictures that show a
            part of something larger (skin, sections, cells), with the mask's mirror image; otherwise black, or air.
        notes: What was left out for this study, in sentences; filled in by `adapted`.

    Example:
        >>> from easydl.augmentation import preset
        >>> str(preset("chest_xray").operations[0])
        'turns the image up to 7° either way'
    """

    name: str
    purpose: str = ""
    operations: tuple[Operation, ...] = ()
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mirrored: bool = False

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
        channels: int | None = None,
        task: str | None = None,
    ) -> Preset:
        """This preset without the operations that would be wrong for these images, and the reasons as notes.

        Args:
            dimension: 2 for images, 3 for volumes.
            units: ``"0-255"``, ``"relative"`` or ``"HU"``.
            classes: Class and mask names; one that names a side forbids mirror images.
            spacing_mm: (depth, row, column) of a volume's grid; without it volumes are not tilted.
            channels: Of the images, when known: hue and stains are left out unless there are three.
            task: Of the model, when known: only classes and findings (``"classification"``, ``"multilabel"``) can be
                mixed.

        Returns:
            A preset with the remaining operations and one note for each kind left out.

        Raises:
            InputError: What was asked for by name cannot work: hiding parts of volumes or of Hounsfield units, or
                mixing for another task.
        """
        self._refuse(dimension, units, task)
        notes: list[str] = []
        sided = sided_names(classes)
        kept: list[Operation] = []
        dropped: list[str] = []
        grey: list[str] = []
        for operation in self.operations:
            if isinstance(operation, _RELATIVE_ONLY if units == "HU" else _HU_ONLY):
                dropped.append(_called(operation))
            elif isinstance(operation, _RED_GREEN_BLUE_ONLY) and channels not in (None, 3):
                grey.append(_called(operation))
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
        if grey:
            notes.append(f"Left out: {', '.join(grey)}. The images have {channels} channels, not red, green and blue.")
        if any(isinstance(operation, MIXING) for operation in kept):
            notes.append(
                "Images and labels are mixed: training accuracy and AUC are those of mixtures, not of patients."
            )
        # The mirrored edge of an image would show what has a side on the other one.
        mirrored = self.mirrored and not sided
        return replace(self, operations=tuple(kept), notes=(*self.notes, *notes), mirrored=mirrored)

    def _refuse(self, dimension: int, units: str, task: str | None) -> None:
        hiding = [_called(operation) for operation in self.operations if isinstance(operation, PICTURES_ONLY)]
        if hiding and (dimension == 3 or units == "HU"):
            raise InputError(
                f"The augmentation {', '.join(hiding)} was asked for "
                f"{'volumes' if dimension == 3 else 'Hounsfield units'}.",
                "two-dimensional pictures whose values run from 0 to 255.",
                f'Leave it out of augment="{self.name}"; mixup and cutmix also work here, for classes.',
            )
        mixing = [_called(operation) for operation in self.operations if isinstance(operation, MIXING)]
        if mixing and task is not None and task not in MIXABLE:
            raise InputError(
                f"The augmentation {', '.join(mixing)} was asked for a model whose task is {task}.",
                "a model that tells classes or findings: only their labels can be shared between two patients.",
                f'Leave it out of augment="{self.name}".',
            )

    def draw(self, count: int | tf.Tensor, *, seed: int = 0, counter: int | tf.Tensor = 0) -> dict[str, tf.Tensor]:
        """Draw the parameters of one batch; the same seed and counter give the same parameters, always.

        Args:
            count: Images in the batch.
            seed: Of the training run.
            counter: Running number of the batch.

        Returns:
            Parameter name -> float32 ``(count,)``, and seeds such as ``"noise_seed"`` for the fields themselves.
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
            window: (low, high) in those units; what comes in from outside the image is ``low`` (air), or the
                mirror image.
            spacing_mm: Grid of the batch, or None for square pixels.

        Returns:
            float32 images of the same shape, and masks of their own type, whose values are all old ones or 0
            (background).
        """
        from easydl.augmentation.augmenter import apply

        return apply(
            self.operations, images, masks, drawn=drawn, units=units, window=window, spacing_mm=spacing_mm,
            mirrored=self.mirrored,
        )  # fmt: skip

    def mix(self, images: Any, targets: Any, *, drawn: dict[str, tf.Tensor]) -> tuple[tf.Tensor, Any]:
        """Mix the images of a batch and their targets by drawn shares (MixUp, CutMix).

        Args:
            images: float32 ``(batch, *spatial, channel)``, from `apply`.
            targets: ``(batch, classes)``.
            drawn: What `draw` returned.

        Returns:
            Images and float32 targets, or both as they are when the preset mixes nothing.
        """
        if not any(isinstance(operation, MIXING) for operation in self.operations):
            return images, targets
        from easydl.augmentation.mixing import mix

        return mix(images, targets, self.operations, drawn)

    def augmenter(
        self,
        *,
        dimension: int,
        units: str,
        window: tuple[float, float],
        seed: int,
        classes: Iterable[str] = (),
        spacing_mm: tuple[float, ...] | None = None,
        channels: int | None = None,
        task: str | None = None,
    ) -> Augmenter:
        """The function that augments batches inside ``tf.data``.

        Args:
            dimension: 2 or 3.
            units: ``"0-255"``, ``"relative"`` or ``"HU"``.
            window: (low, high) in those units.
            seed: Of the training run; recorded with it.
            classes: Class and mask names, for the laterality rule.
            spacing_mm: Grid of a 3D batch (depth, row, column); needed only for tilting volumes.
            channels: Of the images, as for `adapted`.
            task: Of the model, as for `adapted`.

        Returns:
            A callable ``(images, masks=None, counter=None, targets=None) -> (images, masks or targets)`` with
            ``.preset``, ``.notes``.

        Raises:
            InputError: As `adapted`.
            MissingPackageError: Something of keras-cv was asked for, which is not installed.
        """
        from easydl.augmentation.augmenter import Augmenter

        adapted = self.adapted(
            dimension=dimension, units=units, classes=classes, spacing_mm=spacing_mm, channels=channels, task=task
        )
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


def _called(operation: Operation) -> str:
    """``BiasField`` is called "bias field"; names written in one word on purpose stay one word."""
    name = type(operation).__name__
    return (
        name.lower() if isinstance(operation, (*MIXING, *PICTURES_ONLY)) else re.sub(r"\B(?=[A-Z])", " ", name).lower()
    )
