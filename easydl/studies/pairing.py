"""Folders of images beside folders of masks become rows. A pair is never guessed: what does not match is counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from easydl.errors import InputError
from easydl.studies.folders import image_files, some, visible_folders
from easydl.studies.names import composed
from easydl.studies.tables import SPLIT_NAMES, tables_in

IMAGE_FOLDERS = {"images", "image", "imagestr", "img", "imgs", "scans"}
MASK_FOLDERS = {"masks", "mask", "labels", "label", "labelstr", "segmentations", "segmentation", "seg", "annotations"}
DEEPEST = 3
_MASK_ENDING = re.compile(r"[ _.-]+(mask|masks|seg|segmentation|label|labels|gt|groundtruth|manual\d*|annotation)$")
_IMAGE_ENDING = re.compile(r"[ _.-]+(image|img|scan|training|test|0000)$")
_LEADING_NUMBER = re.compile(r"\d+")


@dataclass
class Pairing:
    """The pairs of one place, and what is left.

    Attributes:
        pairs: (image, mask).
        loose: Images without a mask.
        orphans: Masks without an image.
        ambiguous: Images and masks of which several would match.
        by_number: Pairs that match only by the number at the beginning of their names.
    """

    pairs: list[tuple[Path, Path]] = field(default_factory=list)
    loose: list[Path] = field(default_factory=list)
    orphans: list[Path] = field(default_factory=list)
    ambiguous: list[Path] = field(default_factory=list)
    by_number: int = 0


def frame_from_pairs(root: Path) -> tuple[pd.DataFrame, list[str]] | None:
    """One row per image that has a mask, from folders such as ``images`` and ``masks``.

    They may lie in the folder itself or in folders within (``train/images``, ``train/masks``), and may hold folders
    themselves. A single folder in which masks lie beside their images (``a.png``, ``a_mask.png``) is read too.

    Args:
        root: The folder.

    Returns:
        Columns ``image``, ``mask`` and, below train, val and test folders, ``given_split``, and notes with the counts of
        all that was excluded; None when the folder is of another kind.

    Raises:
        InputError: Two folders could be the masks, or no image matches a mask.
    """
    places = list(_places(root, 0))
    if not places:
        return _beside(root)
    rows: list[dict[str, str]] = []
    total = Pairing()
    for place, images, masks in places:
        one = match(image_files(images), image_files(masks), images, masks)
        split = next((SPLIT_NAMES[part] for part in _parts(place, root) if part in SPLIT_NAMES), "")
        for image, mask in one.pairs:
            inside = next((SPLIT_NAMES[part] for part in _parts(image.parent, images) if part in SPLIT_NAMES), "")
            rows.append({"image": str(image), "mask": str(mask), "given_split": split or inside})
        total.pairs += one.pairs
        total.loose += one.loose
        total.orphans += one.orphans
        total.ambiguous += one.ambiguous
        total.by_number += one.by_number
    if not rows:
        raise InputError(
            f"{root.name}: none of {some(total.loose + total.ambiguous, 'image')} has the name of a mask.",
            "masks called like their images, such as 7.png and 7.png or 7_mask.png.",
            "Rename the masks, or list images and masks in a table.",
        )
    frame = pd.DataFrame(rows, dtype=str)
    if not (frame["given_split"] != "").all():
        frame = frame.drop(columns="given_split")
    return frame, [*_notes(total), *_unused(root, places)]


def match(images: list[Path], masks: list[Path], image_root: Path, mask_root: Path) -> Pairing:
    """Pair images and masks by their names: the same, the same but for a usual ending, or the same leading number.

    Where several files would match, none is taken.

    Example:
        >>> found = match([Path("i/21_training.tif")], [Path("m/21_manual1.gif")], Path("i"), Path("m"))
        >>> [(image.name, mask.name) for image, mask in found.pairs]
        [('21_training.tif', '21_manual1.gif')]
    """
    found = Pairing()
    steps: list[tuple[Callable[[Path], str], Callable[[Path], str]]] = [
        (lambda path: _relative(path, image_root), lambda path: _relative(path, mask_root)),
        (_stem, _stem),
        (lambda path: _IMAGE_ENDING.sub("", _stem(path)), lambda path: _MASK_ENDING.sub("", _stem(path))),
        (_number, _number),
    ]
    left, right = list(images), list(masks)
    for step, (image_key, mask_key) in enumerate(steps):
        ours, theirs = _by_key(left, image_key), _by_key(right, mask_key)
        for key in sorted(set(ours) & set(theirs)):
            if len(ours[key]) == len(theirs[key]) == 1:
                found.pairs.append((ours[key][0], theirs[key][0]))
                found.by_number += step == 3
            elif step < 3:
                found.ambiguous += [*ours[key], *theirs[key]]
        used = {path for pair in found.pairs for path in pair} | set(found.ambiguous)
        left = [path for path in left if path not in used]
        right = [path for path in right if path not in used]
    found.pairs.sort()
    found.loose, found.orphans = left, right
    return found


def masks_beside(files: list[Path]) -> dict[Path, Path]:
    """Masks that lie beside their images: ``{a_mask.png: a.png}``; only those whose image is there."""
    stems: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        stems.setdefault((path.parent, _stem(path)), []).append(path)
    found = {}
    for path in files:
        base = _MASK_ENDING.sub("", _stem(path))
        images = stems.get((path.parent, base), []) if base != _stem(path) else []
        if len(images) == 1:
            found[path] = images[0]
    return found


def _beside(root: Path) -> tuple[pd.DataFrame, list[str]] | None:
    if visible_folders(root):
        return None
    files = image_files(root)
    masks = masks_beside(files)
    if not masks:
        return None
    found = Pairing()
    owners = _by_key(list(masks), lambda mask: str(masks[mask]))
    for image in files:
        own = owners.get(str(image), [])
        if len(own) == 1:
            found.pairs.append((image, own[0]))
        elif own:
            found.ambiguous += [image, *own]
        elif image not in masks:
            (found.orphans if _MASK_ENDING.search(_stem(image)) else found.loose).append(image)
    if not found.pairs:
        return None
    frame = pd.DataFrame(found.pairs, columns=["image", "mask"]).map(str)
    return frame, ["masks lie beside their images and were recognised by the ending of their names", *_notes(found)]


def _places(folder: Path, depth: int) -> Iterator[tuple[Path, Path, Path]]:
    children = visible_folders(folder)
    images = [child for child in children if child.name.lower() in IMAGE_FOLDERS]
    masks = [child for child in children if child.name.lower() in MASK_FOLDERS and image_files(child)]
    if images and masks:
        if len(images) > 1 or len(masks) > 1:
            double = images if len(images) > 1 else masks
            raise InputError(
                f"{folder.name} holds several folders that could be the {'images' if len(images) > 1 else 'masks'}: "
                f"{', '.join(one.name for one in double)}.",
                "one folder of images and one of masks.",
                "Move the others elsewhere, or list images and masks in a table.",
            )
        yield folder, images[0], masks[0]
    elif depth < DEEPEST:
        for child in children:
            yield from _places(child, depth + 1)


def _notes(found: Pairing) -> list[str]:
    notes = []
    if found.by_number:
        notes.append(
            f"{found.by_number} masks were matched to images by the number at the beginning of their names only"
        )
    for files, what, why in (
        (found.loose, "image", "no mask"),
        (found.orphans, "mask", "no image"),
        (found.ambiguous, "file", "more than one possible partner"),
    ):
        if files:
            verb = "has" if len(files) == 1 else "have"
            notes.append(f"{some(files, what)} {verb} {why} and {'was' if len(files) == 1 else 'were'} excluded")
    return notes


def _unused(root: Path, places: list[tuple[Path, Path, Path]]) -> list[str]:
    """What else lies in the folder: other folders with images, and a table."""
    used = [path for _, images, masks in places for path in (images, masks)]
    rest: dict[str, int] = {}
    for path in image_files(root):
        if not any(path.is_relative_to(folder) for folder in used):
            where = str(path.parent.relative_to(root)) if path.parent != root else "the folder itself"
            rest[where] = rest.get(where, 0) + 1
    notes = []
    if rest:
        listing = ", ".join(f"{name} ({count})" for name, count in list(rest.items())[:5])
        more = f" and {len(rest) - 5} more" if len(rest) > 5 else ""
        count = sum(rest.values())
        notes.append(
            f"{count} image{'s lie' if count > 1 else ' lies'} elsewhere and {'were' if count > 1 else 'was'} not used: {listing}{more}"
        )
    tables = tables_in(root)
    if tables:
        notes.append(f"{tables[0].name} lies in the folder and was not read: load it instead if it tells the patients")
    return notes


def _by_key(paths: list[Path], key: Callable[[Path], str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        if name := key(path):
            found.setdefault(name, []).append(path)
    return found


def _parts(folder: Path, root: Path) -> list[str]:
    return [part.lower() for part in folder.relative_to(root).parts]


def _stem(path: Path) -> str:
    name = composed(path.name).lower()
    return name[: -len(".nii.gz")] if name.endswith(".nii.gz") else name.rsplit(".", 1)[0] or name


def _relative(path: Path, root: Path) -> str:
    return composed((path.relative_to(root).parent / _stem(path)).as_posix()).lower()


def _number(path: Path) -> str:
    number = _LEADING_NUMBER.match(path.name)
    return str(int(number.group())) if number else ""
