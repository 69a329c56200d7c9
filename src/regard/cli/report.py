"""`regard report`: a run folder in, one HTML file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regard.cli.output import announce, print_json

NAME = "report.html"
"""Of the file, in the folder of its run."""


def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run, finished or not.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; default report.html in the run.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what stands there, whatever it is.")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a run as one HTML page that opens from disk, without a network: numbers, curves, photos with their maps.

    From explain, compare, evaluate, exam and train runs. Photos are looked for where the run found them, and shown only
    if they are still the same; they are inside of the page then, as are the rows. Nothing is computed anew. The report
    that lies in a run is replaced by its next one.

    Example: regard report regard-runs/evaluate-20260101-120000 --open
    """
    from regard.cli.out_file import check_out
    from regard.report.page import is_report, write_report
    from regard.runs import is_run

    file = out or run / NAME
    if is_run(run):  # what is none is refused as such
        check_out(file, force or (out is None and is_report(file)), ".html")
    written = write_report(run, file)
    if not written.finished:
        announce(f"the run in {run} is not finished: the report shows what it holds so far")
    if as_json:
        print_json({"file": str(written.file), "bytes": written.size, "finished": written.finished})
    else:
        print(f"{written.file}: {written.size / 1e6:.1f} MB")
    if open_it:
        typer.launch(file.resolve().as_uri())
