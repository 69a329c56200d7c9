"""Modules of several seeds as one, the examples they read, and figures by way of items."""

import pytest
import torch
from torch import nn

from regard.attention.selective import SelectiveModel
from regard.attention.selective_weights import weights_called
from regard.errors import UnsupportedError
from regard.training.selective import examples as exampled
from regard.training.selective import figures as figuring
from regard.training.selective import stacked as stacking
from regard.training.selective.examples import mosaics_of
from regard.training.selective.fit import fit_selective
from regard.training.selective.recipe import Phase, SelectiveRecipe
from regard.training.selective.stacked import StackedLinears, can_be_stacked, stacked

from .selective_models import build, points


class Noisy(nn.Module):
    """A layer that draws, though it has no parameter, is no dropout layer, and says nothing of itself."""

    def __init__(self, share=0.5):
        super().__init__()
        self.share = share

    def forward(self, rows):
        return nn.functional.dropout(rows, self.share, self.training)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)

    def forward(self, rows):
        return self.attention(rows[:, None], rows[:, None], rows[:, None])[0][:, 0]


class Moody(nn.Linear):
    """Another one in training mode."""

    def forward(self, rows):
        return super().forward(rows) * (2 if self.training else 1)


def hooked(layer):
    layer.register_forward_hook(lambda _, __, out: out * 2)
    return layer


ODD = {
    "draws": Noisy,
    "draws and learns": Attending,
    "differs by mode": lambda: Moody(8, 8),
    "keeps": lambda: nn.BatchNorm1d(8),
    "hooked": lambda: hooked(nn.Linear(8, 8)),
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)),
    "convolution": lambda: nn.Conv1d(8, 8, 1),
}


def odd(name):
    def made(seed):
        model = build(dtype=torch.float32)(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model.classifier.insert(1, ODD[name]())
        return model

    return made


@pytest.mark.parametrize("name", [name for name in ODD if name != "convolution"])
def test_a_curve_is_its_own_whatever_a_layer_does(name):
    assert not can_be_stacked(odd(name)(0))
    recipe = SelectiveRecipe((Phase(3),), batch=25, rate=1e-2, stop=None)
    together = fit_selective(odd(name), points(), points(20, seed=9), [3, 0, 7], recipe)
    for each in together:
        (alone,) = fit_selective(odd(name), points(), points(20, seed=9), [each.seed], recipe)
        assert each.epochs == alone.epochs
    last, model = together[0].epochs[-1], together[0].model
    test = points(20, seed=9)
    with torch.no_grad():
        logits = model(test.items.values[test.index]).logits
    assert last["test loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, test.label)), abs=1e-6)


def test_only_layers_are_stacked_of_which_it_is_known_that_seeds_stay_apart():
    tied = build(classifier="linear")(0)
    tied.classifier.append(tied.focus[0])
    assert not can_be_stacked(tied)
    assert not can_be_stacked(odd("convolution")(0))
    assert not can_be_stacked(build(weights=lambda scores: scores.softmax(dim=1))(0))
    assert not can_be_stacked(build(weights=weights_called("gumbel"))(0))
    for weights in ("softmax", "sparsemax", "learnt-entmax"):
        assert can_be_stacked(build(weights=weights_called(weights))(0))
    assert can_be_stacked(build(weights=weights_called("top-k", k=2), layer=1)(0))


@pytest.mark.parametrize(
    "differ",
    [
        lambda model: setattr(model, "layer", 1),
        lambda model: setattr(model, "prediction", "chosen"),
        lambda model: setattr(model, "weights", weights_called("softmax", temperature=3.0)),
        lambda model: model.focus[0].requires_grad_(False),
    ],
    ids=["layer", "prediction", "temperature", "frozen"],
)
def test_what_the_words_of_a_model_do_not_say_is_compared_too(differ):
    def made(seed):
        model = build(weights=weights_called("softmax", temperature=2.0))(seed)
        if seed:
            differ(model)
        return model

    with pytest.raises(UnsupportedError, match="same form"):
        fit_selective(made, points(), points(20), [0, 1], SelectiveRecipe((Phase(1),)))


@pytest.mark.parametrize("rectified", [(False, False), (True, False), (True, True), (False, True)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("near", [1, 2**17])  # one seed at once, and all
def test_stacked_layers_have_the_values_and_gradients_of_the_products(near, bias, rectified, monkeypatch):
    monkeypatch.setattr(stacking, "NEAR", near)
    torch.manual_seed(0)
    layers = [[nn.Linear(*sizes, bias=bias).double() for _ in range(2)] for sizes in ((3, 4), (4, 2))]
    stack = StackedLinears(layers, rectified)
    rows = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
    weigh = torch.randn(10, 2, dtype=torch.float64)
    names = [name for name, _ in stack.named_parameters()]

    def of(rows, *parameters):
        return torch.func.functional_call(stack, dict(zip(names, parameters, strict=True)), rows)

    expected = []
    for seed, part in enumerate(rows.detach().split(5)):
        for column, cut in zip(layers, rectified, strict=True):
            part = column[seed](part)
            part = part.relu() if cut else part
        expected.append(part)
    assert torch.allclose(stack(rows), torch.cat(expected))
    assert torch.autograd.gradcheck(of, (rows, *stack.parameters()))
    whole = torch.autograd.grad((stack(rows) * weigh).sum(), [rows, *stack.parameters()])
    given = weigh.clone()
    torch.autograd.grad(stack(rows), [rows], given)
    assert torch.equal(given, weigh)  # what came is not changed
    for place, parameter in enumerate(stack.parameters()):
        stack.requires_grad_(False)
        parameter.requires_grad_(True)
        (alone,) = torch.autograd.grad((stack(rows.detach()) * weigh).sum(), [parameter])
        assert torch.allclose(alone, whole[1 + place])


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1])
def test_a_stack_is_cut_where_its_models_are(layer):
    def flat(seed):  # a ReLU behind the cut is a child of its own
        torch.manual_seed(seed)
        width = (2, 8)[layer]
        focus = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        return SelectiveModel(focus, nn.Sequential(nn.Linear(width, 5), nn.ReLU(), nn.Linear(5, 3)), layer=layer)

    models, rows = [flat(seed) for seed in range(3)], torch.randn(4, 3, 2)
    found = stacked(models)(rows.repeat(3, 1, 1))
    for model, logits in zip(models, found.logits.split(4), strict=True):
        assert torch.allclose(model(rows).logits, logits, atol=1e-6)


@pytest.mark.parametrize("held", [2**27, 0])
@pytest.mark.parametrize("prediction", ["aggregate", "chosen", "mixture"])
@pytest.mark.parametrize("layer", [0, 1])
def test_figures_by_way_of_items_are_those_of_segments(layer, prediction, held, monkeypatch):
    monkeypatch.setattr(figuring, "SEGMENTS", 64)
    for module in (figuring, exampled):
        monkeypatch.setattr(module, "HELD", held)
    draw = torch.Generator().manual_seed(5)
    items = exampled.Plain(torch.randn(30, 2, generator=draw))
    index = torch.randint(-1, 30, (40, 3), generator=draw)
    index[:, 0] = index[:, 0].clamp(min=0)
    label, place = torch.randint(3, (40,), generator=draw), torch.zeros(40).long()
    few = exampled.PlainMosaics(items, index, label, place)
    many = mosaics_of(items.values[index], label, place, index >= 0)
    model = stacked([build(layer=layer)(seed) for seed in (3, 0, 7)])
    by_items, by_segments = (
        figuring.figures(model, 3, exampled.Bank(each, next(model.parameters())), prediction, lambda *_: {})
        for each in (few, many)
    )
    for here, there in zip(by_items, by_segments, strict=True):
        assert here == pytest.approx(there, abs=1e-12)


def test_segments_of_one_s_own_are_mosaics():
    segments, label = torch.randn(5, 2, 3), torch.arange(5) % 2
    found = mosaics_of(segments, label, torch.zeros(5).long(), torch.tensor([True, False]).expand(5, -1))
    assert torch.equal(found.items.taken(found.index[:, :1]), segments[:, :1])
    assert bool((found.index[:, 1] == -1).all())
