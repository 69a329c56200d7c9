import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

import regard
from regard.errors import MetricError, NotFiniteError, PixelsError, UnsupportedError
from regard.fills import Noise
from regard.images import Pixels
from regard.metrics.sensitivity import max_sensitivity
from regard.models import passes

from ..explainers.networks import classifier_of, pixels_of, vit


def colours(pixels):
    """A method of two targets whose maps are the picture itself."""
    return torch.stack([pixels[:, 0], 2 * pixels[:, 1] - pixels[:, 2]], dim=1)


class Noting:
    """A method that keeps what it was asked."""

    def __init__(self, method=colours):
        self.method, self.asked = method, []

    def __call__(self, pixels):
        self.asked.append(pixels)
        return self.method(pixels)


def slow_sensitivity(asked, image, target):
    """By loops over all values of the maps, from the pictures that a method was shown, the unperturbed one first."""
    maps = [colours(pixels)[image, target].double().flatten().tolist() for pixels in asked]
    clean = math.sqrt(sum(value * value for value in maps[0]))
    changes = [math.sqrt(sum((a - b) ** 2 for a, b in zip(moved, maps[0], strict=True))) for moved in maps[1:]]
    return max(changes) / clean


@pytest.mark.parametrize(("radius", "samples"), [(0.02, 10), (0.5, 1), (3.0, 4)])
def test_it_is_the_largest_change_over_the_pictures_that_the_method_was_shown(radius, samples):
    method, pixels = Noting(), pixels_of(3, (6, 5))
    found = max_sensitivity(method, pixels, radius, samples)
    assert found.shape == (3, 2)
    assert found.dtype == torch.float64
    assert len(method.asked) == samples + 1
    assert method.asked[0].equal(pixels)
    for image in range(3):
        for target in range(2):
            expected = slow_sensitivity(method.asked, image, target)
            assert float(found[image, target]) == pytest.approx(expected, rel=1e-6)


def test_perturbations_fill_the_cube_around_each_picture_in_units_of_its_own_range():
    method, pixels = Noting(), pixels_of(2, (16, 16)) * torch.tensor([1.0, 50.0]).view(2, 1, 1, 1)
    max_sensitivity(method, pixels, radius=0.1, samples=5)
    for image in range(2):
        reach = 0.1 * float(pixels[image].max() - pixels[image].min())
        moves = torch.stack([asked[image] - pixels[image] for asked in method.asked[1:]]) / reach
        assert float(moves.abs().max()) <= 1 + 1e-4
        assert float(moves.max()) > 0.99
        assert float(moves.min()) < -0.99
        assert abs(float(moves.mean())) < 0.05  # uniform: mean 0, variance 1/3
        assert float(moves.var()) == pytest.approx(1 / 3, abs=0.03)
        assert len({float(move[0, 0, 0]) for move in moves}) == 5


@settings(max_examples=20, deadline=None)
@given(some.integers(0, 1000), some.floats(0.01, 0.5), some.integers(1, 5))
def test_a_picture_as_its_own_map_moves_no_more_than_the_corner_of_the_cube(seed, radius, samples):
    pixels = pixels_of(1, (4, 4), seed)
    found = float(max_sensitivity(lambda pixels: pixels[:, :1], pixels, radius, samples, seed))
    reach = radius * float(pixels.max() - pixels.min())
    assert 0 < found <= reach * 4 / float(pixels[:, 0].norm()) + 1e-6


def test_more_draws_find_no_less_and_scales_do_not_count():
    pixels = pixels_of(2, (5, 5))
    few, many = (max_sensitivity(colours, pixels, samples=samples) for samples in (2, 9))
    assert (few <= many).all()
    for scale in (1e-30, 1024.0, -1.0):
        scaled = max_sensitivity(lambda given, scale=scale: colours(given) * scale, pixels, samples=2)
        assert torch.allclose(scaled, few, rtol=1e-4)
    wide = max_sensitivity(colours, pixels * 8, samples=1)  # the range grows with the picture, and so do its maps
    assert torch.allclose(wide.log10(), few.log10(), atol=0.2)


def test_draws_belong_to_the_picture_and_the_seed():
    pixels = pixels_of(3, (5, 5))
    together = max_sensitivity(colours, pixels, samples=3, seed=4)
    alone = torch.cat([max_sensitivity(colours, pixels[[image]], samples=3, seed=4) for image in (2, 0, 1)])
    assert alone.equal(together[[2, 0, 1]])
    assert not max_sensitivity(colours, pixels, samples=3, seed=5).equal(together)
    method, pair = Noting(), pixels_of(1, (5, 5)).repeat(3, 1, 1, 1)
    pair[2, 0, 0, 0] += 1e-3
    max_sensitivity(method, pair, samples=1)
    same, again, another = method.asked[1] - pair
    assert same.equal(again)
    assert not torch.allclose(same, another, atol=1e-2)
    state = torch.random.get_rng_state()
    max_sensitivity(colours, pixels)
    assert torch.random.get_rng_state().equal(state)


def test_a_map_that_knows_nothing_does_not_move_and_neither_do_draws_that_are_the_picture_s():
    classifier, pixels = classifier_of(vit()), pixels_of(2)
    figures = {
        name: max_sensitivity(lambda given, explain=explain: explain(given, 1).maps, pixels, samples=3)
        for name, explain in (("centre", regard.Centre(classifier)), ("random", regard.Random(classifier)))
    }
    assert figures["centre"].tolist() == [[0.0], [0.0]]
    assert figures["random"].tolist() == [[0.0], [0.0]]


DRAWING = {
    "cdam": lambda classifier: regard.CDAM(classifier),
    "smooth-cdam": lambda classifier: regard.SmoothCDAM(classifier, samples=3, noise=0.3),
    "rise": lambda classifier: regard.RISE(classifier, samples=8),
    "rise on noise": lambda classifier: regard.RISE(classifier, samples=8, fill=Noise()),
    "smooth-grad": lambda classifier: regard.SmoothGrad(classifier, samples=3),
}


@pytest.mark.parametrize("name", DRAWING)
def test_it_goes_to_zero_as_the_radius_does_also_of_methods_that_draw(name):
    explain, pixels = DRAWING[name](classifier_of(vit())), pixels_of(2)
    figures = [max_sensitivity(lambda given: explain(given, 1).maps, pixels, radius, 2) for radius in (1e-2, 1e-5)]
    assert (figures[1] < 2e-3).all()
    assert (figures[1] < figures[0] / 20).all()
    assert (figures[0] > 0).all()


def test_chunks_and_mates_do_not_change_what_a_method_draws():
    classifier, pixels = classifier_of(vit()), pixels_of(3)
    explain = regard.SmoothCDAM(classifier, samples=3, noise=0.3)
    together = max_sensitivity(lambda given: explain(given, 1).maps, pixels, 1e-4, 2)
    passes.remember_chunk(classifier, pixels[:1], 1)
    assert torch.allclose(max_sensitivity(lambda given: explain(given, 1).maps, pixels, 1e-4, 2), together, rtol=0.1)
    order = [2, 0, 1]
    permuted = max_sensitivity(lambda given: explain(given, 1).maps, pixels[order], 1e-4, 2)
    assert torch.allclose(permuted, together[order], rtol=0.1)


def test_draws_are_the_moved_picture_s_own_again_after_an_exception():
    classifier, pixels = classifier_of(vit()), pixels_of(1)
    moved, clean = [], regard.Random(classifier)(pixels, 0).maps

    def failing(given):
        moved.append(given)
        if len(moved) > 1:
            assert regard.Random(classifier)(given, 0).maps.equal(clean)
            raise ZeroDivisionError
        return regard.Random(classifier)(given, 0).maps

    with pytest.raises(ZeroDivisionError):
        max_sensitivity(failing, pixels)
    assert not regard.Random(classifier)(moved[1], 0).maps.equal(clean)


def test_a_map_of_nothing_has_no_figure_and_a_picture_of_one_colour_does_not_move():
    pixels = pixels_of(3, (4, 4))
    pixels[1] = 0.25
    empty = torch.tensor([1.0, 1.0, 0.0]).view(3, 1, 1, 1)
    found = max_sensitivity(lambda given: given[:, :1] * empty, pixels, samples=2)
    assert found[0] > 0
    assert found[1] == 0
    assert found[2].isnan()


def test_an_explainer_sees_prepared_pixels_of_the_same_photos():
    """A pale picture in [0, 1] would be taken for one that was never prepared, once it forgot that it was."""
    classifier = classifier_of(vit())
    pixels = classifier.prepare([(torch.rand(40, 60, 3) * 60 + 150).byte().numpy()])
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1
    method = Noting(lambda given: regard.CDAM(classifier)(given, 2).maps)
    found = max_sensitivity(method, pixels, samples=2)
    assert (found > 0).all()
    assert all(isinstance(given, Pixels) and given.geometries == pixels.geometries for given in method.asked)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda pixels: pixels[0], "one row of maps"),
        (lambda pixels: colours(pixels)[:1], "one row of maps"),
        (lambda pixels: "map", "str"),
        (lambda pixels: pixels[:, :, : 3 + (float(pixels.sum()) == 0)], "another shape"),
    ],
    ids=["no batch", "fewer", "no tensor", "another grid"],
)
def test_a_method_that_gives_no_maps_is_refused(method, message):
    pixels = torch.zeros(2, 3, 6, 6)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = 1, -1
    with pytest.raises(MetricError, match=message):
        max_sensitivity(method, pixels)


@pytest.mark.parametrize("settings", [{"radius": 0}, {"radius": -1.0}, {"radius": math.nan}, {"radius": math.inf}])
def test_a_radius_that_is_none_is_refused(settings):
    with pytest.raises(MetricError, match="radius"):
        max_sensitivity(colours, pixels_of(1, (4, 4)), **settings)


@pytest.mark.parametrize("samples", [0, -3, 2.0, True])
def test_samples_that_are_no_number_are_refused(samples):
    with pytest.raises(MetricError, match="counted"):
        max_sensitivity(colours, pixels_of(1, (4, 4)), samples=samples)


def test_bad_pictures_maps_and_seeds_are_refused():
    pixels = pixels_of(2, (4, 4))
    with pytest.raises(UnsupportedError, match="seed"):
        max_sensitivity(colours, pixels, seed=0.5)
    for bad in (pixels[0], pixels.long(), pixels[:0]):
        with pytest.raises(PixelsError):
            max_sensitivity(colours, bad)
    broken = pixels.clone()
    broken[1, 0, 0, 0] = math.nan
    with pytest.raises(NotFiniteError, match="image 1"):
        max_sensitivity(colours, broken)
    with pytest.raises(NotFiniteError, match="map"):
        max_sensitivity(lambda given: colours(given) / 0, pixels)
