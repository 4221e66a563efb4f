import numpy as np
import pytest
from PIL import Image

from easydl.errors import InputError
from easydl.images import read
from easydl.images.raster import raster_facts


def test_grey_rgb_and_16_bit_are_kept(tmp_path):
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6)
    Image.fromarray(grey).save(tmp_path / "g.png")
    scan = read(tmp_path / "g.png")
    np.testing.assert_array_equal(scan.pixels[..., 0], grey)
    assert scan.units == "0-255"
    deep = np.arange(30, dtype=np.uint16).reshape(5, 6) * 2000
    Image.fromarray(deep).save(tmp_path / "d.png")
    scan = read(tmp_path / "d.png")
    np.testing.assert_array_equal(scan.pixels[..., 0], deep)
    assert scan.units == "relative"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_rotation_flag_is_applied(tmp_path, orientation):
    upright = np.zeros((10, 20, 3), np.uint8)
    upright[:4, :6] = 255
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    image = Image.fromarray(upright)
    stored = image if undo is None else image.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "r.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "r.png").pixels, upright)


def test_transparent_parts_become_black(tmp_path):
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[..., 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    scan = read(tmp_path / "a.png")
    assert scan.pixels.max() == 0
    assert "transparent" in scan.notes[0]


def _broken(name, folder):
    path = folder / f"{name}.png"
    if name == "missing":
        return path
    if name == "text":
        path.write_text("hello")
    elif name == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:900])
    elif name == "pages":
        path = folder / "pages.tif"
        frames = [Image.fromarray(np.full((4, 4), k, np.uint8)) for k in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    elif name == "thin":
        Image.fromarray(np.zeros((1, 50), np.uint8)).save(path)
    elif name == "svg":
        path = folder / "a.svg"
        path.write_text("<svg/>")
    return path


@pytest.mark.parametrize("name", ["missing", "text", "cut", "pages", "thin", "svg"])
def test_broken_images_are_refused_in_three_parts(tmp_path, name):
    with pytest.raises(InputError) as caught:
        read(_broken(name, tmp_path))
    assert all((caught.value.found, caught.value.expected, caught.value.do))


def test_facts_follow_the_image_as_it_is_shown(tmp_path):
    smooth = np.add.outer(np.arange(16) * 4, np.arange(32) * 3).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth).save(tmp_path / "a.jpg", exif=exif, quality=88)
    facts = raster_facts(tmp_path / "a.jpg")
    assert (facts["width"], facts["height"]) == ("16", "32")
    assert read(tmp_path / "a.jpg").shape == (32, 16)
    assert facts["jpeg_quality"] == "88"
    Image.fromarray(smooth).save(tmp_path / "b.jpg", quality=88)
    Image.fromarray(smooth).save(tmp_path / "c.jpg", quality=70)
    tables = [raster_facts(tmp_path / name)["jpeg_tables"] for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert tables[0] == tables[1] != tables[2]
    Image.fromarray(smooth).save(tmp_path / "d.png")
    assert raster_facts(tmp_path / "d.png") == {"width": "32", "height": "16", "file_type": "PNG L"}


def test_a_mask_keeps_the_numbers_of_a_palette_and_of_few_bits(tmp_path):
    labels = np.zeros((8, 9), np.uint8)
    labels[2:4, 3:6], labels[5:7, 1:3] = 1, 2
    image = Image.fromarray(labels, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / "voc.png", bits=8)
    scan = read(tmp_path / "voc.png", labels=True)
    np.testing.assert_array_equal(scan.pixels[..., 0], labels)
    assert "palette" in scan.notes[0]
    assert read(tmp_path / "voc.png").pixels.shape[-1] == 3
    image.putpalette([255, 255, 255, 0, 0, 0, 9, 9, 9])
    image.save(tmp_path / "grey.png")
    np.testing.assert_array_equal(
        read(tmp_path / "grey.png", labels=True).pixels[..., 0], np.array([255, 0, 9])[labels]
    )
    image.putpalette([250, 252, 250, 4, 2, 4, 0, 0, 0])
    image.save(tmp_path / "inverse.png")
    with pytest.raises(InputError, match="darker"):
        read(tmp_path / "inverse.png", labels=True)


@pytest.mark.real
def test_odd_public_originals_are_read_as_pillow_shows_them(real):
    files = [
        *(real / "covid_cxr_metadata/originals_sample").iterdir(),
        *sorted((real / "brain_mri_tumor/no").iterdir()),
    ]
    for path in files:
        scan = read(path)
        with Image.open(path) as image:
            truth = image.convert("RGBA")
        black = Image.new("RGBA", truth.size, "black")
        truth = np.asarray(Image.alpha_composite(black, truth).convert("RGB"), np.float32)
        assert np.abs(scan.pixels - truth).max() <= 1, path.name
