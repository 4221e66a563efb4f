"""Text in a picture is as large on the page as it was set, and the page's own sentence is not repeated in it."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from easydl.errors import RESEARCH_USE
from easydl.figures import new_figure, sign
from easydl.workspace.screen import on_page

pytestmark = pytest.mark.quick


def pixels_of_a_letter(figure, width: int) -> float:
    """The height of the title's letters, measured in the picture as the page scales it to its width."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=200)
    picture = Image.open(buffer).convert("L")
    picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    dark = np.flatnonzero((np.asarray(picture)[: picture.height // 4] < 160).any(axis=1))
    return float(dark.max() - dark.min() + 1)


def pictured():
    figure = new_figure(10.0, 4.0)
    for axes in figure.subplots(1, 3):
        axes.set_axis_off()
        axes.set_title("HHH", fontsize=9)
    sign(figure)
    return figure


def test_text_is_as_large_as_it_was_set() -> None:
    wanted = 9 / 72 * 96 * 0.73  # nine points at 96 pixels an inch; a capital of DejaVu Sans is 0.73 of them
    assert pixels_of_a_letter(pictured(), 450) < 0.6 * wanted
    assert pixels_of_a_letter(on_page(pictured(), 450), 450) == pytest.approx(wanted, rel=0.25)


def test_the_sentence_of_the_page_is_not_in_its_pictures() -> None:
    words = pictured().get_supxlabel().replace("\n", " ")
    assert RESEARCH_USE in words
    assert on_page(pictured(), 450).get_supxlabel() == ""


def test_a_long_name_does_not_run_into_the_next_picture() -> None:
    figure = pictured()
    for axes in figure.axes:
        axes.set_title("atypical ductal hyperplasia of the left breast\npatient 12", fontsize=9)
    on_page(figure, 450).canvas.draw()
    boxes = sorted((axes.title.get_window_extent() for axes in figure.axes), key=lambda box: box.x0)
    assert all(left.x1 <= right.x0 + 2 for left, right in itertools.pairwise(boxes))
