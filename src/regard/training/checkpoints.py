"""Checkpoints of a training in its run folder: written whole, the last two kept, damage noticed."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from regard.errors import RunError
from regard.runs import Run

KEPT = 2
"""Checkpoints that are kept: the newest, and the one before in case that one is damaged."""

_FOLDER, _DIGEST = "checkpoints", 32


def write(run: Run, step: int, state: Mapping[str, Any]) -> None:
    """Write the state after `step` steps as one file, `checkpoints/STEP.pt`: SHA-256 of what follows, torch's format.

    The file gets its name when it is whole and on the disk, so that a process killed at any moment leaves the ones
    before. Then all but this one and the newest one of an earlier step are removed; those of later steps are from
    before a damaged one was passed over. Costs twice the state's size in memory while it runs.

    Raises:
        RunError: it cannot be written; the ones before stay.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    try:
        _write(run.folder / _FOLDER, step, buffer.getvalue())
    except OSError as reason:
        raise RunError(
            f"a checkpoint of the run in {str(run.folder)!r} cannot be written",
            came=str(reason),
            remedy="make room and give the same command again: it goes on from the checkpoint before",
        ) from reason


def _write(folder: Path, step: int, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    place = folder / f"{step:010d}.pt"
    unfinished = place.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(place)
    kept = [other for other in _all(folder) if other <= place][-KEPT:]
    for file_there in folder.iterdir():
        if file_there not in kept:
            file_there.unlink()


def newest(run: Run) -> dict[str, Any] | None:
    """The newest state that is whole, on the CPU; None where none was written. Damaged ones are passed over and logged.

    Raises:
        RunError: all are damaged, or hold what `torch.load(weights_only=True)` does not read.
    """
    there = _all(run.folder / _FOLDER)
    for place in reversed(there):
        whole = memoryview(place.read_bytes())
        content = whole[_DIGEST:]
        if hashlib.sha256(content).digest() == whole[:_DIGEST]:
            return _loaded(place, content)
        run.log("damaged checkpoint", file=place.name, bytes=len(whole))
    if there:
        raise RunError(
            f"all checkpoints of the run in {str(run.folder)!r} are damaged",
            came=", ".join(place.name for place in there),
            remedy="start it again: --force replaces the run",
        )
    return None


def remove(folder: Path) -> None:
    """Remove all checkpoints in a run's folder, once its training is finished."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def _loaded(place: Path, content: memoryview) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as reason:
        raise RunError(
            f"the checkpoint {place.name} holds more than tensors, numbers and texts",
            came=str(reason).partition("\n")[0],
            remedy="an optimizer and a schedule whose state_dict() holds only those",
        ) from reason
    return state


def _all(folder: Path) -> list[Path]:
    """The checkpoints that are there, by their steps."""
    return sorted(folder.glob("*.pt"))
