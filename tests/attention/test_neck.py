"""Poolings with a batch norm behind them: what is other, and what stays."""

import pytest
import torch
from torch import nn

from regard.attention.neck import Neck
from regard.attention.poolings import described, pooling_called

KINDS = {
    "representative": {"count": 2, "refine": False},
    "bilinear": {"channels": 4, "count": 2},
    "branch": {"channels": 4, "classes": 3},
    "mean": {},
}


def pair(kind):
    """A pooling, and the same with a neck, of the same draw."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        bare = pooling_called(kind, **KINDS[kind])
        torch.default_generator.manual_seed(3)
        return bare.eval(), pooling_called(f"{kind}-neck", width=4, **KINDS[kind]).eval()


def features(seed=0):
    return torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(seed)).relu()


def worn(pooling):
    """Statistics and weights as after a training."""
    draw = torch.Generator().manual_seed(1)
    neck = pooling.neck
    neck.running_mean.copy_(torch.randn(len(neck.running_mean), generator=draw))
    neck.running_var.copy_(torch.rand(len(neck.running_var), generator=draw) + 0.5)
    neck.weight.data.copy_(torch.randn(len(neck.weight), generator=draw))
    return pooling


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_vectors_are_other_and_each_number_by_itself(kind):
    bare, necked = pair(kind)
    worn(necked)
    found, plain, neck = necked(features()), bare(features()), necked.neck
    expected = torch.empty_like(plain.vectors)
    for image, rank, channel in torch.cartesian_prod(*map(torch.arange, plain.vectors.shape)).tolist():
        place = 4 * rank + channel
        spread = (neck.running_var[place] + 1e-5).sqrt()
        number = plain.vectors[image, rank, channel] - neck.running_mean[place]
        expected[image, rank, channel] = neck.weight[place] * number / spread
    assert torch.allclose(found.vectors, expected, atol=1e-5)
    assert torch.equal(found.joined(), found.vectors.flatten(1))
    for name, value in vars(plain).items():
        assert name == "vectors" or torch.equal(getattr(found, name), value), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_pooling_is_still_of_its_kind_with_its_settings_and_weights(kind):
    bare, necked = pair(kind)
    assert isinstance(necked, type(bare))
    own = {name: value for name, value in necked.state_dict().items() if not name.startswith("neck.")}
    assert own.keys() == bare.state_dict().keys()
    assert all(torch.equal(value, own[name]) for name, value in bare.state_dict().items())
    assert described(necked) == described(bare) | {"name": f"{kind}-neck", "width": 4}
    assert repr(pooling_called(**described(necked))) == repr(necked)


def test_in_eval_mode_no_picture_depends_on_the_others_and_in_training_it_does():
    necked = worn(pair("representative")[1])
    whole, alone = necked(features()).vectors, necked(features()[:1]).vectors
    assert torch.equal(whole[:1], alone)
    before = necked.neck.running_mean.clone()
    necked.train()
    trained = necked(features()).vectors
    assert torch.allclose(trained.mean(dim=0), torch.zeros(2, 4), atol=1e-5)
    assert not torch.equal(necked(features()[:2]).vectors, trained[:2])
    assert not torch.equal(necked.neck.running_mean, before)


def test_the_neck_has_no_bias():
    assert [name for name, _ in Neck(3).named_parameters()] == ["weight"]
    assert isinstance(Neck(3), nn.BatchNorm1d)


def test_what_ranks_add_to_a_logit_is_exact_behind_it():
    necked, head = worn(pair("representative")[1]), nn.Linear(8, 3, bias=False)
    found = necked(features())
    logits = sum(found.vectors[:, rank] @ head.weight[:, 4 * rank : 4 * rank + 4].T for rank in range(2))
    assert torch.allclose(logits, head(found.joined()), atol=1e-5)


def test_gradients_pass_through_it_in_training_mode():
    necked = worn(pair("representative")[1]).double().train()
    given = (torch.rand(3, 4, 2, 2, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: necked(values).joined(), given, atol=1e-5)


def test_under_autocast_and_in_half_precision_it_works_in_its_own():
    necked = worn(pair("representative")[1])
    plain = necked(features()).vectors
    with torch.autocast("cpu", torch.bfloat16):
        given = necked(features().bfloat16()).vectors
    assert given.dtype == torch.float32
    assert torch.allclose(given, plain, atol=0.1)
    assert necked.half()(features().half()).vectors.dtype == torch.float16
