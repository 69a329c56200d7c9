"""Places where no results can be written are refused before a classifier is loaded or a photo looked at."""

from pathlib import Path

import pytest

from ..training.pictures import write_folder

COMMANDS = {
    "explain": "explain photos --run {}",
    "compare": "compare photos --run {}",
    "evaluate": "evaluate photos --run {}",
    "train br-npa": "train br-npa photos -c vit --out mine.safetensors --run {}",
    "train br-npa, few-shot": "train br-npa photos --task few-shot -c vit --out mine.safetensors --run {}",
    "train br-npa, re-id": "train br-npa photos --task re-id -c vit --out mine.safetensors --run {}",
    "train tame": "train tame photos -c vit --out mine.safetensors --run {}",
    "train head": "train head photos -c vit --out mine.safetensors --cache {}",
}
PLACES = {
    "a file": ("notes.txt", "'notes.txt' is a file"),
    "under a file": ("notes.txt/here", "'notes.txt' is a file"),
    "an endless name": ("a" * 300, "too long"),
    "a folder of other files": ("photos", "other files and no run"),
}
REFUSED = [
    (command, place)
    for command in COMMANDS
    for place in PLACES
    if (command, place) != ("train head", "a folder of other files")  # a cache is a folder of runs
]


@pytest.mark.parametrize("force", ["", " --force"], ids=["", "force"])
@pytest.mark.parametrize(("command", "place"), REFUSED)
def test_a_place_for_results_that_is_none_is_refused_before_slow_work(
    command, place, force, program, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    write_folder(Path("photos"), 1)
    Path("notes.txt").write_text("mine")
    monkeypatch.setattr("regard.models.catalog.load", lambda *_, **__: pytest.fail("a classifier is loaded"))
    where, said = PLACES[place]
    code, out, err = program(*(COMMANDS[command].format(where) + force).split())
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert Path("notes.txt").read_text() == "mine"
    assert sorted(path.name for path in Path().iterdir()) == ["notes.txt", "photos"]


@pytest.mark.parametrize("training", ["tame", "br-npa"])
def test_the_usual_folder_of_a_training_may_be_in_the_way_too(training, program, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_folder(Path("photos"), 1)
    Path("regard-runs").write_text("mine")
    monkeypatch.setattr("regard.models.catalog.load", lambda *_, **__: pytest.fail("a classifier is loaded"))
    code, _, err = program("train", training, "photos", "-c", "vit", "--out", "mine.safetensors")
    assert (code, "'regard-runs' is a file" in err) == (2, True)
