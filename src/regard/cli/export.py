"""`regard export`: a trained attention and its classifier as an ONNX file, which runs without regard and torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regard.cli.out_file import check_out
from regard.cli.output import announce, print_json


def export(
    file: Annotated[Path, typer.Argument(help="The attention: a file that regard train tame wrote.")],
    classifier: Annotated[
        str, typer.Option("--classifier", "-c", help="The one it was trained for: a name or a classifier file.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write, NAME.onnx.")],
    weights: Annotated[
        Path | None, typer.Option(help="Weights for a timm: classifier, safetensors or plain torch.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file that stands in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a classifier with its trained attention as one ONNX file: pixels and class ids in, logits and maps out.

    Batch and number of classes are free; weights, preparation and labels are inside. The file is checked in
    onnxruntime before it is kept.

    Example: regard export my-attention.safetensors --classifier regard:vit-small --out my-attention.onnx
    """
    from dataclasses import asdict

    from regard.explainers.tame import TAME
    from regard.explainers.tame_export import export_onnx
    from regard.models.catalog import load

    check_out(out, force, ".onnx")
    tame = TAME.load(file, load(classifier, weights=weights))
    announce(f"writing {tame.classifier.name} and its attention as ONNX; a minute for large networks")
    written = export_onnx(tame, out)
    preparation = tame.classifier.preparation
    if as_json:
        print_json({**asdict(written), "file": str(out), "classifier_hash": tame.classifier.hash})
        return
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, opset {written.opset}")
    frame = ", ".join(map(str, (preparation.channels, *preparation.frame)))
    print(f"pixels (B, {frame}) float32, classes (B, T) int64 → logits, maps")
    print(
        f"onnxruntime and torch differ by {written.logits_difference:.1g} in logits, "
        f"{written.maps_difference:.1g} in maps at most"
    )
