import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import regard_embedded
from PIL import Image

import regard
from regard.cli import explain as command
from regard.cli.app import main
from regard.cli.asked import class_asked
from regard.cli.photos import find_photos, named
from regard.explainers.gradcam import GradCAM
from regard.runs import read_run

from ..explainers.networks import classifier_of, cnn

PHOTOS = {photo.path.stem: photo.path for photo in regard_embedded.photos()}


@pytest.fixture
def cli(monkeypatch, tmp_path, capsys):
    """Runs `regard …` in an empty directory; gives exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["regard", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def folder_of(*names, at="photos"):
    Path(at).mkdir()
    for name in names:
        shutil.copy(PHOTOS[name], at)
    return at


@pytest.mark.parametrize("words", ["explain", "compare"])
def test_a_map_of_zeros_is_reported_with_its_reason(cli, monkeypatch, words):
    plain = GradCAM._explain
    monkeypatch.setattr(GradCAM, "_explain", lambda *given: replace(plain(*given), maps=plain(*given).maps * 0))
    asked = {"explain": ("--method", "grad-cam"), "compare": ("--methods", "grad-cam", "--targets", "bagel")}
    code, _, err = cli(words, PHOTOS["bagel"], *asked[words])
    assert code == 0
    assert "note:" in err
    assert "zero everywhere for 'bagel, beigel'" in err
    assert "no cell speaks for the target at this layer" in err


def test_the_first_command_answers_in_an_empty_directory(cli):
    code, out, err = cli("explain", PHOTOS["bagel"])
    assert code == 0
    (run,) = Path("regard-runs").iterdir()
    picture = run / "pictures" / "bagel.png"
    assert str(picture) in out
    assert "bagel, beigel" in out
    assert Image.open(picture).size[0] > 800
    explanation = regard.Explanation.load(run / "maps" / "bagel.safetensors")
    assert explanation.method == "tame"
    assert explanation.targets[0][0].name == "bagel, beigel"
    assert len(explanation.targets[0]) == 3
    assert (run / "index.csv").read_text().count("bagel.png") == 3
    assert read_run(run).manifest["photos"] == 1
    assert "\x1b" not in out + err


def test_the_line_of_python_gives_the_same_maps_as_the_command(cli):
    cli("explain", PHOTOS["bagel"], "--run", "here")
    written = regard.Explanation.load("here/maps/bagel.safetensors")
    assert regard.explain(PHOTOS["bagel"]).maps.equal(written.maps)


def test_cdam_is_chosen_for_a_transformer_and_targets_are_taken_by_label_and_index(cli):
    code, out, _ = cli("explain", PHOTOS["church-3"], "-c", "regard:vit-small", "-t", "church", "-t", "5", "--json")
    rows = json.loads(out)["rows"]
    assert code == 0
    assert {(row["method"], row["target"], row["class_index"]) for row in rows} == {
        ("cdam", "church", 4),
        ("cdam", "French horn", 5),
    }


@pytest.mark.parametrize(
    ("labels", "text", "asked"),
    [
        (["2", "5", "7"], "2", "2"),
        (["2", "5", "7"], "1", 1),
        (["2", "5", "7"], "-1", -1),
        (["cat, 0", "dog"], "0", "0"),
        (["2", "2", "7"], "2", "2"),
        (None, "2", 2),
        (["ant", "bee"], "bee", "bee"),
    ],
    ids=["label", "index", "negative", "synonym", "ambiguous", "no-labels", "word"],
)
def test_a_label_wins_over_an_index(labels, text, asked):
    assert class_asked(text, classifier_of(cnn(), labels=labels and [*labels, "a", "b", "c"][:5])) == asked


def test_a_concept_is_shown_by_a_folder(cli):
    folder_of("church-5", "church-7")
    code, out, _ = cli("explain", PHOTOS["church-3"], "-c", "regard:vit-small", "--concept", "church=photos", "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["target"] == "concept church"


def test_nothing_is_overwritten_without_force(cli):
    arguments = ("explain", PHOTOS["bagel"], "--run", "here", "--top", 1)
    assert cli(*arguments)[0] == 0
    before = Path("here/manifest.json").read_text()
    code, _, err = cli(*arguments)
    assert code == 2
    assert "--force" in err
    assert Path("here/manifest.json").read_text() == before
    assert cli(*arguments, "--force")[0] == 0


def test_force_spares_a_folder_that_is_no_run(cli):
    folder_of("harp")
    code, _, err = cli("explain", PHOTOS["bagel"], "--run", "photos", "--force")
    assert code == 2
    assert "no run" in err
    assert Path("photos/harp.jpg").exists()


def test_a_damaged_photo_becomes_a_row_and_the_rest_is_explained(cli):
    folder_of("bagel", "harp")
    Path("photos/cut.jpg").write_bytes(PHOTOS["pickup"].read_bytes()[:4000])
    Path("photos/text.png").write_text("no picture at all")
    code, out, err = cli("explain", "photos", "--run", "here", "--top", 1)
    assert code == 1
    rows = {Path(row["image"]).name: row for row in read_run(Path("here")).rows}
    assert {name: row["status"] for name, row in rows.items()} == {
        "bagel.jpg": "explained",
        "harp.jpg": "explained",
        "cut.jpg": "failed",
        "text.png": "failed",
    }
    assert "damaged" in rows["cut.jpg"]["error"]
    assert err.count("failed: photos/cut.jpg:") == err.count("failed: photos/text.png:") == 1
    assert "failed" not in out
    assert out.count("→") == 2
    assert "Traceback" not in err


def test_a_run_that_explained_nothing_says_so_once_and_explains_no_colours(cli):
    Path("text.png").write_text("no picture at all")
    code, out, err = cli("explain", "text.png", "--run", "here")
    assert code == 1
    assert err.count("failed: text.png:") == 1
    assert out == "index.csv in here\n"


def test_a_file_name_that_is_no_unicode_is_explained_under_an_escaped_name(cli):
    Path("photos").mkdir()
    shutil.copy(PHOTOS["bagel"], os.fsdecode(b"photos/\xff.jpg"))
    assert cli("explain", "photos", "--run", "here", "--top", 1)[0] == 0
    assert read_run(Path("here")).rows[0]["picture"] == "pictures/\\xff.png"
    assert Path("here/pictures/\\xff.png").exists()


def test_an_interrupted_run_goes_on_where_it_stopped(cli, monkeypatch):
    folder_of("bagel", "harp", "pickup")
    explain_one, explained = command._explain_one, []

    def interrupted(results, explainer, targets, path, name, ending):
        if len(explained) == 1:
            raise KeyboardInterrupt
        explained.append(path.name)
        return explain_one(results, explainer, targets, path, name, ending)

    monkeypatch.setattr(command, "_explain_one", interrupted)
    code, _, err = cli("explain", "photos", "--run", "here", "--top", 1)
    assert code == 1
    assert "--run here" in err
    assert not Path("here/manifest.json").exists()

    def counted(results, explainer, targets, path, name, ending):
        explained.append(path.name)
        return explain_one(results, explainer, targets, path, name, ending)

    monkeypatch.setattr(command, "_explain_one", counted)
    assert cli("explain", "photos", "--run", "here", "--top", 1)[0] == 0
    assert explained == ["bagel.jpg", "harp.jpg", "pickup.jpg"]
    assert len(read_run(Path("here")).rows) == 3


def test_photos_of_one_name_do_not_overwrite_each_other(cli):
    folder_of("bagel", at="one")
    folder_of("bagel", at="two")
    assert cli("explain", "one", "two", "--run", "here", "--top", 1)[0] == 0
    assert {path.name for path in Path("here/pictures").iterdir()} == {"bagel.png", "bagel-2.png"}


def test_a_renamed_copy_cannot_take_a_name_that_is_there(cli):
    folder_of("bagel", at="one")
    folder_of("bagel", at="two")
    shutil.copy(PHOTOS["harp"], "two/bagel-2.jpg")
    found = named(find_photos(["one", "two"]), set())
    assert [name for _, name in found] == ["bagel", "bagel-2", "bagel-3"]


def test_folders_patterns_and_repeats_are_found_once_in_order(cli):
    folder_of("harp", "bagel", "pickup")
    found = find_photos(["photos/p*.jpg", "photos", "photos/harp.jpg"])
    assert [path.stem for path in found] == ["pickup", "bagel", "harp"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothere.jpg",), "nothere.jpg"),
        (("empty",), "holds no photos"),
        (("PHOTO", "-t", "bagle"), "bagel, beigel"),
        (("PHOTO", "-t", "-1"), "0 to 999"),
        (("PHOTO", "-t", "crane"), "names 2 classes"),
        (("PHOTO", "-m", "nothing"), "cdam"),
        (("PHOTO", "-m", "cdam"), "grad-cam"),
        (("PHOTO", "-c", "regard:nothing"), "vit-small"),
        (("PHOTO", "-c", "resnet50"), "timm:NAME"),
        (("PHOTO", "--concept", "horn"), "NAME=FOLDER"),
        (("PHOTO", "--device", "cuda:77"), "no such device"),
        (("PHOTO", "--weights", "nothere.safetensors"), "brings its own weights"),
    ],
)
def test_wrong_use_is_answered_in_words_with_exit_code_2_and_leaves_no_run(cli, arguments, said):
    Path("empty").mkdir()
    given = [PHOTOS["bagel"] if argument == "PHOTO" else argument for argument in arguments]
    code, _, err = cli("explain", *given)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not Path("regard-runs").exists()


def test_the_strongest_place_is_said_in_words():
    import torch

    from regard.explained_run import strongest_place

    values = torch.zeros(6, 9)
    for flat in (0.0, 1.0, -1.0):
        assert strongest_place(values + flat) == "nowhere"
    values[0, 8] = 1.0
    assert strongest_place(values) == "upper right"
    values[3, 4] = 2.0
    assert strongest_place(values) == "centre"
    values[5, 0] = 3.0
    assert strongest_place(values) == "lower left"
    assert strongest_place(values - 3) == "lower left, not above zero"
    assert strongest_place(values - 2.5) == "lower left"


def interrupted_after(count, cli, monkeypatch, *arguments):
    explain_one, done = command._explain_one, []

    def stopping(*given):
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(given)
        return explain_one(*given)

    with monkeypatch.context() as patched:
        patched.setattr(command, "_explain_one", stopping)
        assert cli(*arguments)[0] == 1


def test_a_photo_that_joins_while_a_run_is_stopped_takes_no_other_s_name(cli, monkeypatch):
    folder_of("harp", "bagel", at="b")
    shutil.move("b/harp.jpg", "b/z.jpg")
    arguments = ("explain", ".", "--run", "here", "--top", 1)
    interrupted_after(1, cli, monkeypatch, *arguments)
    Path("a").mkdir()
    shutil.copy(PHOTOS["gondola"], "a/bagel.jpg")
    assert cli(*arguments)[0] == 0
    rows = {row["image"]: row for row in read_run(Path("here")).rows}
    assert {image: row["picture"] for image, row in rows.items()} == {
        "b/bagel.jpg": "pictures/bagel.png",
        "a/bagel.jpg": "pictures/bagel-2.png",
        "b/z.jpg": "pictures/z.png",
    }
    for row in rows.values():
        assert regard.Explanation.load(Path("here") / row["maps"]).targets[0][0].name == row["target"]


def test_photos_that_were_repaired_or_changed_are_explained_anew(cli, monkeypatch):
    folder_of("bagel", "harp", "pickup")
    Path("photos/bagel.jpg").write_bytes(b"not yet")
    arguments = ("explain", "photos", "--run", "here", "--top", 1)
    interrupted_after(2, cli, monkeypatch, *arguments)
    shutil.copy(PHOTOS["bagel"], "photos/bagel.jpg")
    shutil.copy(PHOTOS["gondola"], "photos/harp.jpg")
    code, out, _ = cli(*arguments)
    rows = {row["image"]: row for row in read_run(Path("here")).rows}
    assert code == 0
    assert "failed" not in out
    assert {row["status"] for row in rows.values()} == {"explained"}
    assert rows["photos/harp.jpg"]["target"] == "gondola"


def test_two_classes_of_one_name_are_told_apart(cli):
    _, out, _ = cli("explain", PHOTOS["bagel"], "-t", 134, "-t", 517, "--json")
    assert {row["target"] for row in json.loads(out)["rows"]} == {"crane (134)", "crane (517)"}
    assert cli("explain", PHOTOS["bagel"], "-t", "crane (517)")[0] == 0


def test_the_pictures_of_earlier_runs_are_no_photos(cli):
    shutil.copy(PHOTOS["bagel"], ".")
    Path("folder.jpg").mkdir()
    for _ in range(2):
        code, out, _ = cli("explain", ".", "--top", 1)
        assert code == 0
        assert out.count("→") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("PHOTO", "-t", "²"), 2, "no class is called"),
        (("PHOTO", "--target=--5"), 2, "no class is called"),
        (("PHOTO", "--run", "/proc/no/such"), 2, "cannot be written"),
        (("a" * 5000,), 1, "too long"),
        (("x**/y",), 2, "no photo"),
        (("",), 2, "no photo"),
    ],
    ids=["superscript", "dashes", "nowhere to write", "endless name", "wild pattern", "empty"],
)
def test_hostile_arguments_are_answered_in_words(cli, arguments, code, said):
    given = [PHOTOS["bagel"] if argument == "PHOTO" else argument for argument in arguments]
    found, _, err = cli("explain", *given)
    assert (found, said in err) == (code, True), err
    assert "Traceback" not in err


def test_a_photo_of_a_long_name_has_results_of_a_shorter_one(cli):
    name = "b" * 240
    shutil.copy(PHOTOS["bagel"], f"{name}.jpg")
    assert cli("explain", f"{name}.jpg", "--run", "here", "--top", 1)[0] == 0
    assert read_run(Path("here")).rows[0]["picture"] == f"pictures/{name[:80]}.png"


def test_a_narrow_encoding_does_not_end_a_good_run(tmp_path):
    asked = ["regard", "explain", str(PHOTOS["bagel"]), "--top", "1"]
    script = f"import sys; sys.argv = {asked!r}; from regard.cli.app import main; main()"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"bagel, beigel" in done.stdout


def test_the_passes_of_slow_work_are_said_before_it_begins(cli, monkeypatch):
    monkeypatch.setattr(command, "_explain_one", lambda *_: True)
    arguments = ("explain", PHOTOS["church-3"], "-c", "regard:vit-small", "-m", "token-ablation", "--top", 1)
    code, _, err = cli(*arguments)
    assert code == 0
    assert f"forward passes: {16 * 16 + 2}" in err
