"""Finer grids from the same weights: which grid, which values, and that the network they come from stays as it was."""

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import ClassifierError, UnsupportedError
from regard.models.features import features_of
from regard.models.files import Finer, Source
from regard.models.high_resolution import high_resolution
from regard.models.taps import Place, read

from ..explainers.networks import CLASSES, classifier_of, loud, mlp_head, pixels_of, same, vit
from .test_convolutional import Net, conv, pooled
from .test_stages import thin_vgg

timm = import_optional("timm", "timm")
torchvision = import_optional("torchvision.models", "torchvision")
layers = import_optional("timm.layers", "timm")


def timm_network(name, **settings):
    return timm.create_model(name, pretrained=False, num_classes=CLASSES, **settings).eval()


def torchvision_resnet():
    return torchvision.ResNet(torchvision.resnet.BasicBlock, [1, 1, 1, 1], num_classes=CLASSES).eval()


def resnet_d():
    resnet = timm.models.resnet
    blocks = {"block": resnet.BasicBlock, "layers": (1, 2, 1, 1), "channels": (8, 8, 16, 16)}
    return resnet.ResNet(**blocks, num_classes=CLASSES, stem_type="deep", stem_width=8, avg_down=True).eval()


def torchvision_convnext():
    config = torchvision.convnext.CNBlockConfig
    blocks = [config(8, 16, 1), config(16, 24, 1), config(24, 32, 1), config(32, None, 1)]
    return torchvision.ConvNeXt(blocks, layer_scale=0.5, num_classes=CLASSES).eval()


def timm_vgg():
    sizes = (8, "M", 8, "M", 8, 8, "M", 8, 8, "M", 16, 16, "M")
    return timm.models.vgg.VGG(sizes, num_classes=CLASSES, mlp_ratio=0.01).eval()


def torchvision_efficientnet():
    config = torchvision.efficientnet.MBConvConfig
    blocks = [config(1, 3, 2, 8, 8, 1), config(2, 5, 2, 8, 8, 1), config(2, 3, 2, 8, 16, 2), config(2, 5, 2, 16, 16, 1)]
    return torchvision.EfficientNet(blocks, 0.2, num_classes=CLASSES, last_channel=32).eval()


def torchvision_mobilenet():
    return torchvision.mobilenet_v2(width_mult=0.25, num_classes=CLASSES).eval()


# make, the layer whose output is the last grid
CONVOLUTIONAL = {
    "ResNet of torchvision": (torchvision_resnet, "layer4"),
    "ResNet of timm": (lambda: timm_network("test_resnet"), "layer4"),
    "ResNet-D": (resnet_d, "layer4"),
    "VGG of torchvision": (thin_vgg, "features"),
    "VGG of timm": (timm_vgg, "features"),
    "EfficientNet of torchvision": (torchvision_efficientnet, "features"),
    "EfficientNet of timm": (lambda: timm_network("test_efficientnet"), "bn2"),
    "MobileNet of torchvision": (torchvision_mobilenet, "features"),
    "MobileNet of timm": (lambda: timm_network("mobilenetv3_small_050"), "blocks.5"),
    "MobileNet from TensorFlow": (lambda: timm_network("mobilenetv2_035", pad_type="same"), "bn2"),
    "ConvNeXt of torchvision": (torchvision_convnext, "features"),
    "ConvNeXt of timm": (lambda: timm_network("test_convnext"), "stages"),
}
PLAIN = [name for name in CONVOLUTIONAL if "EfficientNet" not in name and name != "MobileNet of timm"]
"""Those that look at no picture as a whole (squeeze and excitation) before the last grid."""
FRAME = {"VGG of timm": (224, 224)}
"""Its dense layers want seven cells, and stretch a grid that has fewer."""


def features(network, layer, pixels):
    with torch.no_grad():
        (given,), _ = read(network, [Place(layer)], lambda: network(pixels), stop=True)
    return given


@pytest.fixture(scope="module", params=CONVOLUTIONAL)
def convolutional(request):
    make, layer = CONVOLUTIONAL[request.param]
    return make(), layer, FRAME.get(request.param, (64, 96))


def test_each_stride_taken_away_doubles_the_grid_of_frames_of_any_shape(convolutional):
    network, layer, frame = convolutional
    pixels = pixels_of(1, frame)
    usual, before = features(network, layer, pixels), network.state_dict()
    assert usual.shape[2:] == (frame[0] // 32, frame[1] // 32)
    for strides, cell in (((1,), 16), ((1, 1), 8), ((1, 2, 2), 16)):
        finer = high_resolution(network, strides, frame=frame)
        assert features(finer, layer, pixels).shape == (1, usual.shape[1], frame[0] // cell, frame[1] // cell)
        after = finer.state_dict()
        assert list(before) == list(after)
        for name, tensor in before.items():
            assert torch.equal(tensor, after[name])
            assert tensor.data_ptr() != after[name].data_ptr()


@pytest.mark.parametrize(("side", "grids"), [(224, (7, 28)), (448, (14, 56))])
def test_the_published_network_has_the_published_grids(side, grids):
    """Check 20: ResNet-50, its last two strides taken away; of shapes alone, so that it takes no time."""
    with torch.device("meta"):
        network = torchvision.resnet50(weights=None).eval()
    finer = high_resolution(network, (1, 1), frame=side)
    pixels = torch.empty(1, 3, side, side, device="meta")
    found = [features(each, "layer4", pixels).shape for each in (network, finer)]
    assert found == [(1, 2048, grid, grid) for grid in grids]
    weights = [{name: tensor.shape for name, tensor in each.state_dict().items()} for each in (network, finer)]
    assert weights[0] == weights[1]


def test_strides_as_they_are_change_nothing(convolutional):
    network, _, frame = convolutional
    pixels = pixels_of(2, frame)
    with torch.no_grad():
        equal = high_resolution(network, (2, 2), dilation=True, frame=frame)
        assert torch.equal(equal(pixels), network(pixels))
    assert repr(equal) == repr(network)


@pytest.mark.parametrize("name", PLAIN)
def test_with_dilation_the_places_of_the_old_grid_hold_what_they_held(name):
    """Exactly, borders too: zeros around the grid move outwards with what is read."""
    make, layer = CONVOLUTIONAL[name]
    network, pixels = make(), pixels_of(1, FRAME.get(name, (64, 96)))
    usual = features(network, layer, pixels)
    assert usual.std() > 1e-3 * usual.abs().max() > 0
    for strides, step in (((1,), 2), ((1, 1), 4), ((1, 2), 2), ((1, 1, 2), 4)):
        finer = features(high_resolution(network, strides, dilation=True, frame=pixels.shape[2:]), layer, pixels)
        # TensorFlow pads an even grid behind it, so that windows are centred one place later
        start = {(1,): 1, (1, 1): 3, (1, 2): 1, (1, 1, 2): 3}[strides] if "TensorFlow" in name else 0
        assert same(finer[..., start::step, start::step], usual)


@pytest.mark.parametrize(("network", "depthwise"), [("ResNet of timm", False), ("ConvNeXt of timm", True)])
def test_dilation_is_the_default_where_channels_are_looked_at_alone(network, depthwise):
    network = CONVOLUTIONAL[network][0]()
    assert repr(high_resolution(network)) == repr(high_resolution(network, (1, 1), dilation=depthwise))
    assert repr(high_resolution(network)) != repr(high_resolution(network, (1, 1), dilation=not depthwise))


def test_a_stride_of_four_becomes_two():
    network, pixels = CONVOLUTIONAL["ConvNeXt of timm"][0](), pixels_of(1, (64, 96))
    finer = high_resolution(network, (2, 2, 2, 2), frame=(64, 96))
    assert same(features(finer, "stages", pixels)[..., ::2, ::2], features(network, "stages", pixels))


def test_a_pool_over_the_whole_grid_is_one_still():
    layers = [conv(3, 4, 2), conv(4, 6, 2), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(6, CLASSES)]
    network, pixels = loud(nn.Sequential(*layers)), pixels_of(2, (16, 16))
    finer = high_resolution(network, (1,), frame=16)
    assert same(finer(pixels), network[4](features(finer, "1", pixels).mean((2, 3))))


def test_a_classifier_stays_one_with_its_labels_head_and_a_hash_of_its_own():
    backbone = nn.Sequential(conv(3, 6, 2), nn.ReLU(), conv(6, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = classifier_of(
        loud(backbone), head=mlp_head(width=8), labels=list("abcde"), outputs="sigmoid", name="n"
    )
    finer = high_resolution(classifier, 1)
    assert (finer.name, finer.labels, finer.outputs) == ("n, 16×16", list("abcde"), "sigmoid")
    assert finer.source == Source("", {}, finer=(Finer((1,), dilation=False),))
    assert finer.hash != classifier.hash
    assert finer.hash == high_resolution(classifier, (1,)).hash
    assert features_of(finer) == features_of(classifier)
    pixels = finer.prepare(pixels_of())
    assert finer(pixels).shape == classifier(pixels).shape
    explanation = regard.GradCAM(finer)(pixels, targets=[1])
    assert explanation.maps.shape == (2, 1, 16, 16)
    assert regard.GradCAM(classifier)(pixels, targets=[1]).maps.shape == (2, 1, 8, 8)


def test_a_finer_network_can_be_made_finer():
    network, pixels = CONVOLUTIONAL["ConvNeXt of timm"][0](), pixels_of(1, (64, 64))
    twice = high_resolution(high_resolution(network, (1,), frame=64), (1,), frame=64)
    once = high_resolution(network, (1, 1), frame=64)
    assert same(features(twice, "stages", pixels)[..., ::4, ::4], features(once, "stages", pixels)[..., ::4, ::4])


def state_of(network):
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flags = [module.training for module in network.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()]
    parameters = [(parameter.requires_grad, parameter.grad) for parameter in network.parameters()]
    return weights, flags, hooks, parameters, repr(network), torch.get_rng_state().tolist(), torch.is_grad_enabled()


def unable(self, pixels):
    """Needs a grid of its own size."""
    return self.head(self.two(self.one(pixels)).flatten(1))


def unable_network():
    return Net(unable, one=conv(3, 4, 2), two=conv(4, 4, 2), head=nn.Linear(256, CLASSES))


@pytest.mark.parametrize(
    "reason", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")]
)
def test_memory_that_runs_out_is_not_taken_for_a_network_that_cannot(reason):
    def forward(self, pixels):
        raise reason

    with pytest.raises(RuntimeError) as raised:
        high_resolution(Net(forward, one=conv(3, 4, 2)), frame=32)
    assert raised.value is reason


@pytest.mark.parametrize("make", [torchvision_resnet, unable_network, vit], ids=["works", "fails", "transformer"])
def test_the_network_stays_as_it_was_also_on_an_error(make):
    network = make().train()
    next(network.modules()).training = False
    first = next(network.parameters())
    first.requires_grad_(False).grad = torch.ones_like(first)
    before = state_of(network)
    try:
        high_resolution(network, frame=32)
    except UnsupportedError:
        assert make is unable_network
    after = state_of(network)
    assert after[1:] == before[1:]
    assert all(torch.equal(tensor, after[0][name]) for name, tensor in before[0].items())
    assert (
        make is unable_network
        or [module.training for module in high_resolution(network, frame=32).modules()] == before[1]
    )


def test_it_works_in_inference_mode_and_what_it_gives_can_be_trained():
    network, pixels = CONVOLUTIONAL["ConvNeXt of timm"][0](), pixels_of(2, (64, 64))
    with torch.inference_mode():
        finer = high_resolution(network, frame=64)
    finer(pixels).square().sum().backward()
    gradients = [parameter.grad for parameter in finer.parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) == len(gradients)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("kind", ["channels last", "bfloat16", "double"])
def test_layout_and_precision_are_kept(kind):
    network, pixels = resnet_d(), pixels_of(1, (64, 64))
    if kind == "channels last":
        network = network.to(memory_format=torch.channels_last)
        pixels = pixels.to(memory_format=torch.channels_last)
    dtype = {"bfloat16": torch.bfloat16, "double": torch.float64}.get(kind, torch.float32)
    finer = high_resolution(network.to(dtype), dilation=True, frame=64)
    given = features(finer, "layer4", pixels.to(dtype))
    weight = finer.layer4[0].conv2.weight
    assert weight.dtype == given.dtype == dtype
    assert weight.is_contiguous(memory_format=torch.channels_last) == (kind == "channels last")
    tolerance = 0.05 if kind == "bfloat16" else 1e-5
    assert same(given[..., ::4, ::4], features(network, "layer4", pixels.to(dtype)), tolerance)


class Every(nn.Module):
    """All layers that a finer network may get."""

    def __init__(self):
        super().__init__()
        sides = nn.Conv2d(4, 4, 3, 2, 1), nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 4, 1))
        self.stem, self.left, self.right = nn.Conv2d(3, 4, 2, 2), *sides
        self.pool, self.deep, self.head = nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4, CLASSES)
        loud(self)

    def forward(self, pixels):
        grid = self.stem(pixels)
        return self.head(self.deep(self.pool(self.left(grid) + self.right(grid)).relu()).mean((2, 3)))


@pytest.mark.filterwarnings("ignore:`isinstance.treespec")  # torch's own, as it exports
def test_onnxruntime_gives_the_same_answers_for_every_batch(tmp_path):
    onnxruntime = import_optional("onnxruntime", "export")
    finer = high_resolution(Every(), (1, 1, 1), frame=32)
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.onnx.export(
        finer, (pixels_of(2),), dynamo=True, opset_version=18, dynamic_shapes=(batch,), verbose=False
    )
    program.save(tmp_path / "finer.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "finer.onnx"), providers=["CPUExecutionProvider"])
    for pixels in (pixels_of(1, seed=3), pixels_of(3, seed=4)):
        (given,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
        assert same(torch.from_numpy(given), finer(pixels))


def shared_pool():
    def call(self, pixels):
        return pooled(self.head, self.pool(self.two(self.pool(self.one(pixels)))))

    return Net(call, one=conv(3, 4), two=conv(4, 4), pool=nn.MaxPool2d(2), head=nn.Linear(4, CLASSES))


def beside(first, second):
    def call(self, pixels):
        return pooled(
            self.head,
            torch.cat([side(self.stem(pixels)).mean((2, 3), keepdim=True) for side in (self.one, self.two)], 1),
        )

    return Net(call, stem=conv(3, 4, 2), one=first, two=second, head=nn.Linear(8, CLASSES))


def functional():
    pool = nn.functional.max_pool2d
    return Net(lambda self, x: pooled(self.head, pool(self.one(x), 2)), one=conv(3, 4), head=nn.Linear(4, CLASSES))


def blurred():
    def call(self, pixels):
        return pooled(self.head, self.blur(self.one(pixels)))

    return Net(call, one=conv(3, 4, 2), blur=layers.BlurPool2d(4), head=nn.Linear(4, CLASSES))


def uneven():
    def call(self, pixels):
        return pooled(self.head, self.one(pixels))

    return Net(call, one=nn.Conv2d(3, 4, 3, (2, 1), 1), head=nn.Linear(4, CLASSES))


def unpadded_beside_padded():
    return beside(layers.Conv2dSame(4, 4, 3, 2), nn.AvgPool2d(2))


REFUSED = {
    "more than there are": (lambda: resnet_d(), {"strides": (1,) * 9}, "at most 5: conv1.0 (2, of 64×64)"),
    "larger": (torchvision_resnet, {"strides": (4,)}, "cannot move by 4 where it moves by 2"),
    "none left": (functional, {}, "no layer of Net shrinks a grid"),
    "a layer that blurs": (blurred, {"strides": (1,)}, "strides that can be changed: one (2, of 64×64)"),
    "one pool for all": (shared_pool, {"strides": (1,)}, "how 'pool' moves over its grid cannot be changed"),
    "other sides": (uneven, {"strides": (1,)}, "how 'one' moves over its grid"),
    "different strides side by side": (
        lambda: beside(conv(4, 4, 2), nn.Conv2d(4, 4, 9, 4, 4)),
        {},
        "one stride for all",
    ),
    "different padding": (unpadded_beside_padded, {"strides": (1,)}, "'one' pads itself, 'two' does not"),
    "a grid of fixed size": (unable_network, {"frame": 32}, "does not run with such strides"),
}


@pytest.mark.parametrize(("make", "asked", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_with_a_sentence(make, asked, said):
    with pytest.raises(UnsupportedError) as refusal:
        high_resolution(make().eval(), **{"frame": 64, **asked})
    assert said in str(refusal.value)


def test_a_dilation_that_is_none_is_refused():
    with pytest.raises(ClassifierError, match="dilated or not"):
        high_resolution(torchvision_resnet(), dilation="no", frame=64)


@pytest.mark.parametrize(
    "strides", [(), 0, -1, (1, 0), 1.0, (1.5,), True, "1", "11", ("1",), {1}, float("nan")], ids=repr
)
def test_strides_that_are_none_are_refused(strides):
    for network in (CONVOLUTIONAL["ConvNeXt of timm"][0](), vit(img_size=64)):
        with pytest.raises(ClassifierError, match="strides are whole numbers"):
            high_resolution(network, strides, frame=64)


def test_real_weights_with_dilation_see_what_they_saw_and_without_it_do_not():
    """EfficientNet-Lite0, which pads as TensorFlow does, on the photos that come along."""
    embedded = import_optional("regard_embedded", "embedded")
    classifier = regard.load("regard:efficientnet-lite0")
    pixels = classifier.prepare([photo.path for photo in embedded.photos()[:4]])
    with torch.no_grad():
        usual = classifier(pixels).argmax(1)
        dilated, plain = (high_resolution(classifier, dilation=which)(pixels).argmax(1) for which in (True, False))
    assert int((dilated == usual).sum()) >= 3
    assert int((plain == usual).sum()) <= 2
