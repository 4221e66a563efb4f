"""A tree explains a network that was trained on real chest films of children (PneumoniaMNIST)."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import easydl


@pytest.mark.real
@pytest.mark.everything
def test_a_tree_agrees_with_a_network_on_real_films(real, tmp_path):
    data, rng, rows = np.load(real / "pneumoniamnist/pneumoniamnist.npz"), np.random.default_rng(0), []
    known = set()  # the public data hold some films twice
    for part, count in (("train", 800), ("val", 524)):
        for number in rng.permutation(len(data[f"{part}_images"]))[:count]:
            film = data[f"{part}_images"][number]
            if film.tobytes() in known:
                continue
            known.add(film.tobytes())
            Image.fromarray(film).save(tmp_path / f"{part}{number}.png")
            label = ["normal", "pneumonia"][int(data[f"{part}_labels"][number, 0])]
            rows.append({"image": f"{part}{number}.png", "label": label, "part": part})
    pd.DataFrame(rows).to_csv(tmp_path / "scans.csv", index=False)
    study = easydl.load(tmp_path / "scans.csv", patient=None)
    train, val = (study.rows(study.frame.index[study.frame["part"] == part], part) for part in ("train", "val"))
    model = easydl.classifier("tiny", study, size=28)
    easydl.fit(model, train, val, epochs=6, seed=1, verbose=False)
    found = easydl.explain_as_tree(model, study)
    print(found)
    assert found.explains and found.fidelity.value >= 0.85
    assert found.fidelity.low > found.fidelity.baseline + 0.05
