"""`regard train br-npa --task re-id` as a newcomer uses it: a CSV of persons to a teacher, a teacher to a student."""

import json
from pathlib import Path

import pytest
from PIL import Image

import regard

from ..training.persons import LEARNT, sightings, start

QUICK = ("--epochs", 2, "--batch", 2, "--per-person", 3, "--count", 2, "--rate", 0.003)


@pytest.fixture
def cli(monkeypatch, tmp_path, program):
    """Runs `regard train br-npa persons.csv --task re-id …` with a tiny network; gives code, output, errors."""
    from regard.models import catalog

    monkeypatch.chdir(tmp_path)
    lines = ["file,identity,camera,split"]
    for place, seen in enumerate(sightings()):
        Image.fromarray(seen.photo).save(f"{place}.png")
        lines.append(f"{place}.png,{seen.identity},{seen.camera},{seen.split}")
    Path("persons.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    usual = catalog.load

    def load(name, **more):
        more.pop("weights", None)
        return start() if name == "tiny" else usual(name, **more, network=start().network)

    monkeypatch.setattr(catalog, "load", load)
    return lambda *arguments: program("train", "br-npa", "persons.csv", "--task", "re-id", *arguments)


def test_persons_become_a_teacher_and_a_teacher_a_student(cli):
    code, out, err = cli("--classifier", "tiny", "--out", "teacher.safetensors", *QUICK)
    assert code == 0, err
    assert "recipe: tiny, BR-NPA, re-ID: representative pooling of 8×4 places, maps 2" in err
    assert "persons: 3 to learn, in 18 photos, 3 of each a step, margin 0.3; 3 queries in a gallery of 15" in err
    assert "steps: 2; forward passes: 76, 18 of them with gradients" in err
    figure = Image.open("regard-runs/train-br-npa-teacher/matches.png")
    assert figure.width > figure.height  # a query and five matches side by side
    assert "matches.png" in err
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines() if "\t" in line}
    assert list(rows) == ["", "mAP", "rank-1", "rank-5", "rank-10"]
    assert rows["mAP"][0] == "3"
    assert "note: fewer than 30 queries" in out
    code, out, err = cli(
        *("--teacher", "teacher.safetensors", "--strides", "1", "--out", "student.safetensors", *QUICK, "--json")
    )
    assert code == 0, err
    told = json.loads(out)
    assert told["labels"] == [*LEARNT]
    assert told["found"]["gallery"] == 15
    student = regard.models.catalog.load("student.safetensors")
    assert student.grid == (16, 8)


def test_options_reach_the_recipe_and_those_of_other_tasks_are_refused(cli):
    common = ("--classifier", "tiny", "--out", "other.safetensors")
    code, _, err = cli(*common, *QUICK, "--frame", "24,12", "--margin", 0.5, "--pooling", "mean", "--count", 1)
    assert code != 0  # a plain mean has one map, which needs no saying
    assert "--count does nothing with --pooling mean" in err
    words = ("--epochs", 1, "--batch", 2, "--frame", "24,12", "--margin", 0.5, "--pooling", "mean", "--json")
    code, out, err = cli(*common, *words)
    assert code == 0, err
    recipe = json.loads(out)["training"]["recipe"]
    assert (recipe["frame"], recipe["margin"], recipe["photos"], recipe["pooling"]) == ([24, 12], 0.5, 4, "mean")
    code, _, err = cli("--classifier", "tiny", "--out", "third.safetensors", "--shots", 2)
    assert (code != 0, "--shots does nothing with --task re-id" in err) == (True, True)


@pytest.mark.parametrize(("option", "value"), [("--held-out", 0.2), ("--choosing", 0), ("--choosing", 0.2)])
def test_shares_do_nothing_where_the_source_says_what_is_held_out(cli, option, value):
    code, out, err = cli("--classifier", "tiny", "--out", "other.safetensors", *QUICK, option, value)
    assert (code, out) == (2, "")
    assert f"{option} does nothing with --task re-id" in err


def test_a_source_that_does_not_do_is_refused_before_anything_is_written(cli):
    text = Path("persons.csv").read_text()
    for wrong, said in ((text.replace("train", "learn"), "split is 'learn'"), (text.replace("bob", "eve"), "both")):
        Path("persons.csv").write_text(wrong)
        code, _, err = cli("--classifier", "tiny", "--out", "other.safetensors", *QUICK)
        assert code != 0
        assert said in err
    assert not list(Path().glob("*.safetensors"))
    assert not Path("regard-runs").exists()


def test_options_of_re_id_do_nothing_elsewhere(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for option, value in (("--per-person", 3), ("--margin", 0.1), ("--frame", "8,8")):
        code, _, err = program("train", "br-npa", "photos", "-c", "tiny", "--out", "a.safetensors", option, value)
        assert (code != 0, f"{option} does nothing with --task classification" in err) == (True, True)
