"""One CT image of one simulated patient: chest, nodule, projection, noise, reconstruction, masks. It writes no files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from easydl.simulation import anatomy, cohort, physics
from easydl.simulation.pelvis_imaging import pelvis_image
from easydl.simulation.plan import Image, Settings, halves, stamp
from easydl.simulation.shapes import Ellipse, Ellipsoid

NODULE_HU = (-150.0, 60.0)
_COUCH_MM, _COUCH_HU = 134.0, -200.0


def make_image(acquisition: cohort.Acquisition, plan: Settings) -> Image:
    """The image of one row of the study; the same row always gives the same pixels."""
    return (chest_image if plan.shows.region == "chest" else pelvis_image)(acquisition, plan)


def chest_image(acquisition: cohort.Acquisition, plan: Settings) -> Image:
    """The image of one row of the study; the same row always gives the same pixels."""
    person, number = acquisition.source
    chest = anatomy.chest(plan.stream(person, 3), person.sex)
    table_mm = round(plan.stream(person, 4).uniform(-900, -300), 1)
    levels = plan.levels(plan.stream(person, 5))
    # Each image has its own nodule; a neighbour's may reach into the slice, and is then in the mask too.
    nodules = [
        anatomy.nodule(plan.stream(person, 6, index), chest, level, plan.shows.lesion_mm, NODULE_HU)
        for index, level in enumerate(levels)
        if person.positive and (not plan.shows.volumes or index == number - 1)
    ]
    own = nodules[0 if plan.shows.volumes else number - 1].diameter_mm if nodules else 0.0
    position = plan.stream(person, 7, number, acquisition.exposure)
    angle, shift = position.uniform(-5, 5), position.uniform(-5, 5, 2)
    noise = plan.stream(person, 8, number, acquisition.exposure)
    scanner = cohort.SCANNERS[person.scanner]
    couch = Ellipse(np.array([0.0, _COUCH_MM]), np.diag(np.square(scanner.couch_mm)))
    images: list[np.ndarray] = []
    covered: dict[str, list[np.ndarray]] = {organ: [] for organ in plan.organs}
    for z in (heights := plan.centres(float(levels[number - 1]))):
        inside = plan.cuts(z)
        clean = [
            physics.sinogram([(couch, 1000.0 + _COUCH_HU, None), *_moved(chest, nodules, at, angle, shift)], plan.size)
            for at in inside
        ]
        pixels = physics.reconstruct(physics.expose(np.mean(clean, axis=0), plan.dose, noise), scanner.kernel)
        if "marker" in plan.traps and person.positive:
            stamp(pixels, 2000)
        images.append(pixels)
        for organ, fractions in covered.items():
            fractions.append(_covered(*_organ(organ, chest, nodules), inside, angle, shift, plan.size))
    masks = {organ: halves(np.stack(fractions)) for organ, fractions in covered.items()}
    return Image(np.stack(images), masks, [round(table_mm + z, 6) for z in heights], own)


def _moved(
    chest: anatomy.Chest, nodules: list[anatomy.Nodule], z: float, angle: float, shift: np.ndarray
) -> Iterator[physics.Term]:
    for shape, hu, limit in anatomy.slice_parts(chest, nodules, z):
        yield shape.moved(angle, shift), hu, limit.moved(angle, shift) if limit is not None else None


def _organ(organ: str, chest: anatomy.Chest, nodules: list[anatomy.Nodule]) -> tuple[list[Ellipsoid], list[Ellipsoid]]:
    """The shapes of an organ, and what lies in them but is none of it: heart and ribs bulge into the lungs."""
    if organ == "nodule":
        return [item.shape for item in nodules], []
    if organ == "lungs":
        return list(chest.lungs), [part.shape for part in chest.parts if part.within is not None]
    return [chest.obstacles[("heart", "aorta", "spine").index(organ)]], []


def _covered(
    shapes: list[Ellipsoid], without: list[Ellipsoid], heights: list[float], angle: float, shift: np.ndarray, size: int
) -> np.ndarray:
    """The fraction of each voxel of a slice that the shapes fill."""
    fractions = []
    for z in heights:
        inside, outside = (
            [cut.moved(angle, shift) for shape in some if (cut := shape.cut(z)) is not None]
            for some in (shapes, without)
        )
        fractions.append(physics.coverage(inside, size, without=outside))
    return np.mean(fractions, axis=0)
