"""Copies that were saved again, resized, cropped, mirrored, turned, brightened or inverted are found; likeness is not."""

import io

import numpy as np
import pandas as pd
import pytest
from made import films
from PIL import Image

import easydl
from easydl.images.glance import glance
from easydl.studies.near_copies import linked, near_copies, together

N, COPIES = 60, 8


def saved_as_jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return Image.open(file)


CHANGES = {
    "jpeg": (saved_as_jpeg, ""),
    "resized": (lambda a: a.resize((150, 150)), ""),
    "cropped": (lambda a: a.crop((6, 6, 154, 154)), ""),
    "cropped on one side": (lambda a: a.crop((3, 3, 160, 160)), ""),
    "brighter": (lambda a: a.point(lambda v: min(255, int(0.9 * v + 20))), ""),
    "mirrored": (lambda a: a.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "mirrored"),
    "turned": (lambda a: a.rotate(90), "turned"),
    "inverted": (lambda a: a.point(lambda v: 255 - v), "inverted"),
}


def thumbnails(images):
    return np.stack([glance(np.asarray(image, np.float32)[..., None]).thumbnail for image in images])


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_with_its_change(change):
    made, (do, word) = films(N), CHANGES[change]
    images = thumbnails([*made, *(do(image) for image in made[:COPIES])])
    found = near_copies(images, np.arange(len(images)))
    assert {(pair.first, pair.second) for pair in found} == {(one, N + one) for one in range(COPIES)}
    assert {pair.change for pair in found} == {word}
    assert all(0.75 <= pair.correlation <= 1.001 for pair in found)


def test_images_of_one_anatomy_are_no_copies():
    assert near_copies(thumbnails(films(N)), np.arange(N)) == []


def test_pairs_within_a_patient_are_not_looked_for():
    made = films(N)
    images = thumbnails([*made, saved_as_jpeg(made[0])])
    assert near_copies(images, np.array([*range(N), 0])) == []
    assert len(near_copies(images, np.arange(N + 1))) == 1


def test_pairs_join_what_they_chain_to():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 400, (2, 250))
    slow = np.arange(400)
    for one, other in zip(first, second, strict=True):
        slow[slow == slow[other]] = slow[one]
    fast = linked(400, first, second)
    assert ((fast[:, None] == fast) == (slow[:, None] == slow)).all()
    assert len(set(linked(3, [], []))) == 3


def test_rows_that_share_anything_are_together():
    codes = together(["a", "b", "b", "c", "d"], [1, 2, 3, 3, 4])
    assert codes[1] == codes[2] == codes[3]
    assert len({int(codes[0]), int(codes[1]), int(codes[4])}) == 3


def test_split_keeps_near_copies_together_and_the_audit_names_them(tmp_path):
    made = films(40)
    rows = []
    for number, image in enumerate([*made, *(saved_as_jpeg(one) for one in made[:6])]):
        image.convert("L").save(tmp_path / f"{number:02d}.png")
        rows.append({"image": f"{number:02d}.png", "label": "ab"[number % 2], "patient": f"p{number}"})
    pd.DataFrame(rows).to_csv(tmp_path / "scans.csv", index=False)
    study = easydl.load(tmp_path / "scans.csv")
    for seed in range(3):
        part = study.split(seed=seed)[0].parent.frame["split"].tolist()
        assert part[:6] == part[40:46]
    issue = next(issue for issue in easydl.audit(study).issues if issue.id == "A2" and issue.severity == "WARN")
    assert "12 images of different patients are nearly the same, in 6 groups" in issue.sentence
    assert set(issue.rows) == {*range(6), *range(40, 46)}
    leaking = study.split(seed=0)[0].parent
    leaking.frame["split"] = ["train"] * 40 + ["test"] * 6
    assert any("6 pairs" in issue.sentence and "two parts" in issue.sentence for issue in easydl.audit(leaking).issues)


@pytest.mark.filterwarnings("error")
def test_images_without_structure_are_no_copies():
    assert near_copies(np.full((6, 64, 64), 7, np.uint8), np.arange(6)) == []
