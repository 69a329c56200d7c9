"""What cannot be pooled is refused, in words and with its place."""

import pytest
import torch

from regard.attention.representative import norm_variation, representative_pooling
from regard.errors import LayerError, NotFiniteError, UnsupportedError

from .pooled_features import drawn


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused_with_their_place(wrong):
    features = drawn(2, 5, 3, 4)
    features[1, 4, 2, 3] = wrong
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    mask[1, 2, 3] = False
    for hidden in (None, mask):
        with pytest.raises(NotFiniteError, match="picture 1, channel 4, row 2, column 3"):
            representative_pooling(features, mask=hidden)
    with pytest.raises(NotFiniteError, match="picture 1, token 2, channel 3"):
        norm_variation(features[:, 4])
    with pytest.raises(NotFiniteError, match=r"beyond float32.*\n.*picture 0"):
        representative_pooling(torch.full((1, 4, 4), 3e38))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize(
    "settings",
    [{}, {"refine": False}, {"weights": "softmax"}, {"select": lambda features, *_: features.sum(dim=2)}],
    ids=["plain", "not refined", "softmax", "a function"],
)
def test_what_is_no_number_may_go_on_in_its_own_picture_alone(settings, wrong):
    features = drawn(3, 5, 3, 4).float()
    clean = representative_pooling(features, **settings)
    features[1, :, 2, 3] = wrong
    leaf = features.requires_grad_()
    found = representative_pooling(leaf, on_nan="propagate", **settings)
    assert found.vectors[1].isnan().all()
    assert not found.norms[1].isfinite().all()
    assert not found.valid[1].any()
    for name in ("vectors", "maps", "valid", "norms", "indices", "scores"):
        assert torch.equal(getattr(found, name)[[0, 2]], getattr(clean, name)[[0, 2]]), name
    found.vectors[[0, 2]].square().sum().backward()
    assert leaf.grad[[0, 2]].isfinite().all()


@pytest.mark.parametrize(
    ("error", "match", "given"),
    [
        (LayerError, "no features", {"features": torch.zeros(2, 3)}),
        (LayerError, "no features", {"features": torch.zeros(2, 3, 4, 4, dtype=torch.int64)}),
        (LayerError, "no features", {"features": torch.zeros(2, 3, 0, 4)}),
        (LayerError, "mask does not fit", {"mask": torch.ones(2, 4, 3, dtype=torch.bool)}),
        (LayerError, "mask does not fit", {"mask": torch.ones(2, 3, 4)}),
        (LayerError, r"no place.*\n.*picture 1", {"mask": torch.tensor([True, False])[:, None, None].expand(2, 3, 4)}),
        (UnsupportedError, "number of representatives", {"count": 0}),
        (UnsupportedError, "number of representatives", {"count": True}),
        (UnsupportedError, "number of representatives", {"count": 2.0}),
        (UnsupportedError, "no such selection", {"select": "norms"}),
        (UnsupportedError, "no such weights", {"weights": "mean"}),
        (UnsupportedError, "no such negative", {"negative": "abs"}),
        (UnsupportedError, "no such on_nan", {"on_nan": "skip"}),
        (UnsupportedError, "temperature", {"weights": "softmax", "temperature": 0}),
        (UnsupportedError, "temperature", {"temperature": float("nan")}),
        (UnsupportedError, "a seed for each", {"select": "random"}),
        (UnsupportedError, "a seed for each", {"select": "random", "seeds": [1]}),
        (UnsupportedError, "a seed for each", {"select": "random", "seeds": [1, 2**80]}),
        (UnsupportedError, "a seed for each", {"select": "random", "seeds": [1, 0.5]}),
        (UnsupportedError, "no score for each", {"select": lambda features, left, rank: features}),
        (UnsupportedError, "no score for each", {"select": lambda features, left, rank: None}),
        (NotFiniteError, r"nan\n.*rank 0, picture 0", {"select": lambda features, left, rank: left * torch.nan}),
    ],
)  # fmt: skip
def test_what_cannot_be_pooled_is_refused_in_words(error, match, given):
    with pytest.raises(error, match=match):
        representative_pooling(**{"features": drawn(2, 5, 3, 4)} | given)


def test_no_pictures_give_no_representatives():
    assert representative_pooling(torch.zeros(0, 5, 3, 4)).vectors.shape == (0, 3, 5)
