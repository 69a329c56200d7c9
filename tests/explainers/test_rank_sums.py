"""What each rank adds to a score, against plain loops over the formulas: of classes, likenesses and episodes."""

from dataclasses import replace

import pytest
import torch

import regard
from regard.attention.prototypes import prototype_logits, prototypes

from .networks import CLASSES, TOKENS_ALIKE, pixels_of, same, vit
from .test_brnpa import IMAGES, OWN, brnpa

pytestmark = TOKENS_ALIKE


def length_of(vector):
    return sum(float(value) ** 2 for value in vector) ** 0.5


def by_hand(vectors, target, classifier, embedding):
    """What each rank adds to a target's score, by loops: (K,) numbers."""
    count, width = vectors.shape
    rows = classifier.head.weight.detach().double()

    def part(direction, rank):
        return sum(float(direction[rank * width + at] * vectors[rank, at]) for at in range(width))

    if isinstance(target, regard.Difference):
        first, second = (by_hand(vectors, one, classifier, embedding) for one in (target.first, target.second))
        return [a - b for a, b in zip(first, second, strict=True)]
    if isinstance(target, int):
        return [part(rows[target], rank) for rank in range(count)]
    direction = (target.reference if isinstance(target, regard.Similarity) else target.direction).double()
    if target.measure == "by ranks":
        cosines = [
            part(direction.flatten(), rank) / length_of(vectors[rank]) / length_of(direction[rank])
            for rank in range(count)
        ]
        return [cosine / count for cosine in cosines]
    lengths = 1.0
    if target.measure == "cosine":
        lengths = length_of(embedding) * length_of(direction)
    return [part(direction, rank) / lengths for rank in range(count)]


def reference(classifier, measure):
    return regard.Similarity(classifier.embed(pixels_of(1, seed=9))[0], measure)


def prototype(classifier):
    """Of one photo, rank by rank."""
    vectors = classifier.represent(pixels_of(1, seed=9))[0].vectors[0].detach()
    return regard.Similarity(vectors, "by ranks")


def concept(classifier, measure):
    others = pixels_of(2, seed=8) if measure == "contrast" else None
    return regard.Concept.from_images(classifier, pixels_of(2, seed=7), "horn", measure, others)


SUMS = {
    "class": lambda _: 1,
    "difference": lambda _: regard.Difference(0, 3),
    "cosine": lambda classifier: reference(classifier, "cosine"),
    "dot": lambda classifier: reference(classifier, "dot"),
    "by ranks": prototype,
    "concept": lambda classifier: concept(classifier, "dot"),
    "cosine of a concept": lambda classifier: concept(classifier, "cosine"),
    "contrast": lambda classifier: concept(classifier, "contrast"),
    "difference of similarities": lambda classifier: regard.Difference(
        reference(classifier, "cosine"), concept(classifier, "cosine")
    ),
    "difference of a class and a similarity": lambda classifier: regard.Difference(2, reference(classifier, "dot")),
}


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=str)
def test_shares_are_those_of_the_formula_and_sum_to_the_score(kind, name, precision, tolerance):
    classifier, pixels = OWN[name](), pixels_of(2)
    classifier.network.to(precision)
    classifier.head.to(precision)
    target = SUMS[kind](classifier)
    found = regard.BRNPA(classifier)(pixels, target)
    assert found.ranks.shares.dtype is precision
    with torch.no_grad():
        vectors = classifier.network.represent(pixels.to(precision)).vectors
        logits = classifier(pixels)
    for image in range(2):
        shares = found.ranks.shares[image, 0].double()
        own = vectors[image].double()
        expected = torch.tensor(by_hand(own, target, classifier, own.flatten()), dtype=torch.float64)
        same(shares, expected, 10 * tolerance if "difference of" in kind else tolerance)  # what is left of two sums
        if kind == "class":
            bias = 0.0 if classifier.head.bias is None else classifier.head.bias[1].item()
            assert float(shares.sum()) + bias == pytest.approx(float(logits[image, 1]), rel=tolerance, abs=tolerance)
        elif "class" not in kind and kind != "difference":
            scale = max(1.0, float(shares.abs().sum()))
            assert float(shares.sum()) == pytest.approx(found.targets[image][0].score, abs=1e-5 * scale)


def test_shares_of_classes_by_name_by_rank_and_by_image_are_those_of_the_class():
    classifier, pixels = brnpa(), pixels_of(IMAGES)
    explainer = regard.BRNPA(classifier)
    every = explainer(pixels, list(range(CLASSES))).ranks.shares
    likeliest = classifier(pixels).argmax(dim=1)
    for images, target in (
        (likeliest, regard.Predicted()),
        (torch.tensor([1, 1, 1]), "b"),
        (torch.tensor([4, 0, 2]), regard.PerImage([4, 0, 2])),
    ):
        found = explainer(pixels, target).ranks.shares
        assert found[:, 0].equal(every[torch.arange(IMAGES), images])


def test_shares_and_the_bias_are_the_logit_that_the_classifier_gives():
    for make in OWN.values():
        classifier, pixels = make(), pixels_of(IMAGES)
        found = regard.BRNPA(classifier)(pixels, list(range(CLASSES)))
        bias = 0 if classifier.head.bias is None else classifier.head.bias.detach()
        same(found.ranks.shares.sum(dim=2) + bias, found.logits)


@pytest.mark.parametrize(
    "target",
    [
        regard.Probability(1),
        regard.LogProbability(1),
        regard.Score(lambda logits: logits[:, 0]),
        regard.Difference(0, regard.Probability(1)),
    ],
    ids=["probability", "log-probability", "function", "difference with a probability"],
)
def test_what_is_no_sum_has_no_shares_and_a_note_and_leaves_those_of_others(target):
    classifier, pixels = brnpa(), pixels_of(2)
    found = regard.BRNPA(classifier)(pixels, [target, 2])
    assert found.ranks.shares[:, 0].isnan().all()
    assert found.ranks.shares[:, 1].equal(regard.BRNPA(classifier)(pixels, 2).ranks.shares[:, 0])
    (note,) = [note for note in found.notes if "no sum" in note]
    assert repr(found.targets[0][0].name) in note
    assert repr(found.targets[0][1].name) not in note


def test_a_prototype_of_an_episode_and_a_gallery_image_are_explained_by_the_photo_s_own_maps():
    classifier, query = brnpa(vit), pixels_of(2)
    support = classifier.embed(pixels_of(5, seed=11))
    prototype = regard.Similarity(support.mean(dim=0), name="class 3 of the episode")
    gallery = regard.Similarity(classifier.embed(pixels_of(1, seed=12))[0], "dot", name="camera 2")
    found = regard.BRNPA(classifier)(query, [prototype, gallery])
    assert found.maps.equal(regard.BRNPA(classifier)(query, [0, 1]).maps)
    for image in range(2):
        for place, answer in enumerate(found.targets[image]):
            assert float(found.ranks.shares[image, place].sum()) == pytest.approx(answer.score, rel=1e-5)
    assert [answer.name for answer in found.targets[0]] == ["class 3 of the episode", "camera 2"]


@pytest.mark.parametrize("name", OWN)
def test_what_ranks_add_by_ranks_is_what_decides_an_episode(name):
    """The logits of `prototype_logits` are sums of the shares, and so is what parts the first class from the second."""
    classifier, query = OWN[name](), pixels_of(2)
    with torch.no_grad():
        support = classifier.represent(pixels_of(6, seed=11))[0].vectors.unflatten(0, (2, 3))
        classes = prototypes(support)
        logits = prototype_logits(classifier.represent(query)[0].vectors, classes, scale=8.0)
    targets = [regard.Similarity(each, "by ranks") for each in classes]
    shares = regard.BRNPA(classifier)(query, [*targets, regard.Difference(*targets)]).ranks.shares
    same(8.0 * shares[:, :2].sum(dim=2), logits)
    same(8.0 * shares[:, 2].sum(dim=1), logits[:, 0] - logits[:, 1], 1e-4)


def test_ranks_that_are_as_like_add_as_much_however_active_they_are(monkeypatch):
    """Lengths as 10 : 3 : 1 and equal cosines: a third each; in the cosine of the joined vectors about 100 : 9 : 1."""
    classifier, pixels = brnpa(), pixels_of(1)
    plain, unit = classifier.represent, torch.zeros(3, 8)
    unit[:, 0] = 1
    vectors = unit * torch.tensor([10.0, 3.0, 1.0])[:, None]

    def crafted(pixels):
        found, output = plain(pixels)
        return replace(found, vectors=vectors[None]), replace(output, embedding=vectors.flatten()[None])

    monkeypatch.setattr(classifier, "represent", crafted)
    targets = [regard.Similarity(vectors, "by ranks"), regard.Similarity(vectors.flatten())]
    by_ranks, joined = regard.BRNPA(classifier)(pixels, targets).ranks.shares[0].tolist()
    assert by_ranks == pytest.approx([1 / 3] * 3)
    assert joined == pytest.approx([100 / 110, 9 / 110, 1 / 110])


def test_a_picture_compared_with_itself_shares_out_a_cosine_of_one():
    classifier, pixels = brnpa(), pixels_of(1)
    own = regard.Similarity(classifier.embed(pixels)[0])
    shares = regard.BRNPA(classifier)(pixels, own).ranks.shares[0, 0]
    assert float(shares.sum()) == pytest.approx(1, abs=1e-6)
    assert (shares > 0).all()
