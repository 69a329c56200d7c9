"""Gradients of pooled vectors are those of the formula with its places held; papers/brnpa.md, checks 16 to 18."""

import pytest
import torch
from torch import nn

from regard.attention.representative import representative_pooling

from .pooled_features import WAYS, drawn, mask_of, ways

SIGNED = [*WAYS.values(), {"select": "random", "seeds": [1, 2]}]


def spread(*shape, seed=0):
    """Features away from ties, from zero and from right angles."""
    return drawn(*shape, seed=seed, signed=True).abs() + 0.2


@pytest.mark.parametrize("way", SIGNED, ids=[*WAYS, "random"])
@pytest.mark.parametrize("detach", [False, True])
def test_gradients_are_those_of_finite_differences(way, detach):
    """Held constant, the representative is given from outside, so that differences cannot move it."""
    features, mask = spread(2, 6, 3).requires_grad_(), mask_of(2, 6)
    start = representative_pooling(features, mask=mask, **way)
    units = nn.functional.normalize(features.detach(), dim=2).gather(1, start.indices[..., None].expand(-1, -1, 3))

    def found(values):
        made = representative_pooling(values, mask=mask, **way, detach=detach)
        assert made.indices.equal(start.indices)
        return made.vectors, made.maps, made.norms

    def held(values):
        """The formula with unit vectors that are numbers."""
        cosines = (nn.functional.normalize(values, dim=2) @ units.transpose(1, 2)).transpose(1, 2)
        if way.get("weights") == "softmax":
            maps = (cosines / way["temperature"]).masked_fill(~mask[:, None], -torch.inf).softmax(2)
        else:
            maps = (cosines * mask[:, None]) / (cosines * mask[:, None]).sum(2, keepdim=True)
        refined = maps @ values
        taken = values.gather(1, start.indices[..., None].expand(-1, -1, 3))
        return (refined if way.get("refine", True) else taken), maps, values.norm(dim=2)

    if not detach:
        assert torch.autograd.gradcheck(found, features)
        return
    assert torch.autograd.gradcheck(held, features)
    weights = [drawn(*each.shape, seed=n, signed=True) for n, each in enumerate(found(features))]
    expected, came = (
        torch.autograd.grad(sum((a * b).sum() for a, b in zip(of(features), weights, strict=True)), features)[0]
        for of in (held, found)
    )
    torch.testing.assert_close(came, expected, rtol=1e-10, atol=1e-12)


def test_holding_the_representative_takes_its_path_away_and_no_other():
    """Differences of a whole and a held gradient stand at the place that was taken alone."""
    features = spread(2, 7, 4).requires_grad_()
    start, weight = representative_pooling(features, 1), drawn(2, 1, 4, seed=3, signed=True)
    whole, held = (
        torch.autograd.grad((representative_pooling(features, 1, detach=detach).vectors * weight).sum(), features)[0]
        for detach in (False, True)
    )
    changed = (whole - held).abs().amax(2) > 1e-12
    assert changed.nonzero().tolist() == [[picture, int(start.indices[picture])] for picture in range(2)]


def test_gradients_are_those_of_maps_as_of_tokens_and_of_the_published_graph():
    """With the residual in the graph, as published, nothing else comes out: it only feeds the choice."""
    features = spread(2, 5, 3, 4).requires_grad_()
    weight = drawn(2, 3, 5, seed=3, signed=True)
    (of_maps,) = torch.autograd.grad((representative_pooling(features).vectors * weight).sum(), features)
    tokens = features.detach().flatten(2).transpose(1, 2).requires_grad_()
    (of_tokens,) = torch.autograd.grad((representative_pooling(tokens).vectors * weight).sum(), tokens)
    torch.testing.assert_close(of_maps.flatten(2).transpose(1, 2), of_tokens, rtol=1e-12, atol=1e-12)
    left, vectors = tokens.norm(dim=2), []
    for _ in range(3):
        taken = tokens[torch.arange(2), left.argmax(1)]
        alike = torch.cosine_similarity(tokens, taken[:, None], dim=2)
        vectors.append(((alike / alike.sum(1, keepdim=True))[..., None] * tokens).sum(1))
        left = left * (1 - alike)
    (published,) = torch.autograd.grad((torch.stack(vectors, 1) * weight).sum(), tokens)
    torch.testing.assert_close(of_tokens, published, rtol=1e-9, atol=1e-12)


@ways
def test_scores_and_places_carry_no_gradient(way):
    found = representative_pooling(spread(2, 6, 3).requires_grad_(), **way)
    assert not found.scores.requires_grad
    assert found.vectors.requires_grad
    assert found.maps.requires_grad


@pytest.mark.parametrize("way", SIGNED, ids=[*WAYS, "random"])
@pytest.mark.parametrize("dead", ["one place", "all but one", "all"])
def test_gradients_are_finite_with_places_of_zeros_also_in_a_layer_before(way, dead):
    """The layer has no ReLU behind it which would hide what is wrong, and hands zeros on as zeros."""
    torch.manual_seed(0)
    values = drawn(2, 6, 5, signed=True).float()
    values[:, {"one place": slice(2, 3), "all but one": slice(1, None), "all": slice(None)}[dead]] = 0
    values.requires_grad_()
    layer = nn.Linear(5, 4, bias=False)
    found = representative_pooling(layer(values), **way)
    (found.vectors.square().sum() + found.maps.square().sum() + found.norms.sum()).backward()
    for gradient in (values.grad, layer.weight.grad):
        assert gradient.isfinite().all()
        assert float(gradient.abs().max()) < 1e4  # where 1e-5 is added to norms, places of zeros have 1e5
    assert bool(found.vectors.isfinite().all())


def test_a_place_of_zeros_gets_the_gradient_of_its_weight_alone():
    """It has none: what is as good as zero moves no weight, however far up 1 / ‖f‖ goes there."""
    features = spread(1, 6, 3)
    features[0, 2] = 0
    features[0, 4] *= 1e-7
    features.requires_grad_()
    (gradient,) = torch.autograd.grad(representative_pooling(features).vectors.sum(), features)
    assert not gradient[0, [2, 4]].any()
    assert gradient[0, [0, 1, 3, 5]].all(1).all()


def test_at_a_right_angle_the_gradient_is_that_of_the_cosine():
    """Features after a ReLU stand there often: holding cosines at zero from below takes no gradient from them."""
    features = torch.eye(2, dtype=torch.float64)[None].requires_grad_()
    clamped, signed = (
        torch.autograd.grad(representative_pooling(features, 1, negative=negative).vectors[0, 0, 1], features)[0]
        for negative in ("clamp", "signed")
    )
    assert clamped.equal(signed)
    assert clamped.any()
