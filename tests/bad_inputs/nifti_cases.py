"""Group N of the bad inputs: NIfTI volumes and masks. Geometry is compared with SimpleITK's and nibabel's."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from bad_inputs.case import Case
from nibabel.nifti1 import Nifti1Header
from PIL import Image

import easydl
from easydl.images import read
from easydl.images.nifti import write_nifti
from easydl.prediction import Segmentation
from easydl.prediction.sliding_window import slide

SHAPE = (6, 7, 5)
VALUES = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
OBLIQUE = np.array([[0.9, 0.1, 0, -20], [-0.1, 0.9, 0, 30], [0, 0, 2.0, 7], [0, 0, 0, 1]])


def volume(path: Path, array=VALUES, affine=None, **header) -> Path:
    """Write a NIfTI file; keyword arguments set header fields."""
    image = nibabel.Nifti1Image(array, np.diag([1.0, 1.5, 2.0, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def header_only(path: Path, shape, dtype=np.uint8, body=b"", **fields) -> Path:
    """A file that declares a shape and holds other bytes."""
    header = Nifti1Header()
    header.set_data_shape((1, 1, 1))
    header.set_data_dtype(dtype)
    header["dim"][: len(shape) + 1] = [len(shape), *shape]
    header["sform_code"], header["srow_x"], header["srow_y"], header["srow_z"] = (
        1,
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
    )
    header["vox_offset"], header["magic"] = 352, b"n+1"
    for name, value in fields.items():
        header[name] = value
    data = header.binaryblock + b"\0\0\0\0" + body
    path.write_bytes(gzip.compress(data, 9) if path.name.endswith(".gz") else data)
    return path


def study(
    folder: Path, masks, *, images=None, affine=None, mask_affine=None, name="{}.nii.gz", **options
) -> easydl.Study:
    """A study of volumes with these masks, one patient each."""
    rows = []
    for k, mask in enumerate(masks):
        image = images[k] if images is not None else VALUES
        volume(folder / f"i{k}.nii.gz", image, affine)
        volume(folder / name.format(f"m{k}"), mask, affine if mask_affine is None else mask_affine)
        rows.append({"image": f"i{k}.nii.gz", "mask": name.format(f"m{k}"), "patient": f"p{k}"})
    pd.DataFrame(rows).to_csv(folder / "s.csv", index=False)
    return easydl.load(folder / "s.csv", mask="mask", **options)


def blob(*values, shape=SHAPE, dtype=np.uint8) -> np.ndarray:
    """A mask with a small cube of each value."""
    mask = np.zeros(shape, dtype)
    for k, value in enumerate(values):
        mask[1:3, 1 + 2 * k : 3 + 2 * k, 1:4] = value
    return mask


def no_codes(folder):
    image = nibabel.Nifti1Image(VALUES, None)
    image.header["pixdim"][1:4] = [1, 1.5, 2]
    nibabel.save(image, folder / "a.nii")
    return read(folder / "a.nii").notes


def two_forms(folder):
    image = nibabel.Nifti1Image(VALUES, OBLIQUE)
    image.set_qform(np.diag([1.0, 1.0, 2.0, 1.0]), code=1)
    image.set_sform(OBLIQUE, code=2)
    nibabel.save(image, folder / "a.nii")
    scan = read(folder / "a.nii").on_source()
    here = (scan.affine @ [3, 2, 4, 1])[:3]
    np.testing.assert_allclose(here * [-1, -1, 1], (OBLIQUE @ [4, 2, 3, 1])[:3], atol=1e-3)
    return scan.notes


def bad_affine(kind):
    def use(folder):
        affine = {"nan": np.nan, "zero": 0.0}.get(kind)
        fields = {"srow_x": [1, 0.3, 0, 0]} if kind == "sheared" else {"srow_x": [affine] * 4}
        return read(header_only(folder / "a.nii", SHAPE, body=bytes(210), **fields))

    return use


def four_d(folder):
    volume(folder / "a.nii.gz", np.stack([VALUES, VALUES + 1, VALUES + 2], axis=-1))
    return read(folder / "a.nii.gz")


def four_d_chosen(folder):
    four = np.stack([VALUES, VALUES + 1, VALUES + 2], axis=-1)
    for name in ("a.nii.gz", "a.nii"):
        volume(folder / name, four)
        np.testing.assert_array_equal(read(f"{folder / name}#2").on_source().pixels[..., 0], four[..., 1].T)
    frame = pd.DataFrame(
        {"image": [f"{folder / name}#{k}" for name in ("a.nii.gz", "a.nii") for k in (1, 3)], "label": list("abab")}
    )
    loaded = easydl.load(frame, patient=None)
    np.testing.assert_array_equal(loaded.scan(1).on_source().pixels[..., 0], four[..., 2].T)
    assert len(set(loaded.digests())) == 2


def not_finite(folder, array=None):
    array = VALUES.copy()
    array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf
    scan = read(volume(folder / "a.nii", array)).on_source()
    assert np.isfinite(scan.pixels).all()
    assert scan.pixels[0, 0, 0, 0] == np.float32(array[np.isfinite(array)].min())
    assert scan.pixels[1, 1, 1, 0] == np.float32(array[np.isfinite(array)].max())
    return scan.notes


def scaled_once(folder):
    stored = np.random.default_rng(1).integers(-2000, 2000, SHAPE).astype(np.int16)
    for name, slope, inter in (("a.nii", 0.5, -7.25), ("b.nii.gz", 0, 3), ("c.nii", 1, 0), ("d.nii", np.nan, 0)):
        image = nibabel.Nifti1Image(stored, np.eye(4))
        nibabel.save(image, folder / name)
        data = bytearray(
            (folder / name).read_bytes() if name.endswith("nii") else gzip.decompress((folder / name).read_bytes())
        )
        data[112:120] = np.array([slope, inter], "<f4").tobytes()
        (folder / name).write_bytes(data)
        factor, shift = (1, 0) if not slope or np.isnan(slope) else (slope, inter)
        np.testing.assert_array_equal(
            read(folder / name).on_source().pixels[..., 0], (stored * np.float64(factor) + shift).T.astype("f4")
        )
    rounded = write_nifti((stored.T % 7).astype(int), read(folder / "a.nii").on_source(), folder / "r.nii.gz")
    np.testing.assert_array_equal(read(rounded).on_source().pixels[..., 0], stored.T % 7)


def truncated(folder):
    path = volume(folder / "a.nii.gz", np.random.default_rng(0).normal(size=(30, 30, 30)).astype(np.float32))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return read(path)


def bomb_in_extension(folder):
    return read(header_only(folder / "a.nii.gz", (8, 8, 8), body=bytes(150_000_000), vox_offset=150_000_352))


def mask_elsewhere(change):
    def use(folder):
        affine = np.diag([1.0, 1.5, 2.0, 1.0])
        other = affine.copy()
        change(other)
        study(folder, [blob(1)], affine=affine, mask_affine=other).reference(0)

    return use


def shifted(affine):
    affine[0, 3] += 0.4


def spaced(affine):
    affine[1, 1] += 0.1


def rotated(affine):
    angle = 0.05
    affine[:3, :3] = (
        np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]) @ affine[:3, :3]
    )


def mask_noise(affine):
    affine[:3, 3] += 0.02
    affine[0, 1] += 1e-3


def same_place(folder):
    mask_elsewhere(mask_noise)(folder)


def resampled(folder):
    """A mask in another orientation and twice as fine comes out where SimpleITK puts it."""
    import SimpleITK

    affine, mask = np.diag([2.0, 2.0, 3.0, 1.0]), np.zeros((12, 14, 10), np.uint8)
    mask[2:9, 3:12, 1:6], mask[4:6, 5:9, 2:4] = 1, 4
    other = np.diag([-1.0, 1.0, 1.5, 1.0])
    other[:3, 3] = [11.3, 0.2, 0.1]
    loaded = study(folder, [mask], affine=affine, mask_affine=other, resample_masks=True)
    found = loaded.reference(0)
    assert list(loaded.summary.label_values) == [0, 1, 4]
    image, moving = (SimpleITK.ReadImage(str(folder / name)) for name in ("i0.nii.gz", "m0.nii.gz"))
    truth = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(moving, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
    )
    np.testing.assert_array_equal(np.asarray([0, 1, 4])[loaded.scan(0).to_source(found)], truth)
    assert set(np.unique(truth)) == {0, 1, 4}
    assert any("nearest neighbour" in note for note in loaded.notes)


def almost_whole(folder):
    mask = blob(1, dtype=np.float32) * np.float32(0.9999)
    mask[2, 1, 1] = 1.0001
    loaded = study(folder, [mask])
    np.testing.assert_array_equal(loaded.scan(0).to_source(loaded.reference(0)), blob(1).T)
    return loaded.notes


def brats(folder):
    """Stored 0, 1, 4 become classes 0, 1, 2 and are written back as 0, 1, 4."""
    mask = blob(1, 4)
    loaded = study(folder, [mask])
    indices = loaded.reference(0)
    np.testing.assert_array_equal(loaded.scan(0).to_source(indices), np.searchsorted([0, 1, 4], mask).T)
    result = Segmentation(indices, loaded.scan(0), tuple(loaded.classes), loaded.summary.label_values)
    result.save(folder / "out.nii.gz")
    again = nibabel.load(folder / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(again.dataobj), mask)
    np.testing.assert_allclose(again.affine, nibabel.load(folder / "i0.nii.gz").affine, atol=1e-5)


def merged(folder):
    mask = blob(1, 4, 2, shape=(6, 9, 5))
    labels = {"edema": 2, "tumour": [4, 1]}
    loaded = study(folder, [mask], images=[np.zeros((6, 9, 5), np.float32)], mask_labels=labels)
    assert list(loaded.classes) == ["background", "edema", "tumour"]
    assert loaded.summary.label_values == (0, 2, 4)
    found = loaded.scan(0).to_source(loaded.reference(0))
    np.testing.assert_array_equal(found, np.array([0, 2, 1, 0, 2])[mask].T)
    return loaded.notes


def unseen_in_test(folder):
    loaded = study(folder, [blob(1), blob(1, 4)])
    from easydl.networks.metadata import ModelMetadata
    from easydl.prediction import check_classes

    trained = study_classes(folder)
    metadata = ModelMetadata.model_construct(task="segmentation", classes=tuple(trained), dimension=3)
    check_classes(metadata, loaded)


def study_classes(folder):
    (folder / "train").mkdir()
    return study(folder / "train", [blob(1)]).classes


def empties(folder):
    loaded = study(folder, [blob(1), blob(), blob()])
    assert loaded.reference(1).max() == 0
    return loaded.notes


def swapped(folder):
    study(folder, [blob(1)])
    frame = pd.read_csv(folder / "s.csv").rename(columns={"image": "mask", "mask": "image"})
    frame.to_csv(folder / "s.csv", index=False)
    return list(easydl.load(folder / "s.csv", mask="mask").classes)


def swapped_films(folder):
    film = np.random.default_rng(0).integers(0, 200, (40, 40)).astype(np.uint8)
    film[:10] = 0
    Image.fromarray(film).save(folder / "film.png")
    Image.fromarray(film).save(folder / "image.png")
    frame = pd.DataFrame({"image": [str(folder / "image.png")], "mask": [str(folder / "film.png")]})
    return list(easydl.load(frame, mask="mask", patient=None).classes)


def orientations(folder):
    """One voxel keeps its place in the patient, whatever the order and direction of the axes."""
    import SimpleITK

    for code in ("RAS", "LPS", "LAS", "PIR", "ASL", "oblique"):
        array = np.zeros((7, 8, 9), np.int16)
        array[2, 5, 1] = 3
        array[0, 0, 0], array[6, 0, 8] = 1, 2
        affine = np.array([[1.1, 0, 0, -11], [0, 1.3, 0, 7], [0, 0, 2.5, 40], [0, 0, 0, 1]])
        if code == "oblique":
            turn = np.array([[0.936, -0.289, 0.199], [0.312, 0.945, -0.0955], [-0.1605, 0.1515, 0.9754]])
            affine[:3, :3] = np.linalg.qr(turn)[0] @ np.diag([1.1, 1.3, 2.5])
        image = nibabel.Nifti1Image(array, affine)
        if code != "oblique":
            transform = nibabel.orientations.ornt_transform(
                nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(tuple(code))
            )
            image = image.as_reoriented(transform)
            assert "".join(nibabel.aff2axcodes(image.affine)) == code
        nibabel.save(image, folder / f"{code}.nii.gz")
        scan = read(folder / f"{code}.nii.gz")
        write_nifti(scan.pixels[..., 0].astype(int), scan.affine, folder / f"{code}_out.nii.gz")
        for path, value in itertools.product((f"{code}.nii.gz", f"{code}_out.nii.gz"), (1, 2, 3)):
            other = SimpleITK.ReadImage(str(folder / path))
            index = np.argwhere(SimpleITK.GetArrayFromImage(other) == value)[0][::-1]
            truth = other.TransformIndexToPhysicalPoint([int(one) for one in index])
            here = (scan.affine @ [*np.argwhere(scan.pixels[..., 0] == value)[0], 1])[:3]
            assert np.linalg.norm(here - truth) < 0.01


def written_kinds(folder):
    labels = blob(1).T
    for dtype, stored in ((bool, np.uint8), (np.int64, np.uint8), (np.float16, np.uint8), (np.int32, np.uint8)):
        path = write_nifti(labels.astype(dtype), np.eye(4), folder / "o.nii.gz")
        image = nibabel.load(path)
        assert image.get_data_dtype() == stored
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, labels)
    image = nibabel.load(write_nifti(labels.astype(np.int64) * 300, np.eye(4), folder / "o.nii"))
    assert image.get_data_dtype() == np.uint16
    almost = write_nifti(labels * np.float32(0.9999), np.eye(4), folder / "o.nii")
    np.testing.assert_array_equal(np.asarray(nibabel.load(almost).dataobj).T, labels)


def in_units(code, factor):
    def use(folder):
        affine = np.diag([2 / factor, 3 / factor, 4 / factor, 1.0])
        scan = read(volume(folder / "a.nii", VALUES, affine, xyzt_units=code))
        np.testing.assert_allclose(scan.spacing_mm, (4, 3, 2), rtol=1e-5)
        import SimpleITK

        truth = SimpleITK.ReadImage(str(folder / "a.nii"))
        np.testing.assert_allclose(scan.spacing_mm, truth.GetSpacing()[::-1], rtol=1e-5)
        return scan.notes

    return use


def pair(folder, missing=None):
    nibabel.save(nibabel.Nifti1Pair(VALUES, np.eye(4)), folder / "a.img")
    if missing:
        (folder / f"a.{missing}").unlink()
    return read(folder / ("a.img" if missing == "hdr" else "a.hdr"))


def whole_pair(folder):
    np.testing.assert_array_equal(pair(folder).on_source().pixels[..., 0], VALUES.T)


def odd_sizes(folder):
    """Volumes that no pooling divides, single slices among them, come back from the windows voxel by voxel."""
    for shape in ((7, 9, 1), (1, 20, 33), (17, 31, 5), (40, 3, 70)):
        array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        scan = read(volume(folder / "a.nii", array))
        assert scan.shape == shape[::-1]
        seen = []

        def network(batch, seen=seen):
            seen.append(batch.shape[1:4])
            return np.concatenate([batch, -batch], axis=-1)

        patch = tuple(min(2, -(-side // 16)) * 16 for side in scan.shape)
        out = slide(network, scan.pixels, patch)
        np.testing.assert_allclose(out[..., 0], scan.pixels[..., 0], atol=1e-5)
        assert all(side % 16 == 0 for one in seen for side in one)


def rgb(folder):
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, dtype), np.eye(4)), folder / "a.nii")
    return read(folder / "a.nii")


CASES: list[Case] = [
    Case("N01", "no sform and no qform", "warn", no_codes, "orientation unknown"),
    Case("N02", "sform differs from qform", "warn", two_forms, r"up to \d+\.\d mm apart: the sform was used"),
    Case("N03", "affine of NaN", "fail", bad_affine("nan"), "affine"),
    Case("N03", "affine of zeros", "fail", bad_affine("zero"), "affine"),
    Case("N03", "sheared affine", "fail", bad_affine("sheared"), "right angles"),
    Case("N04", "four dimensions", "fail", four_d, r"holds 3 volumes(.|\n)*a\.nii\.gz#1 to a\.nii\.gz#3"),
    Case("N04", "one of four dimensions", "fix", four_d_chosen),
    Case("N04", "a volume that is not there", "fail", lambda f: read(f"{volume(f / 'a.nii')}#4"), "no volume 4"),
    Case("N05", "NaN in an image", "warn", not_finite, r"^1 pixel held no number \(NaN\) and got"),
    Case("N05", "NaN in a mask", "fail", lambda f: study(f, [np.where(blob(1) > 0, np.nan, 0.0)]).classes, "not numbers"),
    Case("N05", "nothing but NaN", "fail", lambda f: read(volume(f / "a.nii", VALUES * np.nan)), "not numbers"),
    Case("N06", "scaled integers", "fix", scaled_once),
    Case("N07", "30000 cubed declared", "fail", lambda f: read(header_only(f / "a.nii.gz", (30000,) * 3)), "27,000,000,000,000"),
    Case("N07", "more declared than there", "fail", lambda f: read(header_only(f / "a.nii", (600, 600, 600))), "declares"),
    Case("N07", "more declared than there gz", "fail",
         lambda f: read(header_only(f / "a.nii.gz", (700, 700, 700), np.float64)), "declares"),
    Case("N07", "gzip bomb", "fail",
         lambda f: read(header_only(f / "a.nii.gz", (8, 8, 8), body=bytes(150_000_000))), "more voxels than its header"),
    Case("N07", "gzip bomb in the header", "fail", bomb_in_extension, "begins the voxels at byte 150000352"),
    Case("N07", "truncated", "fail", truncated, "cut short"),
    Case("N07", "negative dimension", "fail", lambda f: read(header_only(f / "a.nii", (4, -4, 4))), "size"),
    Case("N07", "empty file", "fail", lambda f: read((f / "a.nii", (f / "a.nii").write_bytes(b""))[0]), "empty"),
    Case("N08", "mask of another shape", "fail", lambda f: study(f, [blob(1, shape=(6, 7, 6))]).reference(0),
         r"shape \(6, 7, 6\), its image \(5, 7, 6\)"),
    Case("N09", "mask 0.4 mm away", "fail", mask_elsewhere(shifted), r"it lies 0\.4 mm away(.|\n)*with the header of the image"),
    Case("N09", "mask of another spacing", "fail", mask_elsewhere(spaced), "spacing"),
    Case("N09", "mask rotated", "fail", mask_elsewhere(rotated), "other directions"),
    Case("N09", "mask in the same place", "fix", same_place),
    Case("N09", "mask resampled", "fix", resampled),
    Case("N10", "almost whole numbers", "warn", almost_whole, "1 of 1 masks: numbers next to integers were rounded"),
    Case("N10", "fractions", "fail", lambda f: study(f, [blob(1).astype("f4") * 0.99]).classes, "fractions"),
    Case("N11", "labels 0 1 4", "fix", brats),
    Case("N11", "labels merged by name", "warn", merged, "values 4, 1 are one class, 'tumour', which a saved mask holds as 4"),
    Case("N11", "a value without a name", "fail", lambda f: study(f, [blob(1, 4)], mask_labels={"tumour": 1}).classes,
         r"no name in mask_labels: 4"),
    Case("N12", "label in test that is not in train", "fail", unseen_in_test, "'label 4'"),
    Case("N13", "empty masks", "warn", empties, "2 of 3 masks are empty"),
    Case("N13", "all masks empty", "fail", lambda f: study(f, [blob()]).classes, "every mask is empty"),
    Case("N14", "mask and image exchanged", "fail", swapped, "not exchanged"),
    Case("N14", "mask and film exchanged", "fail", swapped_films, "looks like an image(.|\n)*exchanged"),
    Case("N15", "six orientations", "fix", orientations),
    Case("N16", "RGB", "fail", rgb, r"colours \(RGB\)"),
    Case("N17", "masks of other types written", "fix", written_kinds),
    Case("N17", "probabilities written", "fail", lambda f: write_nifti(np.full((3, 3, 3), 0.4), np.eye(4), f / "a.nii"),
         "fractions"),
    Case("N18", "micrometres", "warn", in_units(3, 0.001), "micrometres and were converted to millimetres"),
    Case("N18", "metres", "warn", in_units(1, 1000), "metres and were converted to millimetres"),
    Case("N18", "metres that cannot be", "warn", lambda f: read(volume(f / "a.nii", xyzt_units=1)).notes,
         "taken as millimetres"),
    Case("N19", "hdr without img", "fail", lambda f: pair(f, "img"), r"a\.img is missing"),
    Case("N19", "img without hdr", "fail", lambda f: pair(f, "hdr"), r"a\.hdr is missing"),
    Case("N19", "hdr and img", "fix", whole_pair),
    Case("N20", "single slices and odd sizes", "fix", odd_sizes),
]  # fmt: skip
