import numpy as np
import pytest
from made import segmented_series

from easydl.errors import InputError
from easydl.images import Scan
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


def test_what_cannot_become_a_seg_is_refused(tmp_path):
    empty = segmented_series(tmp_path / "s")
    empty.mask[:] = 0
    with pytest.raises(InputError, match="empty"):
        empty.to_dicom(tmp_path / "out.dcm")
    plain = Segmentation(np.ones((2, 4, 4), np.int32), Scan(np.zeros((2, 4, 4, 1)), "HU", source="x.nii"), ("b", "f"))
    with pytest.raises(InputError, match="not read from DICOM"):
        plain.to_dicom(tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()
