"""Selective models against plain loops, and against the closed forms of papers/sdc.md."""

import itertools
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from regard.attention.entmax import sparsemax
from regard.attention.selective import SelectiveModel, aggregated_shape
from regard.attention.weights import softmax
from regard.errors import NotFiniteError, UnsupportedError

SEGMENTS, WIDTH, CLASSES = 4, 3, 5


def focus(bias=False):
    return nn.Sequential(
        nn.Sequential(nn.Linear(WIDTH, 6, bias=bias), nn.Tanh()),
        nn.Sequential(nn.Linear(6, 4, bias=bias), nn.Tanh()),
        nn.Linear(4, 1, bias=bias),
    )


def model(layer=0, seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = nn.Sequential(nn.Linear((WIDTH, 6, 4)[layer], 7), nn.Tanh(), nn.Linear(7, CLASSES))
        return SelectiveModel(focus(), classifier, layer=layer, **settings).double().eval()


def segments(examples=6, count=SEGMENTS, seed=1):
    return torch.randn(examples, count, WIDTH, generator=torch.Generator().manual_seed(seed)).double()


def slow(subject, example, prediction):
    """(logits, weights) of one example, segment by segment."""
    scores, features = [], []
    for segment in example:
        value, kept = segment[None], [segment]
        for stage in subject.focus:
            value = stage(value)
            kept.append(value[0])
        scores.append(float(value))
        features.append(kept[subject.layer])
    total = sum(math.exp(score) for score in scores)
    weights = [math.exp(score) / total for score in scores]
    if prediction == "aggregate":
        z = sum(weight * feature for weight, feature in zip(weights, features, strict=True))
        return subject.classifier(z[None])[0], weights
    answers = [subject.classifier(feature[None])[0] for feature in features]
    if prediction == "chosen":
        return answers[max(range(len(weights)), key=weights.__getitem__)], weights
    mixture = sum(
        weight * torch.exp(answer) / torch.exp(answer).sum() for weight, answer in zip(weights, answers, strict=True)
    )
    return mixture.log(), weights


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["aggregate", "chosen", "mixture"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_model_is_the_formula_at_every_layer_for_every_prediction(layer, prediction):
    subject = model(layer)
    found = subject(segments(), prediction=prediction)
    for place, example in enumerate(segments()):
        logits, weights = slow(subject, example, prediction)
        assert torch.allclose(found.logits[place], logits, atol=1e-12)
        assert torch.allclose(found.weights[place], torch.tensor(weights).double(), atol=1e-12)
    assert (found.segment_logits is None) == (prediction != "mixture")


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["aggregate", "chosen", "mixture"])
@pytest.mark.parametrize("layer", [0, 1])
def test_what_stands_where_no_segment_is_changes_nothing(layer, prediction):
    subject, given_ = model(layer), segments()
    short = subject(given_[:, :2], prediction=prediction)
    given_[:, 2:] = math.nan
    mask = torch.tensor([True, True, False, False]).expand(6, -1)
    found = subject(given_, mask, prediction)
    assert torch.allclose(found.logits, short.logits, atol=1e-12)
    assert torch.equal(found.weights[:, 2:], torch.zeros(6, 2).double())
    assert torch.equal(found.scores[:, 2:], torch.full((6, 2), -math.inf).double())


def test_the_gradient_passes_by_what_is_no_segment():
    subject, given_ = model(1), segments()
    given_[:, 2:] = math.nan
    mask = torch.tensor([True, True, False, False]).expand(6, -1)
    subject(given_, mask, "mixture").logits.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in subject.parameters())


@settings(max_examples=20, deadline=None)
@given(
    order=st.permutations(range(SEGMENTS)),
    layer=st.integers(0, 2),
    prediction=st.sampled_from(["aggregate", "chosen", "mixture"]),
)
@torch.no_grad()
def test_the_order_of_segments_changes_no_answer(order, layer, prediction):
    subject, order = model(layer), list(order)
    there, here = subject(segments(), prediction=prediction), subject(segments()[:, order], prediction=prediction)
    assert torch.allclose(there.logits, here.logits, atol=1e-12)
    assert torch.allclose(there.weights[:, order], here.weights, atol=1e-12)


@torch.no_grad()
def test_with_a_linear_classifier_the_average_s_answer_is_the_average_of_the_answers():
    subject = SelectiveModel(focus(), nn.Linear(WIDTH, CLASSES)).double()
    each = subject.classifier(segments())
    found = subject(segments())
    assert torch.allclose(found.logits, (found.weights[..., None] * each).sum(dim=1), atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("weights", [softmax, partial(softmax, temperature=0.3), sparsemax])
def test_log_weights_are_the_logarithms(weights):
    subject = model(weights=weights)
    found = subject(3 * segments(seed=4))
    logs = subject.log_weights(found.scores, found.weights)
    assert torch.allclose(logs.exp(), found.weights, atol=1e-12)
    assert torch.equal(logs.isneginf(), found.weights == 0)


def test_log_weights_of_a_softmax_are_finite_where_weights_are_not_above_zero():
    scores = torch.tensor([[0.0, -500.0]])
    subject = model()
    assert torch.allclose(subject.log_weights(scores, softmax(scores)), scores)


# --- batch norm ------------------------------------------------------------------------------------------------------


def normed():
    torch.manual_seed(0)
    stage = nn.Sequential(nn.Linear(WIDTH, 6), nn.BatchNorm1d(6), nn.ReLU())
    return SelectiveModel(nn.Sequential(stage, nn.Linear(6, 1)), nn.Linear(6, CLASSES), layer=1).double()


@torch.no_grad()
def test_evaluation_does_not_depend_on_the_batch_though_there_is_a_batch_norm():
    subject = normed()
    subject(5 + segments(seed=7))
    subject.eval()
    together = subject(segments()).logits
    apart = torch.cat([subject(each[None]).logits for each in segments()])
    assert torch.allclose(together, apart, atol=1e-12)


@torch.no_grad()
def test_statistics_are_those_of_segments_that_are_there():
    mask = torch.rand(6, SEGMENTS, generator=torch.Generator().manual_seed(3)) < 0.6
    mask[:, 0] = True
    subject = normed()
    subject(segments(), mask)
    norm = subject.focus[0][1]
    there = subject.focus[0][0](segments()[mask])
    assert torch.allclose(norm.running_mean, 0.1 * there.mean(dim=0), atol=1e-12)


def test_a_batch_norm_without_running_statistics_is_refused():
    norm = nn.Sequential(nn.Linear(WIDTH, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 1))
    with pytest.raises(UnsupportedError, match="running statistics"):
        SelectiveModel(norm, nn.Linear(WIDTH, CLASSES))


# --- closed forms (papers/sdc.md, 5 and 9) ---------------------------------------------------------------------------


class Given(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, rows):
        return self.function(rows)


def threshold(at):
    """Class 1 above, class 0 below; half of each at the threshold itself."""
    return Given(lambda z: torch.cat([at - z, z - at], dim=1))


def singletons(background):
    """m = 2, the foreground −1 or +1 in both places: (segments, label, position)."""
    rows, labels, places = [], [], []
    for label, place in itertools.product((0, 1), (0, 1)):
        pair = [background, background]
        pair[place] = 2.0 * label - 1
        rows.append(pair)
        labels.append(label)
        places.append(place)
    return torch.tensor(rows).double()[..., None], torch.tensor(labels), torch.tensor(places)


def ftpt_and_ffpt(found, labels, places):
    right, focused = found.logits.argmax(dim=1) == labels, found.weights.argmax(dim=1) == places
    return float((right & focused).double().mean()), float((right & ~focused).double().mean())


@pytest.mark.parametrize("slope", [0.2, 2.0, 10.0, 50.0])
def test_a_class_coded_focus_is_right_half_of_the_time_at_full_accuracy(slope):
    given_, labels, places = singletons(0.0)
    found = SelectiveModel(Given(lambda x: slope * x), threshold(0.5))(given_)
    assert ftpt_and_ffpt(found, labels, places) == (0.5, 0.5)
    shares = 1 / (1 + math.exp(slope)), 1 / (1 + math.exp(-slope))
    entropy = -torch.special.xlogy(found.weights, found.weights).sum(dim=1).mean()
    assert float(entropy) == pytest.approx(-sum(share * math.log(share) for share in shares))


@pytest.mark.parametrize("slope", [0.2, 1.0, 2.0])
def test_an_inverted_focus_leaks_the_class_and_hard_selection_does_not(slope):
    given_, labels, places = singletons(3.0)
    ends = 3 - 4 / (1 + math.exp(4 * slope)), 3 - 2 / (1 + math.exp(2 * slope))
    middle, turned = sum(ends) / 2, ends[0] > ends[1]
    classifier = Given(lambda z: threshold(middle)(z).flip(1) if turned else threshold(middle)(z))
    subject = SelectiveModel(Given(lambda x: slope * x), classifier)
    assert ftpt_and_ffpt(subject(given_), labels, places) == (0.0, 1.0)
    hard = subject(given_, prediction="chosen")
    assert float((hard.logits.argmax(dim=1) == labels).double().mean()) == 0.5


def test_the_gap_of_an_inverted_focus_closes_at_one_slope_alone():
    slope = math.log(1 + math.sqrt(2)) / 2
    given_, _, _ = singletons(3.0)
    found = SelectiveModel(Given(lambda x: slope * x), Given(lambda z: z))(given_)
    assert float(found.logits.max() - found.logits.min()) < 1e-12


def test_hard_selection_is_never_right_by_the_background_for_more_than_one_class():
    draw = torch.Generator().manual_seed(5)
    worst = 0.0
    for classes, count in ((2, 2), (3, 2), (3, 3), (4, 2)):
        backgrounds = 3
        rows, labels, places = [], [], []
        for label, others, place in itertools.product(
            range(classes), itertools.product(range(backgrounds), repeat=count - 1), range(count)
        ):
            row = [classes + other for other in others]
            row.insert(place, label)
            rows.append(row)
            labels.append(label)
            places.append(place)
        letters = torch.tensor(rows)[..., None].double()
        for _ in range(150):
            scores = torch.randperm(classes + backgrounds, generator=draw).double()
            answers = torch.randint(classes, (classes + backgrounds,), generator=draw)
            subject = SelectiveModel(
                Given(lambda x, scores=scores: scores[x[:, 0].long()]),
                Given(
                    lambda x, answers=answers, classes=classes: nn.functional.one_hot(answers[x[:, 0].long()], classes)
                ),
            )
            _, wrong = ftpt_and_ffpt(subject(letters, prediction="chosen"), torch.tensor(labels), torch.tensor(places))
            assert wrong <= 1 / classes + 1e-12
            worst = max(worst, wrong * classes)
    assert worst == pytest.approx(1)


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: SelectiveModel(focus(), nn.Identity(), layer=3), "no such layer"),
        (lambda: SelectiveModel(nn.Linear(3, 1), nn.Identity(), layer=1), "no such layer"),
        (lambda: SelectiveModel(focus(), nn.Identity(), layer=-1), "counted from 0"),
        (lambda: SelectiveModel(focus(), nn.Identity(), layer=True), "counted from 0"),
        (lambda: SelectiveModel(focus(), nn.Identity(), prediction="best"), "no such prediction"),
        (lambda: model()(segments(), prediction="best"), "no such prediction"),
        (lambda: model()(segments()[0]), "made of segments"),
        (lambda: model()(segments()[:, :0]), "made of segments"),
        (lambda: model()(segments().long()), "made of segments"),
        (lambda: model()(segments(), torch.ones(6, SEGMENTS)), "mask does not fit"),
        (lambda: model()(segments(), torch.ones(6, 3, dtype=torch.bool)), "mask does not fit"),
        (lambda: model()(segments(), torch.zeros(6, SEGMENTS, dtype=torch.bool)), "no segment"),
        (lambda: SelectiveModel(nn.Linear(3, 2).double(), nn.Identity())(segments()), "one score"),
        (lambda: aggregated_shape(focus(), (4,), 1), "cannot read"),
    ],
)
def test_what_cannot_be_is_refused(call, said):
    with pytest.raises(UnsupportedError, match=said):
        call()


def test_a_score_that_is_no_number_is_refused():
    given_ = segments()
    given_[2, 1, 0] = math.nan
    with pytest.raises(NotFiniteError):
        model()(given_)


def test_the_shape_that_is_averaged_is_known_and_modes_are_kept():
    subject = focus().train()
    assert [aggregated_shape(subject, (WIDTH,), layer) for layer in (0, 1, 2)] == [(WIDTH,), (6,), (4,)]
    assert all(part.training for part in subject.modules())
