"""What tests of the app's pages read and press."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from easydl.errors import RESEARCH_USE

EVIL = "<img src=x onerror=alert(1)>"


def text(at) -> str:
    """Everything a person can read on the page."""
    kinds = (
        "title",
        "subheader",
        "markdown",
        "caption",
        "error",
        "warning",
        "info",
        "success",
        "button",
        "code",
    )
    parts = [str(getattr(one, "value", "") or getattr(one, "label", "")) for kind in kinds for one in at.get(kind)]
    parts += [one.proto.text for one in at.get("progress")]
    return "\n".join([*parts, *(one.value.to_string() for one in (*at.dataframe, *at.table))])


def assert_calm(at, surprised: bool = False) -> None:
    """No exception box, no traceback, and the research-use sentence."""
    words = text(at)
    assert not at.exception, at.exception
    assert "Traceback" not in words
    assert RESEARCH_USE in words
    if not surprised:
        assert "did not expect" not in words, (Path(os.environ["EASYDL_WORKSPACE"]) / "error.txt").read_text()


def films(folder: Path, names: tuple[str, str] = ("normal", "nodule"), each: int = 10) -> Path:
    rng = np.random.default_rng(0)
    for label in names:
        (folder / label).mkdir(parents=True)
        for number in range(each):
            pixels = rng.integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


def field(at, kind: str, label: str):
    return next(one for one in at.get(kind) if one.label == label)


def press(at, label: str):
    next(button for button in at.button if button.label == label).click().run()
    assert_calm(at)
    return at


def open_folder(at, folder: Path):
    at.text_input[0].set_value(str(folder))
    next(button for button in at.button if button.label == "Open the study").click()
    return at.run()
