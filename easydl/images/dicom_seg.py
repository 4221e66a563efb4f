"""DICOM Segmentation objects become label maps on the grid of an image. Parsing and geometry are highdicom's."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np

from easydl.errors import InputError
from easydl.images.frames import snap_frames
from easydl.images.geometry import moved, whole_steps, with_thickness
from easydl.images.headers import SEGMENTATIONS, header_errors, open_dicom, read_header
from easydl.images.limits import is_dicom
from easydl.images.quiet import quiet_libraries
from easydl.images.scan import Scan


@quiet_libraries()
def is_segmentation(path: str | Path) -> bool:
    """Whether a file is a DICOM Segmentation."""
    if not is_dicom(path):
        return False
    with header_errors(Path(path).name):
        return str(read_header(path).get("SOPClassUID") or "") in SEGMENTATIONS


@quiet_libraries()
def read_segments(path: str | Path) -> tuple[Scan, dict[int, str]]:
    """A binary or label map segmentation as one label map on its own grid, and the label of each segment number.

    The Scan holds 0 and the segment numbers; its affine is the one that the frames span, as empty slices may be absent
    from the file. DICOM PS3.3 A.51, C.8.20.2 (Segmentation Image Module).
    """
    from highdicom.seg import Segmentation

    name = Path(path).name
    dataset = open_dicom(path)
    if str(dataset.get("SegmentationType") or "") == "FRACTIONAL":
        raise InputError(
            f"The segmentation {name} holds probabilities (FRACTIONAL).",
            "a binary or label map segmentation.",
            "Export it as a binary segmentation.",
        )
    try:
        snap_frames(dataset)
        seg = Segmentation.from_dataset(dataset, copy=False)
        names = {number: str(seg.get_segment_description(number).segment_label) for number in seg.segment_numbers}
        volume = seg.get_volume(combine_segments=True)
    except Exception as problem:
        raise _invalid(name, problem, _overlapping(path) if "overlap" in str(problem) else "") from problem
    pixels = np.asarray(volume.array, np.float32)[..., None]
    spacing = tuple(float(mm) for mm in volume.spacing)
    return Scan(pixels, "relative", spacing_mm=spacing, affine=np.asarray(volume.affine), source=str(path)), names


def on_grid(labels: np.ndarray, affine: np.ndarray, scan: Scan, name: str) -> np.ndarray:
    """Segments on the grid of an image by their position in the patient; slices without any are background.

    ``labels`` is an integer ``(depth, height, width)`` array with its affine; ``name`` is used in messages.
    """
    scan, turned = scan.on_source(), scan  # There the first axis runs through the slices, also of a single one.
    if scan.affine is None:
        if labels.shape[0] == 1 and labels.shape[1:] == scan.shape:
            return labels[0]
        raise _misplaced(name, "its image has no position in space")
    to = scan.affine
    shape = scan.shape if scan.dimension == 3 else (1, *scan.shape)
    if shape[0] == 1:
        to = with_thickness(to, affine)
    if labels.shape[0] == 1:
        affine = with_thickness(affine, to)
    steps = whole_steps(affine, to, shape)
    if steps is None:
        raise _misplaced(name, "its voxels do not fall on those of its image")
    placed = moved(labels, affine, affine @ steps, shape)
    return turned.from_source(placed) if scan.dimension == 3 else placed[0]


def _overlapping(path: str | Path) -> str:
    """The names of two segments that share a voxel; "" when that is not known."""
    from highdicom.seg import Segmentation

    try:
        seg = Segmentation.from_dataset(open_dicom(path), copy=False)  # the one that failed holds its database
        labels = [str(seg.get_segment_description(number).segment_label) for number in seg.segment_numbers]
        held = np.asarray(seg.get_volume(combine_segments=False).array) > 0
    except Exception:  # the error of the combination is raised instead
        return ""
    counts = [(int((held[..., a] & held[..., b]).sum()), a, b) for a, b in combinations(range(len(labels)), 2)]
    most, a, b = max(counts, default=(0, 0, 0))
    return f": {labels[a]!r} and {labels[b]!r} in {most} voxels" if most else ""


def _invalid(name: str, problem: Exception, which: str = "") -> InputError:
    if "overlap" in str(problem):
        return InputError(
            f"Segments of {name} overlap{which}.",
            "segments that share no voxel: a mask has one class in each place.",
            "Export one structure for each file, or segments without overlap.",
        )
    return InputError(
        f"The segmentation {name} cannot be read as a volume ({type(problem).__name__}).",
        "segments with positions in the patient on evenly spaced slices.",
        "Export it as a DICOM Segmentation of its source series, or as NIfTI.",
    )


def _misplaced(name: str, why: str) -> InputError:
    return InputError(
        f"The mask {name} does not fit its image: {why}.",
        "a segmentation of this image.",
        "Choose the segmentation made on this series, pass resample_masks=True (--resample-masks) if it was made on "
        "another series of the same patient in the same position, or correct the table.",
    )
