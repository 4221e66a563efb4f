"""The table of networks: name, paper, and how each is wired. The numbers are in facts.json."""

from __future__ import annotations

from typing import Any

from easydl.networks.entry import Entry, Scaling, facts

# keras.applications.imagenet_utils: mode "torch" and mode "caffe" (there with blue first; here red first).
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STANDARDISED: Scaling = (
    tuple(1 / (255 * deviation) for deviation in _DEVIATION),
    tuple(-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)),
)
CENTRED: Scaling = (1.0, (-123.68, -116.779, -103.939))

_RESNET, _IDENTITY = "He 2016, ResNet, arXiv:1512.03385", "He 2016, identity mappings (ResNet V2), arXiv:1603.05027"
_DENSE, _VGG = "Huang 2017, DenseNet, arXiv:1608.06993", "Simonyan 2015, VGG, arXiv:1409.1556"
_INCEPTION, _IRV2 = "Szegedy 2016, Inception-v3, arXiv:1512.00567", "Szegedy 2017, Inception-ResNet, arXiv:1602.07261"
_EFFICIENT, _EFFICIENT2 = "Tan 2019, EfficientNet, arXiv:1905.11946", "Tan 2021, EfficientNetV2, arXiv:2104.00298"
_MOBILE, _MOBILE2 = "Howard 2017, MobileNets, arXiv:1704.04861", "Sandler 2018, MobileNetV2, arXiv:1801.04381"
_MOBILE3, _NEXT = "Howard 2019, MobileNetV3, arXiv:1905.02244", "Liu 2022, ConvNeXt, arXiv:2201.03545"


def _known(entry: dict[str, Any]) -> Entry:
    return Entry(**{**entry, **facts().get(entry["name"], {})})


def _keras(name: str, application: str, paper: str, smallest: int = 32, **more: Any) -> Entry:
    """A 2D classifier whose backbone is one of ``keras.applications``."""
    given = {"wired": "backbones.applications:wire", "rgb": True, **more}
    return _known(
        {"name": name, "makes": "classifier", "dimension": 2, "paper": paper, "smallest": smallest,
         "application": application, **given}
    )  # fmt: skip


def _own(name: str, makes: str, dimension: int, paper: str, wired: str, smallest: int, **more: Any) -> Entry:
    """A network laid out in this room."""
    return _known(
        {"name": name, "makes": makes, "dimension": dimension, "paper": paper, "wired": wired, "smallest": smallest,
         **more}
    )  # fmt: skip


def _widths(name: str, application: str, paper: str, widths: tuple[float, ...]) -> list[Entry]:
    """One entry per published width; the full width has the plain name."""
    return [
        _keras(name if width == 1 else f"{name}_{round(width * 100):03d}", application, paper, width=width)
        for width in widths
    ]


CLASSIFIERS = (
    _keras("resnet", "ResNet50V2", _IDENTITY, also=("resnet50v2",)),
    _own("resnet18", "classifier", 2, _RESNET, "backbones.residual:resnet18", 32),
    _own("resnet34", "classifier", 2, _RESNET, "backbones.residual:resnet34", 32),
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
    _keras(
        "inceptionv3", "InceptionV3", _INCEPTION, 75, also=("inception",),
        radimagenet_file="RadImageNet-InceptionV3_notop.h5",
    ),
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
            f"convnext{k.lower()}", f"ConvNeXt{k}", _NEXT, scaling=STANDARDISED, wired=f"backbones.convnext:{k.lower()}",
            also=("convnext",) if k == "Tiny" else (),
        )
        for k in ("Tiny", "Small", "Base")
    ),
    _keras("nasnetmobile", "NASNetMobile", "Zoph 2018, NASNet, arXiv:1707.07012", 32, also=("nasnet",)),
    _own("alexnet", "classifier", 2, "Krizhevsky 2012, AlexNet, NIPS 25", "backbones.classic:alexnet", 64),
    _own("nin", "classifier", 2, "Lin 2014, Network in Network, arXiv:1312.4400", "backbones.classic:nin", 32),
    _own("squeezenet", "classifier", 2, "Iandola 2016, SqueezeNet 1.1, arXiv:1602.07360", "backbones.classic:squeezenet", 32),
    _own("lenet", "classifier", 2, "LeCun 1998, LeNet-5, 10.1109/5.726791", "backbones.classic:lenet", 28),
    _own(
        "tiny", "classifier", 2,
        "none: seven 3x3 convolutions with batch normalisation, in the manner of arXiv:1409.1556", "backbones.tiny:tiny", 16,
    ),
    _own(
        "tiny3d", "classifier", 3, "none: the volume twin of tiny, with group normalisation, arXiv:1803.08494",
        "backbones.tiny:tiny3d", 8,
    ),
    *(
        _own(
            f"resnet3d{k}", "classifier", 3, "Hara 2018, 3D ResNets, arXiv:1711.09577", f"backbones.residual:resnet3d{k}", 16,
            also=("resnet3d",) if k == 18 else (),
        )
        for k in (10, 18, 34)
    ),
    _own(
        "resnet3d50", "classifier", 3, f"{_RESNET} (50 layers), inflated as in arXiv:1705.07750",
        "backbones.applications:inflated", 32, rgb=True, scaling=CENTRED, bgr=True, application="ResNet50",
        inflates="resnet50",
    ),
    _own(
        "densenet3d", "classifier", 3, f"{_DENSE} (121 layers), inflated as in arXiv:1705.07750",
        "backbones.applications:inflated", 32, rgb=True, scaling=STANDARDISED, application="DenseNet121",
        inflates="densenet121",
    ),
)  # fmt: skip

_RESIDUAL = "residual blocks, arXiv:1711.10684"

SEGMENTERS = (
    _own(
        "unet", "segmenter", 2, f"Ronneberger 2015, U-Net, arXiv:1505.04597; {_RESIDUAL}",
        "outlines.unet:residual_unet", 16, multiple=16,
    ),
    _own(
        "attention_unet", "segmenter", 2, f"Oktay 2018, Attention U-Net, arXiv:1804.03999; {_RESIDUAL}",
        "outlines.unet:attention_unet", 16, multiple=16,
    ),
    _own(
        "unetplusplus", "segmenter", 2, f"Zhou 2018, UNet++, arXiv:1807.10165; {_RESIDUAL}",
        "outlines.unet:unetplusplus", 16, multiple=16, also=("unet++",),
    ),
    _own("fcn", "segmenter", 2, "Long 2015, FCN-8s, arXiv:1411.4038", "outlines.ladders:fcn", 32, multiple=32),
    _own("segnet", "segmenter", 2, "Badrinarayanan 2015, SegNet, arXiv:1511.00561", "outlines.ladders:segnet", 32, multiple=32),
    _own(
        "deeplabv3plus", "segmenter", 2, "Chen 2018, DeepLabv3+, arXiv:1802.02611", "outlines.pyramids:deeplabv3plus", 16,
        multiple=16, also=("deeplab",),
    ),
    _own("linknet", "segmenter", 2, "Chaurasia 2017, LinkNet, arXiv:1707.03718", "outlines.pyramids:linknet", 16, multiple=16),
    _own(
        "fpn", "segmenter", 2, "Lin 2017, FPN, arXiv:1612.03144; Kirillov 2019, arXiv:1901.02446", "outlines.pyramids:fpn",
        16, multiple=16,
    ),
    *(
        _own(
            name, "segmenter", 2, f"Jegou 2017, FC-DenseNet{layers}, arXiv:1611.09326", "outlines.ladders:tiramisu", 32,
            multiple=32,
        )
        for name, layers in (("tiramisu", 56), ("tiramisu103", 103))
    ),
    _own(
        "unet3d", "segmenter", 3, "Cicek 2016, 3D U-Net, arXiv:1606.06650; design rules of nnU-Net, arXiv:1809.10486",
        "outlines.unet:residual_unet", 8, multiple=8,
    ),
    _own("vnet", "segmenter", 3, "Milletari 2016, V-Net, arXiv:1606.04797", "outlines.volumes:vnet", 16, multiple=16),
    _own(
        "multiscale3d", "segmenter", 3,
        "Kamnitsas 2017, DeepMedic, 10.1016/j.media.2016.10.004; Havaei 2017, 10.1016/j.media.2016.05.004",
        "outlines.volumes:multiscale3d", 8, multiple=4, also=("deepmedic",),
    ),
)  # fmt: skip

TAKE_ENCODER = ("unet", "unetplusplus", "deeplabv3plus", "linknet", "fpn")
"""The segmenters that can be built on a classifier."""

_AUTO, _DENOISE = "Hinton 2006, autoencoder, 10.1126/science.1127647", "Vincent 2008, 10.1145/1390156.1390294"
_CORRECT = "Ronneberger 2015, U-Net, arXiv:1505.04597; Zhang 2017, DnCNN, arXiv:1608.03981"

TRANSLATORS = tuple(
    _own(
        f"{name}{'3d' if dimension == 3 else ''}", "translator", dimension, paper, f"pictures:{wired}",
        {2: 8, 3: 4}[dimension], multiple={2: 8, 3: 4}[dimension],
    )
    for dimension in (2, 3)
    for name, wired, paper in (
        ("autoencoder", "autoencoder", _AUTO),
        ("denoising_autoencoder", "autoencoder", _DENOISE),
        ("variational_autoencoder", "variational", "Kingma 2014, VAE, arXiv:1312.6114"),
        ("image_to_image", "corrected", _CORRECT),
        ("super_resolution", "corrected", "Kim 2016, VDSR, arXiv:1511.04587; Dong 2016, SRCNN, arXiv:1501.00092"),
    )
)  # fmt: skip

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in (*CLASSIFIERS, *SEGMENTERS, *TRANSLATORS)}
