"""`regard train`: what is trained."""

from __future__ import annotations

import typer

from regard.cli.train.br_npa import br_npa
from regard.cli.train.head import head
from regard.cli.train.tame import tame

train = typer.Typer(
    name="train",
    help="Train on a frozen classifier, or a classifier whose attention is inside.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
train.command()(tame)
train.command()(head)
train.command("br-npa")(br_npa)
