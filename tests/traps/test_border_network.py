"""A5 by a network: a letter of one class is found wherever in the border it is; the same letter in both is no finding."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from typer.testing import CliRunner

import easydl
from easydl.cli.commands import app
from easydl.traps.border_network import BorderSeen
from easydl.traps.confounders import _ANYWHERE, confounders

pytestmark = pytest.mark.slow
SIDE, N = 160, 80


def study_with(folder, letters, *, anywhere=True):
    """Films with ``letters[class]`` on one of the four sides, or all in the lower right corner."""
    rng, rows = np.random.default_rng(3), []
    for number in range(N):
        tissue = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 6)
        film = Image.fromarray((110 + 30 * tissue / tissue.std()).clip(0, 220).astype(np.uint8))
        along = int(rng.integers(20, SIDE - 30))
        place = [(along, 0), (along, SIDE - 15), (3, along), (SIDE - 12, along)][rng.integers(4) if anywhere else 1]
        place = place if anywhere else (SIDE - 30, SIDE - 15)
        ImageDraw.Draw(film).text(place, letters[number % 2], fill=250, font=ImageFont.load_default(14))
        film.save(folder / f"{number}.png")
        rows.append({"image": str(folder / f"{number}.png"), "label": "ab"[number % 2], "patient": f"p{number}"})
    return easydl.load(pd.DataFrame(rows))


def found_in(audit):
    return [issue for issue in audit.issues if issue.sentence.startswith(_ANYWHERE[0].upper() + _ANYWHERE[1:])]


def test_letters_anywhere_in_the_border_are_found_by_the_network_alone(tmp_path):
    study = study_with(tmp_path, "LR")
    assert not [one for one in easydl.audit(study).issues if one.id == "A5" and one.severity == "WARN"]
    (issue,) = found_in(easydl.audit(study, full=True))
    assert issue.id == "A5" and issue.severity == "WARN" and issue.low > 0.6 and issue.n == N
    assert issue.place is None and "most of all" not in issue.sentence
    assert [study.frame["label"].iloc[row] for row in issue.rows] == [study.frame["label"].iloc[issue.rows[0]]] * 4 + [
        study.frame["label"].iloc[issue.rows[-1]]
    ] * 4
    assert issue.thumbnails
    table = tmp_path / "table.csv"
    study.frame[["image", "label", "patient"]].to_csv(table, index=False)
    said = CliRunner().invoke(app, ["audit", str(table), "--full"]).output
    assert issue.sentence[:60] in " ".join(said.split())


def test_the_same_letter_in_both_classes_is_no_finding(tmp_path):
    audit = easydl.audit(study_with(tmp_path, "LL"), full=True)
    assert not found_in(audit)
    assert any(_ANYWHERE in one.sentence for one in audit.issues if one.severity == "OK")


def test_a_letter_at_one_place_is_framed_there_and_said_once(tmp_path):
    from easydl.traps.association import Labels
    from easydl.traps.border_network import border_seen

    study = study_with(tmp_path, "LR", anywhere=False)
    border = border_seen(study)
    assert border.values.shape == border.where.shape == (N, 144)
    labels = Labels(study.frame["label"], study.frame["patient"])
    words, (top, left, bottom, right) = border.place(labels, labels.associate(border.evidence))
    assert words.startswith("lower edge, right") and top > 0.85 and bottom == 1 and left >= 0.75 and right <= 1
    located = [one for one in confounders(study, [], border=border) if one.place is not None]
    assert len(located) == 1


def test_every_place_of_the_four_sides_is_in_the_segment_of_its_place():
    from easydl.images.glance import segments
    from easydl.traps.border_network import _segment_of

    table = _segment_of()
    words = [name for name, _ in segments()]
    assert words[table[0, 40]] == "upper edge, right of the middle"
    assert words[table[6, 0]] == "lower edge, left"
    assert words[table[12, 30]].startswith("left edge") and words[table[23, 30]].startswith("right edge")


def test_the_middle_is_not_seen(tmp_path):
    from easydl.traps.border_network import border_seen

    rng = np.random.default_rng(0)
    frames = []
    for number in range(2):
        film = np.full((64, 64), 90, np.uint8)
        film[:7] = rng.integers(0, 255, (7, 64)) if number == 0 else film[:7]
        film[20:40, 20:40] = 250 * number
        if number:
            film[:7] = frames[0][:7]
        frames.append(film)
        Image.fromarray(film).save(tmp_path / f"{number}.png")
    table = pd.DataFrame(
        {"image": [str(tmp_path / f"{k}.png") for k in (0, 1)], "label": ["a", "b"], "patient": ["1", "2"]}
    )
    seen = border_seen(easydl.load(table))
    assert isinstance(seen, BorderSeen) and np.array_equal(seen.values[0], seen.values[1])
    assert np.array_equal(seen.rows(np.array([1])).values[0], seen.values[1])
