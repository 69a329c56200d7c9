"""A fusion begins at the scale it should or at the classifier's own maps, and what cannot be fused is refused."""

import copy

import pytest
import torch

from regard.attention import FusionAttention
from regard.errors import LayerError, TargetError, UnsupportedError

from ..explainers.networks import same
from . import slow
from .fusions import CLASSES, WIDTH, attention, classes_of, drawn, features_of, head_of


@pytest.mark.parametrize("variant", ["tame", "no-skip-no-norm", "l-cam", "tied"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
def test_started_from_the_head_the_maps_are_the_classifier_s_class_activation_maps(variant, training):
    made = attention(variant, channels=(3, 4, WIDTH)).train(training)
    features = features_of(channels=(3, 4, WIDTH))
    features[2] = features[2].abs()
    head = head_of()
    made.start_from_head(head)
    cams = torch.stack([sum(row[k] * features[2][:, k] for k in range(WIDTH)) for row in head], dim=1)
    if variant != "l-cam":
        cams = torch.from_numpy(slow.resized(cams.double().numpy(), (6, 4))).float()
    assert same(made(features), cams)


@pytest.mark.parametrize("variant", ["tame", "tied"])
def test_started_from_the_head_every_part_can_still_learn(variant):
    made = attention(variant, channels=(3, WIDTH)).train()
    made.start_from_head(head_of())
    features = features_of(channels=(3, WIDTH))
    step = torch.optim.SGD(made.parameters(), lr=0.1)
    for _ in range(3):
        step.zero_grad()
        made(features).square().mean().backward()
        step.step()
    still = [
        name
        for name, weight in made.named_parameters()
        if not weight.grad.abs().max() > 1e-7 and not name.endswith("convolution.bias")  # the norm takes it out again
    ]
    assert still == []


def test_rows_begin_with_the_scale_of_a_convolution_whatever_the_head_s():
    torch.manual_seed(0)
    plain = FusionAttention((300, 200), 40)
    for scale in (0.01, 1, 50):
        tied = FusionAttention((300, 200), 40, "tied", head=scale * drawn(40, 64))
        rows, biases = tied._rows(None)
        assert 0.9 < float((rows.std() / plain.fuser.weight.std()).detach()) < 1.1
        assert 0.4 < float((biases.std() / plain.fuser.bias.std()).detach()) < 2


@pytest.mark.parametrize(
    ("features", "came"),
    [
        (features_of()[:2], "2, 4, 3, 2"),
        ([], "none"),
        (features_of()[::-1], "2, 5, 5, 3"),
        ([*features_of()[:2], features_of(3)[2]], "3, 5, 5, 3"),
        ([one[0] for one in features_of()], "3, 6, 4"),
    ],
    ids=["too few", "none", "another order", "another batch", "no batch"],
)
def test_other_feature_maps_are_refused(features, came):
    with pytest.raises(LayerError, match="not the feature maps") as refusal:
        attention()(features)
    assert came in refusal.value.came
    assert refusal.value.expected == "(B, 3, h, w), (B, 4, h, w), (B, 5, h, w)"


@pytest.mark.parametrize(
    "classes",
    [classes_of()[None], classes_of(1), classes_of().float(), classes_of().int(), classes_of(count=0)],
    ids=["three axes", "another batch", "floats", "int32", "none"],
)
def test_classes_of_another_shape_or_type_are_refused(classes):
    with pytest.raises(TargetError, match="a row a picture"):
        attention()(features_of(), classes)


@pytest.mark.parametrize("variant", ["tame", "tied"])
@pytest.mark.parametrize("wrong", [-1, CLASSES])
def test_a_class_that_is_not_there_is_refused_with_the_range(variant, wrong):
    with pytest.raises(TargetError, match="no such class") as refusal:
        attention(variant)(features_of(), torch.tensor([[0], [wrong]]))
    assert refusal.value.expected == "0 to 5"
    assert refusal.value.came == f"class indices from {min(0, wrong)} to {max(0, wrong)}"


@pytest.mark.parametrize("variant", ["tame", "tied"])
@pytest.mark.parametrize("classes", [[[0], [CLASSES]], [-1, 2]], ids=["of each picture", "of all"])
def test_a_class_that_is_not_there_never_reaches_the_device(variant, classes, monkeypatch):
    """A GPU raises no IndexError: its kernel asserts, after which the process cannot use it any more."""

    def assertion(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    made, features = attention(variant), features_of()
    monkeypatch.setattr("torch.nn.functional.embedding", assertion)
    with pytest.raises(TargetError, match="no such class"):
        made(features, torch.tensor(classes))


@pytest.mark.parametrize(
    ("arguments", "settings", "text"),
    [
        (((3,), 5, "TAME"), {}, "no such variant"),
        (((), 5), {}, "needs layers"),
        (((3, 0), 5), {}, "needs layers"),
        (((3,), 0), {}, "needs layers"),
        (((3,), 5, "tied"), {}, "alone is given the classifier's head"),
        (((3,), 5), {"head": drawn(5, 2)}, "alone is given the classifier's head"),
        (((3,), 5, "tied"), {"head": drawn(4, 2)}, "does not fit"),
        (((3,), 5, "tied"), {"head": drawn(5)}, "does not fit"),
        (((3,), 5, "tied"), {"head": torch.zeros(5, 2)}, "cannot be tied"),
        (((3,), 5, "tied"), {"head": torch.full((5, 2), torch.nan)}, "cannot be tied"),
        (((3,), 5), {"smoothing": -1}, "number of cells"),
        (((3,), 5), {"smoothing": 1.0}, "number of cells"),
        (((3,), 5), {"smoothing": True}, "number of cells"),
    ],
    ids=[
        *["variant", "layers", "channels", "classes", "no head", "a head", "rows", "vector", "zeros", "NaN"],
        *["negative", "broken", "yes"],
    ],
)
def test_what_no_module_can_be_made_of_is_refused(arguments, settings, text):
    with pytest.raises(UnsupportedError, match=text):
        FusionAttention(*arguments, **settings)


@pytest.mark.parametrize(
    ("variant", "head", "text"),
    [
        ("tame", drawn(CLASSES, 4), "no class activation map"),
        ("tame", drawn(5, 5), "no class activation map"),
        ("no-skip", drawn(CLASSES, 5), "cannot hand features on"),
        ("sigmoid", drawn(CLASSES, 5), "cannot hand features on"),
        ("tied", head_of(), "no class activation map"),
    ],
)
def test_a_start_from_a_head_that_reads_something_else_is_refused(variant, head, text):
    made = attention(variant)
    before = copy.deepcopy(made.state_dict())
    with pytest.raises(UnsupportedError, match=text):
        made.start_from_head(head)
    assert all(made.state_dict()[name].equal(value) for name, value in before.items())


def test_tied_rows_start_from_no_other_head():
    made = attention("tied", channels=(3, WIDTH))
    with pytest.raises(UnsupportedError, match="the head they are tied to"):
        made.start_from_head(head_of() + 1)
