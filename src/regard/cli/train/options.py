"""Options that every training in a run has."""

from __future__ import annotations

from typing import Annotated

import typer

Accumulate = Annotated[int, typer.Option(min=1, help="Parts of a step, so that less memory is needed.")]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        "--checkpoint-every", min=1, help="Steps between checkpoints, besides those after every epoch; default 500."
    ),
]
Replace = Annotated[
    bool, typer.Option("--force", help="Replace the file in --out, and a finished or other run in --run.")
]
