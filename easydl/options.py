"""Every option of load, split, the builders, fit and a run, described once: docstrings, commands and the app read it here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from easydl.option_model import Options
from easydl.options_of_use import DecisionOptions, GroupOptions


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
        "``https`` address with its checksum; False for random weights. With few images pretrained weights usually help.",
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
        description="Side of the network's input in pixels; chosen from the images when not given.",
    )
    head: Literal["linear", "forest"] = Field(
        "linear",
        title="Last layers of a classifier",
        description='What stands between the features of a classifier and its answers: ``"linear"``, a weighted sum, or '
        '``"forest"``, 16 soft decision trees of 8 leaves whose answers are added.',
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


class FitOptions(DecisionOptions):
    """How a model is trained: the keyword arguments of `easydl.fit`."""

    augment: str = Field(
        "auto",
        title="Augmentation",
        description='Name of a preset (see `easydl.presets`), alone or with extras, such as ``"chest_xray+mixup"``; '
        '``"auto"`` (or ``"auto+mixup"``) chooses the preset by modality, ``"none"`` is none. In Python also a preset of '
        "your own, or for 2D classifiers a Keras layer, or a ``keras.Sequential`` of layers, that augments.",
    )
    epochs: int | None = Field(None, ge=1, le=10_000, description="Maximum number of epochs in each stage.")
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] | None = Field(
        None,
        description='Images (or patches) in a step; chosen by their number when not given. ``"auto"`` takes the largest that '
        "memory holds and that still leaves 16 steps in an epoch, and raises the learning rate with its square root.",
    )
    learning_rate: Annotated[float, Field(gt=0, lt=10)] | Literal["find"] | None = Field(
        None,
        description='Peak learning rate of the main stage. ``"find"`` looks for it on a copy of the weights: up to 100 steps, '
        'each with a higher rate; the curve is ``history.params["learning_rates"]`` and in the run folder.',
    )
    optimizer: Literal[
        "adamw", "adam", "adamax", "nadam", "sgd", "rmsprop", "adagrad", "adadelta", "adafactor", "lion"
    ] = Field(
        "adamw",
        description="A name of Keras, whose learning rate is warmed up and falls along a cosine; in Python also a "
        "``keras.optimizers.Optimizer``, whose own learning rate or schedule then counts.",
    )
    metrics: list[str] | None = Field(
        None,
        title="More metrics",
        description="What is followed in every epoch beside the task's own metrics, by its name in Keras, such as "
        '``"recall"`` (with two classes that of the second); in Python also ``keras.metrics`` objects.',
    )
    strategy: Literal["auto", "features", "finetune", "scratch"] = Field(
        "auto",
        description='What of a classifier is trained. ``"features"``: a linear model on the frozen features of pretrained weights; '
        '``"finetune"``: then the whole network, gently; ``"scratch"``: the whole network from random weights; ``"auto"``: '
        "features, and from 200 training images on a short fine-tuning that is kept only where it surely lowers the "
        "validation loss, or scratch for a network without pretrained weights.",
    )
    class_weight: dict[str, float] | Literal["auto"] | None = Field(
        "auto",
        examples=["normal=1", "nodule=4"],
        description='``"auto"`` gives rare classes more weight (with several heads, those of each); a dict from class, '
        "or label, to weight; or None. Values, masks and images are not weighted.",
    )
    window: str | tuple[float, float] | None = Field(
        None,
        description='For CT the name of a window (``"lung"``, ``"bone"``, ``"brain"``, ...) or (low, high) in HU; for '
        "other images (low, high) in 0-255. Chosen from the training images when not given.",
    )
    normalise: Literal["percentile", "z-score"] = Field(
        "percentile",
        title="Normalisation",
        description='For MR and other images without units of their own: ``"percentile"`` (0.5th and 99.5th of each '
        'image become 0 and 255) or ``"z-score"`` (mean and standard deviation of each image). It travels with the model.',
    )
    spacing_mm: tuple[float, ...] | None = Field(
        None,
        title="Spacing (mm)",
        description="For segmentation models: the spacing of the grid to work on, in the order (depth, height, width), "
        "which run to the feet, the back and the left, or (height, width); the median of the training scans when not given. It travels with the model.",
    )
    loss: str = Field(
        "auto",
        description='``"auto"``, or a name of the task in `easydl.training.loss_names.LOSSES`: for segmentation models '
        '``"tversky"``, ``"boundary"``..., for others ``"focal"`` for classes and labels, ``"absolute_error"`` for values... In '
        "Python also a ``keras.losses.Loss``, or a function of targets and outputs.",
    )
    members: int = Field(
        1,
        ge=1,
        le=20,
        description="How many networks are trained, from as many seeds; the model becomes the average of their answers, and "
        "predictions say how far they disagree.",
    )
    calibrate: bool = Field(
        True,
        title="Calibrate the probabilities",
        description="Divide the logits by a temperature that is fitted on the validation part, where this lowers the "
        "log-loss; from 30 validation patients on. Not for values and masks.",
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Fixes the order of the images, the augmentation and the dropout. Recorded in the model.",
    )
    override: str | None = Field(
        None, description="A reason, in writing, for training although patients or images are in both parts."
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
