"""Tables of radiomics have thousands of columns: they are read in a time linear in them."""

import pandas as pd
import pytest

import easydl
from easydl.errors import InputError
from easydl.studies.tables import read_table


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


def test_a_table_of_very_many_columns_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    names = ["image", "label", *(f"c{k}" for k in range(19_999))]
    (tmp_path / "t.csv").write_text(f"{','.join(names)}\n" + ",".join(["a.png", "x"] + ["0"] * 19_999) + "\n")
    monkeypatch.setattr(pd, "read_csv", lambda *args, **options: pytest.fail("it was parsed"))
    with pytest.raises(InputError, match="has 20,001 columns") as caught:
        read_table(tmp_path / "t.csv")
    assert "at most 20,000" in caught.value.expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_many_rows_are_not_taken_for_many_columns(end, tmp_path):
    (tmp_path / "t.csv").write_text(end.join(["image,label", *(f"{k}.png,x" for k in range(20_001))]), newline="")
    frame, _ = read_table(tmp_path / "t.csv")
    assert frame.shape == (20_001, 2)
