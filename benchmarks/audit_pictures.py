"""The pictures of docs/audit.md that show what a code means, from simulated numbers: python benchmarks/audit_pictures.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from easydl.figures import BLUE, GREY, ORANGE, frame, new_figure

PLACE = Path(__file__).parents[1] / "docs" / "images"
RNG = np.random.default_rng(0)


def row(name: str) -> tuple[Any, list[Any]]:
    """Three axes side by side."""
    figure = new_figure(10.4, 2.9)
    return figure, list(figure.subplots(1, 3))


def save(figure: Any, name: str) -> None:
    """As a PNG of the documentation."""
    figure.savefig(PLACE / f"{name}.png", dpi=100)


def cells(ax: Any, title: str, head: tuple[str, ...], lines: list[tuple[str, ...]], marked: set[int]) -> None:
    """A small table; some lines in orange."""
    ax.set(xlim=(0, len(head)), ylim=(-len(lines) - 0.6, 1.2), xticks=[], yticks=[])
    ax.set_title(title, fontsize=11)
    for side in ax.spines.values():
        side.set_visible(False)
    for k, word in enumerate(head):
        ax.text(k + 0.06, 0.3, word, fontsize=9.5, fontweight="bold", color=GREY)
    ax.axhline(0, color="#d7dde2", linewidth=1)
    for number, line in enumerate(lines, 1):
        for k, word in enumerate(line):
            ax.text(k + 0.06, 0.3 - number, word, fontsize=9.5, color=ORANGE if number in marked else "#26323c")


def parts() -> None:
    """A1, A3, A14."""
    figure, (first, second, third) = row("parts")
    lines = [("Meyer 0042", "train"), ("meyer-42", "test"), ("Adler 0007", "train"), ("Brandt 0013", "test")]
    cells(first, "A1: one patient, written in two ways", ("patient", "part"), lines, {1, 2})
    second.set_title("A3: slices of one scan in two parts", fontsize=11)
    for scan in range(4):
        tests = RNG.random(12) < 0.3 if scan == 1 else np.full(12, scan == 3)
        for slice_, test in enumerate(tests):
            second.barh(scan, 0.85, left=slice_, height=0.6, color=ORANGE if test else BLUE)
    second.set(yticks=range(4), yticklabels=[f"scan {k + 1}" for k in range(4)], xticks=[])
    second.text(0, 3.75, "training", color=BLUE, fontsize=9.5)
    second.text(4, 3.75, "test", color=ORANGE, fontsize=9.5)
    second.set_ylim(-0.6, 4.3)
    for side in second.spines.values():
        side.set_visible(False)
    for shift, colour, name in ((0.0, BLUE, "training part"), (1.8, ORANGE, "test part")):
        points = RNG.normal([shift, 0], [0.8, 1], (60, 2))
        third.scatter(*points.T, s=12, color=colour, label=name)
    frame(third, "x")
    third.set(
        title="A14: two parts of different kinds",
        xlabel="what a regression makes of the small look",
        yticks=[],
    )
    third.title.set_fontsize(11)
    third.legend(fontsize=9, frameon=False, loc="upper left")
    save(figure, "audit-parts")


def labels() -> None:
    """A7, A8 and A9, A12."""
    figure, (first, second, third) = row("labels")
    lines = [("c3f1...", "ill"), ("c3f1...", "well"), ("09ab...", "well"), ("77de...", "ill")]
    cells(first, "A7: equal pixels, different labels", ("hash of the pixels", "label"), lines, {1, 2})
    n = np.arange(5, 151)
    auc = 0.85
    spread = np.sqrt((auc * (1 - auc) + (n - 1) * (auc / (2 - auc) - auc**2 + 2 * auc**2 / (1 + auc) - auc**2)) / n**2)
    low, high = np.maximum(auc - 1.96 * spread, 0), np.minimum(auc + 1.96 * spread, 1)
    second.fill_between(n, low, high, color=BLUE, alpha=0.25)
    second.axhline(auc, color=BLUE)
    for least in (10, 30):
        second.axvline(least, color=GREY, linewidth=0.9)
        second.text(least + 1, 0.52, str(least), fontsize=9, color=GREY)
    frame(second, "y")
    second.set(
        title="A8, A9: 95% interval of an AUC of 0.85",
        xlabel="test patients of each class",
        ylim=(0.5, 1),
        xlim=(5, 150),
    )
    second.title.set_fontsize(11)
    found = ((0.99, 0.97, 1.0, "training, 60 patients"), (0.71, 0.55, 0.85, "test, 20 patients"))
    for place, (value, lower, upper, name) in enumerate(found):
        third.plot([lower, upper], [-place] * 2, color=ORANGE if place else BLUE, linewidth=2)
        third.plot(value, -place, "o", color=ORANGE if place else BLUE)
        third.text(0.5, -place + 0.18, name, fontsize=9.5)
    frame(third, "x")
    third.set(title="A12: worse on new patients", xlabel="AUC (95% CI)", ylim=(-1.5, 0.8), xlim=(0.48, 1.02), yticks=[])
    third.title.set_fontsize(11)
    save(figure, "audit-labels")


def rules() -> None:
    """A16, A17, A18."""
    figure, (first, second, third) = row("rules")
    lines = [("fracture_left.png", "left"), ("mirrored copy", "right"), ("but called", "left")]
    cells(first, "A16: mirrored, and the name stays", ("image", "side"), lines, {2, 3})
    fine, coarse = RNG.normal(0.14, 0.01, 80), RNG.normal(0.42, 0.03, 40)
    second.hist([fine, coarse], bins=np.linspace(0.1, 0.5, 30), color=[BLUE, ORANGE], stacked=True)
    frame(second, "y")
    second.set(title="A17: pixels of two sizes", xlabel="spacing (mm)", ylabel="images")
    second.title.set_fontsize(11)
    size = np.arange(2, 61)
    third.plot(size, 2 * (size - 1) / (2 * size - 1), color=BLUE)
    third.axvline(10, color=GREY, linewidth=0.9)
    frame(third, "y")
    third.set(title="A18: Dice when one pixel is missed", xlabel="pixels of the structure", ylim=(0.6, 1))
    third.title.set_fontsize(11)
    save(figure, "audit-rules")


def times() -> None:
    """A19, A21, A22."""
    figure, (first, second, third) = row("times")
    before = -RNG.integers(1, 60, 14)
    before[[2, 7, 11]] = 9, 25, 14
    first.scatter(before, np.arange(14), s=18, color=[ORANGE if day > 0 else BLUE for day in before])
    first.axvline(0, color=GREY, linewidth=0.9)
    frame(first, "x")
    first.set(
        title="A19: images after the biopsy", xlabel="days from the biopsy to the image", yticks=[], ylabel="patients"
    )
    first.title.set_fontsize(11)
    lines = [("p1", "1951-04-02", "+49 30 ..."), ("p2", "1964-11-23", "+49 89 ..."), ("p3", "1948-07-15", "+49 40 ...")]
    cells(second, "A21: columns that identify", ("patient", "birth_date", "contact"), lines, {1, 2, 3})
    for centre, count, wrong, name in (((0, 0), 60, 0.08, ""), ((2.6, 1.6), 26, 0.6, "group")):
        points = RNG.normal(centre, 0.6, (count, 2))
        errors = RNG.random(count) < wrong
        third.scatter(*points[~errors].T, s=12, color=BLUE, label=None if name else "right")
        third.scatter(*points[errors].T, s=20, color=ORANGE, marker="x", label=None if name else "wrong")
    third.legend(fontsize=9, frameon=False, loc="lower right")
    frame(third, "x")
    third.set(title="A22: a group that is wrong more often", xticks=[], yticks=[], xlabel="what the last layer sees")
    third.title.set_fontsize(11)
    save(figure, "audit-groups")


if __name__ == "__main__":
    for draw in (parts, labels, rules, times):
        draw()
