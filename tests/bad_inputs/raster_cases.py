"""Group I of the bad inputs: PNG, JPEG, TIFF and what is named like them. Truths come from NumPy, tifffile and skimage."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from bad_inputs.case import Case
from made import dicom_slice, png_study
from PIL import Image, ImageCms, ImageDraw, ImageFont

import easydl
from easydl.images import read
from easydl.images.raster import raster_facts

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (10, 20, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (10, 20, 4)).astype(np.uint16)
UNDO = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
PNG_MARK = b"\x89PNG\r\n\x1a\n"


def saved(path: Path, image, **options) -> Path:
    """Save an array or a image."""
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path: Path, array, colour: int, *more: bytes, size=None) -> Path:
    """A PNG file written byte by byte, 16 bits deep for uint16, with further chunks before the pixels."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(array.dtype.newbyteorder(">")).tobytes() for row in array)
    width, height = size or (width, height)
    head = struct.pack(">IIBBBBB", width, height, array.dtype.itemsize * 8, colour, 0, 0, 0)
    path.write_bytes(
        PNG_MARK + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


def rotations(folder):
    for suffix, mode, orientation in [
        (suffix, mode, o) for suffix in ("png", "tif", "jpg") for mode in ("RGB", "L", "I;16") for o in UNDO
    ]:
        if suffix == "jpg" and mode == "I;16":
            continue
        smooth = np.add.outer(np.arange(10) * 12, np.arange(20) * 6).astype(np.uint8)
        upright = np.stack([smooth, smooth, smooth], -1) if mode == "RGB" else smooth
        upright = upright.astype(np.uint16) * 200 if mode == "I;16" else upright
        rotated = np.asarray(upright)
        if UNDO[orientation] is not None:
            eight = Image.fromarray((rotated // 200).astype(np.uint8) if mode == "I;16" else rotated)
            rotated = np.asarray(eight.transpose(Image.Transpose(UNDO[orientation])))
            rotated = rotated.astype(np.uint16) * 200 if mode == "I;16" else rotated
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
        path = saved(folder / f"a.{suffix}", rotated, exif=exif, **options)
        pixels = read(path).pixels
        assert pixels.shape[:2] == (10, 20), (suffix, mode, orientation)
        assert np.abs(pixels - upright.reshape(pixels.shape)).max() <= (3 if suffix == "jpg" else 0)
        if suffix != "png":
            assert (raster_facts(path)["width"], raster_facts(path)["height"]) == ("20", "10")


def colour_spaces(folder):
    from skimage.color import lab2rgb

    cmyk = RNG.integers(0, 256, (10, 20, 4)).astype(np.int32)
    pixels = read(saved(folder / "a.tif", Image.fromarray(cmyk.astype(np.uint8), "CMYK"))).pixels
    np.testing.assert_allclose(pixels, (255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255, atol=1.01)
    grid = np.stack(np.meshgrid(np.linspace(30, 80, 10), np.linspace(-20, 20, 20), indexing="ij"), -1)
    lab = np.concatenate([grid, grid[..., 1:] / 2], -1)
    lab = np.rint(lab)
    stored = np.concatenate([np.rint(lab[..., :1] * 2.55), lab[..., 1:] % 256], -1).astype(np.uint8)
    tifffile.imwrite(folder / "b.tif", stored, photometric="cielab")
    difference = np.abs(read(folder / "b.tif").pixels - lab2rgb(lab) * 255)
    assert difference.mean() < 2  # skimage adapts to the white point in another way
    assert difference[:, 9:11].max() < 2
    ycc = Image.fromarray(PIXELS).convert("YCbCr")
    y, cb, cr = np.moveaxis(np.asarray(ycc, np.float64), -1, 0)
    truth = np.stack(
        [y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)], -1
    )
    np.testing.assert_allclose(read(saved(folder / "c.tif", ycc)).pixels, np.clip(truth, 0, 255), atol=2)
    palette = Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20), "P")
    palette.putpalette(list(PIXELS.reshape(-1, 3)[:200].ravel()))
    np.testing.assert_array_equal(read(saved(folder / "d.png", palette)).pixels, PIXELS)
    bits = PIXELS[..., 0] > 127
    np.testing.assert_array_equal(read(saved(folder / "e.png", bits)).pixels[..., 0], bits * 255)
    la = np.stack([PIXELS[..., 0], np.full((10, 20), 255, np.uint8)], -1)
    scan = read(saved(folder / "f.png", Image.fromarray(la, "LA")))
    np.testing.assert_array_equal(scan.pixels[..., 0], PIXELS[..., 0])
    assert scan.notes == ()
    real = RNG.normal(size=(10, 20)).astype(np.float32)
    np.testing.assert_array_equal(read(saved(folder / "g.tif", real)).pixels[..., 0], real)


def alpha(mode):
    """Hidden colour must stay hidden: it is blended with black."""

    def use(folder):
        opacity = np.where(np.arange(200).reshape(10, 20) % 3, 255, np.where(np.arange(20) % 2, 0, 100)).astype(
            np.uint8
        )
        if mode == "LA":
            image = Image.fromarray(np.stack([PIXELS[..., 0], opacity], -1), "LA")
        elif mode == "tRNS":
            flat = (PIXELS[..., 0] // 32 * 32).astype(np.uint8)
            scan = read(saved(folder / "a.png", Image.fromarray(flat), transparency=64))
            np.testing.assert_array_equal(scan.pixels[..., 0], np.where(flat == 64, 0, flat))
            return scan.notes
        else:
            image = Image.fromarray(np.concatenate([PIXELS, opacity[..., None]], -1))
        scan = read(saved(folder / "a.png", image))
        source = PIXELS[..., :1] if mode == "LA" else PIXELS
        assert scan.pixels.shape == source.shape
        np.testing.assert_allclose(scan.pixels, source * (opacity[..., None] / 255), atol=1)
        return scan.notes

    return use


def transparent_mask(folder):
    rows = []
    for k in range(2):
        rgba = np.zeros((10, 20, 4), np.uint8)
        rgba[2:6, 3:9] = 255
        saved(folder / f"i{k}.png", PIXELS)
        saved(folder / f"m{k}.png", rgba)
        rows.append({"image": f"i{k}.png", "mask": f"m{k}.png", "patient": f"p{k}"})
    pd.DataFrame(rows).to_csv(folder / "s.csv", index=False)
    study = easydl.load(folder / "s.csv", mask="mask")
    np.testing.assert_array_equal(study.reference(0) > 0, rgba[..., 3] > 0)
    return study.notes


def opaque(folder):
    full = np.concatenate([PIXELS, np.full((10, 20, 1), 255, np.uint8)], -1)
    scan = read(saved(folder / "a.png", full))
    np.testing.assert_array_equal(scan.pixels, PIXELS)
    assert scan.notes == ()


def sixteen_bits(folder):
    for name, options in {
        "a.tif": {}, "b.tif": {"byteorder": ">"}, "c.tif": {"compression": "zlib"},
        "d.tif": {"compression": "zlib", "byteorder": ">"},
    }.items():  # fmt: skip
        for array in (DEEP[..., 0], DEEP[..., :3]):
            tifffile.imwrite(folder / name, array, photometric="minisblack" if array.ndim == 2 else "rgb", **options)
            scan = read(folder / name)
            np.testing.assert_array_equal(scan.pixels, array.reshape(scan.pixels.shape))
            assert scan.units == "relative"
    np.testing.assert_array_equal(read(png(folder / "a.png", DEEP[..., :1], 0)).pixels, DEEP[..., :1])
    np.testing.assert_array_equal(read(png(folder / "b.png", DEEP[..., :3], 2)).pixels, DEEP[..., :3])
    pixels = read(png(folder / "c.png", DEEP, 6)).pixels
    np.testing.assert_allclose(pixels, DEEP[..., :3] * (DEEP[..., 3:] / 65535.0), atol=0.51)
    signed = DEEP[..., 0].astype(np.int32) * 3 - 9
    np.testing.assert_array_equal(read(saved(folder / "e.tif", signed)).pixels[..., 0], signed)


def sixteen_bits_lost(folder):
    tifffile.imwrite(
        folder / "a.tif",
        np.moveaxis(DEEP[..., :3], -1, 0),
        photometric="rgb",
        planarconfig="separate",
        compression="zlib",
    )
    scan = read(folder / "a.tif")
    np.testing.assert_array_equal(scan.pixels, DEEP[..., :3] // 256)
    return scan.notes


def cut(name, at):
    def use(folder):
        path = saved(folder / name, RNG.integers(0, 255, (90, 90)).astype(np.uint8))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * at)])
        return read(path)

    return use


def flipped(folder):
    path = saved(folder / "a.png", RNG.integers(0, 255, (90, 90)).astype(np.uint8))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    return read(path)


def pages(name):
    def use(folder):
        shown = [Image.fromarray(np.full((9, 9), 60 * k, np.uint8)) for k in range(3)]
        shown[0].save(folder / name, save_all=True, append_images=shown[1:])
        return read(folder / name)

    return use


def chosen_page(folder):
    stack = RNG.integers(0, 255, (3, 9, 12)).astype(np.uint8)
    tifffile.imwrite(folder / "a.tif", stack, photometric="minisblack")
    for k in (1, 2, 3):
        np.testing.assert_array_equal(read(f"{folder / 'a.tif'}#{k}").pixels[..., 0], stack[k - 1])
    frame = pd.DataFrame({"image": [f"{folder / 'a.tif'}#{k}" for k in (1, 2, 3)], "label": list("aba")})
    assert len(set(easydl.load(frame, patient=None).digests())) == 3
    tifffile.imwrite(folder / "b.tif", stack.astype(np.uint16)[..., None].repeat(3, -1) * 251, photometric="rgb")
    np.testing.assert_array_equal(read(f"{folder / 'b.tif'}#3").pixels[..., 1], stack[2].astype(int) * 251)


def gif_masks(folder):
    """Masks as GIF: 0 and 255 by one observer, a palette of two near greys by another."""
    mask = np.zeros((12, 14), np.uint8)
    mask[3:7, 4:9] = 1
    first = Image.fromarray(mask * 255)
    second = Image.fromarray(mask, "P")
    second.putpalette([4, 2, 4, 252, 254, 252])
    rows = []
    for k, image in enumerate((first, second, second)):
        saved(folder / f"i{k}.png", RNG.integers(0, 255, mask.shape).astype(np.uint8))
        saved(folder / f"m{k}.gif", image)
        rows.append({"image": f"i{k}.png", "mask": f"m{k}.gif", "patient": f"p{k}"})
    pd.DataFrame(rows).to_csv(folder / "s.csv", index=False)
    study = easydl.load(folder / "s.csv", mask="mask")
    assert list(study.classes) == ["background", "foreground"]
    assert study.summary.label_values == (0, 1)
    for k in range(3):
        np.testing.assert_array_equal(study.reference(k), mask)
    return study.notes


def bomb(kind):
    zeros = zlib.compress(bytes(100_000_000), 9)
    more = {
        "zTXt": chunk(b"zTXt", b"k\0\0" + zeros), "iCCP": chunk(b"iCCP", b"k\0\0" + zeros),
        "iTXt": chunk(b"iTXt", b"k\0\1\0\0\0" + zeros),
    }  # fmt: skip

    def use(folder):
        import warnings

        small = PIXELS[..., 0].copy()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if kind in more:
                return read(png(folder / "a.png", small, 0, more[kind]))
            if kind == "bmp":
                head = struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack(
                    "<IiiHHIIiiII", 40, 9000, 9500, 1, 24, *[0] * 6
                )
                (folder / "a.bmp").write_bytes(b"BM" + head)
                return read(folder / "a.bmp")
            return read(png(folder / "a.png", small, 0, size={"large": (9000, 9500), "huge": (60000, 60000)}[kind]))

    return use


def misnamed(folder):
    """The content counts: JPEG and GIF named .png, PNG named .jpg, DICOM named .png."""
    smooth = np.add.outer(np.arange(16) * 8, np.arange(16) * 4).astype(np.uint8)
    for name, kind in (("a.png", "JPEG"), ("b.png", "GIF"), ("c.jpg", "PNG"), ("d.tif", "BMP")):
        path = folder / name
        saved(path, smooth, format=kind)
        assert np.abs(read(path).pixels[..., 0] - smooth).max() <= (6 if kind == "JPEG" else 0)
        assert raster_facts(path)["file_type"].startswith(kind)
    stored = np.arange(48, dtype=np.uint16).reshape(6, 8)
    assert read(dicom_slice(folder / "e.png", stored)).units == "HU"


def is_content(name, content):
    return lambda folder: read((folder / name, (folder / name).write_bytes(content))[0])


def mixed_colour(folder):
    path = png_study(folder, per_class=6)
    for k, file in enumerate(sorted((folder / "disease").iterdir())):
        rgb = np.asarray(Image.open(file).convert("RGB"))
        saved(file, (rgb * np.array([1, 0.6, 0.2])).astype(np.uint8) if k < 2 else rgb)
    study = easydl.load(path).split(seed=1)[0]
    assert study.channels == 3
    return study.notes


def colour_by_class(folder):
    path = png_study(folder, per_class=14)
    for file in (folder / "disease").iterdir():
        saved(file, (np.asarray(Image.open(file).convert("RGB")) * np.array([1, 0.7, 0.3])).astype(np.uint8))
    return [one.sentence for one in easydl.audit(easydl.load(path)).issues if one.severity == "WARN"]


def profile(folder):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for suffix in ("png", "tif"):
        scan = read(saved(folder / f"a.{suffix}", PIXELS, icc_profile=icc))
        np.testing.assert_array_equal(scan.pixels, PIXELS)
    assert "profiles (ICC) and gamma are not applied" in (easydl.images.raster.read_raster.__doc__ or "")
    return scan.notes


def same_names(folder):
    rows = []
    for k, sub in enumerate(("a", "b", "c/a")):
        (folder / sub).mkdir(parents=True)
        saved(folder / sub / "1.png", np.full((8, 9), 50 * k, np.uint8) + np.arange(9, dtype=np.uint8))
        rows.append({"image": f"{sub}/1.png", "label": "xyx"[k], "patient": f"p{k}"})
    pd.DataFrame(rows).to_csv(folder / "s.csv", index=False)
    study = easydl.load(folder / "s.csv")
    assert [study.scan(row).pixels[0, 0, 0] for row in range(3)] == [0, 50, 100]
    assert len(set(study.digests())) == 3


def screenshots(folder):
    """Text on the films of one class is found; a side marker and the films without are not."""
    path = png_study(folder, per_class=20, side=240)
    for k, file in enumerate(sorted(folder.glob("*/*.png"))):
        image = Image.open(file)
        pen = ImageDraw.Draw(image)
        pen.text((215, 12), "L", fill=255)
        if file.parent.name == "disease" and k % 10:
            pen.text((8, 215), "WINDOW 400", fill=255, font=ImageFont.load_default(14))
        image.save(file)
    found = easydl.audit(easydl.load(path)).issues
    marked = next(one for one in found if one.id == "A5")
    assert marked.value == 18, marked
    assert any("Text in the image alone" in one.sentence for one in found), found
    return [one.sentence for one in found if one.severity == "WARN"]


def quality_by_class(folder):
    path = png_study(folder, per_class=14)
    frame = pd.read_csv(path)
    for name, label in zip(frame["image"], frame["label"], strict=True):
        quality = 75 if label == "disease" else 92
        saved((folder / name).with_suffix(".jpg"), Image.open(folder / name), quality=quality)
        assert raster_facts((folder / name).with_suffix(".jpg"))["jpeg_quality"] == str(quality)
    frame["image"] = frame["image"].str.replace(".png", ".jpg")
    frame.to_csv(path, index=False)
    return [one.sentence for one in easydl.audit(easydl.load(path)).issues if one.severity == "WARN"]


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60)
WEBP = io.BytesIO()
Image.fromarray(PIXELS).save(WEBP, "WEBP")

CASES: list[Case] = [
    Case("I01", "rotation flags", "fix", rotations),
    Case("I02", "colour spaces", "fix", colour_spaces),
    Case("I02", "CMYK is said", "warn",
         lambda f: read(saved(f / "a.jpg", Image.fromarray(PIXELS).convert("CMYK"))).notes, "CMYK was converted to RGB"),
    Case("I03", "RGBA", "warn", alpha("RGBA"), "transparent parts blended with black"),
    Case("I03", "LA", "warn", alpha("LA"), "transparent parts blended with black"),
    Case("I03", "a transparent grey", "warn", alpha("tRNS"), "transparent parts blended with black"),
    Case("I03", "alpha that hides nothing", "fix", opaque),
    Case("I03", "a mask with transparent parts", "warn", transparent_mask, "2 masks: transparent parts blended with black"),
    Case("I04", "16 bits", "fix", sixteen_bits),
    Case("I04", "16 bits lost", "warn", sixteen_bits_lost, "lower half is lost"),
    Case("I05", "PNG cut", "fail", cut("a.png", 0.6), r"a\.png cannot be read: it is cut short"),
    Case("I05", "JPEG cut", "fail", cut("a.jpg", 0.6), r"a\.jpg cannot be read"),
    Case("I05", "TIFF cut", "fail", cut("a.tif", 0.5), r"a\.tif cannot be read"),
    Case("I05", "PNG cut in its header", "fail", cut("a.png", 0.003), r"a\.png cannot be read"),
    Case("I05", "one byte flipped", "fail", flipped, r"a\.png cannot be read"),
    Case("I06", "animated GIF", "fail", pages("a.gif"), r"holds 3 pages(.|\n)*a\.gif#1 to a\.gif#3"),
    Case("I06", "animated PNG", "fail", pages("a.png"), "holds 3 pages"),
    Case("I06", "several pages", "fail", pages("a.tif"), "holds 3 pages"),
    Case("I06", "a page that is not there", "fail",
         lambda f: read(f"{saved(f / 'a.tif', PIXELS)}#2"), "has no page 2"),
    Case("I06", "one page of several", "fix", chosen_page),
    Case("I06", "GIF masks of two observers", "warn", gif_masks, "foreground is 1 in 2 masks and 255 in 1"),
    Case("I07", "more pixels than our limit", "fail", bomb("large"), "more than 80,000,000 pixels"),
    Case("I07", "more pixels than Pillow's limit", "fail", bomb("huge"), "more than 80,000,000 pixels"),
    Case("I07", "BMP", "fail", bomb("bmp"), "more than 80,000,000 pixels"),
    Case("I07", "zTXt", "fail", bomb("zTXt"), "unpack to too much"),
    Case("I07", "iTXt", "fail", bomb("iTXt"), "unpack to too much"),
    Case("I07", "iCCP", "fail", bomb("iCCP"), "unpack to too much"),
    Case("I08", "other suffix", "fix", misnamed),
    Case("I08", "program", "fail", is_content("a.png", b"MZ" + bytes(300)), "a program"),
    Case("I08", "text", "fail", is_content("a.jpg", b"hello"), "not in a format that easydl reads"),
    Case("I08", "empty", "fail", is_content("a.tif", b""), "empty"),
    Case("I09", "grey as RGB among colour", "warn", mixed_colour, "2 of 12 images are coloured and the others grey"),
    Case("I09", "colour by class", "warn", colour_by_class, "colour or grey alone separates the classes"),
    Case("I10", "ICC profile", "warn", profile, "colour profile not applied"),
    Case("I11", "1 x 1", "fail", lambda f: read(saved(f / "a.png", np.zeros((1, 1), np.uint8))), "2 x 2 pixels"),
    Case("I11", "strip", "fail", lambda f: read(saved(f / "a.png", np.zeros((10, 20000), np.uint8))), "is a strip"),
    Case("I12", "same names in several folders", "fix", same_names),
    Case("I13", "screenshots", "warn", screenshots, "18 of 40 images carry burned-in text"),
    Case("I14", "SVG", "fail", is_content("a.svg", b"<?xml?><svg xmlns='x'/>"), "an SVG drawing"),
    Case("I14", "HTML named PNG", "fail", is_content("a.png", b"<!DOCTYPE html><html>"), "an HTML page"),
    Case("I14", "WEBP", "fail", is_content("a.webp", WEBP.getvalue()), "a WEBP image"),
    Case("I14", "WEBP named JPEG", "fail", is_content("a.jpg", WEBP.getvalue()), "a WEBP image"),
    Case("I14", "HEIC", "fail", is_content("a.heic", HEIC), "a HEIC image"),
    Case("I15", "JPEG quality by class", "warn", quality_by_class, "JPEG compression .* alone separates the classes"),
]  # fmt: skip
