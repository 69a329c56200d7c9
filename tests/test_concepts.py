from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import regard
from regard.concepts import Concept, Similarity
from regard.errors import NotFiniteError, PixelsError, TargetError
from regard.question import ask
from regard.targets import Output

WIDTH = 6


def classifier_of(seed=0, head=False):
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, WIDTH, 4, stride=4), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preparation = regard.Preparation(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    if head:
        return regard.Classifier(backbone, preparation, head=nn.Linear(WIDTH, 4))
    return regard.Classifier(backbone, preparation, outputs="embedding")


def photos_of(seed, count):
    colours = np.random.default_rng(seed).integers(0, 256, (count, 20, 24, 3), dtype=np.uint8)
    return [Image.fromarray(photo) for photo in colours]


HORNS, OTHERS, ASKED = photos_of(1, 3), photos_of(2, 2), photos_of(3, 4)


@pytest.fixture
def classifier():
    return classifier_of()


def embedded(classifier, photos):
    """Straight through the network, one photo at a time."""
    with torch.no_grad():
        return [classifier.network(classifier.prepare([photo]).as_subclass(torch.Tensor))[0] for photo in photos]


def scores(target, classifier, photos):
    embedding = torch.stack(embedded(classifier, photos))
    return ask(target, classifier, len(photos)).scores(Output(None, embedding))[:, 0].tolist()


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


FORMULAS = {
    "dot": lambda e, c, m: dot(e, c),
    "cosine": lambda e, c, m: dot(e, c) / (dot(e, e) * dot(c, c)) ** 0.5,
    "contrast": lambda e, c, m: dot(e, c) - dot(e, m),
}


@pytest.mark.parametrize("measure", FORMULAS)
@pytest.mark.parametrize("examples", [HORNS, HORNS[:1]], ids=["three photos", "one photo"])
def test_a_concept_scores_by_its_formula(measure, examples, classifier):
    others = OTHERS if measure == "contrast" else None
    horn = Concept.from_images(classifier, examples, "horn", measure, others)
    shown = sum(embedded(classifier, examples)) / len(examples)
    lacking = sum(embedded(classifier, OTHERS)) / len(OTHERS)
    by_hand = [FORMULAS[measure](e, shown, lacking) for e in embedded(classifier, ASKED)]
    assert scores(horn, classifier, ASKED) == pytest.approx(by_hand, rel=1e-4, abs=1e-6)


def test_one_photo_need_not_be_in_a_list_and_prepared_pixels_will_do(classifier):
    alone = Concept.from_images(classifier, HORNS[0], "horn").direction
    assert alone.equal(Concept.from_images(classifier, HORNS[:1], "horn").direction)
    assert alone.equal(Concept.from_images(classifier, classifier.prepare(HORNS[:1]), "horn").direction)


def test_an_example_is_wholly_like_itself_and_nothing_moves_its_cosine(classifier):
    horn = Concept.from_images(classifier, HORNS[0], "horn", "cosine")
    assert scores(horn, classifier, HORNS[:1]) == pytest.approx([1.0])
    output = Output(None, embedded(classifier, HORNS[:1])[0][None])
    assert ask(horn, classifier, 1).cotangents(output).embedding.abs().max() < 1e-6


def test_a_concept_of_a_classifier_with_a_head_is_about_what_the_head_reads():
    classifier = classifier_of(head=True)
    horn = Concept.from_images(classifier, HORNS, "horn")
    assert torch.allclose(horn.direction, sum(embedded(classifier, HORNS)) / 3)


def test_making_a_concept_keeps_no_graph_and_no_trace(classifier):
    classifier.network.train()
    horn = Concept.from_images(classifier, HORNS, "horn")
    assert (horn.direction.requires_grad, horn.direction.dtype) == (False, torch.float32)
    assert classifier.network.training
    assert all(parameter.grad is None for parameter in classifier.network.parameters())


@pytest.mark.parametrize(
    "other",
    [
        classifier_of(seed=1),
        classifier_of(head=True),
        regard.Classifier(classifier_of().network, regard.Preparation(size=16), outputs="embedding"),
    ],
    ids=["other weights", "with a head", "other preparation"],
)
def test_another_classifier_refuses_the_concept_before_any_compute(other, classifier):
    horn = Concept.from_images(classifier, HORNS, "horn")
    for target in (horn, regard.Difference(horn, Similarity(torch.ones(WIDTH)))):
        with pytest.raises(TargetError, match="'horn' was made with another classifier") as refusal:
            ask(target, other, 1)
        assert classifier.hash[:12] in refusal.value.came
        assert other.hash[:12] in refusal.value.expected


@pytest.mark.parametrize(
    "change",
    [lambda weight: weight.add_(1e-3), lambda weight: weight[0, 0].zero_(), lambda weight: weight.data.add_(1e-3)],
    ids=["in place", "in part", "through .data"],
)
def test_the_same_classifier_refuses_it_once_a_weight_has_changed(change, classifier):
    horn = Concept.from_images(classifier, HORNS, "horn")
    assert ask(horn, classifier, 1).targets == (horn,)
    with torch.no_grad():
        change(classifier.network[0].weight)
    with pytest.raises(TargetError, match="another classifier"):
        ask(horn, classifier, 1)


def test_an_equal_copy_of_the_classifier_takes_the_concept(classifier):
    horn = Concept.from_images(classifier, HORNS, "horn")
    copy = classifier_of()
    assert ask(horn, copy, 4).scores(Output(None, torch.stack(embedded(copy, ASKED)))).shape == (4, 1)


@pytest.mark.parametrize("measure", ["dot", "cosine", "contrast"])
def test_photos_embedded_once_give_the_same_concept(measure, classifier):
    others = OTHERS if measure == "contrast" else None
    shown = Concept.from_images(classifier, HORNS, "horn", measure, others)
    embedded = [None if given is None else classifier.embed(classifier.prepare(given)) for given in (HORNS, others)]
    again = Concept.from_embeddings(classifier, embedded[0], "horn", measure, embedded[1])
    assert again.direction.equal(shown.direction)
    assert (again.measure, again.classifier_hash) == (measure, classifier.hash)


def test_embeddings_of_another_width_are_refused(classifier):
    with pytest.raises(TargetError, match="not this classifier's"):
        Concept.from_embeddings(classifier, torch.zeros(2, classifier.width + 1), "horn")


@pytest.mark.parametrize("shape", [(24,), (0, 24), (1, 2, 24)], ids=str)
def test_embeddings_that_are_not_one_row_a_photo_are_refused(shape, classifier):
    with pytest.raises(TargetError, match="one row a photo"):
        Concept.from_embeddings(classifier, torch.zeros(shape), "horn")


@pytest.mark.parametrize(
    ("measure", "others", "refusal"),
    [
        ("euclidean", None, "no such measure"),
        ("contrast", None, "only contrast"),
        ("dot", OTHERS, "only contrast"),
        ("cosine", OTHERS, "only contrast"),
    ],
)
def test_measures_and_other_photos_must_fit(measure, others, refusal, classifier):
    with pytest.raises(TargetError, match=refusal):
        Concept.from_images(classifier, HORNS, "horn", measure, others)


def test_a_concept_needs_a_photo(classifier):
    with pytest.raises(PixelsError, match="no photos"):
        Concept.from_images(classifier, [], "horn")


def test_nan_in_an_example_is_refused(classifier):
    pixels = classifier.prepare(HORNS).as_subclass(torch.Tensor).clone()
    pixels[1, 0, 0, 0] = torch.nan
    with pytest.raises(NotFiniteError):
        Concept.from_images(classifier, pixels, "horn")
    with torch.no_grad():
        classifier.network[0].bias[0] = torch.nan
    with pytest.raises(NotFiniteError, match="horn"):
        Concept.from_images(classifier, HORNS, "horn")


def test_similarity_is_the_cosine_unless_dot_is_asked_for(classifier):
    reference = embedded(classifier, HORNS)[0]
    for target, formula in ((Similarity(reference), "cosine"), (Similarity(reference, "dot"), "dot")):
        by_hand = [FORMULAS[formula](e, reference, None) for e in embedded(classifier, ASKED)]
        assert scores(target, classifier, ASKED) == pytest.approx(by_hand, rel=1e-4)


def test_similarity_does_not_depend_on_lengths_and_dot_does():
    subject = SimpleNamespace(labels=None, class_count=None, outputs="embedding", hash="", width=2)
    output = Output(None, torch.tensor([[3.0, 4.0], [30.0, 40.0], [-4.0, 3.0]]))
    cosines = ask(Similarity(torch.tensor([10.0, 0.0])), subject, 3).scores(output)
    products = ask(Similarity(torch.tensor([10.0, 0.0], dtype=torch.float64), "dot"), subject, 3).scores(output)
    assert cosines[:, 0].tolist() == pytest.approx([0.6, 0.6, -0.8])
    assert products[:, 0].tolist() == [30, 300, -40]


def test_by_ranks_every_vector_counts_alike_however_long():
    """Worked by hand: (3, 4) with (1, 0) is 0.6, (0, 1) with (5, 5) √½; of the joined vectors it is 8 / √26 / √51."""
    subject = SimpleNamespace(labels=None, class_count=None, outputs="embedding", hash="", width=4)
    output = Output(None, torch.tensor([[3.0, 4.0, 0.0, 1.0], [300.0, 400.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]]))
    reference = torch.tensor([[1.0, 0.0], [5.0, 5.0]])
    by_ranks = ask(Similarity(reference, "by ranks"), subject, 3).scores(output)[:, 0].tolist()
    assert by_ranks == pytest.approx([(0.6 + 0.5**0.5) / 2] * 2 + [0.5**0.5 / 2])
    joined = ask(Similarity(reference.flatten()), subject, 3).scores(output)[:, 0].tolist()
    assert joined[0] == pytest.approx(8 / 26**0.5 / 51**0.5)


@pytest.mark.parametrize(
    ("reference", "measure", "refusal"),
    [
        (torch.ones(WIDTH), "by ranks", "one embedding"),
        (torch.ones(1, 2, WIDTH // 2), "by ranks", "one embedding"),
        (torch.ones(2, WIDTH), "by ranks", "not an embedding of this classifier"),
        (torch.ones(2, WIDTH // 2), "dot", "one embedding"),
    ],
    ids=["joined", "batch", "width", "ranks by another measure"],
)
def test_vectors_by_rank_that_are_no_embedding_are_refused(reference, measure, refusal, classifier):
    with pytest.raises(TargetError, match=refusal):
        ask(Similarity(reference, measure), classifier, 1)


@pytest.mark.parametrize(
    ("reference", "refusal"),
    [
        (torch.ones(WIDTH + 1), "not an embedding of this classifier"),
        (torch.ones(1, WIDTH), "one embedding"),
        (torch.ones(WIDTH, dtype=torch.long), "one embedding"),
        ([1.0] * WIDTH, "one embedding"),
        (np.ones(WIDTH), "one embedding"),
        (None, "one embedding"),
    ],
    ids=["width", "batch", "whole numbers", "list", "array", "nothing"],
)
def test_a_reference_that_is_no_embedding_is_refused(reference, refusal, classifier):
    with pytest.raises(TargetError, match=refusal):
        ask(Similarity(reference), classifier, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_reference_that_is_not_finite_is_refused(value, classifier):
    reference = torch.ones(WIDTH)
    reference[2] = value
    with pytest.raises(NotFiniteError, match="reference"):
        ask(Similarity(reference), classifier, 1)


def test_similarity_by_no_known_measure_is_refused(classifier):
    with pytest.raises(TargetError, match="no such measure"):
        ask(Similarity(torch.ones(WIDTH), "contrast"), classifier, 1)


def test_names_in_words(classifier):
    horn = Concept.from_images(classifier, HORNS, "horn")
    target = regard.Difference(horn, Similarity(torch.ones(WIDTH), name="prototype 3"))
    answers = ask(target, classifier, 2).answers(Output(None, torch.stack(embedded(classifier, ASKED[:2]))))
    assert [row[0].name for row in answers] == ["concept horn − prototype 3"] * 2
