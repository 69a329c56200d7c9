import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from regard.errors import TargetError
from regard.question import ask, default_targets
from regard.targets import Class, Difference, LogProbability, Output, PerImage, Predicted, Probability, Score, top

CATS = ("tabby, tabby cat", "tiger cat", "crane, heron", "crane", "lynx, catamount", "Straße, A 1", "crane fly, crane")
THINGS = ("ant", "crane, bird", "crane, machine", "bee")


@dataclass(frozen=True)
class Subject:
    """All that a target asks of a classifier."""

    labels: tuple[str, ...] | None = CATS
    class_count: int | None = 7
    outputs: str = "softmax"
    hash: str = "0123456789abcdef"
    width: int | None = 3


HEADLESS = Subject(labels=None, class_count=None, outputs="embedding")
MEASURING = Subject(labels=("age", "height"), class_count=2, outputs="scalar")
PROBABILITIES = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.125, 0.125]])
EXCLUSIVE = Output(PROBABILITIES.log() + torch.tensor([[5.0], [-3.0]]), None)
INDEPENDENT = Output(torch.tensor([[0.0, math.log(3), -math.log(3), math.log(4)]]), None)


def scores(targets, output, subject=None):
    images, classes = output.logits.shape
    subject = subject or Subject(labels=None, class_count=classes)
    return ask(targets, subject, images).scores(output)


def indices(targets, subject=Subject(), images=2):
    logits = torch.zeros(images, subject.class_count)
    return [target.indices(Output(logits, None)).tolist() for target in ask(targets, subject, images).targets]


@pytest.mark.parametrize(
    ("written", "index"),
    [
        (0, 0),
        (6, 6),
        (np.int64(4), 4),
        (np.array(4, np.uint8), 4),
        (Class(1), 1),
        (Class("tiger cat"), 1),
        ("tabby, tabby cat", 0),
        ("tabby cat", 0),
        ("Tabby", 0),
        ("  LYNX ", 4),
        ("catamount", 4),
        ("STRASSE", 5),
        ("strasse, a 1", 5),
        ("crane", 3),
        ("crane fly", 6),
    ],
    ids=repr,
)
def test_a_class_is_named_by_its_index_its_label_or_one_of_its_synonyms(written, index):
    assert indices(written) == [[index, index]]


def test_an_ambiguous_label_lists_all_candidates_with_their_indices():
    with pytest.raises(TargetError, match="names 2 classes") as refusal:
        ask("Crane", Subject(THINGS, 4), 1)
    assert refusal.value.came == "1 (crane, bird), 2 (crane, machine)"
    assert indices("bird", Subject(THINGS, 4), 1) == [[1]]


NEAREST = {"tabbi": 0, "catamont": 4, "fly": 6, "§§§": 0}


@pytest.mark.parametrize(("wrong", "nearest"), NEAREST.items())
def test_an_unknown_label_lists_the_nearest(wrong, nearest):
    with pytest.raises(TargetError, match=f"no class is called '{wrong}'") as refusal:
        ask(wrong, Subject(), 1)
    assert repr(CATS[nearest]) in refusal.value.expected


@pytest.mark.parametrize("index", [-1, 7, 10**12])
def test_an_index_out_of_range_is_refused_with_the_range(index):
    for written in (index, Class(index), PerImage([0, index])):
        with pytest.raises(TargetError) as refusal:
            ask(written, Subject(), 2)
        assert (refusal.value.came, refusal.value.expected) == (f"class {index}", "0 to 6")


@pytest.mark.parametrize(
    "thing",
    [True, np.bool_(True), 1.0, np.float32(1), None, {}, {3}, b"tabby", object(), (n for n in [1])],
    ids=lambda thing: type(thing).__name__,
)
def test_what_is_no_target_is_refused_alone_and_in_company(thing):
    with pytest.raises(TargetError):
        ask([0, thing], Subject(), 1)
    with pytest.raises(TargetError):
        ask(Class(thing), Subject(), 1)
    with pytest.raises(TargetError):
        ask(Difference(0, thing), Subject(), 1)


@pytest.mark.parametrize("bare", [torch.tensor([1, 2]), torch.tensor(1), np.array([1, 2]), np.zeros((2, 3))], ids=repr)
def test_a_bare_tensor_or_array_is_refused_in_favour_of_per_image(bare):
    for written in (bare, [bare], [0, [bare]]):
        with pytest.raises(TargetError, match="bare tensor or array") as refusal:
            ask(written, Subject(), 2)
        assert "regard.PerImage" in refusal.value.remedy
        assert str(tuple(bare.shape)) in refusal.value.came


def test_a_label_needs_labels():
    with pytest.raises(TargetError, match="has no labels") as refusal:
        ask("tabby", Subject(labels=None), 1)
    assert "0 to 6" in refusal.value.expected
    assert indices(6, Subject(labels=None)) == [[6, 6]]


def test_a_nested_list_is_read_in_order_and_applies_to_every_image():
    assert indices([3, ["tabby", (5, [Class(6)])]]) == [[3, 3], [0, 0], [5, 5], [6, 6]]


@pytest.mark.parametrize("nothing", [[], (), [[], ()]], ids=repr)
def test_an_empty_list_is_refused(nothing):
    with pytest.raises(TargetError, match="empty"):
        ask(nothing, Subject(), 1)


@pytest.mark.parametrize(
    ("labels", "columns"),
    [
        (torch.tensor([3, 5]), [[3, 5]]),
        (np.array([3, 5], np.uint8), [[3, 5]]),
        ([3, 5], [[3, 5]]),
        ((np.int64(3), 5), [[3, 5]]),
        (torch.tensor([[3, 5, 0], [1, 2, 6]]), [[3, 1], [5, 2], [0, 6]]),
        ([[3], [5]], [[3, 5]]),
    ],
    ids=repr,
)
def test_per_image_gives_each_image_its_own(labels, columns):
    assert indices(PerImage(labels)) == columns


@pytest.mark.parametrize(
    "labels",
    [
        [[1, 2], [3]],
        [1],
        [1, 2, 3],
        [[1, 2]],
        [[], []],
        [],
        3,
        torch.zeros(2, 1, 1, dtype=torch.long),
        [1.0, 2.0],
        torch.tensor([1.0, 2.0]),
        [True, False],
        np.array([True, False]),
        torch.tensor([1j, 2j]),
        ["tabby", "crane"],
        None,
        [1, None],
        [10**30, 1],
    ],
    ids=lambda labels: repr(labels)[:30],
)
def test_per_image_refuses_what_does_not_give_two_images_whole_numbers(labels):
    with pytest.raises(TargetError, match="PerImage"):
        ask(PerImage(labels), Subject(), 2)


@pytest.mark.parametrize("written", [[PerImage([0, 1])], [0, PerImage([0, 1])], Difference(0, PerImage([0, 1]))])
def test_per_image_stands_alone(written):
    with pytest.raises(TargetError, match="all targets at once"):
        ask(written, Subject(), 2)


def test_predicted_follows_the_rank_of_each_image():
    logits = torch.tensor([[1.0, 9.0, 4.0], [7.0, -2.0, 3.0]])
    assert scores(top(3), Output(logits, None)).tolist() == [[9, 4, 1], [7, 3, -2]]


def test_of_equal_logits_the_lower_index_ranks_first():
    logits = torch.zeros(1, 300)
    logits[0, [17, 205]] = 1.0
    ranked = [target.indices(Output(logits, None)).item() for target in top(300)]
    assert ranked == [17, 205, *(index for index in range(300) if index not in (17, 205))]


@pytest.mark.parametrize("rank", [0, -1, 8, 1.0, True, "1", None], ids=repr)
def test_a_rank_that_no_class_has_is_refused(rank):
    with pytest.raises(TargetError, match="no class of this rank") as refusal:
        ask(Predicted(rank), Subject(), 1)
    assert "1 to 7" in refusal.value.expected


def test_measurements_have_no_likeliest_one():
    for target in (Predicted(), *top(2), Probability(Predicted())):
        with pytest.raises(TargetError, match="no likeliest class"):
            ask(target, MEASURING, 1)


@pytest.mark.parametrize("count", [0, -3, 1.0, True, "3"], ids=repr)
def test_top_takes_a_positive_whole_number(count):
    with pytest.raises(TargetError, match=r"top\(\)"):
        top(count)


def test_what_is_asked_when_nothing_is_asked():
    assert default_targets(Subject(), 3) == [Predicted(1), Predicted(2), Predicted(3)]
    assert default_targets(Subject(class_count=2), 3) == [Predicted(1), Predicted(2)]
    assert default_targets(MEASURING, 1) == [Class(0)]
    assert default_targets(MEASURING, 3) == [Class(0), Class(1)]
    assert ask(None, Subject(), 2).targets == (Predicted(1),)
    assert ask(None, MEASURING, 2).targets == (Class(0),)


@pytest.mark.parametrize("written", [None, 0, "tabby", Predicted(), PerImage([0]), Probability(0), Score(torch.sum)])
def test_without_a_head_there_are_no_classes_and_the_refusal_says_what_there_is(written):
    with pytest.raises(TargetError, match="no head") as refusal:
        ask(written, HEADLESS, 1)
    assert "Concept" in refusal.value.remedy


def test_softmax_probabilities_are_those_worked_by_hand():
    targets = [Probability(3), Probability(Predicted(2)), LogProbability(1)]
    expected = torch.tensor([[0.4, 0.3, math.log(0.2)], [0.125, 0.25, math.log(0.25)]])
    assert torch.allclose(scores(targets, EXCLUSIVE), expected, rtol=1e-6)


def test_sigmoid_probabilities_are_those_worked_by_hand():
    subject = Subject(labels=None, class_count=4, outputs="sigmoid")
    targets = [*map(Probability, range(4)), LogProbability(1), Probability(Predicted())]
    expected = torch.tensor([[0.5, 0.75, 0.25, 0.8, math.log(0.75), 0.8]])
    assert torch.allclose(scores(targets, INDEPENDENT, subject), expected, rtol=1e-6)


def test_the_log_probability_of_what_is_all_but_impossible_is_finite():
    output = Output(torch.tensor([[200.0, 0.0]]), None)
    assert scores([LogProbability(1), Probability(1)], output).tolist() == [[-200.0, 0.0]]
    assert scores(LogProbability(1), output, Subject(None, 2, "sigmoid")).item() == pytest.approx(-math.log(2))


@pytest.mark.parametrize("kind", [Probability, LogProbability])
def test_only_a_class_has_a_probability(kind):
    for inner in (Difference(0, 1), Score(torch.sum), Probability(0)):
        with pytest.raises(TargetError, match="only a class has a probability"):
            ask(kind(inner), Subject(), 1)
    with pytest.raises(TargetError, match="gives no probabilities"):
        ask(kind("age"), MEASURING, 1)


ONE_OF_EACH = [
    2,
    Predicted(2),
    Probability(1),
    LogProbability(Predicted()),
    Score(lambda logits: logits[:, 0] * logits[:, 1]),
    Difference(0, Predicted()),
]


@pytest.mark.parametrize("first", ONE_OF_EACH)
@pytest.mark.parametrize("second", ONE_OF_EACH)
def test_a_difference_of_any_two_is_one_score_less_the_other(first, second):
    apart = scores([first, second], EXCLUSIVE)
    assert scores(Difference(first, second), EXCLUSIVE).equal(apart[:, :1] - apart[:, 1:])


def test_every_target_says_in_words_what_it_is():
    written = [
        "tabby",
        Predicted(2),
        Difference("crane", 1),
        Probability("lynx"),
        LogProbability(1),
        Score(torch.sum, name="sum"),
    ]
    question = ask(written, Subject(), 2)
    names = [target.names(Subject(), 2) for target in question.targets]
    expected = ["tabby, tabby cat", "predicted, rank 2", "crane − tiger cat", "probability of lynx, catamount"]
    assert names == [[name, name] for name in [*expected, "log-probability of tiger cat", "sum"]]
    (own,) = ask(PerImage([0, 1]), Subject(), 2).targets
    assert own.names(Subject(), 2) == ["tabby, tabby cat", "tiger cat"]
    assert own.names(Subject(labels=None), 2) == ["class 0", "class 1"]
