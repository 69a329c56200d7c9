"""`regard compare` interrupted, misused, and on real photos."""

import math
import shutil
from pathlib import Path

import pytest
import regard_embedded
import torch
from PIL import Image

from regard.cli import compare as command
from regard.runs import read_run

from .test_compare_command import rows_of

PHOTOS = {photo.path.stem: photo.path for photo in regard_embedded.photos()}
LABELS = ["ant", "bee, honey bee", "cat", "crane", "crane"]


def test_a_classifier_that_answers_nan_is_refused_in_words(compare, tiny):
    with torch.no_grad():
        tiny["other"].network.norm.weight[0] = math.nan
    code, _, err = compare("photo.png", "--methods", "rollout", "--models", "vit,other")
    assert code == 1
    assert "norm.weight" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("tiny")
def test_an_interrupted_comparison_goes_on_where_it_stopped(compare, monkeypatch):
    Image.effect_noise((60, 30), 60).save("noise.png")
    arguments = ("noise.png", "photo.png", "--methods", "rollout,relevance", "--targets", "ant,cat", "--run", "here")
    compare_one, done = command._compare_one, []

    def stopping(*given):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(given[-2])
        return compare_one(*given)

    with monkeypatch.context() as patched:
        patched.setattr(command, "_compare_one", stopping)
        code, _, err = compare(*arguments)
    assert code == 1
    assert "--run here" in err
    monkeypatch.setattr(command, "_compare_one", lambda *given: done.append(given[-2]) or compare_one(*given))
    assert compare(*arguments)[0] == 0
    assert done == ["noise", "photo"]
    assert len(read_run(Path("here")).rows) == 2 * (4 + 2 + 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--targets", "dog"), "no class is called 'dog'"),
        (("--targets", "crane"), "names 2 classes"),
        (("--targets", "5"), "0 to 4"),
        (("--targets", "ant,,cat"), "an entry between commas is empty"),
        (("--targets", ""), "an entry between commas is empty"),
        (("--targets", "ant,"), "an entry between commas is empty"),
        (("--targets", "ant", "--targets", " "), "an entry between commas is empty"),
        (("--targets", "-1"), "0 to 4"),
        (("--methods", "rollout,nothing"), "there is no method 'nothing'"),
        (("--methods", "rollout,"), "is empty"),
        (("--models", ""), "is empty"),
        (("--methods", "rollout", "--models", "cnn"), "none of the methods explains any"),
        (
            ("--methods", "rollout", "--models", "cnn"),
            "--models regard:vit-small, a transformer, or --methods grad-cam",
        ),
        (("--models", "vit,cnn", "--weights", "w.safetensors"), "--weights are those of one classifier"),
        (("--models", "headless"), "no head"),
        (("--models", "headless", "--targets", "ant"), "no head"),
        (("--concept", "horn"), "NAME=FOLDER"),
        (("--concept", "horn=nowhere"), "there is no folder 'nowhere'"),
        (("--concept", "horn=photo.png"), "there is no folder 'photo.png'"),
        (("--concept", "a=.", "--concept", "a=."), "two targets have one name"),
    ],
    ids=lambda value: "_".join(value).replace(" ", "-") if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("tiny")
def test_wrong_use_is_answered_in_words_with_exit_code_2_and_leaves_no_run(compare, arguments, said):
    code, _, err = compare("photo.png", *arguments)
    assert (code, said in err) == (2, True), err
    assert "Traceback" not in err
    assert not Path("regard-runs").exists()


@pytest.mark.usefixtures("tiny")
def test_nothing_is_overwritten_without_force(compare):
    arguments = ("photo.png", "--methods", "rollout", "--targets", "ant", "--run", "here")
    assert compare(*arguments)[0] == 0
    code, _, err = compare(*arguments)
    assert code == 2
    assert "--force" in err


def test_real_classifiers_with_other_labels_and_crops_are_compared_and_drawn_on_a_real_photo(compare):
    shutil.copy(PHOTOS["church-3"], "church.jpg")
    Path("towers").mkdir()
    shutil.copy(PHOTOS["bell-cote"], "towers")
    arguments = ("--models", "regard:vit-small,regard:efficientnet-lite0", "--methods", "relevance,rollout,grad-cam")
    arguments += ("--targets", "church,parachute,bagel, beigel", "--concept", "tower=towers", "--run", "here", "--json")
    code, out, _ = compare("church.jpg", *arguments)
    assert code == 0
    explained = {(row["method"], row["target"]) for row in rows_of(out) if row["status"] == "explained"}
    gradcam = "grad-cam on regard:efficientnet-lite0"
    known = ("church", "parachute", "concept tower")
    both = [f"{method} on regard:vit-small" for method in ("relevance", "rollout", "grad-cam")]
    assert explained == {(method, target) for method in both for target in known} | {
        (gradcam, target) for target in (*known, "bagel, beigel")
    } | {("rollout on regard:vit-small", "bagel, beigel")}  # the map of all classes, also of one that it has not
    overlap = {
        row["target"]: row["rank_correlation"]
        for row in rows_of(out, "overlap")
        if row["method"] == f"{both[0]} | {gradcam}"
    }
    assert overlap["bagel, beigel"] is None
    assert -1 < overlap["church"] < 1
    width, height = Image.open("here/pictures/church.png").size
    assert 1400 < width < 1700
    assert 1000 < height < 2000


def test_help_has_an_example(compare):
    code, out, _ = compare("--help")
    assert code == 0
    assert "Example: regard compare" in out
