"""Every option of load, split, the builders, fit and a run, described once: docstrings, commands and the app read it here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from easydl.option_model import Options
from easydl.options_of_training import FitOptions
from easydl.options_of_use import GroupOptions


class LoadOptions(Options):
    """How a study is read: the keyword arguments of `easydl.load`."""

    image: str | list[str] | None = Field(
        None,
        title="Image column",
        description="The column with the image paths; several columns become channels. Found by name when not given. "
        "Paths are taken relative to the table.",
    )
    label: str | list[str] | None = Field(
        None,
        title="Label column",
        description="The column with the class or value; several columns of 0 and 1 are one label each (multilabel). "
        "Found by name when not given.",
    )
    mask: str | list[str] | None = Field(
        None,
        title="Mask column",
        description="The column with the mask paths; makes this a segmentation study. Several columns, such as "
        '``["liver", "spleen"]``, have a file for each structure: they become classes, and may not overlap.',
    )
    patient: str | None = Field(
        "auto",
        title="Patient column",
        description='The column with the patient. ``"auto"`` looks for one, then in the DICOM headers. None says that '
        "every image is of another patient: this goes on the record of every report.",
    )
    split: str | None = Field(
        None,
        title="Column with a ready-made split",
        description="A column with a ready-made split (train, val, test). It is refused when a patient is in two parts.",
    )
    task: Literal["auto", "classification", "multilabel", "regression", "ordinal", "multitask", "segmentation"] = Field(
        "auto",
        description='``"classification"`` (one class per image), ``"multilabel"`` (any number of labels), '
        '``"regression"`` (a value), ``"ordinal"`` (one of several ordered classes, in the order of ``classes`` or of '
        'the numbers), ``"multitask"`` (several tasks, one head each) or ``"segmentation"`` (a mask); ``"auto"`` '
        "chooses by the columns and asks when in doubt.",
    )
    classes: list[str] | None = Field(
        None,
        description="The classes in the order to keep. Not given, they are sorted (numbers as numbers). A word such as "
        '"NA" is a class if it is listed here; if it is not, its rows are excluded and counted.',
    )
    label_separator: str | None = Field(None, description='What separates several labels in one cell, such as ``";"``.')
    raters: list[str] | None = Field(
        None,
        title="Columns of several raters",
        description="Columns of several raters. Without ``label`` the majority is the label (for values the mean), and "
        "images on which they are evenly divided are excluded; ``study.agreement`` says how well they agree.",
    )
    heads: list[str] | dict[str, list[str] | Literal[1]] | None = Field(
        None,
        title="Columns of several tasks",
        examples=["cancer=no,yes", "age=1"],
        description='Columns of several tasks on one image, such as ``["cancer", "density"]``; or a dict from column to '
        "its classes in order, or to 1 for a value. A row may leave some of them blank.",
    )
    root: str | None = Field(
        None,
        title="Folder of the images",
        description="The folder that the table's paths are relative to and have to lie in. Not given, it is the table's "
        "folder; paths that lead out of it are refused. In a DataFrame, paths are relative to the working directory and "
        "may lead anywhere.",
    )
    units: Literal["auto", "HU"] = Field(
        "auto",
        title="Units of the values",
        description='``"HU"`` says that the images are CT in Hounsfield units where their files do not say so (NIfTI, '
        'TIFF); a column ``units`` of the table says it row by row. ``"auto"`` takes what the files say, as DICOM does; '
        "the values of other files are relative.",
    )
    exclude: list[str] | None = Field(
        None,
        title="Rows or images to leave out",
        description="Rows to leave out, by their number in the table (the first below the header is 2), or images, by "
        "their name or path. They are counted and named in the notes and the report.",
    )
    merge_labels: bool = Field(
        False,
        description="Treat labels that differ only by spaces, case or look-alike letters as one (on the record).",
    )
    resample_masks: bool = Field(
        False,
        description="Resample masks that lie on another grid to their image's by nearest neighbour, by their positions "
        "in space. Not given, they are refused.",
    )
    collapse_instances: bool = Field(
        False,
        description="In masks that number single objects (nuclei, lesions), every value but 0 is foreground.",
    )
    mask_labels: dict[str, int | list[int]] | None = Field(
        None,
        title="Names of the mask values",
        examples=["background=0", "edema=2", "tumour=1,4"],
        description='Names for the values in the masks, such as ``{"background": 0, "edema": 2, "tumour": [1, 4]}``; '
        "several values make one class, which saved masks hold as the first of them. Values without a name are refused.",
    )
    override: str | None = Field(
        None, description="A reason, in writing, for using a split that leaks. It is repeated in every report."
    )


class SplitOptions(Options):
    """How a study is split: the arguments of `Study.split`."""

    sizes: tuple[float, float, float] = Field(
        (0.6, 0.2, 0.2),
        title="Fractions of the parts",
        description="Fractions of the patients in training, validation and test, in this order.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**31 - 1,
        description="The same seed gives the same split on every machine, whatever the order of the rows. Not given, a "
        "study that is split stays so, and another is split with seed 0. A ready-made split and one by time stay "
        "whatever the seed.",
    )
    column: str | None = Field(
        None,
        description='Use the ready-made split of this column instead (``"split"`` for the one that came with the data); '
        "refused when it leaks.",
    )
    time: str | None = Field(
        None,
        title="Column with dates to split by",
        description="Split by the dates (or years, or numbers) in this column instead: trained on the earlier patients, "
        "tested on the later ones. A patient with several dates goes by the last.",
    )
    group: str | None = Field(
        None,
        title="Column of what stays together",
        description="A column, such as the family or the series: rows with the same value in it stay in one part, beside "
        "those of one patient and copies of one image, which always do.",
    )
    balance: str | list[str] | None = Field(
        None,
        title="Columns to balance",
        description="A column, such as the scanner, or several: of each of its values the classes keep equal proportions of "
        "their patients, so that it no longer predicts them, and all parts get the same proportions. Several are balanced "
        "together, by the combinations of their values. Patients that are too many, drawn by the seed, are in no part. "
        "Numbers are balanced by thirds.",
    )
    override: str | None = Field(
        None, description="A reason, in writing, for using a leaking split. It is repeated in every report."
    )


class ModelOptions(Options):
    """What a network is built on and takes: keyword arguments of the builders, beside those that a study tells."""

    encoder: str | None = Field(
        None,
        description="The classifier from `easydl.models` that a segmentation model is built on. It brings pretrained "
        "weights.",
    )
    pretrained: bool | str = Field(
        False,
        title="Start from pretrained weights",
        description='True or ``"imagenet"`` for ImageNet weights, ``"radimagenet"``, a weights file, a run folder or an '
        "``https`` address with its checksum (in Python also a model, or what `easydl.pretrain` gives); False for random weights. "
        "With few images pretrained weights usually help.",
    )
    covariates: list[str] | None = Field(
        None,
        description="Columns of the table, such as age and sex, that the network takes as inputs besides the image. They have to be "
        "known for a new image, too.",
    )
    size: int | None = Field(
        None,
        ge=16,
        le=2048,
        title="Size of the input",
        description="Side of the network's input in pixels; chosen from the images when not given, or that of our own model that it starts from.",
    )
    head: Literal["linear", "forest"] = Field(
        "linear",
        title="Last layers of a classifier",
        description='What stands between the features of a classifier and its answers: ``"linear"``, a weighted sum, or '
        '``"forest"``, 16 soft decision trees of 8 leaves whose answers are added.',
    )
    activation: Literal["auto", "relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"] = Field(
        "auto",
        description='What follows the hidden layers, by its name in Keras; ``"auto"`` is what the network\'s paper has there. For '
        "networks whose layers are easydl's own, not those of keras.applications, and for random weights.",
    )
    stochastic_depth: float = Field(
        0.0,
        ge=0,
        le=0.8,
        title="Stochastic depth",
        description="For residual classifiers (resnet, convnext, mobilenetv2, efficientnetlite0 and their kin): the rate at which the "
        "last block is dropped in training, such as 0.2, for each image by itself; earlier blocks less, in equal steps.",
    )


class BuilderOptions(ModelOptions):
    """The keyword arguments of `easydl.classifier`, `easydl.segmenter` and `easydl.image_to_image`.

    Beside ``name`` and ``study``. Those that `ModelOptions` lack are Python's: a run takes them from its study or leaves
    them at their defaults.
    """

    classes: int | list[str] | None = Field(
        None,
        description="The number of classes or their names in the order of the outputs (the background first, for "
        "masks); those of ``study``, else 2, or 1 for regression.",
    )
    task: Literal["classification", "ordinal", "multilabel", "regression", "multitask"] | None = Field(
        None,
        description="``classification`` (softmax), ``ordinal`` (softmax over ordered classes), ``multilabel`` (a sigmoid "
        "per label) or ``regression`` (a value in its own unit); that of ``study``, else ``classification``.",
    )
    heads: dict[str, int | list[str]] | None = Field(
        None,
        description="Several tasks at once, by name: a number of classes or their names, or 1 for a value. The output is "
        "then a dict. Those of ``study``, if it has several tasks.",
    )
    channels: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Channels of the images, 1 to 64 (series that are stacked, or 3 for colour); those of ``study``, "
        "else 1. Where a backbone needs colours, grey is repeated, and other numbers are mixed by a trainable layer "
        "``to_rgb`` that starts as their average.",
    )
    width: int | None = Field(
        None,
        ge=4,
        le=64,
        multiple_of=4,
        description="Filters of the first level (growth rate of the tiramisu, maps of an autoencoder's code, filters in "
        "the middle of ``multiscale3d``), a multiple of 4 from 4 to 64. Not given: 16, but 12 for ``tiramisu``, 4 for "
        "``vnet``, 20 for ``multiscale3d``.",
    )
    levels: int | list[tuple[int, ...]] | None = Field(
        None,
        description="For ``unet`` and ``unet3d`` without ``encoder``: how often the image is downsampled, 2 to 5, or the "
        "pooling strides of each level: ``[(1, 2, 2), (2, 2, 2)]``. Not given: 4 for images and 3 for volumes, or fewer "
        "(more) where the images of ``study`` are so small (large) that the coarsest map would be narrower than 4 (wider "
        "than 8) pixels; in a study of thick slices the axis across them is downsampled later than the others.",
    )
    deep_supervision: bool = Field(
        False,
        description="For ``unet3d``: whether the loss also covers the coarser levels of the decoder "
        "(`easydl.networks.supervised`). The model has one output either way.",
    )
    scaling: Literal["imagenet", "radimagenet"] | None = Field(
        None,
        description="The pixel scaling of the backbone: that of its weights when not given, and ImageNet's for random "
        "ones. For an ``.h5`` file whose name does not say what it was trained on.",
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**32 - 1,
        description="Settles the random weights and the dropout masks. The caller's random state is left as it was.",
    )


class RunOptions(GroupOptions, FitOptions, ModelOptions, SplitOptions, LoadOptions):
    """All that repeats a run: the options above, and those of the run itself, which go to several functions or none."""

    source: str = Field(description="A table (CSV, Excel), a folder of class folders, or a folder of DICOM.")
    model: str = Field(
        "auto",
        description="A name from `easydl.models`; ``auto`` chooses by the study: ``efficientnetlite0``, whose weights come with "
        "easydl, for images, or ``tiny`` without weights; ``tiny3d``, ``unet`` and ``unet3d`` for volumes and masks.",
    )
    pretrained: bool | str = Field(
        "auto",
        title="Start from pretrained weights",
        description='As the builders take it, or ``"auto"``: the weights that come with easydl where the model is their network, '
        "else none. Nothing is downloaded then.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Fixes the split, the training and the intervals.")
    override: str | None = Field(
        None,
        description="A reason, in writing, for going on in spite of a blocking trap. It is repeated in every report.",
    )
    heatmaps: int = Field(6, ge=0, le=100, description="How many test images are explained.")
    name: str | None = Field(None, description="What the report calls the study.")
