"""Files of a folder on their way from the browser: each is written to disk as it arrives, so a thousand are no load."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import IO

from easydl.errors import InputError
from easydl.workspace.uploads import Limits

_BATCH = re.compile(r"[0-9a-f]{32}")
_KEPT_SECONDS = 24 * 3600.0
MARK = "x-easydl"
"""A header that no page of another address can send without being asked first (CORS)."""


class Incoming:
    """Batches of files that are arriving, one folder each; `files` gives a whole batch, `drop` deletes it."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder, self._limits = folder, limits or Limits()

    async def receive(self, batch: str, number: int, content: AsyncIterable[bytes]) -> None:
        """Write one file of a batch as it arrives.

        Raises:
            InputError: The batch or number is not one, or the file is too large.
        """
        place = self._place(batch)
        if not 0 <= number < self._limits.members:
            raise InputError(
                f"There are more than {self._limits.members:,} files.",
                f"at most {self._limits.members:,} files.",
                "Open them as a folder on this computer instead: a folder is not copied.",
            )
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        written = 0
        with open(place / str(number), "wb") as file:
            async for chunk in content:
                written += len(chunk)
                if written > self._limits.total_bytes:
                    raise InputError(
                        "A file is larger than allowed.",
                        f"at most {self._limits.total_bytes / 1024**3:.0f} GB in all.",
                        "Open the folder on this computer instead: it is not copied.",
                    )
                file.write(chunk)

    def files(self, batch: str, names: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
        """The files of a batch with the names that they had, one by one.

        Raises:
            InputError: One of them has not arrived.
        """
        place = self._place(batch)
        for number, name in enumerate(names):
            if not (place / str(number)).is_file():
                raise InputError(
                    f"File {number + 1} of {len(names)} has not arrived.",
                    "every file of the folder.",
                    "Choose the folder again.",
                )
            with open(place / str(number), "rb") as file:
                yield str(name), file

    def drop(self, batch: str) -> None:
        """Delete a batch, and those that were left behind a day ago."""
        shutil.rmtree(self._place(batch), ignore_errors=True)
        for place in self.folder.iterdir() if self.folder.is_dir() else ():
            if time.time() - place.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(place, ignore_errors=True)

    def _place(self, batch: str) -> Path:
        if not isinstance(batch, str) or not _BATCH.fullmatch(batch):
            raise InputError("This is no upload.", "an upload of the app's own page.", "Choose the folder again.")
        return self.folder / batch
