"""`regard train tame` as a newcomer uses it: photos to a file that the other commands take."""

import json
import re
import shlex
from pathlib import Path

import pytest

from regard.explainers.tame import TAME, read_card
from regard.training.tame import mask_training

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
    asked = []
    monkeypatch.setattr("regard.models.catalog.load", lambda name, **more: asked.append(more) or known[name])

    def run(*arguments):
        return program(*arguments)

    run.known, run.asked = known, asked
    return run


def train(cli, *arguments, photos="photos", classifier="vit", out="mine.safetensors"):
    return cli("train", "tame", photos, "--classifier", classifier, "--out", out, *QUICK, *arguments)


def test_photos_become_a_file_and_it_says_what_it_costs_and_is_worth(cli):
    code, out, err = train(cli)
    assert code == 0, err
    assert (
        "photos: 15, of which about 2 held out; steps: about 6; forward passes: about 97" in err
    )  # 15 + 10 + 2 (26 + 10)
    lines = [line.split("\t") for line in out.splitlines() if "\t" in line]
    assert lines[0][:2] == ["epoch", "average drop at 50 %"]
    assert [line[0] for line in lines[1:]] == ["0", "1", "2"]
    assert "figures on the 2 photos held out; epoch 0 is the attention before training" in out
    assert "note: fewer than 30 photos are held out" in out
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
    code, out, err = cli(
        "train", "tame", "photos", "-c", "cnn", "--out", "mine.safetensors", "--count", 2, "--epochs", 1
    )
    assert code == 0, err
    assert "start head" in err
    assert "maps of all 5 classes" in out
    code, out, err = cli("explain", "photos/red/0.png", "-c", "cnn", "--method", "tame:mine.safetensors")
    assert code == 0, err


def test_options_change_the_recipe_and_json_holds_every_figure(cli):
    words = "--maps cross-batch --mask soft --area 1.5 --area-target 0.4 --optimizer sgd --rate 0.002 --smoothing 1"
    more = "--layers blocks.2,blocks.0 --fill blur --seed 4 --held-out 0.3 --accumulate 2 --gated"
    code, out, err = train(cli, *words.split(), *more.split(), "--json", "--run", "there")
    said = json.loads(out)
    assert code == 0, err
    recipe = said["training"]["recipe"]
    assert (recipe["maps"], recipe["mask"], recipe["area"], recipe["area_target"]) == ("cross-batch", "soft", 1.5, 0.4)
    assert (recipe["optimizer"], recipe["rate"], recipe["smoothing"], recipe["gated"]) == ("sgd", 0.002, 1, True)
    assert said["layers"] == ["blocks.0", "blocks.2"]
    assert said["training"]["fill"].startswith("Blur")
    assert (said["training"]["seed"], said["training"]["accumulate"], said["run"]) == (4, 2, "there")
    assert said["training"]["photos_held_out"] in (4, 5)  # of each class 0.3 of its photos
    assert [epoch["epoch"] for epoch in said["epochs"]] == [0, 1, 2]
    assert said["training"]["epoch_chosen"] in (1, 2)
    assert said["figures"] == {
        name: value for name, value in said["epochs"][said["training"]["epoch_chosen"]].items() if name != "epoch"
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
    Path("mine.safetensors").write_bytes(b"mine")  # which is not asked for, since nothing is written
    code, out, err = train(cli, "--layers", "2,5", "--rate-test", "--json", classifier="cnn")
    assert code == 0, err
    said = json.loads(out)
    assert said["rates"][0] == 1e-8
    assert {"suggestion", "tenth_of_minimum", "diverged"} <= said.keys()
    assert "steps: at most 200" in err
    assert sorted(path.name for path in Path().iterdir()) == ["mine.safetensors", "photos"]
    assert Path("mine.safetensors").read_bytes() == b"mine"


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
    "a share that is no number": (("--held-out", "nan"), {}, "share of the photos"),
    "layers and their count": (("--layers", "blocks.0", "--count", 2), {}, "not both"),
    "blocks where there are none": (("--at", "block", "--layers", "2,5"), {"classifier": "cnn"}, "--at says"),
    "a place beside named layers": (("--at", "norm", "--layers", "blocks.0"), {}, "named layers"),
    "a class token where there is none": (
        ("--gated", "--layers", "2,5"),
        {"classifier": "cnn"},
        "no class token stands before",
    ),
    "negatives that do not count": (("--maps", "own", "--negatives", 3), {}, "--maps negatives"),
    "more stages than there are": (("--count", 4), {}, "--layers A,B"),
    "an empty folder": ((), {"photos": "empty"}, "'empty' holds no photos"),
    "no such photos": (("--where", "label=violet"), {}, "violet"),
}


@pytest.mark.parametrize(("more", "change", "problem"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_refused_in_a_sentence(more, change, problem, cli):
    Path("empty").mkdir()
    code, out, err = train(cli, *more, **change)
    assert (code, out) == (2, "")
    assert problem in err
    assert "Traceback" not in err
    assert "photos:" not in err  # before its cost is said
    assert not Path("mine.safetensors").exists()
    assert not Path("regard-runs").exists()


NUMBERS = {
    "--held-out": ("held_out", ["nan", "inf", "-inf", "0", "1", "-1"]),
    "--rate": ("rate", ["nan", "inf", "-inf", "0", "-1"]),
    "--area": ("area", ["nan", "inf", "-inf", "-1"]),
    "--area-target": ("area_target", ["nan", "inf", "-inf", "0", "1", "-1"]),
}


@pytest.mark.parametrize(
    ("option", "called", "value"),
    [(option, called, value) for option, (called, values) in NUMBERS.items() for value in values],
)
def test_a_number_that_is_none_is_refused_before_anything_is_read(option, called, value, cli):
    code, out, err = train(cli, option, value, photos="nowhere")
    assert (code, out, cli.asked) == (2, "", [])
    assert called in err or f"'{option}'" in err
    assert "nowhere" not in err
    assert "Traceback" not in err


def test_a_training_without_out_is_wrong_use(cli):
    code, _, err = cli("train", "tame", "photos", "-c", "vit")
    assert code == 2
    assert "--out NAME.safetensors" in err


@pytest.mark.parametrize("arguments", [("--variant", "v5"), ("--epochs", "0"), ("--preset", "mine")], ids=" ".join)
def test_settings_that_are_none_are_wrong_use(arguments, cli):
    assert train(cli, *arguments)[0] == 2


def steps(out):
    """What is printed of how to go on, as it would be typed."""
    return [shlex.split(line.partition(": regard ")[2]) for line in out.splitlines() if ": regard " in line]


@pytest.mark.parametrize(
    ("classifier", "layers", "other"), [("vit", (), "cdam"), ("cnn", ("--layers", "2,5"), "grad-cam")]
)
def test_the_steps_it_names_work_as_they_stand_also_where_no_class_has_enough_photos(classifier, layers, other, cli):
    code, out, err = train(cli, *layers, classifier=classifier, out="my file.safetensors")
    assert code == 0, err
    assert "note: the attention will show no map unless forced" in err
    assert err.index("will show no map") < err.index("before training:")
    explain, evaluate = steps(out)
    assert explain[-2:] == ["--method", "tame:my file.safetensors:force=true"]
    code, _, err = cli(*("photos/red/0.png" if word == "PHOTO" else word for word in explain))
    assert code == 0, err
    assert evaluate[-1] == f"tame:my file.safetensors:force=true,{other}"
    code, out, err = cli(*("photos/red" if word == "PHOTOS" else word for word in evaluate), "--metrics", "compactness")
    assert code == 0, err
    assert other in out


def test_tied_rows_need_no_force(cli):
    code, out, err = train(cli, "--variant", "tied", "--area-target", 0.3)
    assert code == 0, err
    assert all("force" not in word for step in steps(out) for word in step)
    assert "unless forced" not in err
    assert "mean mask (held at 0.3)" in out


def test_the_classifier_is_loaded_with_weights_and_precision_and_said_so(cli):
    code, out, err = train(cli, "--weights", "its own.safetensors", "--precision", "bfloat16")
    assert code == 0, err
    assert str(cli.asked[0]["weights"]) == "its own.safetensors"
    for step in steps(out):
        assert step[2:8] == ["--classifier", "vit", "--weights", "its own.safetensors", "--precision", "bfloat16"]


def test_the_recipe_in_force_is_said_before_the_cost(cli):
    _, _, err = train(cli, "--count", 2, "--area-target", 0.4)
    said, cost = err.splitlines()[:2]
    assert said == (
        "recipe: tame attention on blocks.1.norm1, blocks.2.norm1, smoothed over 1; start drawn; mask ranked; maps "
        "4 negatives; area weight 2 of other maps, own masks held at 0.4; fill black; adamw at rate 0.001; epochs 2; "
        "batch 6"
    )
    assert cost.startswith("photos: 15")
    _, _, err = train(cli, "--gated", "--at", "block", "--area", 1.5, "--maps", "own", out="other.safetensors")
    assert "on blocks.0, blocks.1, blocks.2 times their class token" in err
    assert "maps own; area weight 1.5; fill" in err


def test_a_count_of_stages_stands_in_place_of_a_presets_layers(cli, monkeypatch):
    published = {"torchvision:tiny": ("blocks.0", "blocks.1", "blocks.2")}
    monkeypatch.setattr("regard.training.tame.presets.PUBLISHED_LAYERS", published)
    source = type("Source", (), {"architecture": "torchvision:tiny"})
    monkeypatch.setattr(cli.known["vit"], "source", source, raising=False)
    asked = ("--preset", "paper", "--json", "--batch", 4)
    for more, layers in (((), ["blocks.0", "blocks.1", "blocks.2"]), (("--count", 1), ["blocks.2.norm1"])):
        code, out, err = train(cli, *asked, *more, "--force")
        assert code == 0, err
        assert json.loads(out)["layers"] == layers


def test_epochs_are_said_as_they_come_where_no_terminal_shows_that_it_goes_on(cli, monkeypatch):
    usual, seen = mask_training.MaskTraining.losses, []

    def noting(self, batch):
        seen.append(len(said))
        return usual(self, batch)

    said = []
    monkeypatch.setattr("regard.cli.train.progress.announce", said.append)
    monkeypatch.setattr(mask_training.MaskTraining, "losses", noting)
    _, out, _ = train(cli)
    table = [line.split("\t") for line in out.splitlines() if "\t" in line][1:]
    epochs = [line for line in said if "mean mask" in line]
    for words, line, row in zip(("before training", "epoch 1 of 2", "epoch 2 of 2"), epochs, table, strict=True):
        assert line.startswith(f"{words}: average drop at 50 % {row[1]}, at 15 % {row[2]}, ")
        assert line.endswith(f"mean mask {row[-1]}")
    assert [seen[0], seen[3]] == [said.index(epochs[0]) + 1, said.index(epochs[1]) + 1]  # three steps an epoch


def test_on_a_terminal_the_bar_says_that_it_goes_on(cli, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    _, _, err = train(cli)
    assert "before training" not in err


@pytest.mark.parametrize(("after", "said"), [(0.2, True), (0.1, True), (0.05, False)])
def test_a_training_that_was_worth_nothing_says_so(after, said, cli, monkeypatch):
    drops = iter([0.1, after, 0.3])
    names = ("average_drop_15", "increase_in_confidence_50", "increase_in_confidence_15", "own_mask")
    monkeypatch.setattr(
        "regard.training.tame.fit.held_out_figures",
        lambda *_: {"average_drop_50": next(drops), **dict.fromkeys(names, 0.5)},
    )
    _, out, _ = train(cli)
    assert ("no epoch is better than the start" in out) == said


def test_figures_of_many_photos_are_not_called_rough_and_one_class_is_said(cli):
    write_folder(Path("many"), 20)
    head = cli.known["vit"].head_module()
    head.bias.data[3] += 100
    code, out, err = train(cli, "--held-out", 0.5, "--epochs", 1, photos="many")
    assert code == 0, err
    assert "figures on the 30 photos held out" in out
    assert "fewer than 30" not in out
    assert "all photos are taken for one class" in out
    assert "takes all 60 photos for one class, 'dog'" in err


def test_help_says_whose_the_default_of_every_part_of_a_recipe_is(cli):
    _, out, _ = cli("train", "tame", "--help")
    told = " ".join(out.split()).replace("│", " ")
    parts = re.split(r" (?=--[a-z])", told)
    of_recipe = "variant layers count at gated smoothing start mask maps negatives area area-target fill optimizer"
    for name in f"{of_recipe} rate epochs batch".split():
        own = [part for part in parts if part.startswith(f"--{name} ")]
        assert any("default: the preset's" in " ".join(part.split()) for part in own), name


def test_a_process_that_is_not_the_main_one_says_and_writes_nothing(cli, monkeypatch):
    monkeypatch.setattr("regard.training.processes.Processes.main", False)
    monkeypatch.setattr("regard.training.loop.fit", lambda *_, **__: pytest.fail("no run to train in"))
    monkeypatch.setattr("regard.training.fit_tame", lambda *_, **more: said.append(more.keys()))
    said = []
    assert train(cli) == (0, "", "")
    assert not {"tracked", "heard"} & said[0]
    assert not Path("mine.safetensors").exists()
