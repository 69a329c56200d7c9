"""Classifiers by name: built, prepared and labelled as their makers did it."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

import regard
from regard.compat import import_optional
from regard.errors import ClassifierError, MissingDependencyError
from regard.models import catalog
from regard.models.files import Source

from ..explainers.networks import pixels_of

timm, transformers = import_optional("timm", "timm"), import_optional("transformers", "transformers")
torchvision = import_optional("torchvision.models", "torchvision")
data = import_optional("timm.data", "timm")


def load(**arguments):
    return regard.load("timm:test_vit", **{"pretrained": False, "num_classes": 5} | arguments)


@pytest.fixture
def offline(monkeypatch):
    """A timm that must not fetch anything."""
    create = timm.create_model

    def create_offline(name, pretrained=False, **arguments):
        if pretrained:
            raise OSError("We couldn't connect to 'https://huggingface.co'\nlong explanation")
        return create(name, pretrained=False, **arguments)

    monkeypatch.setattr(timm, "create_model", create_offline)


def test_random_weights_need_no_network_and_bring_imagenet_s_labels(offline):
    classifier = regard.load("timm:test_vit", pretrained=False)
    assert (classifier.name, classifier.class_count, classifier.outputs) == ("timm:test_vit", 1000, "softmax")
    assert [classifier.labels[place] for place in (0, 281, 999)] == [
        "tench, Tinca tinca",
        "tabby, tabby cat",
        "toilet tissue, toilet paper, bathroom tissue",
    ]
    assert not classifier.network.training


def test_weights_that_cannot_be_fetched_are_refused_with_what_works_without_a_network(offline):
    with pytest.raises(ClassifierError, match="cannot fetch timm:test_vit") as refusal:
        regard.load("timm:test_vit")
    assert refusal.value.came == "OSError: We couldn't connect to 'https://huggingface.co'"
    assert "weights=FILE" in refusal.value.remedy
    assert "pretrained=False" in refusal.value.remedy


def test_weights_of_one_s_own_need_no_network(offline, tmp_path):
    network = timm.create_model("test_vit", num_classes=5).eval()
    torch.save(network.state_dict(), tmp_path / "own.pth")
    classifier = regard.load("timm:test_vit", weights=tmp_path / "own.pth", num_classes=5)
    pixels = pixels_of(2, (160, 160))
    torch.testing.assert_close(classifier(pixels), network(pixels))


def test_arguments_that_the_network_does_not_take_are_refused():
    with pytest.raises(ClassifierError, match="cannot build timm:test_vit") as refusal:
        load(nonsense=3)
    assert "nonsense" in refusal.value.came


def test_labels_set_the_number_of_classes():
    classifier = regard.load("timm:test_vit", pretrained=False, labels=["cat", "dog", "owl"], outputs="sigmoid")
    assert (classifier.class_count, classifier.labels) == (3, ["cat", "dog", "owl"])
    assert classifier.outputs == "sigmoid"
    assert load().labels is None
    with pytest.raises(ClassifierError, match="labels do not fit"):
        load(labels=["cat", "dog"])


def test_no_classes_are_a_backbone():
    classifier = regard.load("timm:test_vit", pretrained=False, num_classes=0)
    assert (classifier.outputs, classifier.labels, classifier.class_count) == ("embedding", None, None)
    assert classifier.width == 64


@pytest.mark.parametrize("size", [64, (64, 96)])
def test_the_preparation_follows_the_size_that_the_network_is_built_for(size):
    classifier = regard.load("timm:vit_tiny_patch16_224", pretrained=False, depth=1, img_size=size)
    assert classifier.preparation.frame == ((size, size) if isinstance(size, int) else size)


def test_the_preparation_follows_the_channels_that_the_network_is_built_for():
    assert load(in_chans=1).preparation.channels == 1


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("test_vit", {}),
        ("test_resnet", {}),
        ("test_resnet", {"crop_pct": 0.8, "interpolation": "bicubic", "input_size": (3, 96, 96)}),
        ("test_resnet", {"crop_pct": 1.0, "mean": (0.1, 0.2, 0.3), "std": (0.3, 0.4, 0.5)}),
        ("test_resnet", {"input_size": (3, 48, 64)}),
        ("test_resnet", {"crop_mode": "squash", "crop_pct": 1.0}),
        ("test_resnet", {"crop_mode": "squash", "crop_pct": 0.9}),
        ("test_resnet", {"crop_mode": "border", "crop_pct": 1.0}),
        ("test_resnet", {"crop_pct": 1.15}),
    ],
    ids=str,
)
def test_the_preparation_is_timm_s_own_transform(name, changes):
    classifier = regard.load(f"timm:{name}", pretrained=False, pretrained_cfg_overlay=changes)
    transform = data.create_transform(**data.resolve_model_data_config(classifier.network), is_training=False)
    for shape in ((60, 40, 3), (333, 500, 3), (161, 160, 3), (97, 513, 3)):
        photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        torch.testing.assert_close(classifier.prepare(photo)[0], transform(photo), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "near"),
    [("test_vi", "test_vit"), ("resnet51", "resnet50"), ("vit_smal_patch16_224", "vit_small_patch16_224")],
)
def test_an_unknown_network_is_refused_with_the_nearest(name, near):
    with pytest.raises(ClassifierError, match=f"timm has no network '{name}'") as refusal:
        regard.load(f"timm:{name}")
    assert near in (refusal.value.expected or "").replace(",", " ").split()


@pytest.mark.parametrize("name", ["vit_small", "nothing.safetensors", "keras:resnet18", ""])
def test_what_is_neither_name_nor_file_is_refused_with_what_is(name):
    with pytest.raises(ClassifierError, match="neither a classifier's name nor a file") as refusal:
        regard.load(name)
    for known in ("timm:NAME", "torchvision:NAME", "transformers:NAME", "regard:NAME"):
        assert known in refusal.value.expected


def test_an_unknown_embedded_classifier_is_refused_with_those_there_are():
    with pytest.raises(ClassifierError, match="no embedded classifier 'vit-large'") as refusal:
        regard.load("regard:vit-large")
    assert refusal.value.expected == "efficientnet-lite0, vit-small"


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("regard_embedded", catalog.DEFAULT, "embedded"),
        ("timm", "timm:test_vit", "timm"),
        ("torchvision", "torchvision:resnet18", "torchvision"),
        ("transformers", "transformers:a/folder", "transformers"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch, package, name, extra):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module, *a: None if module == package else find(module, *a))
    with pytest.raises(MissingDependencyError, match=f"'{package}' is needed") as refusal:
        regard.load(name)
    assert refusal.value.remedy == f'pip install "regard[{extra}]"'
    kinds = {entry.name.partition(":")[0] for entry in catalog.listed("*")}
    assert kinds == {"regard", "timm", "torchvision"} - {name.partition(":")[0]}


@pytest.mark.parametrize(
    ("source", "make"),
    [
        (Source("timm:test_vit", {"num_classes": 3}), lambda: timm.create_model("test_vit", num_classes=3)),
        (Source("torchvision:resnet18", {"num_classes": 3}), lambda: torchvision.resnet18(num_classes=3)),
        (
            Source("transformers:ViTModel", {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3}),
            lambda: transformers.ViTModel(
                transformers.ViTConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=3)
            ),
        ),
    ],
    ids=["timm", "torchvision", "transformers"],
)
def test_a_source_is_built_again_without_any_network(source, make):
    built, expected = catalog.build(source), make()
    assert type(built) is type(expected)
    shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in (built, expected)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("", {}, "'' names no architecture"),
        ("vit_small", {}, "names no architecture"),
        ("keras:vit", {}, "names no architecture"),
        ("regard:vit-small", {}, "names no architecture"),
        ("timm:no_such_network", {}, "timm has no network"),
        ("torchvision:no_such_network", {}, "torchvision has no classification network"),
        ("torchvision:fcn_resnet50", {}, "torchvision has no classification network"),
        ("transformers:NoSuchModel", {}, "transformers has no model 'NoSuchModel'"),
        ("transformers:pipeline", {}, "transformers has no model 'pipeline'"),
        ("transformers:ViTModel", {"hidden_size": "wide"}, "cannot build transformers:ViTModel"),
        ("timm:test_vit", {"nonsense": 1}, "cannot build timm:test_vit"),
        ("torchvision:resnet18", {"nonsense": 1}, "cannot build torchvision:resnet18"),
    ],
)
def test_a_source_that_cannot_be_built_is_refused(architecture, arguments, message):
    with pytest.raises(ClassifierError, match=message):
        catalog.build(Source(architecture, arguments))


@pytest.mark.parametrize("labels", ["cat", [], 3, [1, 2], ["cat", " "], ["cat", None]], ids=repr)
@pytest.mark.parametrize("name", ["timm:test_vit", "torchvision:resnet18", "transformers:a/folder"])
def test_labels_that_are_no_list_of_names_are_refused(name, labels):
    with pytest.raises(ClassifierError, match="labels are a list of names"):
        regard.load(name, pretrained=False, labels=labels)


def test_bfloat16_converts_the_weights_that_load_itself_made():
    exact, fast = (loaded(seed=3, precision=kind) for kind in ("float32", "bfloat16"))
    assert {parameter.dtype for parameter in fast.network.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in exact.network.parameters()} == {torch.float32}
    expected, found = (classifier(pixels_of(2, (160, 160))).detach() for classifier in (exact, fast))
    assert found.dtype is torch.float32
    assert 0 < (found - expected).abs().max() < 0.05 * expected.abs().max()
    with pytest.raises(ClassifierError, match="no such precision"):
        load(precision="int8")


def loaded(seed, **settings):
    torch.manual_seed(seed)
    return load(**settings)


def test_convolutions_lie_with_channels_last_and_answer_the_same():
    classifier = regard.load("timm:test_resnet", pretrained=False, num_classes=5)
    weight = classifier.network.layer1[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    plain = timm.create_model("test_resnet", num_classes=5).eval()
    plain.load_state_dict({name: tensor.contiguous() for name, tensor in classifier.network.state_dict().items()})
    pixels = pixels_of(2, (160, 160))
    torch.testing.assert_close(classifier(pixels), plain(pixels), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ClassifierError, match="no such device") as refusal:
        load(device=device)
    assert refusal.value.came.startswith(f"{device}: ")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("regard:*", ["regard:efficientnet-lite0", "regard:vit-small"]),
        ("regard:vit", ["regard:vit-small"]),
        (
            "timm:test_vit",
            ["timm:test_vit", "timm:test_vit2", "timm:test_vit3", "timm:test_vit4", "timm:test_vit_relpos"],
        ),
        ("timm:test_vit?", ["timm:test_vit2", "timm:test_vit3", "timm:test_vit4"]),
        ("*net-lite0", ["regard:efficientnet-lite0"]),
        ("torchvision:resnet1*", ["torchvision:resnet101", "torchvision:resnet152", "torchvision:resnet18"]),
        ("torchvision:no such", []),
        ("nothing of that name", []),
    ],
)
def test_names_are_listed_by_a_pattern_or_a_part(pattern, names):
    found = [entry.name for entry in catalog.listed(pattern)]
    assert set(names) <= set(found) if pattern.startswith("timm") else found == names
    assert len(found) == len(set(found))


def test_lists_say_which_weights_there_are():
    about = {entry.name: entry.about for entry in catalog.listed("*")}
    assert about["timm:test_vit"] == "weights to fetch"
    assert about["timm:test_vit_relpos"] == "random weights only"
    assert about["torchvision:vit_b_16"] == "weights to fetch"
    assert "torchvision:fcn_resnet50" not in about
    assert "Imagenette" in about["regard:vit-small"]
    assert len(about) > 1000
    assert catalog.DEFAULT in about
