"""The last stages of networks of any kind are found, by rule or by name."""

import pytest
import torch

from regard.compat import import_optional
from regard.errors import LayerError, UnsupportedError
from regard.models import passes
from regard.models.convolutional import last_feature_map
from regard.models.features import Features
from regard.models.stages import read_stages, stages_of
from regard.models.taps import Place

from ..explainers.networks import WIDTH, classifier_of, loud, pixels_of, vit
from .test_convolutional import Net, conv, pooled, swin, timm_network, torchvision_swin
from .test_transformer import OfTuples, hugging_face, tiny

timm = import_optional("timm", "timm")
torchvision = import_optional("torchvision.models", "torchvision")
NOT_SQUARE = (224, 160)


def filled(make):
    """A network of weights that repeat a few random numbers: those of a large one are drawn too slowly."""
    with torch.device("meta"):
        network = make()
    network = network.to_empty(device="cpu").eval()
    numbers = torch.randn(1009, generator=torch.Generator().manual_seed(0))
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_floating_point():
            count, scale = tensor.numel(), (2 / max(1, tensor[..., :1].numel(), tensor[0].numel())) ** 0.5
            repeated = numbers.repeat(-(-count // 1009))[:count].view_as(tensor)
            plain = tensor.dim() == 1
            norm = name.endswith(("weight", "running_var"))
            tensor.data.copy_((1 + 0.1 * repeated).abs() if plain and norm else repeated * (0.1 if plain else scale))
    return network


def resnet():
    return loud(torchvision.resnet18(num_classes=5))


def vgg(make=torchvision.vgg11):
    """With a head of one layer: its own has a hundred million weights."""

    def headed():
        network = make()
        network.classifier = torch.nn.Linear(512 * 7 * 7, 5)
        return network

    return filled(headed)


def thin_vgg():
    sizes = [8, "M", 8, "M", 8, 16, "M", 24, 32, "M", 512, "M"]
    return vgg(lambda: torchvision.VGG(torchvision.vgg.make_layers(sizes), init_weights=False))


def torchvision_convnext():
    convnext = torchvision.convnext
    sizes = [(8, 16), (16, 24), (24, 32), (32, None)]
    return loud(convnext.ConvNeXt([convnext.CNBlockConfig(*size, 1) for size in sizes], num_classes=5))


def torchvision_vit(depth=4):
    return loud(torchvision.VisionTransformer(32, 8, depth, 3, WIDTH, 48, num_classes=5))


def read_of(classifier, stages, pixels, **settings):
    with classifier.untouched(), torch.no_grad():
        return read_stages(classifier, stages, pixels, **settings)


GRIDS = {
    "ResNet-18": (resnet, 64, ["layer2", "layer3", "layer4"], [(128, 8, 8), (256, 4, 4), (512, 2, 2)]),
    "ResNet-18, not square": (
        resnet,
        NOT_SQUARE,
        ["layer2", "layer3", "layer4"],
        [(128, 28, 20), (256, 14, 10), (512, 7, 5)],
    ),
    "VGG, of 224": (
        thin_vgg,
        224,
        ["features.14", "features.17", "avgpool"],
        [(32, 28, 28), (512, 14, 14), (512, 7, 7)],
    ),
    "VGG-11, not square, pooled to 7 by 7": (
        vgg,
        (96, 64),
        ["features.14", "features.19", "features"],
        [(512, 12, 8), (512, 6, 4), (512, 3, 2)],
    ),
    "EfficientNet": (
        lambda: timm_network("test_efficientnet"),
        64,
        ["blocks.2", "blocks.3", "bn2"],
        [(32, 8, 8), (48, 4, 4), (256, 2, 2)],
    ),
    "torchvision's MobileNet": (
        lambda: loud(torchvision.mobilenet_v2(num_classes=5)),
        64,
        ["features.6", "features.13", "features"],
        [(32, 8, 8), (96, 4, 4), (1280, 2, 2)],
    ),
    "ConvNeXt": (
        lambda: timm_network("test_convnext"),
        (64, 96),
        ["stages.1", "stages.2", "norm_pre"],
        [(32, 8, 12), (48, 4, 6), (64, 2, 3)],
    ),
    "torchvision's ConvNeXt": (
        torchvision_convnext,
        64,
        ["features.3", "features.5", "features"],
        [(16, 8, 8), (24, 4, 4), (32, 2, 2)],
    ),
    "Swin": (swin, 64, ["layers.1", "layers.2", "norm"], [(24, 8, 8), (48, 4, 4), (96, 2, 2)]),
    "torchvision's Swin": (
        torchvision_swin,
        64,
        ["features.3", "features.5", "permute"],
        [(24, 8, 8), (48, 4, 4), (96, 2, 2)],
    ),
    "MambaOut": (
        lambda: timm_network("test_mambaout"),
        64,
        ["stages.1", "stages.2", "stages"],
        [(32, 8, 8), (48, 4, 4), (64, 2, 2)],
    ),
}


@pytest.mark.parametrize("case", GRIDS)
def test_of_a_network_that_shrinks_its_grid_the_ends_of_its_last_strides_are_read(case):
    make, size, layers, shapes = GRIDS[case]
    classifier = classifier_of(make(), size)
    stages, pixels = stages_of(classifier), pixels_of(2, classifier.preparation.frame)
    maps, output = read_of(classifier, stages, pixels)
    assert [stage.layer for stage in stages] == layers
    assert [tuple(one.shape) for one in maps] == [(2, *shape) for shape in shapes]
    assert stages[-1].layer == last_feature_map(classifier).layer
    assert output.logits.equal(classifier(pixels).detach())


def test_more_strides_go_further_back_and_a_network_that_has_fewer_is_refused():
    classifier = classifier_of(resnet(), 64)
    assert [stage.layer for stage in stages_of(classifier, 5)] == ["relu", "layer1", "layer2", "layer3", "layer4"]
    with pytest.raises(UnsupportedError, match="fewer grids") as refusal:
        stages_of(classifier, 6)
    assert refusal.value.came.startswith("32×32 of 'relu', 16×16 of 'layer1'")
    assert refusal.value.remedy.startswith("count=5")


def test_a_layer_beside_the_main_path_is_passed_over_and_so_is_a_stride_without_one():
    """Grids 16, 8 and 4: of 16 a branch is last, of 8 there are only branches."""

    def call(net, pixels):
        stem = net.stem(pixels)
        fine = stem + net.beside(stem)
        return pooled(net.head, net.last(net.one(fine) + net.two(fine)))

    layers = {"stem": conv(3, 4, 2), "beside": conv(4, 4), "one": conv(4, 4, 2), "two": conv(4, 4, 2)}
    classifier = classifier_of(loud(Net(call, **layers, last=conv(4, 6, 2), head=torch.nn.Linear(6, 5))))
    assert [stage.layer for stage in stages_of(classifier, 2)] == ["stem", "last"]


def test_what_only_a_shrinking_block_holds_is_read_where_nothing_before_it_is():
    inner = torch.nn.Sequential(conv(4, 8), torch.nn.ReLU(), conv(8, 6, 2))
    call = Net(lambda net, x: net.inner(torch.nn.functional.max_pool2d(net.stem(x), 2)), stem=conv(3, 4), inner=inner)
    network = Net(lambda net, x: pooled(net.head, net.body(x)), body=call, head=torch.nn.Linear(6, 5))
    assert [stage.layer for stage in stages_of(classifier_of(loud(network)), 2)] == ["body.inner.1", "body"]


def test_a_grid_that_is_trimmed_is_no_other_stride():
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3), conv(4, 4, 2), torch.nn.Conv2d(4, 4, 3)]
    network = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5))
    stages = stages_of(classifier_of(loud(network)), 2)
    assert [stage.layer for stage in stages] == ["1", "3"]


TOKENS = {
    "ViT": (lambda: vit(depth=4), 32, "blocks.{}", "norm1", 1, (4, 4)),
    "ViT, not square": (lambda: vit(depth=4, img_size=(32, 48)), (32, 48), "blocks.{}", "norm1", 1, (4, 6)),
    "torchvision": (torchvision_vit, 32, "encoder.layers.encoder_layer_{}", "ln_1", 1, (4, 4)),
    "DeiT, distilled": (
        lambda: tiny("deit_tiny_distilled_patch16_224", depth=4, patch_size=8),
        32,
        "blocks.{}",
        "norm1",
        2,
        (4, 4),
    ),
    "transformers": (
        lambda: hugging_face("ViT", "ViTForImageClassification", num_hidden_layers=4, num_labels=5),
        32,
        "vit.layers.{}",
        "layernorm_before",
        1,
        (4, 4),
    ),
    "blocks that return tuples": (lambda: OfTuples(4), 32, "blocks.{}", "layernorm_before", 1, (4, 4)),
    "an attention pool after the blocks": (
        lambda: vit(depth=4, class_token=False, global_pool="map"),
        32,
        "blocks.{}",
        "norm1",
        0,
        (4, 4),
    ),
}


@pytest.fixture(params=TOKENS, scope="module")
def transformer(request):
    make, size, block, norm, prefix, grid = TOKENS[request.param]
    return classifier_of(make(), size), block, norm, prefix, grid


@pytest.mark.parametrize("at", ["norm", "block"])
def test_of_a_transformer_the_last_blocks_are_read_where_a_hook_reads_them(transformer, at):
    classifier, block, norm, prefix, grid = transformer
    layers = [f"{block.format(number)}.{norm}" if at == "norm" else block.format(number) for number in (1, 2, 3)]
    stages, pixels, kept = stages_of(classifier, at=at), pixels_of(2, classifier.preparation.frame), []
    handles = [
        classifier.network.get_submodule(layer).register_forward_hook(lambda _, __, output: kept.append(output))
        for layer in layers
    ]
    with torch.no_grad():
        classifier.network(pixels)
    for handle in handles:
        handle.remove()
    maps, _ = read_of(classifier, stages, pixels)
    assert [stage.layer for stage in stages] == layers
    for one, output in zip(maps, kept, strict=True):
        tokens = output[0] if isinstance(output, tuple) else output
        assert tokens.shape[1] == prefix + grid[0] * grid[1]
        assert one.equal(tokens[:, prefix:].mT.unflatten(2, grid))


def test_an_attention_whose_input_no_layer_gives_is_read_at_its_input():
    network = vit(depth=3)
    for block in network.blocks:
        norm, block.norm1 = block.norm1, torch.nn.Identity()
        block.attn.register_forward_pre_hook(lambda _, given, norm=norm: (1 * norm(given[0]),))
    classifier = classifier_of(network)
    stages = stages_of(classifier, 2)
    assert [stage.place for stage in stages] == [Place("blocks.1.attn", "input"), Place("blocks.2.attn", "input")]


def in_windows(given):
    return given[:, :16].unflatten(1, (2, 8)).flatten(0, 1)


@pytest.mark.parametrize("part", [in_windows, lambda given: given[:, :16:2]], ids=["windows", "every second token"])
def test_attention_that_does_not_read_all_tokens_is_read_at_its_block_only(part):
    network = vit(depth=3)

    def whole(module, _, output):
        joined = output.reshape(1, -1, WIDTH)
        return torch.nn.functional.pad(joined, (0, 0, 0, 17 - joined.shape[1]))

    network.blocks[1].attn.register_forward_pre_hook(lambda _, given: (part(given[0]),))
    network.blocks[1].attn.register_forward_hook(whole)
    classifier = classifier_of(network)
    with pytest.raises(UnsupportedError, match="does not read the tokens of all patches") as refusal:
        stages_of(classifier, 2)
    assert refusal.value.problem.startswith("'blocks.1.attn'")
    assert 'at="block"' in refusal.value.remedy
    assert len(stages_of(classifier, 2, at="block")) == 2


@pytest.mark.parametrize(
    ("make", "size", "layers"),
    [
        (resnet, 64, ["layer2", "layer3", "layer4"]),
        (vit, 32, ["patch_embed.proj", "blocks.0", "blocks.1.norm1"]),
        (swin, 64, ["layers.0.blocks.0", "layers.2", "norm"]),
    ],
    ids=["ResNet", "ViT", "Swin"],
)
def test_the_order_in_which_layers_are_named_changes_nothing(make, size, layers):
    classifier = classifier_of(make(), size)
    pixels = pixels_of(1, classifier.preparation.frame)
    stages = stages_of(classifier, layers=layers)
    maps, _ = read_of(classifier, stages, pixels)
    assert [stage.layer for stage in stages] == layers
    for order in ([2, 0, 1], [1, 2, 0], [2, 1, 0]):
        others = stages_of(classifier, layers=[layers[place] for place in order])
        assert others == stages
        assert all(one.equal(other) for one, other in zip(maps, read_of(classifier, others, pixels)[0], strict=True))


def test_layers_by_name_are_those_that_the_rule_finds():
    for classifier in (classifier_of(resnet(), 64), classifier_of(vit(depth=4))):
        stages = stages_of(classifier)
        assert stages_of(classifier, layers=[stage.layer for stage in stages]) == stages


def test_one_pass_is_counted_and_looking_for_stages_none_and_leaves_no_trace():
    network = vit(depth=3).train()
    network.blocks[1].eval()
    classifier = classifier_of(network)
    random = torch.get_rng_state()
    with passes.counted() as looking:
        stages = stages_of(classifier)
    with passes.counted() as reading:
        read_of(classifier, stages, pixels_of(3))
    assert (looking.forwards, reading.forwards) == (0, 3)
    assert torch.get_rng_state().equal(random)
    assert [block.training for block in network.blocks] == [True, False, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"count": 3}, UnsupportedError, "fewer blocks"),
        ({"count": 0}, UnsupportedError, "at least one"),
        ({"at": "head"}, LayerError, "two places"),
        ({"layers": []}, LayerError, "each once"),
        ({"layers": "norm"}, LayerError, "each once"),
        ({"layers": ["norm", "norm"]}, LayerError, "each once"),
        ({"layers": ["blocks.7"]}, LayerError, "no layer 'blocks.7'"),
        ({"layers": ["head"]}, LayerError, "does not give one feature map"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_what_is_no_stage_is_refused(settings, error, text):
    with pytest.raises(error, match=text):
        stages_of(classifier_of(vit()), **settings)


def test_a_network_with_neither_grids_nor_tokens_is_refused():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 5))
    with pytest.raises(UnsupportedError):
        stages_of(classifier_of(network))


def test_stages_of_a_grid_are_the_features_that_grad_cam_reads():
    assert stages_of(classifier_of(swin(), 64))[-1] == Features(Place("norm"), "last")
