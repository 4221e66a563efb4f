"""Damaged files: every one is read or refused with our errors, and nothing else happens. 200 by default, 2,000 in all."""

import time
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from made import dicom_slice

from easydl.errors import EasyDLError
from easydl.images import read

FILES, LARGEST_BYTES, SLOWEST_S = 1600, 150_000, 10

SPREAD = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 27, 30, 31, 32, 33, 34,
    35, 36, 37, 38, 39, 40, 42, 43, 45, 47, 49, 51, 52, 53, 55, 56, 59, 60, 61, 63, 65, 66, 68, 69, 70, 71, 73, 74,
    76, 77, 78, 80, 84, 85, 86, 87, 88, 90, 91, 92, 94, 96, 97, 98, 100, 103, 105, 106, 108, 109, 110, 111, 112, 113,
    115, 116, 118, 119, 120, 121, 122, 123, 126, 129, 133, 134, 137, 140, 141, 144, 145, 148, 149, 152, 155, 156, 165,
    174, 177, 190, 191, 195, 214, 223, 227, 231, 233, 234, 269, 271, 273, 275, 276, 277, 278, 284, 287, 289, 300, 322,
    323, 324, 329, 364, 371, 374, 376, 382, 388, 390, 396, 421, 424, 442, 455, 474, 479, 497, 532, 537, 542, 646, 649,
    652, 656, 658, 668, 675, 679, 716, 723, 756, 778, 791, 855, 856, 898, 928, 966, 990, 996, 1012, 1029, 1030, 1036,
    1071, 1105, 1115, 1142, 1146, 1212, 1213, 1222, 1236, 1270, 1274, 1320, 1348, 1355, 1393, 1398, 1406, 1450, 1467,
    1477, 1484, 1512, 1561, 1591,
)  # fmt: skip
"""Of the seeds below `FILES` those that damage every file at least once and have each of the 84 outcomes."""


def mutated(raw: bytes, rng: np.random.Generator) -> bytes:
    """A file with flipped, zeroed, doubled, moved or missing bytes, most of them in its header."""
    data = bytearray(raw)
    header = min(len(data), 3000)
    for _ in range(rng.integers(1, 4)):
        reach = header if rng.random() < 0.8 else len(data)
        place = int(rng.integers(0, max(1, min(reach, len(data)))))
        kind = rng.integers(0, 6)
        if kind <= 1 and data:
            for spot in rng.integers(0, min(reach, len(data)), rng.integers(1, 12)):
                data[spot] = rng.integers(0, 256)
        elif kind == 2:
            del data[place : place + int(rng.integers(1, 64))]
        elif kind == 3:
            data[place:place] = rng.integers(0, 256, rng.integers(1, 64)).astype(np.uint8).tobytes()
        elif kind == 4:
            data[place : place + 32] = bytes(min(32, max(0, len(data) - place)))
        else:
            del data[int(rng.integers(100, len(data) + 101)) :]
    return bytes(data)


def read_or_refused(path) -> str:
    """ "read" or "refused"; whatever else is raised fails the test with its seed and file."""
    start = time.process_time()  # other processes may be busy
    scan, refusal = None, None
    try:
        scan = read(path)
    except EasyDLError as problem:
        refusal = problem
    assert time.process_time() - start < SLOWEST_S
    if refusal is not None:
        assert refusal.found
        assert refusal.expected
        assert refusal.do
        return "refused"
    assert np.isfinite(scan.pixels).all()
    assert scan.spacing_mm is None or (np.isfinite(scan.spacing_mm).all() and min(scan.spacing_mm) > 0)
    assert scan.affine is None or np.isfinite(scan.affine).all()
    return "read"


@pytest.fixture(scope="module")
def zoo(real):
    files = [path for path in sorted((real / "dicom_zoo").rglob("*")) if path.is_file()]
    files = [path for path in files if path.stat().st_size < LARGEST_BYTES and path.suffix not in (".csv", ".md")]
    assert len(files) > 60
    return files


def check_fuzzed(path, zoo, seeds):
    answers = {"read": 0, "refused": 0}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        source = zoo[int(rng.integers(len(zoo)))]
        path.write_bytes(mutated(source.read_bytes(), rng))
        try:
            answers[read_or_refused(path)] += 1
        except Exception as problem:
            raise AssertionError(f"seed {seed}, {source.name}: {type(problem).__name__}: {problem}") from problem
    assert min(answers.values()) > len(seeds) / 20, answers


@pytest.mark.real
def test_flipped_bytes_in_every_file_with_every_outcome(zoo, tmp_path):
    check_fuzzed(tmp_path / "fuzzed.dcm", zoo, SPREAD)


@pytest.mark.real
@pytest.mark.everything
def test_flipped_bytes_over_the_zoo(zoo, tmp_path):
    check_fuzzed(tmp_path / "fuzzed.dcm", zoo, range(FILES))


ELEMENTS = {
    "Rows": st.integers(0, 70000), "Columns": st.integers(0, 70000), "SamplesPerPixel": st.integers(0, 5),
    "BitsAllocated": st.sampled_from([0, 1, 7, 8, 12, 16, 24, 32, 64]), "BitsStored": st.integers(0, 70),
    "HighBit": st.integers(0, 70), "PixelRepresentation": st.integers(0, 3), "NumberOfFrames": st.integers(-3, 10**7),
    "PhotometricInterpretation": st.sampled_from(["MONOCHROME1", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "?", ""]),
    "RescaleSlope": st.sampled_from(["", "1e999", "-0", "nan", "1e-320", "3", "-1e30"]),
    "RescaleIntercept": st.sampled_from(["", "1e999", "nan", "-1024", "1e38"]),
    "PixelSpacing": st.sampled_from([None, ["1"], ["0", "0"], ["1e-320", "1"], ["1e300", "1e300"], ["1", "1", "1"]]),
    "ImagePositionPatient": st.sampled_from([None, ["1e300", "0", "0"], ["inf", "0", "0"], ["0"]]),
    "ImageOrientationPatient": st.sampled_from([None, ["0"] * 6, ["1", "0", "0", "1", "0", "0"], ["nan"] * 6]),
    "PixelPaddingValue": st.integers(0, 32767), "PlanarConfiguration": st.integers(0, 2),
    "Modality": st.sampled_from(["CT", "MR", "", "SEG"]), "PatientAge": st.sampled_from(["", "99999", "abcY", "-01Y"]),
    "StudyDate": st.sampled_from(["", "99999999", "20201301"]),
}  # fmt: skip


def odd_values(examples):
    """Draws tables of elements that cannot be right, always the same ones."""
    quiet = [HealthCheck.function_scoped_fixture]
    limits = settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=quiet)
    values = given(changes=st.fixed_dictionaries({}, optional=ELEMENTS), size=st.integers(0, 300))
    return lambda test: limits(values(test))


def check_read_with(folder, changes, size):
    pixels = np.random.default_rng(zlib.crc32(repr(changes).encode())).integers(0, 4096, (6, 8)).astype(np.uint16)
    data = (pixels.tobytes() * 4)[:size] if size < 290 else pixels.tobytes()
    try:
        path = dicom_slice(folder / "a.dcm", pixels, **{**changes, "PixelData": data})
    except (OSError, OverflowError, ValueError):
        assume(False)  # pydicom would not write it.
    assert read_or_refused(path) in ("read", "refused")


@odd_values(40)
def test_values_that_cannot_be_right(tmp_path, changes, size):
    check_read_with(tmp_path, changes, size)


@pytest.mark.everything
@odd_values(400)
def test_400_tables_of_values_that_cannot_be_right(tmp_path, changes, size):
    check_read_with(tmp_path, changes, size)
