"""`regard serve`: the live page, on one's own machine unless told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regard.cli.output import announce
from regard.cli.photos import find_photos

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.web.photos import Sample

CONNECTIONS = 500
"""At the same time; further ones are answered 503."""


def serve(
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A classifier's name or file; may be given again.")
    ] = None,
    photos: Annotated[Path | None, typer.Option("--photos", help="A folder of photos, instead of the samples.")] = None,
    host: Annotated[str, typer.Option(help="Where it listens; beyond this machine it asks for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    token: Annotated[
        str | None, typer.Option(help="What visitors must know; default drawn where one is needed.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    opened: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Serve the page on which photos are explained, and its JSON API.

    Classifiers are the embedded ones, unless others are named. Photos that visitors give stay in memory, each visitor's
    own, and are forgotten. Stop with Ctrl-C.

    Example: regard serve --model timm:vit_small_patch16_224 --photos birds
    """
    from regard.web.app import create_app
    from regard.web.desk import Desk
    from regard.web.listening import Patient, address_of, bound, token_for

    known = token_for(host, token)
    listening = bound(host, port)
    desk = Desk(_loaded(model, device), _samples(photos))
    address = f"http://{address_of(host)}:{listening.getsockname()[1]}/" + (f"?token={known}" if known else "")
    announce(f"regard is at {address} (Ctrl-C ends it)")
    if opened:
        import webbrowser

        webbrowser.open(address)
    app = create_app(desk, host=host, token=known)
    import uvicorn

    configuration = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=Patient,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(configuration).run(sockets=[listening])


def _loaded(asked: list[str] | None, device: str) -> dict[str, Classifier]:
    """Each under the name that was given for it; of a file's path the last part."""
    from regard.errors import ClassifierError
    from regard.models.catalog import embedded, load

    names = asked or [entry.name for entry in embedded()]
    if not names:
        raise ClassifierError(
            "no classifier is named, and none is embedded", remedy='--model NAME, or pip install "regard[embedded]"'
        )
    loaded: dict[str, Classifier] = {}
    for name in names:
        announce(f"loading {name}")
        shown = Path(name).name if Path(name).is_file() else name
        if shown in loaded:
            raise ClassifierError("two classifiers have the same name", came=shown)
        loaded[shown] = load(name, device=device)
    return loaded


def _samples(folder: Path | None) -> list[Sample]:
    from regard.web.photos import embedded_samples, samples_of

    return embedded_samples() if folder is None else samples_of(find_photos([str(folder)]))
