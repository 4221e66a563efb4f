"""The one way to draw a scan: black and white, the slice, the contours; and what a notebook's kernel is told."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from easydl import figures
from easydl.figures import grey_values, key_slice, new_figure, panel, sign
from easydl.images import Scan

pytestmark = pytest.mark.quick


def scan(shape=(4, 6), units="0-255", **more):
    pixels = np.linspace(-1200, 600, int(np.prod(shape)), dtype=np.float32).reshape(*shape, 1)
    return Scan(pixels, units, **more)


def test_black_and_white_follow_the_unit_and_the_window():
    values = scan().pixels[..., 0]
    np.testing.assert_allclose(grey_values(scan()), np.clip(values / 255, 0, 1))
    np.testing.assert_allclose(grey_values(scan(units="HU")), np.clip((values + 1000) / 1400, 0, 1), atol=1e-6)
    np.testing.assert_allclose(grey_values(scan(units="HU"), (0, 400)), np.clip(values / 400, 0, 1))
    relative = grey_values(scan(units="relative"))
    assert (relative.min(), relative.max()) == (0, 1)


def test_a_volume_shows_the_slice_that_matters():
    volume, mask, heat = scan((5, 4, 6)), np.zeros((5, 4, 6), int), np.zeros((5, 4, 6))
    assert key_slice(volume) == key_slice(volume, mask, heat) == 2
    mask[3] = 2
    mask[1, 0, 0] = 9
    assert key_slice(volume, mask, heat) == 3
    heat[4, 0, 0] = 0.1
    assert key_slice(volume, mask, heat) == 4


def test_a_panel_is_upright_with_a_contour_for_each_class():
    affine = np.array([[0, 0, -1.0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    mask = np.zeros((4, 6), int)
    mask[1:3, 1:3], mask[1:3, 3:5] = 1, 2
    ax = new_figure(2, 2).subplots()
    panel(ax, scan(affine=affine, spacing_mm=(2.0, 1.0)), mask, mask / 2, classes=("background", "a$", "b"))
    np.testing.assert_allclose(ax.images[0].get_array(), grey_values(scan())[:, ::-1])
    assert ax.get_aspect() == 2
    assert ax.images[1].get_alpha().max() == pytest.approx(figures.STRONGEST)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r"a\$", "b"]
    ax = new_figure(2, 2).subplots()
    panel(ax, scan(), mask)
    assert ax.get_legend() is None and len(ax.collections) == 1


def test_a_figure_is_signed_in_as_many_lines_as_it_needs():
    figure = new_figure(2.0, 2.0)
    sign(figure)
    assert figure.get_supxlabel().count("\n") >= 2


def test_a_kernel_learns_to_show_figures_once_and_keeps_its_own_way(monkeypatch):
    known = {}

    def lookup(kind):
        return known[kind]

    formatter = SimpleNamespace(lookup_by_type=lookup, for_type=known.__setitem__)
    shell = SimpleNamespace(kernel=1, display_formatter=SimpleNamespace(formatters={"image/png": formatter}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0)))
    figure = new_figure(1, 1)
    assert known[type(figure)](figure).startswith(b"\x89PNG")
    known[type(figure)] = "the kernel's own"
    new_figure(1, 1)
    assert known == {type(figure): "the kernel's own"}


def test_the_import_loads_and_changes_nothing():
    code = "import sys, easydl.figures; print(sorted({'matplotlib', 'IPython', 'tensorflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
