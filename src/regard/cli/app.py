"""The program `regard`: gathers the commands, turns errors into words and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong use. Commands import what they need when they run, so that
`regard --help` imports no torch.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from regard.cli.compare import compare
from regard.cli.evaluate import evaluate
from regard.cli.exam import exam
from regard.cli.explain import explain
from regard.cli.export import export
from regard.cli.methods import methods
from regard.cli.metrics import metrics
from regard.cli.models import models
from regard.cli.report import report
from regard.cli.serve import serve
from regard.cli.train.group import train

app = typer.Typer(
    name="regard",
    help="Shows what an image classifier looks at, and examines whether that is really why it decides.",
    epilog='Example: regard explain cat.jpg --target "tabby, tabby cat"',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (explain, compare, evaluate, report, export, models, methods, metrics, serve):
    app.command()(command)
app.add_typer(train)
app.add_typer(exam)


def _print_version(wanted: bool) -> None:
    if wanted:
        from regard.provenance import version

        print(f"regard {version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Shows what an image classifier looks at, and examines whether that is really why it decides."""


def main() -> None:
    """Run the program; every error that regard raises on purpose is printed without a trace."""
    import warnings

    from regard.errors import NotFiniteError, PixelsError, RegardError

    warnings.showwarning = _note
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal or file of a narrow encoding gets ? for →
    try:
        app()
    except RegardError as reason:
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(1 if isinstance(reason, (NotFiniteError, PixelsError)) else 2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as reason:
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(1)


def _note(message: Warning | str, *_: object, **__: object) -> None:
    """What regard and its libraries warn of, as a sentence without a line of source."""
    print(f"note: {message}", file=sys.stderr)
