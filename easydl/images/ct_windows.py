"""CT windows by name, as (low, high) in HU. They are applied inside the network, never to a Scan."""

from __future__ import annotations

CT_WINDOWS_HU = {
    "lung": (-1350.0, 150.0), "mediastinum": (-160.0, 240.0), "soft_tissue": (-160.0, 240.0),
    "abdomen": (-150.0, 250.0), "liver": (-45.0, 105.0), "bone": (-500.0, 1300.0), "spine": (-75.0, 175.0),
    "temporal_bone": (-800.0, 2000.0), "brain": (0.0, 80.0), "stroke": (20.0, 60.0), "subdural": (-25.0, 175.0),
    "angiography": (-250.0, 450.0), "wide": (-1000.0, 1000.0),
}  # fmt: skip
"""(low, high) in HU: level minus and plus half the width, as they are usually set on consoles (Radiopaedia, "Windowing
(CT)", rID 52108: lung W1500 L-600, brain W80 L40, stroke W40 L40, subdural W200 L75, bone W1800 L400, ...)."""
