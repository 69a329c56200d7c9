"""`regard train br-npa --task few-shot` as a newcomer uses it: photos of many classes to a network for new ones."""

import json
from pathlib import Path

import pytest
from PIL import Image

import regard

from ..explainers.networks import classifier_of, cnn
from ..training.fewshot_trainings import LABELS, NAMES, PHOTOS

QUICK = ["--epochs", "2", "--episodes", "2", "--ways", "2", "--queries", "2", "--rate", "0.003"]


@pytest.fixture
def cli(monkeypatch, tmp_path, program):
    """Runs `regard train br-npa photos --task few-shot …` with a tiny network; gives code, output, errors."""
    from regard.models import catalog

    monkeypatch.chdir(tmp_path)
    for number, (photo, label) in enumerate(zip(PHOTOS, LABELS, strict=True)):
        Path("photos", label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(Path("photos", label, f"{number}.png"))
    usual = catalog.load

    def load(name, **more):
        more.pop("weights", None)
        return classifier_of(cnn(), size=16, name="cnn") if name == "cnn" else usual(name, **more, network=cnn())

    monkeypatch.setattr(catalog, "load", load)
    return lambda *arguments: program("train", "br-npa", "photos", "--task", "few-shot", *arguments)


def table(out):
    return {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines() if "\t" in line}


def test_photos_become_a_teacher_and_a_teacher_a_student_that_are_examined_on_new_classes(cli):
    parts = ("--held-out", 0.3, "--choosing", 0.4)
    code, out, err = cli("-c", "cnn", "--out", "teacher.safetensors", *QUICK, *parts, "--auxiliary", "1,2+3")
    assert code == 0, err
    assert "recipe: cnn, BR-NPA: representative pooling of 8×8 places" in err
    assert "classes: 10, of which 3 held out and 3 to choose by; episodes: 4 of 2 classes by 1" in err
    assert "epoch 2 of 2: cross-entropy" in err
    rows = table(out)
    assert list(rows) == ["", "new classes", "ranks 1", "ranks 2+3"]
    assert rows["new classes"][0] == "600"
    assert rows["new classes"][3] == "50.0%"
    assert "note: fewer than 20 classes are held out" in out
    code, out, err = cli(
        "--teacher", "teacher.safetensors", "--out", "student.safetensors", *QUICK, *parts, "--strides", 1, "--json"
    )
    assert code == 0, err
    assert "distilled at temperature 8, share 0.5" in err
    said = json.loads(out)
    assert [figure["name"] for figure in said["beside"]] == ["teacher", "agreement with the teacher"]
    student = regard.models.catalog.load("student.safetensors")
    assert not {*student.labels}.intersection(said["training"]["classes_held_out"])
    assert {*student.labels, *said["training"]["classes_held_out"]} < {*NAMES}
    assert student.represent(student.prepare(PHOTOS[0]))[0].maps.shape == (1, 3, 16, 16)


REFUSED = {
    "ways of a classification": ("--task classification --ways 5", "--ways does nothing with --task classification"),
    "cross attention of ranks": ("--comparison cross-attention", "pooling of a recipe cannot be that"),
    "too many ways": ("--ways 9", "too few classes to train on for episodes of 9"),
    "too many shots": ("--ways 2 --shots 5 --queries 2", "have too few photos"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_is_written(cli, words, said):
    code, out, err = cli("-c", "cnn", "--out", "a.safetensors", "--choosing", 0, "--held-out", 0.3, *words.split())
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert said.startswith("have") or " s in all" not in err  # what is refused costs no time
    assert sorted(path.name for path in Path().iterdir()) == ["photos"]
