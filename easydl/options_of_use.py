"""The options of predict, evaluate, accept and report, described once, as in `easydl.options`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from easydl.option_model import Options


class SegmentationOptions(Options):
    """How masks are made: keyword arguments of `easydl.predict` and `easydl.evaluate` for segmentation models."""

    mirror: bool = Field(
        False,
        description="For a segmentation model: average over the mirror images that it was trained with; the work doubles "
        "with each axis.",
    )
    largest_component: bool = Field(
        False,
        description="For a segmentation model: keep only the largest connected piece of every structure.",
    )
    fill_holes: bool = Field(False, description="For a segmentation model: fill background that a structure encloses.")


class GroupOptions(Options):
    """What the numbers of a test are asked for: keyword arguments of `easydl.evaluate`, kept by a run."""

    by: list[str] | str | None = Field(
        None,
        title="Groups to compare",
        description="Columns of the table, such as scanner, sex, age or view: the test is also shown group by group, with "
        "the largest gap and its interval. Numbers are cut into three bands.",
    )
    prevalence: float | dict[str, float] | None = Field(
        None,
        title="Prevalence where the model is to be used",
        examples=["0.02", "nodule=0.02"],
        description="How common the positive class is where the model is to be used, above 0 and below 1; of several "
        "classes, labels or tasks by name. PPV and NPV are then given for it.",
    )


class PredictOptions(SegmentationOptions):
    """How a model is applied: keyword arguments of `easydl.predict`."""

    uncertainty: Literal["mc_dropout", "augmentation"] | None = Field(
        None,
        description='Several answers to each image, for the column ``spread``: ``"mc_dropout"`` (20 passes with dropout '
        'on) or ``"augmentation"`` (the mirror images that the model was trained with). An ensemble has the spread of its '
        "members without it.",
    )
    coverage: float | None = Field(
        None,
        ge=0.5,
        lt=1,
        title="Coverage of the sets",
        description="For the column ``set``: the classes of which the right one is among them for so large a fraction of "
        "new patients of every class, such as 0.9; several mean that the model is uncertain. Of labels, those that are "
        "present and those that are uncertain; of a value, the columns ``low`` and ``high`` of an interval.",
    )


class SaliencyOptions(Options):
    """How a heatmap is made: keyword arguments of `easydl.saliency`."""

    method: Literal[
        "gradcam", "gradcam++", "layercam", "scorecam", "cam", "gradient", "smoothgrad", "integrated_gradients", "guided",
        "occlusion", "rise",
    ] = Field(
        "gradcam",
        title="Heatmap method",
        description='``"gradcam"`` first: quick, coarse, about the class. ``"gradcam++"``, ``"layercam"``, ``"scorecam"`` '
        'and ``"cam"`` are its relatives; ``"gradient"``, ``"smoothgrad"``, ``"integrated_gradients"`` and ``"guided"`` say '
        'it pixel by pixel; ``"occlusion"`` and ``"rise"`` hide parts of the image and see what the prediction depends on, '
        "which is slower.",
    )  # fmt: skip
    samples: int | None = Field(
        None,
        ge=8,
        le=20_000,
        title="Samples of the heatmap",
        description="For smoothgrad its noisy copies (32), for integrated_gradients its steps (32, more where the map would "
        "not be complete), for rise its masks (1,000), for scorecam its feature maps (64). More take longer and are less noisy.",
    )


class GalleryOptions(Options):
    """Which heatmaps stand side by side: keyword arguments of `easydl.gallery`."""

    methods: list[str] | str = Field(
        "gradcam",
        title="Heatmap methods",
        description="One of the methods of `easydl.saliency`, or several to compare them.",
    )
    most: int = Field(4, ge=1, le=24, title="Images", description="How many images are shown.")
    verdict: bool = Field(True, description="Whether to test each map.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Of the places that the verdict hides for comparison.")


class EvaluationOptions(GroupOptions, SegmentationOptions):
    """How a model is tested: keyword arguments of `easydl.evaluate`."""

    override: str | None = Field(
        None,
        description="A reason, in writing, for counting images that the model was trained or validated on, or whose "
        "patients have the names of its patients. It stands before the numbers.",
    )


class CasesOptions(Options):
    """Which cases a reader is asked to look at."""

    k: int = Field(
        12,
        ge=1,
        le=500,
        title="Cases to look at",
        description="How many cases are named to look at: those where the reader disagrees first, then those the model is "
        "least sure of.",
    )


class AcceptOptions(CasesOptions):
    """How a model is put to a hospital's own cases: keyword arguments of `easydl.accept`."""

    override: str | None = Field(
        None,
        description="A reason, in writing, for counting images that the model was trained or validated on. It stands "
        "before the numbers.",
    )


class TargetOptions(Options):
    """Which answer of a model is meant."""

    target: str | None = Field(
        None,
        title="Class, label or task",
        description='The class, label or task that is meant, of several tasks also with a class: ``"cancer: yes"``. '
        "Not given, all classes together, the value, or the first of several tasks.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Fixes what is drawn at random, and the intervals.")


class TreeOptions(TargetOptions):
    """How a model is explained by a tree: keyword arguments of `easydl.explain_as_tree`."""

    depth: int = Field(
        4, ge=1, le=4, description="How many questions at most lead to an answer; more than four are no explanation."
    )


class ShufflingOptions(TargetOptions):
    """How inputs are shuffled."""

    repeats: int = Field(
        10, ge=5, le=100, description="How often each input is shuffled; the mean over the repeats is shown."
    )


class ImportanceOptions(ShufflingOptions):
    """How inputs are weighed: keyword arguments of `easydl.importance`."""

    override: str | None = Field(
        None,
        description="A reason, in writing, for counting images that the model was trained or validated on. It stands "
        "before the numbers.",
    )


class MapOptions(Options):
    """How the images of a study are drawn: keyword arguments of `easydl.image_map`."""

    method: Literal["pca", "tsne"] = Field(
        "pca",
        title="Drawn by",
        description='``"pca"`` (distances on the map are distances in the features, only flattened), or ``"tsne"`` (islands '
        "come apart more clearly; distances between them mean nothing).",
    )


class NearestOptions(Options):
    """How many similar cases are looked for: keyword arguments of `easydl.nearest`."""

    k: int = Field(5, ge=1, le=20, title="Nearest cases", description="How many cases are shown.")


class AblationOptions(Options):
    """What is removed from images: keyword arguments of `easydl.ablation`."""

    without: list[Literal["colour", "edges", "texture", "grey levels", "arrangement", "border"]] | None = Field(
        None,
        min_length=1,
        description='Some of ``"colour"``, ``"edges"``, ``"texture"``, ``"grey levels"``, ``"arrangement"`` and '
        '``"border"``. Not given, all that make sense (colour for images with three channels).',
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Of the order of the parts, and of the bootstrap.")


class FragilityOptions(Options):
    """How much images are changed: keyword arguments of `easydl.fragility`."""

    strengths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.0025, 0.005, 0.01, 0.02, 0.04),
        min_length=1,
        description="Sizes of the change, as fractions of the range from black to white, above 0 and at most 1. Of 0.01, "
        "2.5 grey levels of 255, nobody sees anything.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Of the images that are drawn and of the noise.")


class DescribeOptions(Options):
    """How a case is described: keyword arguments of `easydl.describe`."""

    template: str | None = Field(
        None,
        description="A text file in Jinja's language that puts the sentences together; easydl's own when not given.",
    )
    heatmap: bool = Field(
        True,
        description="Whether to make the heatmap of the answer and say what its verdict is; it takes some seconds.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Of the verdict on the heatmap.")


class ReportOptions(Options):
    """What is written of a run: keyword arguments of `easydl.report`."""

    checklist: Literal["claim", "tripod", "stard", "modelcard"] | None = Field(
        None,
        description='A reporting checklist instead of the report, filled from the run: ``"claim"`` (CLAIM 2024), '
        '``"tripod"`` (TRIPOD+AI), ``"stard"`` (STARD 2015), or ``"modelcard"``. What the run cannot know is marked '
        "``TODO (you)``.",
    )


class DecisionOptions(Options):
    """What the threshold of a class is chosen for: keyword arguments of `easydl.operating_point` and `easydl.fit`."""

    sensitivity: float | None = Field(
        None,
        gt=0,
        lt=1,
        title="Sensitivity to guarantee",
        description="The sensitivity that the threshold of the second of two classes, or of every label, is to guarantee, "
        "such as 0.95. Not given, nor one of the next two, the threshold has the largest sensitivity plus specificity on "
        "the validation part (Youden's index).",
    )
    specificity: float | None = Field(
        None, gt=0, lt=1, title="Specificity to guarantee", description="The same for the specificity."
    )
    cost: float | None = Field(
        None,
        gt=0,
        le=10_000,
        title="Cost of a missed image",
        description="How many false alarms a missed image is worth: the threshold with the lowest total cost on the "
        "validation part is chosen, which holds at its prevalence.",
    )
    confidence: float = Field(
        0.9,
        ge=0.5,
        lt=1,
        title="Confidence of the guarantee",
        description="How sure the guaranteed sensitivity or specificity is to be.",
    )
