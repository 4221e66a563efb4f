"""Studies made on the spot: PNG class folders, DICOM slices and series, NIfTI volumes with masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont


def square(bright: bool, rng: np.random.Generator, side: int = 32) -> np.ndarray:
    """An 8-bit noise image; with a bright square in the middle when asked for."""
    pixels = rng.integers(20, 90, (side, side))
    if bright:
        a, b = side // 4, 3 * side // 4
        pixels[a:b, a:b] += 130
    return pixels.astype(np.uint8)


def png_study(folder: Path, per_class: int = 8, side: int = 32, seed: int = 0, images_per_patient: int = 1) -> Path:
    """``scans.csv`` beside PNGs of two classes that differ by a bright square; returns the table's path."""
    rng = np.random.default_rng(seed)
    rows = []
    for label in ("disease", "healthy"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            for shot in range(images_per_patient):
                name = f"{label}/{number:03d}_{shot}.png"
                Image.fromarray(square(label == "disease", rng, side)).save(folder / name)
                rows.append({"image": name, "label": label, "patient": f"{label[0]}{number:03d}"})
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return folder / "scans.csv"


def films(count: int, seed: int = 0) -> list[Image.Image]:
    """Images of one anatomy (the same slow pattern) with their own fine structure."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    anatomy = ndimage.gaussian_filter(rng.normal(size=(160, 160)), 24)
    made = []
    for _ in range(count):
        own = ndimage.gaussian_filter(rng.normal(size=(160, 160)), 4)
        image = anatomy / anatomy.std() + 0.5 * own / own.std()
        made.append(Image.fromarray((40 * image + 120).clip(0, 255).astype(np.uint8)))
    return made


def dicom_slice(path: Path, pixels: np.ndarray, **changes) -> Path:
    """Write one valid CT slice; keyword arguments change or (None) delete elements."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(entropy_srcs=["s"]), generate_uid(entropy_srcs=["e"])
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["f"])
    ds.PatientID, ds.PatientName, ds.PatientSex, ds.PatientAge = "SECRET-7", "Doe^Jane", "F", "061Y"
    ds.PatientBirthDate, ds.StudyDate, ds.Modality = "19590101", "20200315", "CT"
    ds.Manufacturer, ds.ManufacturerModelName = "Acme", "One"
    ds.StudyTime, ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyID = "120000", "A1", "", "1"
    ds.SeriesNumber, ds.InstanceNumber, ds.PositionReferenceIndicator = 1, 1, ""
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, int(pixels.dtype.kind == "i")
    ds.PixelSpacing, ds.SliceThickness = [0.8, 0.7], 5.0
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    ds.PixelData = np.ascontiguousarray(pixels).tobytes()
    for name, value in changes.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def dicom_series(folder: Path, volume: np.ndarray, *, gap_mm: float = 2.0, **changes) -> Path:
    """Write a series, slice k at z = k * gap, under file names in another order."""
    order = np.random.default_rng(1).permutation(len(volume))
    for name, k in enumerate(order):
        dicom_slice(
            folder / f"{name:03d}.dcm", volume[k], ImagePositionPatient=[0.0, 0.0, float(k) * gap_mm],
            InstanceNumber=int(len(volume) - k), **changes,
        )  # fmt: skip
    return folder


def nifti_study(folder: Path, cases: int = 8, shape=(20, 28, 24), seed: int = 0, mm=(1.5, 1.5, 2.0)) -> Path:
    """Volumes with a bright ball and its mask, as .nii.gz with ``scans.csv``; returns the table's path."""
    import nibabel

    rng = np.random.default_rng(seed)
    affine = np.diag([*mm, 1.0])
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    grid = np.stack(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij"), axis=-1)
    for number in range(cases):
        centre = np.array(shape) / 2 + rng.uniform(-3, 3, 3)
        ball = np.linalg.norm(grid - centre, axis=-1) < rng.uniform(4, 6)
        image = rng.normal(100, 15, shape) + 120 * ball
        for name, array in (("image", image.astype(np.float32)), ("mask", ball.astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}{number}.nii.gz")
        rows.append({"image": f"image{number}.nii.gz", "mask": f"mask{number}.nii.gz", "patient": f"p{number}"})
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return folder / "scans.csv"


def mask_study(folder: Path, cases: int = 20, shapes=((32, 32),)) -> Path:
    """Noise with a bright square and its mask, as .png of these shapes in turn; returns the table's path."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(cases):
        inside = np.zeros(shapes[k % len(shapes)], np.uint8)
        inside[8 + k % 5 : 20 + k % 5, 8:20] = 1
        noise = (rng.uniform(0, 99, inside.shape) + 120 * inside).astype(np.uint8)
        for name, array in (("image", noise), ("mask", inside)):
            Image.fromarray(array).save(folder / f"{name}{k}.png")
        rows.append({"image": f"image{k}.png", "mask": f"mask{k}.png", "patient": f"p{k}"})
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return folder / "scans.csv"


def film(height: int = 300, width: int = 320, seed: int = 0) -> np.ndarray:
    """A grey image without letters: smooth shapes and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    body = 1200 * np.exp(-((((y - height / 2) / (height / 3)) ** 2 + ((x - width / 2) / (width / 3)) ** 2) ** 2))
    return (body + rng.normal(300, 40, (height, width))).clip(0, 4095).astype(np.uint16)


def lettered(
    pixels: np.ndarray, text: str = "DOE JANE 12.03.1959", size: int = 16, at=(8, 8), smooth: bool = True, dark: bool = False
) -> np.ndarray:  # fmt: skip
    """The image with a line of letters in its brightest value, or in 0."""
    from matplotlib import font_manager

    mask = Image.new("L", pixels.shape[::-1], 0)
    pen = ImageDraw.Draw(mask)
    pen.fontmode = "L" if smooth else "1"
    pen.text(at, text, fill=255, font=ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size))
    share = np.asarray(mask) / 255.0
    top = 0 if dark else int(pixels.max())
    return (pixels * (1 - share) + top * share).astype(pixels.dtype)


def segmented_series(folder: Path):
    """A `Segmentation` of a CT series of four slices with two structures."""
    import pydicom

    from easydl.images import read
    from easydl.prediction import Segmentation

    volume = np.random.default_rng(0).integers(0, 2000, (4, 8, 10)).astype(np.uint16)
    for number, file in enumerate(sorted(dicom_series(folder, volume).iterdir())):
        ds = pydicom.dcmread(file)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        ds.save_as(file)
    scan = read(folder)
    mask = np.zeros(scan.shape, np.int32)
    mask[0, 2:4, 3:7], mask[2, 5, 5] = 1, 2
    return Segmentation(mask, scan, ("background", "lung", "nodule"))
