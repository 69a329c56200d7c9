"""The file of a trained attention: papers/tame.md, check 40, and all that a file can be instead."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import regard
from regard.errors import FileFormatError, RegardError
from regard.explainers.trained_attention import FORMAT_VERSION, TrainedAttention, read_card

from ..attention.fusions import VARIANTS
from .attentions import drawn
from .networks import classifier_of, cnn, pixels_of, vit


@pytest.fixture(scope="module")
def classifier():
    return classifier_of(vit(), labels=list("abcde"))


def header_of(file):
    with safe_open(str(file), framework="pt") as opened:
        return json.loads(opened.metadata()["regard"])


def rewritten(file, changes=None, weights=None):
    """The same file with other words in its header, or other weights."""
    header = {**header_of(file), **(changes or {})}
    kept = {name: value for name, value in header.items() if value != "left out"}
    save_file(load_file(file) | (weights or {}), file, metadata={"regard": json.dumps(kept)})


@pytest.mark.parametrize("make", [cnn, vit], ids=["cnn", "vit"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_gives_back_every_bit(make, variant, tmp_path):
    classifier, file = classifier_of(make()), tmp_path / "it.safetensors"
    gated = make is vit and variant == "tame"
    made = regard.TAME(classifier, drawn(classifier, variant, gated=gated))
    made.save(file)
    loaded = regard.TAME.load(file, classifier)
    before, after = made.trained.attention.state_dict(), loaded.trained.attention.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loaded.trained.card == made.trained.card
    assert loaded(pixels_of(), [0, 3]).maps.equal(made(pixels_of(), [0, 3]).maps)
    assert loaded.settings == made.settings
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_smoothing_and_places_are_kept(classifier, tmp_path):
    for number, trained in enumerate((drawn(classifier, smoothing=1), drawn(classifier, at="block"))):
        regard.TAME(classifier, trained).save(tmp_path / f"{number}")
        loaded = regard.TAME.load(tmp_path / f"{number}", classifier)
        assert loaded.trained.card == trained.card
        assert loaded.trained.layers == trained.layers
        assert loaded(pixels_of(), 1).maps.equal(regard.TAME(classifier, trained)(pixels_of(), 1).maps)
    plain = regard.TAME(classifier, drawn(classifier))(pixels_of(), 1).maps
    assert not regard.TAME.load(tmp_path / "0", classifier)(pixels_of(), 1).maps.equal(plain)


@pytest.mark.parametrize("variant", ["tame", "tied"])
def test_a_file_holds_the_attention_s_weights_and_no_others(classifier, variant, tmp_path):
    file = tmp_path / "it.safetensors"
    trained = drawn(classifier, variant)
    trained.save(file)
    stored = load_file(file)
    assert stored.keys() == trained.attention.state_dict().keys()
    numbers = sum(parameter.numel() for parameter in trained.attention.parameters())
    assert file.stat().st_size < 1.01 * 4 * numbers + 1_000_000
    for weight in classifier.network.parameters():
        assert not any(tensor.shape == weight.shape and tensor.equal(weight) for tensor in stored.values())


def test_a_file_without_what_came_later_is_read(classifier, tmp_path):
    file = tmp_path / "it.safetensors"
    drawn(classifier).save(file)
    rewritten(file, {"smoothing": "left out"})
    assert read_card(file).smoothing == 0
    assert regard.TAME.load(file, classifier)(pixels_of(), 1).maps.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "problem", "came"),
    [
        ({"format": "regard.classifier"}, "holds no trained attention", "regard.classifier"),
        ({"format": "left out"}, "holds no trained attention", "no regard header"),
        ({"format_version": FORMAT_VERSION + 1}, "written by a newer regard", None),
        ({"variant": "left out"}, "damaged", "no 'variant'"),
        ({"variant": "other"}, "damaged", "no such variant"),
        ({"variant": ["tame"]}, "damaged", None),
        ({"layers": 3}, "damaged", None),
        ({"layers": [["blocks.0", "middle"], ["blocks.1", "output"]]}, "damaged", "of another kind"),
        ({"layers": [["blocks.0", "output"]]}, "damaged", "of another kind"),
        ({"layers": [["blocks.0", "output"], ["nowhere", "output"]]}, "damaged", "no layer 'nowhere'"),
        ({"channels": [24, "many"]}, "damaged", "of another kind"),
        ({"channels": [24, -24]}, "damaged", "of another kind"),
        ({"classes": 0}, "damaged", None),
        ({"classes": True}, "damaged", "of another kind"),
        ({"photos_of_class": [1, 2]}, "damaged", "of another kind"),
        ({"training": None}, "damaged", "of another kind"),
        ({"gated": 1}, "damaged", "of another kind"),
        ({"smoothing": -1}, "damaged", "of another kind"),
        ({"channels": [24, 23]}, "not those that its header describes", None),
        ({"variant": "no-skip-no-norm"}, "not those that its header describes", "branches.0.norm.bias"),
    ],
)
def test_a_header_that_says_something_else_is_refused_in_words(changes, problem, came, classifier, tmp_path):
    file = tmp_path / "it.safetensors"
    drawn(classifier).save(file)
    rewritten(file, changes)
    with pytest.raises(FileFormatError, match=problem) as refusal:
        regard.TAME.load(file, classifier)
    assert came is None or came in refusal.value.came


@pytest.mark.parametrize(
    ("weights", "came"),
    [
        ({"fuser.bias": torch.zeros(4)}, "fuser.bias: float32 (4,)"),
        ({"fuser.bias": torch.zeros(5, dtype=torch.float64)}, "fuser.bias: float64 (5,)"),
        ({"a.weight": torch.zeros(1)}, "a.weight: float32 (1,)"),
        ({"fuser.bias": torch.full((5,), torch.nan)}, "fuser.bias"),
    ],
)
def test_other_weights_than_the_header_describes_are_refused(weights, came, classifier, tmp_path):
    file = tmp_path / "it.safetensors"
    drawn(classifier).save(file)
    rewritten(file, weights=weights)
    with pytest.raises(FileFormatError, match="the weights in") as refusal:
        regard.TAME.load(file, classifier)
    assert refusal.value.came == came


def test_a_missing_tensor_is_refused(classifier, tmp_path):
    file = tmp_path / "it.safetensors"
    drawn(classifier).save(file)
    weights = load_file(file)
    del weights["fuser.weight"]
    save_file(weights, file, metadata={"regard": json.dumps(header_of(file))})
    with pytest.raises(FileFormatError) as refusal:
        regard.TAME.load(file, classifier)
    assert refusal.value.came == "fuser.weight: missing"


def test_what_is_no_such_file_is_refused_in_words(classifier, tmp_path):
    file = tmp_path / "it.safetensors"
    with pytest.raises(FileFormatError, match="there is no file"):
        regard.TAME.load(file, classifier)
    with pytest.raises(FileFormatError, match="there is no file"):
        regard.TAME.load(tmp_path, classifier)
    drawn(classifier).save(file)
    whole = file.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    others = (b"", b"words", whole[:-4], whole[: size // 2], b"\xff" * len(whole))
    for content in others:
        file.write_bytes(content)
        with pytest.raises(FileFormatError, match="not a readable safetensors file"):
            regard.TAME.load(file, classifier)
    save_file({"a": torch.zeros(1)}, file, metadata={"regard": "[1]"})
    with pytest.raises(FileFormatError, match="holds no trained attention"):
        regard.TAME.load(file, classifier)
    save_file({"a": torch.zeros(1)}, file, metadata={"regard": "{"})
    with pytest.raises(FileFormatError):
        regard.TAME.load(file, classifier)


def test_another_classifier_is_refused_before_anything_is_built(classifier, tmp_path):
    file = tmp_path / "it.safetensors"
    drawn(classifier).save(file)
    for other in (classifier_of(vit(seed=1)), classifier_of(cnn())):
        with pytest.raises(FileFormatError, match="was trained for another classifier") as refusal:
            regard.TAME.load(file, other)
        assert refusal.value.came == f"{other.name}, {other.hash[:12]}"
        assert refusal.value.expected == f"{classifier.name}, {classifier.hash[:12]}"


def test_a_damaged_bit_anywhere_in_the_header_gives_words_or_the_same_attention(classifier, tmp_path):
    file = tmp_path / "it.safetensors"
    drawn(classifier).save(file)
    whole = file.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    places = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:150].tolist()
    for place in places:
        file.write_bytes(whole[: 8 + place] + bytes([whole[8 + place] ^ 1]) + whole[9 + place :])
        try:
            TrainedAttention.load(file, classifier)
        except RegardError:
            continue
