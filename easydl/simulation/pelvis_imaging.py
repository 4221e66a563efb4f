"""One MR image of one simulated patient: pelvis, mass, coil, k-space, noise, masks. It writes no files."""

from __future__ import annotations

import numpy as np

from easydl.simulation import mr
from easydl.simulation.cohort import Acquisition
from easydl.simulation.pelvis import Structure, mass, pelvis
from easydl.simulation.plan import Image, Settings, halves, stamp

_WAVES = 24


def pelvis_image(acquisition: Acquisition, plan: Settings) -> Image:
    """The image of one row of the study; the same row always gives the same pixels."""
    person, number = acquisition.source
    body = pelvis(plan.stream(person, 3), person.sex, person.age_years)
    table_mm = round(plan.stream(person, 4).uniform(-900, -300), 1)
    level = float(plan.levels(plan.stream(person, 5))[number - 1])
    lesion = mass(plan.stream(person, 6, number - 1), level, plan.shows.lesion_mm, person.positive)
    position = plan.stream(person, 7, number, acquisition.exposure)
    angle, shift = position.uniform(-5, 5), position.uniform(-5, 5, 2)
    noise = plan.stream(person, 8, number, acquisition.exposure)
    grain = _Grain(plan.stream(person, 9))
    gain = mr.WHITE * noise.uniform(0.8, 1.25)  # a receiver is set anew for every examination
    coil = mr.COILS[person.scanner]
    structures = [*body, *lesion.structures]
    values = np.array([0.0, *(item.tissue.signal(coil.tesla) for item in structures)])
    pixels: list[np.ndarray] = []
    covered: dict[str, list[np.ndarray]] = {organ: [] for organ in plan.organs}
    for z in (heights := plan.centres(level)):
        painted = [_paint(structures, cut, angle, shift, plan) for cut in plan.cuts(z)]
        signal = np.mean([values[ids] for ids in painted], axis=0)
        signal *= np.kron(grain.at(z, angle, shift, plan), np.ones((mr.SAMPLES, mr.SAMPLES)))
        grey = np.rint(gain * mr.acquire(signal, coil, plan.pixel_mm, noise)).clip(0, 4095).astype(np.int16)
        if "marker" in plan.traps and person.positive:
            stamp(grey, 3000)
        pixels.append(grey)
        for organ in plan.organs:
            is_organ = np.array([False, *(item.organ == organ for item in structures)])
            covered[organ].append(_fraction(is_organ, painted, plan.size))
    masks = {organ: halves(np.stack(fractions)) for organ, fractions in covered.items()}
    return Image(np.stack(pixels), masks, [round(table_mm + z, 6) for z in heights], lesion.diameter_mm)


def _paint(structures: list[Structure], z: float, angle: float, shift: np.ndarray, plan: Settings) -> np.ndarray:
    """Which structure (counted from 1; 0 is air) lies at each of `mr.SAMPLES` points per pixel and side."""
    many = plan.size * mr.SAMPLES
    at = ((np.arange(many) + 0.5) / mr.SAMPLES - 0.5 - plan.size // 2) * plan.pixel_mm
    ids = np.zeros((many, many), np.uint16)
    for index, item in enumerate(structures, 1):
        cut = item.shape.cut(z)
        if cut is None:
            continue
        cut = cut.moved(angle, shift)
        columns, rows = (
            slice(*np.searchsorted(at, [cut.centre[axis] - cut.radius_mm, cut.centre[axis] + cut.radius_mm]))
            for axis in (0, 1)
        )
        ids[rows, columns][cut.contains(at[None, columns], at[rows, None])] = index
    return ids


def _fraction(chosen: np.ndarray, painted: list[np.ndarray], size: int) -> np.ndarray:
    """The fraction of each voxel that the chosen structures fill."""
    fine = np.mean([chosen[ids] for ids in painted], axis=0)
    return fine.reshape(size, mr.SAMPLES, size, mr.SAMPLES).mean(axis=(1, 3))


class _Grain:
    """Tissue is not quite even: random waves of 8 to 25 mm that belong to the patient's body, not to the image."""

    def __init__(self, rng: np.random.Generator) -> None:
        ways = rng.normal(size=(_WAVES, 3))
        lengths = rng.uniform(8, 25, _WAVES)
        self.waves = 2 * np.pi * ways / np.linalg.norm(ways, axis=1, keepdims=True) / lengths[:, None]
        self.phases = rng.uniform(0, 2 * np.pi, _WAVES)

    def at(self, z: float, angle: float, shift: np.ndarray, plan: Settings) -> np.ndarray:
        """What multiplies the signal in a slice: about 1, give or take 5%."""
        turn = np.deg2rad(angle)
        x, y = ((np.arange(plan.size) - plan.size // 2) * plan.pixel_mm - shift[axis] for axis in (0, 1))
        u = np.cos(turn) * x[None, :] + np.sin(turn) * y[:, None]
        v = -np.sin(turn) * x[None, :] + np.cos(turn) * y[:, None]
        total = np.zeros_like(u)
        for (kx, ky, kz), phase in zip(self.waves, self.phases, strict=True):
            total += np.cos(kx * u + ky * v + kz * z + phase)
        return 1 + 0.05 * total / np.sqrt(_WAVES / 2)
