"""The run of a head: what was asked, what it is worth, and every answer to a photo held out."""

import hashlib
from pathlib import Path

import pytest
import torch

from regard.errors import RunError
from regard.report.page import page_of
from regard.runs import read_run, see_run
from regard.training import fit_head, read_labelled

from ..explainers.networks import classifier_of, vit
from ..report.reports import Page
from .pictures import write_folder

SEVERAL = {"red": ["warm"], "blue": ["cold", "wet"], "green": []}
MEASURED = {"red": 3.0, "blue": 1.0, "green": 2.0}


@pytest.fixture
def photos(tmp_path):
    write_folder(tmp_path / "photos", 5)
    return sorted((tmp_path / "photos").rglob("*.png"))


def labels_of(photos, outputs):
    names = [photo.parent.name for photo in photos]
    if outputs == "softmax":
        return names
    return [SEVERAL[name] if outputs == "sigmoid" else {"warmth": MEASURED[name]} for name in names]


def trained(photos, folder, outputs="softmax", **settings):
    labels = labels_of(photos, outputs)
    return fit_head(classifier_of(vit()), photos, labels, outputs=outputs, held_out=0.4, run=folder, **settings)


@pytest.mark.parametrize("outputs", ["softmax", "sigmoid", "scalar"])
def test_its_rows_are_what_the_head_answers_to_each_photo(photos, tmp_path, outputs):
    head = trained(photos, tmp_path / "run", outputs)
    rows = {row["image"]: row for row in read_run(tmp_path / "run").rows}
    assert {*rows} == {photo.as_posix() for photo in head.held_out_photos}
    names = head.classifier.labels
    for photo in head.held_out_photos:
        row, (said,) = rows[photo.as_posix()], head.classifier(head.classifier.prepare(photo)).detach().double()
        assert row["photo_sha256"] == hashlib.sha256(photo.read_bytes()).hexdigest()
        if outputs == "scalar":
            assert row["measured warmth"] == MEASURED[photo.parent.name]
            assert row["answered warmth"] == pytest.approx(float(said[0]), abs=1e-4)
        elif outputs == "sigmoid":
            assert row["class"] == (" | ".join(SEVERAL[photo.parent.name]) or "none")
            assert row["answer"] == (
                " | ".join(name for name, value in zip(names, said, strict=True) if value >= 0) or "none"
            )
        else:
            chances = said.exp() / said.exp().sum()
            assert (row["class"], row["answer"]) == (photo.parent.name, names[int(said.argmax())])
            assert row["probability of the class"] == pytest.approx(float(chances[names.index(row["class"])]), abs=1e-5)
            assert row["probability of the answer"] == pytest.approx(float(chances.max()), abs=1e-5)


def test_its_manifest_has_the_figures_and_all_that_they_depend_on(photos, tmp_path):
    head = trained(photos, tmp_path / "run")
    found = read_run(tmp_path / "run")
    assert found.manifest["held_out_figures"]["overall"]["value"] == head.held_out.overall.value
    assert found.manifest["penalty"] == head.training["penalty"]
    asked = found.manifest["configuration"]
    assert (asked["classifier"], asked["classifier_hash"]) == (
        head.training["backbone"],
        head.training["backbone_hash"],
    )
    assert f"{asked['classifier']}, hash {asked['classifier_hash']}" in Page(page_of(see_run(tmp_path / "run"))).text
    other = [*photos[1:], photos[0]]
    trained(other, tmp_path / "again")
    assert read_run(tmp_path / "again").manifest["configuration"] == asked  # whatever their order
    trained(photos[:-1], tmp_path / "fewer")
    assert read_run(tmp_path / "fewer").manifest["configuration"]["photos_digest"] != asked["photos_digest"]
    for number in range(2):
        marks = [place % 2 == number for place in range(len(photos))]
        fit_head(classifier_of(vit()), photos, labels_of(photos, "softmax"), held_out=marks, run=tmp_path / str(number))
    first, second = (read_run(tmp_path / str(number)).manifest["configuration"] for number in range(2))
    assert {name for name in first if first[name] != second[name]} == {"held_out"}


def test_a_name_that_is_no_unicode_costs_no_training(tmp_path):
    write_folder(tmp_path / "photos", 5)
    (tmp_path / "photos" / "red").rename(tmp_path / "photos" / "re\udcffd")
    (tmp_path / "photos" / "blue" / "\udcff.png").write_bytes(b"no photo")
    found = read_labelled(tmp_path / "photos")
    with pytest.warns(UserWarning, match="cannot be read"):
        head = fit_head(classifier_of(vit()), found.photos, found.labels, run=tmp_path / "run")
    head.save(tmp_path / "head.safetensors")
    run = read_run(tmp_path / "run")
    assert [*run.manifest["unreadable"]] == [f"{(tmp_path / 'photos' / 'blue').as_posix()}/\\xff.png"]
    assert "re\\xffd" in {row["class"] for row in run.rows}
    assert Page(page_of(see_run(tmp_path / "run"))).wrong == []


def test_a_run_that_stands_there_is_replaced_by_force_alone_and_refused_before_any_photo_is_read(photos, tmp_path):
    trained(photos, tmp_path / "run")
    with pytest.raises(RunError, match="holds a finished run"):
        fit_head(classifier_of(vit()), [tmp_path / "gone.png"], ["red"], run=tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="other files"):
        trained(photos, tmp_path / "mine", force=True)
    trained(photos, tmp_path / "run", force=True, seed=1)
    assert read_run(tmp_path / "run").manifest["seed"] == 1


@pytest.mark.parametrize("outputs", ["softmax", "sigmoid", "scalar"])
def test_its_report_shows_every_photo_right_and_wrong(photos, tmp_path, outputs):
    head = trained(photos, tmp_path / "run", outputs)
    page = Page(page_of(see_run(tmp_path / "run")))
    cards = page.all("article")
    assert page.wrong == []
    assert len(cards) == len(head.held_out_photos)
    if outputs == "softmax":
        right = sum(row["class"] == row["answer"] for row in read_run(tmp_path / "run").rows)
        assert sum(card["data-verdict"] == "right" for card in cards) == right
        assert "Photos that no training saw" in page.text
    elif outputs == "sigmoid":
        text = page_of(see_run(tmp_path / "run"))
        assert all(f"<option>{name}</option>" in text for name in ("cold", "wet", "warm", "none"))
        assert "<option>cold | wet</option>" not in text
    else:
        assert "measured 3" in page.text


def test_photos_in_memory_are_called_by_their_content(photos, tmp_path):
    arrays = [torch.full((8, 8, 3), 10 * place, dtype=torch.uint8).numpy() for place in range(12)]
    names = ["a", "b"] * 6
    fit_head(classifier_of(vit()), arrays, names, held_out=0.4, run=tmp_path / "run")
    assert all(len(row["image"]) == 64 for row in read_run(Path(tmp_path / "run")).rows)
