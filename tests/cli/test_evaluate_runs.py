"""`regard evaluate` on runs that are there: finished, stopped, refused; and what its page says of its numbers."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from regard.cli import evaluation
from regard.evaluate import contest
from regard.explainers import registry
from regard.explainers.attention import AttentionMap
from regard.metrics.of_curves import AverageDrop
from regard.runs import read_run

from .test_evaluate_command import FEW, Trained, methods_of, unfinished

ASKED = f"photos.csv --methods attention,rollout {FEW} --run here"


def forbidden(*_, **__):
    raise AssertionError("something is judged")


@pytest.fixture
def idle(monkeypatch):
    """From here on neither photos nor maps may be asked for."""

    def forbid():
        for place, name in ((contest, "judge"), (contest, "answered"), (evaluation, "pass_seconds")):
            monkeypatch.setattr(place, name, forbidden)
        monkeypatch.setattr(AttentionMap, "_explain", forbidden)

    return forbid


def contents(folder):
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_finished_run_tells_the_same_again_and_nothing_is_judged_or_written(evaluate, idle):
    _, as_json, _ = evaluate(f"{ASKED} --json")
    before = contents("here")
    idle()
    code, again, err = evaluate(f"{ASKED} --json --table docs/table.md")
    assert code == 0, err
    assert json.loads(again) == json.loads(as_json)
    assert "is finished" in err
    assert Path("docs/table.md").read_bytes() == before["table.md"]
    code, printed, err = evaluate(ASKED)
    assert code == 0, err
    assert f"{AverageDrop().column} ↓" in printed
    assert contents("here") == before


def test_a_finished_run_of_something_else_is_refused_and_force_replaces_it(evaluate):
    evaluate(ASKED)
    before = contents("here")
    code, _, err = evaluate(f"{ASKED} --fill blur")
    assert (code, "finished run" in err) == (2, True)
    assert contents("here") == before
    code, _, err = evaluate(f"{ASKED} --force")
    assert (code, "forward passes in all" in err) == (0, True)


def test_a_finished_run_is_not_that_of_photos_which_have_changed(evaluate, idle):
    evaluate(ASKED)
    idle()
    Image.new("RGB", (32, 40), "red").save("photos/n01.png")
    code, out, err = evaluate(ASKED)
    assert (code, out) == (2, "")
    assert "photos have changed since the run was finished: 1 of 6" in err
    assert "n01.png" in err


def test_a_finished_run_in_which_something_failed_ends_as_it_did_and_says_what_was_skipped(evaluate, idle):
    Path("photos/n05.png").write_bytes(b"no picture")
    command = f"photos --classifier cnn --methods cdam,grad-cam {FEW} --run here --json"
    first = evaluate(command)
    idle()
    code, again, _ = evaluate(command)
    assert (first[0], code) == (1, 1)
    assert json.loads(again) == json.loads(first[1])
    assert "cdam" in json.loads(again)["skipped"]


def stopped(evaluate, monkeypatch, command, calls):
    """A run that is stopped at that call of `judge`."""
    plain, made = contest.judge, []

    def stopping(*given, **named):
        made.append(given)
        if len(made) == calls:
            raise KeyboardInterrupt
        return plain(*given, **named)

    with monkeypatch.context() as broken:
        broken.setattr(contest, "judge", stopping)
        assert evaluate(command)[0] == 1


def announced(err):
    """Method → photos and passes, and the sentence about all of them."""
    lines = [line for line in err.splitlines() if "forward passes" in line]
    methods = {line.split(":")[0].strip(): line.partition(": ")[2] for line in lines if line.startswith("  ")}
    return methods, lines[-1].partition(";")[0]


def test_a_run_that_goes_on_announces_what_is_left(evaluate, monkeypatch):
    """Of four photos two are asked again: a method takes three calls, for the first, the second and the others."""
    command = "photos.csv --methods attention,rollout --metrics deletion,class-sensitivity --steps 3 --again-photos 2"
    _, _, err = evaluate(f"{command} --run whole")
    whole, in_all = announced(err)
    assert whole.pop("rollout") == "4 photos, 46 forward passes"  # 4 · (3 + 2 · 3 + 1), and 2 · 3 again
    assert whole == dict.fromkeys(whole, "4 photos, 34 forward passes")  # 4 · (1 + 2 · 3 + 1), and 2 · 1 again
    assert (len(whole), in_all) == (5, "forward passes in all: 216")
    stopped(evaluate, monkeypatch, f"{command} --run here", 6)
    _, _, err = evaluate(f"{command} --run here")
    left, in_all = announced(err)
    assert left.pop("rollout") == "2 photos, 20 forward passes"
    assert left.keys() == whole.keys() - {"attention"}
    assert in_all == f"forward passes left, of 216: {216 - 34 - 26}"


def test_a_run_that_goes_on_announces_the_maps_that_it_compares_once_more(evaluate, monkeypatch):
    command = "photos.csv --methods attention --metrics gini,rank-correlation --again-photos 2 --run here"
    stopped(evaluate, monkeypatch, command, 4)
    _, _, err = evaluate(command)
    left, _ = announced(err)
    assert left.pop("maps of photos that were judged before, to compare methods") == "2 forward passes"
    assert left.keys() == {"random", "centre", "edges", "ones"}
    unfinished("here")
    assert announced(evaluate(command)[2]) == ({}, "forward passes left, of 20: 0")


@pytest.mark.parametrize("methods", ["cdam", "cdam,rollout", "trained:nowhere"])
def test_none_of_the_methods_that_can_be_made_is_wrong_use_before_any_work(evaluate, monkeypatch, idle, methods):
    monkeypatch.setitem(registry._OWN, "trained", f"{Trained.__module__}:Trained")
    idle()
    code, _, err = evaluate(f"photos --classifier cnn --methods {methods} {FEW} --run here")
    assert code == 2
    assert "none of the methods can be made" in err
    assert all(f"{name}: " in err for name in methods.split(","))
    assert not Path("here").exists()


def test_a_run_that_stands_there_is_not_replaced_where_no_method_can_be_made(evaluate):
    evaluate(ASKED)
    before = contents("here")
    assert evaluate(f"photos --classifier cnn --methods cdam {FEW} --run here --force")[0] == 2
    assert contents("here") == before


@pytest.mark.parametrize(("methods", "judged"), [("random,cdam", 4), ("cdam,grad-cam", 5), ("ones", 4)])
def test_methods_that_can_be_made_are_judged_a_control_that_was_asked_for_too(evaluate, methods, judged):
    code, out, err = evaluate(f"photos --classifier cnn --methods {methods} {FEW} --json")
    assert code == 0, err
    assert len(methods_of(json.loads(out))) == judged


def test_a_method_that_fits_one_of_several_classifiers_is_judged_there(evaluate):
    code, out, err = evaluate(f"photos --classifier vit,cnn --across-models --methods cdam {FEW} --json")
    assert code == 0, err
    assert list(json.loads(out)["skipped"]) == ["cdam on cnn"]


def facts_of(page):
    return [line.removeprefix("- ") for line in page.partition("\n\nMeans over")[0].splitlines()[2:]]


def test_the_page_says_where_its_numbers_come_from_without_paths_of_the_machine(evaluate, monkeypatch):
    monkeypatch.setitem(registry._OWN, "trained", f"{Trained.__module__}:Trained")
    here = Path.cwd()
    Path("it").write_bytes(b"")
    text = Path("photos.csv").read_text(encoding="utf-8").splitlines()
    Path("photos.csv").write_text("\n".join([f"{text[0]},split", *(f"{line},val" for line in text[1:]), ""]))
    asked = f"--methods trained:{here}/it,trained:{here}/gone,attention --steps 3 --level grid --seed 7"
    options = "--slow-photos 11 --again-photos 12 --metrics deletion --where split=val --run here"
    code, _, err = evaluate(f"{here}/photos.csv {asked} {options}")
    assert code == 0, err
    manifest = read_run(Path("here")).manifest
    page = Path("here/table.md").read_text(encoding="utf-8")
    facts = facts_of(page)
    assert facts[0] == f"Classifier vit, hash {manifest['classifiers']['vit'][:12]}."
    assert facts[1] == "Photos: photos.csv, where split=val; 6 in all."
    assert facts[2] == "Slow methods, of more than 50 passes: at most 11 photos."
    assert facts[3] == "Asked again: at most 12 photos, slow methods 3."
    assert facts[4].startswith("Curves: 3 steps at grid level, fill black; ")
    assert facts[5:7] == ["Precision float32, seed 7.", f"Judged by regard {manifest['versions']['regard']}."]
    assert "Colour(" not in page
    assert str(here) not in page
    assert "| trained:it |" in page
    assert "Skipped: trained:gone: its file is missing" in page


@pytest.mark.parametrize("source", ["photos", "photos/", "./photos", "photos/../photos", "photos/x/.."])
def test_photos_are_called_by_their_folder_however_it_was_written(evaluate, source):
    Path("photos/x").mkdir()
    evaluate(f"{source} --methods attention --metrics gini --limit 3 --run here")
    page = Path("here/table.md").read_text(encoding="utf-8")
    assert facts_of(page)[1] == "Photos: photos, at most 3, spread evenly; 3 in all."


def test_the_page_of_a_finished_run_names_the_version_that_judged(evaluate):
    evaluate(ASKED)
    manifest = Path("here/manifest.json")
    told = json.loads(manifest.read_text(encoding="utf-8"))
    told["versions"]["regard"] = "0.0.9"
    manifest.write_text(json.dumps(told), encoding="utf-8")
    evaluate(f"{ASKED} --table again.md")
    assert "Judged by regard 0.0.9." in Path("again.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("run", ["photos.csv", "photos.csv/here", "a" * 300])
def test_a_run_folder_that_cannot_be_made_is_said_in_words(evaluate, run):
    code, _, err = evaluate(f"photos --methods attention {FEW} --run {run}")
    assert code == 2
    assert f"the folder {run!r} cannot be written" in err
    assert ("'photos.csv' is a file" in err) == run.startswith("photos.csv")
    assert "Traceback" not in err


def masked(damaged):
    for photo in Path("photos").iterdir():
        Path("masks").mkdir(exist_ok=True)
        mask = Image.effect_noise((32, 40), 90)
        mask.save(Path("masks", photo.name))
    whole = Path("masks", damaged).read_bytes()
    start = whole.index(b"IDAT") + 4
    Path("masks", damaged).write_bytes(whole[:start] + b"\0" * 40 + whole[start + 40 :])


def test_a_mask_whose_picture_is_damaged_fails_its_photo_alone(evaluate):
    masked("n02.png")
    command = "photos --masks masks --methods attention --metrics gini,mass-inside --json"
    code, out, err = evaluate(f"{command} --run here")
    assert code == 1, err
    rows = [row for row in read_run(Path("here")).rows if row["kind"] == "judged"]
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["image"] for row in failed} == {"photos/n02.png"}
    assert all("n02.png' is damaged" in row["error"] for row in failed)
    assert {(one["failed"], one["mass-inside"]["photos"]) for one in methods_of(json.loads(out))} == {(1, 5)}
    code, out, err = evaluate("photos --masks masks --methods attention --metrics gini --json")
    assert code == 0, err
    assert {one["gini"]["photos"] for one in methods_of(json.loads(out))} <= {6, 5}


@pytest.mark.parametrize("content", [b"", b"no picture", "half"], ids=["empty", "text", "half"])
def test_a_list_of_boxes_with_a_bad_photo_fails_that_photo_alone(evaluate, content):
    photo = Path("photos/n02.png")
    photo.write_bytes(photo.read_bytes()[:150] if content == "half" else content)
    shutil.copy("photos.csv", "boxes.csv")
    code, out, err = evaluate("photos --boxes boxes.csv --methods attention --metrics pointing-game --json --run here")
    assert code == 1, err
    (failed,) = [row for row in read_run(Path("here")).rows if row["status"] == "failed"]
    assert (failed["kind"], failed["image"]) == ("gate", "photos/n02.png")
    assert {one["pointing-game"]["photos"] for one in methods_of(json.loads(out))} == {5}


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("max-sensitivity", ["max-sensitivity"]),
        ("max-sensitivity:seed=5", ["max-sensitivity"]),
        ("max-sensitivity,max-sensitivity:seed=0", ["max-sensitivity", "max-sensitivity-seed-0"]),
        ("max-sensitivity:seed=3", ["max-sensitivity-seed-3"]),
        ("randomisation:part=last block", ["randomisation-last-block"]),
    ],
)
def test_a_seed_stands_in_the_name_of_a_column_where_it_is_not_that_of_the_table(evaluate, asked, named):
    command = f"photos.csv --methods attention --metrics '{asked}' --again-photos 2 --seed 5 --run here"
    code, out, err = evaluate(f"{command} --json")
    assert code == 0, err
    (table,) = json.loads(out)["tables"]
    assert list(table["metrics"]) == named
    assert all(set(named) <= one.keys() for one in table["methods"])
    rows = [row for row in read_run(Path("here")).rows if row["kind"] == "judged"]
    for one in table["metrics"].values():
        assert one["column"] in rows[0]
    page = Path("here/table.md").read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("- `")] == named


def test_rows_keep_the_seed_in_their_columns_and_the_page_says_so(evaluate):
    evaluate("photos.csv --methods attention --metrics max-sensitivity --again-photos 2 --seed 5 --run here")
    assert "max-sensitivity-seed-5" in read_run(Path("here")).rows[-1]
    assert "In rows: `max-sensitivity-seed-5`." in Path("here/table.md").read_text(encoding="utf-8")
