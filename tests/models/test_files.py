"""Weights and classifiers in files: what is loaded is what was saved, and nothing of it is run as code."""

import contextlib
import io
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

import regard
from regard.compat import import_optional
from regard.errors import ClassifierError, FileFormatError
from regard.models.files import FORMAT, FORMAT_VERSION, Header, read_header, read_weights, write_classifier

from ..explainers.networks import loud, pixels_of, same

timm = import_optional("timm", "timm")
PIXELS = pixels_of(2, (160, 160))
HEADER = Header(
    name="two pets",
    architecture="timm:test_resnet",
    arguments={"num_classes": 2},
    preparation={"size": [64, 96], "mean": [0.1, 0.2, 0.3], "std": [1, 2, 3], "fit": "squash", "crop": 1.0},
    outputs="sigmoid",
    labels=["cat", "dog, puppy"],
    about={"summary": "a test", "licence": "CC0 – ©"},
)


def network(name="test_vit", classes=5):
    return loud(timm.create_model(name, pretrained=False, num_classes=classes))


def load(**arguments):
    return regard.load("timm:test_vit", **{"num_classes": 5} | arguments)


@pytest.fixture
def saved(tmp_path):
    def save_as(content, name="weights.pth"):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        return path

    return save_as


@pytest.fixture
def pets(tmp_path):
    write_classifier(tmp_path / "pets.safetensors", HEADER, network("test_resnet", 2).state_dict())
    return tmp_path / "pets.safetensors"


WRAPPINGS = {
    "plain": lambda weights: weights,
    "state_dict": lambda weights: {"epoch": 7, "state_dict": weights},
    "model": lambda weights: {"model": weights, "args": {"lr": 0.1}},
    "model_state_dict": lambda weights: {"model_state_dict": weights},
    "module.": lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
    "state_dict of module.": lambda weights: {"state_dict": {f"module.{n}": tensor for n, tensor in weights.items()}},
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_weights_of_a_torch_file_are_loaded_out_of_their_wrappings(wrap, saved):
    path = saved(wrap(network().state_dict()))
    same(load(weights=path)(PIXELS).detach(), network()(PIXELS).detach(), 1e-6)


@pytest.mark.parametrize("wrap", ["plain", "module."])
def test_weights_of_a_safetensors_file_are_loaded_too(wrap, saved):
    path = saved(save(WRAPPINGS[wrap](network().state_dict())), "weights.safetensors")
    same(load(weights=path)(PIXELS).detach(), network()(PIXELS).detach(), 1e-6)


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize(
    "write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))], ids=["zip", "bare"]
)
def test_code_in_a_torch_file_is_refused_and_not_run(write, tmp_path):
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    write({"extra": Malicious(mark), "state_dict": network().state_dict()}, path)
    with pytest.raises(FileFormatError, match="no plain weights") as refusal:
        load(weights=path)
    assert "safetensors" in refusal.value.expected
    assert not mark.exists()
    with contextlib.suppress(Exception):
        torch.load(path, weights_only=False)
    assert mark.exists()


def legacy(length):
    """The beginning of a torch file of before 1.6."""
    file = io.BytesIO()
    torch.save({"weight": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()[:length]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "weights.pth"),
        (b"<html>not found</html>", "weights.pth"),
        (b"PK\x03\x04 cut off", "weights.pth"),
        (legacy(16), "weights.pth"),
        (legacy(30), "weights.pth"),
        (legacy(100), "weights.pth"),
        (b"", "weights.safetensors"),
        (b"<html>not found</html>", "weights.safetensors"),
        (save({"weight": torch.ones(9)})[:-1], "weights.safetensors"),
        (torch.ones(3), "weights.pth"),
        ({"epoch": 3, "weight": torch.ones(3)}, "weights.pth"),
        ([torch.ones(3)], "weights.pth"),
    ],
)
def test_a_file_without_plain_weights_is_refused(content, name, saved):
    with pytest.raises(FileFormatError, match=name):
        read_weights(saved(content, name))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for refused in (lambda: load(weights=tmp_path / "no.pth"), lambda: read_header(tmp_path)):
        with pytest.raises(FileFormatError, match="there is no file"):
            refused()


MISFITS = {
    "another number of classes": (
        lambda: network(classes=6).state_dict(),
        r"^head\.(bias is \(6,\), not \(5,\)|weight is )",
    ),
    "another network": (lambda: network("test_resnet").state_dict(), r"^\d+ missing \(.+; \d+ too many \(bn1\.bias"),
    "one missing": (lambda: without("norm.bias"), r"^1 missing \(norm\.bias, …\)$"),
    "one too many": (lambda: network().state_dict() | {"zoo": torch.ones(1)}, r"^1 too many \(zoo, …\)$"),
    "nothing": (dict, r"^80 missing"),
}


def without(name):
    weights = network().state_dict()
    del weights[name]
    return weights


@pytest.mark.parametrize(("weights", "came"), MISFITS.values(), ids=MISFITS)
def test_weights_that_do_not_fit_are_refused_by_name(weights, came, saved):
    with pytest.raises(ClassifierError, match="not those of this network") as refusal:
        load(weights=saved(weights()))
    assert re.search(came, refusal.value.came)


def test_a_classifier_file_gives_back_what_was_written(pets):
    header, classifier = read_header(pets), regard.load(pets)
    assert header == HEADER
    assert (classifier.name, classifier.outputs, classifier.labels) == ("two pets", "sigmoid", ["cat", "dog, puppy"])
    preparation = regard.Preparation((64, 96), (0.1, 0.2, 0.3), (1, 2, 3), fit="squash", crop=1.0)
    assert classifier.preparation == preparation
    plain = regard.Classifier(network("test_resnet", 2), preparation, outputs="sigmoid")
    assert classifier.hash == plain.hash
    pixels = pixels_of(2, (64, 96))
    same(classifier(pixels).detach(), plain(pixels).detach(), 1e-5)
    assert regard.load(str(pets), labels=["a", "b"], outputs="softmax").labels == ["a", "b"]


def test_a_header_is_json_that_other_programs_can_read(pets):
    with safe_open(str(pets), framework="np") as file:
        header = json.loads(file.metadata()["regard"])
    assert (header["format"], header["format_version"]) == (FORMAT, FORMAT_VERSION)
    assert header["about"] == HEADER.about


@pytest.mark.parametrize("arguments", [{"weights": "other.pth"}, {"num_classes": 3}], ids=str)
def test_a_classifier_file_brings_its_own_weights_and_arguments(pets, arguments):
    with pytest.raises(ClassifierError, match="brings its own weights and arguments") as refusal:
        regard.load(pets, **arguments)
    assert refusal.value.came == next(iter(arguments))


def headed(**changes):
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, **vars(HEADER)} | changes
    return save({"weight": torch.ones(1)}, metadata={"regard": json.dumps(header)})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (headed(format_version=FORMAT_VERSION + 1), "newer regard"),
        (headed(format="regard.explanation"), "does not say which network"),
        (save({"weight": torch.ones(1)}), "does not say which network"),
        (save({"weight": torch.ones(1)}, metadata={"regard": "{"}), "not a readable safetensors file"),
        (save({"weight": torch.ones(1)}, metadata={"regard": "[1]"}), None),
        (save({"weight": torch.ones(1)}, metadata={"regard": json.dumps({"format": FORMAT})}), None),
        (
            save({"weight": torch.ones(1)}, metadata={"regard": json.dumps({"format": FORMAT, "format_version": 1})}),
            None,
        ),
        (b"", "not a readable safetensors file"),
        (b"not a tensor in sight", "not a readable safetensors file"),
    ],
    ids=["newer", "other kind", "bare", "no JSON", "list", "no version", "no fields", "empty", "text"],
)
def test_a_file_that_is_no_classifier_is_refused(content, problem, saved):
    with pytest.raises(FileFormatError, match=problem) as refusal:
        regard.load(saved(content, "classifier.safetensors"))
    assert "classifier.safetensors" in str(refusal.value)


def test_a_header_for_other_weights_is_refused(tmp_path):
    write_classifier(tmp_path / "mixed.safetensors", HEADER, network("test_vit", 2).state_dict())
    with pytest.raises(ClassifierError, match="not those of this network"):
        regard.load(tmp_path / "mixed.safetensors")
    write_classifier(
        tmp_path / "labels.safetensors", replace(HEADER, labels=["cat"]), network("test_resnet", 2).state_dict()
    )
    with pytest.raises(ClassifierError, match="labels do not fit"):
        regard.load(tmp_path / "labels.safetensors")
