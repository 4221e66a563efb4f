"""The groups of a test whose numbers are means over cases: Dice of masks, PSNR of images. It measures no case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from easydl.evaluation.case_sample import CaseSample
from easydl.evaluation.metric import Metric, Resampling
from easydl.evaluation.results import Metrics
from easydl.evaluation.subgroups import subgroups
from easydl.tasks import Task


def by_case(metrics: Metrics, test: Any, columns: Mapping[str, pd.Series], *, seed: int = 0) -> Metrics:
    """The same Metrics with a table of groups of its cases.

    Args:
        metrics: Of masks or of reconstructed images.
        test: The study that was tested.
        columns: What its images are grouped by, one value per row of the study.
        seed: Seed of the permutations.
    """
    cases = metrics.cases
    assert cases is not None
    masks = metrics.task is Task.SEGMENTATION
    measure = "dice" if masks else metrics.rows[0].name
    addresses = [test.addresses(row)[0] for row in range(len(test))]
    place = pd.Series(range(len(addresses)), index=addresses)
    place = place[~place.index.duplicated()]
    rows = place.reindex(cases["image"].astype(str)).to_numpy()
    known = np.isfinite(rows)
    frame = cases[known].reset_index(drop=True)
    rows = rows[known].astype(int)
    if "class" not in frame.columns:
        frame = frame.assign(**{"class": ""})
    frame = frame.assign(case=rows)
    units = frame["patient" if metrics.patients_known else "image"].astype(str)
    resampling = Resampling(metrics.patients_known, metrics.seed, metrics.resamples)
    first = metrics.rows[0]

    def lines(inside: np.ndarray) -> list[dict[str, Any]]:
        sample = CaseSample(frame[inside], resampling)
        metric = Metric[CaseSample](first.name, lambda one: one.mean(one.frame, measure, bounded=masks), first.unit)
        return [metric.row(sample)]

    values, classes = frame[measure].to_numpy(float), frame["class"].to_numpy()

    def headline(inside: np.ndarray) -> float:
        means = [
            values[here].mean()
            for name in np.unique(classes)
            if (here := inside & (classes == name) & np.isfinite(values)).any()
        ]
        return float(np.mean(means)) if means else np.nan

    of_case = {name: column.iloc[rows].reset_index(drop=True) for name, column in columns.items()}
    return subgroups(metrics, of_case, units, lines, headline, seed=seed)
