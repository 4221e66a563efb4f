"""Every bad input: no traceback, no hang, memory bounded, no silently wrong result."""

import re
import resource

import pytest
from bad_inputs import dicom_cases, nifti_cases, raster_cases, table_cases

from easydl.errors import EasyDLError

CASES = [*dicom_cases.CASES, *nifti_cases.CASES, *raster_cases.CASES, *table_cases.CASES]
WANTED = [f"{group}{n:02d}" for group, last in (("D", 47), ("N", 20), ("I", 15), ("T", 18)) for n in range(1, last + 1)]
MOST_MEMORY_KB = 600_000
"""Largest growth of resident memory that one bad input may cause (the caps themselves are tested with small ones)."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=[f"{case.id}-{case.what.replace(' ', '_')}" for case in CASES])
def test_bad_input(case, tmp_path):
    before = _peak_kb(reset=True)
    if case.outcome == "fail":
        with pytest.raises(EasyDLError) as caught:
            case.use(tmp_path)
        error = caught.value
        assert re.search(case.says, str(error), re.IGNORECASE), f"said: {error}"
        assert all(part.strip().endswith((".", "?", "!", ")", "]")) for part in (error.found, error.expected)), error
        assert error.do.strip(), "what to do is missing"
    elif case.outcome == "warn":
        notes = list(case.use(tmp_path))
        assert any(re.search(case.says, note, re.IGNORECASE) for note in notes), f"noted: {notes}"
    else:
        assert case.outcome == "fix"
        case.use(tmp_path)
    assert _peak_kb() - before < MOST_MEMORY_KB


def test_every_id_has_a_case():
    assert set(WANTED) == {case.id for case in CASES}


def _peak_kb(*, reset: bool = False) -> int:
    try:
        if reset:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
