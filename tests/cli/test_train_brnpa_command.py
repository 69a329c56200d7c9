"""`regard train br-npa` as a newcomer uses it: photos to a teacher, a teacher to a student, files that others take."""

import json
from pathlib import Path
from typing import get_type_hints

import pytest

import regard
from regard.cli.train.br_npa import br_npa
from regard.training.brnpa import classification

from ..explainers.networks import classifier_of, cnn
from ..training.pictures import write_folder

QUICK = ("--epochs", 2, "--batch", 6, "--rate", 0.003)


@pytest.fixture
def cli(monkeypatch, tmp_path, program):
    """Runs `regard train br-npa …` beside eight photos a class, with a tiny network; gives code, output, errors."""
    from regard.models import catalog

    monkeypatch.chdir(tmp_path)
    write_folder(Path("photos"), 8)
    usual = catalog.load

    def load(name, **more):
        more.pop("weights", None)
        return classifier_of(cnn(), name="cnn") if name == "cnn" else usual(name, **more, network=cnn())

    monkeypatch.setattr(catalog, "load", load)
    return lambda *arguments: program("train", "br-npa", "photos", *arguments)


def train(cli, *arguments, classifier="cnn", out="teacher.safetensors"):
    return cli("--classifier", classifier, "--out", out, *QUICK, *arguments)


def table(out):
    return {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines() if "\t" in line}


def test_photos_become_a_teacher_and_a_teacher_a_student(cli):
    code, out, err = train(cli, "--auxiliary", "1,2+3")
    assert code == 0, err
    assert "recipe: cnn, BR-NPA: representative pooling of 16×16 places, maps 3" in err
    assert "photos: 24, of which about 5 held out and 4 to choose by; steps: about 6; forward passes: about 47" in err
    assert "before training: cross-entropy" in err
    assert "epoch 2 of 2" in err
    rows = table(out)
    assert list(rows) == ["", "all classes", "ranks 1", "ranks 2+3", "blue", "green", "red"]
    assert rows["all classes"][0] == "6"
    assert "note: fewer than 30 photos are held out" in out
    assert "regard explain PHOTO --classifier teacher.safetensors --method br-npa" in out
    assert not Path("regard-runs/train-br-npa-teacher/checkpoints").exists()
    code, out, err = cli("--teacher", "teacher.safetensors", "--strides", "1", "--out", "student.safetensors", *QUICK)
    assert code == 0, err
    assert "pooling of 32×32 places" in err
    assert "distilled at temperature 4, share 0.5" in err
    assert "agreement with the teacher" in err
    assert {"teacher", "agreement with the teacher"} <= table(out).keys()
    assert "other photos held out" not in out
    student = regard.models.catalog.load("student.safetensors")
    found, _ = student.represent(student.prepare("photos/red/0.png"))
    assert found.maps.shape == (1, 3, 32, 32)


def test_json_holds_every_figure_and_options_change_the_recipe(cli):
    words = "--count 2 --no-refine --select random --dropout 0.2 --batch-norm trained --optimizer sgd --seed 4"
    more = "--head-rate 2 --held-out 0.3 --choosing 0.4 --accumulate 2 --run there --layer 2 --preset paper"
    code, out, err = train(cli, *words.split(), *more.split(), "--json")
    assert code == 0, err
    said = json.loads(out)
    recipe = said["training"]["recipe"]
    assert (recipe["count"], recipe["refine"], recipe["select"], recipe["dropout"]) == (2, False, "random", 0.2)
    assert (recipe["batch_norm"], recipe["optimizer"], recipe["layer"]) == ("trained", "sgd", "2")
    assert (recipe["schedule"], recipe["head_rate"]) == ("stepped", 2.0)
    assert (said["training"]["seed"], said["training"]["accumulate"], said["run"]) == (4, 2, "there")
    assert len(said["epochs"]) == 3
    assert said["held_out"]["overall"]["photos"] == said["training"]["photos_held_out"] == 6
    assert "random places, not refined" in err


@pytest.mark.parametrize("pooling", ["bilinear", "branch", "mean"])
def test_what_it_is_compared_with_is_an_option(cli, pooling):
    code, out, err = train(cli, "--pooling", pooling, "--json")
    assert code == 0, err
    assert json.loads(out)["training"]["recipe"]["pooling"] == pooling


def test_a_stopped_training_says_the_command_and_goes_on_with_it(cli, monkeypatch):
    assert train(cli, out="whole.safetensors")[0] == 0
    usual, done = classification.Classification.losses, []

    def stopped(self, batch):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(batch)
        return usual(self, batch)

    monkeypatch.setattr(classification.Classification, "losses", stopped)
    code, out, err = train(cli)
    assert (code, out, Path("teacher.safetensors").exists()) == (1, "", False)
    assert "go on: regard train br-npa photos --classifier cnn --out teacher.safetensors" in err
    monkeypatch.setattr(classification.Classification, "losses", usual)
    code, out, err = train(cli)
    assert code == 0, err
    assert "going on: 4 steps are done, 2 are left" in err
    assert Path("teacher.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


def test_a_split_of_the_source_says_what_is_examined(cli, program):
    parts = ["test", "train", "train", "train"] * 6
    rows = [f"{photo},{photo.parent.name},{part}" for photo, part in zip(listed(), parts, strict=True)]
    Path("list.csv").write_text("\n".join(["file,label,split", *rows]), encoding="utf-8")
    arguments = ("--classifier", "cnn", "--out", "mine.safetensors", *QUICK, "--choosing", 0, "--json")
    code, out, err = program("train", "br-npa", "list.csv", *arguments)
    assert code == 0, err
    training = json.loads(out)["training"]
    assert (training["photos_held_out"], training["photos_trained_on"], training["photos_chosen_by"]) == (6, 18, 0)


def listed():
    return sorted(Path("photos").rglob("*.png"))


def test_a_teacher_that_knows_the_photos_examined_is_said(cli):
    assert train(cli, "--seed", 1)[0] == 0
    code, out, err = cli("--teacher", "teacher.safetensors", "--out", "student.safetensors", *QUICK)
    assert code == 0, err
    assert "note: the teacher was trained with other photos held out" in out


REFUSED = {
    "no network": ("--out a.safetensors", "which network shall be trained"),
    "no teacher there": ("--teacher none.safetensors --out a.safetensors", "there is no teacher 'none.safetensors'"),
    "weights of nothing": ("--teacher photos/red/0.png --weights w.pt --out a.safetensors", "--weights are those"),
    "a temperature without a teacher": ("-c cnn --temperature 2 --out a.safetensors", "are of a distillation"),
    "a share without a teacher": ("-c cnn --share 0.2 --out a.safetensors", "are of a distillation"),
    "places of a mean": ("-c cnn --pooling mean --select norm --out a.safetensors", "--select does nothing"),
    "three means": ("-c cnn --pooling mean --count 3 --out a.safetensors", "--count does nothing"),
    "strides in words": ("-c cnn --strides one --out a.safetensors", "--strides are whole numbers"),
    "strides that cannot be": ("-c cnn --strides 3 --out a.safetensors", "cannot move by 3"),
    "dilation of nothing": ("-c cnn --dilation --out a.safetensors", "--dilation does nothing with no --strides"),
    "ranks that are not there": ("-c cnn --auxiliary 4 --out a.safetensors", "auxiliary of a recipe"),
    "a share of all": ("-c cnn --held-out 1 --out a.safetensors", "held_out is a share"),
    "all to choose by": ("-c cnn --choosing 1 --out a.safetensors", "the epoch is chosen by a share"),
    "a change that is none": ("-c cnn --augmentation mirror --out a.safetensors", "photos are not changed so"),
    "no change and one": ("-c cnn --augmentation none,flip --out a.safetensors", "photos are not changed so"),
    "another ending": ("-c cnn --out a.pt", "ends in .safetensors"),
    "a place for the run": ("-c cnn --out a.safetensors --run photos", "other files and no run"),
}


NUMBERS = {
    "--dropout": ("", "dropout of a recipe"),
    "--temperature": ("--teacher photos/red/0.png", "no such temperature"),
    "--share": ("--teacher photos/red/0.png", "no such share"),
    "--rate": ("", "rate of a recipe"),
    "--head-rate": ("", "head_rate of a recipe"),
    "--scale": ("--task few-shot", "scale of a recipe"),
    "--margin": ("--task re-id", "a margin is a distance"),
    "--held-out": ("", "held_out is a share"),
    "--choosing": ("", "the epoch is chosen by a share"),
}


@pytest.mark.parametrize("wrong", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", NUMBERS)
def test_numbers_that_are_not_finite_are_refused_before_a_network_is_loaded(cli, option, wrong, monkeypatch):
    more, said = NUMBERS[option]
    monkeypatch.setattr("regard.models.catalog.load", lambda *_, **__: pytest.fail("a classifier is loaded"))
    code, out, err = cli("-c", "cnn", "--out", "a.safetensors", *more.split(), f"{option}={wrong}")
    assert (code, out) == (2, "")
    assert said in err
    assert wrong in err
    assert "Traceback" not in err
    assert sorted(path.name for path in Path().iterdir()) == ["photos"]


def test_every_option_that_is_a_float_is_among_them():
    annotations = get_type_hints(br_npa)
    floats = {f"--{name.replace('_', '-')}" for name, kind in annotations.items() if kind in (float, float | None)}
    assert floats == {*NUMBERS}


@pytest.mark.parametrize(
    ("words", "changes"),
    [("", "crop, flip, colour"), ("--augmentation crop,colour", "crop, colour"), ("--augmentation none", "none")],
)
def test_how_photos_differ_from_epoch_to_epoch_is_one_option(cli, words, changes):
    code, out, err = train(cli, *words.split(), "--json")
    assert code == 0, err
    assert f"; augmentation {changes}" in err
    shown = json.loads(out)["training"]["recipe"]["augmentation"]
    assert (shown["crop"], shown["flip"], shown["saturation"] > 0) == tuple(
        change in changes for change in ("crop", "flip", "colour")
    )


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_is_written(cli, words, said):
    code, out, err = cli(*words.split())
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert sorted(path.name for path in Path().iterdir()) == ["photos"]
