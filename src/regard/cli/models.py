"""`regard models`: which classifiers can be named, what each can be explained with, and which layers there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from regard.cli.output import announce, print_as_they_come, print_json, print_table

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.models.offers import Listed

MOST_DESCRIBED = 10
"""Of more names than these only the names are printed: each network that is described is built."""
LARGEST_AMONG_OTHERS = 100_000_000
"""Parameters of the largest network described where several are named: larger ones take minutes and gigabytes."""
SOON_BUILT = 10_000_000
"""Parameters up to which a network is built and seen through within seconds, so that nothing need be said."""


def models(
    pattern: Annotated[
        str, typer.Argument(help="Part of a name, a shell pattern, a classifier file, or transformers:FOLDER.")
    ] = "regard:",
    labels: Annotated[bool, typer.Option("--labels", help="List the classes of the one model named.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="List every layer that can be tapped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List classifiers by name: the embedded ones, and with a pattern those of timm and torchvision.

    Up to ten are built, with random weights, and described: which methods explain them, and where maps come from.
    Of several those of more than 100 million parameters are left out; named alone, any is described.

    Example: regard models timm:deit_tiny_patch16_224 --layers
    """
    if labels:
        rows = list(enumerate(_loaded(pattern).labels or []))
        print_json(dict(rows)) if as_json else print_table(["class", "label"], [[str(i), name] for i, name in rows])
        return
    found = _found(pattern)
    many = len(found) > MOST_DESCRIBED
    if not found:
        _refuse(pattern, as_json)
    if many:
        _print_names(found, as_json)
    elif as_json:
        print_json(list(_described(found)))
    else:
        printed, described = tee(_described(found))
        _print_found(printed)
        if layers:
            _print_layers(described)


def _refuse(pattern: str, as_json: bool) -> NoReturn:
    """Say that nothing matches; for programs there is an empty list all the same.

    Raises:
        ClassifierError: always.
    """
    from regard.errors import ClassifierError

    if as_json:
        print_json([])
    raise ClassifierError(
        f"no classifier matches {pattern!r}",
        remedy='"regard:" needs pip install "regard[embedded]", "timm:" and "torchvision:" the extras of these names',
    )


def _print_names(found: Sequence[Listed], as_json: bool) -> None:
    if as_json:
        print_json([vars(entry) for entry in found])
    else:
        print_table(["name", "what it is"], [[entry.name, entry.about] for entry in found])
    announce(f"{len(found)} names; {MOST_DESCRIBED} or fewer are described: give more of the name, or a pattern")


def _found(pattern: str) -> list[Listed]:
    """What is listed under a pattern; else the one file or folder of transformers that it names."""
    from regard.models.catalog import listed
    from regard.models.offers import Listed

    hub, _, rest = pattern.partition(":")
    one_s_own = Path(pattern).is_file() or (hub == "transformers" and bool(rest) and not set("*?[") & set(rest))
    return listed(pattern) or ([Listed(pattern, "one's own")] if one_s_own else [])


def _loaded(name: str) -> Classifier:
    """The classifier; one whose weights would have to be fetched, with random weights."""
    from regard.models.catalog import load

    if not name.startswith(("timm:", "torchvision:", "transformers:")):
        return load(name)
    classifier = load(name, pretrained=False)
    _wake(classifier)
    return classifier


def _wake(classifier: Classifier) -> None:
    """Draw the weights that begin as zeros: through a head of zeros (torchvision's transformers) nothing is seen."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in classifier.module.parameters():
            if not bool(parameter.any()):
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))


def _described(found: Sequence[Listed]) -> Iterator[dict[str, Any]]:
    """Each with its description, or the problem that keeps it from being built; that of one alone is raised."""
    from regard.cli.description import description, parameters_of
    from regard.errors import RegardError

    for entry in found:
        parameters = parameters_of(entry.name) or 0
        if len(found) > 1 and parameters > LARGEST_AMONG_OTHERS:
            size = f"{parameters / 1e6:.0f} million parameters"
            yield vars(entry) | {"problem": f"too large to try among others ({size}): name it alone"}
            continue
        if parameters > SOON_BUILT:
            announce(f"building {entry.name}: {parameters / 1e6:.0f} million parameters")
        try:
            about = description(_loaded(entry.name))
        except RegardError as reason:
            if len(found) == 1:
                raise
            about = {"problem": " ".join(str(reason).split())}
        yield vars(entry) | about


def _print_found(described: Iterable[dict[str, Any]]) -> None:
    from regard.cli.description import in_words

    print_as_they_come(
        ["name", "what it is", "explained by", "where maps come from"],
        (
            [
                entry["name"],
                entry["about"],
                ", ".join(entry.get("methods", [])),
                entry.get("problem") or in_words(entry),
            ]
            for entry in described
        ),
        shares=(3, 2, 4, 4),
    )


def _print_layers(described: Iterable[dict[str, Any]]) -> None:
    rows = [
        [entry["name"], layer["path"], layer["kind"], "×".join(map(str, layer["shape"]))]
        for entry in described
        for layer in entry.get("layers", [])
    ]
    print()
    print_table(["name", "layer", "type", "output of one picture"], rows)
