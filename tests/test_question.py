import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.concepts import Concept, Similarity
from regard.errors import TargetError
from regard.question import TargetAnswer, ask
from regard.targets import Difference, ImageClasses, LogProbability, Output, PerImage, Predicted, Probability, Score

IMAGES, CLASSES, WIDTH = 3, 4, 5


@dataclass(frozen=True)
class Subject:
    """All that a target asks of a classifier."""

    labels: tuple[str, ...] | None = ("ant", "bee", "cat", "dog")
    class_count: int | None = CLASSES
    outputs: str = "softmax"
    hash: str = "these weights"
    width: int | None = WIDTH


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


WEIGHT, BIAS = drawn(CLASSES, WIDTH, seed=1), drawn(CLASSES, seed=2)
EMBEDDING = drawn(IMAGES, WIDTH)
OUTPUT = Output(EMBEDDING @ WEIGHT.T + BIAS, EMBEDDING)
DIRECTION, REFERENCE, OWN = drawn(WIDTH, seed=3), drawn(WIDTH, seed=4), [3, 0, 1]


def of_rank(logits, rank):
    return sorted(logits, key=torch.Tensor.item, reverse=True)[rank - 1]


def cosine(a, b):
    return sum(a * b) / (sum(a * a) ** 0.5 * sum(b * b) ** 0.5)


def concept(measure):
    return Concept("horn", DIRECTION, measure, Subject.hash)


ANSWERED_BY_HAND = {
    "class": (2, lambda logits, embedding, image: logits[2]),
    "label": ("dog", lambda logits, embedding, image: logits[3]),
    "predicted": (Predicted(), lambda logits, embedding, image: of_rank(logits, 1)),
    "predicted, rank 3": (Predicted(3), lambda logits, embedding, image: of_rank(logits, 3)),
    "per image": (PerImage(OWN), lambda logits, embedding, image: logits[OWN[image]]),
    "probability": (Probability(1), lambda logits, embedding, image: logits[1].exp() / logits.exp().sum()),
    "log-probability": (LogProbability(1), lambda logits, embedding, image: logits[1] - logits.exp().sum().log()),
    "likeliest's": (
        Probability(Predicted()),
        lambda logits, embedding, image: of_rank(logits, 1).exp() / logits.exp().sum(),
    ),
    "score of logits": (
        Score(lambda logits: (logits**2).sum(1)),
        lambda logits, embedding, image: sum(value * value for value in logits),
    ),
    "score of the embedding": (
        Score(lambda embedding: embedding.norm(dim=1), of="embedding"),
        lambda logits, embedding, image: sum(embedding * embedding) ** 0.5,
    ),
    "concept, dot": (concept("dot"), lambda logits, embedding, image: sum(embedding * DIRECTION)),
    "concept, cosine": (concept("cosine"), lambda logits, embedding, image: cosine(embedding, DIRECTION)),
    "concept, contrast": (concept("contrast"), lambda logits, embedding, image: sum(embedding * DIRECTION)),
    "similarity": (Similarity(REFERENCE), lambda logits, embedding, image: cosine(embedding, REFERENCE)),
    "similarity, dot": (Similarity(REFERENCE, "dot"), lambda logits, embedding, image: sum(embedding * REFERENCE)),
    "difference of classes": (Difference(0, "bee"), lambda logits, embedding, image: logits[0] - logits[1]),
    "difference per image": (
        Difference(ImageClasses(torch.tensor(OWN)), Probability(ImageClasses(torch.tensor(OWN)))),
        lambda logits, embedding, image: logits[OWN[image]] - logits[OWN[image]].exp() / logits.exp().sum(),
    ),
    "difference across": (
        Difference(Probability(2), concept("dot")),
        lambda logits, embedding, image: logits[2].exp() / logits.exp().sum() - sum(embedding * DIRECTION),
    ),
}


def close(found, expected):
    return torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def gradients_by_hand(function):
    """Of one image's score at a time: by logits (B, C), by embedding (B, D), by embedding through the head too."""
    by_logits, by_embedding, through_head = [], [], []
    for image in range(IMAGES):
        logits, embedding = OUTPUT.logits[image].clone(), EMBEDDING[image].clone()
        logits.requires_grad_(), embedding.requires_grad_()
        zero = 0 * (logits.sum() + embedding.sum())
        apart = torch.autograd.grad(function(logits, embedding, image) + zero, [logits, embedding])
        by_logits.append(apart[0])
        by_embedding.append(apart[1])
        through = function(WEIGHT @ embedding + BIAS, embedding, image)
        through_head.append(torch.autograd.grad(through, embedding)[0])
    return torch.stack(by_logits), torch.stack(by_embedding), torch.stack(through_head)


@pytest.mark.parametrize("kind", ANSWERED_BY_HAND)
def test_scores_cotangents_and_directions_are_those_of_a_loop_over_images(kind):
    written, function = ANSWERED_BY_HAND[kind]
    question = ask(written, Subject(), IMAGES)
    one_by_one = [function(OUTPUT.logits[image], EMBEDDING[image], image) for image in range(IMAGES)]
    assert close(question.scores(OUTPUT)[:, 0], torch.stack(one_by_one))

    by_logits, by_embedding, through_head = gradients_by_hand(function)
    found = question.cotangents(OUTPUT)
    for part, expected in ((found.logits, by_logits), (found.embedding, by_embedding)):
        if part is None:
            assert not expected.any()
        else:
            assert part.shape == (1, *expected.shape)
            assert close(part[0], expected)
    assert close(question.directions(OUTPUT, WEIGHT)[0], through_head)


def test_many_targets_together_give_what_each_gives_alone():
    written = [target for target, _ in ANSWERED_BY_HAND.values() if not isinstance(target, PerImage)]
    together = ask(written, Subject(), IMAGES)
    alone = [ask(target, Subject(), IMAGES) for target in written]
    assert together.scores(OUTPUT).equal(torch.cat([question.scores(OUTPUT) for question in alone], dim=1))
    found = together.cotangents(OUTPUT)
    for place, question in enumerate(alone):
        own = question.cotangents(OUTPUT)
        for part, whole in ((own.logits, found.logits), (own.embedding, found.embedding)):
            assert whole[place].equal(torch.zeros_like(whole[place]) if part is None else part[0])
    directions = torch.cat([question.directions(OUTPUT, WEIGHT) for question in alone])
    assert close(together.directions(OUTPUT, WEIGHT), directions)
    assert close(together.directions(OUTPUT, WEIGHT), found.logits @ WEIGHT + found.embedding)


def test_sigmoid_cotangents_touch_one_logit_alone():
    found = ask([Probability(1), LogProbability(1)], Subject(outputs="sigmoid"), IMAGES).cotangents(OUTPUT).logits
    chance = 1 / (1 + (-OUTPUT.logits[:, 1]).exp())
    expected = torch.zeros(2, IMAGES, CLASSES)
    expected[0, :, 1], expected[1, :, 1] = chance * (1 - chance), 1 - chance
    assert close(found, expected)


def test_a_part_that_no_target_reads_is_none():
    reads_logits = ask([0, Predicted(), Probability(1)], Subject(), IMAGES).cotangents(OUTPUT)
    reads_embedding = ask([concept("dot"), Similarity(REFERENCE)], Subject(), IMAGES).cotangents(OUTPUT)
    assert (reads_logits.embedding, reads_embedding.logits) == (None, None)
    assert (reads_logits.logits.shape, reads_embedding.embedding.shape) == ((3, 3, 4), (2, 3, 5))


def test_without_a_head_the_embedding_is_all_there_is():
    subject = Subject(labels=None, class_count=None, outputs="embedding")
    question = ask(concept("dot"), subject, IMAGES)
    found = question.cotangents(Output(None, EMBEDDING))
    assert found.logits is None
    assert found.embedding.equal(DIRECTION.expand(1, IMAGES, WIDTH))
    answer = question.answers(Output(None, EMBEDDING))[0][0]
    assert answer == TargetAnswer("concept horn", None, pytest.approx(float(EMBEDDING[0] @ DIRECTION)), None)


def test_a_target_of_an_unknown_embedding_is_refused():
    with pytest.raises(TargetError, match="embedding of this network is not known"):
        ask(Similarity(REFERENCE), Subject(width=None), IMAGES).scores(Output(OUTPUT.logits, None))


@pytest.mark.parametrize(
    "function",
    [
        lambda logits: logits,
        lambda logits: logits.sum(),
        lambda logits: logits[:, :1],
        lambda logits: logits[0],
        lambda logits: logits[1:, 0],
        lambda logits: 3.0,
        lambda logits: [float(row.sum()) for row in logits],
    ],
)
def test_a_function_that_gives_not_one_number_per_image_is_refused(function):
    for of in ("logits", "embedding"):
        with pytest.raises(TargetError, match="one number per image") as refusal:
            ask(Score(function, of=of, name="mine"), Subject(), IMAGES).scores(OUTPUT)
        assert "'mine'" in refusal.value.problem
        assert str(tuple(getattr(OUTPUT, of).shape)) in refusal.value.expected


@pytest.mark.parametrize(
    "function",
    [
        lambda logits: logits.argmax(dim=1),
        lambda logits: torch.ones(len(logits)),
        lambda logits: logits.detach()[:, 0],
        lambda logits: (logits[:, 0] > 0).float(),
    ],
)
def test_a_function_that_cannot_be_differentiated_has_scores_but_no_map(function):
    question = ask(Score(function), Subject(), IMAGES)
    assert question.scores(OUTPUT).shape == (IMAGES, 1)
    with pytest.raises(TargetError, match="differentiated"):
        question.cotangents(OUTPUT)


@pytest.mark.parametrize(("function", "of"), [("logits", "logits"), (torch.sum, "pixels"), (None, "embedding")])
def test_a_score_that_is_no_function_or_reads_nothing_is_refused(function, of):
    with pytest.raises(TargetError, match="Score"):
        ask(Score(function, of=of), Subject(), IMAGES)


def test_answers_name_the_class_with_its_score_and_probability():
    chances = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.125, 0.125]])
    output = Output(chances.log(), torch.eye(2, WIDTH))
    written = ["cat", Predicted(), Probability("bee"), Difference("ant", "bee"), Similarity(torch.eye(1, WIDTH)[0])]
    found = ask(written, Subject(), 2).answers(output)
    names = [
        ["cat", "dog", "probability of bee", "ant − bee", "similarity"],
        ["cat", "ant", "probability of bee", "ant − bee", "similarity"],
    ]
    assert [[answer.name for answer in row] for row in found] == names
    assert [[answer.index for answer in row] for row in found] == [[2, 3, None, None, None], [2, 0, None, None, None]]
    probabilities = [[answer.probability for answer in row] for row in found]
    assert probabilities == [
        [pytest.approx(0.3), pytest.approx(0.4), None, None, None],
        [pytest.approx(0.125), pytest.approx(0.5), None, None, None],
    ]
    scores = torch.tensor([[answer.score for answer in row] for row in found])
    two, eight = torch.tensor(2.0).log(), torch.tensor(8.0).log()
    expected = [[chances[0, 2].log(), chances[0, 3].log(), 0.2, -two, 1], [-eight, -two, 0.25, two, 0]]
    assert close(scores, torch.tensor(expected))


def test_independent_classes_have_their_own_probabilities_and_measurements_none():
    output = Output(torch.tensor([[0.0, 3.0]]).log1p(), None)
    for outputs, expected in (("sigmoid", [0.5, 0.8]), ("scalar", [None, None])):
        subject = Subject(labels=None, class_count=2, outputs=outputs)
        ((first, second),) = ask([0, 1], subject, 1).answers(output)
        assert [first.probability, second.probability] == [value and pytest.approx(value) for value in expected]
        assert (first.name, second.name, second.index) == ("class 0", "class 1", 1)


@pytest.mark.parametrize("images", [slice(0, 2), slice(1, 2), slice(2, 9), slice(None)], ids=str)
@pytest.mark.parametrize("kind", ANSWERED_BY_HAND)
def test_a_slice_of_the_images_is_answered_as_in_the_whole(kind, images):
    question = ask(ANSWERED_BY_HAND[kind][0], Subject(), IMAGES)
    part, some = question.take(images), Output(OUTPUT.logits[images], EMBEDDING[images])
    assert close(part.scores(some), question.scores(OUTPUT)[images])
    assert [row[0].name for row in part.answers(some)] == [row[0].name for row in question.answers(OUTPUT)[images]]
    found, whole = part.cotangents(some), question.cotangents(OUTPUT)
    for own, all_of_it in ((found.logits, whole.logits), (found.embedding, whole.embedding)):
        assert (own is None) == (all_of_it is None)
        assert own is None or close(own, all_of_it[:, images])


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_ranks_put_the_logits_in_order_and_keep_the_order_of_equals(logits):
    subject = Subject(labels=None, class_count=len(logits))
    question = ask([Predicted(rank + 1) for rank in range(len(logits))], subject, 1)
    found = [answer.index for answer in question.answers(Output(torch.tensor([logits]).float(), None))[0]]
    assert found == sorted(range(len(logits)), key=lambda index: (-logits[index], index))


def test_numbers_are_float32_whatever_the_network_gave_and_it_keeps_no_trace():
    logits = OUTPUT.logits.to(torch.bfloat16).requires_grad_()
    question = ask([1, Probability(1)], Subject(), IMAGES)
    with torch.no_grad():
        found = question.cotangents(Output(logits, None))
        assert not torch.is_grad_enabled()
    assert found.logits.dtype is question.scores(Output(logits, None)).dtype is torch.float32
    assert found.logits[1].any()
    assert logits.grad is None


def test_classes_become_probabilities_where_there_are_any_and_other_targets_stay():
    asked = [2, "dog", Predicted(2), Difference(0, 1), Score(lambda logits: logits[:, 0])]
    question = ask(asked, Subject(), IMAGES)
    found, plain = question.of_probabilities().scores(OUTPUT), question.scores(OUTPUT)
    assert found[:, 3:].equal(plain[:, 3:])
    for image, logits in enumerate(OUTPUT.logits):
        chances = [float(logit.exp() / logits.exp().sum()) for logit in logits]
        expected = [chances[2], chances[3], sorted(chances)[-2]]
        assert found[image, :3].tolist() == pytest.approx(expected, rel=1e-5)
    held = question.fixed(OUTPUT).of_probabilities()
    assert held.scores(OUTPUT).equal(found)
    independent = ask(2, Subject(outputs="sigmoid"), IMAGES).of_probabilities().scores(OUTPUT)
    assert independent[:, 0].tolist() == pytest.approx(OUTPUT.logits[:, 2].sigmoid().tolist(), rel=1e-5)
    measured = ask(2, Subject(outputs="scalar"), IMAGES)
    assert measured.of_probabilities() is measured


def test_a_probability_is_as_exact_as_the_logits_are():
    logits = torch.tensor([[17.0, 0.0, 0.0, 0.0]])
    chance = ask(0, Subject(), 1).of_probabilities()
    assert float(1 - chance.scores(Output(logits.double(), None))) == pytest.approx(3 / (3 + math.exp(17)), rel=1e-9)
    assert chance.scores(Output(logits.half(), None)).dtype is torch.float32
