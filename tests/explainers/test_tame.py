"""TAME as an explainer: papers/tame.md, checks 27 to 32."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as functional

import regard
from regard.errors import TargetError, UnsupportedError
from regard.models import passes
from regard.models.randomised import randomised

from .attentions import drawn
from .networks import CLASSES, classifier_of, cnn, mlp_head, pixels_of, same, vit

NETWORKS = {"cnn": cnn, "vit": vit}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=NETWORKS, scope="module")
def classifier(request):
    return classifier_of(NETWORKS[request.param](), labels=list("abcde"))


def hooked(classifier, layers, pixels):
    """What layers give, read with plain hooks."""
    found = {}

    def keep(name):
        return lambda _, __, output: found.__setitem__(name, output.clone())

    handles = [classifier.network.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    with torch.no_grad():
        classifier.network(pixels)
    for handle in handles:
        handle.remove()
    return [found[name] for name in layers]


def on_grid(tensor):
    """Tokens of 4 × 4 patches after a class token as feature maps; feature maps as they are."""
    return tensor if tensor.dim() == 4 else tensor[:, 1:].transpose(1, 2).unflatten(2, (4, 4))


def published(weights, features):
    """Maps of all classes in the published order: every layer is resized, then all are joined and fused."""
    grid, resized = max(feature.shape[2:] for feature in features), []
    for place, feature in enumerate(features):
        own = {name.removeprefix(f"branches.{place}."): weights[name] for name in weights}
        mixed = functional.conv2d(feature, own["convolution.weight"], own["convolution.bias"])
        statistics = own["norm.running_mean"], own["norm.running_var"], own["norm.weight"], own["norm.bias"]
        mixed = functional.batch_norm(mixed, *statistics) + feature
        resized.append(functional.interpolate(mixed.relu(), grid, mode="bilinear"))
    return functional.conv2d(torch.cat(resized, 1), weights["fuser.weight"][:, :, None, None], weights["fuser.bias"])


@pytest.mark.parametrize("layers", [("1", "5"), ("5",)], ids="+".join)
def test_maps_of_a_cnn_are_those_of_the_formula(layers):
    classifier, pixels = classifier_of(cnn()), pixels_of(3)
    trained = drawn(classifier, layers=layers)
    expected = published(trained.attention.state_dict(), hooked(classifier, layers, pixels))
    found = regard.TAME(classifier, trained)(pixels, list(range(CLASSES)))
    same(found.maps, expected)
    assert found.signed
    assert (found.maps < 0).any()
    assert (found.maps > 0).any()


@pytest.mark.parametrize("gated", [False, True], ids=["dropped class token", "gating class token"])
def test_maps_of_a_transformer_are_those_of_the_formula(gated):
    classifier, pixels = classifier_of(vit()), pixels_of(3)
    trained = drawn(classifier, gated=gated)
    read = hooked(classifier, ["blocks.0.norm1", "blocks.1.norm1"], pixels)
    features = [on_grid(tensor) * (tensor[:, 0, :, None, None] if gated else 1) for tensor in read]
    expected = published(trained.attention.state_dict(), features)
    same(regard.TAME(classifier, trained)(pixels, list(range(CLASSES))).maps, expected)


def test_logits_are_to_the_bit_those_of_the_classifier_and_cost_one_pass(classifier):
    pixels = pixels_of(3)
    tame = regard.TAME(classifier, drawn(classifier))
    with passes.counted() as spent:
        found = tame(pixels, [0, 1, 4])
    assert (spent.forwards, spent.backwards) == (3, 0)
    with torch.no_grad():
        assert found.logits.equal(classifier(pixels))
    assert found.logits.dtype is torch.float32


def test_every_way_to_ask_for_classes_gives_the_map_of_that_class(classifier):
    pixels = pixels_of(3)
    tame = regard.TAME(classifier, drawn(classifier))
    every = tame(pixels, list(range(CLASSES)))
    order = every.logits.argsort(dim=1, descending=True)
    places = torch.arange(3)
    same(tame(pixels, 0).maps[:, 0], every.maps[:, 0])
    same(tame(pixels, "e").maps[:, 0], every.maps[:, 4])
    same(tame(pixels).maps[:, 0], every.maps[places, order[:, 0]])
    same(tame(pixels, regard.top(2)).maps[:, 1], every.maps[places, order[:, 1]])
    labels = torch.tensor([[0, 1], [4, 0], [2, 2]])
    same(tame(pixels, regard.PerImage(labels)).maps, every.maps[places[:, None], labels])
    same(tame(pixels, [3, regard.Predicted(5)]).maps[:, 1], every.maps[places, order[:, 4]])


@pytest.mark.parametrize("target", [CLASSES, -1, "f", regard.PerImage([0, 0, CLASSES]), regard.PerImage([0, -1, 0])])
def test_a_class_that_there_is_not_is_refused(classifier, target):
    tame = regard.TAME(classifier, drawn(classifier))
    with passes.counted() as spent, pytest.raises(TargetError):
        tame(pixels_of(3), target)
    assert spent.forwards == 0


@pytest.mark.parametrize("target", [regard.Probability(0), regard.Difference(0, 1), regard.LogProbability(1)])
def test_what_is_no_class_is_refused_before_any_pass(classifier, target):
    tame = regard.TAME(classifier, drawn(classifier))
    with passes.counted() as spent, pytest.raises(TargetError, match="tame does not answer"):
        tame(pixels_of(), target)
    assert spent.forwards == 0


def test_a_map_ranks_pixels_as_its_mask_does_and_a_constant_one_holds_no_nan(classifier):
    trained = drawn(classifier)
    maps = regard.TAME(classifier, trained)(pixels_of(), 2).maps.flatten(2)
    order = maps.argsort(stable=True)
    masks = maps.double().sigmoid().gather(2, order)
    assert (masks.diff() >= 0).all()
    with torch.no_grad():
        trained.attention.fuser.weight.zero_()
        trained.attention.fuser.bias.fill_(0.75)
    found = regard.TAME(classifier, trained)(pixels_of(), [0, 3])
    assert found.maps.equal(torch.full_like(found.maps, 0.75))
    assert found.figure() is not None


def test_an_enlarged_map_stays_within_its_own_extremes(classifier):
    found = regard.TAME(classifier, drawn(classifier))(pixels_of(), 1)
    enlarged = found.to_pixels((64, 96), mode="bilinear")
    assert enlarged.shape == (2, 1, 64, 96)
    assert found.maps.min() <= enlarged.min() <= enlarged.max() <= found.maps.max()


def test_a_mirrored_picture_of_a_network_that_sees_points_alone_has_the_mirrored_map():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(6, 8, 1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 5),
    )
    classifier = classifier_of(network)
    tame = regard.TAME(classifier, drawn(classifier, layers=("1", "4")))
    same(tame(pixels_of().flip(-1), 1).maps, tame(pixels_of(), 1).maps.flip(-1))


@pytest.mark.parametrize(
    ("make", "frame", "grid"),
    [
        (lambda: classifier_of(cnn(), size=(32, 48)), (32, 48), (32, 48)),
        (lambda: classifier_of(vit(img_size=(32, 48)), size=(32, 48)), (32, 48), (4, 6)),
        (lambda: classifier_of(cnn()), (64, 24), (56, 21)),
        (lambda: classifier_of(vit(dynamic_img_size=True)), (16, 40), (2, 5)),
    ],
    ids=["cnn", "vit", "cnn of any frame", "vit of any frame"],
)
def test_frames_that_are_not_square_have_maps_of_their_ratio(make, frame, grid):
    classifier = make()
    found = regard.TAME(classifier, drawn(classifier))(pixels_of(size=frame), [0, 1])
    assert found.maps.shape == (2, 2, *grid)
    assert found.to_pixels(frame).shape == (2, 2, *frame)


def test_a_network_in_bfloat16_has_the_maps_of_the_same_attention():
    full, half = classifier_of(vit()), classifier_of(vit(), precision="bfloat16")
    trained = drawn(full)
    found = regard.TAME(half, trained)(pixels_of(), [0, 1]).maps
    assert found.dtype is torch.float32
    expected = regard.TAME(full, trained)(pixels_of(), [0, 1]).maps
    same(found, expected, 0.03)
    assert not found.equal(expected)


def test_the_attention_is_sent_where_the_pixels_are(classifier, monkeypatch):
    tame, sent = regard.TAME(classifier, drawn(classifier)), []
    plain = tame._attention.to
    monkeypatch.setattr(tame._attention, "to", lambda device: sent.append(device) or plain(device))
    tame(pixels_of(), [0])
    assert sent == [torch.device("cpu")]


@pytest.mark.parametrize("device", DEVICES)
def test_the_attention_follows_its_classifier_to_every_device_that_is_there(device):
    classifier = classifier_of(vit())
    tame = regard.TAME(classifier, drawn(classifier))
    before = tame(pixels_of(), [0, 1]).maps
    classifier.network.to(device)
    same(tame(pixels_of(), [0, 1]).maps, before, 1e-3)


def test_a_row_of_its_own_that_saw_fewer_than_twenty_photos_is_refused_before_any_pass(classifier):
    taught = drawn(classifier, photos=20)
    assert regard.TAME(classifier, taught)(pixels_of(), 1).maps.isfinite().all()
    poor = drawn(classifier, photos=19)
    tame = regard.TAME(classifier, poor)
    for target in (1, "b", [0, 1], regard.PerImage([1, 0])):
        with passes.counted() as spent, pytest.raises(TargetError, match="hardly seen the class") as refusal:
            tame(pixels_of(), target)
        assert spent.forwards == 0
        assert refusal.value.came == "19 photos in training"
    with pytest.raises(TargetError, match=r"hardly seen the class '[a-e]'"):
        tame(pixels_of())
    forced = regard.TAME(classifier, poor, force=True)(pixels_of(), 1).maps
    assert forced.equal(regard.TAME(classifier, taught)(pixels_of(), 1).maps)


def taught(classifier, poor):
    """An attention that saw 20 photos of each class but for these."""
    trained = drawn(classifier)
    seen = tuple(19 if index in poor else 20 for index in range(CLASSES))
    return replace(trained, card=replace(trained.card, photos_of_class=seen))


def test_of_the_likeliest_classes_those_hardly_seen_have_no_map_and_a_note(classifier):
    pixels = pixels_of(4)
    order = classifier(pixels).argsort(dim=1, descending=True)
    poor = int(order[0, 1])
    expected = regard.TAME(classifier, drawn(classifier))(pixels, regard.top(3))
    found = regard.TAME(classifier, taught(classifier, {poor}))(pixels, regard.top(3))
    lost = order[:, :3] == poor
    assert lost[0].tolist() == [False, True, False]
    assert found.maps.isnan().flatten(2).all(dim=2).equal(lost)
    assert found.maps[~lost].equal(expected.maps[~lost])
    assert found.targets == expected.targets
    assert found.logits.equal(expected.logits)
    assert found.not_finite == tuple(lost.any(dim=1).nonzero()[:, 0].tolist())
    name = "abcde"[poor]
    assert found.notes == (
        f"no map of {name!r}: training saw 19 photos of it, fewer than 20; "
        "force=True (tame:FILE:force=true) shows the map all the same",
    )
    one = regard.TAME(classifier, taught(classifier, {poor}))(pixels[:1], regard.top(3))
    same(one.maps[:, ::2], found.maps[:1, ::2])
    assert found.figure() is not None


def test_a_photo_of_which_nothing_is_left_spoils_no_other(classifier):
    pixels = pixels_of(6)
    likeliest = classifier(pixels).argmax(dim=1)
    poor = int(likeliest[0])
    tame = regard.TAME(classifier, taught(classifier, {poor}))
    alone = pixels[likeliest == poor]
    with pytest.raises(TargetError, match=f"hardly seen the class '{'abcde'[poor]}'") as refusal:
        tame(alone)
    assert "force=True" in refusal.value.remedy
    other = next(index for index in range(CLASSES) if index != poor)
    mixed = tame(alone, [other, regard.Predicted()])
    assert mixed.maps[:, 0].isfinite().all()
    assert mixed.maps[:, 1].isnan().all()
    with pytest.raises(TargetError, match="hardly seen"):
        tame(alone, [poor, regard.Predicted(2)])
    forced = regard.TAME(classifier, taught(classifier, {poor}), force=True)(alone)
    assert forced.maps.isfinite().all()
    assert (forced.notes, forced.not_finite) == ((), ())


def test_its_colours_say_what_its_mask_does_and_not_what_speaks_for_a_class(classifier, tmp_path):
    found = regard.TAME(classifier, drawn(classifier))(pixels_of(), 1)
    found.save(tmp_path / "found")
    for one in (found, regard.Explanation.load(tmp_path / "found")):
        assert one.signs == ("hidden by the mask", "kept by the mask")
        assert [bar for axes in one.figure().axes if "→" in (bar := axes.get_ylabel())] == [
            "kept by the mask →\n← hidden by the mask"
        ] * 2


def test_tied_rows_are_taught_by_every_photo(classifier):
    tame = regard.TAME(classifier, drawn(classifier, "tied", photos=0))
    assert tame(pixels_of(), [0, 1]).maps.isfinite().all()


def test_another_classifier_is_refused(classifier):
    trained = drawn(classifier)
    others = [classifier_of(cnn(seed=3)), classifier_of(vit(seed=3)), classifier_of(vit(), outputs="sigmoid")]
    for other in others:
        with pytest.raises(UnsupportedError, match="another classifier, or for other weights"):
            regard.TAME(other, trained)


@pytest.mark.parametrize("variant", ["tame", "tied"])
def test_weights_that_have_changed_are_refused_until_they_are_as_they_were(variant):
    classifier = classifier_of(vit())
    tame = regard.TAME(classifier, drawn(classifier, variant))
    before = tame(pixels_of(), 1).maps
    weight = classifier.network.blocks[0].norm1.weight
    with torch.no_grad():
        weight[0] += 1
    for _ in range(2):
        with pytest.raises(UnsupportedError, match=r"weights of .* have changed"):
            tame(pixels_of(), 1)
    with torch.no_grad():
        weight[0] -= 1
    tame.learn()
    same(tame(pixels_of(), 1).maps, before)


def test_without_a_file_the_shipped_one_is_read_or_the_command_is_said(classifier, monkeypatch, tmp_path):
    with pytest.raises(UnsupportedError, match="no attention is shipped for") as refusal:
        regard.TAME(classifier)
    assert refusal.value.remedy.startswith(f"regard train tame PHOTOS --classifier {classifier.name} --out")
    other = classifier_of(cnn(seed=3))
    drawn(other).save(tmp_path / "a.safetensors")
    drawn(classifier).save(tmp_path / "b.safetensors")
    monkeypatch.setattr("regard_embedded.attentions", lambda: sorted(tmp_path.iterdir()))
    expected = regard.TAME(classifier, drawn(classifier))(pixels_of(), 1).maps
    assert regard.TAME(classifier)(pixels_of(), 1).maps.equal(expected)
    assert regard.TAME.shipped(other) == tmp_path / "a.safetensors"
    assert regard.explain(pixels_of(), classifier, "tame", targets=1).maps.equal(expected)


def test_the_data_package_lists_its_attentions():
    import regard_embedded

    assert all(file.suffix == ".safetensors" for file in regard_embedded.attentions())


def test_an_explanation_says_how_its_attention_was_trained(classifier):
    trained = drawn(classifier)
    found = regard.TAME(classifier, trained)(pixels_of(), 1)
    assert found.method == "tame"
    assert found.settings["variant"] == "tame"
    assert found.settings["fill"] == "black"
    assert found.settings["weights"] == trained.digest != drawn(classifier, "tied").digest


@pytest.mark.parametrize("variant", ["tame", "tied"])
def test_a_transferred_attention_reads_redrawn_weights_as_it_was_trained(variant, classifier, tmp_path):
    trained, pixels = drawn(classifier, variant), pixels_of()
    tame = regard.TAME(classifier, trained)
    before = tame(pixels, [0, 1]).maps
    of_head = tame.transferred(randomised(classifier, "head"))(pixels, [0, 1])
    of_all = tame.transferred(randomised(classifier, "all"))(pixels, [0, 1])
    assert of_head.maps.equal(before) == (variant == "tame")
    assert not torch.allclose(of_all.maps, before, atol=0.1)
    assert any("whose weights are others" in note for note in of_all.notes)
    assert tame(pixels, [0, 1]).maps.equal(before)
    assert tame.notes == ()


def test_a_transferred_attention_stays_the_first_classifier_s_own(tmp_path):
    classifier = classifier_of(vit())
    other = randomised(classifier, "all")
    moved = regard.TAME(classifier, drawn(classifier)).transferred(other)
    with pytest.raises(UnsupportedError, match="another classifier"):
        regard.TAME(other, moved.trained)
    with torch.no_grad():
        other.network.head.weight[0] += 1
    with pytest.raises(UnsupportedError, match="have changed"):
        moved(pixels_of(), 1)


def test_a_head_apart_is_explained_too():
    linear = classifier_of(vit(num_classes=0), head=torch.nn.Linear(24, 3))
    assert regard.TAME(linear, drawn(linear, "tied"))(pixels_of(), 2).maps.shape == (2, 1, 4, 4)
    deep = classifier_of(vit(num_classes=0), head=mlp_head())
    assert regard.TAME(deep, drawn(deep))(pixels_of(), 2).maps.shape == (2, 1, 4, 4)
    with pytest.raises(UnsupportedError, match="does not end in a linear layer"):
        drawn(deep, "tied")


def test_nan_in_a_photo_is_named(classifier):
    pixels = pixels_of()
    pixels[1, 0, 0, 0] = math.nan
    tame = regard.TAME(classifier, drawn(classifier))
    with pytest.raises(regard.errors.NotFiniteError):
        tame(pixels, 1)
    assert tame(pixels, 1, on_nan="skip").not_finite == (1,)
