"""Which names say left or right. A mirror image makes such a label false, and no later check can see it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SIDES = set(
    """
    left right lefts rights l r lt rt lh rh dexter dextra dextrum sinister sinistra sinistrum
    situs inversus solitus ambiguus dextrocardia levocardia laevocardia mesocardia od os
    lul lll rul rml rll lv rv ipsilateral contralateral
    links rechts linke rechte linker rechter gauche droite izquierda derecha izquierdo derecho
""".split()  # noqa: SIM905 - one word list is easier to read than thirty strings
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def sided_names(names: Iterable[str]) -> list[str]:
    """The names that say on which side something is.

    Words count, not letters: ``kidney_L``, ``LeftLung`` and ``situs inversus`` do, ``cleft`` does not. They come in
    their order, without repeats.

    Example:
        >>> sided_names(["background", "kidney_L", "RightLung", "cleft lip", "normal"])
        ['kidney_L', 'RightLung']
    """
    return [name for name in dict.fromkeys(names) if _words(name) & _SIDES]


def _words(name: str) -> set[str]:
    return set(re.split(r"[\W_\d]+", _CAMEL.sub(" ", str(name)).casefold()))
