"""The registry of networks: what is known about each before it is built. Counts and costs are in facts.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Kind = Literal["classifier", "segmenter", "image_to_image"]
Scaling = tuple[float | tuple[float, ...], float | tuple[float, ...]]
MINUS_ONE_TO_ONE: Scaling = (1 / 127.5, -1.0)
# How RadImageNet's makers feed their four networks, in all nine Keras training scripts of github.com/BMEII-AI/RadImageNet
# (acl, breast, covid19, hemorrhage, meniscus, pneumonia, sarscovid2, thyroid, bone age): ImageDataGenerator with
# preprocessing_function=imagenet_utils.preprocess_input, whose default is the "caffe" mode (blue first, mean taken off),
# and rescale=1/255, which that generator applies after the function. The script of the pretraining is not published.
RADIMAGENET: Scaling = (1 / 255, (-123.68 / 255, -116.779 / 255, -103.939 / 255))
TITLES = {"imagenet": "ImageNet", "radimagenet": "RadImageNet"}
SOURCES = tuple(TITLES)
# Ratios of a training step to that of MobileNetV2, both at the default size (benchmarks/model_costs.py).
STEP_CLASSES = (("light", 1.5), ("medium", 6.0), ("heavy", float("inf")))


@dataclass(frozen=True)
class Entry:
    """What is known about one network before it is built.

    Attributes:
        name: What the user types.
        kind: ``classifier``, ``segmenter`` or ``image_to_image``.
        dimension: 2 for images, 3 for volumes.
        paper: Where the architecture is described.
        architecture: Where the layers are: ``module:function`` of ``easydl.networks.architectures``.
        smallest: The shortest side it accepts, in pixels.
        multiple: Every side must be a multiple of this many pixels (segmenters and image-to-image models).
        rgb: True when the backbone was made for three colour channels.
        scaling: (scale, offset) that brings 0-255 to the range the backbone was trained on; None when the
            backbone does it in its own layers.
        bgr: True when the published weights take blue first; their first kernel is reversed when it is copied.
        application: The function of ``keras.applications`` that makes the backbone; empty when it is our own.
        inflates: The 2D network whose published weights this 3D one can start from, repeated along the new axis.
        width: The width multiplier of that function, or None.
        also: Other names for it.
        parameters: Parameters of the network without its head (classifiers), or of the whole with its default
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
    kind: Kind
    dimension: Literal[2, 3]
    paper: str
    architecture: str
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
        """The sources of published weights of this very network; see `easydl.networks.listing.sources`."""
        return tuple(
            name for name, file in (("imagenet", self.weights_file), ("radimagenet", self.radimagenet_file)) if file
        )

    def trained_on(self, source: str) -> Entry:
        """This network with the pixel scaling and colour order of a source of weights."""
        return replace(self, scaling=RADIMAGENET, bgr=True) if source == "radimagenet" else self


@cache
def facts() -> dict[str, dict[str, Any]]:
    """Counts, costs and weights files by name, as ``benchmarks/model_costs.py`` wrote them down."""
    return json.loads(files("easydl.networks").joinpath("facts.json").read_text("utf-8"))


# keras.applications.imagenet_utils: mode "torch" and mode "caffe" (there with blue first; here red first).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STANDARDISED: Scaling = (
    tuple(1 / (255 * std) for std in IMAGENET_STD),
    tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)),
)
LITE: Scaling = (1 / 128, -127 / 128)
CENTRED: Scaling = (1.0, (-123.68, -116.779, -103.939))

_RESNET, _IDENTITY = "He 2016, ResNet, arXiv:1512.03385", "He 2016, identity mappings (ResNet V2), arXiv:1603.05027"
_DENSE, _VGG = "Huang 2017, DenseNet, arXiv:1608.06993", "Simonyan 2015, VGG, arXiv:1409.1556"
_INCEPTION, _IRV2 = "Szegedy 2016, Inception-v3, arXiv:1512.00567", "Szegedy 2017, Inception-ResNet, arXiv:1602.07261"
_EFFICIENT, _EFFICIENT2 = "Tan 2019, EfficientNet, arXiv:1905.11946", "Tan 2021, EfficientNetV2, arXiv:2104.00298"
_MOBILE, _MOBILE2 = "Howard 2017, MobileNets, arXiv:1704.04861", "Sandler 2018, MobileNetV2, arXiv:1801.04381"
_MOBILE3, _NEXT = "Howard 2019, MobileNetV3, arXiv:1905.02244", "Liu 2022, ConvNeXt, arXiv:2201.03545"


def _entry(name: str, kind: Kind, dimension: int, paper: str, architecture: str, smallest: int, **more: Any) -> Entry:
    return Entry(name, kind, dimension, paper, architecture, smallest, **more, **facts().get(name, {}))  # type: ignore[arg-type]


def _keras(name: str, application: str, paper: str, smallest: int = 32, **more: Any) -> Entry:
    """A 2D classifier whose backbone is one of ``keras.applications``."""
    architecture = more.pop("architecture", "keras_applications:backbone")
    return _entry(name, "classifier", 2, paper, architecture, smallest, rgb=True, application=application, **more)


def _widths(name: str, application: str, paper: str, widths: tuple[float, ...]) -> list[Entry]:
    """One entry per published width; the full width has the plain name."""
    return [
        _keras(name if width == 1 else f"{name}_{round(width * 100):03d}", application, paper, width=width)
        for width in widths
    ]


CLASSIFIERS = (
    _keras("resnet", "ResNet50V2", _IDENTITY, also=("resnet50v2",)),
    _entry("resnet18", "classifier", 2, _RESNET, "resnet:resnet", 32),
    _entry("resnet34", "classifier", 2, _RESNET, "resnet:resnet", 32),
    _keras(
        "resnet50", "ResNet50", _RESNET, scaling=CENTRED, bgr=True,
        radimagenet_file="RadImageNet-ResNet50_notop.h5",
    ),
    _keras("resnet101v2", "ResNet101V2", _IDENTITY),
    _keras(
        "densenet121", "DenseNet121", _DENSE, scaling=STANDARDISED, also=("densenet",),
        radimagenet_file="RadImageNet-DenseNet121_notop.h5",
    ),
    _keras("densenet169", "DenseNet169", _DENSE, scaling=STANDARDISED),
    _keras("densenet201", "DenseNet201", _DENSE, scaling=STANDARDISED),
    _keras("vgg16", "VGG16", _VGG, scaling=CENTRED, bgr=True, also=("vgg",)),
    _keras("vgg19", "VGG19", _VGG, scaling=CENTRED, bgr=True),
    _entry(
        "googlenet", "classifier", 2, "Szegedy 2015, GoogLeNet, arXiv:1409.4842; batch normalised, arXiv:1502.03167",
        "inception:googlenet", 32, also=("inceptionv1",),
    ),
    _keras(
        "inceptionv3", "InceptionV3", _INCEPTION, 75, also=("inception",),
        radimagenet_file="RadImageNet-InceptionV3_notop.h5",
    ),
    _entry("inceptionv4", "classifier", 2, f"{_IRV2} (Inception-v4)", "inception:inceptionv4", 75),
    _keras("inceptionresnetv2", "InceptionResNetV2", _IRV2, 75, radimagenet_file="RadImageNet-IRV2_notop.h5"),
    _keras("xception", "Xception", "Chollet 2017, Xception, arXiv:1610.02357", 71),
    *_widths("mobilenet", "MobileNet", _MOBILE, (1.0, 0.75, 0.5, 0.25)),
    *_widths("mobilenetv2", "MobileNetV2", _MOBILE2, (1.0, 1.4, 1.3, 0.75, 0.5, 0.35)),
    _keras("mobilenetv3small", "MobileNetV3Small", _MOBILE3, scaling=None),
    _keras("mobilenetv3large", "MobileNetV3Large", _MOBILE3, scaling=None, also=("mobilenetv3",)),
    *(
        _keras(
            f"efficientnetb{k}", f"EfficientNetB{k}", _EFFICIENT, scaling=None, also=("efficientnet",) if k == 0 else ()
        )
        for k in range(8)
    ),
    *(
        _keras(
            f"efficientnetv2{k.lower()}", f"EfficientNetV2{k}", _EFFICIENT2, scaling=None,
            also=("efficientnetv2",) if k == "B0" else (),
        )
        for k in ("B0", "B1", "B2", "B3", "S", "M", "L")
    ),
    *(
        _keras(
            f"convnext{k.lower()}", f"ConvNeXt{k}", _NEXT, scaling=STANDARDISED, architecture="convnext:convnext",
            also=("convnext",) if k == "Tiny" else (),
        )
        for k in ("Tiny", "Small", "Base")
    ),
    _entry(
        "efficientnetlite0", "classifier", 2, f"{_EFFICIENT}; EfficientNet-Lite0",
        "efficientnet_lite:efficientnet_lite", 32, rgb=True, scaling=LITE,
        weights_file="efficientnet_lite0_notop_float16.h5", weights_hash="86b9d33e1ac9a3ac9de715ff8b524bc0b76a36cdc2c067b73e56b2c241d42a86",
    ),
    _keras("nasnetmobile", "NASNetMobile", "Zoph 2018, NASNet, arXiv:1707.07012", 32, also=("nasnet",)),
    _entry("alexnet", "classifier", 2, "Krizhevsky 2012, AlexNet, NIPS 25", "alexnet:alexnet", 64),
    _entry("nin", "classifier", 2, "Lin 2014, Network in Network, arXiv:1312.4400", "nin:nin", 32),
    _entry("squeezenet", "classifier", 2, "Iandola 2016, SqueezeNet 1.1, arXiv:1602.07360", "squeezenet:squeezenet", 32),
    _entry("lenet", "classifier", 2, "LeCun 1998, LeNet-5, 10.1109/5.726791", "lenet:lenet", 28),
    _entry(
        "tiny", "classifier", 2,
        "none: seven 3x3 convolutions with batch normalisation, in the manner of arXiv:1409.1556", "tiny:tiny", 16,
    ),
    _entry(
        "tiny3d", "classifier", 3, "none: tiny for volumes, with group normalisation, arXiv:1803.08494",
        "tiny:tiny", 8,
    ),
    *(
        _entry(
            f"resnet3d{k}", "classifier", 3, "Hara 2018, 3D ResNets, arXiv:1711.09577", "resnet:resnet", 16,
            also=("resnet3d",) if k == 18 else (),
        )
        for k in (10, 18, 34)
    ),
    _entry(
        "resnet3d50", "classifier", 3, f"{_RESNET} (50 layers), inflated as in arXiv:1705.07750",
        "keras_applications:inflated", 32, rgb=True, scaling=CENTRED, bgr=True, application="ResNet50",
        inflates="resnet50",
    ),
    _entry(
        "densenet3d", "classifier", 3, f"{_DENSE} (121 layers), inflated as in arXiv:1705.07750",
        "keras_applications:inflated", 32, rgb=True, scaling=STANDARDISED, application="DenseNet121",
        inflates="densenet121",
    ),
)  # fmt: skip

RESIDUAL = tuple(
    entry.name
    for entry in CLASSIFIERS
    if entry.architecture in ("resnet:resnet", "convnext:convnext", "efficientnet_lite:efficientnet_lite")
    or entry.application.startswith(("ResNet", "MobileNetV2"))
)
"""The classifiers whose residual blocks can be dropped in training. EfficientNet of ``keras.applications`` drops its own."""

_RESIDUAL = "residual blocks, arXiv:1711.10684"

SEGMENTERS = (
    _entry(
        "unet", "segmenter", 2, f"Ronneberger 2015, U-Net, arXiv:1505.04597; {_RESIDUAL}",
        "unet:residual_unet", 16, multiple=16,
    ),
    _entry(
        "attention_unet", "segmenter", 2, f"Oktay 2018, Attention U-Net, arXiv:1804.03999; {_RESIDUAL}",
        "attention_unet:attention_unet", 16, multiple=16,
    ),
    _entry(
        "unetplusplus", "segmenter", 2, f"Zhou 2018, UNet++, arXiv:1807.10165; {_RESIDUAL}",
        "unetplusplus:unetplusplus", 16, multiple=16, also=("unet++",),
    ),
    _entry("fcn", "segmenter", 2, "Long 2015, FCN-8s, arXiv:1411.4038", "fcn:fcn", 32, multiple=32),
    _entry("segnet", "segmenter", 2, "Badrinarayanan 2015, SegNet, arXiv:1511.00561", "segnet:segnet", 32, multiple=32),
    _entry(
        "deeplabv3plus", "segmenter", 2, "Chen 2018, DeepLabv3+, arXiv:1802.02611", "deeplab:deeplabv3plus", 16,
        multiple=16, also=("deeplab",),
    ),
    _entry("linknet", "segmenter", 2, "Chaurasia 2017, LinkNet, arXiv:1707.03718", "linknet:linknet", 16, multiple=16),
    _entry(
        "fpn", "segmenter", 2, "Lin 2017, FPN, arXiv:1612.03144; Kirillov 2019, arXiv:1901.02446", "fpn:fpn",
        16, multiple=16,
    ),
    *(
        _entry(
            name, "segmenter", 2, f"Jegou 2017, FC-DenseNet{layers}, arXiv:1611.09326", "tiramisu:tiramisu", 32,
            multiple=32,
        )
        for name, layers in (("tiramisu", 56), ("tiramisu103", 103))
    ),
    _entry(
        "unet3d", "segmenter", 3, "Cicek 2016, 3D U-Net, arXiv:1606.06650; design rules of nnU-Net, arXiv:1809.10486",
        "unet:residual_unet", 8, multiple=8,
    ),
    _entry("vnet", "segmenter", 3, "Milletari 2016, V-Net, arXiv:1606.04797", "vnet:vnet", 16, multiple=16),
    _entry(
        "multiscale3d", "segmenter", 3,
        "Kamnitsas 2017, DeepMedic, 10.1016/j.media.2016.10.004; Havaei 2017, 10.1016/j.media.2016.05.004",
        "multiscale3d:multiscale3d", 8, multiple=4, also=("deepmedic",),
    ),
)  # fmt: skip

TAKE_ENCODER = ("unet", "unetplusplus", "deeplabv3plus", "linknet", "fpn")
"""The segmenters that can be built on a classifier."""

_AUTO, _DENOISE = "Hinton 2006, autoencoder, 10.1126/science.1127647", "Vincent 2008, 10.1145/1390156.1390294"
_CORRECT = "Ronneberger 2015, U-Net, arXiv:1505.04597; Zhang 2017, DnCNN, arXiv:1608.03981"

IMAGE_TO_IMAGE = tuple(
    _entry(
        f"{name}{'3d' if dimension == 3 else ''}", "image_to_image", dimension, paper, f"autoencoders:{function}",
        smallest=multiple, multiple=multiple,
    )
    for dimension, multiple in ((2, 8), (3, 4))
    for name, function, paper in (
        ("autoencoder", "autoencoder", _AUTO),
        ("denoising_autoencoder", "autoencoder", _DENOISE),
        ("variational_autoencoder", "variational", "Kingma 2014, VAE, arXiv:1312.6114"),
        ("denoising_unet", "denoising_unet", _CORRECT),
        ("super_resolution", "denoising_unet", "Kim 2016, VDSR, arXiv:1511.04587; Dong 2016, SRCNN, arXiv:1501.00092"),
    )
)  # fmt: skip

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in (*CLASSIFIERS, *SEGMENTERS, *IMAGE_TO_IMAGE)}


def weights_entry(entry: Entry) -> Entry:
    """The network whose published weights an entry starts from: itself, or the 2D version of an inflated one."""
    return ENTRIES[entry.inflates] if entry.inflates else entry
