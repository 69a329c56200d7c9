"""A head of one's own, from pictures to maps."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import ClassifierError, PhotoError
from regard.training import fit_head
from regard.training.head import fit as head

from ..explainers.networks import classifier_of, cnn, definition, pixels_of, same, vit
from .pictures import COLOURS, picture, pictures

PICTURES, NAMES = pictures(8)
REDNESS = [{"red": float(array[..., 0].mean()), "blue in thousands": array[..., 2].mean() / 1000} for array in PICTURES]
SEVERAL = [["warm"] if name == "red" else ["cold", "wet"] if name == "blue" else [] for name in NAMES]
LABELS = {"softmax": NAMES, "sigmoid": SEVERAL, "scalar": REDNESS}


def train(classifier=None, photos=PICTURES, labels=NAMES, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return fit_head(classifier or classifier_of(vit()), photos, labels, **settings)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("outputs", LABELS)
def test_a_head_learns_what_the_pictures_show(outputs, kind):
    trained = train(labels=LABELS[outputs], outputs=outputs, kind=kind, hidden=16, held_out=0.4)
    figures, classifier = trained.held_out, trained.classifier
    assert classifier.outputs == outputs
    assert classifier.labels == {"softmax": ["blue", "green", "red"], "sigmoid": ["cold", "warm", "wet"]}.get(
        outputs, ["red", "blue in thousands"]
    )
    if outputs == "scalar":
        assert all(each.value < 0.5 * each.chance and each.r_squared > 0.7 for each in figures.each)
    else:
        assert figures.overall.value > 0.9 > figures.overall.chance
    assert trained.training["photos_trained_on"] + figures.photos == len(PICTURES)
    assert trained.training["kind"] == kind


def test_the_figures_are_those_of_the_finished_classifier_on_the_photos_named():
    trained = train(held_out=0.4, seed=2)
    answers = trained.classifier(trained.classifier.prepare(trained.held_out_photos)).argmax(1).tolist()
    truth = [
        next(name for array, name in zip(PICTURES, NAMES, strict=True) if array is photo)
        for photo in trained.held_out_photos
    ]
    right = [trained.classifier.labels[answer] == name for answer, name in zip(answers, truth, strict=True)]
    assert trained.held_out.overall.value == pytest.approx(np.mean(right))
    assert {name: truth.count(name) for name in COLOURS} == dict.fromkeys(COLOURS, 3)


def test_another_seed_holds_out_others():
    first, again, other = ({id(photo) for photo in train(seed=seed).held_out_photos} for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_fifth_of_the_photos_trained_on_chooses_the_penalty(monkeypatch):
    plain, seen = head.fit, []

    def fit(form, examples, inner, seed):
        seen.append([examples.targets[mark].bincount().tolist() for mark in (inner, ~inner)])
        return plain(form, examples, inner, seed)

    monkeypatch.setattr(head, "fit", fit)
    train(held_out=[number >= 15 for number in range(24)])  # five of each colour are trained on
    assert seen == [[[1, 1, 1], [4, 4, 4]]]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_neither_the_order_of_the_photos_nor_the_held_out_ones_change_the_head(kind):
    order = np.random.default_rng(0).permutation(len(PICTURES))
    first = train(kind=kind, hidden=8)
    second = train(photos=[PICTURES[i] for i in order], labels=[NAMES[i] for i in order], kind=kind, hidden=8)
    assert first.training == second.training
    pixels = pixels_of(2)
    same(
        first.classifier(pixels), second.classifier(pixels), 1e-3
    )  # embeddings of other batches, 1e-6 apart, and a search
    marks = [any(photo is held for held in first.held_out_photos) for photo in PICTURES]
    turned = {"red": "green", "green": "blue", "blue": "red"}
    wrong = [turned[name] if mark else name for name, mark in zip(NAMES, marks, strict=True)]
    others = [255 - photo if mark else photo for photo, mark in zip(PICTURES, marks, strict=True)]
    third = train(photos=others, labels=wrong, held_out=marks, kind=kind, hidden=8)
    same(first.classifier(pixels), third.classifier(pixels), 1e-6)
    assert third.held_out.overall.value < first.held_out.overall.value


def test_the_network_is_left_as_it_was_and_shares_its_weights():
    network = vit().train()
    classifier = classifier_of(network)
    before, head, state = classifier.hash, network.head, torch.get_rng_state()
    with torch.inference_mode():
        trained = train(classifier)
    assert network.training
    assert network.head is head
    assert classifier.hash == before
    assert torch.equal(state, torch.get_rng_state())
    assert trained.classifier.network.blocks[0].attn.qkv.weight is network.blocks[0].attn.qkv.weight
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: classifier_of(vit()),
        lambda: classifier_of(vit(num_classes=0)),
        lambda: classifier_of(vit(num_classes=0), head=nn.Linear(24, 2)),
        lambda: classifier_of(vit(global_pool="avg")),
        lambda: classifier_of(cnn()),
        lambda: classifier_of(vit().to(torch.bfloat16)),
        lambda: classifier_of(vit(), precision="bfloat16"),
    ],
    ids=["own head", "no head", "head apart", "average", "convolutions", "bfloat16", "autocast"],
)
def test_the_saved_classifier_is_the_trained_one(backbone, tmp_path):
    classifier = backbone()
    trained = train(classifier).classifier
    train(classifier).save(tmp_path / "mine.safetensors")
    loaded = regard.load(tmp_path / "mine.safetensors", network=backbone().network)
    pixels = pixels_of(3)
    same(loaded(pixels), trained(pixels), 1e-6)
    assert (loaded.labels, loaded.outputs, loaded.name) == (trained.labels, trained.outputs, trained.name)
    assert loaded.hash == trained.hash == regard.load(tmp_path / "mine.safetensors", network=backbone().network).hash


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_cdam_explains_the_saved_classifier_in_closed_form_as_defined(kind, tmp_path):
    network = vit(num_classes=0)
    train(classifier_of(network), kind=kind, hidden=9).save(tmp_path / "mine.safetensors")
    loaded = regard.load(tmp_path / "mine.safetensors", network=network)
    cdam, pixels = regard.CDAM(loaded), pixels_of(2)
    assert cdam.settings["form"] == "closed"
    whole = definition(network, pixels, lambda embedding: loaded.head(embedding)[:, 1])
    same(cdam(pixels, targets=["green"]).maps[:, 0], whole[:, 1:].unflatten(1, (4, 4)))


def test_a_network_that_regard_built_is_built_again_from_the_file(tmp_path):
    classifier = regard.load("timm:test_vit", pretrained=False, num_classes=5)
    trained = train(classifier)
    trained.save(tmp_path / "mine.safetensors")
    loaded = regard.load(tmp_path / "mine.safetensors")
    pixels = pixels_of(2, classifier.preparation.frame)
    same(loaded(pixels), trained.classifier(pixels), 1e-6)
    assert (loaded.source, loaded.hash) == (trained.classifier.source, trained.classifier.hash)
    assert loaded.source.removed == "head"
    again = train(loaded, kind="mlp", hidden=4)  # a head on the backbone of a head
    again.save(tmp_path / "again.safetensors")
    same(regard.load(tmp_path / "again.safetensors")(pixels), again.classifier(pixels), 1e-6)
    assert again.training["backbone_hash"] == trained.training["backbone_hash"]


def test_transformers_and_torchvision_lose_their_own_head_too(tmp_path):
    torchvision = import_optional("torchvision.models", "torchvision")
    network = torchvision.VisionTransformer(32, 8, 2, 3, 24, 48, num_classes=4).eval()
    trained = train(classifier_of(network))
    trained.save(tmp_path / "mine.safetensors")
    assert trained.classifier.source.removed == "heads.head"
    same(
        regard.load(tmp_path / "mine.safetensors", network=network)(pixels_of()), trained.classifier(pixels_of()), 1e-6
    )


def test_photos_that_cannot_be_read_are_left_out_with_a_warning(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.warns(UserWarning, match="1 photos cannot be read.*text.png.*holds no photo"):
        trained = fit_head(classifier_of(vit()), [tmp_path / "text.png", *PICTURES], ["red", *NAMES])
    assert list(trained.unreadable) == [str(tmp_path / "text.png")]
    assert trained.training["photos_unreadable"] == 1
    assert trained.training["photos_trained_on"] + trained.held_out.photos == len(PICTURES)


def test_a_class_of_one_photo_is_trained_and_said_to_be_unexamined():
    with pytest.warns(UserWarning, match="no held-out photo shows 1 classes: rare"):
        trained = fit_head(classifier_of(vit()), [*PICTURES, picture("red", 99)], [*NAMES, "rare"])
    assert "rare" in trained.classifier.labels
    assert trained.held_out.unexamined == ("rare",)


def test_photos_in_both_parts_are_said():
    marks = [number % 2 == 0 for number in range(len(PICTURES))]
    with pytest.warns(UserWarning, match="1 held-out photos are trained on too"):
        fit_head(classifier_of(vit()), [*PICTURES, PICTURES[0]], [*NAMES, NAMES[0]], held_out=[*marks, False])


NO_FOX = [name == "red" for name in NAMES]
WRONG = {
    "another number of labels": ({"labels": NAMES[1:]}, "every photo has its label"),
    "indices": ({"labels": list(range(24))}, "label of photo 0"),
    "no name": ({"labels": [*NAMES[1:], ""]}, "label of photo 23"),
    "one class": ({"labels": ["red"] * 24}, "tells classes apart"),
    "names for independent classes": ({"outputs": "sigmoid"}, "label of photo 0"),
    "no classes at all": ({"labels": [[]] * 24, "outputs": "sigmoid"}, "no photo shows any class"),
    "a class on every photo": ({"labels": [["a"]] * 24, "outputs": "sigmoid"}, "cannot teach everything"),
    "names for measurements": ({"outputs": "scalar"}, "label of photo 0"),
    "another measurement": ({"labels": [{"a": 1}] * 23 + [{"b": 1}], "outputs": "scalar"}, "label of photo 23"),
    "no number": ({"labels": [{"a": 1}] * 23 + [{"a": float("nan")}], "outputs": "scalar"}, "label of photo 23"),
    "all the same": ({"labels": [{"a": 1}] * 24, "outputs": "scalar"}, "cannot teach everything"),
    "embeddings": ({"outputs": "embedding"}, "no such outputs"),
    "another kind": ({"kind": "forest"}, "no such head"),
    "nothing hidden": ({"kind": "mlp", "hidden": 0}, "hidden units"),
    "all held out": ({"held_out": 1.0}, "share"),
    "none held out": ({"held_out": 0}, "share"),
    "no share": ({"held_out": float("nan")}, "share"),
    "all marked": ({"held_out": [True] * 24}, "some held out"),
    "none marked": ({"held_out": [False] * 24}, "some held out"),
    "too few marks": ({"held_out": [True]}, "held out or not"),
    "a class held out": ({"held_out": NO_FOX}, "cannot teach everything"),
    "one photo a class": ({"photos": PICTURES[:3], "labels": NAMES[:3]}, "too few photos"),
    "two photos a class": ({"photos": PICTURES[:6], "labels": NAMES[:6]}, "too few photos"),
    "a head nobody knows": (
        {"classifier": classifier_of(nn.Sequential(vit(), nn.Tanh()))},
        "embedding of .* is not known",
    ),
}


@pytest.mark.parametrize(("settings", "problem"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_learnt_is_refused(settings, problem):
    with pytest.raises(ClassifierError, match=problem):
        train(**settings)


def test_no_photos_are_refused():
    with pytest.raises(PhotoError, match="no photo can be read"):
        train(photos=["nowhere.jpg", "nor-here.jpg"], labels=["a", "b"])


@pytest.mark.data
def test_real_garments_are_told_apart_better_than_by_chance(shared_data, tmp_path):
    import_optional("regard_embedded", "embedded")
    parts = {part: shared_data / "clothing10-sample" / part for part in ("train", "test")}
    photos = [
        photo
        for garment in ("hat", "pants", "skirt")
        for part, most in (("train", 8), ("test", 4))
        for photo in sorted((parts[part] / garment).glob("*.jpg"))[:most]
    ]
    trained = fit_head(
        regard.load("regard:vit-small"),
        photos,
        [photo.parent.name for photo in photos],
        held_out=[photo.parent.parent.name == "test" for photo in photos],
    )
    assert trained.held_out.photos == 12
    assert trained.held_out.overall.value >= 0.6
    trained.save(tmp_path / "garments.safetensors")
    loaded = regard.load(tmp_path / "garments.safetensors")
    assert regard.CDAM(loaded).settings["form"] == "closed"
    assert loaded.hash == trained.classifier.hash
