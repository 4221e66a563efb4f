"""What a model is told beside the image: each cell by itself, whatever the others of its column say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import easydl
from easydl.networks import metadata_of
from easydl.prediction.covariates import beside, beside_case, unknown


@pytest.fixture(scope="module")
def model():
    return easydl.classifier("tiny", size=32, covariates={"prior": ["none", "surgery"], "sex": ["F", "M"]})


def test_a_category_called_none_means_the_same_beside_a_blank(model):
    frame = pd.DataFrame({"prior": ["none", "surgery", "", " none ", "NA"], "sex": ["F", "none", "M", None, "F"]})
    told = beside(model, SimpleNamespace(frame=frame))
    expected = [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]]
    np.testing.assert_array_equal(told, expected)
    for row, case in enumerate(frame.to_dict("records")):
        np.testing.assert_array_equal(beside(model, SimpleNamespace(frame=frame[row : row + 1])), told[row : row + 1])
        np.testing.assert_array_equal(beside_case(metadata_of(model), case), told[row : row + 1])


def test_what_counts_as_unknown_is_counted_cell_by_cell(model):
    frame = pd.DataFrame({"prior": ["none", "", "biopsy"], "sex": ["F", "M", "?"]})
    notes = unknown(metadata_of(model), frame)
    assert [note.split(":")[0] for note in notes] == [
        "prior was not given for 1 image",
        "prior has a value the model was not trained with in 1 image",
        "sex was not given for 1 image",
    ]
