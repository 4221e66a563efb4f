"""How near the image that a network made is to the clean one, beside how near the spoiled one was. It runs no model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.intervals import PatientBootstrap, mean_interval, not_computable
from easydl.evaluation.results import Metrics, metric_row, size_notes
from easydl.prediction.image_to_image import INVENTED, NOISE, REDUCED, Rebuilt

SIDE, LEAST = 7, 3
MEASURES = {"PSNR": "dB", "SSIM": ""}
SPOILED = {
    "noise": f"Gaussian noise with {NOISE:.0%} of the window's range as its deviation was added to clean scans.",
    "reduced": f"Scans were reduced {REDUCED} times along each side and enlarged again.",
    "": "The network was given the scans as they are: the numbers say how much its code keeps.",
}


def reconstruction_metrics(
    cases: Iterable[Rebuilt],
    *,
    window: tuple[float, float],
    channels: tuple[str, ...],
    spoiled_by: str,
    patients_known: bool = True,
    seed: int = 0,
    resamples: int = 2000,
) -> Metrics:
    """Test a network that makes images: PSNR and SSIM per image, and what it gains over the spoiled image.

    Args:
        cases: Clean, spoiled and made image of each scan; taken one at a time.
        window: (low, high) of the model: the range that both measures refer to.
        channels: Names of the channels.
        spoiled_by: ``noise``, ``reduced`` or nothing (`easydl.prediction.image_to_image.degrades`).
        patients_known: False when nobody knows which images belong to one patient.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Returns:
        Metrics whose first row is the PSNR in dB (of images the mean over images, with a patient-level interval), then
        that of the spoiled image and the gain; the same for SSIM. ``cases`` has one row per image.

    Raises:
        InputError: There is no image to test.

    References:
        Wang et al. 2004, Image quality assessment (SSIM), 10.1109/TIP.2003.819861.
    """
    rows = [_measured(case, window) for case in cases]
    if not rows:
        raise InputError("There is no image to test.", "at least one image.", "Check that the test set is not empty.")
    frame = pd.DataFrame(rows)
    unit_of_n = "patients" if patients_known else "images"
    people = frame["patient" if patients_known else "image"].astype(str)
    bootstrap = PatientBootstrap(people, resamples=resamples, seed=seed)

    def mean(name: str, column: str, unit: str, note: str = "") -> dict[str, Any]:
        known = np.isfinite(frame[column].to_numpy(float))
        values, index = (
            frame[column].to_numpy(float)[known],
            np.searchsorted(bootstrap.names, people[known].to_numpy(str)),
        )
        n = len(np.unique(index))
        left = f"{(~known).sum()} image(s) left out: no finite value" if not known.all() else ""
        note = "; ".join(one for one in (note, left) if one)
        if not n:
            reason = not_computable("no image with a finite value")
            return metric_row(name, np.nan, reason, 0, unit_of_n, images=0, unit=unit, note=note)
        sums = np.stack(
            [np.bincount(index, one, len(bootstrap.names)) for one in (values, np.ones(len(values)))], axis=1
        )

        def statistic(weights: np.ndarray) -> np.ndarray:
            drawn = weights @ sums
            return np.divide(drawn[:, :1], drawn[:, 1:], out=np.full_like(drawn[:, :1], np.nan), where=drawn[:, 1:] > 0)

        interval = mean_interval(bootstrap.run(statistic)[:, 0], n)
        return metric_row(name, values.mean(), interval, n, unit_of_n, images=int(known.sum()), unit=unit, note=note)

    table = []
    for measure, unit in MEASURES.items():
        table.append(mean(measure, measure, unit, "made image against clean image"))
        if spoiled_by:
            table.append(
                mean(f"{measure} of the spoiled image", f"{measure} spoiled", unit, "what the network was given")
            )
            table.append(mean(f"gain in {measure}", f"{measure} gain", unit, "made minus spoiled, image by image"))
    n = len(bootstrap.names)
    notes = [INVENTED, SPOILED[spoiled_by], f"Both measures refer to the window {window[0]:g} to {window[1]:g}."]
    notes += size_notes({"all": n}, unit_of_n)
    if not patients_known:
        notes.append("Patients are unknown: every image counts as its own patient, so intervals may be too narrow.")
    return Metrics(
        task="reconstruction",
        classes=channels,
        table=pd.DataFrame(table),
        notes=notes,
        patients_known=patients_known,
        images=len(frame),
        patients=n,
        cases=frame
        if spoiled_by
        else frame.drop(columns=[f"{one} {what}" for one in MEASURES for what in ("spoiled", "gain")]),
        seed=seed,
        resamples=resamples,
    )


def _measured(case: Rebuilt, window: tuple[float, float]) -> dict[str, Any]:
    span = window[1] - window[0]
    found: dict[str, Any] = {"image": str(case.image), "patient": str(case.patient)}
    for name, image in (("", case.made), (" spoiled", case.spoiled)):
        found[f"PSNR{name}"] = _psnr(case.clean, image, span)
        found[f"SSIM{name}"] = _ssim(case.clean, image, span)
    for measure in MEASURES:
        gain = found[measure] - found[f"{measure} spoiled"] if np.isfinite(found[f"{measure} spoiled"]) else np.nan
        found[f"{measure} gain"] = gain
    return found


def _psnr(clean: np.ndarray, image: np.ndarray, span: float) -> float:
    from skimage.metrics import peak_signal_noise_ratio

    # Equal images have an infinite PSNR, which no mean can hold.
    return float(peak_signal_noise_ratio(clean, image, data_range=span)) if (clean != image).any() else float("nan")


def _ssim(clean: np.ndarray, image: np.ndarray, span: float) -> float:
    from skimage.metrics import structural_similarity

    side = min(SIDE, *clean.shape[:-1])
    side -= 1 - side % 2
    if side < LEAST:
        return float("nan")
    return float(structural_similarity(clean, image, data_range=span, channel_axis=-1, win_size=side))
