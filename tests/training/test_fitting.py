"""Fits against other solvers and the conditions of an optimum, and the folding of the scaling."""

import numpy as np
import pytest
import torch

from regard.models.head import HeadForm
from regard.training.head.fitting import PENALTIES, Examples, fit, linear, network
from regard.training.head.scaling import Scaling, folded

from ..explainers.networks import loud, same

PHOTOS, WIDTH, CLASSES = 60, 7, 3
GENERATOR = np.random.default_rng(0)
READ = GENERATOR.normal(size=(PHOTOS, WIDTH))
TRUTH = READ @ GENERATOR.normal(size=(WIDTH, CLASSES)) + GENERATOR.normal(size=(PHOTOS, CLASSES))
TARGETS = {
    "softmax": torch.tensor(TRUTH.argmax(1)),
    "sigmoid": torch.tensor((TRUTH > 0.5).astype(float)),
    "scalar": torch.tensor(TRUTH + 3),
}
FORM = HeadForm("linear", WIDTH, CLASSES)
MLP = HeadForm("mlp", WIDTH, CLASSES, 5)


def examples(outputs):
    return Examples(torch.tensor(READ), TARGETS[outputs], outputs)


def answers(head, read=READ):
    return read @ head.weight.detach().numpy().T + head.bias.detach().numpy()


def slopes(outputs, logits, targets):
    """The derivative of the loss of each photo by its logits, written from the formula."""
    found = np.zeros_like(logits)
    for photo in range(len(logits)):
        if outputs == "softmax":
            powers = np.exp(logits[photo] - logits[photo].max())
            found[photo] = powers / powers.sum()
            found[photo, int(targets[photo])] -= 1
        elif outputs == "sigmoid":
            found[photo] = (
                1 / (1 + np.exp(-logits[photo])) - targets[photo]
            ) / CLASSES  # torch takes the mean of classes
        else:
            found[photo] = logits[photo] - targets[photo]
    return found


@pytest.mark.parametrize("penalty", [1.0, 0.01, 1e-5])
@pytest.mark.parametrize("outputs", TARGETS)
def test_a_linear_fit_stands_where_the_penalised_loss_is_flat(outputs, penalty):
    head = linear(FORM, examples(outputs), penalty)
    slope = slopes(outputs, answers(head), TARGETS[outputs].numpy()) / PHOTOS
    assert np.abs(slope.T @ READ + penalty * head.weight.detach().numpy()).max() < 1e-6
    assert np.abs(slope.sum(0)).max() < 1e-6


def test_logistic_and_ridge_regression_are_those_of_another_library():
    models = pytest.importorskip("sklearn.linear_model")
    penalty = 0.02
    logistic = models.LogisticRegression(C=1 / (PHOTOS * penalty), tol=1e-10, max_iter=5000)
    logistic.fit(READ, TARGETS["softmax"].numpy())
    assert np.abs(linear(FORM, examples("softmax"), penalty).weight.detach().numpy() - logistic.coef_).max() < 1e-4
    ridge = models.Ridge(alpha=PHOTOS * penalty).fit(READ, TARGETS["scalar"].numpy())
    found = linear(FORM, examples("scalar"), penalty)
    assert np.abs(found.weight.detach().numpy() - ridge.coef_).max() < 1e-10
    assert np.abs(found.bias.detach().numpy() - ridge.intercept_).max() < 1e-10


@pytest.mark.parametrize("outputs", TARGETS)
def test_the_penalty_is_the_one_whose_inner_photos_fare_best(outputs):
    inner = torch.arange(PHOTOS) % 5 == 0
    head, chosen = fit(FORM, examples(outputs), inner, 0)
    losses = {}
    for penalty in PENALTIES:
        logits, targets = (
            answers(linear(FORM, examples(outputs)[~inner], penalty))[inner.numpy()],
            TARGETS[outputs][inner],
        )
        if outputs == "softmax":
            losses[penalty] = np.mean(
                [np.log(np.exp(row - row[t]).sum()) for row, t in zip(logits, targets, strict=True)]
            )
        elif outputs == "sigmoid":
            losses[penalty] = np.mean(np.log1p(np.exp(-logits * (2 * targets.numpy() - 1))))
        else:
            losses[penalty] = np.mean((logits - targets.numpy()) ** 2)
    assert chosen == {"penalty": min(losses, key=losses.get)}
    assert torch.equal(head.weight, linear(FORM, examples(outputs), chosen["penalty"]).weight)


def huber(errors):
    return np.where(np.abs(errors) <= 1, errors**2 / 2, np.abs(errors) - 0.5)


def test_the_penalty_of_ridge_regression_is_chosen_by_its_own_squared_error():
    generator = np.random.default_rng(0)
    read = generator.normal(size=(PHOTOS, WIDTH))
    heavy = torch.tensor(2 * read[:, :CLASSES] + generator.standard_t(1.5, size=(PHOTOS, CLASSES)))
    examples, inner = Examples(torch.tensor(read), heavy, "scalar"), torch.arange(PHOTOS) % 5 == 0
    errors = {}
    for penalty in PENALTIES:
        errors[penalty] = answers(linear(FORM, examples[~inner], penalty), read[inner]) - heavy[inner].numpy()
    squared = min(errors, key=lambda penalty: np.mean(errors[penalty] ** 2))
    assert squared != min(errors, key=lambda penalty: np.mean(huber(errors[penalty])))
    assert fit(FORM, examples, inner, 0)[1] == {"penalty": squared}


def hand_written_loss(outputs, logits, targets):
    if outputs == "softmax":
        return -logits.softmax(1)[range(len(logits)), targets].log().mean()
    if outputs == "sigmoid":
        return -torch.where(targets > 0.5, logits.sigmoid(), 1 - logits.sigmoid()).log().mean()
    errors = (logits - targets).abs()
    return torch.where(errors <= 1, errors**2 / 2, errors - 0.5).mean()


@pytest.mark.parametrize("outputs", TARGETS)
def test_the_small_network_goes_down_its_loss_by_adamw(outputs):
    *_, found = network(MLP, examples(outputs), 20, 3)
    torch.manual_seed(3)
    replica = MLP.build().double()
    means = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in replica.parameters()]
    for step in range(1, 21):  # all photos are one minibatch, so that their order is nothing
        loss = hand_written_loss(outputs, replica(torch.tensor(READ)), TARGETS[outputs])
        slopes = torch.autograd.grad(loss, list(replica.parameters()))
        for weight, slope, (mean, square) in zip(replica.parameters(), slopes, means, strict=True):
            mean.mul_(0.9).add_(0.1 * slope)
            square.mul_(0.999).add_(0.001 * slope**2)
            scaled = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
            weight.data -= 1e-3 * (scaled + 1e-2 * weight.data)
    for weight, expected in zip(found.parameters(), replica.parameters(), strict=True):
        assert float((weight - expected).detach().abs().max()) < 3e-6


@pytest.mark.parametrize("outputs", ["softmax", "scalar"])
def test_the_epochs_are_those_at_which_the_inner_photos_fare_best_and_all_photos_are_learnt_from(outputs):
    generator = np.random.default_rng(3)
    read = generator.normal(size=(PHOTOS, WIDTH))
    if outputs == "softmax":
        targets = torch.tensor((read[:, :CLASSES] + 2 * generator.normal(size=(PHOTOS, CLASSES))).argmax(1))
    else:
        targets = torch.tensor(read[:, :CLASSES] + generator.standard_t(1.5, size=(PHOTOS, CLASSES)))
    shown = Examples(torch.tensor(read), targets, outputs)
    inner, wide = torch.arange(PHOTOS) % 3 == 0, HeadForm("mlp", WIDTH, CLASSES, 512)  # learns noise by heart
    losses = {True: [], False: []}
    for head in network(wide, shown[~inner], 200, 3):
        for mark, scores in losses.items():
            which = inner == mark
            said = head(shown.embeddings[which].float()).detach().double()
            scores.append(float(hand_written_loss(outputs, said, shown.targets[which])))
    best = 1 + int(np.argmin(losses[True]))
    assert best < 100 < 1 + int(np.argmin(losses[False]))
    head, chosen = fit(wide, shown, inner, 3)
    assert chosen == {"epochs": best}
    *_, expected = network(wide, shown, best, 3)
    assert torch.equal(head[0].weight, expected[0].weight.double())


@pytest.mark.parametrize("outputs", TARGETS)
def test_the_small_network_learns_repeats_itself_and_leaves_the_random_state(outputs):
    inner = torch.arange(PHOTOS) % 5 == 0
    state = torch.get_rng_state()
    head, chosen = fit(MLP, examples(outputs), inner, 3)
    assert torch.equal(state, torch.get_rng_state())
    assert 1 <= chosen["epochs"] <= 200
    torch.rand(7)
    again, _ = fit(MLP, examples(outputs), inner, 3)
    other, _ = fit(MLP, examples(outputs), inner, 4)
    assert torch.equal(head[0].weight, again[0].weight)
    assert not torch.equal(head[0].weight, other[0].weight)


def test_the_small_network_bends_where_a_line_cannot():
    corners = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.2
    place = torch.arange(200) % 4
    crossed = Examples(corners[place] + noise, (place > 1).long(), "softmax")
    inner = torch.arange(200) % 5 == 0
    right = {}
    for form in (HeadForm("linear", 2, 2), HeadForm("mlp", 2, 2, 32)):
        head, _ = fit(form, crossed, inner, 0)
        right[form.kind] = float((head(crossed.embeddings).argmax(1) == crossed.targets).double().mean())
    assert right["mlp"] > 0.98
    assert right["linear"] < 0.7


@pytest.mark.parametrize("form", [FORM, MLP], ids=["linear", "mlp"])
@pytest.mark.parametrize("measured", [False, True])
def test_a_folded_head_answers_plain_values_as_the_head_does_scaled_ones(form, measured):
    plain = torch.tensor(READ) * torch.logspace(-1, 1, WIDTH) + 3
    plain[:, 2] = 4.0  # a column that does not vary
    inputs = Scaling.of(plain)
    replies = Scaling(torch.tensor([5.0, -1, 0]).double(), torch.tensor([2.0, 9, 0.1]).double()) if measured else None
    head = loud(form.build()).double()
    expected = head((plain - inputs.centre) / inputs.scale).detach()
    expected = expected * replies.scale + replies.centre if measured else expected
    flat = folded(head, inputs, replies)
    assert all(weight.dtype is torch.float32 for weight in flat.parameters())
    same(flat.double()(plain), expected, 1e-5)


def test_values_are_scaled_to_mean_0_and_deviation_1():
    values = torch.tensor([[1.0, 7.0], [3.0, 7.0], [5.0, 7.0]])
    scaling = Scaling.of(values)
    assert scaling(values)[:, 0].tolist() == pytest.approx([-((3 / 2) ** 0.5), 0, (3 / 2) ** 0.5])
    assert scaling.scale.tolist() == pytest.approx([(8 / 3) ** 0.5, 1.0])
    assert scaling(values)[:, 1].tolist() == [0, 0, 0]


def test_a_column_that_is_constant_but_for_rounding_is_not_scaled_up():
    generator = torch.Generator().manual_seed(0)
    rounded = 4 + 1e-6 * torch.randn(50, generator=generator, dtype=torch.float64)
    faint = 1e-6 * torch.randn(50, generator=generator, dtype=torch.float64)  # beside one of deviation 1
    low = 4 + 1e-2 * torch.randn(50, generator=generator, dtype=torch.float64)
    scaling = Scaling.of(torch.stack([rounded, faint, low, low.flip(0) * 100], dim=1))
    assert scaling.scale[:2].tolist() == [1, 1]
    assert Scaling.of(rounded[:, None]).scale.tolist() == [1]
    assert scaling.scale[2] == pytest.approx(1e-2, rel=0.5)
