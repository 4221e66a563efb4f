"""The simulated study: truth in its position, valid files, traps that are there. The physics is in `test_physics`."""

from __future__ import annotations

import hashlib
import re
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
from scipy.ndimage import binary_dilation
from scipy.stats import chi2_contingency, ks_2samp
from sklearn.metrics import roc_auc_score

from easydl.errors import RESEARCH_USE, InputError
from easydl.simulation import TRAPS, anatomy, cohort, physics, simulate
from easydl.simulation.imaging import make_image
from easydl.simulation.plan import Settings


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> Path:
    return simulate(tmp_path_factory.mktemp("clean") / "study", patients=12, size=64, seed=4)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("volumes") / "study"
    return simulate(folder, kind="volumes", patients=4, size=48, depth=20, seed=2)


# Truth


@pytest.mark.parametrize("kind", ["slices", "volumes"])
def test_the_nodule_is_the_only_thing_the_label_changes_and_it_lies_in_the_mask(kind):
    plan = Settings(kind, 2, 64, 10, 1e9, (), 11)
    seen = 0
    for patient in cohort.draw_patients(3, 1.0, (), 11):
        acquisition = cohort.Acquisition(patient, patient.name, 2, (patient, 2), 0, patient.date)
        twin = replace(patient, positive=False)
        ill, well = (
            make_image(acquisition, plan),
            make_image(replace(acquisition, patient=twin, source=(twin, 2)), plan),
        )
        change = ill.pixels.astype(float) - well.pixels
        assert ill.heights_mm == well.heights_mm
        assert not well.masks["nodule"].any()
        assert well.lesion_mm == 0
        near = np.stack([binary_dilation(layer, iterations=3) for layer in binary_dilation(ill.masks["nodule"])])
        assert np.abs(change[~near]).mean() < 3
        assert change[ill.masks["nodule"]].mean() > 200
        seen += int(ill.masks["nodule"].sum())
    assert seen > 10


def test_the_mask_has_the_size_the_table_says():
    plan = Settings("volumes", 1, 96, 50, 1e6, (), 5)
    patient = cohort.draw_patients(2, 1.0, (), 5)[0]
    image = make_image(cohort.Acquisition(patient, patient.name, 1, (patient, 1), 0, patient.date), plan)
    volume = image.masks["nodule"].sum() * physics.pixel_mm(96) ** 2 * 160 / 50
    assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(image.lesion_mm, rel=0.08)


def test_nodules_lie_in_a_lung_and_clear_of_heart_aorta_and_spine():
    rng = np.random.default_rng(8)
    for number in range(60):
        chest = anatomy.chest(rng, "FM"[number % 2])
        nodule = anatomy.nodule(rng, chest, rng.uniform(-60, 60), (6, 20), (-150, 60))
        assert 6 <= nodule.diameter_mm <= 20
        directions = rng.normal(size=(200, 3))
        surface = nodule.shape.centre + nodule.shape.thinnest_mm * directions / np.linalg.norm(
            directions, axis=1, keepdims=True
        )
        assert min(lung.distance(surface).max() for lung in chest.lungs) < 1
        assert all(item.distance(surface).min() > 1 for item in chest.obstacles)


def test_brightness_alone_does_not_separate_the_classes():
    plan = Settings("slices", 1, 32, 8, 2e4, (), 21)
    people = cohort.draw_patients(120, 0.5, (), 21)
    acquisitions = cohort.plan_acquisitions(people, 1, (), 21)
    images = [make_image(acquisition, plan).pixels for acquisition in acquisitions]
    label = [acquisition.patient.positive for acquisition in acquisitions]
    for measure in (np.mean, np.std):
        assert 0.36 < roc_auc_score(label, [measure(p) for p in images]) < 0.64


# Files


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    options = {"patients": 3, "images_per_patient": 1, "size": 32}
    first = files_of(simulate(tmp_path / "a", seed=1, **options).parent)
    assert first == files_of(simulate(tmp_path / "b", seed=1, **options).parent)
    other = files_of(simulate(tmp_path / "c", seed=2, **options).parent)
    images = [{blob for name, blob in made.items() if name.endswith(".dcm")} for made in (first, other)]
    assert len(images[0]) == len(images[1]) == 3
    assert not images[0] & images[1]


def test_the_same_volume_twice_gives_the_same_bytes(tmp_path):
    options = {"kind": "volumes", "patients": 2, "size": 32, "depth": 8, "seed": 3}
    first, second = (files_of(simulate(tmp_path / name, **options).parent) for name in "ab")
    assert first == second
    assert sum(name.endswith(".nii.gz") for name in first) == 2


def test_the_table_describes_the_files(slices):
    frame = table(slices)
    assert list(frame.columns) == [
        "image", "label", "mask", "patient", "sex", "age_years", "scanner", "date",
    ]  # fmt: skip
    assert len(frame) == 24
    assert frame.patient.nunique() == 12
    assert Counter(frame.label) == {"nodule": 12, "no nodule": 12}
    truth = pd.read_csv(slices.parent / "truth.csv", dtype=str, keep_default_na=False)
    assert list(truth.image) == list(frame.image)
    for row, nodule_mm in zip(frame.itertuples(), truth.nodule_mm, strict=True):
        assert row.image.startswith(f"images/{row.label}/")
        mask = np.asarray(Image.open(slices.parent / row.mask))
        assert mask.dtype == np.uint8
        assert mask.shape == (64, 64)
        assert set(np.unique(mask)) == ({0, 255} if row.label == "nodule" else {0})
        assert (nodule_mm != "") == (row.label == "nodule")
    readme = (slices.parent / "README.txt").read_text(encoding="utf-8")
    assert "SIMULATED" in readme
    assert RESEARCH_USE in readme


def test_every_slice_is_a_valid_ct_image(slices):
    frame = table(slices)
    instances, series, studies = set(), set(), {}
    for row in frame.itertuples():
        ds = pydicom.dcmread(slices.parent / row.image)
        assert ds.SOPClassUID == pydicom.uid.CTImageStorage == ds.file_meta.MediaStorageSOPClassUID
        assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID
        assert ds.SOPInstanceUID.is_valid
        assert (ds.PatientID, ds.PatientSex, int(ds.PatientAge[:3])) == (row.patient, row.sex, int(row.age_years))
        assert f"{ds.Manufacturer} {ds.ManufacturerModelName}" == row.scanner
        assert ds.StudyDate == row.date.replace("-", "")
        assert str(ds.PatientName).startswith("SIMULATED^")
        assert "simulated" in ds.SeriesDescription
        assert len(ds.SeriesDescription) <= 64
        assert RESEARCH_USE in ds.ImageComments
        assert ds.BurnedInAnnotation == "NO"
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        assert hu[:3, :3] == pytest.approx(-1000, abs=30)
        assert -920 < np.percentile(hu[hu > -950], 5) < -780
        assert [float(v) for v in ds.PixelSpacing] == pytest.approx([340 / 64] * 2, abs=1e-5)
        assert float(ds.ImagePositionPatient[0]) == pytest.approx(-32 * 340 / 64, abs=1e-4)
        instances.add(ds.SOPInstanceUID)
        series.add(ds.SeriesInstanceUID)
        studies.setdefault(row.patient, set()).add((ds.StudyInstanceUID, ds.FrameOfReferenceUID))
    assert len(instances) == len(series) == 24
    assert all(len(found) == 1 for found in studies.values())
    assert len({next(iter(found)) for found in studies.values()}) == 12


def test_a_series_and_its_mask_lie_on_one_grid(volumes):
    frame = table(volumes)
    for row in frame.itertuples():
        paths = sorted((volumes.parent / row.image).glob("*.dcm"))
        datasets = [pydicom.dcmread(path) for path in reversed(paths)]
        volume = highdicom.get_volume_from_series(datasets)
        assert volume.spatial_shape == (20, 48, 48)
        assert volume.spacing == pytest.approx((8.0, 340 / 48, 340 / 48), abs=1e-4)
        mask = nibabel.load(volumes.parent / row.mask)
        assert nibabel.aff2axcodes(mask.affine) == ("L", "P", "I")
        assert mask.header["qform_code"] == mask.header["sform_code"] == 1
        lps = np.diag([-1, -1, 1, 1]) @ mask.affine
        for index in ([0, 0, 0], [19, 47, 47], [7, 30, 11]):
            depth, line, column = index
            here = lps @ [column, line, depth, 1]
            assert volume.map_indices_to_reference(np.array([index]))[0] == pytest.approx(here[:3], abs=1e-3)
        labels = np.asarray(mask.dataobj).transpose(2, 1, 0)
        assert labels.dtype == np.uint8
        assert set(np.unique(labels)) == ({0, 1} if row.label == "nodule" else {0})
        if row.label == "nodule":
            shell = binary_dilation(labels > 0, iterations=2) & ~binary_dilation(labels > 0)
            assert volume.array[labels > 0].mean() > np.median(volume.array[shell]) + 200


def test_it_reads_back_as_hounsfield_units_with_its_geometry(slices, volumes):
    from easydl.images import read

    scan = read(slices.parent / table(slices).image[0])
    assert (scan.units, scan.shape) == ("HU", (64, 64))
    scan = read(volumes.parent / table(volumes).image[0])
    mask = read(volumes.parent / table(volumes)["mask"][0])
    assert (scan.units, scan.shape) == ("HU", (20, 48, 48))
    assert mask.affine == pytest.approx(scan.affine, abs=1e-3)


def test_the_study_loads_from_its_table_and_from_its_class_folders(slices):
    from easydl.studies import load

    study = load(str(slices), label="label")
    assert (list(study.classes), study.n_patients, study.units) == (["no nodule", "nodule"], 12, "HU")
    folders = load(str(slices.parent / "images"))
    assert (list(folders.classes), folders.n_patients, len(folders)) == (["no nodule", "nodule"], 12, 24)


# Traps, and studies without


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [20, 81])
def test_in_a_clean_study_no_covariate_goes_with_the_label(seed, count):
    people = cohort.draw_patients(count, 0.5, (), seed)
    ill, well = ([p for p in people if p.positive == label] for label in (True, False))
    assert abs(len(ill) - len(well)) <= 1
    for fact in ("sex", "scanner"):
        counts = [Counter(getattr(p, fact) for p in group) for group in (ill, well)]
        assert all(abs(counts[0][key] - counts[1][key]) <= 1 for key in counts[0] | counts[1])
    for fact in ("age_years", "date"):
        values = [[getattr(p, fact) for p in group] for group in (ill, well)]
        numbers = [[v if isinstance(v, int) else v.toordinal() for v in group] for group in values]
        assert ks_2samp(*numbers).pvalue > 0.99
    acquisitions = cohort.plan_acquisitions(people, 2, (), seed)
    assert not any(acquisition.split for acquisition in acquisitions)
    assert all(
        acquisition.patient_id == acquisition.patient.name == acquisition.source[0].name for acquisition in acquisitions
    )


@pytest.mark.parametrize("fact", ["scanner", "sex"])
def test_a_planted_covariate_goes_with_the_label_in_about_95_percent(fact):
    people = cohort.draw_patients(80, 0.5, (fact,), 3)
    other = "sex" if fact == "scanner" else "scanner"

    def agreement(name: str) -> float:
        cells = pd.crosstab([p.positive for p in people], [getattr(p, name) for p in people]).to_numpy()
        return max(np.trace(cells), np.trace(cells[::-1])) / 80

    assert 0.92 <= agreement(fact) < 1
    assert agreement(other) == pytest.approx(0.5, abs=0.03)
    cells = pd.crosstab([p.positive for p in people], [getattr(p, fact) for p in people])
    assert chi2_contingency(cells).pvalue < 1e-10


def test_the_scanner_shows_in_the_image_so_that_a_network_can_use_it():
    plan = Settings("slices", 1, 64, 8, 2e4, (), 0)
    spread: dict[str, list[float]] = {name: [] for name in cohort.SCANNERS}
    for patient in cohort.draw_patients(8, 0.5, (), 0):
        for name in cohort.SCANNERS:
            same = replace(patient, scanner=name)
            image = make_image(cohort.Acquisition(same, same.name, 1, (same, 1), 0, same.date), plan).pixels[0]
            at_mm = (np.arange(64) - 32) * physics.pixel_mm(64)
            spread[name].append(float(image[at_mm > 128][:, (at_mm > -92) & (at_mm < -78)].max()))
    first, second = (np.array(spread[name]) for name in cohort.SCANNERS)
    assert first.min() > -850
    assert second.max() < -900


def test_the_marker_lies_in_the_corner_of_one_class_only(tmp_path, slices):
    path = simulate(tmp_path / "marker", patients=4, images_per_patient=1, size=64, traps=["marker"])
    for row in table(path).itertuples():
        corner = pydicom.dcmread(path.parent / row.image).pixel_array[:8, :8].astype(int) - 1024
        assert (corner.max() > 1500) == (row.label == "nodule")
        assert not np.asarray(Image.open(path.parent / row.mask))[:8, :8].any()
    for row in table(slices).itertuples():
        assert pydicom.dcmread(slices.parent / row.image).pixel_array[:8, :8].max() < 1024


@pytest.mark.parametrize("images", [1, 2])
def test_the_same_patient_lies_in_two_parts_of_the_split_and_under_two_spellings(images):
    acquisitions = cohort.plan_acquisitions(cohort.draw_patients(40, 0.5, (), 1), images, ("same_patient",), 1)
    frame = pd.DataFrame(
        [(s.patient.number, s.patient_id, s.split, s.patient.positive, s.stem) for s in acquisitions],
        columns=["person", "patient", "split", "label", "stem"],
    )
    assert set(frame.split) == {"train", "val", "test"}
    assert frame.stem.is_unique
    torn = frame.groupby("patient").split.nunique() > 1
    assert torn.sum() >= 3
    spelled = frame.groupby("person").patient.nunique() > 1
    assert spelled.sum() >= 3
    assert frame.groupby("person").split.nunique().gt(1).sum() == torn.sum() + spelled.sum()
    plain = {name: re.sub(r"[^a-z0-9]", "", name.lower()) for name in frame.patient}
    assert frame.patient.map(plain).nunique() == 40
    assert len(acquisitions) == 40 * images + torn.sum() + spelled.sum()


def test_a_later_scan_shows_the_same_anatomy_with_other_noise(tmp_path):
    path = simulate(tmp_path / "s", patients=6, images_per_patient=1, size=48, traps=("same_patient",), seed=1)
    frame = table(path)
    assert "split" in frame.columns
    frame["person"] = frame.patient.str.extract(r"(\d{4})$")[0]
    frame["pixels"] = [pydicom.dcmread(path.parent / image).pixel_array.ravel().astype(float) for image in frame.image]
    pairs = [group for _, group in frame.groupby("person") if len(group) == 2]
    assert len(pairs) == 4
    for pair in pairs:
        one, two = pair.pixels
        assert not np.array_equal(one, two)
        assert np.corrcoef(one, two)[0, 1] > 0.8
        assert pair.split.nunique() == 2
        assert pair.date.nunique() == 2


def test_duplicates_share_their_pixels_but_neither_patient_nor_part_of_the_split(tmp_path, slices):
    path = simulate(tmp_path / "d", patients=20, images_per_patient=1, size=32, traps=("duplicates", "same_patient"))
    frame = table(path)
    frame["pixels"] = [hashlib.sha256(pydicom.dcmread(path.parent / i).PixelData).hexdigest() for i in frame.image]
    twice = [group for _, group in frame.groupby("pixels") if len(group) > 1]
    assert len(twice) >= 2
    for group in twice:
        assert group.patient.nunique() == group.split.nunique() == len(group) == 2
        assert group.label.nunique() == 1
        headers = [pydicom.dcmread(path.parent / image, stop_before_pixels=True) for image in group.image]
        assert headers[0].SOPInstanceUID != headers[1].SOPInstanceUID
        assert [h.PatientID for h in headers] == group.patient.tolist()
    clean = [pydicom.dcmread(slices.parent / image).PixelData for image in table(slices).image]
    assert len(set(clean)) == len(clean)


# Bad input


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "mri"}, {"traps": ["gremlin"]}, {"traps": "gremlin"}, {"patients": 0}, {"patients": 2.5},
        {"size": 16}, {"dose": -1}, {"dose": float("nan")}, {"nodule_rate": 1.5}, {"seed": -1},
        {"images_per_patient": 0}, {"depth": 2}, {"patients": True}, {"dose": "much"},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_argument_is_refused_by_name_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(InputError) as caught:
        simulate(tmp_path / "study", **wrong)
    name = next(iter(wrong))
    assert f"`{name}`" in caught.value.expected + caught.value.found
    assert caught.value.found
    assert caught.value.do
    assert not list(tmp_path.iterdir())


def test_an_unknown_trap_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="gremlin") as caught:
        simulate(tmp_path / "study", traps=["scanner", "gremlin"])
    assert all(name in caught.value.expected for name in TRAPS)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="already holds"):
        simulate(tmp_path, patients=1, size=32)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="already holds"):
        simulate(tmp_path / "mine.txt", patients=1, size=32)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert simulate(tmp_path / "empty", patients=1, images_per_patient=1, size=32).is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_what_stops_half_way_leaves_nothing(tmp_path):
    def stop(done: int, total: int) -> None:
        assert total == 4
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "study", patients=2, size=32, progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rate", "label"), [(0, "no nodule"), (1, "nodule")])
def test_one_class_alone_can_be_made(tmp_path, rate, label):
    path = simulate(tmp_path / "one", patients=2, images_per_patient=1, size=32, nodule_rate=rate)
    assert table(path).label.tolist() == [label, label]
