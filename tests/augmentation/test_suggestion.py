import numpy as np
import pandas as pd
import pytest

from easydl import augmentation

pytestmark = pytest.mark.quick


def test_suggestions_are_careful(make):
    def suggested(units="0-255", channels=1, path="a.png", header=None, **columns):
        scan = make.scan(np.zeros((4, 4, channels), np.float32), units, header=header or {})
        return augmentation.suggest(make.study([scan], frame=pd.DataFrame({"image": [path], **columns})))

    assert suggested(units="HU")[0] == "ct"
    assert suggested(header={"modality": "MR"})[0] == "mri"
    for modality, name in {
        "MR": "mri", "MRI": "mri", "US": "ultrasound", "IVUS": "chest_xray", "MG": "mammography", "DX": "chest_xray",
        "OP": "fundus", "OPT": "oct", "DMS": "dermoscopy", "SM": "histology", "GM": "microscopy", "ES": "endoscopy",
        "XC": "dermoscopy", "NM": "chest_xray",
    }.items():  # fmt: skip
        assert suggested(channels=3, modality=[modality])[0] == name, modality
    assert "modality NM, for which there is no preset" in suggested(modality=["NM"])[1]
    assert suggested(modality=["DX"], body_part=["HAND"])[0] == "bone_xray"
    assert suggested(header={"modality": "CR", "body_part": "Lower leg"})[0] == "bone_xray"
    assert suggested(modality=["DX"], body_part=["BREAST"])[0] == "mammography"
    assert suggested(modality=["DX"], body_part=["SPINE"])[0] == "chest_xray"
    assert suggested(channels=3, path="data/fundus/1.png")[0] == "fundus"
    assert suggested(channels=3, path="kvasir/1.png")[0] == "endoscopy"
    assert suggested(channels=3, path="isic2019/1.jpg")[0] == "dermoscopy"
    assert suggested(channels=3, path="camelyon/1.png")[0] == "histology"
    assert suggested(channels=3, path="nuclei/1.png")[0] == "microscopy"
    assert suggested(channels=3, path="diabetic_retinopathy/1.png")[0] == "fundus"
    for channels in (1, 3):
        for path in ("breast ultrasound/benign (1).png", "Dataset_BUSI_with_GT/1.png", "sonography/1.jpg"):
            assert suggested(channels=channels, path=path)[0] == "ultrasound", path
    assert suggested(path="business/1.png")[0] == "chest_xray"
    for name, sentence in (
        suggested(),
        suggested(channels=3),
        suggested(path="fundus.png"),
        suggested(path="nuclei.png"),
    ):
        assert name == "chest_xray"
        assert "no mirror image" in sentence


def test_a_suggestion_takes_extras_and_leaves_what_is_asked(make):
    study = make.study([make.scan(np.zeros((4, 4, 1), np.float32), "0-255")], frame=pd.DataFrame({"image": ["a.png"]}))
    name, sentence = augmentation.suggest(study, "auto+mixup+cutout")
    assert name == "chest_xray+mixup+cutout"
    assert sentence.endswith("Added as asked: mixup, cutout.")
    assert augmentation.suggest(study, "mri") == ("mri", "Augmentation: mri, as asked.")
    assert augmentation.suggest(study, "mri+mixup")[0] == "mri+mixup"
