"""The tab of simulated studies: every kind, every trap, and the seal."""

from __future__ import annotations

import pytest
from pages import assert_calm, field, press, text

from easydl import simulation
from easydl.options_of_planning import SimulationOptions
from easydl.simulation import KINDS, SEALED, TRAPS, unseal


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """What the page asked for; a smaller study is made."""
    found: list[dict] = []

    def small(folder, **options):
        found.append(options)
        return simulate(folder, **options | {"patients": 6, "size": 32})

    simulate = simulation.simulate
    monkeypatch.setattr(simulation, "simulate", small)
    return found


def test_the_tab_offers_every_kind_and_every_trap(session):
    at = session()
    assert list(field(at, "selectbox", "Kind").options) == list(KINDS)
    assert list(field(at, "multiselect", "Traps").options) == [*TRAPS, SEALED]
    assert list(KINDS) == list(SimulationOptions.model_fields["kind"].annotation.__args__)


def test_a_sealed_pelvis_is_made_and_its_seal_opened(session, home, asked):
    at = session()
    field(at, "selectbox", "Kind").set_value("pelvis")
    field(at, "multiselect", "Traps").set_value([SEALED])
    press(at, "Make the simulated study")
    assert (asked[0]["kind"], asked[0]["traps"], asked[0]["patients"]) == ("pelvis", [SEALED], 80)
    assert "Simulated images" in text(at)
    assert "malignant" in text(at)
    seal = unseal(next(home.rglob("seal.txt")).parent)
    assert str(seal) not in text(at)
    press(at, "Open the seal")
    assert str(seal) in [one.value for one in at.info]


def test_a_study_without_a_seal_has_no_button_for_it(session, asked):
    at = session()
    press(at, "Make the simulated study")
    assert (asked[0]["kind"], asked[0]["traps"], asked[0]["seed"]) == ("slices", [], 7)
    assert "Open the seal" not in [button.label for button in at.button]


def test_what_does_not_go_together_is_said(session, asked):
    at = session()
    field(at, "multiselect", "Traps").set_value([SEALED, "sex"])
    next(button for button in at.button if button.label == "Make the simulated study").click().run()
    assert_calm(at)
    assert "sealed" in at.error[0].value
