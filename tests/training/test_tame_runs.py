"""How a training of TAME begins and what it leaves: refusals, doubts, figures of the start, runs read back."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

from regard.errors import ClassifierError, RunError, UnsupportedError
from regard.explainers.tame import TAME
from regard.metrics.curves import curves
from regard.runs import read_run
from regard.training import checkpoints
from regard.training.tame import fit as tame_module
from regard.training.tame.fit import fit_tame, rates_of_tame
from regard.training.tame.plan import Plan
from regard.training.tame.presets import preset
from regard.training.tame.surveyed import Surveyed

from ..explainers.networks import classifier_of, cnn, mlp_head, vit
from .mask_trainings import normed, photos_of, recipe_of, tiny

PHOTOS = photos_of(8)
TIED = {"variant": "tied", "epochs": 1}


def warned(**changed):
    """What is said of a training."""
    asked = {"photos": PHOTOS, "subject": tiny(), **changed}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit_tame(asked.pop("subject"), asked.pop("photos"), recipe=recipe_of(**{"epochs": 1} | asked))
    return [str(one.message) for one in told if issubclass(one.category, UserWarning)]


def logged(run, event):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize("share", [0, 1.0, -0.1, float("nan"), float("inf"), "0.1"], ids=str)
def test_a_share_that_is_none_is_refused_before_anything_is_looked_at(share, tmp_path):
    for begin in (fit_tame, rates_of_tame):
        with pytest.raises(ClassifierError, match="held_out is a share"):
            begin(tiny(), PHOTOS, recipe=recipe_of(), held_out=share, tracked=never)
    with pytest.raises(ClassifierError, match="held_out is a share"):
        fit_tame(tiny(), PHOTOS, recipe=recipe_of(), held_out=share, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def never(*_):
    """Progress of a work that should not begin."""
    pytest.fail("photos are looked at")


def failing(what):
    """Progress that breaks off when a work of that name begins."""

    def track(name, parts):
        if name.startswith(what):
            raise KeyboardInterrupt
        return parts

    return track


BROKEN_OFF = {
    "too few photos": ({"photos": PHOTOS[:1]}, ClassifierError),
    "a stop while photos are looked at": ({"tracked": failing("looking")}, KeyboardInterrupt),
}


@pytest.mark.parametrize(("changed", "reason"), BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_a_start_that_came_to_nothing_leaves_nothing_in_the_way_of_the_next(changed, reason, tmp_path):
    asked = {"recipe": recipe_of(**TIED), "run": tmp_path / "run"}
    with pytest.raises(reason):
        fit_tame(tiny(), changed.get("photos", PHOTOS), **asked, tracked=changed.get("tracked", failing("no")))
    assert not (tmp_path / "run").exists()
    fit_tame(tiny(), PHOTOS, **asked, held_out=0.3)
    assert read_run(tmp_path / "run").rows


def test_maps_that_cannot_be_judged_are_refused_before_there_is_a_run(tmp_path, monkeypatch):
    def broken(*_):
        raise UnsupportedError("no figures")

    monkeypatch.setattr(tame_module, "held_out_figures", broken)
    with pytest.raises(UnsupportedError, match="no figures"):
        fit_tame(tiny(), PHOTOS, recipe=recipe_of(**TIED), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_force_gives_up_another_run_only_for_a_training_that_begins(tmp_path):
    run, asked = tmp_path / "run", {"recipe": recipe_of(**TIED)}
    fit_tame(tiny(), PHOTOS, **asked, run=run)
    with pytest.raises(ClassifierError, match="too few"):
        fit_tame(tiny(), PHOTOS[:1], **asked, run=run, force=True)
    assert read_run(run).rows
    with pytest.raises(RunError, match="finished run"):
        fit_tame(tiny(), PHOTOS, **asked, seed=1, run=run, tracked=never)
    again = fit_tame(tiny(), PHOTOS, **asked, seed=1, run=run, force=True)
    assert again.trained.card.training["seed"] == 1


def test_what_stands_in_the_way_is_no_run_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "notes.txt").write_text("mine")
    for place, said in (("file", "is a file"), ("others", "no run")):
        with pytest.raises(RunError, match=said):
            fit_tame(tiny(), PHOTOS, recipe=recipe_of(**TIED), run=tmp_path / place, force=True, tracked=never)
    assert (tmp_path / "others" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "photos", ["photos", Path("photos"), Image.new("RGB", (8, 8)), PHOTOS[0]], ids=["text", "path", "image", "array"]
)
def test_what_is_no_list_of_photos_is_refused(photos):
    for begin in (fit_tame, rates_of_tame):
        with pytest.raises(UnsupportedError, match="a list of photos"):
            begin(tiny(), photos, recipe=recipe_of())


def test_rows_of_their_own_that_no_class_has_photos_for_are_said_first():
    [said] = warned(variant="tame")
    assert "will show no map unless forced" in said
    assert "--variant tied" in said
    assert warned(variant="tied") == []
    said = warned(subject=classifier_of(vit(num_classes=0), head=mlp_head()), variant="tame")[-1]
    assert "will show no map unless forced" in said
    assert "tied" not in said  # its rows cannot be


def test_a_class_of_twenty_photos_is_enough():
    subject, photos = tiny(), photos_of(120, seed=4)
    taken = [int(subject(subject.prepare(photo)).argmax()) for photo in photos]
    most = max(set(taken), key=taken.count)
    chosen = [photo for photo, index in zip(photos, taken, strict=True) if index == most]
    others = [photo for photo, index in zip(photos, taken, strict=True) if index != most][:3]
    assert len(chosen) >= 22
    for count, left, doubts in ((22, 20, 0), (21, 19, 1)):
        plan = Plan.of(subject, recipe_of(), None, 0)
        given = chosen[:count] + others
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            learnt, _, _ = plan.survey(
                given, [tame_module.fingerprint(one) for one in given], 0.1, lambda _, parts: parts
            )
        assert max(learnt.of_class(5)) == left
        assert len(told) == doubts


def test_photos_of_one_class_alone_are_said_with_its_name():
    labels = ["ant", "bee", "cat", "dog", "elk"]
    subject = classifier_of(cnn(), labels=labels)
    with torch.no_grad():
        subject.head_module().bias[3] += 100
    [said] = warned(subject=subject, **TIED)
    assert "takes all 8 photos for one class, 'dog'" in said


def test_the_start_is_judged_as_every_epoch_and_never_kept(monkeypatch, tmp_path):
    """Anew: the plan's first weights, photo by photo."""
    parts, heard = [], []
    usual = Surveyed.apart
    monkeypatch.setattr(Surveyed, "apart", lambda *given: parts.append(usual(*given)) or parts[-1])
    subject, recipe = tiny(), recipe_of(start="head", area_target=0.3, **TIED)
    fit_tame(subject, PHOTOS, recipe=recipe, held_out=0.4, run=tmp_path, heard=lambda *given: heard.append(given))
    learnt, judged = parts[0]
    plan = Plan.of(subject, recipe, None, 0)
    plan.task(learnt)
    explainer = TAME(subject, plan.trained(plan.card(learnt, {})), force=True)
    drops, sizes = [], []
    for photo in judged.photos:
        explanation = explainer(photo)
        read = curves(subject, subject.prepare(photo), explanation, fill=plan.fill)
        whole, part = float(read.clean), float(read.retained[0.5])
        drops.append(max(0, whole - part) / whole)
        sizes.append(float(explanation.maps.sigmoid().mean()))
    start = read_run(tmp_path).rows[0]
    assert start["epoch"] == 0
    assert start["average_drop_50"] == pytest.approx(sum(drops) / len(drops), abs=1e-6)
    assert start["own_mask"] == pytest.approx(sum(sizes) / len(sizes), abs=1e-6)
    assert [number for number, _ in heard] == [0, 1]
    assert heard[0][1]["own_mask"] == start["own_mask"]
    assert [line["epoch"] for line in logged(tmp_path, "epoch")] == [0, 1]


def test_a_training_taken_up_logs_its_start_once(tmp_path):
    recipe = recipe_of(variant="tied")
    with pytest.raises(KeyboardInterrupt):
        fit_tame(tiny(), PHOTOS, recipe=recipe, run=tmp_path / "run", tracked=failing("training"))
    fit_tame(tiny(), PHOTOS, recipe=recipe, run=tmp_path / "run")
    assert [line["epoch"] for line in logged(tmp_path / "run", "epoch")] == [0, 1, 2]
    assert [row["epoch"] for row in read_run(tmp_path / "run").rows] == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:the attention will show no map")
def test_the_look_at_the_start_changes_no_bit_of_a_training(monkeypatch):
    subject = tiny(normed())
    recipe = recipe_of(layers=("2", "6"))
    whole = fit_tame(subject, PHOTOS, recipe=recipe)
    usual = tame_module.held_out_figures

    def stirring(explainer, *given):
        torch.rand(7)
        explainer.trained.attention.eval()
        return usual(explainer, *given)

    monkeypatch.setattr(tame_module, "held_out_figures", stirring)
    again = fit_tame(subject, PHOTOS, recipe=recipe)
    for name, value in whole.trained.attention.state_dict().items():
        assert torch.equal(value, again.trained.attention.state_dict()[name])


@pytest.mark.parametrize("changed", [{}, {"layers": ("2", "5")}], ids=str)
def test_the_card_of_a_finished_run_read_back_is_the_trained_one(changed, tmp_path):
    asked = {"recipe": recipe_of(**TIED, **changed), "run": tmp_path / "run"}
    trained = fit_tame(tiny(), PHOTOS, **asked)
    assert fit_tame(tiny(), PHOTOS, **asked, tracked=never).trained.card == trained.trained.card


def test_checkpoints_are_written_as_often_as_asked_and_how_often_is_free_in_a_resume(tmp_path, monkeypatch):
    asked = {"recipe": recipe_of(variant="tied", batch=2), "run": tmp_path / "run"}
    written, usual = [], checkpoints.write
    monkeypatch.setattr(checkpoints, "write", lambda run, step, state: written.append(step) or usual(run, step, state))

    def stopped(what, parts):
        for part in parts:
            if what == "training" and part == 3:
                raise KeyboardInterrupt
            yield part

    with pytest.raises(KeyboardInterrupt):
        fit_tame(tiny(), PHOTOS, **asked, checkpoint_every=1, tracked=stopped)
    assert written == [0, 1, 2, 3, 3]
    fit_tame(tiny(), PHOTOS, **asked, checkpoint_every=100)
    assert written[5:] == [4, 4, 8, 8]  # seven photos are learnt from, in four steps; each epoch's end is written twice
    with pytest.raises(UnsupportedError, match="checkpoint_every"):
        fit_tame(tiny(), PHOTOS, **asked, checkpoint_every=0, force=True)


@pytest.mark.parametrize("subject", [tiny, lambda: classifier_of(vit())], ids=["grids", "blocks"])
def test_too_few_stages_are_refused_with_the_options_that_help(subject):
    with pytest.raises(UnsupportedError, match="fewer") as told:
        fit_tame(subject(), PHOTOS, recipe=recipe_of(count=9))
    assert "--count N" in told.value.remedy
    assert "--layers A,B" in told.value.remedy


def test_a_network_without_a_last_stage_has_a_preset_since_layers_may_be_named(monkeypatch):
    def none(*_):
        raise UnsupportedError("no single feature map carries its decision")

    monkeypatch.setattr("regard.training.tame.presets.stages_of", none)
    recipe, _ = preset("default", tiny())
    assert recipe.start == "drawn"
