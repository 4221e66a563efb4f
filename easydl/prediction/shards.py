"""The outputs for very many images by several processes, in parts that are kept when one of them is killed. It makes no table."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import EasyDLError, InputError, RunError
from easydl.fileio import replacing, write_text
from easydl.prediction.answers import BATCH, Answers, answers_of, joined

if TYPE_CHECKING:
    from easydl.studies import Study

IN_A_PART = 32 * BATCH
"""Images in a part: whole batches, so that every batch holds the same images as in one process, and the answers are the same bits."""
PROBLEM = "problem.json"


def answers_by_processes(
    model: Any, study: Study, processes: int, folder: str | Path | None, uncertainty: str | None
) -> Answers:
    """The answers for every row of a study, in its order; parts that are in the folder already are not made again.

    Raises:
        InputError: Images cannot be read.
        RunError: A process was killed; the parts that were finished are kept.
    """
    if uncertainty == "mc_dropout":
        raise InputError(
            'uncertainty="mc_dropout" was given with several processes.',
            "answers that do not depend on which process draws the dropout.",
            'Leave processes out, or use uncertainty="augmentation".',
        )
    from easydl.networks import save_model

    with tempfile.TemporaryDirectory(prefix="easydl_parts_") as private:
        own = Path(private)
        kept = Path(folder) if folder is not None else own / "parts"
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        save_model(model, own / "model.keras")
        # Read by our own processes alone, from a folder that only this user can enter, and gone with it.
        (own / "study.pickle").write_bytes(pickle.dumps(study))
        write_text(
            own / "job.json", json.dumps({"kept": str(kept.resolve()), "uncertainty": uncertainty, "of": processes})
        )
        count = min(processes, len(list(_parts(len(study)))))
        threads = str(max(1, (os.cpu_count() or 1) // count))
        environment = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads} | os.environ
        command = [sys.executable, "-m", "easydl.prediction.shards", private]
        children = [subprocess.Popen([*command, str(number)], env=environment) for number in range(count)]
        try:
            codes = [child.wait() for child in children]
        finally:
            for child in children:
                if child.poll() is None:
                    child.terminate()
                    child.wait()
        if (own / PROBLEM).exists():
            raise InputError(*json.loads((own / PROBLEM).read_text(encoding="utf-8")))
        if any(codes):
            done = sum(_path(kept, name).exists() for name in _names(own, count).values())
            raise RunError(
                f"{sum(map(bool, codes))} of {count} processes ended before their work was done (exit code "
                f"{next(code for code in codes if code)}).",
                "enough memory for all of them, and nobody who ends them.",
                f"Start it again, if need be with fewer processes: {done} finished parts are kept"
                + (
                    " and not made again." if folder is not None else " only where a folder for them is given (parts=)."
                ),
            )
        names = _names(own, count)
        return joined([_load(_path(kept, names[number])) for number in range(len(names))])


def _parts(rows: int) -> Iterator[list[int]]:
    for begin in range(0, rows, IN_A_PART):
        yield list(range(begin, min(begin + IN_A_PART, rows)))


def _names(own: Path, count: int) -> dict[int, str]:
    """What the processes called their parts."""
    found: dict[int, str] = {}
    for number in range(count):
        with suppress(OSError, ValueError):
            found |= {int(part): name for part, name in json.loads((own / f"names{number}.json").read_text()).items()}
    return found


def _path(kept: Path, name: str) -> Path:
    return kept / f"{name}.npz"


def _work(own: Path, number: int) -> None:
    """One process: every so many parts of the study, one after the other, with one model. Memory does not grow."""
    from easydl._tf import load_tensorflow

    load_tensorflow()
    from easydl.networks import load_network, metadata_of
    from easydl.prediction.provenance import fingerprint

    job = json.loads((own / "job.json").read_text(encoding="utf-8"))
    study = pickle.loads((own / "study.pickle").read_bytes())
    model: Any = load_network(own / "model.keras")
    about = f"{fingerprint(model, metadata_of(model))}|{job['uncertainty']}"
    names: dict[int, str] = {}
    for part, rows in enumerate(_parts(len(study))):
        if part % job["of"] != number:
            continue
        names[part] = hashlib.sha256(f"{about}|{[_seen(study, row) for row in rows]}".encode()).hexdigest()[:40]
        write_text(own / f"names{number}.json", json.dumps(names))
        path = _path(Path(job["kept"]), names[part])
        if not path.exists():
            _save(path, answers_of(model, study, job["uncertainty"], rows=rows))


def _seen(study: Any, row: int) -> list[Any]:
    """What changes when an image does, or what is known beside it: names, sizes and times of the files, and the table's row."""
    facts: list[Any] = [study.frame.iloc[row].astype(str).to_dict()]
    for address in study.addresses(row):
        file = address if os.path.exists(address) else address.rpartition("#")[0]
        with suppress(OSError):
            found = os.stat(file)
            facts.append((address, found.st_size, found.st_mtime_ns))
    return facts


def _save(path: Path, answers: Answers) -> None:
    facts = {"strange": answers.strange, "notes": answers.notes, "heads": answers.heads}
    arrays: dict[str, Any] = {f"stack{number}": stack for number, stack in enumerate(answers.stacks)}
    if answers.seen is not None:
        arrays["seen"] = answers.seen
    with replacing(path, mode=0o600) as draft, open(draft, "wb") as file:
        np.savez(file, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)


def _load(path: Path) -> Answers:
    with np.load(path, allow_pickle=False) as file:
        facts = json.loads(bytes(file["facts"]).decode())
        stacks = [file[f"stack{number}"] for number in range(max(1, len(facts["heads"])))]
        seen = file["seen"] if "seen" in file.files else None
    return Answers(stacks, facts["heads"], facts["strange"], [tuple(one) for one in facts["notes"]], seen)


if __name__ == "__main__":
    try:
        _work(Path(sys.argv[1]), int(sys.argv[2]))
    except EasyDLError as problem:
        write_text(Path(sys.argv[1]) / PROBLEM, json.dumps([problem.found, problem.expected, problem.do]))
        sys.exit(1)
