"""How photos go through a run: which are left, how long they will take, what a stop or a bad photo leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from regard.cli.output import announce, tracked
from regard.cli.photos import named
from regard.naming import image_of, photo_facts, printable

if TYPE_CHECKING:
    from regard.runs import Run


def photos_left(results: Run, paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Photos that are still to be explained, each with the name of its results: new ones, failed ones, changed ones."""
    done = {row["image"]: row for row in results.rows() if row["status"] == "explained"}
    left = [
        path
        for path in paths
        if image_of(path) not in done or done[image_of(path)]["photo_sha256"] != photo_facts(path)["photo_sha256"]
    ]
    results.forget({image_of(path) for path in left})
    kept = done.keys() - {image_of(path) for path in left}
    return named(left, {Path(done[image]["picture"]).stem for image in kept})


def each_photo(
    results: Run,
    left: Sequence[tuple[Path, str]],
    forwards: int,
    seconds: float,
    what: str,
    one: Callable[[Path, str], bool],
) -> int:
    """Do every photo that is left, and count those that failed; a stop says how to go on.

    Args:
        results: the run.
        left: from `photos_left`.
        forwards: forward passes that one photo costs.
        seconds: about how long one photo takes.
        what: beside the progress bar.
        one: does one photo, given its path and the name of its results; whether it went well.
    """
    whole = seconds * len(left)
    if whole > 2:
        announce(f"photos to explain: {len(left)}, forward passes: {forwards * len(left)}; about {whole:.0f} s")
    try:
        return sum(not one(path, name) for path, name in tracked(left, whole, what))
    except KeyboardInterrupt:
        results.log("interrupted")
        announce(f"stopped; give the same command with --run {results.folder} to go on")
        raise typer.Exit(1) from None


def failed_row(path: Path, method: str, reason: Exception) -> dict[str, Any]:
    """The row of a photo that could not be explained, which is also said at once."""
    announce(printable(f"failed: {path}: {reason}"))
    return {
        "image": image_of(path),
        "method": method,
        "target": "",
        "status": "failed",
        "error": printable(str(reason)),
    }


def summary(results: Run) -> dict[str, Any]:
    """A run for `--json`."""
    return {"run": str(results.folder), "configuration_hash": results.configuration_hash, "rows": results.rows()}
