"""The head ``forest``: soft decision trees between ``features`` and ``logits``, of built-in layers. It trains nothing."""

from __future__ import annotations

from typing import Any

TREES, DEPTH = 16, 3
"""Sixteen trees of eight leaves: fewer parameters than a hidden layer of 128, and few enough to be drawn."""
DECISION = "decision"
LEAVES = "leaves"


def leaves(features: Any) -> Any:
    """How far an image arrives at each leaf of every tree: ``(batch, 128)``, over the leaves of one tree they sum to 1.

    At each node a linear function of the features decides softly, by a sigmoid, how much goes right and how much left.
    The layer ``logits`` after it holds what every leaf says, and adds the trees up. So a leaf says log-odds, not a
    distribution as in the papers: a flat model of built-in layers, whose logits everything else can use.

    References:
        Kontschieder P et al. Deep neural decision forests. ICCV 2015; Frosst N, Hinton G. Distilling a neural network into a
        soft decision tree. 2017, arXiv:1711.09784; Hazimeh H et al. The tree ensemble layer. ICML 2020, arXiv:2002.07772.
    """
    from keras import layers  # not above: training knows the names here before it loads TensorFlow

    arrived: Any = None
    for depth in range(1, DEPTH + 1):
        nodes = 2 ** (depth - 1)
        decided = layers.Dense(TREES * nodes, name=f"{DECISION}{depth}")(features)
        decided = layers.Reshape((TREES, nodes), name=f"{DECISION}{depth}_by_tree")(decided)
        opposite = layers.Rescaling(-1.0, name=f"{DECISION}{depth}_opposite")(decided)
        sides = [
            layers.Activation("sigmoid", name=f"{DECISION}{depth}_{side}")(one)
            for side, one in (("left", opposite), ("right", decided))
        ]
        if arrived is not None:
            sides = [
                layers.Multiply(name=f"arrived{depth}_{side}")([arrived, one])
                for side, one in zip(("left", "right"), sides, strict=True)
            ]
        arrived = layers.Concatenate(axis=-1, name=f"arrived{depth}")(sides)
    return layers.Flatten(name=LEAVES)(arrived)
