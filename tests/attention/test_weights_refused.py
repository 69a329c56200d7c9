"""Scores that cannot become weights are refused, in words and with their place; also of several models together."""

import math
from functools import partial

import pytest
import torch

from regard.attention.entmax import entmax, sparsemax
from regard.attention.gumbel import gumbel
from regard.attention.weights import softmax, spherical_softmax, top_k
from regard.errors import NotFiniteError, UnsupportedError

NAN, INFINITY = math.nan, math.inf


def generator():
    return torch.Generator().manual_seed(0)


ALL = {
    "softmax": softmax,
    "sparsemax": sparsemax,
    "entmax": entmax,
    "entmax 1.3": partial(entmax, alpha=1.3),
    "spherical": spherical_softmax,
    "top-k": partial(top_k, k=2),
    "gumbel": partial(gumbel, noise=torch.zeros(2, 3, 4)),
}
every = pytest.mark.parametrize("weigh", ALL.values(), ids=list(ALL))


def spoilt(value):
    scores = torch.zeros(2, 3, 4)
    scores[1, 2, 0] = scores[1, 2, 3] = value
    return scores


@every
@pytest.mark.parametrize("dim", [1, -1])
@pytest.mark.parametrize("wrong", [NAN, INFINITY])
def test_nan_and_infinity_are_refused_with_their_place(weigh, dim, wrong):
    with pytest.raises(NotFiniteError, match=rf"{wrong} at \[1, 2, 0\]"):
        weigh(spoilt(wrong), dim=dim)


@pytest.mark.parametrize("weigh", [softmax, sparsemax, spherical_softmax])
@pytest.mark.parametrize("axis", [0, 1])
def test_several_models_together_are_refused_too(weigh, axis):
    place = "1, 2, 0" if axis == 0 else "2, 1, 0"
    for mapped in (
        torch.func.vmap(weigh, axis),
        torch.func.vmap(torch.func.grad(lambda row: weigh(row)[..., 0].sum()), axis),
    ):
        with pytest.raises(NotFiniteError, match=rf"nan at \[{place}\]"):
            mapped(spoilt(NAN))
    mask = torch.tensor([[[True]], [[False]]])
    for dim, row in ((-1, r"\[1, 0, :\]"), (0, r"\[1, :, 0\]")):
        with pytest.raises(UnsupportedError, match=rf"no segment.*\n.*{row}"):
            torch.func.vmap(lambda scores, mask, dim=dim: weigh(scores, dim=dim, mask=mask))(torch.zeros(2, 3, 4), mask)


@every
def test_what_stands_where_there_is_no_segment_does_not_matter(weigh):
    for wrong in (NAN, INFINITY, -INFINITY, 1e38):
        scores, mask = spoilt(wrong).requires_grad_(), ~spoilt(1).bool()
        weights = weigh(scores, mask=mask)
        weights[..., 1].sum().backward()
        assert torch.equal(weights, weigh(torch.zeros(2, 3, 4), mask=mask))
        assert not scores.grad[~mask].any()
        assert scores.grad.isfinite().all()


@every
@pytest.mark.parametrize(("dim", "row"), [(-1, r"\[1, 2, :\]"), (2, r"\[1, 2, :\]"), (-3, r"\[:, 2, 0\]")])
def test_a_row_without_a_segment_is_refused_with_its_place(weigh, dim, row):
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    (mask[1, 2] if dim != -3 else mask[:, 2])[:] = False
    for given in ({"mask": mask}, {}):
        scores = torch.zeros(2, 3, 4).masked_fill(~mask, 0 if given else -INFINITY)
        with pytest.raises(UnsupportedError, match=rf"no segment to weigh\n.*{row}"):
            weigh(scores, dim=dim, **given)


@every
@pytest.mark.parametrize(
    ("match", "given"),
    [
        ("these are no scores", {"scores": [1.0, 2.0]}),
        ("these are no scores", {"scores": torch.zeros(2, 3, 4, dtype=torch.int64)}),
        ("these are no scores", {"scores": torch.zeros(2, dtype=torch.complex64)}),
        ("these are no scores", {"scores": torch.tensor(1.0)}),
        ("no such dim", {"dim": 3}),
        ("no such dim", {"dim": -4}),
        ("no segment to weigh", {"scores": torch.zeros(3, 0)}),
        ("no segment to weigh", {"scores": torch.zeros(0, 4), "dim": 0}),
        ("mask does not fit", {"mask": torch.ones(2, 3, 4)}),
        ("mask does not fit", {"mask": torch.ones(5, 2, 3, 4, dtype=torch.bool)}),
        ("mask does not fit", {"mask": torch.ones(3, dtype=torch.bool)}),
        ("mask does not fit", {"mask": [True, False]}),
    ],
)  # fmt: skip
def test_what_are_no_scores_is_refused_in_words(weigh, match, given):
    with pytest.raises(UnsupportedError, match=match):
        weigh(**{"scores": torch.zeros(2, 3, 4)} | given)


@pytest.mark.parametrize("temperature", [0, -1.0, NAN, INFINITY, 1e-40, True, "1", None])
def test_what_is_no_temperature_is_refused(temperature):
    for weigh in (softmax, partial(gumbel, generator=generator())):
        with pytest.raises(UnsupportedError, match="temperature"):
            weigh(torch.zeros(3), temperature=temperature)


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
def test_what_is_no_number_of_segments_is_refused(k):
    with pytest.raises(UnsupportedError, match="how many segments"):
        top_k(torch.zeros(3), k)


@pytest.mark.parametrize(
    ("match", "alpha"),
    [
        ("no such α", 0.99),
        ("no such α", NAN),
        ("no such α", 10.1),
        ("no such α", INFINITY),
        ("no such α", True),
        ("no such α", "1.5"),
        (r"no such α\n.*0.5 at \[1, 0\]", torch.tensor([[1.5], [0.5]])),
        (r"no such α\n.*nan at \[\]", torch.tensor(NAN)),
        (r"no such α", torch.tensor(INFINITY)),
        (r"α does not fit.*\n.*\(2,\)\n.*\(2, 1\)", torch.tensor([1.5, 1.5])),
        (r"α does not fit", torch.ones(2, 3)),
        (r"α does not fit", torch.ones(3, 2, 1)),
    ],
)
def test_what_is_no_alpha_is_refused(match, alpha):
    with pytest.raises(UnsupportedError, match=match):
        entmax(torch.zeros(2, 3), alpha)


def test_an_alpha_of_one_of_several_models_is_refused_too():
    with pytest.raises(UnsupportedError, match=r"0.5 at \[1\]"):
        torch.func.vmap(entmax)(torch.zeros(2, 3), torch.tensor([1.5, 0.5]))


@pytest.mark.parametrize(
    ("match", "given"),
    [
        ("neither", {}),
        ("both", {"generator": generator(), "noise": torch.zeros(2, 3)}),
        ("noise of its own", {"noise": torch.zeros(3)}),
    ],
)
def test_a_draw_needs_a_generator_or_its_noise(match, given):
    with pytest.raises(UnsupportedError, match=match):
        gumbel(torch.zeros(2, 3), **given)
