"""The public data sets for segmentation: how each is split, scored and compared, and what is published."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from by_hand import residual_unet_3d
from PIL import Image
from segmentation import Benchmark, Fold, dice, each
from skimage.color import rgb2gray
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.metrics import adapted_rand_error

import easydl

BLOCKS, SIDE = 5, 6
TEST_VOLUMES, VALIDATION_VOLUMES = 50, 10
KEPT_SLICE, THICK_AXIS = 4, 1


def unet(study: Any, seed: int) -> Any:
    return easydl.unet(study, seed=seed)


def unet3d(study: Any, seed: int, **options: Any) -> Any:
    return easydl.unet3d(study, seed=seed, **options)


def binary(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 0


def files(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.iterdir())]


# Retinal vessels.


def drive(root: Path, seed: int) -> Iterator[pd.DataFrame]:
    folders = [root / "drive_vessels/train", root / "drive_vessels/test"]
    columns = {"image": "images", "mask": "masks", "view": "fov"}
    frame = pd.DataFrame(
        {name: [path for folder in folders for path in files(folder / kind)] for name, kind in columns.items()}
    )
    validation = set(np.random.default_rng(seed).permutation(20)[:4].tolist())
    frame["split"] = ["val" if row in validation else "train" if row < 20 else "test" for row in range(40)]
    frame["observer"] = [""] * 20 + files(folders[1] / "masks_observer2")
    yield frame


def vessel_scores(mask: np.ndarray, reference: np.ndarray, row: pd.Series) -> dict[str, float]:
    """Inside the field of view, against the first observer."""
    view = binary(row["view"])
    found, truth = mask[view] > 0, reference[view] > 0
    return {
        "dice": dice(found, truth),
        "sensitivity": float(found[truth].mean()),
        "specificity": float(1 - found[~truth].mean()),
        "accuracy": float((found == truth).mean()),
    }


# Cell nuclei.


def dsb2018(root: Path, seed: int) -> Iterator[pd.DataFrame]:
    root = root / "dsb2018_nuclei"
    facts = pd.read_csv(root / "metadata.csv")
    columns = {"image": "images", "mask": "masks", "instances": "instances"}
    frame = pd.DataFrame(
        {name: [str(root / kind / file) for file in facts["filename"]] for name, kind in columns.items()}
    )
    frame["kind"], frame["split"] = facts["kind"], "train"
    rng = np.random.default_rng(seed)
    for _, group in facts.groupby("kind"):
        order = rng.permutation(group.index.to_numpy())
        test, validation = round(0.3 * len(order)), round(0.1 * len(order))
        frame.loc[order[:test], "split"] = "test"
        frame.loc[order[test : test + validation], "split"] = "val"
    yield frame


def nucleus_scores(mask: np.ndarray, reference: np.ndarray, row: pd.Series) -> dict[str, float]:
    overlap = dice(mask > 0, reference > 0)
    instances = np.asarray(Image.open(row["instances"]))
    return {"dice": overlap, "iou": overlap / (2 - overlap), "object_f1": object_f1(label(mask > 0), instances)}


def object_f1(found: np.ndarray, truth: np.ndarray) -> float:
    """F1 of objects, matched where they overlap by more than half of their union."""
    pairs, counts = np.unique(np.stack([found.ravel(), truth.ravel()]), axis=1, return_counts=True)
    size_found, size_truth = np.bincount(found.ravel()), np.bincount(truth.ravel())
    hits = sum(2 * n > size_found[f] + size_truth[t] - n for (f, t), n in zip(pairs.T, counts, strict=True) if f and t)
    return 2 * hits / max(1, np.count_nonzero(size_found[1:]) + np.count_nonzero(size_truth[1:]))


def otsu(row: pd.Series) -> np.ndarray:
    """The brighter or the darker side of Otsu's threshold: whichever is smaller, as nuclei are."""
    grey = rgb2gray(np.asarray(Image.open(row["image"]).convert("RGB")))
    bright = grey > threshold_otsu(grey)
    return bright if bright.mean() < 0.5 else ~bright


# Membranes in electron microscopy.


def isbi2012(root: Path, seed: int) -> Iterator[pd.DataFrame]:
    root = root / "isbi2012_em_membrane/train"
    frame = pd.DataFrame({"image": files(root / "images"), "mask": files(root / "masks")})
    for block in range(BLOCKS):
        first, last = block * SIDE, block * SIDE + SIDE - 1
        distance = np.asarray([max(first - row, row - last, 0) for row in range(BLOCKS * SIDE)])
        split = np.where(distance == 0, "test", np.where(distance == 1, "", "train"))
        split[np.argsort(distance, kind="stable")[-4:]] = "val"
        yield frame.assign(split=split)


def membrane_scores(mask: np.ndarray, reference: np.ndarray, row: pd.Series) -> dict[str, float]:
    # The foreground is the inside of the cells.
    found, truth = mask > 0, reference > 0
    return {
        "membrane_dice": dice(~found, ~truth),
        "pixel_error": float((found != truth).mean()),
        "rand_error": float(adapted_rand_error(label(truth, connectivity=1), label(found, connectivity=1))[0]),
    }


# The hippocampus.


def msd_hippocampus(root: Path, seed: int) -> Iterator[pd.DataFrame]:
    root = root / "msd_hippocampus"
    frame = pd.DataFrame({"image": files(root / "images"), "mask": files(root / "masks"), "split": "train"})
    order = np.random.default_rng(seed).permutation(len(frame))
    frame.loc[order[:TEST_VOLUMES], "split"] = "test"
    frame.loc[order[TEST_VOLUMES : TEST_VOLUMES + VALIDATION_VOLUMES], "split"] = "val"
    yield frame


def thick_slices(root: Path, seed: int) -> Iterator[pd.DataFrame]:
    """The same volumes with every fourth slice from front to back kept, as if they had been acquired with 4 mm."""
    kept = tuple(slice(None, None, KEPT_SLICE) if axis == THICK_AXIS else slice(None) for axis in range(3))
    (frame,) = msd_hippocampus(root, seed)
    with tempfile.TemporaryDirectory() as folder:
        for column in ("image", "mask"):
            target = Path(folder) / column
            target.mkdir()
            for row, path in frame[column].items():
                thinned = target / Path(path).name
                nibabel.save(nibabel.load(path).slicer[kept], thinned)
                frame.loc[row, column] = str(thinned)
        yield frame


def hippocampus_scores(mask: np.ndarray, reference: np.ndarray, row: pd.Series) -> dict[str, float]:
    """Dice of the anterior (1) and the posterior part (2)."""
    return {f"label {k}": dice(mask == k, reference == k) for k in (1, 2)}


def by_hand(fold: Fold) -> list[dict[str, float]]:
    """A hand-written network on the same volumes, for as many seconds."""
    train = fold.frame[fold.frame["split"] == "train"]
    masks = residual_unet_3d(train, fold.test, fold.seed, fold.seconds)
    references = (np.asarray(nibabel.load(path).dataobj) for path in fold.test["mask"])
    return [
        hippocampus_scores(mask, truth, row)
        for mask, truth, (_, row) in zip(masks, references, fold.test.iterrows(), strict=True)
    ]


def all_axes_alike(fold: Fold) -> list[dict[str, float]]:
    """``levels=2``: all that some thirteen slices allow when every level downsamples every axis."""
    train, val, test = fold.parts
    model = unet3d(train, fold.seed, levels=2)
    easydl.fit(model, train, val, epochs=fold.epochs, seed=fold.seed, verbose=False)
    return [fold.score(case, easydl.predict(model, test.scan(case)).mask) for case in range(len(test))]


SETS = {
    # DRIVE (Staal 2004). The official parts; 4 of the 20 training images pick the best epoch. Published F1 on the same
    # parts: arXiv:1811.07738, arXiv:1802.06955, arXiv:1810.07810; second observer: bob.ip.binseg.
    "drive_vessels": Benchmark(
        drive,
        vessel_scores,
        unet,
        "the official parts; no patient is known",
        epochs=12,
        baselines={"second_observer": each(lambda row: binary(row["observer"]))},
        published={"M2U-Net": 0.8091, "R2U-Net": 0.8171, "LadderNet": 0.8202, "second observer (bob.ip.binseg)": 0.788},
    ),
    # Data Science Bowl 2018 (Caicedo 2019): 120 of the 664 public training images, drawn for these benchmarks, split
    # within each kind of image. Touching nuclei are one connected component, which caps the F1 of objects: that of the
    # reference itself is measured too. Published on other splits of the whole set (arXiv:1807.10165, from memory).
    "dsb2018_nuclei": Benchmark(
        dsb2018,
        nucleus_scores,
        unet,
        "single images; no patient is known",
        epochs=20,
        baselines={"otsu": each(otsu), "reference_as_connected_components": each(lambda row: binary(row["mask"]))},
        group="kind",
        published={"U-Net (IoU, another split of the whole set, from memory)": 0.908, "U-Net++ (the same)": 0.926},
    ),
    # ISBI 2012 (Arganda-Carreras 2015). The 30 slices are neighbours in one volume: each fold tests six in a row, leaves
    # out the slices beside them, and picks the best epoch on the four farthest ones. Intervals resample blocks. The
    # published test slices' labels are not public: the leaderboard (Ronneberger 2015) is of other slices. Rand error:
    # scikit-image's adapted one, slice by slice, of the connected components of what is not membrane.
    "isbi2012_em_membrane": Benchmark(
        isbi2012,
        membrane_scores,
        unet,
        "blocks of slices of one volume",
        epochs=12,
        augment="microscopy",
        published={"U-Net (other slices)": {"rand_error": 0.0382, "pixel_error": 0.0611}},
    ),
    # Medical Segmentation Decathlon, task 4. Left and right of one person are separate files without a name, so a person
    # may be in two parts; it is the same for both networks. nnU-Net: 10.1038/s41592-020-01008-z, on a graphics card.
    "msd_hippocampus": Benchmark(
        msd_hippocampus,
        hippocampus_scores,
        unet3d,
        "no patient is known",
        baselines={"by_hand": by_hand},
        published={"nnU-Net, five folds of 260": [0.8975, 0.8807]},
    ),
    # A 3D U-Net that downsamples thick slices later than their plane, beside one that downsamples all axes alike.
    "thick_slices": Benchmark(
        thick_slices,
        hippocampus_scores,
        unet3d,
        "no patient is known",
        baselines={"all_axes_alike": all_axes_alike},
    ),
}  # fmt: skip
