"""`easydl.simulate`: a whole simulated study on disk, all or nothing."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from easydl.errors import RESEARCH_USE, InputError, unknown_name
from easydl.simulation import cohort, files
from easydl.simulation.cohort import Acquisition
from easydl.simulation.imaging import DIAMETER_MM, DOSE, Settings, make_image

_SIZE = {"slices": 128, "volumes": 64}
_IMAGES = {"slices": 2, "volumes": 1}
_RANGES: dict[str, tuple[float, float]] = {
    "patients": (1, 9999), "images_per_patient": (1, 20), "size": (32, 512), "depth": (8, 160),
    "nodule_rate": (0, 1), "dose": (100, 1e9), "seed": (0, 2**63 - 1),
}  # fmt: skip


def simulate(
    folder: str | Path,
    *,
    kind: str = "slices",
    patients: int = 80,
    images_per_patient: int | None = None,
    size: int | None = None,
    depth: int = 32,
    nodule_rate: float = 0.5,
    dose: float = DOSE,
    traps: Sequence[str] = (),
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Make a simulated chest CT study with known truth, as DICOM files, masks and a table.

    An analytic chest (ellipsoids with HU values, different in every patient) is projected exactly, exposed with Poisson
    noise and reconstructed by filtered back-projection. The classes differ in the nodule only; sex, age, scanner and date
    have the same distribution in both, unless a trap is chosen. The same arguments give the same files, byte for byte,
    with the same versions of the libraries.

    Args:
        folder: Where to write; must not exist or must be empty. The study appears in one step, when whole.
        kind: ``"slices"`` (2D, each image a separate series) or ``"volumes"`` (a folder per series).
        patients: Number of patients, 1 to 9999.
        images_per_patient: 1 to 20; default 2 for slices, 1 for volumes. All images of a patient share the
            label; each has its own nodule.
        size: Pixels across, 32 to 512, for 340 mm. Default 128 for slices, 64 for volumes.
        depth: Slices in a volume, 8 to 160, over 160 mm; slices of a 2D study are 3 mm thick.
        nodule_rate: Fraction of patients with nodules, 0 to 1.
        dose: Photons sent along each ray, 100 to 1e9. Noise falls with its square root.
        traps: Any of ``"scanner"``, ``"sex"``, ``"marker"``, ``"same_patient"``, ``"duplicates"``.
        seed: 0 or more.
        progress: Called with (images done, images in all) after each image.

    Returns:
        Path of ``scans.csv``: image, label, mask (paths relative to it), patient, sex, age_years, scanner,
        date, and split with the trap ``"same_patient"`` only. In the same folder are ``truth.csv`` (image, and nodule_mm,
        the mean diameter, empty without; a separate file, so that it is never an input of a model),
        ``images/<label>/``, ``masks/`` and ``README.txt``.

    Raises:
        InputError: An argument outside its range, an unknown trap, or a folder that holds something.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = simulate(f"{folder}/study", patients=2, images_per_patient=1, size=32)
        ...     sorted(item.name for item in table.parent.iterdir())
        ['README.txt', 'images', 'masks', 'scans.csv', 'truth.csv']

    References:
        Kak and Slaney, Principles of Computerized Tomographic Imaging, IEEE Press 1988, chapter 3.
    """
    if kind not in _SIZE:
        raise unknown_name(f"`kind` is {kind!r}.", kind, _SIZE)
    images = images_per_patient if images_per_patient is not None else _IMAGES[kind]
    size = size if size is not None else _SIZE[kind]
    traps = _known(traps)
    _check_ranges(
        patients=patients,
        images_per_patient=images,
        size=size,
        depth=depth,
        nodule_rate=nodule_rate,
        dose=dose,
        seed=seed,
    )
    plan = Settings(kind, int(images), int(size), int(depth), float(dose), traps, int(seed))
    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(
            f"{target} already holds something.",
            "a folder that does not exist yet, or an empty one.",
            "Choose another folder; nothing is ever overwritten.",
        )
    people = cohort.draw_patients(patients, nodule_rate, plan.traps, seed)
    acquisitions = cohort.plan_acquisitions(people, plan.images, plan.traps, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.parent / f".{target.name}-{uuid.uuid4().hex[:8]}.partial"
    unfinished.mkdir()
    try:
        rows = []
        for done, acquisition in enumerate(acquisitions, 1):
            rows.append(_write_row(unfinished, acquisition, plan))
            if progress is not None:
                progress(done, len(acquisitions))
        truth = [{"image": row["image"], "nodule_mm": row.pop("nodule_mm")} for row in rows]
        _write_table(unfinished / "scans.csv", rows)
        _write_table(unfinished / "truth.csv", truth)
        (unfinished / "README.txt").write_text(_readme(plan, len(people), len(acquisitions)), encoding="utf-8")
        if target.exists():
            target.rmdir()
        os.replace(unfinished, target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return target / "scans.csv"


def _write_row(folder: Path, acquisition: Acquisition, plan: Settings) -> dict[str, str]:
    """Write the files of one row of the table, and return the row."""
    image = make_image(acquisition, plan)
    row = {
        "image": f"images/{acquisition.label}/{acquisition.stem}",
        "label": acquisition.label,
        "mask": f"masks/{acquisition.stem}",
        "patient": acquisition.patient_id,
        "sex": acquisition.patient.sex,
        "age_years": str(acquisition.patient.age_years),
        "scanner": acquisition.patient.scanner,
        "date": acquisition.date.isoformat(),
        "nodule_mm": f"{image.nodule_mm:.1f}" if image.nodule_mm else "",
    }
    if acquisition.split:
        row["split"] = acquisition.split
    if plan.kind == "slices":
        row["image"], row["mask"] = f"{row['image']}.dcm", f"{row['mask']}.png"
        files.write_slice(folder / row["image"], image.pixels_hu[0], acquisition, plan, height_mm=image.heights_mm[0])
        files.write_mask_png(folder / row["mask"], image.mask[0])
        return row
    row["mask"] += ".nii.gz"
    for number, (pixels, height) in enumerate(zip(image.pixels_hu, image.heights_mm, strict=True), 1):
        path = folder / row["image"] / f"slice-{number:03d}.dcm"
        files.write_slice(path, pixels, acquisition, plan, height_mm=height, instance=number)
    files.write_mask_nifti(folder / row["mask"], image.mask, image.heights_mm)
    return row


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    import pandas as pd

    pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n")


def _readme(plan: Settings, patients: int, images: int) -> str:
    traps = "\n".join(f"- {name}: {cohort.TRAPS[name]}" for name in plan.traps) or "none"
    low, high = DIAMETER_MM[plan.kind]
    return f"""SIMULATED chest CT study. No patient was ever scanned. {RESEARCH_USE}

{patients} simulated patients, {images} {plan.kind}, seed {plan.seed}, {plan.dose:.0f} photons per ray.

How it was made: a chest of ellipsoids with HU values, different in every patient; exact parallel-beam
projections at one energy (70 keV); Poisson noise; filtered back-projection (scikit-image iradon). Vessels cut
across look like small nodules in both classes. Nodules measure {low:.0f} to {high:.0f} mm. Results on these
images say nothing about real patients.

scans.csv   one row per image: image, label, mask, patient and facts about the patient.
truth.csv   the mean diameter of the nodule in each image (empty without): never give it to a model.
images/     DICOM files in a folder per class.
masks/      the nodule in each image, on its grid (PNG: 255 is nodule; NIfTI: 1 is nodule).

Traps planted on purpose: {traps}
"""


def _known(traps: Sequence[str]) -> tuple[str, ...]:
    """The traps by name, each once."""
    chosen = (traps,) if isinstance(traps, str) else tuple(dict.fromkeys(traps))
    for trap in chosen:
        if trap not in cohort.TRAPS:
            raise unknown_name(f"`traps` names {trap!r}, and there is no such trap.", trap, cohort.TRAPS)
    return chosen


def _check_ranges(**values: float) -> None:
    for name, value in values.items():
        low, high = _RANGES[name]
        integer = name not in ("nodule_rate", "dose")
        valid = isinstance(value, (int, np.integer) if integer else (int, float, np.integer, np.floating))
        if not valid or isinstance(value, bool) or not low <= value <= high:
            raise _wrong(name, value, f"must be {'an integer' if integer else 'a number'} from {low:g} to {high:g}")


def _wrong(name: str, value: object, expected: str) -> InputError:
    return InputError(f"simulate() received {name}={value!r}.", f"`{name}` {expected}.", f"Correct `{name}`.")
