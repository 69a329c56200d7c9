"""The run of a head, written once all is done: what a head costs is its embeddings, which are kept elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from regard.answered_run import answer_rows, called_in_rows
from regard.errors import RunError
from regard.images import Photo
from regard.labels import Outputs
from regard.runs import Run, check_run_folder, is_run, see_run

COMMAND, METHOD = "train-head", "head"


def check_run(folder: Path, force: bool) -> None:
    """Refuse before slow work a folder in which the run cannot be written after it.

    Raises:
        RunError: a finished run stands there, which force alone replaces; or what no run can be opened in.
    """
    check_run_folder(folder)
    if not force and is_run(folder) and see_run(folder).manifest is not None:
        raise RunError(
            f"{str(folder)!r} holds a finished run", remedy="choose another folder, or --force to replace it"
        )


def write_run(
    folder: Path,
    configuration: Mapping[str, Any],
    shown: Sequence[tuple[Photo, str]],
    answers: tuple[Outputs, Tensor, Tensor, Sequence[str]],
    facts: Mapping[str, Any],
) -> None:
    """Write it, in the place of one that stands there.

    Args:
        folder: looked at by `check_run`.
        configuration: all that the numbers depend on.
        shown: the photos held out, each with the SHA-256 of its content.
        answers: what they mean, what is true, what is answered, the names of the columns; see `answer_rows`.
        facts: of the manifest.
    """
    outputs, truth, said, names = answers
    called, marks = [called_in_rows(*each) for each in shown], [mark for _, mark in shown]
    run = Run.open(folder, COMMAND, configuration, force=True)
    run.write_rows(answer_rows(METHOD, called, marks, outputs, truth, said, names))
    run.finish(**facts)
