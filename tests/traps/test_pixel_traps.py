"""Traps in the pixels: each planted one is found with its place, its clean twin is not."""

import numpy as np
import pandas as pd
import pytest
from made import films
from PIL import Image, ImageDraw, ImageFilter

import easydl

N = 80


def drawn(image, text, place=(6, 6), fill=255):
    ImageDraw.Draw(image).text(place, text, fill=fill)
    return image


def with_box(image, box, fill):
    ImageDraw.Draw(image).rectangle(box, fill=fill)
    return image


def with_grey(image, change):
    return Image.fromarray(change(np.asarray(image, float)).clip(0, 255).astype(np.uint8))


PLANTED = {
    "square": (lambda image: with_box(image, (146, 4, 155, 13), 255), "upper edge, right"),
    "letter": (lambda image: drawn(image, "L"), "upper edge, left"),
    "text": (lambda image: drawn(image, "PORTABLE 14:05"), "upper edge, left"),
    "grey text": (lambda image: drawn(image, "PORTABLE 14:05", fill=128), "upper edge, left"),
    "low marker": (lambda image: drawn(image, "R", (150, 147)), "lower edge, right"),
    "brighter": (lambda image: with_grey(image, lambda grey: grey + 15), ""),
    "contrast": (lambda image: with_grey(image, lambda grey: grey * 0.8), ""),
    "blur": (lambda image: image.filter(ImageFilter.GaussianBlur(1)), "sharpness"),
    "bars": (lambda image: with_box(with_box(image, (0, 0, 15, 159), 0), (145, 0, 159, 159), 0), ""),
    "inverted": (lambda image: with_grey(image, lambda grey: 255 - grey), ""),
}


def study_of(folder, plant, share=1.0):
    """Films with random labels; ``plant`` changes ``share`` of those of one class and as many fewer of the other."""
    rng = np.random.default_rng(5)
    y = rng.permutation(np.arange(N) % 2)
    folder.mkdir()
    for number, (image, k) in enumerate(zip(films(N, seed=2), y, strict=True)):
        grain = rng.normal(0, rng.uniform(3, 5), (160, 160))
        image = with_grey(image, lambda grey, grain=grain: grey * rng.uniform(0.8, 1) + grain)
        chosen = rng.random() < (share if k else 1 - share)
        (plant(image) if chosen else image).save(folder / f"{number:03d}.png")
    names = [f"{number:03d}.png" for number in range(N)]
    frame = pd.DataFrame({"image": names, "label": np.where(y, "ill", "well"), "patient": [f"p{i}" for i in range(N)]})
    frame.to_csv(folder / "t.csv", index=False)
    return easydl.load(folder / "t.csv")


def alarms(study):
    return [
        issue
        for issue in easydl.audit(study).issues
        if issue.id in ("A4", "A5") and issue.severity == "WARN" and issue.p
    ]


@pytest.mark.parametrize(
    "trap", [pytest.param(trap, marks=() if trap in ("letter", "blur") else pytest.mark.slow) for trap in PLANTED]
)
def test_a_trap_in_the_pixels_is_found_with_its_place(tmp_path, trap):
    plant, place = PLANTED[trap]
    found = alarms(study_of(tmp_path / "s", plant))
    assert found
    sentences = " ".join(issue.sentence for issue in found)
    assert place.lower() in sentences.lower()
    assert all("95% CI" in issue.sentence and issue.n == N for issue in found)


@pytest.mark.parametrize(
    "trap", [pytest.param(trap, marks=() if trap in ("letter", "blur") else pytest.mark.everything) for trap in PLANTED]
)
def test_the_same_in_half_of_both_classes_is_no_confounder(tmp_path, trap):
    assert not alarms(study_of(tmp_path / "s", PLANTED[trap][0], share=0.5))


def test_a_lesion_in_the_middle_is_no_trap_but_the_baseline_is_told(tmp_path):
    def lesion(image):
        inside = np.zeros((160, 160))
        inside[60:100, 60:100] = 70
        return with_grey(image, lambda grey: grey + inside)

    study = study_of(tmp_path / "s", lesion)
    assert not alarms(study)
    notes = [issue for issue in easydl.audit(study).issues if issue.severity == "NOTE" and "8 x 8" in issue.sentence]
    assert notes
    assert notes[0].value > 0.9


@pytest.mark.everything
def test_the_marker_of_the_simulated_study_is_found(tmp_path):
    for traps, found in (((), False), (("marker",), True)):
        path = easydl.simulate(tmp_path / "_".join(("s", *traps)), patients=60, size=96, traps=traps, seed=3)
        sentences = [
            issue.sentence for issue in alarms(easydl.load(path / "scans.csv" if path.is_dir() else path, mask=None))
        ]
        assert any("upper edge, left" in sentence for sentence in sentences) == found, sentences
