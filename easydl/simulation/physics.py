"""CT physics: exact parallel-beam projections, photon noise at a stated dose, filtered back-projection to HU.

One energy (70 keV), no scatter, no beam hardening, no detector blur beyond the width of a detector cell.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from easydl.simulation.shapes import Ellipse

WATER_PER_MM = 0.0193
FIELD_OF_VIEW_MM = 340.0
_RAYS_PER_CELL = 3

Term = tuple[Ellipse, float, Ellipse | None]


def pixel_mm(size: int) -> float:
    """Side of a pixel in mm, rounded so that every header and file says exactly the same number."""
    return round(FIELD_OF_VIEW_MM / size, 6)


def view_angles(size: int) -> np.ndarray:
    """Projection angles in degrees, 0 to 180: enough of them for `size` pixels across."""
    return np.linspace(0.0, 180.0, max(96, round(1.25 * size)), endpoint=False)


def sinogram(terms: Iterable[Term], size: int) -> np.ndarray:
    """The exact line integrals of ellipses, averaged over each detector cell.

    Each ellipse adds its HU to air (-1000 HU), within an optional second ellipse. The result is float64
    ``(size, views)`` in the layout of `skimage.transform.radon`: attenuation, no unit, 0 for air. Kak and Slaney,
    Principles of Computerized Tomographic Imaging, IEEE Press 1988, section 3.1.
    """
    theta = np.deg2rad(view_angles(size))
    normal = np.stack([np.cos(theta), -np.sin(theta)], axis=1)  # skimage turns the other way: y points down
    along = np.stack([np.sin(theta), np.cos(theta)], axis=1)
    step = pixel_mm(size) / _RAYS_PER_CELL
    first = -(size // 2) * pixel_mm(size) - step * (_RAYS_PER_CELL - 1) / 2
    rays = size * _RAYS_PER_CELL
    total = np.zeros((len(theta), rays))
    view = np.arange(len(theta))[:, None]
    for shape, hu, limit in terms:
        reach = shape.radius_mm
        count = min(rays, int(np.ceil(2 * reach / step)) + 2)
        begin = np.floor((normal @ shape.centre - reach - first) / step).astype(int)
        index = np.clip(begin, 0, rays - count)[:, None] + np.arange(count)
        offset = first + step * index
        near, far = _chord(shape, normal, along, offset)
        if limit is not None:
            other_near, other_far = _chord(limit, normal, along, offset)
            near, far = np.maximum(near, other_near), np.minimum(far, other_far)
        total[view, index] += hu * np.maximum(far - near, 0.0)
    cells = total.reshape(len(theta), size, _RAYS_PER_CELL).mean(axis=2)
    return cells.T * (WATER_PER_MM / 1000.0)


def expose(line_integrals: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """The attenuation a photon-counting detector measures: Beer-Lambert, Poisson counts, then the logarithm.

    ``photons`` are those sent along each ray (I0). A ray that no photon survived counts as one photon.
    """
    counts = rng.poisson(photons * np.exp(-line_integrals))
    return np.log(photons / np.maximum(counts, 1))


def reconstruct(measured: np.ndarray, kernel: str = "hann") -> np.ndarray:
    """Filtered back-projection of ``(size, views)`` attenuation to int16 HU, -1024 to 3071.

    Rows run to the patient's back, columns to the left side. Of the filters of `skimage.transform.iradon`, ``"hann"`` is
    soft, ``"cosine"`` sharper and noisier.
    """
    from skimage.transform import iradon

    size = measured.shape[0]
    per_mm = iradon(measured, theta=view_angles(size), filter_name=kernel) / pixel_mm(size)
    return np.clip(np.rint(1000.0 * (per_mm / WATER_PER_MM - 1.0)), -1024, 3071).astype(np.int16)


def coverage(shapes: Iterable[Ellipse], size: int, samples: int = 4, *, without: Iterable[Ellipse] = ()) -> np.ndarray:
    """The fraction of each pixel inside any of the ellipses, from ``samples`` points per pixel and side.

    What lies in an ellipse of ``without`` does not count.
    """
    spacing = pixel_mm(size)
    fine = (np.arange(size * samples) + 0.5) / samples - 0.5 - size // 2
    inside = np.zeros((size * samples, size * samples), bool)
    for shape, counts in [*((one, True) for one in shapes), *((one, False) for one in without)]:
        reach = shape.radius_mm
        rows = np.flatnonzero(np.abs(fine * spacing - shape.centre[1]) <= reach)
        columns = np.flatnonzero(np.abs(fine * spacing - shape.centre[0]) <= reach)
        if rows.size and columns.size:
            here = shape.contains(fine[columns] * spacing, fine[rows, None] * spacing)
            inside[np.ix_(rows, columns)] = inside[np.ix_(rows, columns)] & ~here | (here & counts)
    return inside.reshape(size, samples, size, samples).mean(axis=(1, 3))


def _chord(shape: Ellipse, normal: np.ndarray, along: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each ray enters and leaves an ellipse (mm along the ray); entry after exit means a miss."""
    spread = normal @ shape.matrix
    width2 = (spread * normal).sum(axis=1, keepdims=True)
    shear = (spread * along).sum(axis=1, keepdims=True)
    away = offset - (normal @ shape.centre)[:, None]
    room = width2 - away * away
    half = shape.area / width2 * np.sqrt(np.maximum(room, 0.0))
    middle = (along @ shape.centre)[:, None] + shear / width2 * away
    half = np.where(room > 0, half, -np.inf)
    return middle - half, middle + half
