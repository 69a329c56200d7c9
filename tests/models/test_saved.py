"""Files of backbone and head: what cannot be written or read is refused, and nothing half-written stays."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save
from torch import nn

import regard
from regard.errors import ClassifierError, FileFormatError
from regard.models.files import Header, read_header, read_weights, write_classifier
from regard.models.head import HeadForm, backbone_of, form_of, without_layer
from regard.models.saved import save_classifier

from ..explainers.networks import classifier_of, cnn, loud, mlp_head, pixels_of, same, vit


def headed(network=None, head=None, **settings):
    head = loud(nn.Linear(24, 3)) if head is None else head
    return classifier_of(vit(num_classes=0) if network is None else network, head=head, **settings)


@pytest.fixture
def file(tmp_path):
    save_classifier(headed(labels=["a", "b", "c"]), tmp_path / "mine.safetensors", {"summary": "a test"})
    return tmp_path / "mine.safetensors"


def rewritten(file, weights=None, **changes):
    write_classifier(file, replace(read_header(file), **changes), read_weights(file) if weights is None else weights)
    return file


def test_what_was_written_is_read(file):
    loaded = regard.load(file, network=vit(seed=7, num_classes=0))
    same(loaded(pixels_of()), headed()(pixels_of()), 1e-6)
    assert loaded.hash == headed().hash
    assert read_header(file).about == {"summary": "a test"}
    assert regard.load(file, network=vit(num_classes=0), labels=["x", "y", "z"]).labels == ["x", "y", "z"]


def test_the_network_that_is_given_is_not_filled_itself(file):
    given = vit(seed=7, num_classes=0)
    weights = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    regard.load(file, network=given)
    assert all(torch.equal(weights[name], tensor) for name, tensor in given.state_dict().items())


def test_reading_a_file_draws_nothing_from_the_caller_s_random_numbers(file, tmp_path):
    built = regard.load("timm:test_vit", pretrained=False, num_classes=0)
    save_classifier(
        regard.Classifier(built.network, built.preparation, head=loud(nn.Linear(built.width, 3)), source=built.source),
        tmp_path / "built.safetensors",
        {},
    )
    whole = Header("a network", "timm:test_vit", {"num_classes": 4}, built.preparation.to_dict(), "softmax", None, {})
    network = regard.load("timm:test_vit", pretrained=False, num_classes=4).network
    write_classifier(tmp_path / "whole.safetensors", whole, network.state_dict())
    given, state = vit(num_classes=0), torch.get_rng_state()
    regard.load(file, network=given)
    assert torch.equal(torch.get_rng_state(), state)
    regard.load(tmp_path / "built.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    regard.load(tmp_path / "whole.safetensors")
    assert torch.equal(torch.get_rng_state(), state)


class Mixed(nn.Module):
    """A half-precision body, with a buffer that files leave out, under a norm in float32."""

    def __init__(self, dtype):
        super().__init__()
        self.body, self.norm = nn.Sequential(nn.Flatten(), nn.Linear(3072, 24)).to(dtype), nn.LayerNorm(24)
        self.register_buffer("shift", torch.full((24,), 0.1, dtype=dtype), persistent=False)

    def forward(self, pixels):
        return self.norm((self.body(pixels) + self.shift).float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_keep_their_precision_also_where_layers_differ(dtype, tmp_path):
    saved = headed(Mixed(dtype))
    save_classifier(saved, tmp_path / "mine.safetensors", {})
    loaded = regard.load(tmp_path / "mine.safetensors", network=Mixed(torch.float32))
    assert (loaded.network.body[1].weight.dtype, loaded.network.norm.weight.dtype) == (dtype, torch.float32)
    assert loaded.network.shift.dtype is dtype
    same(loaded(pixels_of()), saved(pixels_of()), 1e-3)


def test_tied_weights_are_written(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 24), nn.Linear(24, 24), nn.Linear(24, 24))
    network[3].weight = network[2].weight
    save_classifier(headed(loud(network)), tmp_path / "mine.safetensors", {})
    loaded = regard.load(tmp_path / "mine.safetensors", network=network)
    same(loaded(pixels_of()), headed(network)(pixels_of()), 1e-6)
    assert loaded.network[3].weight is loaded.network[2].weight


@pytest.mark.parametrize(
    ("form", "head"),
    [
        (HeadForm("linear", 4, 2), nn.Linear(4, 2)),
        (HeadForm("linear", 4, 2, bias=False), nn.Linear(4, 2, bias=False)),
        (HeadForm("mlp", 4, 2, 3), nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2))),
        (HeadForm("mlp", 4, 2, 3, False), nn.Sequential(nn.Linear(4, 3, False), nn.GELU(), nn.Linear(3, 2, False))),
    ],
    ids=["linear", "linear without bias", "mlp", "mlp without biases"],
)
def test_the_form_of_a_head_builds_it_again(form, head):
    assert form_of(head) == form
    assert repr(form.build()) == repr(head)


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.Linear(24, 4, bias=False), nn.GELU(), nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(24, 3)),
        nn.Sequential(nn.Linear(24, 4), nn.GELU("tanh"), nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(24, 4), nn.ReLU(), nn.Linear(4, 3)),
        mlp_head(3),
    ],
    ids=["one bias", "wrapped", "another GELU", "ReLU", "tanh"],
)
def test_a_head_of_another_form_is_not_written(head, tmp_path):
    with pytest.raises(ClassifierError, match="cannot say how this head is built"):
        save_classifier(headed(head=head), tmp_path / "mine.safetensors", {})
    assert not list(tmp_path.iterdir())


def test_no_head_another_ending_and_arguments_that_are_no_json_are_not_written(tmp_path):
    with pytest.raises(ClassifierError, match="no head apart"):
        save_classifier(classifier_of(vit()), tmp_path / "mine.safetensors", {})
    with pytest.raises(ClassifierError, match="a classifier file ends in"):
        save_classifier(headed(), tmp_path / "mine.pth", {})
    classifier = headed()
    classifier.source = regard.models.files.Source("timm:test_vit", {"act_layer": nn.GELU})
    with pytest.raises(ClassifierError, match="cannot say how this network is built"):
        save_classifier(classifier, tmp_path / "mine.safetensors", {})
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_once_the_new_one_is_whole(file, monkeypatch):
    before = file.read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_classifier(headed(), file, {"summary": "another"})
    assert file.read_bytes() == before


WRONG = {
    "no network": (lambda file: regard.load(file), "did not build the network"),
    "another network": (lambda file: regard.load(file, network=cnn()), "not those of this network"),
    "no such layer": (
        lambda file: regard.load(rewritten(file, removed="fc.last"), network=vit(num_classes=0)),
        "no layer|is not that of",
    ),
    "weights": (lambda file: regard.load(file, network=vit(), weights=file), "brings its own weights"),
    "a name": (lambda file: regard.load("regard:vit-small", network=vit()), "brings its own network"),
    "fewer classes": (
        lambda file: regard.load(
            rewritten(file, head={"kind": "linear", "width": 24, "classes": 2}), network=vit(num_classes=0)
        ),
        "not those of this network",
    ),
}


@pytest.mark.parametrize(("load", "problem"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_a_file_is_refused(load, problem, file):
    with pytest.raises(ClassifierError, match=problem):
        load(file)


@pytest.mark.parametrize(
    "head",
    [
        {"kind": "linear"},
        {"kind": "linear", "width": 24, "classes": 3, "code": "x"},
        {"width": -4, "kind": "linear", "classes": 3},
        {"width": "24", "kind": "linear", "classes": 3},
        {"width": 10**15, "kind": "linear", "classes": 10**6},
        [1],
    ],
    ids=["no sizes", "surplus", "negative", "text", "huge", "list"],
)
def test_a_head_that_cannot_be_built_is_a_damaged_header(head, file):
    with pytest.raises(FileFormatError, match="damaged"):
        regard.load(rewritten(file, head=head), network=vit(num_classes=0))


def test_a_header_of_version_1_is_read(tmp_path):
    fields = {
        "name": "old",
        "architecture": "timm:test_vit",
        "arguments": {},
        "preparation": {"size": 32},
        "outputs": "softmax",
        "labels": None,
        "about": {},
    }
    text = json.dumps({"format": "regard.classifier", "format_version": 1, **fields})
    (tmp_path / "old.safetensors").write_bytes(save({"weight": torch.ones(1)}, metadata={"regard": text}))
    header = read_header(tmp_path / "old.safetensors")
    assert header == Header(**fields)
    assert (header.head, header.removed) == (None, None)


def test_a_layer_is_taken_out_of_a_copy_that_shares_the_weights():
    network = vit()
    bare = without_layer(network, "head")
    assert isinstance(bare.head, nn.Identity)
    assert network.head is not bare.head
    assert bare.norm.weight is network.norm.weight
    backbone = backbone_of(classifier_of(network))
    same(backbone(pixels_of()), classifier_of(network).embed(pixels_of()), 1e-6)
    assert (backbone.outputs, backbone.source.removed) == ("embedding", "head")


def test_a_network_that_needs_its_own_head_is_refused():
    class Doubling(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Flatten(), nn.Linear(3072, 4)

        def forward(self, pixels):
            bare = isinstance(self.head, nn.Identity)
            return self.head(self.body(pixels)) * (2 if bare else 1)

    with pytest.raises(ClassifierError, match="something else than its embedding"):
        backbone_of(classifier_of(Doubling()))
