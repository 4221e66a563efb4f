"""The `Preset`: operations with their ranges, and what is left out for the images at hand. It changes no pixel."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from easydl._tf import load_tensorflow
from easydl.augmentation.laterality import sided_names
from easydl.augmentation.operations import Operation, flip, rotation
from easydl.errors import InputError
from easydl.tasks import Task

if TYPE_CHECKING:
    import tensorflow as tf
    from matplotlib.figure import Figure

    from easydl.augmentation.augmenter import Augmenter

SAFE_DEGREES = 15.0
MIXABLE = (Task.CLASSIFICATION, Task.MULTILABEL)


@dataclass(frozen=True)
class Preset:
    """Realistic variation for one kind of image, and what it must never do to the anatomy.

    A preset first draws its parameters and then applies them, so any augmented image can be repeated.

    Attributes:
        name: What ``fit(augment=...)`` takes, such as ``"chest_xray"`` or ``"chest_xray+mixup"``.
        purpose: For which images, as text.
        operations: What it does, each with its range.
        rules: What it must not do and why, in sentences.
        mirrored: What comes in from outside when the image moves: its own mirror image, for images that show a part of
            something larger (skin, sections, cells), with the mask's mirror image; otherwise black, or air.
        notes: What was left out for this study, in sentences; filled in by `adapted`.

    Example:
        >>> from easydl.augmentation import preset
        >>> str(preset("chest_xray").operations[0])
        'rotates the image by up to 7° either way'
    """

    name: str
    purpose: str = ""
    operations: tuple[Operation, ...] = ()
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.name != "none" and not any(operation.ranges for operation in self.operations):
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
            task: Of the model, when known: only classes and labels (``"classification"``, ``"multilabel"``) can be mixed.

        Returns:
            A preset with the remaining operations and one note for each kind left out.

        Raises:
            InputError: What was asked for by name cannot work: hiding parts of volumes or of Hounsfield units, or
                mixing for another task.
        """
        self._refuse(dimension, units, task)
        sided = sided_names(classes)
        unfit = [operation for operation in self.operations if units not in operation.units]
        grey = [
            operation
            for operation in self.operations
            if operation.rgb and channels not in (None, 3) and operation not in unfit
        ]
        kept: list[Operation] = []
        notes: list[str] = []
        for operation in self.operations:
            if operation not in unfit and operation not in grey:
                safe, note = _safe(operation, sided, dimension, spacing_mm)
                kept += [safe] if safe else []
                notes += [note] if note else []
        if unfit and units == "HU":
            notes.append(f"Left out: {_listed(unfit)}. Hounsfield units are measurements, not shades.")
        if grey:
            notes.append(f"Left out: {_listed(grey)}. The images have {channels} channels, not red, green and blue.")
        if any(operation.mixes for operation in kept):
            notes.append(
                "Images and labels are mixed: training accuracy and AUC are those of mixtures, not of patients."
            )
        # The mirrored edge of an image would show what has a side on the other one.
        mirrored = self.mirrored and not sided
        return replace(self, operations=tuple(kept), notes=(*self.notes, *notes), mirrored=mirrored)

    def _refuse(self, dimension: int, units: str, task: str | None) -> None:
        plane_only = [operation for operation in self.operations if operation.plane_only]
        if plane_only and (dimension == 3 or units == "HU"):
            raise InputError(
                f"The augmentation {_listed(plane_only)} was asked for "
                f"{'volumes' if dimension == 3 else 'Hounsfield units'}.",
                "two-dimensional images whose values run from 0 to 255.",
                f'Leave it out of augment="{self.name}"; mixup and cutmix also work here, for classes.',
            )
        mixing = [operation for operation in self.operations if operation.mixes]
        if mixing and task is not None and task not in MIXABLE:
            raise InputError(
                f"The augmentation {_listed(mixing)} was asked for a model whose task is {task}.",
                "a model of classes or labels: only those can be shared between two patients.",
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
        load_tensorflow()
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
        load_tensorflow()
        from easydl.augmentation.augmenter import Values, apply

        return apply(self, images, masks, drawn=drawn, values=Values(units, window, spacing_mm))

    def mix(self, images: Any, targets: Any, *, drawn: dict[str, tf.Tensor]) -> tuple[tf.Tensor, Any]:
        """Mix the images of a batch and their targets by drawn weights (MixUp, CutMix).

        Args:
            images: float32 ``(batch, *spatial, channel)``, from `apply`.
            targets: ``(batch, classes)``.
            drawn: What `draw` returned.

        Returns:
            Images and float32 targets, or both as they are when the preset mixes nothing.
        """
        if not any(operation.mixes for operation in self.operations):
            return images, targets
        load_tensorflow()
        from easydl.augmentation.mixing import mix

        return mix(images, targets, drawn)

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
        load_tensorflow()
        from easydl.augmentation.augmenter import Augmenter, Values

        adapted = self.adapted(
            dimension=dimension, units=units, classes=classes, spacing_mm=spacing_mm, channels=channels, task=task
        )
        return Augmenter(adapted, Values(units, window, spacing_mm), seed)

    def show(self, study: Any, n: int = 6, *, row: int = 0, seed: int = 0) -> Figure:
        """The original beside ``n`` augmented copies, with the drawn values as text.

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


def _safe(
    operation: Operation, sided: list[str], dimension: int, spacing_mm: tuple[float, ...] | None
) -> tuple[Operation | None, str]:
    """The operation as far as it leaves the anatomy true, or None; and what was left out of it."""
    if operation.name == "flip":
        return _safe_flip(operation, sided, dimension)
    if operation.name == "rotation":
        return _safe_rotation(operation, sided, dimension, spacing_mm)
    return operation, ""


def _safe_flip(operation: Operation, sided: list[str], dimension: int) -> tuple[Operation | None, str]:
    """Mirror images only where no name says a side, and only along axes that the images have."""
    if sided:
        return None, f"No mirror images: {_quoted(sided)} names a side, and a mirror makes that false."
    axes = [axis for axis in operation.values["axes"] if dimension == 3 or axis != "depth"]
    return (flip(*axes) if axes else None), ""


def _safe_rotation(
    operation: Operation, sided: list[str], dimension: int, spacing_mm: tuple[float, ...] | None
) -> tuple[Operation, str]:
    """No half turns where a name says a side, and no tilt without the slice spacing."""
    degrees, tilt = operation.values["degrees"], operation.values["tilt_degrees"]
    notes = []
    if sided and degrees > SAFE_DEGREES:
        degrees = SAFE_DEGREES
        notes.append(
            f"Rotated by at most {SAFE_DEGREES:g}°: half a turn would exchange the sides that {_quoted(sided)} names."
        )
    if dimension == 3 and tilt and spacing_mm is None:
        notes.append("Volumes are not tilted out of their slices: the slice spacing is not known.")
    return rotation(degrees, tilt if dimension == 3 and spacing_mm is not None else 0.0), " ".join(notes)


def _quoted(names: list[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _listed(operations: list[Operation]) -> str:
    return ", ".join(operation.name for operation in operations)
