"""Files of BR-NPA classifiers: what was saved is loaded whole, to the same bits, and what cannot be is refused."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import regard
from regard.attention.poolings import pooling_called
from regard.cli.description import description, in_words
from regard.errors import ClassifierError, FileFormatError, UnsupportedError
from regard.models.files import FORMAT_VERSION, read_header, read_weights, write_classifier
from regard.models.head import HeadForm, with_head
from regard.models.high_resolution import high_resolution
from regard.models.saved import save_classifier

from ..explainers.networks import TOKENS_ALIKE, classifier_of, cnn, loud, pixels_of, vit

LABELS = ["ant", "bee", "cat"]
pytestmark = TOKENS_ALIKE


def of_timm(name, **settings):
    backbone = regard.load(name, pretrained=False)
    loud(backbone.network)
    return regard.BRNPAClassifier(backbone, LABELS, **settings)


def of_own(network=None, **settings):
    backbone = settings.pop("backbone", {})
    return regard.BRNPAClassifier(classifier_of(cnn() if network is None else network, **backbone), LABELS, **settings)


def pooled_of(backbone):
    return regard.BRNPAClassifier(backbone, LABELS)


def trained(classifier):
    """With other weights everywhere than those it was made of, as after training."""
    loud(classifier.network, seed=3)
    loud(classifier.head, seed=4)
    return classifier


def compared(pooling, **settings):
    """With another pooling in the place of representatives, as what BR-NPA is compared with."""
    classifier = of_own(count=settings.get("count", 1))
    classifier.network.pooling = loud(pooling_called(pooling, **settings))
    return classifier


def same_bits(one, other):
    pixels = one.picture(noise=True).expand(2, -1, -1, -1) * torch.tensor([1.0, 0.5])[:, None, None, None]
    assert torch.equal(one(pixels), other(pixels))
    assert torch.equal(one.embed(pixels), other.embed(pixels))
    assert one.hash == other.hash
    assert type(other) is regard.BRNPAClassifier
    for name in ("labels", "name", "precision", "backbone_source", "grid", "outputs"):
        assert getattr(one, name) == getattr(other, name), name
    return True


# make, the network that the file needs to be given
ROUND_TRIPS = {
    "CNN of timm, dilated": (lambda: of_timm("timm:test_efficientnet", strides=(1, 1), count=2), None),
    "CNN of timm": (lambda: of_timm("timm:test_resnet", dropout=0.25, bias=True), None),
    "ViT of timm, finer patches": (lambda: of_timm("timm:test_vit", strides=8), None),
    "ViT of timm, an earlier block": (lambda: of_timm("timm:test_vit", layer="blocks.1"), None),
    "own CNN": (lambda: of_own(strides=1, select="random", seed=9), cnn),
    "own ViT": (lambda: of_own(vit(), strides=4, weights="softmax", temperature=0.5), vit),
    "own ViT without a head": (lambda: of_own(vit(num_classes=0), negative="signed"), lambda: vit(3, num_classes=0)),
    "a student of a student": (lambda: regard.BRNPAClassifier(of_timm("timm:test_resnet", strides=1), LABELS), None),
    "a finer student of a student": (
        lambda: regard.BRNPAClassifier(of_timm("timm:test_efficientnet", strides=1), LABELS, strides=(1, 1)),
        None,
    ),
    "an own student of a student": (lambda: regard.BRNPAClassifier(of_own(strides=1), LABELS, count=2), cnn),
    "a finer classifier": (lambda: pooled_of(high_resolution(regard.load("timm:test_vit", pretrained=False), 8)), None),
    "a finer classifier of one's own": (lambda: pooled_of(high_resolution(classifier_of(cnn()), 1)), cnn),
    "autocast": (lambda: of_own(vit(), backbone={"precision": "bfloat16"}), vit),
    "half precision": (lambda: of_own(vit().bfloat16(), strides=4), vit),
    "double precision": (lambda: of_own(cnn().double()), cnn),
    "measurements": (lambda: of_own(outputs="scalar", refine=False), cnn),
    "bilinear attention": (lambda: compared("bilinear", channels=8, count=2), cnn),
    "mean": (lambda: compared("mean"), cnn),
}


@pytest.mark.parametrize(("make", "network"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_what_was_saved_is_loaded_to_the_same_bits(make, network, tmp_path):
    classifier = trained(make())
    save_classifier(classifier, tmp_path / "mine.safetensors", {"summary": "a test"})
    given = {} if network is None else {"network": network()}
    state = torch.get_rng_state()
    loaded = regard.load(tmp_path / "mine.safetensors", **given)
    assert torch.equal(torch.get_rng_state(), state)
    assert same_bits(classifier, loaded)
    assert repr(loaded.network) == repr(classifier.network)
    assert (loaded.tokens is None) == (classifier.tokens is None)
    save_classifier(loaded, tmp_path / "again.safetensors", {"summary": "a test"})
    assert read_header(tmp_path / "again.safetensors") == read_header(tmp_path / "mine.safetensors")


@pytest.fixture
def file(tmp_path):
    save_classifier(trained(of_own(strides=1)), tmp_path / "mine.safetensors", {})
    return tmp_path / "mine.safetensors"


def test_another_process_loads_the_same_bits(tmp_path):
    classifier = trained(of_timm("timm:test_vit", strides=8))
    path, pixels = tmp_path / "mine.safetensors", classifier.picture(noise=True)
    save_classifier(classifier, path, {})
    save_file({"pixels": pixels}, tmp_path / "pixels.safetensors")
    script = (
        "import torch, regard, sys; from safetensors.torch import load_file, save_file; torch.set_num_threads(1);"
        "loaded = regard.load(sys.argv[1]); logits = loaded(load_file(sys.argv[2])['pixels']).detach();"
        "save_file({'logits': logits}, sys.argv[3]); print(loaded.hash)"
    )
    paths = [str(path), str(tmp_path / "pixels.safetensors"), str(tmp_path / "logits.safetensors")]
    ran = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == classifier.hash
    assert torch.equal(load_file(paths[2])["logits"], classifier(pixels))


def test_the_network_that_is_given_stays_at_its_own_strides_and_weights(file):
    given = cnn(seed=5)
    weights = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    loaded = regard.load(file, network=given)
    assert loaded.grid == (32, 32)
    assert given[3].stride == 2
    assert isinstance(given[8], nn.Linear)
    assert all(torch.equal(weights[name], tensor) for name, tensor in given.state_dict().items())


def test_the_header_says_how_all_of_it_is_built(tmp_path):
    classifier = of_timm("timm:test_efficientnet", strides=(2, 1), count=2, dropout=0.5, seed=3)
    save_classifier(classifier, tmp_path / "mine.safetensors", {})
    header = read_header(tmp_path / "mine.safetensors")
    assert (header.architecture, header.removed, header.labels) == ("timm:test_efficientnet", "classifier", LABELS)
    assert HeadForm(**header.head) == HeadForm("linear", classifier.width, 3, bias=False)
    settings = {"select": "norm", "refine": True, "weights": "sum", "temperature": 1.0, "negative": "clamp"}
    assert header.finer == [{"strides": [2, 1], "dilation": True}]
    assert header.pooled == {
        "grid": [10, 10],
        "layer": "bn2",
        "at": "output",
        "channels": "first",
        "tokens": None,
        "pooling": {"name": "representative", "count": 2, **settings, "detach": False},
        "dropout": 0.5,
        "seed": 3,
    }


def rewritten(file, weights=None, **changes):
    write_classifier(file, replace(read_header(file), **changes), read_weights(file) if weights is None else weights)
    return file


def pooled_with(**changes):
    return lambda file: rewritten(file, pooled=read_header(file).pooled | changes)


def pooling_with(**changes):
    return lambda file: rewritten(
        file, pooled=read_header(file).pooled | {"pooling": read_header(file).pooled["pooling"] | changes}
    )


def finer_by(strides, dilation=False):
    return lambda file: rewritten(file, finer=[{"strides": strides, "dilation": dilation}])


def cut(file):
    weights = read_weights(file)
    return rewritten(file, {name: tensor for name, tensor in weights.items() if name != "head.weight"})


TOKENS = {"blocks": ["0"], "attentions": ["0"], "attention_input": {"layer": "0"}, "prefix": 1, "reads": [0]}
DAMAGED = {
    "more representatives": (pooling_with(count=5), FileFormatError, "5 vectors for a head of 24 numbers"),
    "fewer representatives": (pooling_with(count=2), ClassifierError, "does not read these representatives"),
    "as many as numbers": (pooling_with(count=24), ClassifierError, "does not read these representatives"),
    "representatives without end": (pooling_with(count=10**9), FileFormatError, "1000000000 vectors for a head"),
    "no representative": (pooling_with(count=0), ClassifierError, "number of representatives"),
    "no such setting": (pooling_with(colour="red"), ClassifierError, "has no such settings: colour"),
    "no such pooling": (pooling_with(name="best"), ClassifierError, "no such pooling: 'best'"),
    "another pooling": (
        lambda file: pooled_with(pooling={"name": "bilinear", "channels": 8, "count": 3})(file),
        *(ClassifierError, "not those of this network"),
    ),
    "a pooling that cannot be": (
        pooled_with(pooling={"name": "bilinear", "channels": -8, "count": 3}),
        *(ClassifierError, "counted from 1"),
    ),
    "strides that do not divide": (finer_by([3]), ClassifierError, "cannot move by 3"),
    "strides that are not there": (finer_by([1, 1, 1]), ClassifierError, "shrinks its grid less often"),
    "strides of text": (finer_by("1"), ClassifierError, "strides are whole numbers"),
    "strides of a number": (finer_by(1), FileFormatError, "damaged"),
    "a dilation of text": (finer_by([1], "yes"), ClassifierError, "dilation='yes'"),
    "strides without a name": (lambda file: rewritten(file, finer=[[1]]), FileFormatError, "damaged"),
    "strides left out": (lambda file: rewritten(file, finer=[]), ClassifierError, "16×16"),
    "another grid": (pooled_with(grid=[32, 16]), ClassifierError, "another grid than they were"),
    "a grid of text": (pooled_with(grid="32×32"), ClassifierError, "grid='32×32'"),
    "a grid of a number": (pooled_with(grid=32), FileFormatError, "damaged"),
    "no such layer": (pooled_with(layer="9"), ClassifierError, "no layer '9'"),
    "a layer without a name": (pooled_with(layer=9), ClassifierError, "layer=9"),
    "no such place": (pooled_with(at="middle"), ClassifierError, "at='middle'"),
    "no such channels": (pooled_with(channels="second"), ClassifierError, "channels='second'"),
    "tokens of a list": (pooled_with(tokens=[1]), FileFormatError, "damaged"),
    "tokens without patches": (pooled_with(tokens=TOKENS), FileFormatError, "damaged"),
    "tokens of no pixels": (pooled_with(tokens=TOKENS | {"patch": [0, 8]}), ClassifierError, r"patch=\(0, 8\)"),
    "dropout of all": (pooled_with(dropout=1.5), ClassifierError, "dropout is a share"),
    "a seed of text": (pooled_with(seed="3"), ClassifierError, "a seed is a whole number"),
    "surplus": (pooled_with(code="x"), FileFormatError, "damaged"),
    "nothing": (lambda file: rewritten(file, pooled={}), FileFormatError, "damaged"),
    "a list": (lambda file: rewritten(file, pooled=[1]), FileFormatError, "damaged"),
    "weights left out": (cut, ClassifierError, "1 missing"),
    "a head of two layers": (
        lambda file: rewritten(file, head={"kind": "mlp", "width": 24, "classes": 3, "hidden": 4}),
        *(ClassifierError, "not those of this network"),
    ),
}


@pytest.mark.parametrize(("damage", "error", "said"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_header_is_refused_with_what_is_wrong(damage, error, said, file):
    with pytest.raises(error, match=said):
        regard.load(damage(file), network=cnn())


def test_strides_of_other_positions_than_the_weights_have_are_refused(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_classifier(of_timm("timm:test_vit", strides=8), path, {})
    with pytest.raises(ClassifierError, match=r"network.backbone|backbone.pos_embed is \(1, 401, 64\), not"):
        regard.load(finer_by([4])(path))


def test_other_networks_than_the_backbone_are_refused(file):
    with pytest.raises(ClassifierError, match="did not build the network"):
        regard.load(file)
    with pytest.raises(ClassifierError, match="is not that of"):
        regard.load(file, network=vit())


def test_what_a_file_cannot_hold_is_not_written(tmp_path):
    classifier = of_own(select=lambda features, left, rank: left)
    with pytest.raises(ClassifierError, match="cannot hold the function that selects"):
        save_classifier(classifier, tmp_path / "mine.safetensors", {})
    classifier = of_own()
    classifier.network.pooling = nn.Identity()
    with pytest.raises(UnsupportedError, match="has no name"):
        save_classifier(classifier, tmp_path / "mine.safetensors", {})
    assert not list(tmp_path.iterdir())


def test_files_of_version_2_are_read(tmp_path):
    """As they were written before pooled networks: heads always had a bias, and nobody said so."""
    backbone, head = vit(num_classes=0), loud(nn.Linear(24, 3))
    classifier = classifier_of(backbone, head=head, labels=LABELS)
    weights = {f"network.{name}": tensor for name, tensor in backbone.state_dict().items()}
    weights |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    header = {
        "format": "regard.classifier",
        "format_version": 2,
        "name": "old",
        "architecture": "",
        "arguments": {},
        "preparation": classifier.preparation.to_dict(),
        "outputs": "softmax",
        "labels": LABELS,
        "about": {},
        "removed": None,
        "head": {"kind": "linear", "width": 24, "classes": 3, "hidden": None},
        "precision": "float32",
    }
    save_file(weights, tmp_path / "old.safetensors", metadata={"regard": json.dumps(header)})
    loaded = regard.load(tmp_path / "old.safetensors", network=vit(num_classes=0))
    assert type(loaded) is regard.Classifier
    torch.testing.assert_close(loaded(pixels_of()), classifier(pixels_of()))
    assert FORMAT_VERSION == 3  # so that a regard that knows no pooled networks refuses their files


def test_a_plain_classifier_of_a_finer_grid_is_saved_and_loaded_with_it(tmp_path):
    backbone = high_resolution(regard.load("timm:test_resnet", pretrained=False, num_classes=0), (1, 1))
    head = loud(nn.Linear(backbone.width, 3))
    classifier = with_head(backbone, head, labels=LABELS, outputs="softmax", name="finer")
    save_classifier(classifier, tmp_path / "mine.safetensors", {})
    loaded = regard.load(tmp_path / "mine.safetensors")
    assert read_header(tmp_path / "mine.safetensors").pooled is None
    assert loaded.source == backbone.source
    assert loaded.hash == classifier.hash
    assert torch.equal(loaded(loaded.picture(noise=True)), classifier(loaded.picture(noise=True)))


def test_a_network_of_another_grid_than_it_was_is_refused_with_a_remedy(tmp_path):
    """As an own network is whose strides someone has changed already: its weights fit all the same."""
    save_classifier(of_own(strides=1), tmp_path / "mine.safetensors", {})
    save_classifier(of_own(), tmp_path / "coarse.safetensors", {})
    finer = high_resolution(cnn(), 1, frame=32)
    with pytest.raises(ClassifierError, match="32×32") as told:
        regard.load(tmp_path / "coarse.safetensors", network=finer)
    assert "before its grid was made finer" in told.value.remedy
    assert regard.load(tmp_path / "mine.safetensors", network=cnn()).grid == (32, 32)


def test_it_is_described_with_its_grid_and_strides(monkeypatch):
    monkeypatch.setattr("regard.cli.description._methods", lambda _: [])  # which methods explain it takes seconds
    described = description(of_own(strides=1, dilation=True, count=2))
    assert described["representatives"] == {
        "pooling": "representative",
        "count": 2,
        "grid": (32, 32),
        "layer": "5",
        "finer": [{"strides": (1,), "dilation": True}],
        "settings": described["representatives"]["settings"],
    }
    assert in_words(described) == "2 vectors by representative pooling of 5, a grid of 32×32; strides 1, dilated"
    assert description(classifier_of(cnn()))["representatives"] is None
