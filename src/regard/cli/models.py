"""`regard models`: which classifiers can be named, and what one of them is."""

from __future__ import annotations

from typing import Annotated

import typer

from regard.cli.output import print_json, print_table


def models(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a shell pattern.")] = "regard:",
    labels: Annotated[bool, typer.Option("--labels", help="List the classes of the one model named.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List classifiers by name: the embedded ones, and with a pattern those of timm.

    Example: regard models "timm:*dinov2*"
    """
    from regard.models.catalog import listed, load

    if labels:
        names = load(pattern, pretrained=False).labels if pattern.startswith("timm:") else load(pattern).labels
        rows = list(enumerate(names or []))
        print_json(dict(rows)) if as_json else print_table(["class", "label"], [[str(i), name] for i, name in rows])
        return
    found = listed(pattern)
    if as_json:
        print_json([vars(entry) for entry in found])
    elif found:
        print_table(["name", "what it is"], [[entry.name, entry.about] for entry in found])
    else:
        print(
            f'no classifier matches {pattern!r}; "regard:" needs pip install "regard[embedded]", "timm:" the extra timm'
        )
