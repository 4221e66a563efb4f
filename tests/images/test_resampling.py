import numpy as np
import pytest

from easydl.errors import ModelError
from easydl.images import prepare
from easydl.images.resampling import resize, resize_labels, stretch
from easydl.images.scan import Scan


def test_prepare_stretches_relative_values_and_keeps_hounsfield():
    values = np.linspace(0, 4000, 64, dtype=np.float32).reshape(8, 8, 1)
    out = prepare(Scan(values, "relative"), channels=1, units="0-255")
    assert (out.min(), out.max()) == (0, 255)
    np.testing.assert_array_equal(prepare(Scan(values, "HU"), channels=1, units="HU"), values)
    with pytest.raises(ModelError, match="Hounsfield"):
        prepare(Scan(values, "relative"), channels=1, units="HU")
    with pytest.raises(ModelError, match="CT"):
        prepare(Scan(values, "HU"), channels=1, units="0-255")


def test_channels_are_matched_by_luminance_or_refused():
    colour = np.zeros((4, 4, 3), np.float32)
    colour[..., 1] = 100
    assert prepare(Scan(colour, "0-255"), channels=1, units="0-255")[0, 0, 0] == pytest.approx(58.7)
    grey = np.ones((4, 4, 1), np.float32)
    assert prepare(Scan(grey, "0-255"), channels=3, units="0-255").shape == (4, 4, 3)
    with pytest.raises(ModelError, match="channels"):
        prepare(Scan(np.zeros((4, 4, 2), np.float32), "0-255"), channels=5, units="0-255")


def test_resize_keeps_a_ramp_a_ramp_in_2d_and_3d():
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32)[:, None, None], (32, 16, 1)).copy()
    half = resize(ramp, (16, 16))
    np.testing.assert_allclose(half[2:-2, 4, 0], np.arange(0.5, 32, 2)[2:-2], atol=0.05)
    volume = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None, None], (12, 8, 8, 1)).copy()
    up = resize(volume, (24, 8, 8))
    assert up.shape == (24, 8, 8, 1)
    np.testing.assert_allclose(np.diff(up[2:-2, 3, 3, 0]), 0.5, atol=1e-4)


def test_label_resampling_invents_no_value():
    labels = np.random.default_rng(0).choice([0, 1, 4], (9, 10, 11))
    assert set(np.unique(resize_labels(labels, (18, 7, 30)))) <= {0, 1, 4}


def test_a_constant_image_stretches_to_zero():
    assert stretch(np.full((4, 4, 1), 7.0, np.float32)).max() == 0
