import io
import json
import shutil
from html import unescape

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from easydl.errors import RESEARCH_USE, InputError
from easydl.explanation import Heatmap, Verdict
from easydl.images import Scan

pytestmark = pytest.mark.quick
VERDICT = Verdict("CAUTION", "Interpret with caution: <it> may be looking at markers.", {"n_blobs": 39})


def make(shape=(30, 40), units="0-255", channels=1, **more):
    rng = np.random.default_rng(0)
    scan_facts = {key: more.pop(key) for key in ("affine", "spacing_mm", "header", "notes") if key in more}
    pixels = rng.uniform(-500, 500, (*shape, channels)) if units == "HU" else rng.uniform(0, 255, (*shape, channels))
    scan = Scan(pixels.astype(np.float32), units, source="case.dcm", **scan_facts)
    array = np.zeros(shape, np.float32)
    array[tuple(slice(side // 2, side // 2 + 3) for side in shape)] = 1
    given = {"target": "nodule", "probability": 0.931, "verdict": VERDICT} | more
    return Heatmap(array=array, scan=scan, **given)


def words(figure):
    texts = [text.get_text() for text in figure.findobj(Text)]
    return " ".join(" ".join(texts).split())


def panels(figure):
    axes = [axes for axes in figure.findobj(lambda artist: hasattr(artist, "images")) if axes.images]
    return sorted(axes, key=lambda one: one.get_position().x0)


def test_the_original_stands_beside_the_overlay():
    figure = make().show()
    assert isinstance(figure, Figure)
    original, overlay = panels(figure)
    assert len(original.images) == 1
    assert len(overlay.images) == 2
    np.testing.assert_array_equal(original.images[0].get_array(), overlay.images[0].get_array())
    said = words(figure)
    for part in ("nodule, probability 0.93", "CAUTION", "may be looking at markers", "grey: 0 to 255", RESEARCH_USE):
        assert part in said
    assert "DO NOT TRUST" not in said


def test_a_line_surrounds_the_strongest_part():
    """Its corners by hand: half of the maximum lies half a pixel outside the 3 x 3 pixels of evidence."""
    figure = make().show()
    original, overlay = panels(figure)
    assert not original.collections
    (line,) = overlay.collections
    points = np.concatenate([path.vertices for path in line.get_paths()])
    np.testing.assert_allclose([*points.min(axis=0), *points.max(axis=0)], [19.5, 14.5, 22.5, 17.5], atol=0.01)


def test_the_overlay_fades_where_there_is_no_evidence():
    overlay = panels(make().show())[1].images[1]
    assert overlay.get_alpha().min() == 0
    assert 0.5 < overlay.get_alpha().max() < 0.9


def test_a_failed_map_says_so_on_the_figure():
    assert "DO NOT TRUST" in words(make(verdict=Verdict("FAIL", "Do not interpret: it is noise.")).show())


def test_a_volume_shows_its_strongest_slice():
    affine = np.diag([2.5, 1.0, 1.0, 1.0])[[2, 1, 0, 3]] @ np.eye(4)
    affine[2, 3] = -100.0
    heatmap = make((12, 30, 20), affine=affine)
    heatmap.array[3] += 0.9
    figure = heatmap.show()
    np.testing.assert_allclose(panels(figure)[0].images[0].get_array(), heatmap.scan.pixels[3, ..., 0] / 255, rtol=1e-5)
    assert "axial slice 4 of 12, z = -92 mm the slice with most evidence" in words(figure)


AXIAL = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
CORONAL = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
SAGITTAL = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("usual", [AXIAL, CORONAL, SAGITTAL], ids=["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("rows", [1, -1])
@pytest.mark.parametrize("columns", [1, -1])
def test_the_patient_is_shown_as_radiologists_expect(usual, rows, columns):
    """LPS: x grows to the patient's left, y to the back, z upwards. However stored, right is on the left."""
    heatmap = make(affine=usual @ np.diag([1, rows, columns, 1.0]))
    axes = panels(heatmap.show())[0]
    letters = {text.get_text(): text.get_position()[0] for text in axes.texts}
    sagittal = usual is SAGITTAL
    assert letters == ({} if sagittal else {"R": 0.02, "L": 0.98})
    stored = heatmap.scan.pixels[..., 0] / 255
    expected = stored[::rows, :: 1 if sagittal else columns]
    np.testing.assert_allclose(axes.images[0].get_array(), expected, rtol=1e-5)
    assert not panels(make().show())[0].texts


def test_the_grey_scale_is_named():
    assert "grey: -160 to 240 HU" in words(make(units="HU", window=(-160.0, 240.0)).show())
    assert "percentiles" in words(make(units="relative").show())
    assert "channel 1 of 2" in words(make(channels=2).show())
    assert panels(make(channels=3).show())[0].images[0].get_array().shape == (30, 40, 3)


def test_simulated_images_are_called_simulated():
    assert "simulated image" in words(make(header={"scanner": "Simulated A"}).show())
    assert "original" in words(make(header={"scanner": "Skyra"}).show())


def test_pixels_keep_their_proportions():
    figure = make(spacing_mm=(3.0, 1.0)).show()
    assert panels(figure)[0].get_aspect() == pytest.approx(3.0)


def test_it_draws_into_axes_that_are_given():
    figure = Figure(figsize=(12, 5))
    given = figure.subplots(1, 2)[1]
    assert make().show(ax=given) is figure
    assert len(panels(figure)) == 2
    assert all(one.get_position().x0 > 0.5 for one in panels(figure))


def test_saving_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = make().save(tmp_path / "new" / "case-000.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 1000
    assert make().save(str(tmp_path / "case")).name == "case.png"
    before = path.read_bytes()
    monkeypatch.setattr(Heatmap, "_repr_png_", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make().save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["case-000.png"]


def test_the_ending_decides_what_is_written(tmp_path):
    import nibabel

    affine = AXIAL @ np.diag([3.0, 2.0, 1.0, 1.0])
    heatmap = make((6, 30, 40), affine=affine, spacing_mm=(3.0, 2.0, 1.0))
    np.testing.assert_array_equal(np.load(heatmap.save(tmp_path / "h.npy")), heatmap.array)
    for name in ("h.nii.gz", "h.nii"):
        image = nibabel.load(heatmap.save(tmp_path / name))
        where = np.argwhere(np.asarray(image.dataobj) == 1).mean(axis=0)
        # NIfTI is RAS: the first two coordinates have the other sign.
        expected = (affine @ [*np.argwhere(heatmap.array == 1).mean(axis=0), 1])[:3] * [-1, -1, 1]
        np.testing.assert_allclose((image.affine @ [*where, 1])[:3], expected, atol=1e-4)
    assert heatmap.save(tmp_path / "h").name == "h.png"
    assert make(affine=affine).save(tmp_path / "flat.nii").is_file()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["flat.nii", "h.nii", "h.nii.gz", "h.npy", "h.png"]


def test_other_endings_and_missing_places_are_said(tmp_path):
    with pytest.raises(InputError, match=r"h\.jpg") as said:
        make().save(tmp_path / "h.jpg")
    assert ".nii.gz" in said.value.expected and ".npy" in said.value.expected
    with pytest.raises(InputError, match="no position"):
        make().save(tmp_path / "h.nii.gz")
    with pytest.raises(InputError, match="not read from DICOM"):
        make().save(tmp_path / "h.dcm")
    assert not list(tmp_path.iterdir())


def test_a_secondary_capture_belongs_to_the_study_of_its_scan(tmp_path):
    import pydicom
    from made import dicom_slice

    from easydl.images import read

    source = dicom_slice(tmp_path / "case.dcm", np.zeros((32, 32), np.int16))
    scan = read(source)
    heat = np.zeros(scan.shape, np.float32)
    heat[4:8, 4:8] = 1
    heatmap = Heatmap(heat, scan, "nodule", 0.9, VERDICT)
    written, given = pydicom.dcmread(heatmap.save(tmp_path / "h.dcm")), pydicom.dcmread(source)
    assert written.SOPClassUID.name == "Secondary Capture Image Storage"
    assert written.StudyInstanceUID == given.StudyInstanceUID and written.PatientID == given.PatientID
    assert written.SeriesInstanceUID != given.SeriesInstanceUID and written.SeriesDescription.startswith(
        "RESEARCH ONLY"
    )
    assert VERDICT.sentence in written.ImageComments and RESEARCH_USE in written.ImageComments
    with Image.open(io.BytesIO(heatmap._repr_png_())) as figure:
        np.testing.assert_array_equal(written.pixel_array, np.asarray(figure.convert("RGB")))


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (Debian: dicom3tools) is not installed")
def test_the_validator_finds_no_error_in_the_secondary_capture(tmp_path):
    import subprocess

    from made import dicom_slice

    from easydl.images import read

    scan = read(dicom_slice(tmp_path / "case.dcm", np.zeros((32, 32), np.int16)))
    written = Heatmap(np.ones(scan.shape, np.float32), scan, "nodule", 0.9, VERDICT).save(tmp_path / "h.dcm")
    said = subprocess.run(["dciodvfy", str(written)], capture_output=True)
    lines = (said.stdout + said.stderr).decode("latin-1").splitlines()
    assert "SCImage" in lines and [line for line in lines if line.startswith("Error")] == []


def test_notebooks_get_an_image_with_text_for_those_who_cannot_see_it():
    page = make()._repr_html_()
    assert page.startswith('<img src="data:image/png;base64,iVBOR')
    assert "<it>" not in page
    assert "<details><summary>What was measured</summary>" in page and "<td>39</td>" in page
    assert "Heatmap for nodule, probability 0.93. Caution. Interpret with caution: <it>" in unescape(page)
    assert make()._repr_png_()[:4] == b"\x89PNG"


def test_the_index_entry_is_json():
    entry = json.loads(json.dumps(make().to_dict()))
    assert entry == {
        "image": "case.dcm",
        "target": "nodule",
        "probability": 0.931,
        "verdict": {"level": "CAUTION", "sentence": VERDICT.sentence, "numbers": {"n_blobs": 39}, "reasons": []},
        "words": "Middle third of the image, in the middle.",
    }
    assert make(verdict=None).to_dict()["verdict"] is None


def test_it_says_what_it_is_in_one_line():
    assert repr(make()) == "<Heatmap of 30 x 40 for nodule, probability 0.93; verdict caution>"
    assert "not tested" in repr(make(verdict=None))
    assert "NOT TESTED" in words(make(verdict=None).show())


def test_looking_at_a_heatmap_loads_no_tensorflow():
    import subprocess
    import sys

    code = "import sys; from easydl.explanation import Heatmap, Verdict; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
