"""Covariates are encoded cell by cell, whatever the others of the column say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_tasks import GRADES, discs

import easydl
from easydl.networks import feature_extractor, metadata_of
from easydl.prediction.answers import answers_by_head, answers_of
from easydl.prediction.covariates import case_covariates, covariate_notes, study_covariates


@pytest.fixture(scope="module")
def model():
    return easydl.classifier("tiny", size=32, covariates={"prior": ["none", "surgery"], "sex": ["F", "M"]})


def test_a_category_called_none_means_the_same_with_a_blank_in_the_column(model):
    frame = pd.DataFrame({"prior": ["none", "surgery", "", " none ", "NA"], "sex": ["F", "none", "M", None, "F"]})
    encoded = study_covariates(model, SimpleNamespace(frame=frame))
    expected = [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]]
    np.testing.assert_array_equal(encoded, expected)
    for row, case in enumerate(frame.to_dict("records")):
        alone = study_covariates(model, SimpleNamespace(frame=frame[row : row + 1]))
        np.testing.assert_array_equal(alone, encoded[row : row + 1])
        np.testing.assert_array_equal(case_covariates(metadata_of(model), case), encoded[row : row + 1])


def test_what_counts_as_unknown_is_counted_cell_by_cell(model):
    frame = pd.DataFrame({"prior": ["none", "", "biopsy"], "sex": ["F", "M", "?"]})
    notes = covariate_notes(metadata_of(model), frame)
    assert [note.split(":")[0] for note in notes] == [
        "prior was not given for 1 image",
        "prior has a value the model was not trained with in 1 image",
        "sex was not given for 1 image",
    ]


@pytest.mark.parametrize(
    ("loaded", "built"),
    [
        ({"label": "outcome"}, {"covariates": ["age", "sex"]}),
        ({"heads": ["outcome", "size_mm"]}, {"covariates": ["age"]}),
        ({"label": "grade", "task": "ordinal", "classes": GRADES}, {}),
        ({"label": "size_mm", "task": "regression"}, {}),
        ({"label": ["corner", "stripes"]}, {}),
    ],
    ids=["covariates", "heads with covariates", "ordinal", "regression", "multilabel"],
)
def test_the_last_layer_alone_answers_as_the_whole_network(tmp_path, loaded, built):
    study = easydl.load(discs(tmp_path / "s", n=20), **loaded)
    network = easydl.classifier("tiny", study, size=32, **built)
    whole = answers_of(network, study)
    features = np.concatenate(
        [
            feature_extractor(network)(x["image"] if isinstance(x, dict) else x)
            for x, *_ in study.batches(8, size=(32, 32))
        ]
    )
    alone = answers_by_head(network, study, features)
    assert alone.heads == whole.heads
    for one, other in zip(alone.stacks, whole.stacks, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
