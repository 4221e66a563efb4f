"""The networks that can be built by name, with their published facts. Builds nothing, loads no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from easydl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_STORE = "https://storage.googleapis.com/tensorflow/keras-applications/"


@dataclass(frozen=True)
class Entry:
    """What is known about one network before it is built.

    Attributes:
        name: What the user types.
        makes: ``classifier`` or ``segmenter``.
        dimension: 2 for images, 3 for volumes.
        parameters: Numbers to learn: the backbone without its head for a network with pretrained weights (the
            published count), the whole network with its default arguments otherwise.
        paper: Where the architecture is described.
        smallest: The shortest side it accepts, in pixels.
        multiple: Every side must be a multiple of this many pixels (segmenters).
        rgb: True when the backbone was made for three colour channels.
        scaling: (scale, offset) that brings 0-255 to the range the backbone was trained on; None when the
            backbone does it in its own layers.
        application: The function of ``keras.applications`` that makes the backbone; empty when it is our own.
        width: The width multiplier of that function, or None.
        weights_file: Official name of the file with the ImageNet weights; empty when there is none.
        weights_url: Where it is published.
        weights_md5: Its checksum as ``keras.applications`` has it; empty when Keras publishes none.
    """

    name: str
    makes: Literal["classifier", "segmenter"]
    dimension: Literal[2, 3]
    parameters: int
    paper: str
    smallest: int
    multiple: int = 1
    rgb: bool = False
    scaling: tuple[float, float] | None = (1 / 127.5, -1.0)
    application: str = ""
    width: float | None = None
    weights_file: str = ""
    weights_url: str = ""
    weights_md5: str = ""

    @property
    def megabytes(self) -> float:
        """Size of the weights in a model file, in MB (10^6 bytes, float32)."""
        return self.parameters * 4 / 1e6


def _mobilenet(name: str, width: float, parameters: int) -> Entry:
    text = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}[width]
    file = f"mobilenet_{text}_224_tf_no_top.h5"
    return Entry(
        name,
        "classifier",
        2,
        parameters,
        "Howard 2017, MobileNets, arXiv:1704.04861",
        32,
        rgb=True,
        application="MobileNet",
        width=width,
        weights_file=file,
        weights_url=f"{_STORE}mobilenet/{file}",
    )


_RESNET = "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "resnet",
            "classifier",
            2,
            23_564_800,
            "He 2016, Identity mappings in deep residual networks (ResNet50V2), arXiv:1603.05027",
            32,
            rgb=True,
            application="ResNet50V2",
            weights_file=_RESNET,
            weights_url=f"{_STORE}resnet/{_RESNET}",
            weights_md5="fac2f116257151a9d068a22e544a4917",
        ),
        _mobilenet("mobilenet", 1.0, 3_228_864),
        _mobilenet("mobilenet_075", 0.75, 1_832_976),
        _mobilenet("mobilenet_050", 0.5, 829_536),
        _mobilenet("mobilenet_025", 0.25, 218_544),
        Entry(
            "efficientnet",
            "classifier",
            2,
            4_049_571,
            "Tan 2019, EfficientNet (B0), arXiv:1905.11946",
            32,
            rgb=True,
            scaling=None,
            application="EfficientNetB0",
            weights_file="efficientnetb0_notop.h5",
            weights_url="https://storage.googleapis.com/keras-applications/efficientnetb0_notop.h5",
            weights_md5="50bc09e76180e00e4465e1a485ddc09d",
        ),
        Entry(
            "tiny",
            "classifier",
            2,
            292_562,
            "none: seven 3x3 convolutions with batch normalisation, in the manner of arXiv:1409.1556",
            16,
        ),
        Entry(
            "tiny3d",
            "classifier",
            3,
            872_530,
            "none: the volume twin of tiny, with group normalisation, arXiv:1803.08494",
            8,
        ),
        Entry(
            "unet",
            "segmenter",
            2,
            1_898_562,
            "Ronneberger 2015, U-Net, arXiv:1505.04597; residual blocks, arXiv:1711.10684",
            16,
            multiple=16,
        ),
        Entry(
            "unet3d",
            "segmenter",
            3,
            1_347_426,
            "Cicek 2016, 3D U-Net, arXiv:1606.06650; design rules of nnU-Net, arXiv:1809.10486",
            8,
            multiple=8,
        ),
    )
}


def names(makes: str) -> list[str]:
    """The names that a kind of builder knows, in the order of the catalogue."""
    return [entry.name for entry in ENTRIES.values() if entry.makes == makes]


def find(name: str, makes: str) -> Entry:
    """The entry with a name.

    Args:
        name: What the user typed.
        makes: ``classifier`` or ``segmenter``.

    Raises:
        InputError: No such name; the message lists the choices.

    Example:
        >>> find("resnet", "classifier").application
        'ResNet50V2'
    """
    entry = ENTRIES.get(name) if isinstance(name, str) else None
    if entry is None or entry.makes != makes:
        hint = ""
        if entry is not None:
            hint = f" {name} makes a {entry.makes}: call easydl.{name}() instead."
        raise InputError(
            f"Unknown {makes} {name!r}.{hint}",
            f"one of {', '.join(names(makes))}.",
            "Choose one of these names; the command `easydl models` lists them with their size.",
        )
    return entry


def models() -> pd.DataFrame:
    """Every network that can be built by name.

    Returns:
        One row per network with the columns ``name``, ``makes`` (classifier or segmenter), ``dimension`` (2
        or 3), ``parameters`` (a count; without the head where pretrained weights exist), ``megabytes`` (MB of
        the weights in float32), ``pretrained`` (``imagenet`` or empty) and ``paper``.

    Example:
        >>> table = models()
        >>> list(table.loc[table["pretrained"] == "imagenet", "name"])[:2]
        ['resnet', 'mobilenet']
    """
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "name": entry.name,
                "makes": entry.makes,
                "dimension": entry.dimension,
                "parameters": entry.parameters,
                "megabytes": round(entry.megabytes, 1),
                "pretrained": "imagenet" if entry.weights_file else "",
                "paper": entry.paper,
            }
            for entry in ENTRIES.values()
        ]
    )
