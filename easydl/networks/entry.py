"""What is known about one network before it is built, and where those facts are kept. It builds nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Makes = Literal["classifier", "segmenter", "translator"]
Scaling = tuple[float | tuple[float, ...], float | tuple[float, ...]]
MINUS_ONE_TO_ONE: Scaling = (1 / 127.5, -1.0)
# How RadImageNet's makers feed their four networks, in all nine Keras training scripts of github.com/BMEII-AI/RadImageNet
# (acl, breast, covid19, hemorrhage, meniscus, pneumonia, sarscovid2, thyroid, bone age): ImageDataGenerator with
# preprocessing_function=imagenet_utils.preprocess_input, whose default is the "caffe" mode (blue first, mean taken off),
# and rescale=1/255, which that generator applies after the function. The script of the pretraining is not published.
RADIMAGENET: Scaling = (1 / 255, (-123.68 / 255, -116.779 / 255, -103.939 / 255))
SOURCES = ("imagenet", "radimagenet")
# Ratios of a training step to that of MobileNetV2, both at the default size (benchmarks/model_costs.py).
STEP_CLASSES = (("light", 1.5), ("medium", 6.0), ("heavy", float("inf")))


@dataclass(frozen=True)
class Entry:
    """What is known about one network before it is built.

    Attributes:
        name: What the user types.
        makes: ``classifier``, ``segmenter`` or ``translator`` (image in, image out).
        dimension: 2 for images, 3 for volumes.
        paper: Where the architecture is described.
        wired: Where the layers are laid out: ``module:function`` below ``easydl.networks``.
        smallest: The shortest side it accepts, in pixels.
        multiple: Every side must be a multiple of this many pixels (segmenters).
        rgb: True when the backbone was made for three colour channels.
        scaling: (scale, offset) that brings 0-255 to the range the backbone was trained on; None when the
            backbone does it in its own layers.
        bgr: True when the published weights take blue first; they are turned around when they are copied.
        application: The function of ``keras.applications`` that makes the backbone; empty when it is our own.
        inflates: The 2D network whose published weights this 3D one can start from, repeated along the new axis.
        width: The width multiplier of that function, or None.
        also: Other names for it.
        parameters: Numbers in the network without its head (classifiers), or in the whole with its default
            arguments; moving averages count.
        gflops: Billions of operations (a multiply-add is two) for one image at the default size.
        step: Time of a training step relative to ``mobilenetv2``, both at the default size on a processor; 0
            until ``benchmarks/model_costs.py --time`` has measured it, which a test demands.
        weights_file: Official name of the file with the ImageNet weights; empty when there is none.
        weights_url: Where it is published.
        weights_hash: Its checksum as ``keras.applications`` has it (md5, or sha256 by its length); empty when Keras
            publishes none.
        radimagenet_file: Official name of the file with RadImageNet weights; empty when there is none.
    """

    name: str
    makes: Makes
    dimension: Literal[2, 3]
    paper: str
    wired: str
    smallest: int
    multiple: int = 1
    rgb: bool = False
    scaling: Scaling | None = MINUS_ONE_TO_ONE
    bgr: bool = False
    application: str = ""
    inflates: str = ""
    width: float | None = None
    also: tuple[str, ...] = ()
    parameters: int = 0
    gflops: float = 0.0
    step: float = 0.0
    weights_file: str = ""
    weights_url: str = ""
    weights_hash: str = ""
    radimagenet_file: str = ""

    @property
    def megabytes(self) -> float:
        """Size of the weights in a model file, in MB (10^6 bytes, float32)."""
        return self.parameters * 4 / 1e6

    @property
    def cost(self) -> str:
        """How long a training step takes, as a class: ``light``, ``medium`` or ``heavy``."""
        return next(word for word, most in STEP_CLASSES if self.step <= most)

    @property
    def pretrained(self) -> tuple[str, ...]:
        """The sources of published weights that this network has itself; see `easydl.networks.catalogue.sources`."""
        return tuple(
            name for name, file in (("imagenet", self.weights_file), ("radimagenet", self.radimagenet_file)) if file
        )

    def trained_on(self, source: str) -> Entry:
        """This network with the pixel scaling and colour order that a source of weights was trained with.

        Args:
            source: ``imagenet`` or ``radimagenet``.
        """
        return replace(self, scaling=RADIMAGENET, bgr=True) if source == "radimagenet" else self


@cache
def facts() -> dict[str, dict[str, Any]]:
    """Counts, costs and weights files by name, as ``benchmarks/model_costs.py`` wrote them down."""
    return json.loads(files("easydl.networks").joinpath("facts.json").read_text("utf-8"))
