"""Tensors inside a network are read, replaced and differentiated, and nothing of that stays."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from regard.errors import LayerError
from regard.models.taps import Place, differentiable_from, find_layer, read, replaced, skipped, untouched

from ..explainers.networks import cnn, loud, pixels_of, same, vit


class Layer(nn.Linear):
    """A linear layer that counts its calls, may fail, and may return its output in a wrapping."""

    def __init__(self, wrap=lambda tensor: tensor, unwrap=lambda output: output):
        super().__init__(3, 3)
        self.calls, self.wrap, self.unwrap, self.fails = 0, wrap, unwrap, False

    def forward(self, tensor):
        self.calls += 1
        if self.fails:
            raise RuntimeError("injected")
        return self.wrap(super().forward(self.unwrap(tensor)))


def chain(*layers):
    return loud(nn.Sequential(*(layers or (Layer(), Layer(), Layer())))).train()


def numbers(images=2):
    return torch.randn(images, 3, generator=torch.Generator().manual_seed(1))


def test_inputs_and_outputs_of_several_layers_are_read_in_the_order_asked_for():
    network, x = chain(), numbers()
    places = [Place("2", "input"), Place("0"), Place("", "input"), Place("1"), Place(""), Place("0")]
    tensors, result = read(network, places, lambda: network(x))
    first, second = network[0](x), network[1](network[0](x))
    for tensor, expected in zip(tensors, [second, first, x, second, network(x), first], strict=True):
        assert tensor.equal(expected)
    assert result.equal(network(x))
    assert str(places[0]) == "input of '2'"


Named = namedtuple("Named", "tensor weights")


@pytest.mark.parametrize("wrap", [lambda y: (y, "weights"), lambda y: [y, "weights"], lambda y: Named(y, "weights")])
def test_of_a_layer_that_returns_several_things_the_first_is_meant(wrap):
    received, x = [], numbers()
    network = chain(Layer(wrap), Layer(unwrap=lambda output: received.append(output) or output[0]))
    first = network[0](x)[0]
    (tensor,), _ = read(network, [Place("0")], lambda: network(x))
    assert tensor.equal(first)
    with replaced(network, Place("0"), lambda tensor: tensor * 2):
        doubled = network(x)
    same(doubled.detach(), nn.Linear.forward(network[1], first * 2).detach())
    leaf, _ = differentiable_from(network, Place("0"), lambda: network(x))
    assert leaf.equal(first)
    assert [type(output) for output in received] == [type(wrap(x))] * 3
    assert [output[1] for output in received] == [wrap(x)[1]] * 3


@pytest.mark.parametrize(
    ("places", "calls"),
    [
        ([Place("0", "input")], [0, 0, 0]),
        ([Place("0")], [1, 0, 0]),
        ([Place("1", "input")], [1, 0, 0]),
        ([Place("1"), Place("0"), Place("1")], [1, 1, 0]),
    ],
)
def test_a_stopped_pass_runs_no_later_layer(places, calls):
    network, x = chain(), numbers()
    tensors, result = read(network, places, lambda: network(x), stop=True)
    assert [layer.calls for layer in network] == calls
    assert result is None
    whole, _ = read(network, places, lambda: network(x))
    assert all(tensor.equal(other) for tensor, other in zip(tensors, whole, strict=True))


class Cautious(nn.Module):
    """A network that goes on with zeros where a part of it fails."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Layer(), Layer()

    def forward(self, tensor):
        try:
            return self.second(self.first(tensor))
        except Exception:
            return self.second(tensor * 0)


def test_a_network_that_catches_exceptions_is_stopped_all_the_same():
    network, x = Cautious(), numbers()
    (tensor,), result = read(network, [Place("first")], lambda: network(x), stop=True)
    assert (result, network.second.calls) == (None, 0)
    assert tensor.equal(network.first(x))


def test_what_is_read_is_not_changed_by_a_later_layer_that_works_in_place():
    network, x = chain(Layer(), nn.ReLU(inplace=True)), numbers()
    (tensor,), result = read(network, [Place("0")], lambda: network(x))
    assert tensor.equal(network[0](x))
    assert result.equal(network(x))


def test_a_replaced_tensor_is_what_later_layers_see_and_only_in_the_block():
    network, x = chain(), numbers()
    plain = network(x)
    with replaced(network, Place("1", "input"), lambda tensor: tensor * 3 - 1):
        assert network(x).equal(network[2](network[1].forward(network[0](x) * 3 - 1)))
    with replaced(network, Place("2"), lambda tensor: tensor[:1] + 1):
        assert network(x).equal(plain[:1] + 1)
    assert network(x).equal(plain)


def whole_graph(network, pixels, place):
    """The tensor at a place and the gradient of class 3, from one graph of the network, pixels included."""
    kept, layer = [], network.get_submodule(place.layer)

    def keep(tensor):
        kept.append(tensor.clone())
        kept[0].retain_grad()
        return kept[0]

    register = layer.register_forward_hook if place.at == "output" else layer.register_forward_pre_hook
    register(lambda *given: keep(given[2] if place.at == "output" else given[1][0]))
    logits = network(pixels.clone().requires_grad_())
    logits[:, 3].sum().backward()
    return kept[0], kept[0].grad, logits


@pytest.mark.parametrize(
    "place", [Place("blocks.1"), Place("blocks.1.attn", "input"), Place("blocks.1.norm1", "input")], ids=str
)
@pytest.mark.parametrize("trains", [True, False])
def test_the_gradient_from_a_layer_on_is_that_of_the_whole_graph(place, trains):
    network, pixels = vit().double().requires_grad_(trains), pixels_of().double()
    leaf, logits = differentiable_from(network, place, lambda: network(pixels))
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), leaf)
    tensor, expected, whole = whole_graph(network, pixels, place)
    assert leaf.equal(tensor)
    assert logits.equal(whole)
    same(gradient, expected, 1e-12)


def test_what_is_read_stands_in_the_graph_of_the_result():
    network, pixels = vit().double(), pixels_of().double()
    place = Place("blocks.1.attn", "input")
    (tensor,), logits = read(network, [place], lambda: network(pixels))
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), tensor)
    same(gradient, whole_graph(network, pixels, place)[1], 1e-12)


def test_nothing_before_the_leaf_builds_a_graph():
    network, x, recorded = chain(), numbers().requires_grad_(), []
    for layer in network:
        layer.register_forward_hook(lambda _, __, output: recorded.append(output.requires_grad))
    leaf, result = differentiable_from(network, Place("1"), lambda: network(x))
    assert recorded == [False, False, True]
    assert leaf.is_leaf
    sources = [network[0].weight, network[1].weight, x, leaf]
    gradients = torch.autograd.grad(result.sum(), sources, allow_unused=True)
    assert [gradient is None for gradient in gradients] == [True, True, True, False]


def test_the_leaf_keeps_what_was_read_where_a_later_layer_works_in_place():
    network, pixels = cnn(), pixels_of()
    leaf, logits = differentiable_from(network, Place("4"), lambda: network(pixels))
    before = network[:5](pixels)
    assert (before < 0).any()
    assert leaf.equal(before)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
    assert bool((gradient[leaf < 0] == 0).all())
    expected = network[8].weight[0].detach().view(1, -1, 1, 1) / leaf[0, 0].numel() * (leaf > 0)
    same(gradient, expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_gradient_is_had_inside_no_grad_and_inference_mode(mode):
    network = chain()
    with mode():
        x = numbers()
        leaf, result = differentiable_from(network, Place("0"), lambda: network(x))
        assert not torch.is_grad_enabled()
        (gradient,) = torch.autograd.grad(result, leaf, torch.ones(2, 3))
    same(gradient, (torch.ones(2, 3) @ network[2].weight @ network[1].weight).detach())


class Constant(nn.Module):
    def forward(self):
        return torch.ones(())


class ByKeyword(nn.Module):
    """A network that gives its layer a tensor by name, as transformers' do."""

    def __init__(self):
        super().__init__()
        self.layer = Layer()

    def forward(self, tensor):
        return self.layer(tensor=tensor)


def test_an_input_given_by_name_is_read_and_replaced_too():
    network, x = ByKeyword(), numbers()
    (tensor,), result = read(network, [Place("layer", "input")], lambda: network(x))
    assert tensor.equal(x)
    with replaced(network, Place("layer", "input"), lambda tensor: tensor * 2):
        assert not network(x).equal(result)
    leaf, answer = differentiable_from(network, Place("layer", "input"), lambda: network(x))
    assert torch.autograd.grad(answer.sum(), leaf)[0].shape == x.shape


class Odd(nn.Module):
    """A network with a layer that runs twice, one that never does, and ones that give or receive no tensor."""

    def __init__(self):
        super().__init__()
        self.twice, self.never, self.dict, self.tuple = Layer(), Layer(), Layer(lambda y: {"y": y}), Layer(lambda y: ())
        self.nothing = Constant()

    def forward(self, tensor):
        self.tuple(tensor)
        return self.nothing() * self.twice(self.twice(self.dict(tensor)["y"]))


@pytest.mark.parametrize("act", ["read", "stop", "leaf"])
@pytest.mark.parametrize(
    ("place", "problem"),
    [
        (Place("twice"), "'twice' runs more than once"),
        (Place("never"), "'never' does not run"),
        (Place("dict"), "'dict' returns no tensor"),
        (Place("tuple"), "'tuple' returns no tensor"),
        (Place("nothing", "input"), "'nothing' receives no tensor"),
    ],
    ids=str,
)
def test_a_layer_that_gives_not_one_tensor_a_pass_is_refused_by_name(place, problem, act):
    network, x = Odd(), numbers()
    calls = {
        "read": lambda: read(network, [place], lambda: network(x)),
        "stop": lambda: read(network, [place, Place("never")], lambda: network(x), stop=True),
        "leaf": lambda: differentiable_from(network, place, lambda: network(x)),
    }
    with pytest.raises(LayerError, match=problem):
        calls[act]()


@pytest.mark.parametrize(
    ("name", "near"), [("blocks.1.norm3", "blocks.1.norm1"), ("block.0.attn", "blocks.0.attn"), ("zzz", "head")]
)
def test_a_layer_that_is_not_there_is_refused_with_the_nearest_names(name, near):
    network = vit()
    assert find_layer(network, near) is network.get_submodule(near)
    for refused in (
        lambda: find_layer(network, name),
        lambda: read(network, [Place(name)], lambda: network(pixels_of())),
    ):
        with pytest.raises(LayerError, match="has no layer") as refusal:
            refused()
        assert near in refusal.value.expected.removeprefix("perhaps ").split(", ")


def traces(network):
    """What a tap could leave behind, in the network and around it."""
    return (
        [(len(layer._forward_hooks), len(layer._forward_pre_hooks), layer.training) for layer in network.modules()],
        [(p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in network.parameters()],
        (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_rng_state().tolist()),
    )


def shifted(network, x):
    with replaced(network, Place("1"), lambda tensor: tensor + 1):
        network(x)


def trained(network, x):
    with torch.enable_grad():
        network.requires_grad_()(x + torch.rand(())).sum().backward()


PASSES = {
    "read": lambda network, x: read(network, [Place("0"), Place("2", "input")], lambda: network(x)),
    "stop": lambda network, x: read(network, [Place("2")], lambda: network(x), stop=True),
    "leaf": lambda network, x: differentiable_from(network, Place("1", "input"), lambda: network(x)),
    "replaced": shifted,
    "trained": trained,
    "other mode": lambda network, x: (torch.set_grad_enabled(not torch.is_grad_enabled()), network(x)),
    "frozen and noisy": lambda network, x: network.requires_grad_(False).train()(torch.rand_like(x)),
}


@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize("failing", [None, 0, 1, 2])
@pytest.mark.parametrize("act", PASSES.values(), ids=PASSES)
def test_nothing_stays_behind_after_success_or_failure(act, failing, recording):
    network, x = chain(), numbers()
    network[1].eval()
    network[0].requires_grad_(False)
    network[2].weight.grad = torch.ones(3, 3)
    if failing is not None:
        network[failing].fails = True
    with torch.set_grad_enabled(recording):
        before, outcome = traces(network), None
        try:
            with untouched(network):
                assert not any(layer.training for layer in network.modules())
                act(network, x)
        except RuntimeError as reason:
            outcome = str(reason)
        assert traces(network) == before
    assert outcome == (None if failing is None else "injected")


def hand_on_and_fail(network, x, in_tuple):
    with skipped(network, ["0", "1"], in_tuple=in_tuple):
        handed = network[1](x)
        assert handed[0].equal(x) if in_tuple else handed.equal(x)
        assert network[0].calls == network[1].calls == 0
        raise ZeroDivisionError


@pytest.mark.parametrize("in_tuple", [False, True])
def test_skipped_layers_hand_their_tensor_on_and_are_themselves_again_afterwards(in_tuple):
    network, x = chain(), numbers()
    own = network[1].forward = network[1].forward  # as a user's own patch would stand there
    with pytest.raises(ZeroDivisionError):
        hand_on_and_fail(network, x, in_tuple)
    assert "forward" not in vars(network[0])
    assert vars(network[1])["forward"] is own
