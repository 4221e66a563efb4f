"""The figure of a tree: questions from left to right, the answers in a column at the right. It fits nothing."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from easydl.figures import COLOURS, GREY, figure_of, literal, new_figure, sign

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from easydl.exploration.tree_result import Node, TreeExplanation

WIDE, HIGH = 2.9, 0.66
"""Inches of a question, and of an answer's line."""
LETTERS = 30


def draw_tree(found: TreeExplanation, ax: Axes | None) -> Figure:
    """Draw a tree that explains; of another one only the sentence that says that it does not."""
    leaves = [leaf for _, leaf in found.root.leaves()] if found.explains else []
    depth = _depth(found.root) if leaves else 1
    own = new_figure(max(7.0, WIDE * depth + 2.6), 1.5 + HIGH * max(1, len(leaves))) if ax is None else None
    ax = own.subplots() if own is not None else ax
    assert ax is not None
    ax.set_axis_off()
    width = int(12.5 * (own.get_figwidth() if own is not None else 7.0))
    ax.set_title("\n".join(textwrap.wrap(literal(found.sentence), width)), fontsize=10, loc="left")
    if leaves:
        names = list(dict.fromkeys(leaf.answer for leaf in sorted(leaves, key=lambda one: -one.images)))
        colours = {name: GREY if found.value else COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
        _place(ax, found, found.root, colours, depth=0, last=depth, line=0)
        ax.set_xlim(-0.05, depth + 0.95)
        ax.set_ylim(len(leaves) - 0.4, -0.6)
    if own is not None:
        sign(own)
    return figure_of(ax)


def _depth(node: Node) -> int:
    return 0 if node.input is None else 1 + max(_depth(one) for one in (node.no, node.yes) if one is not None)


def _place(
    ax: Axes, found: TreeExplanation, node: Node, colours: dict[str, str], *, depth: int, last: int, line: int
) -> tuple[float, int]:
    """Draw a node and all below it from this line on; returns its own height and the next free line."""
    if node.input is None or node.yes is None or node.no is None:
        who = f"{node.images} images, mean" if found.value else f"{node.right} of {node.images} images"
        if depth < last:
            ax.plot([depth, last], [line, line], color="#c9d1d6", linewidth=1.2, zorder=1)
        ax.text(last + 0.04, line, literal(f"{node.answer}"), va="bottom", ha="left", fontsize=10, fontweight="bold",
                color=colours[node.answer])  # fmt: skip
        ax.text(last + 0.04, line + 0.04, who, va="top", ha="left", fontsize=8, color=GREY)
        return float(line), line + 1
    asked, threshold = node.input, node.threshold
    top, following = _place(ax, found, node.yes, colours, depth=depth + 1, last=last, line=line)
    bottom, following = _place(ax, found, node.no, colours, depth=depth + 1, last=last, line=following)
    own = (top + bottom) / 2
    for end, answer, below in ((top, "yes", node.yes), (bottom, "no", node.no)):
        # Lines end behind the boxes, which are as wide as their text.
        there = depth + 1 + (0.3 if below.input is not None else 0)
        ax.plot([depth + 0.3, depth + 0.72, there], [own, end, end], color="#c9d1d6", linewidth=1.2, zorder=1)
        ax.text(depth + 0.76, end - 0.05, answer, fontsize=8, color=GREY, va="bottom", ha="left")
    text = asked.phrase.removeprefix("the ") + ("?" if asked.category else f" above {asked.number(threshold)}?")
    ax.text(depth + 0.3, own, "\n".join(textwrap.wrap(literal(text), LETTERS)), ha="center", va="center", fontsize=8.5,
            bbox={"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "#9aa5ad", "linewidth": 0.9}, zorder=2)  # fmt: skip
    return own, following
