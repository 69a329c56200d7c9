"""`regard train head`: from a folder or a CSV to a classifier file that the other commands take."""

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

import regard
from regard.cli.app import main
from regard.compat import import_optional
from regard.models.files import read_header
from regard.runs import read_run
from regard.training import embeddings

from ..explainers.networks import loud
from ..training.pictures import write_folder

timm = import_optional("timm", "timm")
ARGUMENTS = ("--classifier", "timm:test_vit", "--weights", "weights.safetensors")


@pytest.fixture
def cli(monkeypatch, tmp_path, capsys):
    """Runs `regard train head …` beside photos and weights of a backbone; gives exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    write_folder(Path("photos"), 5)
    save_file(loud(timm.create_model("test_vit", num_classes=0)).state_dict(), "weights.safetensors")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["regard", "train", "head", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def train(cli, *arguments, photos="photos", out="mine.safetensors"):
    return cli(photos, *ARGUMENTS, "--out", out, *arguments)


def table(text, name="labels.csv"):
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_a_folder_becomes_a_classifier_that_can_be_loaded(cli):
    code, out, err = train(cli)
    assert code == 0, err
    assert "all classes" in out
    assert "by chance" in out
    assert "regard explain PHOTO --classifier mine.safetensors" in out
    classifier = regard.load("mine.safetensors")
    assert (classifier.labels, classifier.outputs) == (["blue", "green", "red"], "softmax")
    about = read_header(Path("mine.safetensors")).about
    assert about["training"]["photos_trained_on"] == 12
    assert about["training"]["seed"] == 0
    assert about["held_out"]["photos"] == 3
    (run,) = Path("regard-runs").glob("train-head-*")
    assert f"regard report {run} --open" in out
    assert sorted(row["class"] for row in read_run(run).rows) == ["blue", "green", "red"]
    assert len(about["training"]["backbone_hash"]) == 64


def test_json_holds_every_figure(cli):
    code, out, err = train(cli, "--json", "--kind", "mlp", "--hidden", 8, "--held-out", 0.4, "--seed", 3)
    said = json.loads(out)
    assert code == 0, err
    assert said["held_out"]["photos"] == 6
    assert [each["name"] for each in said["held_out"]["each"]] == ["blue", "green", "red"]
    assert (said["training"]["hidden"], said["training"]["seed"], said["training"]["kind"]) == (8, 3, "mlp")
    assert said["classifier_hash"] == regard.load("mine.safetensors").hash


def test_a_csv_gives_several_classes_and_its_own_split(cli):
    rows = [f"{photo},{photo.parent.name}|any,{'val' if i % 3 == 0 else 'train'}" for i, photo in enumerate(photos())]
    rows[1] = rows[1].replace("|any", "")
    code, out, err = train(cli, "--outputs", "sigmoid", "--json", photos=table("\n".join(["file,label,split", *rows])))
    assert code == 0, err
    assert regard.load("mine.safetensors").outputs == "sigmoid"
    assert json.loads(out)["labels"] == ["any", "blue", "green", "red"]
    assert json.loads(out)["held_out"]["photos"] == 5


def test_of_independent_classes_the_photos_that_show_one_are_counted_beside_all(cli):
    rows = [f"{photo},{photo.parent.name},{'val' if i % 3 == 0 else 'train'}" for i, photo in enumerate(photos())]
    code, out, err = train(cli, "--outputs", "sigmoid", photos=table("\n".join(["file,label,split", *rows])))
    assert code == 0, err
    lines = {cells[0]: cells for cells in (line.split("\t") for line in out.splitlines()) if len(cells) > 1}
    assert lines[""][1:3] == ["held-out photos", "that show it"]
    assert [lines[name][1:3] for name in ("all classes", "blue", "green", "red")] == [
        ["5", ""],
        ["5", "2"],  # photos 0 and 3 of 0 to 4
        ["5", "2"],  # 6 and 9 of 5 to 9
        ["5", "1"],  # 12 of 10 to 14
    ]


def photos():
    return sorted(Path("photos").rglob("*.png"))


def test_measurements_have_errors_and_r_squared(cli):
    rows = [f"{photo},{10 * len(photo.parent.name)}" for photo in photos()]
    code, out, err = train(cli, "--outputs", "scalar", photos=table("\n".join(["file,letters", *rows])))
    assert code == 0, err
    assert "root mean square error" in out
    assert "R²" in out
    assert "letters" in out
    assert regard.load("mine.safetensors").outputs == "scalar"


def test_a_second_training_embeds_nothing(cli, monkeypatch):
    train(cli)
    monkeypatch.setattr(embeddings, "_embed", lambda *_: pytest.fail("embedded again"))
    assert train(cli, "--seed", 5, out="other.safetensors")[0] == 0


def test_a_stopped_training_says_how_to_go_on_and_goes_on(cli, monkeypatch):
    plain, done = embeddings._embed, []

    def stopped(*arguments):
        if done:
            raise KeyboardInterrupt
        done.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(embeddings, "BATCH", 4)
    monkeypatch.setattr(embeddings, "_embed", stopped)
    code, _, err = train(cli)
    assert (code, Path("mine.safetensors").exists()) == (1, False)
    assert "give the same command again" in err
    monkeypatch.setattr(embeddings, "_embed", lambda *arguments: done.append(arguments) or plain(*arguments))
    assert train(cli)[0] == 0
    assert len({mark for _, batch, _ in done for mark, _ in batch}) == 15
    assert len(done) == 4


def test_a_photo_that_cannot_be_read_is_named_and_the_rest_is_learnt(cli):
    Path("photos/red/broken.png").write_bytes(b"no picture")
    code, out, err = train(cli, "--json")
    assert code == 1  # as for every command that leaves a photo out
    assert "1 photos cannot be read" in err
    assert "broken.png" in err
    assert list(json.loads(out)["unreadable"]) == ["photos/red/broken.png"]


def test_a_file_is_not_overwritten_without_force(cli):
    assert train(cli)[0] == 0
    before = Path("mine.safetensors").read_bytes()
    code, _, err = train(cli, "--kind", "mlp")
    assert code == 2
    assert "--force" in err
    assert Path("mine.safetensors").read_bytes() == before
    assert train(cli, "--kind", "mlp", "--force")[0] == 0
    assert Path("mine.safetensors").read_bytes() != before


WRONG = {
    "no such place": (lambda: {"photos": "nowhere"}, "neither a folder nor a CSV"),
    "no photos": (lambda: {"photos": Path("empty").mkdir() or "empty"}, "holds no photos"),
    "one class": (lambda: {"photos": table("file,label\na.png,cat\nb.png,cat\n")}, "tells classes apart"),
    "a wrong line": (lambda: {"photos": table("file,label\na.png,cat\nb.png\n")}, "line 3 of 'labels.csv'"),
    "another ending": (lambda: {"out": "mine.pth"}, "ends in .safetensors"),
    "no such folder": (lambda: {"out": "there/mine.safetensors"}, "is no folder"),
}


@pytest.mark.parametrize(("change", "problem"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_refused_in_a_sentence(change, problem, cli):
    code, out, err = train(cli, **change())
    assert (code, out) == (2, "")
    assert problem in err
    assert "Traceback" not in err


@pytest.mark.parametrize("share", ["nan", "inf", "-inf", "0", "1", "-1"])
def test_a_share_that_is_none_is_refused_before_anything_is_read(share, cli):
    code, out, err = train(cli, "--held-out", share, photos="nowhere")
    assert (code, out) == (2, "")
    assert err.startswith("error: held_out is a share of the photos")


def test_a_share_that_is_none_is_refused_also_where_the_photos_say_which_are_held_out(cli):
    rows = [f"{photo},{photo.parent.name},{'val' if photo.stem == '0' else 'train'}" for photo in photos()]
    code, _, err = train(cli, "--held-out", "nan", photos=table("\n".join(["file,label,split", *rows])))
    assert (code, "held_out is a share of the photos" in err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [("--held-out", "1"), ("--kind", "forest"), ("--outputs", "embedding"), ("--hidden", "0"), ("--classifier", "no")],
    ids=" ".join,
)
def test_settings_that_are_none_are_wrong_use(arguments, cli):
    assert train(cli, *arguments)[0] == 2
    assert not Path("mine.safetensors").exists()


def test_a_run_is_replaced_by_force_alone_and_refused_before_work(cli):
    assert train(cli, "--run", "here")[0] == 0
    code, _, err = train(cli, "--run", "here", out="other.safetensors")
    assert code == 2
    assert "'here' holds a finished run" in err
    assert not Path("other.safetensors").exists()
    assert train(cli, "--run", "here", "--force", out="other.safetensors")[0] == 0
