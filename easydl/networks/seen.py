"""Which images and patients a network has learned from, as digests that travel with it. It reads no study."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

DIGITS = 16
"""Hexadecimal digits of a digest: among a million images the chance of one that is equal by accident is below 1e-7."""
MOST_IMAGES = 200_000
"""More would make the metadata of a model file larger than those that are opened."""

Digests = Annotated[str, Field(pattern=f"^([0-9a-f]{{{DIGITS}}})*$")]


class Parts(BaseModel):
    """Sorted digests of `DIGITS` hexadecimal digits each, joined, of both parts that a training uses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Digests = ""
    validation: Digests = ""

    def with_parts(self, other: Parts) -> Parts:
        """These and those of another list of the same salt."""
        return self.joined(_split(other.training), _split(other.validation))

    def joined(self, training: Iterable[str], validation: Iterable[str]) -> Parts:
        """These and further ones. What a network was trained on stays so when it is validated on it later."""
        learned = _split(self.training).union(training)
        checked = _split(self.validation).union(validation) - learned
        return Parts(training="".join(sorted(learned)), validation="".join(sorted(checked)))

    def where(self, digest: str) -> str:
        """``"training"``, ``"validation"`` or nothing."""
        return self._places.get(digest, "")

    @cached_property
    def _places(self) -> dict[str, str]:
        validation = dict.fromkeys(_split(self.validation), "validation")
        return validation | dict.fromkeys(_split(self.training), "training")


class Seen(BaseModel):
    """The images and patients of every training of a network.

    Attributes:
        salt: Random hexadecimal digits, so that the digests of two models cannot be compared.
        images: Digests of the decoded pixels.
        patients: Pseudonyms of the patients by the computer they were made on, whose secret they are keyed with: they can
            be compared there only, and not be guessed elsewhere.
        complete: False when the network was also trained on data of which no digest is known.
        decoder: The version of the decoding (`easydl.studies.pixel_facts.DECODER`) that the digests are of.
        others: What other networks had seen that it learned from (a teacher), each list with a salt of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    salt: str = Field(pattern="^[0-9a-f]{32}$")
    images: Parts = Parts()
    patients: dict[str, Parts] = Field(default_factory=dict)
    complete: bool = True
    decoder: int = 0
    others: tuple[Seen, ...] = ()

    @field_validator("others")
    @classmethod
    def _flat(cls, others: tuple[Seen, ...]) -> tuple[Seen, ...]:
        if any(one.others for one in others):
            raise ValueError("the other lists must not hold others")
        return others

    @property
    def lists(self) -> tuple[Seen, ...]:
        """This list and the others: whoever compares has to look into all of them."""
        return (self, *self.others)

    @classmethod
    def new(cls, *, complete: bool = True) -> Seen:
        """Nothing yet, with a salt of its own."""
        return cls(salt=secrets.token_hex(16), complete=complete)

    def image(self, digest: str) -> str:
        """What stands in the file for an image with this digest of its pixels."""
        return hashlib.blake2b(digest.encode(), key=self.salt.encode(), digest_size=DIGITS // 2).hexdigest()

    def with_images(self, training: Iterable[str], validation: Iterable[str]) -> Seen:
        """These and further images, by the digests of their pixels; beyond `MOST_IMAGES` none of them is kept."""
        images = self.images.joined(map(self.image, training), map(self.image, validation))
        return self.model_copy(update={"images": images})._limited()

    def beside(self, other: Seen) -> Seen:
        """These, and what another network has seen that this one learns from. Lists of one salt become one."""
        lists = {one.salt: one.model_copy(update={"others": ()}) for one in self.lists}
        for one in other.lists:
            mine = lists.get(one.salt)
            lists[one.salt] = one.model_copy(update={"others": ()}) if mine is None else mine._joined(one)
        first, *others = lists.values()
        return first.model_copy(update={"others": tuple(others)})._limited()

    def where(self, digest: str) -> str:
        """In which part of any list an image with this digest of its pixels is, as `Parts.where`."""
        places = {one.images.where(one.image(digest)) for one in self.lists}
        return next((part for part in ("training", "validation") if part in places), "")

    def _joined(self, other: Seen) -> Seen:
        patients = dict(self.patients)
        for computer, parts in other.patients.items():
            patients[computer] = patients.get(computer, Parts()).with_parts(parts)
        same = self.decoder == other.decoder
        update = {"images": self.images.with_parts(other.images), "patients": patients}
        return self.model_copy(update={**update, "complete": self.complete and other.complete and same})

    def _limited(self) -> Seen:
        kept = sum(len(one.images.training) + len(one.images.validation) for one in self.lists)
        if kept <= MOST_IMAGES * DIGITS:
            return self
        others = tuple(one.model_copy(update={"images": Parts(), "complete": False}) for one in self.others)
        return self.model_copy(update={"images": Parts(), "complete": False, "others": others})


def _split(joined: str) -> set[str]:
    return {joined[begin : begin + DIGITS] for begin in range(0, len(joined), DIGITS)}
