"""The simulated pelvis: MR physics against independent arithmetic, organs where the masks say, the trap as pixels."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, center_of_mass
from scipy.stats import rice, spearmanr
from sklearn.metrics import roc_auc_score

from easydl.errors import RESEARCH_USE, InputError
from easydl.simulation import cohort, mr, simulate
from easydl.simulation.imaging import make_image
from easydl.simulation.pelvis import mass, pelvis
from easydl.simulation.plan import KINDS, Settings

ORGANS = ("gland", "bladder", "rectum", "femurs", "mass")
SILENT = mr.Coil(1.5, 0.0, 1.0, False)


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def acquisition(patient: cohort.Patient, number: int = 1) -> cohort.Acquisition:
    return cohort.Acquisition(patient, patient.name, number, (patient, number), 0, patient.date)


def settings(kind: str = "pelvis", size: int = 96, depth: int = 12, seed: int = 0, masks=ORGANS) -> Settings:
    return Settings(kind, 2, size, depth, 2e4, (), seed, masks)


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pelvis") / "study"
    return simulate(folder, kind="pelvis", patients=8, images_per_patient=1, size=64, masks=["gland", "mass"], seed=4)


# Physics


def test_the_signal_of_a_tissue_is_that_of_a_spin_echo():
    tissue = mr.Tissue(0.8, (1000, 1400), 50)
    longitudinal = 0.8 * (1 - np.exp(-4000 / np.array([1000, 1400])))
    assert [tissue.signal(1.5), tissue.signal(3.0)] == pytest.approx(longitudinal * np.exp(-2.0))
    on_t2 = [mr.URINE, mr.FAT, mr.PERIPHERAL_ZONE, mr.TRANSITION_ZONE, mr.MUSCLE, mr.CORTEX, mr.AIR]
    signals = [tissue.signal(3.0) for tissue in on_t2]
    assert signals == sorted(signals, reverse=True)


def test_an_image_lies_where_the_body_lies_and_is_as_bright():
    size, at = 64, (np.arange(64 * mr.SAMPLES) + 0.5) / mr.SAMPLES - 0.5
    disc = 0.6 * (np.hypot(at[:, None] - 25.3, at[None, :] - 40.8) < 9)
    image = mr.acquire(disc, SILENT, 5.0, np.random.default_rng(0))
    assert image.shape == (size, size)
    assert center_of_mass(image**2) == pytest.approx((25.3, 40.8), abs=0.05)
    rows, columns = np.indices(image.shape)
    assert image[np.hypot(rows - 25.3, columns - 40.8) < 5].mean() == pytest.approx(0.6, rel=0.02)


def test_noise_is_rician():
    coil = mr.Coil(1.5, 0.05, 1.0, False)
    for signal in (0.0, 0.1):
        image = mr.acquire(np.full((256 * mr.SAMPLES,) * 2, signal), coil, 1.0, np.random.default_rng(1))
        expected = rice(signal / 0.05, scale=0.05)
        assert image.mean() == pytest.approx(expected.mean(), rel=0.02)
        assert image.std() == pytest.approx(expected.std(), rel=0.02)


def test_the_scanners_differ_in_noise_shading_and_sharpness():
    step = np.zeros((96 * mr.SAMPLES,) * 2)
    step[:, 48 * mr.SAMPLES :] = 0.5
    flat = np.full_like(step, 0.5)
    made = {name: mr.acquire(flat, coil, 4.0, np.random.default_rng(2)) for name, coil in mr.COILS.items()}
    first, second = made.values()
    assert first[:20, :20].std() > 1.4 * second[:20, :20].std()
    assert [image[46:50, 46:50].mean() / image[:6, :6].mean() for image in (first, second)] == pytest.approx(
        [1.0, 0.72], abs=0.05
    )
    edges = [mr.acquire(step, coil, 4.0, np.random.default_rng(3)).mean(axis=0) for coil in mr.COILS.values()]
    first, second = (np.diff(edge[40:56]).max() / edge[50] for edge in edges)
    assert second > 1.1 * first


# Organs


def test_the_label_changes_nothing_but_the_mass_and_the_mass_lies_in_the_mask():
    plan = settings()
    for patient in cohort.draw_patients(4, 1.0, (), 0):
        ill, well = (make_image(acquisition(replace(patient, positive=truth)), plan) for truth in (True, False))
        both = ill.masks["mass"] | well.masks["mass"]
        assert ill.lesion_mm == well.lesion_mm
        assert 20 <= ill.lesion_mm <= 42
        assert (ill.masks["mass"] & well.masks["mass"]).sum() > 0.6 * well.masks["mass"].sum() > 5
        change = np.abs(ill.pixels.astype(float) - well.pixels)
        near = np.stack([binary_dilation(layer, iterations=4) for layer in both])
        assert change[~near].mean() < 6
        assert change[well.masks["mass"]].mean() > 100


@pytest.mark.parametrize("scanner", list(cohort.SCANNERS))
def test_each_organ_has_the_grey_levels_of_its_tissue(scanner):
    patients = [replace(p, scanner=scanner, sex="M") for p in cohort.draw_patients(5, 0.5, (), 3)]
    coil, found = mr.COILS[scanner], {"bladder": [], "femurs": [], "gland": []}
    for patient in patients:
        image = make_image(acquisition(patient, 2), settings(size=128, seed=3))
        for organ, levels in found.items():
            inner = binary_erosion(image.masks[organ][0] & ~image.masks["mass"][0], iterations=2)
            if inner.sum() > 8:
                levels.append(np.percentile(image.pixels[0][inner], 75) / np.percentile(image.pixels, 99.9))
        air = image.pixels[0, :6].mean()
        assert air < 0.1 * np.percentile(image.pixels, 90)
    bladder, femurs, gland = (float(np.median(levels)) for levels in found.values())
    marrow = mr.YELLOW_MARROW.signal(coil.tesla) / mr.URINE.signal(coil.tesla)
    assert femurs / bladder == pytest.approx(marrow / (coil.middle + 0.15 * (coil.middle < 1)), rel=0.25)
    assert femurs / 2 < gland < bladder


def test_only_men_have_a_gland_only_women_a_uterus_and_the_gland_grows_with_age():
    volumes = []
    for number in range(40):
        rng = np.random.default_rng(number)
        age = 30 + number
        structures = pelvis(rng, "M", age)
        main = next(item.shape for item in structures if item.organ == "gland")
        volumes.append(4 / 3 * np.pi * np.sqrt(np.linalg.det(main.matrix)) / 1000)
        assert not any(item.organ == "gland" for item in pelvis(np.random.default_rng(number), "F", age))
        assert mr.MYOMETRIUM not in [item.tissue for item in structures]
    assert 25 < np.median(volumes[:8]) < 60  # mL
    assert spearmanr(range(40), volumes).statistic > 0.5


def test_both_classes_have_masses_of_the_same_sizes_and_places_inside_the_body():
    places = {}
    for malignant in (True, False):
        drawn = [mass(np.random.default_rng([number, 0]), 5.0, (18, 40), malignant) for number in range(60)]
        places[malignant] = [(item.diameter_mm, *np.round(item.structures[-1].shape.centre[2:], 0)) for item in drawn]
        assert min(item.diameter_mm for item in drawn) >= 18
        assert max(item.diameter_mm for item in drawn) <= 40
    assert [d for d, _ in places[True]] == [d for d, _ in places[False]]


def test_brightness_alone_does_not_separate_the_classes():
    plan = settings(size=32, seed=21, masks=())
    people = cohort.draw_patients(120, 0.5, (), 21)
    images = [make_image(acquisition(patient), plan).pixels for patient in people]
    for measure in (np.mean, np.std):
        assert 0.3 < roc_auc_score([p.positive for p in people], [measure(image) for image in images]) < 0.7


def test_the_trap_is_in_the_pixels_a_gland_goes_with_malignant(tmp_path):
    for traps, low, high in ((["sex"], 0.85, 0.98), ([], 0.4, 0.6)):
        path = simulate(
            tmp_path / f"s{len(traps)}",
            kind="pelvis",
            patients=40,
            images_per_patient=1,
            size=48,
            traps=traps,
            masks="gland",
        )
        frame = table(path)
        gland = np.array([np.asarray(Image.open(path.parent / mask)).any() for mask in frame["mask"]])
        assert ((frame.sex == "M") == gland).all()
        assert low <= np.mean(gland == (frame.label == "malignant")) <= high


# Files


def test_the_table_describes_the_files(slices):
    frame = table(slices)
    assert Counter(frame.label) == {"malignant": 4, "benign": 4}
    assert (frame.groupby("label").sex.apply(lambda sex: (sex == "M").mean()) == 0.5).all()
    truth = table(slices.parent / "truth.csv")
    assert truth.mass_mm.astype(float).between(20, 42).all()
    for row in frame.itertuples():
        assert row.image.startswith(f"images/{row.label}/")
        values = set(np.unique(np.asarray(Image.open(slices.parent / row.mask))))
        assert values == ({0, 1, 2} if row.sex == "M" else {0, 2})
        ds = pydicom.dcmread(slices.parent / row.image)
        assert ds.SOPClassUID == pydicom.uid.MRImageStorage == ds.file_meta.MediaStorageSOPClassUID
        assert (ds.Modality, ds.BodyPartExamined, ds.PatientSex) == ("MR", "PELVIS", row.sex)
        assert (ds.PatientID, int(ds.PatientAge[:3])) == (row.patient, int(row.age_years))
        assert f"{ds.Manufacturer} {ds.ManufacturerModelName}" == row.scanner
        assert float(ds.MagneticFieldStrength) == {"A": 1.5, "B": 3.0}[row.scanner[-1]]
        assert [float(v) for v in ds.PixelSpacing] == pytest.approx([400 / 64] * 2, abs=1e-5)
        assert RESEARCH_USE in ds.ImageComments
        assert "RescaleSlope" not in ds
    readme = (slices.parent / "README.txt").read_text(encoding="utf-8")
    assert "SIMULATED pelvis MR" in readme
    assert '"gland": 1, "mass": 2' in readme
    assert RESEARCH_USE in readme


def test_it_loads_as_classes_and_as_organs(slices):
    from easydl.studies import load

    study = load(str(slices), label="label")
    assert (list(study.classes), study.n_patients, study.units) == (["benign", "malignant"], 8, "0-255")
    organs = load(str(slices), mask="mask", mask_labels={"background": 0, "gland": 1, "mass": 2})
    assert list(organs.classes) == ["background", "gland", "mass"]


def test_two_studies_do_not_share_their_patients(slices, tmp_path):
    other = simulate(tmp_path / "other", kind="pelvis", patients=8, images_per_patient=1, size=32, seed=5)
    assert not set(table(slices).patient) & set(table(other).patient)


def test_a_volume_and_its_mask_lie_on_one_grid_and_the_same_seed_gives_the_same_bytes(tmp_path):
    options = {"kind": "pelvis_volumes", "patients": 2, "size": 48, "depth": 12, "masks": list(ORGANS), "seed": 3}
    paths = [simulate(tmp_path / name, **options) for name in "ab"]
    hashes = [
        [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(path.parent.rglob("*")) if p.is_file()]
        for path in paths
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 2 * 13 + 3
    for row in table(paths[0]).itertuples():
        files = sorted((paths[0].parent / row.image).glob("*.dcm"), reverse=True)
        volume = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in files])
        assert volume.spatial_shape == (12, 48, 48)
        assert volume.spacing == pytest.approx((10.0, 400 / 48, 400 / 48), abs=1e-4)
        mask = nibabel.load(paths[0].parent / row.mask)
        lps = np.diag([-1, -1, 1, 1]) @ mask.affine
        here = volume.map_indices_to_reference(np.array([[7, 30, 11]]))[0]
        assert (lps @ [11, 30, 7, 1])[:3] == pytest.approx(here, abs=1e-3)
        labels = np.asarray(mask.dataobj).transpose(2, 1, 0)
        assert set(np.unique(labels)) == ({0, 1, 2, 3, 4, 5} if row.sex == "M" else {0, 2, 3, 4, 5})
        assert volume.array[labels == 2].mean() > 1.5 * volume.array[labels > 2].mean()


# Masks of the chest


def test_the_organs_of_the_chest_have_their_hu():
    plan = Settings("slices", 1, 128, 8, 1e7, (), 5, ("lungs", "heart", "aorta", "spine", "nodule"))
    patient = cohort.draw_patients(2, 1.0, (), 5)[0]
    image = make_image(acquisition(patient), plan)
    inner = {name: binary_erosion(mask[0], iterations=2) for name, mask in image.masks.items()}
    hu = image.pixels[0].astype(float)
    assert np.median(hu[inner["lungs"]]) == pytest.approx(-860, abs=60)
    assert (hu[inner["lungs"]] < -300).mean() > 0.9
    for organ, low, high in (("heart", 30, 80), ("aorta", 30, 80), ("spine", 120, 300)):
        if inner[organ].any():
            assert low < np.median(hu[inner[organ]]) < high, organ
    assert inner["aorta"].any() and inner["spine"].any() and image.masks["nodule"].any()
    assert not (image.masks["lungs"] & (image.masks["heart"] | image.masks["spine"])).any()


def test_a_later_organ_lies_over_an_earlier_one(tmp_path):
    counts = []
    for masks in (["lungs", "nodule"], ["nodule", "lungs"]):
        path = simulate(
            tmp_path / masks[0], patients=2, images_per_patient=1, size=64, nodule_rate=1.0, masks=masks, seed=3
        )
        counts.append([np.asarray(Image.open(path.parent / mask)) for mask in table(path)["mask"]])
    for first, second in zip(*counts, strict=True):
        assert set(np.unique(first)) == {0, 1, 2}
        assert not (second == 1).any()  # the nodule lies within the lungs, and is covered
        assert ((first > 0) == (second > 0)).all()


# Bad input


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"masks": ["gland"]}, "nodule, lungs"), ({"kind": "pelvis", "masks": "lungs"}, "mass, gland"),
        ({"kind": "pelvis", "dose": 1e4}, "photons"), ({"traps": ["sealed", "sex"]}, "sealed"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_go_together_is_refused(tmp_path, wrong, says):
    with pytest.raises(InputError) as caught:
        simulate(tmp_path / "study", **wrong)
    assert says in caught.value.expected
    assert not list(tmp_path.iterdir())


def test_every_kind_says_what_its_masks_can_show():
    assert {name: kind.organs[0] for name, kind in KINDS.items()} == {
        "slices": "nodule", "volumes": "nodule", "pelvis": "mass", "pelvis_volumes": "mass",
    }  # fmt: skip
