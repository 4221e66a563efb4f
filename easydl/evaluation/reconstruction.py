"""How near a reconstructed image is to the clean one, and how near the corrupted one was. It runs no model."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.case_sample import CaseSample
from easydl.evaluation.metric import PATIENTS_UNKNOWN, Estimate, Metric, Resampling, run, size_notes
from easydl.evaluation.results import Metrics
from easydl.prediction.image_results import INVENTED
from easydl.prediction.image_to_image import NOISE, REDUCED
from easydl.prediction.results import ReconstructedCase
from easydl.tasks import Task

SIDE, SMALLEST = 7, 3
MEASURES = {"PSNR": "dB", "SSIM": ""}
CORRUPTIONS = {
    "noise": f"Gaussian noise with a standard deviation of {NOISE:.0%} of the window's range was added to clean scans.",
    "reduced": f"Scans were downsampled by {REDUCED} along each side and upsampled again.",
    "": "The model was given the scans as they are: the numbers say how much its code keeps.",
}


def reconstruction_metrics(
    cases: Iterable[ReconstructedCase],
    *,
    window: tuple[float, float],
    channels: tuple[str, ...],
    corruption: str,
    patients_known: bool = True,
    seed: int = 0,
    resamples: int = 2000,
) -> Metrics:
    """Test an image-to-image model: PSNR and SSIM per image, and what it gains over the corrupted image.

    Args:
        cases: Clean, corrupted and reconstructed image of each scan; taken one at a time.
        window: (low, high) of the model: the range that both measures refer to.
        channels: Names of the channels.
        corruption: ``noise``, ``reduced`` or nothing (`easydl.prediction.image_to_image.corruption_of`).
        patients_known: False when nobody knows which images belong to one patient.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Returns:
        Metrics whose first row is the PSNR in dB (the mean over images, with a patient-level interval), then that of the
        corrupted image and the gain; the same for SSIM. ``cases`` has one row per image.

    Raises:
        InputError: There is no image to test.

    References:
        Wang et al. 2004, Image quality assessment (SSIM), 10.1109/TIP.2003.819861.
    """
    rows = [_measured(case, window) for case in cases]
    if not rows:
        raise InputError("There is no image to test.", "at least one image.", "Check that the test set is not empty.")
    resampling = Resampling(patients_known, seed, resamples)
    frame = pd.DataFrame(rows)
    sample = CaseSample(frame.assign(case=range(len(frame)), **{"class": ""}), resampling)
    metrics: list[Metric[CaseSample]] = []
    for measure, unit in MEASURES.items():
        metrics.append(_mean(measure, measure, unit, "reconstructed against clean image"))
        if corruption:
            name = f"{measure} of the corrupted image"
            metrics.append(_mean(name, f"{measure} corrupted", unit, "what the model was given"))
            gain = "reconstructed minus corrupted, image by image"
            metrics.append(_mean(f"gain in {measure}", f"{measure} gain", unit, gain))
    notes = [INVENTED, CORRUPTIONS[corruption], f"Both measures refer to the window {window[0]:g} to {window[1]:g}."]
    notes += size_notes({"all": sample.patients}, resampling.unit_of_n)
    shown = ["image", "patient", *(column for column in frame.columns if column in MEASURES)]
    return run(
        Task.RECONSTRUCTION,
        channels,
        metrics,
        sample,
        notes=notes if patients_known else [*notes, PATIENTS_UNKNOWN],
        cases=frame if corruption else frame[shown],
    )


def _mean(name: str, column: str, unit: str, note: str) -> Metric[CaseSample]:
    return Metric(name, partial(_mean_of_finite, column=column, note=note), unit)


def _mean_of_finite(sample: CaseSample, column: str, note: str) -> Estimate:
    excluded = int(sample.frame[column].isna().sum())
    if excluded:
        note = f"{note}; {excluded} image(s) left out: no finite value"
    return sample.mean(sample.frame, column, note)


def _measured(case: ReconstructedCase, window: tuple[float, float]) -> dict[str, Any]:
    span = window[1] - window[0]
    row: dict[str, Any] = {"image": str(case.image), "patient": str(case.patient)}
    for name, image in (("", case.reconstructed), (" corrupted", case.corrupted)):
        row[f"PSNR{name}"] = _psnr(case.clean, image, span)
        row[f"SSIM{name}"] = _ssim(case.clean, image, span)
    return row | {f"{measure} gain": row[measure] - row[f"{measure} corrupted"] for measure in MEASURES}


def _psnr(clean: np.ndarray, image: np.ndarray, span: float) -> float:
    from skimage.metrics import peak_signal_noise_ratio

    # Equal images have an infinite PSNR, which no mean can hold.
    return float(peak_signal_noise_ratio(clean, image, data_range=span)) if (clean != image).any() else float("nan")


def _ssim(clean: np.ndarray, image: np.ndarray, span: float) -> float:
    from skimage.metrics import structural_similarity

    side = min(SIDE, *clean.shape[:-1])
    side -= 1 - side % 2
    if side < SMALLEST:
        return float("nan")
    return float(structural_similarity(clean, image, data_range=span, channel_axis=-1, win_size=side))
