"""Tables of radiomics have thousands of columns: they are read in a time linear in them."""

import pandas as pd
import pytest

import easydl


@pytest.mark.parametrize("source", ["csv", "frame"])
def test_columns_are_not_inserted_one_by_one(source, table, monkeypatch):
    frame = pd.read_csv(table, dtype=str)
    wide = pd.DataFrame({f"feature_{k}": [str(k + row) for row in range(len(frame))] for k in range(600)})
    frame = pd.concat([frame, wide], axis=1)
    frame.to_csv(table, index=False)
    inserted = []
    insert = pd.DataFrame._set_item_mgr
    monkeypatch.setattr(
        pd.DataFrame, "_set_item_mgr", lambda self, *rest, **more: inserted.append(1) or insert(self, *rest, **more)
    )
    study = easydl.load(table if source == "csv" else frame, **({} if source == "csv" else {"root": table.parent}))
    assert study.frame["feature_599"].tolist() == [str(599 + row) for row in range(len(frame))]
    assert len(inserted) < 60  # each insertion copies the index of all columns
