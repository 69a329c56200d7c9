"""Ablation-CAM: a plain loop that really ablates, pytorch-grad-cam's values, and what is not run."""

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import LayerError, NotFiniteError
from regard.models import passes
from regard.models.suffix import find_suffix

from .networks import CLASSES, classifier_of, cnn, loud, mlp_head, pixels_of, same, vit

ALL = list(range(CLASSES))
timm = import_optional("timm", "timm")


def without(network, pixels, layer, channel, tokens_from=None):
    """The whole network, with one channel of a layer's output set to zero; of tokens, from the first patch on."""

    def hook(_, __, output):
        changed = output.clone()
        if tokens_from is None:
            changed[:, channel] = 0
        else:
            changed[:, tokens_from:, channel] = 0
        return changed

    handle = network.get_submodule(layer).register_forward_hook(hook)
    try:
        return network(pixels).detach()
    finally:
        handle.remove()


def features_at(network, pixels, layer):
    kept = []
    handle = network.get_submodule(layer).register_forward_hook(
        lambda _, __, output: kept.append(output.detach().clone())
    )
    network(pixels)
    handle.remove()
    return kept[0]


def living(network, pixels, layer):
    """How many channels of all pictures are not zero."""
    return int(features_at(network, pixels, layer).flatten(2).any(2).sum())


def ablated(network, pixels, layer, target, read=torch.abs):
    """w_k a(A_k), one channel after the other, in float64; `read` is a."""
    network, pixels = network.double(), pixels.double()
    features, score = features_at(network, pixels, layer), network(pixels)[:, target].detach()
    total = torch.zeros_like(features[:, 0])
    for channel in range(features.shape[1]):
        lost = score - without(network, pixels, layer, channel)[:, target]
        total += (lost / score.abs())[:, None, None] * read(features[:, channel])
    network.float()
    return total.clamp(min=0).float()


def with_hidden_head(seed=0):
    layers = [nn.Flatten(), nn.Linear(8 * 4 * 4, 12), nn.ReLU(), nn.Linear(12, CLASSES)]
    return loud(nn.Sequential(*list(cnn())[:6], nn.AdaptiveAvgPool2d(4), *layers), seed)


def test_a_pool_and_a_linear_head_need_no_pass():
    network, pixels = cnn(), pixels_of(3)
    ablation = regard.AblationCAM(classifier_of(network))
    explanation = ablation(pixels, ALL)
    assert ablation.closed
    assert explanation.forwards == 3 * ablation.forwards_each == 3
    for target in ALL:
        same(explanation.maps[:, target], ablated(network, pixels, "5", target))


@pytest.mark.parametrize("layer", ["0", "3", "5"])
def test_any_other_suffix_is_the_loop_over_channels(layer):
    network, pixels = with_hidden_head(), pixels_of(2)
    ablation = regard.AblationCAM(classifier_of(network), layer=layer)
    explanation = ablation(pixels, ALL)
    assert not ablation.closed
    assert ablation.suffix.begins == "there"
    assert ablation.forwards_each == 1 + (8 if layer == "5" else 6)
    assert explanation.forwards == 2 + living(network, pixels, layer)
    for target in ALL:
        same(explanation.maps[:, target], ablated(network, pixels, layer, target, torch.relu), 2e-4)


def test_what_lies_before_the_layer_runs_once_per_picture(monkeypatch):
    network, pixels, rows = with_hidden_head(), pixels_of(2), []
    ablation = regard.AblationCAM(classifier_of(network))
    ablation(pixels, 0)  # a chunk of it is measured once
    convolve = nn.Conv2d._conv_forward
    monkeypatch.setattr(
        nn.Conv2d,
        "_conv_forward",
        lambda self, given, *others: (rows.append(len(given)), convolve(self, given, *others))[1],
    )
    ablation(pixels, 0)
    assert sum(rows) == 2 * 2  # two convolutions, two pictures


@pytest.mark.parametrize("settings", [{}, {"reg_tokens": 3}, {"global_pool": "avg"}], ids=str)
def test_of_a_transformer_only_the_last_block_runs_again(settings):
    network, pixels = vit(**settings), pixels_of(3)
    ablation = regard.AblationCAM(classifier_of(network))
    blocks = []
    hook = network.blocks[0].attn.register_forward_hook(lambda _, given, __: blocks.append(len(given[0])))
    explanation = ablation(pixels, ALL)
    hook.remove()
    assert sum(blocks) == 3
    assert ablation.suffix.begins == "reader"
    assert explanation.forwards == 3 * ablation.forwards_each == 3 * (1 + 24)
    first = network.num_prefix_tokens
    features = features_at(network, pixels, "blocks.1.norm1")[:, first:].transpose(1, 2).unflatten(2, (4, 4))
    network.double()
    score = network(pixels.double()).detach()
    total = 0
    for channel in range(24):
        lost = (score - without(network, pixels.double(), "blocks.1.norm1", channel, first)) / score.abs()
        total = total + lost[:, :, None, None] * features[:, None, channel].abs()
    same(explanation.maps, total.clamp(min=0).float(), 2e-4)


def test_a_pool_after_the_blocks_is_entered_alone():
    network, pixels = vit(class_token=False, global_pool="map"), pixels_of(2)
    ablation = regard.AblationCAM(classifier_of(network))
    assert ablation.suffix.begins == "reader"
    maps, kept = ablation(pixels, ALL).maps, []
    handle = network.attn_pool.kv.register_forward_pre_hook(lambda _, given: kept.append(given[0].detach()))
    score = network(pixels).detach()
    handle.remove()
    total = 0
    for channel in range(24):
        keep = torch.ones(24)
        keep[channel] = 0
        handle = network.attn_pool.kv.register_forward_pre_hook(lambda _, given, keep=keep: (given[0] * keep,))
        lost = (score - network(pixels).detach()) / score.abs()
        handle.remove()
        total = total + lost[:, :, None, None] * kept[0][:, :, channel].abs().unflatten(1, (4, 4))[:, None]
    same(maps, total.clamp(min=0), 2e-4)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, stride=4)
        self.branch = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, pixels):
        grid = self.stem(pixels).relu()
        return self.head((grid + self.branch(grid)).square().mean((2, 3)))


def test_a_branch_that_cannot_be_entered_alone_runs_in_the_whole_network():
    network, pixels = loud(Residual()), pixels_of(3)
    ablation = regard.AblationCAM(classifier_of(network), layer="branch")
    assert ablation.suffix.begins == "picture"
    assert not ablation.closed
    for target in ALL:
        same(ablation(pixels, target).maps[:, 0], ablated(network, pixels, "branch", target), 2e-4)


class Daylight(nn.Module):
    """A head that looks back at the picture itself, by day."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3, padding=1, stride=4), nn.Linear(6, CLASSES)

    def forward(self, pixels):
        day = (pixels.mean((1, 2, 3)) - 0.5).relu()
        return self.head(self.stem(pixels).relu().mean((2, 3))) * (1 + day[:, None])


def test_a_network_that_looks_back_at_bright_pictures_alone_runs_whole():
    """Entered at the layer it would take the features for the picture, and on noise of mean zero nobody would see."""
    network, pixels = Daylight(), pixels_of(2) + 1
    with torch.no_grad():
        network.stem.weight.copy_(torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(0)))
        network.stem.bias.fill_(-0.5)
    ablation = regard.AblationCAM(classifier_of(network.eval()), layer="stem")
    assert ablation.suffix.begins == "picture"
    same(ablation(pixels, 0).maps[:, 0], ablated(network, pixels, "stem", 0, torch.relu), 2e-4)


def test_a_head_with_a_hidden_layer_is_no_closed_form():
    backbone = nn.Sequential(nn.Conv2d(3, 24, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = classifier_of(loud(backbone), head=mlp_head())
    ablation, pixels = regard.AblationCAM(classifier), pixels_of(2)
    assert not ablation.closed
    whole = nn.Sequential(backbone, classifier.head)
    same(ablation(pixels, 1).maps[:, 0], ablated(whole, pixels, "0.1", 1), 2e-4)


@pytest.mark.parametrize(
    ("name", "closed"),
    [
        ("resnet10t", True),
        ("test_efficientnet", True),
        ("densenet121", True),
        ("convnext_atto", False),
        ("mobilenetv3_small_050", False),
    ],
)
def test_timm_s_networks_are_entered_where_their_features_are(name, closed):
    network = timm.create_model(name, pretrained=False, num_classes=CLASSES).eval()
    ablation = regard.AblationCAM(classifier_of(network, size=64))
    assert ablation.suffix.begins == "there"
    assert ablation.closed == closed


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_maps_of_timm_s_networks_are_the_loop(name):
    torch.manual_seed(0)  # drawn otherwise, channels may cancel to almost nothing, or the map be empty
    network = timm.create_model(name, pretrained=False, num_classes=CLASSES).eval()
    torch.nn.init.normal_(network.get_classifier().weight)
    ablation, pixels = regard.AblationCAM(classifier_of(network, size=64)), pixels_of(1, (64, 64))
    maps, layer = ablation(pixels, 1).maps[0, 0], ablation.settings["layer"]
    with torch.no_grad():
        features, score = features_at(network, pixels, layer)[0], network(pixels)[0, 1]
        scores = []
        for channels in torch.arange(len(features)).split(64):
            rows = (torch.arange(len(channels)), channels)
            hook = network.get_submodule(layer).register_forward_hook(
                lambda _, __, output, rows=rows: output.clone().index_put(rows, torch.zeros(()))
            )
            scores.append(network(pixels.expand(len(channels), -1, -1, -1))[:, 1])
            hook.remove()
    weights = (score - torch.cat(scores)) / score.abs()
    assert maps.max() > 0.1
    same(maps, torch.einsum("k,khw->hw", weights, features.abs()).relu(), 1e-3)


def test_maps_are_pytorch_grad_cam_s_where_scores_are_above_zero():
    peers = import_optional("pytorch_grad_cam", "baselines")
    targets = import_optional("pytorch_grad_cam.utils.model_targets", "baselines")
    network, pixels = cnn(), pixels_of(2)
    target = int(network(pixels).amin(0).argmax())
    assert (network(pixels)[:, target] > 0).all()
    maps = regard.AblationCAM(classifier_of(network), layer="5")(pixels, target).maps
    with torch.no_grad():
        features = network[:6](pixels)
    peer = peers.AblationCAM(network, [network[5]])
    chosen = [targets.ClassifierOutputTarget(target)] * 2
    expected = peer.get_cam_image(pixels, network[5], chosen, features, None, False)
    peer.activations_and_grads.release()
    expected = expected if isinstance(expected, torch.Tensor) else torch.from_numpy(expected)
    same(maps[:, 0], expected.float().clamp(min=0), 1e-4)


@pytest.mark.parametrize("bias", [0.0, -0.5])
def test_weights_keep_their_sign_where_the_score_is_not_above_zero(bias):
    """A₁ = p, A₂ = 2p with p = (1, 3): the logit is 2 A₁ − A₂ + bias = bias, so y − y₁ = 4 and y − y₂ = −4."""
    spread, head = nn.Conv2d(1, 2, 1, bias=False), nn.Linear(2, 1)
    with torch.no_grad():
        spread.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
        head.weight.copy_(torch.tensor([[2.0, -1.0]]))
        head.bias.fill_(bias)
    network = nn.Sequential(spread, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    classifier = regard.Classifier(network, regard.Preparation(size=2, mean=(0.5,), std=(0.1,)), outputs="scalar")
    pixels = torch.tensor([[1.0, 3.0], [1.0, 3.0]]).view(1, 1, 2, 2)
    negated = torch.tensor([[-1.0, -3.0], [-1.0, -3.0]]).view(1, 1, 2, 2)
    size = max(abs(bias), 1e-12)
    assert (regard.AblationCAM(classifier)(pixels, 0).maps == 0).all()  # 4·p − 4·2p is below zero everywhere
    found = regard.AblationCAM(classifier)(negated, 0).maps.view(2, 2)  # −4·|−p| + 4·|−2p| = 4p
    assert found.tolist() == [pytest.approx([4 / size, 12 / size])] * 2
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-2.0, 1.0]]))
    found = regard.AblationCAM(classifier)(pixels, 0).maps.view(2, 2)  # −4·p + 4·2p = 4p
    assert found.tolist() == [pytest.approx([4 / size, 12 / size])] * 2


def test_every_kind_of_target_is_answered_without_a_pass():
    network, pixels = cnn(), pixels_of(2)
    classifier = classifier_of(network)
    features = network[:6](pixels).detach()
    targets = [
        regard.Difference(0, regard.Predicted()),
        regard.Probability(2),
        regard.Score(lambda logits: (logits[:, 0] * logits[:, 1]).tanh()),
        regard.Score(lambda embedding: embedding.square().sum(1), of="embedding"),
    ]
    explanation = regard.AblationCAM(classifier)(pixels, targets)
    assert explanation.forwards == 2
    likeliest = classifier(pixels).argmax(1)
    for image in range(2):
        best = int(likeliest[image])
        values = [
            lambda tail, best=best: tail[0] - tail[best],
            lambda tail: tail.softmax(0)[2],
            lambda tail: (tail[0] * tail[1]).tanh(),
        ]
        for place, value in enumerate(values):
            score = value(network[6:](features[image : image + 1])[0])
            total = 0
            for channel in range(8):
                changed = features[image : image + 1].clone()
                changed[:, channel] = 0
                total = total + (score - value(network[6:](changed)[0])) / score.abs() * features[image, channel]
            same(explanation.maps[image, place], total.clamp(min=0), 1e-4)
        pooled = features[image].mean((1, 2))
        total = (pooled.square() / pooled.square().sum())[:, None, None] * features[image]
        same(explanation.maps[image, 3], total.sum(0), 1e-4)


def test_channels_that_are_zero_cost_nothing():
    network, pixels = with_hidden_head(), pixels_of(2)
    with torch.no_grad():
        network[4].bias[[1, 4, 6]] = -100
    ablation = regard.AblationCAM(classifier_of(network), layer="5")
    explanation = ablation(pixels, ALL)
    assert explanation.forwards == 2 + living(network, pixels, "5") <= 2 * (1 + 8 - 3)
    for target in ALL:
        same(explanation.maps[:, target], ablated(network, pixels, "5", target), 2e-4)
    with torch.no_grad():
        network[4].bias.fill_(-100)
    nothing = ablation(pixels, 2)
    assert nothing.forwards == 2
    assert "no cell speaks for the target" in nothing.notes[0]


def test_many_classes_are_written_out_in_parts(monkeypatch):
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    whole = regard.AblationCAM(classifier)(pixels, ALL).maps
    monkeypatch.setattr("regard.explainers.ablation_cam.ROWS", 3)
    same(regard.AblationCAM(classifier)(pixels, ALL).maps, whole)


def test_chunks_of_another_size_give_the_same_map():
    network, pixels = with_hidden_head(), pixels_of(3)
    classifier = classifier_of(network)
    like, maps = network[:6](pixels)[:1], []
    for size in (1, 5, 64):
        passes.remember_chunk(classifier, like, size)
        maps.append(regard.AblationCAM(classifier)(pixels, [0, 1]).maps)
    same(maps[1], maps[0], 2e-4)
    same(maps[2], maps[0], 2e-4)


def test_nothing_is_left_after_a_failure_in_a_suffix(monkeypatch):
    network, pixels = with_hidden_head(), pixels_of(2)
    ablation = regard.AblationCAM(classifier_of(network))
    before = network(pixels).detach()
    with torch.no_grad():
        weight = network[10].weight.clone()
        network[10].weight[0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"10\.weight"):
        ablation(pixels, 0)
    with torch.no_grad():
        network[10].weight.copy_(weight)
    assert network(pixels).equal(before)
    assert not any("forward" in vars(module) for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_network_is_entered_at_a_layer_s_input_too():
    classifier = classifier_of(vit())
    place = classifier.tokens.attention_input
    assert find_suffix(classifier, place).begins == "reader"


def test_a_layer_without_a_grid_is_refused():
    with pytest.raises(LayerError, match="does not give one feature map"):
        regard.AblationCAM(classifier_of(cnn()), layer="8")
