"""A figure as a page shows it: text at the size it was written for, and the sentence that the page has already left out."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS_PER_INCH = 96  # of a browser; a point of text is 1/72 inch there as well
LETTERS_PER_INCH = 14  # at 9 points


def on_page(figure: Figure, pixels: int) -> Figure:
    """Give a figure the width it has on the page, so that nothing in it is drawn smaller than it was set.

    Args:
        figure: Of the caller's own; it is changed.
        pixels: Its width on the page.
    """
    figure.supxlabel("")  # every page carries the research-use sentence once
    width, height = figure.get_size_inches()
    inches = pixels / PIXELS_PER_INCH
    figure.set_size_inches(inches, height * inches / width)
    figure.set_dpi(2 * PIXELS_PER_INCH)
    for axes in figure.axes:
        letters = max(8, int(axes.get_position().width * inches * LETTERS_PER_INCH))
        lines = [textwrap.fill(line, letters) for line in axes.get_title().splitlines()]
        axes.title.set_text("\n".join(lines))
    return figure
