"""`regard train tame` as a newcomer uses it: photos to a file that the other commands take."""

import json
from pathlib import Path

import pytest

from regard.explainers.tame import TAME, read_card
from regard.training import mask_training

from ..explainers.networks import classifier_of, mlp_head, vit
from ..training.mask_trainings import tiny
from ..training.pictures import write_folder

QUICK = ("--variant", "tame", "--start", "drawn", "--epochs", 2, "--batch", 6)


@pytest.fixture
def cli(monkeypatch, tmp_path, program):
    """Runs `regard train tame …` beside fifteen photos, with tiny classifiers; gives exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    write_folder(Path("photos"), 5)
    labels = ["ant", "bee", "cat", "dog", "elk"]
    known = {
        "cnn": tiny(labels=labels, name="cnn"),
        "vit": classifier_of(vit(depth=3), labels=labels, name="vit"),
        "headless": classifier_of(vit(num_classes=0), name="headless"),
        "two layers": classifier_of(vit(num_classes=0, depth=3), head=mlp_head(), name="two layers"),
    }
    monkeypatch.setattr("regard.models.catalog.load", lambda name, **_: known[name])

    def run(*arguments):
        return program(*arguments)

    run.known = known
    return run


def train(cli, *arguments, photos="photos", classifier="vit", out="mine.safetensors"):
    return cli("train", "tame", photos, "--classifier", classifier, "--out", out, *QUICK, *arguments)


def test_photos_become_a_file_and_it_says_what_it_costs_and_is_worth(cli):
    code, out, err = train(cli)
    assert code == 0, err
    assert "photos: 15, of which about 2 held out; steps: about 6; forward passes: about 87" in err  # 15 + 2 (26 + 10)
    lines = [line.split("\t") for line in out.splitlines() if "\t" in line]
    assert lines[0][:2] == ["epoch", "average drop at 50 %"]
    assert [line[0] for line in lines[1:]] == ["1", "2"]
    assert "maps of 0 of 5 classes: those that 20 photos or more were taken for" in out
    assert "regard explain PHOTO --classifier vit --method tame:mine.safetensors" in out
    card = read_card(Path("mine.safetensors"))
    assert card.training["recipe"]["epochs"] == 2
    assert card.training["photos"] + card.training["photos_held_out"] == 15
    assert sorted(path.name for path in Path("regard-runs/train-tame-mine").iterdir()) == [
        "attention.safetensors",
        "configuration.json",
        "index.csv",
        "log.jsonl",
        "manifest.json",
        "rows.parquet",
    ]
    loaded = TAME.load(Path("mine.safetensors"), cli.known["vit"], force=True)
    assert loaded("photos/red/0.png").maps.shape == (1, 1, 4, 4)


def test_the_default_recipe_gives_maps_of_every_class_that_regard_explain_takes(cli):
    code, out, err = cli("train", "tame", "photos", "-c", "vit", "--out", "mine.safetensors", "--epochs", 1)
    assert code == 0, err
    assert "maps of all 5 classes" in out
    code, out, err = cli("explain", "photos/red/0.png", "-c", "vit", "--method", "tame:mine.safetensors")
    assert code == 0, err


def test_options_change_the_recipe_and_json_holds_every_figure(cli):
    words = "--maps cross-batch --mask soft --area 1.5 --area-target 0.4 --optimizer sgd --rate 0.002 --smoothing 1"
    more = "--layers blocks.2,blocks.0 --fill blur --seed 4 --held-out 0.3 --accumulate 2 --negatives 3"
    code, out, err = train(cli, *words.split(), *more.split(), "--json", "--run", "there")
    said = json.loads(out)
    assert code == 0, err
    recipe = said["training"]["recipe"]
    assert (recipe["maps"], recipe["mask"], recipe["area"], recipe["area_target"]) == ("cross-batch", "soft", 1.5, 0.4)
    assert (recipe["optimizer"], recipe["rate"], recipe["smoothing"], recipe["negatives"]) == ("sgd", 0.002, 1, 3)
    assert said["layers"] == ["blocks.0", "blocks.2"]
    assert said["training"]["fill"].startswith("Blur")
    assert (said["training"]["seed"], said["training"]["accumulate"], said["run"]) == (4, 2, "there")
    assert said["training"]["photos_held_out"] in (4, 5)  # of each class 0.3 of its photos
    assert [epoch["epoch"] for epoch in said["epochs"]] == [1, 2]
    assert said["figures"] == {
        name: value for name, value in said["epochs"][said["training"]["epoch_chosen"] - 1].items() if name != "epoch"
    }


def test_the_published_recipe_is_a_preset(cli):
    code, out, err = cli(
        "train",
        "tame",
        "photos",
        "-c",
        "vit",
        "--out",
        "p.safetensors",
        "--preset",
        "paper-v1",
        "--epochs",
        1,
        "--json",
    )
    assert code == 0, err
    training = json.loads(out)["training"]
    assert training["fill"] == "Colour(prepared=(0.0, 0.0, 0.0))"
    assert (training["recipe"]["bias_rate"], training["recipe"]["batch"]) == (2.0, 32)


def test_a_csv_gives_the_photos_that_count(cli):
    rows = [f"{photo},{'val' if place % 3 == 0 else 'train'}" for place, photo in enumerate(photos())]
    Path("list.csv").write_text("\n".join(["file,split", *rows]), encoding="utf-8")
    code, out, err = train(cli, "--where", "split=train", "--json", photos="list.csv")
    assert code == 0, err
    training = json.loads(out)["training"]
    assert training["photos"] + training["photos_held_out"] == 10


def photos():
    return sorted(Path("photos").rglob("*.png"))


def test_a_stopped_training_says_the_command_and_goes_on_with_it(cli, monkeypatch):
    whole = train(cli, out="whole.safetensors")
    usual, done = mask_training.MaskTraining.losses, []

    def stopped(self, batch):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(batch)
        return usual(self, batch)

    monkeypatch.setattr(mask_training.MaskTraining, "losses", stopped)
    code, out, err = train(cli, "--force")
    assert (code, out, Path("mine.safetensors").exists()) == (1, "", False)
    assert "go on: regard train tame photos --classifier vit --out mine.safetensors" in err
    monkeypatch.setattr(mask_training.MaskTraining, "losses", usual)
    code, out, err = train(cli, "--force")
    assert code == 0, err
    assert "going on: 4 steps are done, 2 are left" in err
    assert whole[0] == 0
    assert Path("mine.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


def test_a_finished_training_is_not_done_again_for_another_file(cli, monkeypatch):
    assert train(cli, "--run", "run")[0] == 0
    monkeypatch.setattr(mask_training.MaskTraining, "losses", lambda *_: pytest.fail("trained again"))
    code, out, err = train(cli, "--run", "run", out="other.safetensors")
    assert code == 0, err
    assert "epoch" in out
    assert Path("other.safetensors").read_bytes() == Path("mine.safetensors").read_bytes()


def test_a_rate_test_suggests_and_writes_nothing(cli):
    code, out, err = cli("train", "tame", "photos", "-c", "cnn", *QUICK, "--layers", "2,5", "--rate-test", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["rates"][0] == 1e-8
    assert {"suggestion", "tenth_of_minimum", "diverged"} <= said.keys()
    assert "steps: at most 200" in err
    assert sorted(path.name for path in Path().iterdir()) == ["photos"]


def test_a_photo_that_cannot_be_read_is_named_and_the_rest_is_learnt(cli):
    Path("photos/red/broken.png").write_bytes(b"no picture")
    code, out, err = train(cli)
    assert code == 1  # as for every command that leaves a photo out
    assert "1 photos cannot be read" in err
    assert "broken.png" in err
    assert "1 cannot be read and are left out" in out


def test_a_file_is_not_overwritten_without_force(cli):
    assert train(cli)[0] == 0
    before = Path("mine.safetensors").read_bytes()
    code, _, err = train(cli, "--seed", 1)
    assert code == 2
    assert "--force" in err
    assert Path("mine.safetensors").read_bytes() == before
    assert train(cli, "--seed", 1, "--force")[0] == 0
    assert Path("mine.safetensors").read_bytes() != before


WRONG = {
    "no such place": ((), {"photos": "nowhere"}, "no folder, CSV or COCO file"),
    "no file": ((), {"out": "mine.pth"}, "ends in .safetensors"),
    "no such folder": ((), {"out": "there/mine.safetensors"}, "is no folder"),
    "no classes": ((), {"classifier": "headless"}, "knows no classes"),
    "no such layer": (("--layers", "nowhere"), {}, "nowhere"),
    "a start that does not fit": (("--start", "head"), {"classifier": "two layers"}, "start=drawn"),
    "no such fill": (("--fill", "white"), {}, "no such fill"),
    "a fill that is solved": (("--fill", "inpaint"), {}, "no gradient"),
    "an area above one": (("--area-target", "1.5"), {}, "area_target"),
    "no rate": (("--rate", "0"), {}, "rate"),
    "all held out": (("--held-out", "1"), {}, "share of the photos"),
    "no such photos": (("--where", "label=violet"), {}, "violet"),
}


@pytest.mark.parametrize(("more", "change", "problem"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_refused_in_a_sentence(more, change, problem, cli):
    code, out, err = train(cli, *more, **change)
    assert (code, out) == (2, "")
    assert problem in err
    assert "Traceback" not in err
    assert not Path("mine.safetensors").exists()


def test_a_training_without_out_is_wrong_use(cli):
    code, _, err = cli("train", "tame", "photos", "-c", "vit")
    assert code == 2
    assert "--out NAME.safetensors" in err


@pytest.mark.parametrize("arguments", [("--variant", "v5"), ("--epochs", "0"), ("--preset", "mine")], ids=" ".join)
def test_settings_that_are_none_are_wrong_use(arguments, cli):
    assert train(cli, *arguments)[0] == 2
