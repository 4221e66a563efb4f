import numpy as np
import pydicom
import pytest
from made import dicom_series

from easydl.errors import InputError
from easydl.images import Scan, read
from easydl.prediction import Segmentation


def segmented(folder):
    volume = np.random.default_rng(0).integers(0, 2000, (4, 8, 10)).astype(np.uint16)
    for number, file in enumerate(sorted(dicom_series(folder, volume).iterdir())):
        ds = pydicom.dcmread(file)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        ds.save_as(file)
    scan = read(folder)
    mask = np.zeros(scan.shape, np.int32)
    mask[0, 2:4, 3:7], mask[2, 5, 5] = 1, 2
    return Segmentation(mask, scan, ("background", "lung", "nodule"))


def test_a_seg_comes_back_with_the_same_voxels_in_the_same_place(tmp_path):
    import highdicom

    result = segmented(tmp_path / "s")
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
    empty = segmented(tmp_path / "s")
    empty.mask[:] = 0
    with pytest.raises(InputError, match="empty"):
        empty.to_dicom(tmp_path / "out.dcm")
    plain = Segmentation(np.ones((2, 4, 4), np.int32), Scan(np.zeros((2, 4, 4, 1)), "HU", source="x.nii"), ("b", "f"))
    with pytest.raises(InputError, match="not read from DICOM"):
        plain.to_dicom(tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()
