"""`fit_tame` from photos to an explainer: its run, its card, what it refuses."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import regard
from regard.errors import (
    ClassifierError,
    LayerError,
    NotFiniteError,
    PhotoError,
    RegardError,
    RunError,
    UnsupportedError,
)
from regard.explainers.tame import TAME
from regard.fills import Blur, Inpaint, Mean
from regard.metrics.curves import curves
from regard.runs import read_run
from regard.training.tame import fit as tame_module
from regard.training.tame.fit import fit_tame, rates_of_tame
from regard.training.tame.surveyed import Surveyed

from ..explainers.networks import CLASSES, classifier_of, cnn, loud, mlp_head, vit
from .mask_trainings import normed, photos_of, recipe_of, tiny

pytestmark = pytest.mark.filterwarnings("ignore:the attention will show no map")  # too few photos for rows of their own
PHOTOS = photos_of(20)


class Killed(BaseException):
    """What no handler sees: a training that ends with it is as one that was killed."""


def stopping(after, reason):
    """Progress that ends a training before the step of that number."""

    def track(what, parts):
        for part in parts:
            if what == "training" and part == after:
                raise reason
            yield part

    return track


def bits(tame):
    return {name: value.numpy().tobytes() for name, value in tame.trained.attention.state_dict().items()}


def test_it_gives_an_explainer_whose_card_says_all(tmp_path):
    subject = tiny()
    tame = fit_tame(subject, PHOTOS, recipe=recipe_of(), fill=Mean(), held_out=0.2, seed=3, run=tmp_path / "run")
    card = tame.trained.card
    assert card.classifier_hash == subject.hash
    assert (card.layers, card.channels, card.classes) == ((("2", "output"), ("5", "output")), (6, 8), CLASSES)
    training = card.training
    assert training["recipe"]["variant"] == "tame"
    assert (training["fill"], training["seed"], training["steps"]) == ("Mean()", 3, 8)
    assert (training["photos"], training["photos_held_out"], training["photos_unreadable"]) == (16, 4, 0)
    assert len(training["photos_digest"]) == 64
    assert sum(card.photos_of_class) == 16
    assert not tame.trained.attention.training
    run = read_run(tmp_path / "run")
    assert [row["epoch"] for row in run.rows] == [0, 1, 2]
    best = min(run.rows[1:], key=lambda row: row["average_drop_50"])
    assert training["epoch_chosen"] == best["epoch"]
    assert card.figures == {name: best[name] for name in card.figures}
    assert run.manifest["configuration"]["classifier_hash"] == subject.hash
    assert not (tmp_path / "run" / "checkpoints").exists()
    tame.save(tmp_path / "tame.safetensors")
    loaded = TAME.load(tmp_path / "tame.safetensors", subject, force=True)
    assert loaded(PHOTOS[0], targets=0).maps.shape == (1, 1, 32, 32)


def test_the_figures_are_those_of_the_chosen_maps_on_the_photos_held_out(monkeypatch):
    """Anew, photo by photo, by the curve's own retained shares."""
    parts = []
    usual = Surveyed.apart
    monkeypatch.setattr(Surveyed, "apart", lambda *given: parts.append(usual(*given)) or parts[0])
    subject = tiny()
    tame = fit_tame(subject, PHOTOS, recipe=recipe_of(rate=1e-2), fill=Mean(), held_out=0.3)
    explainer = TAME(subject, tame.trained, force=True)
    drops, gains, sizes = [], [], []
    for photo in parts[0][1].photos:
        explanation = explainer(photo)
        read = curves(subject, subject.prepare(photo), explanation, fill=Mean())
        whole, part = float(read.clean), float(read.retained[0.5])
        drops.append(max(0, whole - part) / whole)
        gains.append(part > whole)
        sizes.append(float(explanation.maps.sigmoid().mean()))
    figures = tame.trained.card.figures
    assert figures["average_drop_50"] == pytest.approx(np.mean(drops), abs=1e-6)
    assert figures["increase_in_confidence_50"] == pytest.approx(np.mean(gains))
    assert figures["own_mask"] == pytest.approx(np.mean(sizes), rel=1e-5)


def test_the_epoch_is_kept_whose_average_drop_is_least(monkeypatch):
    drops, kept = iter([0.05, 0.3, 0.1, 0.2]), []  # the first is that of the start, which is never kept

    def judged(explainer, *_):
        state = explainer.trained.attention.state_dict()
        kept.append({name: value.numpy().tobytes() for name, value in state.items()})
        return {"average_drop_50": next(drops), "own_mask": len(kept) / 10}

    monkeypatch.setattr(tame_module, "held_out_figures", judged)
    tame = fit_tame(tiny(), PHOTOS[:8], recipe=recipe_of(epochs=3))
    assert tame.trained.card.training["epoch_chosen"] == 2
    assert tame.trained.card.figures == {"average_drop_50": 0.1, "own_mask": 0.3}
    assert kept[3] != kept[2] == bits(tame)


def test_neither_order_nor_names_of_photos_change_a_bit(tmp_path):
    from PIL import Image

    subject, recipe = tiny(), recipe_of(maps="negatives", negatives=2, augmentation="flip")
    one, other = (tmp_path / name for name in ("one", "other"))
    for folder, order in ((one, range(12)), (other, reversed(range(12)))):
        folder.mkdir()
        for place, number in enumerate(order):
            Image.fromarray(PHOTOS[number]).save(folder / f"{place:02d}.png")
    first, second = (fit_tame(subject, sorted(folder.iterdir()), recipe=recipe) for folder in (one, other))
    assert bits(first) == bits(second)
    assert first.trained.card == second.trained.card


def test_the_order_in_which_layers_are_named_changes_no_bit():
    subject = tiny()
    asked = ({"layers": layers} for layers in (("2", "5"), ("5", "2")))
    first, second = (fit_tame(subject, PHOTOS[:8], recipe=recipe_of(**one, epochs=1)) for one in asked)
    assert bits(first) == bits(second)
    assert first.trained.card.layers == second.trained.card.layers


def test_every_draw_has_the_seed_and_none_is_torchs_own():
    subject = tiny()
    first = fit_tame(subject, PHOTOS, recipe=recipe_of())
    torch.rand(3)
    drawn = torch.get_rng_state()
    again = fit_tame(subject, PHOTOS, recipe=recipe_of())
    assert torch.get_rng_state().equal(drawn)
    assert bits(again) == bits(first)
    assert bits(fit_tame(subject, PHOTOS, recipe=recipe_of(), seed=1)) != bits(first)


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), Killed()], ids=["Ctrl-C", "kill"])
@pytest.mark.parametrize("after", [1, 5])
def test_a_stopped_training_goes_on_to_the_same_bits(reason, after, tmp_path):
    subject = tiny()
    asked = {"recipe": recipe_of(optimizer="sgd", rate=1e-2), "held_out": 0.2}
    whole = fit_tame(subject, PHOTOS, **asked)
    with pytest.raises(type(reason)):
        fit_tame(subject, PHOTOS, **asked, run=tmp_path / "run", tracked=stopping(after, reason))
    assert all(parameter.requires_grad for parameter in subject.module.parameters())
    with pytest.raises(RunError, match="asked something else"):
        fit_tame(subject, PHOTOS[1:], **asked, run=tmp_path / "run")
    seen = []

    def track(what, parts):
        seen.append((what, len(parts)))
        return parts

    resumed = fit_tame(subject, PHOTOS, **asked, run=tmp_path / "run", force=True, tracked=track)
    assert bits(resumed) == bits(whole)
    assert resumed.trained.card == whole.trained.card
    done = after if isinstance(reason, KeyboardInterrupt) else after // 4 * 4
    assert seen[-1] == ("training", 8 - done)


def test_a_finished_training_is_read_back_and_force_trains_again(tmp_path):
    subject, run = tiny(), tmp_path / "run"
    first = fit_tame(subject, PHOTOS, recipe=recipe_of(), run=run)
    again = fit_tame(subject, PHOTOS, recipe=recipe_of(), run=run, tracked=stopping(0, Killed()))
    assert bits(again) == bits(first)
    assert again.trained.card.figures == first.trained.card.figures
    with pytest.raises(RunError, match="finished run"):
        fit_tame(subject, PHOTOS, recipe=recipe_of(), seed=1, run=run)
    other = fit_tame(subject, PHOTOS, recipe=recipe_of(), seed=1, run=run, force=True)
    assert bits(other) != bits(first)


def test_photos_that_cannot_be_read_are_left_out_with_a_warning(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")
    with pytest.warns(UserWarning, match="1 photos cannot be read") as told:
        tame = fit_tame(tiny(), [*PHOTOS, tmp_path / "bad.png"], recipe=recipe_of())
    assert "bad.png" in str(told[0].message)
    assert tame.trained.card.training["photos_unreadable"] == 1


def test_the_classifier_is_unchanged_also_where_training_mode_would_change_it():
    subject = tiny(normed())
    subject.module.train()
    before = subject.hash
    fit_tame(subject, PHOTOS, recipe=recipe_of(layers=("2", "6")))
    assert subject.hash == before
    assert all(part.training for part in subject.module.modules())


class Counting(nn.Module):
    """Counts its passes in a buffer, in eval mode too, once it is told to."""

    def __init__(self):
        super().__init__()
        self.inside = cnn()
        self.register_buffer("passes", torch.zeros(()))
        self.counts = False

    def forward(self, pixels):
        if self.counts:
            self.passes += 1
        return self.inside(pixels)


@pytest.mark.filterwarnings("ignore:Counting takes all 20 photos for one class")
@pytest.mark.parametrize("late", [False, True], ids=["when it is looked at", "in training"])
def test_a_classifier_that_changes_as_it_is_read_is_refused(late):
    subject = classifier_of(Counting())

    def track(what, parts):
        if (what == "training") == late:
            subject.module.counts = True
        return parts

    with pytest.raises(ClassifierError, match="has changed as it was read"):
        fit_tame(subject, PHOTOS, recipe=recipe_of(layers=("inside.2", "inside.5"), epochs=1), tracked=track)
    assert all(parameter.requires_grad for parameter in subject.module.parameters())


@pytest.mark.parametrize(
    "changed",
    [
        {"variant": "tied", "start": "head", "mask": "ranked", "maps": "negatives"},
        {"variant": "tied", "smoothing": 1},
        {"variant": "l-cam", "start": "head"},
        {"variant": "no-skip"},
        {"variant": "no-skip-no-norm", "start": "head"},
        {"variant": "sigmoid"},
        {"count": 1},
        {"layers": ("5", "2")},
        {"area_target": 0.3},
        {"optimizer": "sgd", "bias_rate": 2.0, "maps": "cross-batch"},
    ],
    ids=str,
)
def test_every_variant_is_trained(changed):
    tame = fit_tame(tiny(), PHOTOS[:10], recipe=recipe_of(**changed, epochs=1))
    assert tame.trained.card.variant == changed.get("variant", "tame")
    maps = TAME(tame.classifier, tame.trained, force=True)(PHOTOS[0], targets=regard.top(2)).maps
    assert bool(maps.isfinite().all())


@pytest.mark.parametrize("changed", [{}, {"at": "block"}, {"gated": True}], ids=str)
def test_transformers_are_read_at_their_blocks(changed):
    tame = fit_tame(classifier_of(vit()), PHOTOS[:8], recipe=recipe_of(**changed, epochs=1))
    expected = [f"blocks.{block}{'' if changed.get('at') else '.norm1'}" for block in (0, 1)]
    assert [layer for layer, _ in tame.trained.card.layers] == expected
    assert tame.trained.card.gated == changed.get("gated", False)


def test_independent_classes_and_a_blur_and_parts_of_a_step():
    tame = fit_tame(tiny(outputs="sigmoid"), PHOTOS[:9], recipe=recipe_of(epochs=1), fill=Blur(3.0), accumulate=2)
    assert tame.trained.card.training["fill"] == "Blur(sigma=3.0)"


def headless():
    return classifier_of(vit(num_classes=0))


def scalars():
    return classifier_of(cnn(), outputs="scalar")


def of_one_class():
    layers = list(cnn())[:-1]
    return classifier_of(loud(nn.Sequential(*layers, nn.Linear(8, 1))), outputs="sigmoid")


def two_layered():
    return classifier_of(vit(num_classes=0), head=mlp_head())


REFUSED = {
    "no head": (headless, {}, UnsupportedError, "knows no classes"),
    "measurements": (scalars, {}, UnsupportedError, "knows no classes"),
    "one class": (of_one_class, {}, UnsupportedError, "knows no classes"),
    "too few photos": (tiny, {"photos": PHOTOS[:1]}, ClassifierError, "too few photos"),
    "no photos": (tiny, {"photos": []}, PhotoError, "no photo can be read"),
    "the same photo twice": (tiny, {"photos": [PHOTOS[0]] * 2}, ClassifierError, "too few photos"),
    "no share": (tiny, {"held_out": 1.0}, ClassifierError, "held_out is a share"),
    "a start that no layer fits": (
        tiny,
        {"recipe": {"start": "head", "layers": ("2",)}},
        UnsupportedError,
        "start=drawn",
    ),
    "a start without a linear head": (two_layered, {"recipe": {"start": "head"}}, UnsupportedError, "start=drawn"),
    "a start of a branch that cannot": (
        tiny,
        {"recipe": {"start": "head", "variant": "sigmoid"}},
        UnsupportedError,
        "start=drawn",
    ),
    "tied without a linear head": (two_layered, {"recipe": {"variant": "tied"}}, UnsupportedError, "another variant"),
    "more stages than there are": (tiny, {"recipe": {"count": 9}}, RegardError, "9"),
    "no such layer": (tiny, {"recipe": {"layers": ("nowhere",)}}, LayerError, "nowhere"),
    "no class token to gate by": (tiny, {"recipe": {"gated": True}}, UnsupportedError, "gate"),
    "a fill that is solved": (tiny, {"fill": Inpaint()}, UnsupportedError, "no gradient"),
    "a seed that is none": (tiny, {"seed": 0.5}, UnsupportedError, "seed"),
    "no parts": (tiny, {"accumulate": 0}, UnsupportedError, "accumulate"),
}


@pytest.mark.parametrize(("subject", "changed", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_is_refused_in_a_sentence(subject, changed, error, said):
    asked = {**changed, "recipe": recipe_of(**changed.get("recipe", {}))}
    with pytest.raises(error, match=said):
        fit_tame(subject(), asked.pop("photos", PHOTOS[:4]), **asked)


@pytest.mark.parametrize(
    "wrong",
    [
        {"variant": "v5"},
        {"maps": "random"},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"area": -1.0},
        {"area_target": 1.0},
        {"share": 1.0},
        {"epochs": 0},
        {"maps": "negatives", "negatives": 0},
        {"smoothing": -1},
        {"batch": "8"},
        {"batch": True},
        {"count": 1.5},
        {"maps": "negatives", "negatives": 1.5},
        {"rate": "x"},
        {"rate": None},
        {"rate": float("inf")},
        {"share": 0},
        {"area_target": "0.3"},
        {"gated": "yes"},
    ],
    ids=str,
)
def test_a_recipe_of_what_cannot_be_is_refused(wrong):
    with pytest.raises(UnsupportedError):
        recipe_of(**wrong)


def test_a_rate_that_is_too_large_ends_in_a_sentence():
    with pytest.raises(NotFiniteError, match="not finite"):
        fit_tame(tiny(), PHOTOS, recipe=recipe_of(optimizer="sgd", rate=1e30, epochs=4))


def test_rates_are_tried_on_the_photos_that_are_trained_on_and_nothing_is_left():
    subject = tiny()
    before = subject.hash
    seen = []

    def track(what, parts):
        seen.append((what, len(parts)))
        return parts

    found = rates_of_tame(subject, PHOTOS, recipe=recipe_of(optimizer="sgd"), steps=20, tracked=track)
    assert seen == [("looking at the photos", 1), ("trying rates", 20)]
    assert found.rates[0] == 1e-8
    assert subject.hash == before
    json.dumps(found.rates)


def test_nothing_is_warned_of_where_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_tame(tiny(), PHOTOS[:6], recipe=recipe_of(variant="tied", epochs=1))
