"""BR-NPA's maps and shares against plain loops over the formulas of papers/brnpa.md, 1.3 to 1.5."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import regard
from regard.attention.bilinear import BilinearPooling
from regard.attention.pooled import MeanPooling
from regard.errors import LayerError, NotFiniteError, UnsupportedError
from regard.models import high_resolution, passes
from regard.models.pooled import PooledNetwork

from ..attention.slow_representatives import replica
from .networks import CLASSES, TOKENS_ALIKE, classifier_of, cnn, loud, pixels_of, same, vit

LABELS = list("abcde")
IMAGES = 3
pytestmark = TOKENS_ALIKE


def brnpa(network=cnn, bias=True, count=3, **settings):
    """A BR-NPA classifier of a tiny backbone, whose head has weights that count."""
    made = regard.BRNPAClassifier(classifier_of(network()), LABELS, count=count, bias=bias, **settings)
    loud(made.head, seed=3)
    return made


OWN = {"cnn": brnpa, "vit": lambda: brnpa(vit), "vit without bias": lambda: brnpa(vit, bias=False)}
LAST = {"cnn": (cnn, "5"), "vit": (vit, "blocks.1")}


def features_of(network, layer, pixels):
    """What a layer gives, by a plain hook; of 4×4 patches after a class token as feature maps."""
    found = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _, __, output: found.append(output.clone()))
    with torch.no_grad():
        network(pixels)
    handle.remove()
    return found[0] if found[0].dim() == 4 else found[0][:, 1:].mT.unflatten(2, (4, 4))


def products(features, count=3):
    """a_k · ‖f‖ of every place and rank, (B, K, h, w), by loops."""
    _, maps, _, _ = replica(features, count)
    norms = torch.zeros(len(features), *features.shape[2:], dtype=torch.float64)
    for image, row, column in torch.cartesian_prod(*map(torch.arange, norms.shape)).tolist():
        norms[image, row, column] = sum(float(value) ** 2 for value in features[image, :, row, column]) ** 0.5
    return maps * norms[:, None]


@pytest.mark.parametrize("name", LAST)
@pytest.mark.parametrize("rank", [1, 3, "mean", "max"])
def test_the_map_is_similarity_times_norm_of_the_rank_asked_for(name, rank):
    network, layer = LAST[name]
    pixels, bare = pixels_of(2), network()
    expected = products(features_of(bare, layer, pixels))
    shown = {"mean": expected.mean(1), "max": expected.amax(1)}.get(rank)
    shown = expected[:, rank - 1] if shown is None else shown
    for classifier in (classifier_of(bare), brnpa(network)):
        found = regard.BRNPA(classifier, rank=rank)(pixels, [0, 1])
        same(found.ranks.maps.double(), expected)
        same(found.maps.double(), torch.stack([shown, shown], dim=1))
        assert found.maps.dtype is found.ranks.maps.dtype is torch.float32
        assert not found.signed
        assert not found.per_target
        assert found.settings["rank"] == rank
        assert found.forwards == 2


def averages():
    """A network whose last features are averages of the picture itself, of both signs."""
    layers = [nn.AvgPool2d(8), nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES)]
    return loud(nn.Sequential(*layers))


def test_opposite_features_count_nothing_or_less_as_the_classifier_pools_them():
    pixels, bare = pixels_of(2), averages()
    features = features_of(bare, "0", pixels)
    clamped = regard.BRNPA(classifier_of(bare))(pixels, 0)
    same(clamped.ranks.maps.double(), products(features))
    assert (clamped.maps == 0).any()
    assert not clamped.signed
    own = regard.BRNPA(brnpa(averages, negative="signed"))(pixels, 0)
    _, signed, _, _ = replica(features, 3, negative="signed")
    same(own.ranks.maps.double(), signed * features.norm(dim=1, keepdim=True))
    assert (own.maps < 0).any()
    assert own.signed
    assert own.signs == ("opposite to the representative", "like it")


@pytest.mark.parametrize("name", LAST)
def test_of_any_other_classifier_it_is_a_way_to_look_and_says_so(name):
    network, layer = LAST[name]
    found = regard.BRNPA(classifier_of(network(), labels=LABELS), count=2)(pixels_of(2), [0, 1])
    assert any("does not decide by representatives" in note for note in found.notes)
    assert found.ranks.shares is None
    assert found.ranks.maps.shape[:2] == (2, 2)
    assert (found.settings["count"], found.settings["layer"]) == (2, layer)


def test_a_classifier_of_representatives_has_no_such_note():
    assert regard.BRNPA(brnpa())(pixels_of(2), 0).notes == ()


def test_a_layer_by_name_is_read_in_another_classifier():
    pixels, bare = pixels_of(2), cnn()
    found = regard.BRNPA(classifier_of(bare), layer="1")(pixels, 0)
    same(found.ranks.maps.double(), products(features_of(bare, "1", pixels)))


def test_a_head_less_network_needs_no_target():
    backbone = loud(nn.Sequential(*list(cnn())[:-1], nn.Identity()))
    found = regard.BRNPA(classifier_of(backbone, outputs="embedding"))(pixels_of(2))
    assert found.maps.shape == (2, 1, 16, 16)
    assert found.targets[0][0].name == "any target"


@pytest.mark.parametrize("make", [brnpa, lambda: brnpa(vit), lambda: classifier_of(vit())], ids=["cnn", "vit", "other"])
def test_ranks_of_a_picture_are_the_same_alone_among_others_and_in_chunks(make, monkeypatch):
    pixels, target = pixels_of(IMAGES), regard.Difference(0, 1)
    together = regard.BRNPA(make())(pixels, target)
    monkeypatch.setattr(passes, "LARGEST_CHUNK", 2)
    in_chunks = regard.BRNPA(make())(pixels, target)
    alone = [regard.BRNPA(make())(pixels[image : image + 1], target) for image in range(IMAGES)]
    for name, whole in together.ranks.tensors().items():
        same(in_chunks.ranks.tensors()[name].double(), whole.double())
        for image in range(IMAGES):
            same(alone[image].ranks.tensors()[name].double(), whole[image : image + 1].double())
            assert together[image].ranks.tensors()[name].equal(whole[image : image + 1])


def dead():
    """A network whose last features are zero wherever the picture is dark."""
    network = cnn()
    with torch.no_grad():
        network[0].bias.zero_()
        network[4].bias.fill_(-0.01)
    return network


def test_a_picture_without_activity_has_a_map_of_zeros_a_note_and_no_shares_to_speak_of():
    pixels = torch.cat([torch.zeros(1, 3, 32, 32), pixels_of(1)])
    made = regard.BRNPAClassifier(classifier_of(dead()), LABELS, bias=True)
    for classifier in (made, classifier_of(dead())):
        found = regard.BRNPA(classifier)(pixels, 0)
        assert not found.ranks.maps[0].any()
        assert not found.ranks.valid[0].any()
        assert found.ranks.valid[1].all()
        assert found.ranks.variation.isnan().tolist() == [True, False]
        (note,) = [note for note in found.notes if "zero everywhere" in note]
        assert "image 0: no place is active" in note
        assert found.ranks.shares is None or found.ranks.shares[0].tolist() == [[0, 0, 0]]


def test_places_that_are_drawn_at_random_are_said_to_be():
    for select, said in (("random", 1), ("norm", 0)):
        notes = regard.BRNPA(brnpa(select=select))(pixels_of(2), 0).notes
        assert sum("drawn at random" in note for note in notes) == said


def test_where_single_places_are_used_maps_are_said_to_show_more_than_is_used():
    for refine, said in ((False, 1), (True, 0)):
        notes = regard.BRNPA(brnpa(refine=refine))(pixels_of(2), 0).notes
        assert sum("one place a rank" in note for note in notes) == said


@pytest.mark.parametrize("chunk", [1, 8])
def test_ranks_that_show_nothing_new_are_named(chunk, monkeypatch):
    monkeypatch.setattr(passes, "LARGEST_CHUNK", chunk)
    even, odd = torch.ones(1, 3, 32, 32), pixels_of(1).abs()
    even[..., :8, :8] = 1.5
    found = regard.BRNPA(classifier_of(averages()))(torch.cat([odd, even]), 0)
    assert found.ranks.valid.tolist() == [[True, True, True], [True, False, False]]
    (note,) = [note for note in found.notes if "nothing new" in note]
    assert note.endswith("rank 2 in image 1, rank 3 in image 1")


def test_places_that_are_equally_active_are_warned_about_and_named_in_a_note():
    classifier, pixels = classifier_of(vit()), pixels_of(IMAGES)
    with pytest.warns(UserWarning, match="which places come first is an accident"):
        found = regard.BRNPA(classifier, layer="norm")(pixels, 0)
    assert all("accident" in note for note in found.notes if "norms vary" in note)
    features = features_of(classifier.network, "norm", pixels)
    for image, one in enumerate(features):
        norms = [sum(float(value) ** 2 for value in place) ** 0.5 for place in one.flatten(1).T]
        mean = sum(norms) / len(norms)
        spread = (sum((norm - mean) ** 2 for norm in norms) / len(norms)) ** 0.5 / mean
        assert float(found.ranks.variation[image]) == pytest.approx(spread, rel=1e-4)
        named = any(f"image {image}" in note for note in found.notes if "accident" in note)
        assert named == (spread < 0.1)


def test_a_product_that_bytes_would_wrap_keeps_its_rank(monkeypatch):
    """200 · 200 modulo 256 is 64, which would fall behind 150 · 1 (faults of the published code, 1)."""
    classifier = brnpa()
    maps, norms = torch.tensor([200.0, 150, 10]), torch.tensor([200.0, 1, 250])
    plain = classifier.represent

    def crafted(pixels):
        found, output = plain(pixels)
        maps_of_ranks = maps.expand(1, 3, 3)[:, :, None]
        return replace(found, maps=maps_of_ranks, norms=norms[None, None]), output

    monkeypatch.setattr(classifier, "represent", crafted)
    found = regard.BRNPA(classifier)(pixels_of(1), 0)
    assert found.maps.flatten().tolist() == [40000, 150, 2500]
    assert found.ranks.maps[0, 2].flatten().tolist() == [40000, 150, 2500]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("make", [brnpa, lambda: classifier_of(cnn()), lambda: classifier_of(vit())])
def test_nan_in_a_picture_is_named_or_left_out_and_others_keep_their_ranks(make, value):
    explainer, pixels = regard.BRNPA(make()), pixels_of(IMAGES)
    clean = explainer(pixels, [0, 1])
    pixels[1, 2, 5, 7] = value
    with pytest.raises(NotFiniteError, match="image 1, channel 2, row 5, column 7"):
        explainer(pixels, [0, 1])
    for rule in ("skip", "propagate"):
        found = explainer(pixels, [0, 1], on_nan=rule)
        assert found.not_finite == (1,)
        same(found.maps[[0, 2]], clean.maps[[0, 2]])
        assert found.maps[1].isnan().all()
        assert found.ranks.maps[1].isnan().all()
        assert not found.ranks.valid[1].any()
        assert found.logits[1].isnan().all()
        assert found.ranks.shares is None or found.ranks.shares.isnan().all(dim=2).all(dim=1).tolist() == [0, 1, 0]


def test_nan_in_a_weight_is_named_and_never_a_map():
    network = cnn()
    ready = regard.BRNPA(classifier_of(network))
    with torch.no_grad():
        network[4].weight[0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"'4\.weight' holds NaN"):
        ready(pixels_of(), 0)


@pytest.mark.parametrize("rank", [4, 0, -1, True, 1.0, "least", None])
def test_a_rank_that_there_is_not_is_refused(rank):
    for classifier in (brnpa(), classifier_of(cnn())):
        with pytest.raises(UnsupportedError, match="no such rank"):
            regard.BRNPA(classifier, rank=rank)


def test_settings_that_do_not_fit_are_refused():
    for settings in ({"count": 2}, {"layer": "5"}):
        with pytest.raises(UnsupportedError, match="representatives of its own"):
            regard.BRNPA(brnpa(), **settings)
    with pytest.raises(UnsupportedError, match="number of representatives"):
        regard.BRNPA(classifier_of(cnn()), count=0)
    with pytest.raises(LayerError, match="no layer"):
        regard.BRNPA(classifier_of(cnn()), layer="nowhere")


def test_maps_of_the_poolings_that_it_is_compared_with_are_shown_in_no_order():
    plain, pixels = brnpa(count=2), pixels_of(2)
    for pooling, notes in (
        (loud(BilinearPooling(8, 2)), ("the 2 maps of this pooling are in no order",)),
        (MeanPooling(), ()),
    ):
        network = PooledNetwork(plain.network.backbone, plain.network.features, pooling).eval()
        head = loud(nn.Linear(8 * pooling.count, CLASSES, bias=False))
        classifier = regard.BRNPAClassifier.of(network, plain.preparation, head=head, precision="float32", source=None)
        found = regard.BRNPA(classifier, rank="mean")(pixels, [0, 1])
        assert found.notes == notes
        same(found.ranks.shares.sum(dim=2), found.logits[:, :2])
        with torch.no_grad():
            maps = pooling(features_of(plain.network.backbone, "5", pixels)).maps
        norms = features_of(plain.network.backbone, "5", pixels).square().sum(dim=1).sqrt()
        same(found.maps[:, 0], (maps * norms[:, None]).mean(dim=1))


@pytest.mark.data
def test_on_photos_the_embedded_network_at_28_by_28_shows_parts_apart(shared_data):
    photos = sorted((shared_data / "nips17-ccby" / "images").iterdir())[:2]
    finer = high_resolution(regard.load("regard:efficientnet-lite0"), (1, 1))
    found = regard.BRNPA(finer)(photos, 0)
    assert found.maps.shape == (2, 1, 28, 28)
    assert found.ranks.valid.all()
    assert (found.ranks.variation > 0.1).all()
    shares = found.ranks.maps.flatten(2) / found.ranks.maps.flatten(2).sum(dim=2, keepdim=True)
    overlap = (shares[:, 0] * shares[:, 1]).sqrt().sum(dim=1)
    assert (overlap < 0.95).all()
