"""`regard methods`: what there is, and which targets each answers."""

from __future__ import annotations

from typing import Annotated

import typer

from regard.cli.output import print_json, print_table


def methods(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the methods: what each shows, which networks it explains, which targets it answers.

    Example: regard methods
    """
    from regard.explainers.registry import methods as all_methods

    found = all_methods()
    if as_json:
        print_json([vars(method) for method in found])
        return
    print_table(
        ["method", "networks", "signed", "tells targets apart", "answers", "what it shows"],
        [
            [
                method.name,
                method.networks,
                "yes" if method.signed else "no",
                "yes" if method.per_target else "no",
                ", ".join(method.answers),
                method.summary,
            ]
            for method in found
        ],
    )
