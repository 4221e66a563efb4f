"""`easydl.simulate`: a whole simulated study on disk, all or nothing."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from easydl.errors import InputError, unknown_name
from easydl.option_model import documented
from easydl.options_of_planning import SimulationOptions
from easydl.simulation import cohort, files
from easydl.simulation.cohort import Acquisition
from easydl.simulation.imaging import make_image
from easydl.simulation.notes import readme
from easydl.simulation.plan import DOSE, KINDS, Settings
from easydl.simulation.seal import SEAL_FILE, SEALED, hidden_trap, sealed

_RANGES: dict[str, tuple[float, float]] = {
    "patients": (1, 9999), "images_per_patient": (1, 20), "size": (32, 512), "depth": (8, 160),
    "nodule_rate": (0, 1), "dose": (100, 1e9), "seed": (0, 2**63 - 1),
}  # fmt: skip


@documented(SimulationOptions)
def simulate(
    folder: str | Path,
    *,
    kind: str = "slices",
    patients: int = 80,
    images_per_patient: int | None = None,
    size: int | None = None,
    depth: int = 32,
    nodule_rate: float = 0.5,
    dose: float | None = None,
    traps: str | Sequence[str] | None = None,
    masks: str | Sequence[str] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Make a simulated study with known truth, as DICOM files, masks and a table.

    Chest CT: an analytic chest (ellipsoids with HU values, different in every patient) is projected exactly, exposed with
    Poisson noise and reconstructed by filtered back-projection; the classes differ in a nodule only. Pelvis MR: tissues
    with known relaxation times give the signal of a T2-weighted spin echo, sampled in a finite k-space with Rician noise;
    men have a prostate gland, everybody has a mass, and its looks are all that tells malignant from benign. Sex, age,
    scanner and date have the same distribution in both classes, unless a trap is chosen. The same arguments give the same
    files, byte for byte, with the same versions of the libraries.

    Args:
        folder: Where to write; must not exist or must be empty. The study appears in one step, when whole.
        {options}
        progress: Called with (images done, images in all) after each image.

    Returns:
        Path of ``scans.csv``: image, label, mask (paths relative to it), patient, sex, age_years, scanner,
        date, and split with the traps ``"same_patient"`` and ``"sealed"`` only. In the same folder are ``truth.csv`` (image,
        and nodule_mm or mass_mm, the mean diameter, empty without; a separate file, so that it is never an input of a
        model), ``images/<label>/``, ``masks/``, ``README.txt``, and of a sealed study ``seal.txt``.

    Raises:
        InputError: An argument outside its range, an unknown trap or organ, or a folder that holds something.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = simulate(f"{folder}/study", patients=2, images_per_patient=1, size=32)
        ...     sorted(item.name for item in table.parent.iterdir())
        ['README.txt', 'images', 'masks', 'scans.csv', 'truth.csv']

    References:
        Kak and Slaney, Principles of Computerized Tomographic Imaging, IEEE Press 1988, chapter 3. Erickson and others,
        Machine learning for medical imaging, RadioGraphics 37:505, 2017: a network "might detect the prostate as a strong
        predictor". Relaxation times: de Bazelaire and others, Radiology 230:652, 2004.
    """
    if kind not in KINDS:
        raise unknown_name(f"`kind` is {kind!r}.", kind, KINDS)
    shows = KINDS[kind]
    images = images_per_patient if images_per_patient is not None else shows.images
    size = size if size is not None else shows.size
    organs = _known("masks", masks, shows.organs)
    chosen = _known("traps", traps, (*cohort.TRAPS, SEALED))
    if shows.region == "pelvis" and dose is not None:
        raise _wrong("dose", dose, "is of the chest CT: an MR image takes no photons")
    if SEALED in chosen and len(chosen) > 1:
        raise _wrong("traps", traps, f"holds {SEALED!r} alone, or other traps: the seed chooses the one that is sealed")
    _check_ranges(
        patients=patients,
        images_per_patient=images,
        size=size,
        depth=depth,
        nodule_rate=nodule_rate,
        dose=(dose := DOSE if dose is None else dose),
        seed=seed,
    )
    hide = SEALED in chosen
    trap = hidden_trap(seed) if hide else None
    plan = Settings(
        kind, int(images), int(size), int(depth), float(dose), ((trap,) if trap else ()) if hide else chosen, int(seed),
        organs, hide,
    )  # fmt: skip
    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(
            f"{target} already holds something.",
            "a folder that does not exist yet, or an empty one.",
            "Choose another folder; nothing is ever overwritten.",
        )
    people = cohort.draw_patients(patients, nodule_rate, plan.traps, seed)
    acquisitions = cohort.plan_acquisitions(people, plan.images, plan.traps, seed, split=hide)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.parent / f".{target.name}-{uuid.uuid4().hex[:8]}.partial"
    unfinished.mkdir()
    try:
        rows = []
        for done, acquisition in enumerate(acquisitions, 1):
            rows.append(_write_row(unfinished, acquisition, plan))
            if progress is not None:
                progress(done, len(acquisitions))
        measure = f"{shows.organs[0]}_mm"
        truth = [{"image": row["image"], measure: row.pop(measure)} for row in rows]
        _write_table(unfinished / "scans.csv", rows)
        _write_table(unfinished / "truth.csv", truth)
        (unfinished / "README.txt").write_text(readme(plan, len(people), len(acquisitions)), encoding="utf-8")
        if hide:
            (unfinished / SEAL_FILE).write_text(sealed(trap, acquisitions, shows.region), encoding="utf-8")
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
    label = plan.shows.classes[acquisition.patient.positive]
    row = {
        "image": f"images/{label}/{acquisition.stem}",
        "label": label,
        "mask": f"masks/{acquisition.stem}",
        "patient": acquisition.patient_id,
        "sex": acquisition.patient.sex,
        "age_years": str(acquisition.patient.age_years),
        "scanner": acquisition.patient.scanner,
        "date": acquisition.date.isoformat(),
        f"{plan.shows.organs[0]}_mm": f"{image.lesion_mm:.1f}" if image.lesion_mm else "",
    }
    if acquisition.split:
        row["split"] = acquisition.split
    if not plan.shows.volumes:
        row["image"], row["mask"] = f"{row['image']}.dcm", f"{row['mask']}.png"
        files.write_slice(folder / row["image"], image.pixels[0], acquisition, plan, height_mm=image.heights_mm[0])
        files.write_mask_png(folder / row["mask"], {organ: mask[0] for organ, mask in image.masks.items()})
        return row
    row["mask"] += ".nii.gz"
    for number, (pixels, height) in enumerate(zip(image.pixels, image.heights_mm, strict=True), 1):
        path = folder / row["image"] / f"slice-{number:03d}.dcm"
        files.write_slice(path, pixels, acquisition, plan, height_mm=height, instance=number)
    files.write_mask_nifti(folder / row["mask"], image.masks, plan, image.heights_mm)
    return row


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    import pandas as pd

    pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n")


def _known(argument: str, given: str | Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The traps or organs by name, each once."""
    chosen = (given,) if isinstance(given, str) else tuple(dict.fromkeys(given or ()))
    for name in chosen:
        if name not in known:
            raise unknown_name(f"`{argument}` names {name!r}, and there is no such {argument[:-1]}.", name, known)
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
