"""Every mode of error that can be made by hand is named, with exact numbers; who makes none is not accused."""

import itertools
import math

import pytest
import torch
from torch import nn

from regard.attention.selective import SelectiveModel
from regard.errors import UnsupportedError
from regard.exams.sdc import Arrangement, Items, arranged, diagnose, examine, outcomes, task_called
from regard.exams.sdc.evidence import Coded
from tests.exams.sdc.hand_made import (
    MEANS,
    Attending,
    Of,
    above,
    first_number,
    looking_at,
    nearest,
    selective,
    singletons,
)

STILL = 0.5 * math.log(1 + math.sqrt(2))


def share(task, label):
    """In per cent, of the test."""
    return 100 * float((task.test.label == label).double().mean())


def test_a_linear_focus_on_boxes_is_class_coded():
    """Dist. 2: background lies between the foregrounds, and a focus along x cannot have both sides."""
    task = task_called("boxes-2", train=300, test=900)

    def told(z):
        beyond = z[:, :1] > 3.5
        return torch.cat([beyond & (z[:, 1:] > 0), beyond & (z[:, 1:] <= 0), ~beyond], dim=1).double()

    found = examine(selective(lambda x: 5 * x[:, :1], told), task)
    assert found.figures["accuracy"] == 100
    assert found.figures["FFPT"] == pytest.approx(share(task, 2))
    assert found.diagnosis.mode == "class-coded focus"
    assert found.diagnosis.evidence.coded.label == "foreground 3"
    assert found.background_to_label[3].tolist() == [0, 0, float((task.test.label == 2).sum())]


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("slope", [0.3, 2.0, 10.0, 50.0])
def test_a_class_coded_focus_is_named_with_its_class(slope):
    """EM-A (check 17)."""
    task = singletons(0.0)
    found = examine(selective(lambda x: slope * x, above(0.5)), task)
    assert found.figures["accuracy"] == 100
    assert found.by_label.tolist() == [[0, 100, 0, 0], [100, 0, 0, 0]]
    assert found.diagnosis.mode == "class-coded focus"
    seen = found.diagnosis.evidence
    assert seen.coded == Coded(
        "minus one", of_all=100, elsewhere=100, focus=0, others_focus=100, kept=100, rival=0, zeroed=100
    )
    # the background alone is told: minus one. A hard focus loses nothing, and stays at the bound
    assert (seen.one_hot, seen.hard, seen.leaks) == (100, share(task, 0), False)
    # without the foreground all is background; drawn weights say plus one where its weight is above a half
    assert seen.without_foreground == share(task, 0)
    assert seen.drawn == pytest.approx(share(task, 0) + share(task, 1) / 2, abs=4)
    # with the weights held, −1 in the place of +1 is told, but +1 in the place of −1 has less than a half of the weight
    assert seen.follows == share(task, 1)


@pytest.mark.parametrize(("background", "mirror"), [(3.0, 1), (-3.0, -1)], ids=["above", "below"])
@pytest.mark.parametrize("slope", [0.02, 0.1, 0.2, 1.0, 2.0])  # with 0.02 the weights are nearly alike
def test_an_inverted_focus_that_leaks_is_named(slope, background, mirror):
    """EM-B (check 18)."""
    task = singletons(background)
    one, two = 3 - 2 * sigmoid(-2 * slope), 3 - 4 * sigmoid(-4 * slope)  # the foreground nearer to the background first
    ends = (two, one) if mirror == 1 else (-one, -two)  # z of −1, z of +1
    sign = 1 if ends[1] > ends[0] else -1
    model = selective(lambda x: mirror * slope * x, above(sum(ends) / 2, sign))
    found = examine(model, task)
    assert (found.figures["accuracy"], found.figures["FFPT"]) == (100, 100)
    assert found.diagnosis.mode == "inverted focus with leakage", found.diagnosis
    seen = found.diagnosis.evidence
    assert seen.one_hot in (share(task, 0), share(task, 1))
    assert (seen.foreground_last, seen.leaks) == (100, False)
    # without the foreground all is background; of a swapped one the mild slope passes on what it is, the steep how much
    assert seen.without_foreground in (share(task, 0), share(task, 1))
    assert seen.follows == (100 if slope < STILL else 0)


def test_at_the_slope_where_both_foregrounds_mix_alike_nothing_is_learnt():
    """EM-B at a* = ½ ln(1 + √2): both sums are the same number, and no threshold tells them apart."""
    task = singletons(3.0)
    one, two = 3 - 2 * sigmoid(-2 * STILL), 3 - 4 * sigmoid(-4 * STILL)
    assert one == pytest.approx(two, abs=1e-14)
    found = examine(selective(lambda x: STILL * x, above(2.5)), task)
    assert found.figures["accuracy"] in (share(task, 0), share(task, 1))
    assert found.diagnosis.mode == "nothing learnt"


def undone(segments, behind, points):
    """z (N, d) → the nearest class of the foreground that an average of all segments must have had."""
    return lambda z: nearest(points, torch.arange(3))(segments * z - (segments - 1) * behind)


@pytest.mark.parametrize("segments", [2, 9, 50])
def test_uniform_mixing_is_named(segments):
    """EM-C (check 19)."""
    task = task_called("d1", segments=segments, spread=0.0, train=300, test=300)
    behind = task.test.items.values[task.test.items.classes == 3][0].double()
    found = examine(selective(lambda x: 0 * x[:, :1], undone(segments, behind, MEANS)), task)
    assert found.figures["accuracy"] == pytest.approx(100)
    assert found.figures["FTPT"] == pytest.approx(100 / segments)
    assert found.diagnosis.mode == "uniform mixing", found.diagnosis
    assert found.diagnosis.evidence.lean == pytest.approx(0, abs=1e-5)
    assert found.diagnosis.evidence.alike == found.figures["accuracy"]
    assert found.diagnosis.evidence.follows == pytest.approx(100)
    assert found.diagnosis.evidence.without_foreground in [pytest.approx(share(task, label)) for label in range(3)]
    assert found.diagnosis.evidence.foreground_last == pytest.approx(100 / segments)


def test_late_aggregation_is_named_where_the_answer_does_not_need_the_focus():
    """EM-D: background is zero and only the sign counts."""
    task = singletons(0.0, segments=5)
    found = examine(selective(lambda x: -4 * x.abs(), above(0.0)), task)
    assert (found.figures["accuracy"], found.figures["FFPT"]) == (100, 100)
    assert found.diagnosis.mode == "late aggregation", found.diagnosis
    seen = found.diagnosis.evidence
    assert (seen.drawn, seen.one_hot, seen.without_foreground, seen.follows) == (100, 50, 50, 100)


def shrunk(x):
    """What is nearer than 1 is nothing."""
    return x.sign() * (x.abs() - 1).clamp(min=0)


def test_late_aggregation_is_named_where_features_of_background_are_nothing():
    """EM-D behind a layer: foregrounds at −3 and 3, background anywhere between −1 and 1."""
    values = torch.cat([torch.full((50,), -3.0), torch.full((50,), 3.0), torch.linspace(-0.99, 0.99, 100)])
    classes = torch.tensor([0] * 50 + [1] * 50 + [2] * 100, dtype=torch.int16)
    items = Items(values[:, None], classes, ("minus", "plus", "between"), (0, 1))
    task = arranged("between", items, items, Arrangement(train=200, test=400, segments=4))
    model = SelectiveModel(nn.Sequential(Of(shrunk), Of(lambda h: -4 * h.abs())), Of(above(0.0)), layer=1)
    found = examine(model, task)
    assert (found.figures["accuracy"], found.figures["FFPT"]) == (100, 100)
    assert found.diagnosis.mode == "late aggregation", found.diagnosis
    seen = found.diagnosis.evidence
    assert (seen.drawn, seen.alike, seen.one_hot, seen.without_foreground, seen.follows) == (100, 100, 50, 50, 100)
    # the same segments averaged before the features: what is left of the foreground is nothing, too
    early = SelectiveModel(Of(lambda x: -4 * x.abs()), nn.Sequential(Of(shrunk), Of(above(0.0))))
    assert examine(early, task).diagnosis.mode != "late aggregation"


def test_the_right_focus_before_such_a_classifier_is_not_accused_but_it_is_said():
    found = diagnose(selective(lambda x: 4 * x.abs(), above(0.0)), singletons(0.0, segments=5))
    assert found.mode == "interpretable"
    assert "not why the answers are" in found.notes[0]
    assert not any("weights are nearly alike" in note or "other segments" in note for note in found.notes)


@pytest.mark.parametrize("sharpness", [2.0, 20.0])
@pytest.mark.parametrize("prediction", ["aggregate", "chosen", "mixture"])
def test_an_interpretable_model_is_not_accused(prediction, sharpness):
    task = task_called("d1", train=200, test=400)

    def distance(points):
        return -sharpness * torch.cdist(points, MEANS).amin(dim=1, keepdim=True) ** 2

    found = diagnose(selective(distance, nearest(MEANS, torch.arange(3)), prediction=prediction), task)
    assert found.mode == "interpretable"
    assert found.evidence.FTPT > 99
    assert found.notes == ()


def test_a_focus_that_is_right_before_a_classifier_that_errs_is_not_accused():
    task = singletons(0.0)
    # half of the plus ones are read wrong: those whose foreground stands first
    found = diagnose(Attending(first_is_wrong), task)
    assert found.mode == "interpretable"
    assert 60 < found.evidence.accuracy < 90


def first_is_wrong(segments):
    points = first_number(segments)
    weights = points.abs()
    logits = above(0.0)(points.sum(dim=1, keepdim=True))
    return torch.where((points[:, :1] > 0.5), -logits, logits), weights


def prefers_background(x):
    return 100 * torch.cdist(x.double(), MEANS).amin(dim=1, keepdim=True)


def test_learning_by_heart_is_named_and_the_test_is_no_better_than_the_majority():
    """EM-E, and check 22: of a focus on nothing but background."""
    task = task_called("d1", train=150, test=600)
    seen = task.train[:]
    scores = prefers_background(seen.segments.flatten(0, 1)).view(150, 9)
    points = (scores.softmax(dim=1)[..., None] * seen.segments.double()).sum(dim=1)
    found = examine(selective(prefers_background, nearest(points, seen.label)), task)
    assert found.diagnosis.mode == "memorisation", found.diagnosis
    assert found.diagnosis.evidence.train > 95
    majority = found.diagnosis.evidence.chance
    assert found.figures["accuracy"] < majority + 300 * math.sqrt(majority / 100 * (1 - majority / 100) / 600)
    assert found.figures["FTPT"] == 0
    # on what was learnt from it is accurate and looks elsewhere, and is found out all the same
    assert found.diagnosis.evidence.train_elsewhere == 100
    learnt = examine(selective(prefers_background, nearest(points, seen.label)), task, split="train")
    assert learnt.figures["FFPT"] > 95
    assert learnt.diagnosis.mode == "memorisation"
    assert learnt.diagnosis.evidence.leaks  # each background was seen once: so many points, so few mosaics


def test_what_is_learnt_by_heart_is_not_seen_in_a_task_that_leaks_and_that_is_said():
    task = task_called("d1", train=200, test=200, leaky=True)

    def distance(points):
        return -20 * torch.cdist(points, MEANS).amin(dim=1, keepdim=True)

    found = diagnose(selective(distance, nearest(MEANS, torch.arange(3))), task)
    assert found.mode == "interpretable"
    assert "same items" in found.notes[0]


@pytest.mark.parametrize(("sharpness", "mode"), [(1e6, "collapse"), (0.5, "nothing learnt")])
def test_a_model_that_says_always_the_same_has_collapsed_if_it_looks_at_one_segment(sharpness, mode):
    task = task_called("d1", train=200, test=400)
    found = diagnose(
        selective(lambda x: sharpness * x[:, :1], lambda z: z.new_tensor([[0, 1, 0]]).expand(len(z), 3)), task
    )
    assert found.mode == mode


def test_what_has_no_name_is_not_given_one():
    """Half of all mosaics are looked at rightly whatever the label is, the others inverted."""
    found = diagnose(Attending(half_inverted), singletons(3.0))
    assert found.mode == "unnamed"
    assert found.evidence.elsewhere == pytest.approx(50, abs=6)
    assert "no weights" in found.notes[-1]


def half_inverted(segments):
    points = first_number(segments)
    looked = torch.where(points[:, :1] == 3, points == 3, points != 3)  # at the first segment
    return above(3.0)(points.sum(dim=1, keepdim=True)), looked.float()


def test_without_with_weights_only_what_is_seen_from_outside_is_named():
    task = singletons(0.0)
    found = diagnose(Attending(looking_at(2.0)), task)
    assert found.mode == "class-coded focus"
    assert found.evidence.one_hot is found.evidence.hard is found.evidence.coded.kept is None
    assert "with_weights" in found.notes[-1]
    inverted = diagnose(Attending(looking_at(2.0, 3 - 3 * sigmoid(-6))), singletons(3.0))
    assert inverted.mode in ("unnamed", "nothing learnt")


def test_a_class_that_only_seems_coded_is_told_by_intervention():
    """The focus finds one class alone, and yet the background says nothing: the answer is read from what is left."""
    task = singletons(0.0)

    def sure(segments, weights):
        return above(0.0)((weights * first_number(segments)).sum(dim=1, keepdim=True))

    def answer(segments):
        weights = torch.softmax(2 * first_number(segments), dim=1)
        return sure(segments, weights), weights

    model = Attending(answer)
    assert diagnose(model, task).mode == "class-coded focus"
    found = diagnose(model, task, with_weights=sure)
    assert (found.evidence.coded.kept, found.evidence.coded.rival) == (50, 50)  # a tie
    assert found.evidence.drawn == 100
    assert found.mode == "late aggregation"


class Mixing(nn.Module):
    """Features that know all segments, so that it does not matter which of them is taken."""

    def weights(self, segments):
        return (first_number(segments) == 3).float()

    def with_weights(self, segments, weights):
        whole = first_number(segments).sum(dim=1, keepdim=True).expand(-1, segments.shape[1])
        return above(3.0)((weights * whole).sum(dim=1, keepdim=True))

    def forward(self, segments):
        weights = self.weights(segments)
        return self.with_weights(segments, weights), weights


@pytest.mark.parametrize("told", [True, False], ids=["with_weights", "without"])
def test_a_hard_selection_that_is_right_too_often_leaks(told):
    """Check 20: no hard selection of single segments has FFPT above 1/C; this one has 100 %."""
    model = Mixing()
    found = diagnose(model, singletons(3.0), with_weights=model.with_weights if told else None)
    assert found.evidence.FFPT == 100
    assert found.evidence.leaks
    assert found.notes[0].startswith("leakage: ")
    assert found.mode == "unnamed"
    if told:  # late, and not late aggregation: without the foreground nothing would be left of that
        assert any("other segments tell of it" in note for note in found.notes)
        assert (found.evidence.without_foreground, found.evidence.one_hot, found.evidence.drawn) == (100, 100, 100)


def test_no_hard_selection_of_two_foregrounds_and_two_backgrounds_exceeds_the_bound():
    """Check 20, by brute force over all orders of scores and all answers to each item."""
    mosaics = list(itertools.product((0, 1), (2, 3)))  # (foreground, background), label = foreground
    label = torch.tensor([fore for fore, _ in mosaics])
    position = torch.zeros(4, dtype=torch.long)
    most = 0
    for order in itertools.permutations(range(4)):
        for told in itertools.product((0, 1), repeat=4):
            weights = torch.tensor([[float(order[a] > order[b]), float(order[a] < order[b])] for a, b in mosaics])
            chosen = [fore if order[fore] > order[back] else back for fore, back in mosaics]
            logits = nn.functional.one_hot(torch.tensor([told[item] for item in chosen]), 2).float()
            most = max(most, float(outcomes(weights, logits, label, position)[:, 1].mean()))
    assert most == 0.5


def test_there_is_no_other_part():
    with pytest.raises(UnsupportedError, match="no such part"):
        diagnose(Attending(looking_at(2.0)), singletons(0.0), split="validation")


def test_a_diagnosis_is_the_same_again_and_in_other_batches():
    task = singletons(3.0, segments=(2, 5))

    def answer(segments, mask):
        points = first_number(segments)
        weights = points.masked_fill(~mask, -math.inf).softmax(dim=1)
        return above(2.5)((weights * points).sum(dim=1, keepdim=True)), weights

    model = Attending(answer)
    found = [diagnose(model, task, batch=batch).words() for batch in (600, 7)]
    assert found[0] == found[1]
