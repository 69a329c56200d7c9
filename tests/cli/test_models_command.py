"""`regard models`: what there is, what explains it, and which layers there are."""

import importlib
import json
import re
import sys

import pytest
import torch

import regard
from regard.cli.app import main
from regard.cli.description import description, in_words, parameters_of
from regard.cli.output import print_as_they_come
from regard.compat import import_optional
from regard.errors import ClassifierError
from regard.models.layers import tappable
from regard.models.taps import Place, read

from ..explainers.networks import WIDTH, classifier_of, cnn, pixels_of, vit
from ..models.folders import SQUARE, model, save


@pytest.fixture
def ask(monkeypatch, capsys):
    def asked(*arguments):
        monkeypatch.setattr(sys, "argv", ["regard", "models", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr()

    return asked


def rows(printed):
    """Rows of the tables on a pipe."""
    return [line.split("\t") for line in printed.out.splitlines()]


def test_the_embedded_ones_are_loaded_and_described(ask):
    code, printed = ask("--json")
    cnn, transformer = json.loads(printed.out)
    assert code == 0
    assert (cnn["name"], transformer["name"]) == ("regard:efficientnet-lite0", "regard:vit-small")
    assert "cdam" in transformer["methods"]
    assert "cdam" not in cnn["methods"]
    assert "grad-cam" in cnn["methods"]
    assert transformer["tokens"] == {
        "blocks": [f"blocks.{depth}" for depth in range(12)],
        "patch": [14, 14],
        "grid": [16, 16],
        "prefix": 1,
        "rows": [0],
        "pool": None,
    }
    assert (cnn["tokens"], transformer["feature_map"]) == (None, None)
    assert cnn["feature_map"]["shape"] == [1280, 7, 7]
    assert cnn["feature_map"]["layer"] in {layer["path"] for layer in cnn["layers"]}


def test_few_names_are_described_in_words(ask):
    code, printed = ask("timm:test_vit?")
    head, *found = rows(printed)
    assert (code, head) == (0, ["name", "what it is", "explained by", "where maps come from"])
    assert [row[0] for row in found] == ["timm:test_vit2", "timm:test_vit3", "timm:test_vit4"]
    assert all("cdam" in row[2].split(", ") for row in found)
    assert "8 blocks, blocks.0 to blocks.7; patches of 16×16 pixels in a grid of 10×10" in found[0][3]
    assert found[1][3].endswith("the head reads the patches, through attn_pool")


def test_many_names_are_names_alone_and_a_line_says_how_to_narrow(ask):
    code, printed = ask("timm:vit_*")
    assert code == 0
    assert rows(printed)[0] == ["name", "what it is"]
    assert "10 or fewer are described" in printed.err
    assert f"{len(rows(printed)) - 1} names" in printed.err
    _, as_json = ask("timm:vit_*", "--json")
    assert len(json.loads(as_json.out)) == len(rows(printed)) - 1


def test_torchvision_s_transformers_whose_head_begins_as_zeros_are_seen_through(ask, monkeypatch):
    network = import_optional("torchvision.models", "torchvision").VisionTransformer(32, 8, 2, 3, WIDTH, 48)
    assert not network.heads.head.weight.any()
    catalog = importlib.import_module("regard.models.catalog")
    monkeypatch.setattr(catalog, "load", lambda name, pretrained: classifier_of(network.eval()))
    _, printed = ask("torchvision:vit_b_32", "--json")
    (found,) = json.loads(printed.out)
    assert (found["tokens"]["prefix"], found["tokens"]["rows"], found["tokens"]["grid"]) == (1, [0], [4, 4])
    assert "cdam" in found["methods"]


def test_layers_are_listed_with_type_and_shape(ask):
    code, printed = ask("torchvision:resnet18", "--layers")
    table = rows(printed)
    assert code == 0
    assert "last feature map layer4 512×7×7" in table[1][3]
    assert ["torchvision:resnet18", "layer1.0.conv1", "Conv2d", "64×56×56"] in table
    assert ["torchvision:resnet18", "fc", "Linear", "1000"] in table
    assert not any(row[1:2] == ["layer1.0.relu"] for row in table)  # it runs twice, so it cannot be tapped


def test_a_folder_of_one_s_own_is_described_and_a_file_too(ask, tmp_path):
    network = model("ViT", "ViTForImageClassification", num_labels=4)
    folder = save(tmp_path / "own", network, "ViTImageProcessor", size=SQUARE)
    code, printed = ask(f"transformers:{folder}", "--json")
    (found,) = json.loads(printed.out)
    assert code == 0
    assert (found["classes"], found["tokens"]["grid"]) == (4, [4, 4])
    embedded = importlib.import_module("regard_embedded").classifiers()["efficientnet-lite0"]
    _, printed = ask(str(embedded), "--json")
    assert json.loads(printed.out)[0]["feature_map"]["shape"] == [1280, 7, 7]


def test_one_that_cannot_be_built_is_an_error_and_among_others_a_row(ask, monkeypatch, tmp_path):
    code, printed = ask(f"transformers:{tmp_path}")
    assert code == 2
    assert "cannot read the configuration" in printed.err
    catalog = importlib.import_module("regard.models.catalog")
    load = catalog.load

    def load_all_but_one(name, **arguments):
        if name == "timm:test_vit3":
            raise ClassifierError("this one is broken", came="a\nb")
        return load(name, **arguments)

    monkeypatch.setattr(catalog, "load", load_all_but_one)
    code, printed = ask("timm:test_vit[23]")
    assert (code, rows(printed)[2][3]) == (0, "this one is broken came: a b")
    assert "cdam" in rows(printed)[1][2]


@pytest.mark.parametrize("pattern", ["no such thing", "transformers:", "transformers:*", "torchvision:resnet18x"])
def test_nothing_found_is_wrong_use_and_says_what_to_install(ask, pattern):
    code, printed = ask(pattern)
    assert (code, printed.out) == (2, "")
    assert "pip install" in printed.err
    code, printed = ask(pattern, "--json")
    assert (code, json.loads(printed.out)) == (2, [])


@pytest.fixture
def sizes(monkeypatch):
    """Networks of these numbers of parameters, where they are built without memory; which were built with it."""
    given, built = {}, []
    catalog = importlib.import_module("regard.models.catalog")
    monkeypatch.setattr("regard.cli.description.parameters_of", given.get)
    load = catalog.load
    monkeypatch.setattr(catalog, "load", lambda name, **rest: built.append(name) or load(name, **rest))
    return given, built


def test_among_several_a_large_one_is_not_built_and_its_row_says_so(ask, sizes):
    given, built = sizes
    given |= {"timm:test_vit2": 100_000_000, "timm:test_vit3": 100_000_001, "timm:test_vit4": None}
    code, printed = ask("timm:test_vit[234]")
    assert (code, built) == (0, ["timm:test_vit2", "timm:test_vit4"])
    said = "too large to try among others (100 million parameters): name it alone"
    assert [row[2:] for row in rows(printed) if row[0] == "timm:test_vit3"] == [["", said]]
    assert "building timm:test_vit2: 100 million parameters" in printed.err
    assert "test_vit4" not in printed.err
    _, printed = ask("timm:test_vit[234]", "--json")
    assert [entry.get("problem") for entry in json.loads(printed.out)] == [None, said, None]


def test_a_large_one_named_alone_is_described_and_said_to_be_built(ask, sizes):
    given, built = sizes
    given["timm:test_vit3"] = 1_136_000_000
    code, printed = ask("timm:test_vit3")
    assert (code, built) == (0, ["timm:test_vit3"])
    assert "cdam" in rows(printed)[1][2]
    assert "building timm:test_vit3: 1136 million parameters" in printed.err


def test_parameters_are_counted_without_memory_and_a_network_that_cannot_be_is_none():
    class ReadsWhileBuilt(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = torch.ones(1).item()  # linspace would not do: transformers exchanges it

    assert parameters_of("torchvision:vit_b_16") == 86_567_656  # as torchvision's documentation has it
    assert parameters_of("timm:vit_giant_patch14_dinov2") == 1_136_479_232  # 1.1 billion, as its makers say
    assert parameters_of("timm:no_such_network") is None
    assert parameters_of("regard:vit-small") is None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("regard.models.catalog.build", lambda _: ReadsWhileBuilt())
        assert parameters_of("timm:resnet18") is None


def test_rows_are_printed_as_they_come(ask, monkeypatch, capsys):
    catalog = importlib.import_module("regard.models.catalog")
    load, before = catalog.load, {}

    def watched(name, **rest):
        before[name] = capsys.readouterr().out
        return load(name, **rest)

    monkeypatch.setattr(catalog, "load", watched)
    ask("timm:test_vit[23]")
    assert before["timm:test_vit2"] == ""
    assert before["timm:test_vit3"].startswith("name\t")
    assert "timm:test_vit2\t" in before["timm:test_vit3"]


def test_on_a_terminal_rows_that_come_one_by_one_stand_in_the_same_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_as_they_come(["a", "b"], iter([["x", "long word " * 4], ["y" * 30, "z"]]), (1, 1))
    printed = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert {line.find(mark) for line in printed for mark in ("long", "z") if mark in line} == {printed[0].index("b")}
    assert "".join(line.split(" ")[0] for line in printed[-2:]) == "y" * 30


@pytest.mark.parametrize(
    ("name", "label"), [("regard:vit-small", "French horn"), ("torchvision:resnet18", "electric ray")]
)
def test_the_labels_of_one_are_listed(ask, name, label):
    _, printed = ask(name, "--labels", "--json")
    assert json.loads(printed.out)["5"] == label
    _, printed = ask(name, "--labels")
    assert ["5", label] in rows(printed)


@pytest.mark.parametrize("make", [vit, cnn])
def test_every_layer_listed_can_be_tapped_and_gives_that_shape(make):
    network = make()
    classifier = classifier_of(network)
    layers = tappable(classifier)
    paths = [layer.path for layer in layers]
    tensors, _ = read(network, [Place(path) for path in paths], lambda: network(pixels_of(1)))
    assert [tuple(tensor.shape[1:]) for tensor in tensors] == [layer.shape for layer in layers]
    assert len(set(paths)) == len(paths) > 8


def test_a_layer_that_runs_twice_or_gives_no_tensor_is_not_listed():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.pair, self.none = torch.nn.ReLU(), Pair(), NoTensor()
            self.head = torch.nn.Linear(3, 2)

        def forward(self, pixels):
            first, _ = self.pair(self.relu(self.relu(pixels)))
            self.none(pixels)
            return self.head(first.mean(dim=(2, 3)))

    class Pair(torch.nn.Module):
        def forward(self, pixels):
            return pixels * 2, "other"

    class NoTensor(torch.nn.Module):
        def forward(self, pixels):
            return {"a": pixels}

    layers = tappable(classifier_of(Twice()))
    assert [(layer.path, layer.shape) for layer in layers] == [("pair", (3, 32, 32)), ("head", (2,))]


def test_looking_leaves_no_trace():
    network = vit().train()
    classifier = classifier_of(network)
    random = torch.get_rng_state()
    description(classifier)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.get_rng_state().equal(random)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ({"rows": (0,), "pool": None}, "token 0"),
        ({"rows": (0, 1), "pool": None}, "tokens 0, 1"),
        ({"rows": None, "pool": None}, "the patches"),
    ],
)
def test_what_the_head_reads_is_said_in_words(tokens, words):
    whole = {"blocks": ("a", "b"), "patch": (8, 4), "grid": (2, 3), "prefix": 2} | tokens
    said = in_words({"tokens": whole, "feature_map": None})
    assert said == f"2 blocks, a to b; patches of 8×4 pixels in a grid of 2×3, prefix tokens: 2; the head reads {words}"


def test_a_network_without_tokens_or_features_is_said_to_have_neither():
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 5))
    described = description(classifier_of(plain))
    assert in_words(described) == "neither tokens nor a feature map that carries the decision"
    assert {"random", "centre"} <= set(described["methods"])
    assert not {"cdam", "grad-cam"} & set(described["methods"])
    assert described["frame"] == regard.Preparation(size=32).frame
