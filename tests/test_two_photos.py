"""The promise of the front page: on two photos side by side, each class's map stays on its own photo."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def two_photos():
    path = Path(__file__).parent.parent / "benchmarks" / "two_photos.py"
    specification = importlib.util.spec_from_file_location("two_photos", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_class_and_concept_maps_stay_on_their_own_photo(two_photos, shared_data):
    shares, passed, pictures = two_photos.measure(
        shared_data / "imagenette-224", only={"CDAM", "attention map"}, take=3
    )
    assert pictures == 45
    assert passed > pictures / 2
    for method, target, values in shares:
        known = values[~np.isnan(values).any(axis=1)]
        if method == "attention map":
            assert known.sum(axis=1) == pytest.approx(1)
            continue
        assert known.mean() >= 0.88, target
        assert (known > 0.5).all(axis=1).mean() >= 0.85, target
        assert len(known) == len(values)


def test_the_measure_itself_tells_own_from_other(two_photos):
    import torch

    maps = torch.zeros(1, 2, 2, 4)
    maps[0, 0, :, :2], maps[0, 1, 0, 0], maps[0, 1, 0, 3] = 1.0, 1.0, 3.0
    maps[0, 0, 0, 3] = -5.0
    assert two_photos.own_shares(maps).tolist() == [[1.0, 0.75]]


def test_neighbours_of_the_ring_are_of_different_classes(two_photos):
    labels = [0, 0, 0, 1, 1, 2, 2, 2]
    order = two_photos.ring(labels, seed=3)
    assert sorted(order) == list(range(8))
    assert all(labels[order[place]] != labels[order[place - 1]] for place in range(8))
