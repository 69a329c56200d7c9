"""Smooth CDAM and both meanings of Integrated CDAM: papers/cdam.md, sections 3.4 and 3.5, checks 20 and 21."""

import itertools
from contextlib import nullcontext

import pytest
import torch

import regard
from regard.errors import UnsupportedError
from regard.explainers.evidence import Point
from regard.explainers.reading import entering_and_read
from regard.images import seed_of
from regard.models.taps import Place, read
from regard.question import ask

from ..models.test_transformer import tiny
from .networks import CLASSES, classifier_of, pixels_of, same, vit

ALL = list(range(CLASSES))
NETWORKS = {
    "class token": vit,
    "registers": lambda: vit(reg_tokens=4, init_values=0.5),
    "by autograd": lambda: vit(qk_norm=True),
    "averaged patches": lambda: vit(global_pool="avg"),
    "attention pool": lambda: vit(global_pool="map", class_token=False),
    "distilled": lambda: tiny("deit_tiny_distilled_patch16_224", img_size=64),
}
AVERAGED = (regard.SmoothCDAM, regard.IntegratedCDAM, regard.PaperIntegratedCDAM)


def made(name):
    network = NETWORKS[name]()
    side = 64 if name == "distilled" else 32
    return classifier_of(network, side), pixels_of(2, (side, side))


def point_of(classifier, pixels):
    with torch.no_grad():
        return [part.detach() for part in entering_and_read(classifier, classifier.tokens, pixels)]


def product_at(network, entering, u_of, target, u=None):
    """u · ∂f/∂u (N,) of one picture's x (N, D), by the network's own last block, norm and head; timm, class token."""
    block, leaf = network.blocks[-1], (u_of(entering[None]) if u is None else u[None]).detach().requires_grad_()
    middle = entering[None] + block.ls1(block.attn(leaf))
    logits = network.forward_head(network.norm(middle + block.ls2(block.mlp(block.norm2(middle)))))
    (gradient,) = torch.autograd.grad(logits[0, target], leaf)
    return (leaf * gradient)[0].sum(-1).detach()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("noise_at", ["block input", "norm output"])
def test_without_noise_it_is_cdam(name, noise_at):
    classifier, pixels = made(name)
    with pytest.warns(UserWarning, match="normalised") if name == "by autograd" else nullcontext():
        smooth = regard.SmoothCDAM(classifier, samples=3, noise=0, noise_at=noise_at)
        cdam = regard.CDAM(classifier)
    found, expected = smooth(pixels, ALL), cdam(pixels, ALL)
    same(found.maps, expected.maps)
    same(found.prefix, expected.prefix) if found.prefix.numel() else None
    same(found.logits, expected.logits)


@pytest.mark.parametrize("noise_at", ["block input", "norm output"])
@pytest.mark.parametrize("scale", ["range", "channel", "rms"])
def test_it_is_the_loop_over_draws_of_each_picture(noise_at, scale):
    network, pixels = vit(reg_tokens=1), pixels_of(2)
    classifier = classifier_of(network)
    entering, u = point_of(classifier, pixels)
    expected = torch.zeros(2, 4, 4)
    for image in range(2):
        noisy = entering[image] if noise_at == "block input" else u[image]
        deviation = {
            "range": noisy.max() - noisy.min(),
            "channel": noisy.max(dim=0).values - noisy.min(dim=0).values,
            "rms": noisy.square().mean().sqrt(),
        }[scale]
        draw = torch.Generator().manual_seed(seed_of(pixels[image], 3))
        for _ in range(4):
            changed = noisy + 0.1 * deviation * torch.randn(noisy.shape, generator=draw)
            arguments = (changed, None) if noise_at == "block input" else (entering[image], changed)
            scores = product_at(network, arguments[0], network.blocks[-1].norm1, 2, arguments[1])
            expected[image] += scores[2:].view(4, 4) / 4
    smooth = regard.SmoothCDAM(classifier, samples=4, noise=0.1, noise_at=noise_at, scale=scale, seed=3)
    same(smooth(pixels, 2).maps[:, 0], expected)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    classifier, pixels = made("class token")
    maps = [regard.SmoothCDAM(classifier, samples=5, seed=seed)(pixels, 0).maps for seed in (1, 1, 2)]
    assert maps[0].equal(maps[1])
    assert not maps[0].equal(maps[2])


def test_the_spread_over_seeds_falls_as_one_over_the_number_of_samples():
    classifier, pixels = made("class token")

    def spread(samples):
        maps = [regard.SmoothCDAM(classifier, samples=samples, seed=seed)(pixels[:1], 0).maps for seed in range(40)]
        return float(torch.stack(maps).var(dim=0).mean())

    assert spread(4) / spread(32) == pytest.approx(8, rel=0.4)


def test_how_many_points_are_computed_together_changes_nothing(monkeypatch):
    classifier, pixels = made("registers")
    for explainer in AVERAGED:
        together = explainer(classifier)(pixels, ALL).maps
        monkeypatch.setattr("regard.explainers.averaged_cdam.POINT_BYTES", 1)
        same(explainer(classifier)(pixels, ALL).maps, together)
        monkeypatch.undo()


def test_a_predicted_class_is_that_of_the_picture_not_of_each_draw():
    classifier, pixels = made("class token")
    smooth = regard.SmoothCDAM(classifier, samples=20, noise=3)
    likeliest = classifier(pixels).argmax(1)
    found = smooth(pixels, [regard.Predicted(), regard.Probability(regard.Predicted())]).maps
    same(found[:, :1], smooth(pixels, regard.PerImage(likeliest)).maps)
    one = smooth(pixels[1:], regard.Probability(int(likeliest[1]))).maps
    same(found[1:, 1:], one)


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_maps_sum_to_what_all_patches_add(name):
    classifier, pixels = made(name)
    tokens = classifier.tokens
    integrated = regard.IntegratedCDAM(classifier, steps=200, form="autograd")
    found = integrated(pixels, ALL)
    entering, u = point_of(classifier, pixels)
    without, beside = u.clone(), entering.clone()
    without[:, tokens.prefix :] = 0
    if tokens.rows is None and tokens.pool is None:
        beside[:, tokens.prefix :] = 0
    with torch.no_grad():
        whole, empty = (Point(*parts, pixels[:1]) for parts in ((entering, u), (beside, without)))
        added = integrated.evidence.answer(whole).logits - integrated.evidence.answer(empty).logits
    assert added.abs().max() > 0.1
    same(found.maps.sum((2, 3)), added, 1e-3)
    assert found.notes == ()


def test_the_completeness_error_falls_with_the_square_of_the_steps():
    classifier, pixels = made("class token")
    exact = regard.IntegratedCDAM(classifier, steps=2000)(pixels.double(), ALL).maps.sum((2, 3))
    errors = [
        (regard.IntegratedCDAM(classifier, steps=steps)(pixels, ALL).maps.sum((2, 3)) - exact).abs().mean()
        for steps in (5, 10, 20)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert 3 < coarse / fine < 5


def test_the_map_of_one_step_is_the_gradient_at_half_the_patches():
    network, pixels = vit(), pixels_of(1)
    classifier = classifier_of(network)
    entering, u = point_of(classifier, pixels)
    half = u.clone()
    half[:, 1:] /= 2
    expected = 2 * product_at(network, entering[0], None, 1, half[0])[1:].view(4, 4)
    same(regard.IntegratedCDAM(classifier, steps=1)(pixels, 1).maps[0, 0], expected)


def test_maps_that_miss_what_all_patches_add_say_so():
    classifier, pixels = made("class token")
    note = regard.IntegratedCDAM(classifier, steps=1)(pixels, ALL).notes[0]
    assert "1 steps are too few" in note
    assert regard.IntegratedCDAM(classifier, steps=200)(pixels, ALL).notes == ()


def test_the_published_average_is_the_loop_over_scaled_inputs():
    network, pixels = vit(reg_tokens=1), pixels_of(1)
    classifier = classifier_of(network)
    entering, _ = point_of(classifier, pixels)
    steps = [product_at(network, entering[0] * k / 6, network.blocks[-1].norm1, 2)[2:] for k in range(1, 6)]
    found = regard.PaperIntegratedCDAM(classifier, steps=6)(pixels, 2).maps
    same(found[0, 0], torch.stack(steps).mean(0).view(4, 4))


def test_the_published_average_is_over_the_scale_of_the_class_token_s_residual_alone():
    network, pixels = vit(), pixels_of(1)
    classifier = classifier_of(network)
    entering, u = point_of(classifier, pixels)
    steps = []
    for k in range(5, 50):
        residual = entering[0].clone()
        residual[0] *= k / 50
        steps.append(product_at(network, residual, None, 2, u[0])[1:])
    early = [product_at(network, entering[0] * k / 50, network.blocks[-1].norm1, 2)[1:] for k in range(1, 5)]
    expected = torch.stack([*early, *steps]).mean(0).view(4, 4)
    same(regard.PaperIntegratedCDAM(classifier)(pixels, 2).maps[0, 0], expected, 1e-3)


def test_the_published_average_is_plain_cdam_where_no_residual_is_beside_the_attention():
    classifier, pixels = made("attention pool")
    same(regard.PaperIntegratedCDAM(classifier)(pixels, ALL).maps, regard.CDAM(classifier)(pixels, ALL).maps, 1e-4)


@pytest.mark.parametrize("explainer", AVERAGED)
@pytest.mark.parametrize("name", ["class token", "registers", "distilled", "attention pool"])
def test_closed_form_and_definition_agree(explainer, name):
    classifier, pixels = made(name)
    closed, definition = (explainer(classifier, form=form)(pixels, ALL) for form in ("closed", "autograd"))
    same(closed.maps, definition.maps)
    if closed.prefix.numel():
        same(closed.prefix, definition.prefix)


@pytest.mark.parametrize("explainer", AVERAGED)
def test_the_network_up_to_its_last_block_runs_once(explainer):
    network, pixels = vit(), pixels_of(3)
    averaged = explainer(classifier_of(network))
    averaged(pixels, ALL)  # the size of chunks is measured
    seen = []
    handle = network.blocks[0].norm1.register_forward_hook(lambda _, __, out: seen.append(len(out)))
    assert averaged(pixels, ALL).forwards == 3
    handle.remove()
    assert seen == [3]


WRONG = {
    "no samples": (regard.SmoothCDAM, {"samples": 0}),
    "half a sample": (regard.SmoothCDAM, {"samples": 2.5}),
    "negative noise": (regard.SmoothCDAM, {"noise": -0.1}),
    "endless noise": (regard.SmoothCDAM, {"noise": float("inf")}),
    "noise that is no number": (regard.SmoothCDAM, {"noise": float("nan")}),
    "noise elsewhere": (regard.SmoothCDAM, {"noise_at": "pixels"}),
    "another scale": (regard.SmoothCDAM, {"scale": "std"}),
    "a seed that is no number": (regard.SmoothCDAM, {"seed": "today"}),
    "no steps": (regard.IntegratedCDAM, {"steps": 0}),
    "one published step": (regard.PaperIntegratedCDAM, {"steps": 1}),
    "another form": (regard.IntegratedCDAM, {"form": "fast"}),
    "exact parts": (regard.SmoothCDAM, {"pooled": "exact"}),
}


@pytest.mark.parametrize(("explainer", "settings"), WRONG.values(), ids=WRONG)
def test_settings_without_meaning_are_refused(explainer, settings):
    with pytest.raises(UnsupportedError):
        explainer(classifier_of(vit()), **settings)


def test_the_norm_that_is_run_again_is_the_network_s_own():
    network, pixels = vit(), pixels_of(2)
    classifier = classifier_of(network)
    entering, u = point_of(classifier, pixels)
    with torch.no_grad():
        same(regard.SmoothCDAM(classifier).evidence.normed(entering, pixels[:1]), u, 1e-6)
        (normed,), _ = read(network, [Place("blocks.1.norm1")], lambda: network(pixels))
    same(u, normed, 1e-6)
    assert ask(0, classifier, 2).subject is classifier


def test_the_paper_s_path_alone_can_be_integrated_where_patches_are_averaged():
    classifier, pixels = made("averaged patches")
    integrated = regard.IntegratedCDAM(classifier, steps=200, pooled="paper")
    entering, u = point_of(classifier, pixels)
    without = u.clone()
    without[:, 1:] = 0
    with torch.no_grad():
        parts = [integrated.evidence.answer(Point(entering, read, pixels[:1])).logits for read in (u, without)]
    same(integrated(pixels, ALL).maps.sum((2, 3)), parts[0] - parts[1], 1e-3)


@pytest.mark.parametrize("explainer", AVERAGED)
def test_a_network_that_cannot_be_resumed_is_refused(explainer, monkeypatch):
    monkeypatch.setattr("regard.models.reader.skipped", lambda *_, **__: nullcontext())
    monkeypatch.setattr("regard.models.reader.replaced", lambda *_: nullcontext())
    with pytest.raises(UnsupportedError, match="closed form does not hold"):
        explainer(classifier_of(vit(global_pool="avg")))
