"""A classifier and its trained attention as one ONNX file: pixels and class ids in, logits and maps out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.compat import import_optional
from regard.errors import FileFormatError, UnsupportedError
from regard.explainers.tame import TAME
from regard.models.features import Features
from regard.models.networks import tensor_of
from regard.models.stages import gated_by_class
from regard.models.taps import read
from regard.provenance import version

OPSET = 18
LARGEST = 1_900_000_000
"""Bytes of weights that fit into one file: protobuf ends at 2 GiB."""
TOLERANCE = 1e-4
"""Of logits and maps in onnxruntime; as a share of the largest where that is above 1."""


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    Attributes:
        file: that was written.
        opset: of ONNX.
        logits_difference: the largest from torch, of onnxruntime on three pictures of noise.
        maps_difference: likewise.
    """

    file: Path
    opset: int
    logits_difference: float
    maps_difference: float


def export_onnx(tame: TAME, file: Path | str) -> Exported:
    """Write classifier and attention as an ONNX file, once onnxruntime gives what torch gives.

    Inputs: `pixels` (B, 3, H, W) float32, prepared, of the frame of the classifier's preparation; `classes` (B, T)
    int64, 0 to C − 1: any other, negative ones too, is out of the bounds of a Gather, which onnxruntime refuses.
    Outputs: `logits` (B, C) and `maps` (B, T, h, w), before any sigmoid. B and T are free. The weights are inside. The
    file's metadata_props say whose it is: name and hash of the classifier, preparation and labels as JSON, and of the
    attention variant, layers, photos of each class in training, how it was trained.

    Args:
        tame: whose classifier runs in float32.
        file: to write; one that stands there is replaced.

    Raises:
        MissingDependencyError: a package of regard[export] is not installed.
        UnsupportedError: another precision, more than 1.9 GB of weights, an attention that was transferred, a
            network that torch.export cannot trace, or one that differs in onnxruntime.
        FileFormatError: the file's folder is not there.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        import_optional(package, "export")
    file, whole = Path(file), _Whole(tame)
    _check(tame, whole, file)
    pixels, classes = _examples(tame)
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        with tame.classifier.untouched(), torch.inference_mode(False), torch.no_grad():
            expected = whole(pixels, classes)
            program = _traced(whole, pixels, classes)
        program.model.metadata_props.update(_about(tame))
        program.save(unfinished, external_data=False)
        differences = _differences(unfinished, pixels, classes, expected, tame)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return Exported(file, OPSET, *differences)


class _Whole(nn.Module):
    """Network, head and attention in one forward, without what a call of regard checks and counts."""

    def __init__(self, tame: TAME) -> None:
        super().__init__()
        classifier, trained = tame.classifier, tame.trained
        self.network, self.head, self.called = classifier.module, classifier.head, classifier.name
        self.attention = trained.attention.folded().to(classifier.device)
        self.layers, self.maps_of = trained.layers, gated_by_class if trained.card.gated else Features.maps

    def forward(self, pixels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        places = [layer.place for layer in self.layers]
        tensors, raw = read(self.network, places, lambda: self.network(pixels))
        answer = tensor_of(raw, self.network, self.called)
        features = [self.maps_of(*each, pixels) for each in zip(self.layers, tensors, strict=True)]
        return answer if self.head is None else self.head(answer), self.attention(
            features, self._refused_below(classes)
        )

    def _refused_below(self, classes: Tensor) -> Tensor:
        """Negative classes as C, which there is not: ONNX would count them from the end."""
        return torch.where(classes < 0, self.attention.classes, classes)


def _check(tame: TAME, whole: nn.Module, file: Path) -> None:
    """Refuse before slow work what could not be written after it."""
    classifier, weights = tame.classifier, whole.state_dict().values()
    precisions = {classifier.precision, *(str(each.dtype)[6:] for each in weights if each.is_floating_point())}
    if precisions != {"float32"}:
        raise UnsupportedError(
            "a classifier is exported in float32", came=f"{classifier.name} in {', '.join(sorted(precisions))}"
        )
    size = sum(each.numel() * each.element_size() for each in weights)
    if size > LARGEST:
        raise UnsupportedError(
            "the weights are too many for one ONNX file", came=f"{size / 1e9:.1f} GB", expected=f"{LARGEST / 1e9} GB"
        )
    tame.trained.card.check_belongs(classifier)
    if file.is_dir() or not file.parent.is_dir():
        raise FileFormatError(
            f"{str(file)!r} cannot be written: {'it is a' if file.is_dir() else 'there is no such'} folder"
        )


def _examples(tame: TAME) -> tuple[Tensor, Tensor]:
    """Three pictures of noise and two classes of each: numbers that tracing keeps free, unlike 0 and 1."""
    shape = (3, *tame.classifier.picture().shape[1:])
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(6).view(3, 2) % tame.trained.card.classes
    return pixels.to(tame.classifier.device), classes.to(tame.classifier.device)


def _traced(whole: nn.Module, pixels: Tensor, classes: Tensor) -> Any:
    """The ONNX program, without what torch prints on the way."""
    batch, targets = torch.export.Dim("batch"), torch.export.Dim("targets")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.onnx.export(
                whole.eval(),
                (pixels, classes),
                input_names=["pixels", "classes"],
                output_names=["logits", "maps"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes={"pixels": {0: batch}, "classes": {0: batch, 1: targets}},
                verbose=False,
            )
        except Exception as reason:  # a network of any author may fail in any way to be traced
            cause = str(reason.__cause__ or reason).strip().partition("\n")[0]
            raise UnsupportedError(
                "torch cannot write this network as ONNX",
                came=cause[:300],
                remedy="torch.export.export(network, (pixels,)) names the line; it may not branch on values",
            ) from reason


def _differences(
    file: Path, pixels: Tensor, classes: Tensor, expected: tuple[Tensor, Tensor], tame: TAME
) -> tuple[float, float]:
    """The largest difference of logits and of maps in onnxruntime.

    Raises:
        UnsupportedError: one is above `TOLERANCE`.
    """
    onnxruntime = import_optional("onnxruntime", "export")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(None, {"pixels": pixels.cpu().numpy(), "classes": classes.cpu().numpy()})
    differences = []
    for came, wanted in zip(map(torch.from_numpy, found), expected, strict=True):
        difference = float((came - wanted.cpu()).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(wanted.abs().max())):
            raise UnsupportedError(
                f"onnxruntime gives other numbers than torch for {tame.classifier.name}", came=f"{difference:.2g} apart"
            )
        differences.append(difference)
    return differences[0], differences[1]


def _about(tame: TAME) -> Mapping[str, str]:
    """What the file says of itself, in words or as JSON."""
    classifier, card = tame.classifier, tame.trained.card
    return {
        "regard": version(),
        "explainer": tame.name,
        "classifier": classifier.name,
        "classifier_hash": classifier.hash,
        "preparation": json.dumps({**classifier.preparation.to_dict(), "frame": classifier.preparation.frame}),
        "outputs": classifier.outputs,
        "labels": json.dumps(classifier.labels, ensure_ascii=False),
        "maps": "before any sigmoid; above zero: {1}, below zero: {0}".format(*tame.signs),
        "attention": tame.trained.digest,
        "variant": card.variant,
        "layers": json.dumps([layer for layer, _ in card.layers]),
        "photos_of_class": json.dumps(card.photos_of_class),
        "training": json.dumps(dict(card.training), ensure_ascii=False),
    }
