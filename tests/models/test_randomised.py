"""Copies whose weights are shuffled: which, how, and that nothing else is."""

import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

import regard
from regard.errors import UnsupportedError
from regard.metrics.randomisation import randomisation_correlation
from regard.models.randomised import cascade, randomised, stages

from ..explainers.networks import CLASSES, WIDTH, classifier_of, cnn, loud, mlp_head, pixels_of, same, vit
from .test_transformer import ANATOMY, hugging_face

TRANSFORMERS = ("timm", "torchvision", "distilled", "attention pooling", "open_clip", "chunks of blocks", "DINOv2")
FAMILIES = {
    "cnn": lambda: classifier_of(cnn()),
    "cnn with norms": lambda: classifier_of(Normed()),
    "norm first": lambda: classifier_of(norm_first()),
    "layer used twice": lambda: classifier_of(Twice()),
    "head of its own": lambda: classifier_of(vit(num_classes=0), head=mlp_head()),
    "representatives": lambda: brnpa_of(cnn(), strides=1),
    "representatives of tokens": lambda: brnpa_of(vit(), strides=4),
    "no head": lambda: classifier_of(vit(num_classes=0)),
    "in a fast path": lambda: classifier_of(Fast()),
    "transformers": lambda: classifier_of(hugging_face("ViT", "ViTForImageClassification", num_labels=5)),
    **{name: lambda name=name: classifier_of(ANATOMY[name][0](), ANATOMY[name][1]) for name in TRANSFORMERS},
}


def brnpa_of(network, **settings):
    return regard.BRNPAClassifier(classifier_of(network), list("abc"), count=2, **settings)


class Normed(nn.Module):
    """A norm before all and one after each convolution; the layer that runs first is defined last."""

    def __init__(self):
        super().__init__()
        layers = {"one": nn.Conv2d(3, 6, 3), "one_norm": nn.BatchNorm2d(6), "two": nn.Conv2d(6, 8, 3, stride=2)}
        layers |= {"two_norm": nn.BatchNorm2d(8), "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
        self.layers = nn.ModuleDict({**layers, "first": nn.BatchNorm2d(3)})
        self.head = nn.Linear(8, CLASSES)
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
        loud(self)

    def forward(self, pixels):
        for name in ("first", "one", "one_norm", "two", "two_norm", "pool", "flat"):
            pixels = self.layers[name](pixels * self.scale if name == "first" else pixels)
        return self.head(pixels)


def norm_first():
    layers = [nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return loud(nn.Sequential(*layers, nn.Linear(6, CLASSES)))


class Twice(nn.Module):
    """A layer that runs before another one and after it."""

    def __init__(self):
        super().__init__()
        self.again, self.between, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)
        loud(self)

    def forward(self, pixels):
        colours = pixels.mean((2, 3)).repeat(1, 3)[:, :8]
        return self.head(self.again(self.between(self.again(colours)).relu()))


class Fast(nn.Module):
    """torch's own layer, whose parts do not run by themselves where no gradient is wanted."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 3, 32, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)
        loud(self)

    def forward(self, pixels):
        return self.head(self.layer(self.patches(pixels).flatten(2).mT).mean(1))


def weights_of(classifier):
    own = {f"network.{name}": value for name, value in classifier.module.state_dict().items()}
    return own | {f"head.{name}": value for name, value in (classifier.head or nn.Identity()).state_dict().items()}


def changed(before, after):
    """Names of the weights that differ."""
    assert before.keys() == after.keys()
    return {name for name in before if not before[name].equal(after[name])}


def learnt(classifier, names):
    """Those of the weights that a shuffle can change: of more than one value."""
    weights = weights_of(classifier)
    return {name for name in names if weights[name].unique().numel() > 1}


def parameters_of(classifier):
    own = {f"network.{name}" for name, _ in classifier.module.named_parameters()}
    return own | {f"head.{name}" for name, _ in (classifier.head or nn.Identity()).named_parameters()}


@pytest.fixture(params=FAMILIES)
def classifier(request):
    return FAMILIES[request.param]()


def test_the_cascade_redraws_one_stage_more_in_each_step_and_in_the_end_all(classifier):
    before, hashed = copy.deepcopy(weights_of(classifier)), classifier.hash
    steps, copies = stages(classifier), list(cascade(classifier))
    names = [name for stage in steps for name in stage.weights]
    assert sorted(names) == sorted(parameters_of(classifier))
    assert len(copies) == len(steps)
    done = set()
    for stage, other in zip(steps, copies, strict=True):
        done |= learnt(classifier, stage.weights)
        assert changed(before, weights_of(other)) == done
        assert stage.name in other.name
    assert done == learnt(classifier, names)
    for name, value in weights_of(copies[-1]).items():
        assert value.flatten().sort().values.equal(before[name].flatten().sort().values)  # the same values elsewhere
    assert changed(before, weights_of(classifier)) == set()
    assert classifier.hash == hashed


def test_a_copy_answers_like_a_classifier_of_its_own(classifier):
    pixels = pixels_of(2, classifier.preparation.frame)
    other = randomised(classifier, "all", seed=3)
    kept = ("labels", "outputs", "class_count", "width", "precision", "tokens", "preparation")
    assert [getattr(other, name) for name in kept] == [getattr(classifier, name) for name in kept]
    assert other(pixels).isfinite().all()
    assert not torch.allclose(other(pixels), classifier(pixels))


def test_a_part_is_the_stages_that_it_names(classifier):
    before, steps = copy.deepcopy(weights_of(classifier)), stages(classifier)
    everything = learnt(classifier, [name for stage in steps for name in stage.weights])
    assert changed(before, weights_of(randomised(classifier, "all"))) == everything
    if not steps[0].is_head:
        with pytest.raises(UnsupportedError, match="head"):
            randomised(classifier, "head")
        return
    assert changed(before, weights_of(randomised(classifier, "head"))) == learnt(classifier, steps[0].weights)
    last = changed(before, weights_of(randomised(classifier, "last block")))
    if classifier.tokens is None:
        assert last == learnt(classifier, steps[1].weights)
    else:
        assert any(f".{classifier.tokens.blocks[-1]}." in name for name in last)
        assert not any(f".{block}." in name for name in last for block in classifier.tokens.blocks[:-1])
        assert not last & {*steps[0].weights}


def order_of(classifier):
    return [stage.name for stage in stages(classifier)]


def test_stages_go_from_the_head_over_blocks_or_layers_to_what_stands_before_them():
    assert order_of(classifier_of(vit())) == ["head", "blocks.1", "blocks.0", "patch_embed.proj", "VisionTransformer"]
    assert order_of(classifier_of(cnn())) == ["8", "4", "0"]
    assert order_of(classifier_of(vit(num_classes=0), head=mlp_head()))[:2] == ["head", "blocks.1"]
    assert order_of(classifier_of(Twice())) == ["head", "again", "between"]
    assert order_of(classifier_of(norm_first())) == ["5", "1", "0"]
    pooled = classifier_of(vit(class_token=False, global_pool="map"))
    assert order_of(pooled)[:4] == ["head", "attn_pool", "blocks.1", "blocks.0"]
    last = stages(classifier_of(vit()))[1].weights
    assert {"network.norm.weight", "network.blocks.1.attn.qkv.bias", "network.blocks.1.norm1.weight"} <= {*last}


def test_norms_go_with_the_layer_before_them_and_what_runs_first_comes_last():
    found = {stage.name: {*stage.weights} for stage in stages(classifier_of(Normed()))}
    assert list(found) == ["head", "layers.two", "layers.one", "Normed"]
    assert {name.split(".")[2] for name in found["layers.two"]} == {"two", "two_norm"}
    assert {name.split(".")[2] for name in found["layers.one"]} == {"one", "one_norm"}
    assert found["Normed"] == {"network.scale", "network.layers.first.weight", "network.layers.first.bias"}


def test_the_tensor_of_a_name_is_redrawn_alike_in_every_copy_and_otherwise_by_another_seed():
    classifier = classifier_of(vit())
    head = weights_of(randomised(classifier, "head", seed=1))["network.head.weight"]
    for other in (randomised(classifier, "all", seed=1), *cascade(classifier, seed=1)):
        assert weights_of(other)["network.head.weight"].equal(head)
    assert not weights_of(randomised(classifier, "head", seed=2))["network.head.weight"].equal(head)


def test_tensors_of_one_shape_are_not_redrawn_alike():
    network = vit()
    layers = [f"blocks.{block}.mlp.fc1.weight" for block in range(2)]
    with torch.no_grad():
        for name in layers:
            network.get_parameter(name).copy_(torch.arange(WIDTH * 2 * WIDTH).view(2 * WIDTH, WIDTH) / 1e4)
    other = randomised(classifier_of(network), "all").module
    assert not other.get_parameter(layers[0]).equal(other.get_parameter(layers[1]))


def test_an_anatomy_that_was_told_is_told_to_the_copies():
    tokens = dataclasses.replace(classifier_of(vit()).tokens, cannot_drop="so it was said")
    assert randomised(classifier_of(vit(), tokens=tokens)).tokens == tokens


@pytest.mark.parametrize("part", ["head", "last block", "all"])
def test_a_classifier_with_representatives_stays_one_and_is_judged_by_them(part):
    classifier, pixels = brnpa_of(cnn(), strides=1), pixels_of(2)
    other = randomised(classifier, part)
    assert type(other) is regard.BRNPAClassifier
    assert other.grid == (32, 32)
    assert other.backbone_source == classifier.backbone_source
    assert other.hash != classifier.hash
    before, after = (regard.BRNPA(each)(pixels, [0, 1, 2]) for each in (classifier, other))
    assert after.ranks.maps.shape == (2, 2, 32, 32)
    same(after.ranks.shares.sum(dim=2), after.logits)
    assert after.notes == ()
    assert torch.equal(before.ranks.maps, after.ranks.maps) == (
        part == "head"
    )  # which places stand out hangs on no class
    assert not torch.allclose(before.ranks.shares, after.ranks.shares)
    correlation = randomisation_correlation(regard.BRNPA, classifier, pixels, [other], 0)
    assert torch.allclose(correlation, torch.ones(1, 2, 1).double()) == (part == "head")


@settings(max_examples=10, deadline=None)
@given(some.integers(-(2**63), 2**63 - 1))
def test_any_whole_number_is_a_seed(seed):
    classifier = classifier_of(cnn())
    assert weights_of(randomised(classifier, seed=seed))["network.8.weight"].unique().numel() == 8 * CLASSES


def test_nothing_is_left_in_the_network_and_copies_take_nothing_of_it_along():
    network = cnn().train()
    network[4].eval()
    network[0].weight.requires_grad_(False)
    network[4].weight.grad = torch.ones_like(network[4].weight)
    classifier = classifier_of(network)
    modes, state = [module.training for module in network.modules()], torch.random.get_rng_state()
    with torch.inference_mode():
        copies = list(cascade(classifier))
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == [False] + [True] * 5
    assert network[4].weight.grad.equal(torch.ones_like(network[4].weight))
    assert torch.random.get_rng_state().equal(state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    regard.GradCAM(copies[-1], layer="4")(pixels_of(), 0)  # its weights can be differentiated
    shared = {value.data_ptr() for value in weights_of(classifier).values()}
    assert not shared & {value.data_ptr() for value in weights_of(copies[0]).values()}


def test_a_failing_pass_leaves_no_hook():
    network = cnn()
    classifier = classifier_of(network)
    network[4].forward = lambda _: 1 / 0
    with pytest.raises(ZeroDivisionError):
        stages(classifier)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_part_or_a_seed_that_is_none_is_refused():
    classifier = classifier_of(cnn())
    with pytest.raises(UnsupportedError, match="no such part") as refusal:
        randomised(classifier, "cascade")
    assert "last block" in refusal.value.expected
    for make in (randomised, cascade):
        with pytest.raises(UnsupportedError, match="seed"):
            make(classifier, seed=1.5)
