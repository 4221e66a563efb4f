import numpy as np
import pytest
from matplotlib.figure import Figure

from easydl import augmentation
from easydl.errors import RESEARCH_USE, InputError


@pytest.mark.parametrize("shape", [(60, 48), (5, 40, 30)], ids=["2D", "3D"])
@pytest.mark.parametrize("units", ["0-255", "relative", "HU"])
def test_the_original_stands_beside_its_copies(shape, units, make):
    study = make.study([make.scan(make.image(shape), units)], [make.mask(shape)], classes=["background", "left lung"])
    figure = augmentation.preset("mri").show(study, n=3)
    assert isinstance(figure, Figure)
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == 4
    assert shown[0].get_title().startswith("original")
    assert all(axis.collections for axis in shown)
    assert not np.array_equal(shown[0].images[0].get_array(), shown[1].images[0].get_array())
    texts = [text.get_text() for text in figure.texts] + [figure.get_suptitle()]
    assert any(RESEARCH_USE in " ".join(text.split()) for text in texts)
    assert ("contrast" in shown[1].get_title()) == (units != "HU")


def test_colour_stays_colour(make):
    figure = augmentation.preset("fundus").show(make.study([make.scan(make.image((40, 50), 3), "0-255")]), n=1)
    assert figure.axes[0].images[0].get_array().shape == (40, 50, 3)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 25}, {"row": 1}])
def test_a_number_out_of_range_is_said(wrong, make):
    study = make.study([make.scan(make.image((8, 8)), "0-255")])
    with pytest.raises(InputError):
        augmentation.preset("none").show(study, **wrong)


def test_a_volume_stored_the_other_way_up_is_shown_as_radiologists_expect(make):
    """Rows that run to the front and columns that run to the right of the patient are both mirrored for the picture."""
    volume = make.image((3, 20, 24))
    affine = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
    figure = augmentation.preset("none").show(make.study([make.scan(volume, "0-255", affine=affine)]), n=1)
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, volume[1, ::-1, ::-1, 0] / 255, atol=1e-6)


def test_artefacts_and_extras_are_named_under_the_pictures(make):
    study = make.study([make.scan(make.image((40, 50)), "0-255")])
    titles = [axis.get_title() for axis in augmentation.preset("mri+cutout+gridmask").show(study, n=12).axes]
    assert all(any(word in title for title in titles) for word in ("bias field", "cutout", "gridmask"))
    figure = augmentation.preset("histology+mixup").show(study, n=8)
    assert "not shown" in figure.get_suptitle()
    assert any("elastic" in axis.get_title() for axis in figure.axes)
