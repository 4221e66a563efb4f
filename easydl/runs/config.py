"""The settings of a run as a file in its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from easydl.errors import RunError
from easydl.fileio import write_text
from easydl.options import RunOptions, settings_error


class RunConfig(RunOptions):
    """Everything that repeats a run. Each setting is the argument of the same name of the function it goes to."""

    def save(self, folder: Path) -> None:
        """Write config.json into a run folder; paths in it hold wherever the run is gone on with.

        It says where the study lies, so only this user can read it.
        """
        write_text(folder / "config.json", json.dumps(self.with_absolute_paths().model_dump(), indent=1), mode=0o600)

    def with_absolute_paths(self) -> RunConfig:
        """The same settings, with files and folders by their whole paths."""
        paths = {"source": self.source}
        if isinstance(self.pretrained, str) and Path(self.pretrained).expanduser().exists():
            paths["pretrained"] = self.pretrained
        return self.model_copy(update={name: os.path.abspath(Path(path).expanduser()) for name, path in paths.items()})

    @classmethod
    def open(cls, folder: Path) -> RunConfig:
        """Read config.json of a run folder.

        Raises:
            RunError: There is none, or it holds other settings than these.
        """
        try:
            return cls.model_validate_json((folder / "config.json").read_text(encoding="utf-8"))
        except OSError as problem:
            raise RunError(
                f"{folder} is not a run folder: it has no config.json.",
                "the folder of a run.",
                "Choose another folder.",
            ) from problem
        except ValidationError as problem:
            raise settings_error(problem) from problem
