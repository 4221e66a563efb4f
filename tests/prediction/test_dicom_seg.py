import numpy as np
import pandas as pd
import pytest
from made import dicom_slice, segmented_series

import easydl
from easydl.errors import InputError
from easydl.images import Scan, read
from easydl.prediction import Segmentation

pytestmark = pytest.mark.quick


def test_a_seg_comes_back_with_the_same_voxels_in_the_same_place(tmp_path):
    import highdicom

    result = segmented_series(tmp_path / "s")
    written = highdicom.seg.segread(result.to_dicom(tmp_path / "out.dcm"))
    volume = written.get_volume(combine_segments=True).match_geometry(
        highdicom.VolumeGeometry(result.affine, result.mask.shape, coordinate_system="PATIENT")
    )
    np.testing.assert_array_equal(volume.array, result.mask)
    assert [written.get_segment_description(k).segment_label for k in (1, 2)] == ["lung", "nodule"]
    assert written.SeriesDescription.startswith("RESEARCH ONLY")
    assert "Research use only" in written.ImageComments
    assert written.PatientID == "SECRET-7"


def test_slices_whose_orientation_differs_in_the_last_decimals_carry_a_segmentation(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(6):
        across = 0.005 + 1e-5 * (1 if k % 2 else -1)
        along = (1 - across**2) ** 0.5
        dicom_slice(
            tmp_path / f"s/{k}.dcm", rng.integers(0, 2000, (16, 20)).astype(np.uint16), SOPInstanceUID=f"1.2.{k + 1}",
            ImageOrientationPatient=[f"{x:.9f}" for x in (along, across, 0, -across, along, 0)],
            ImagePositionPatient=[0, 0, 2.5 * k],
        )  # fmt: skip
    scan = read(tmp_path / "s")
    mask = np.zeros(scan.shape, np.int32)
    mask[1:4, 3:9, 5:12] = 1
    path = Segmentation(mask, scan, ("background", "lesion")).to_dicom(tmp_path / "seg.dcm")
    frame = pd.DataFrame({"image": [str(tmp_path / "s")], "mask": [str(path)]})
    np.testing.assert_array_equal(easydl.load(frame, patient=None).reference(0), mask)


def test_what_cannot_become_a_seg_is_refused(tmp_path):
    empty = segmented_series(tmp_path / "s")
    empty.mask[:] = 0
    with pytest.raises(InputError, match="empty"):
        empty.to_dicom(tmp_path / "out.dcm")
    plain = Segmentation(np.ones((2, 4, 4), np.int32), Scan(np.zeros((2, 4, 4, 1)), "HU", source="x.nii"), ("b", "f"))
    with pytest.raises(InputError, match="not read from DICOM"):
        plain.to_dicom(tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()
