"""What benchmarks/study_brnpa_tasks.py trains, asks and keeps."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import regard
from regard.metrics.retrieval import Shown
from regard.training import Sighting

from ..explainers.networks import classifier_of, cnn, pixels_of


@pytest.mark.parametrize(("task", "fit"), [("few_shot", "fit_few_shot"), ("reid", "fit_reid")])
def test_a_student_learns_from_the_teacher_of_its_seed(tasks, tmp_path, monkeypatch, task, fit):
    module, asked = getattr(tasks, task), []

    def fitted(*_, teacher, seed, run, **how):
        asked.append((teacher, seed, run.name))
        return SimpleNamespace(classifier=f"of {run.name}")

    monkeypatch.setattr(module, fit, fitted)
    monkeypatch.setattr(module.regard, "load", lambda name: name)
    given = SimpleNamespace(photos=[], names=[], held_out=[])
    keep = tasks.kept.Keep(tmp_path, tmp_path)
    module.trained(module.STUDENT, 2, given, tasks.kept.QUICK, keep)
    taught, learns = (
        keep.run(task.replace("_", "-").replace("reid", "re-id"), name, 2).name
        for name in (module.TEACHER, module.STUDENT)
    )
    assert asked == [(None, 2, taught), (f"of {taught}", 2, learns)]


def test_drawings_are_held_out_by_the_alphabets_of_the_source_s_test(tasks, tmp_path):
    folder = tmp_path / "omniglot-subset"
    folder.mkdir()
    about = {"shape": [4, 4], "alphabets": ["Greek", "Futurama"], "characters": ["alpha", "bender"]}
    about["few_shot_split"] = {"train": ["Greek"], "test": ["Futurama"]}
    (folder / "meta.json").write_text(json.dumps(about), encoding="utf-8")
    ink = np.packbits(np.eye(16)[[0, 15]].astype(np.uint8), axis=1)
    np.savez(folder / "omniglot_small.npz", images_packed=ink, character=[0, 1], alphabet=[0, 1])
    given = tasks.few_shot.drawings(tmp_path)
    assert (given.names, given.held_out) == (["alpha", "bender"], [False, True])
    assert [photo[[0, -1], [0, -1]].tolist() for photo in given.photos] == [[255, 0], [0, 255]]


@pytest.mark.parametrize("shots", [1, 5])
def test_episodes_are_told_by_so_many_drawings_and_by_the_ranks_that_are_asked(tasks, tmp_path, monkeypatch, shots):
    few_shot = tasks.few_shot
    classes = torch.arange(5).repeat_interleave(shots + 5)
    asked = (torch.arange(len(classes)) % (shots + 5) >= shots).long()
    tell, mistake = torch.eye(5)[classes], torch.eye(5)[(classes + asked) % 5]
    vectors = torch.stack([tell, mistake, torch.ones_like(tell)], dim=1)  # rank 1 tells, 2 misleads, 3 knows nothing
    found = SimpleNamespace(classifier=SimpleNamespace(grid=(7, 7)), training={"epoch_chosen": 1})
    monkeypatch.setattr(few_shot, "trained", lambda *_: found)
    monkeypatch.setattr(few_shot, "vectors_of", lambda *_: vectors)
    monkeypatch.setattr(
        few_shot, "places_of", lambda part, recipe, *_: torch.arange(5 * (recipe.shots + recipe.queries)).view(1, 5, -1)
    )
    given = SimpleNamespace(examined=SimpleNamespace(photos=[]))
    case = next(case for case in few_shot.CASES if case.name == few_shot.ALONE)
    row = few_shot.row_of(case, shots, 0, given, tasks.kept.QUICK, tasks.kept.Keep(tmp_path, tmp_path))
    assert (row["ranks"]["1"], row["ranks"]["2"], row["ranks"]["3"]) == ([1.0], [0.0], [0.2])
    assert row["accuracy"] == row["ranks"]["1+2+3"]


def test_vectors_are_those_of_a_photo_s_representatives(tasks, monkeypatch):
    classifier, pixels = regard.BRNPAClassifier(classifier_of(cnn()), ["a", "b"], count=3), pixels_of(3)
    monkeypatch.setattr(regard.BRNPAClassifier, "prepare", lambda _, photos: torch.stack([*photos]))
    monkeypatch.setattr(tasks.few_shot, "BATCH", 2)
    with torch.no_grad():
        found = tasks.few_shot.vectors_of(classifier, pixels)
        assert found == pytest.approx(classifier.represent(pixels)[0].vectors, abs=1e-6)


def test_persons_are_found_by_other_cameras_alone(tasks):
    turned = torch.deg2rad(torch.tensor([0.0, 1.0, 10.0, 5.0]))
    shown = Shown(torch.stack([turned.cos(), turned.sin()], dim=1), ["a", "a", "a", "b"], ["1", "1", "2", "1"])
    found = tasks.reid.answered(shown)
    assert found["mAP"] == pytest.approx([0.5, 0.5, 7 / 12, np.nan], nan_ok=True)  # (1/2 + 2/3) / 2: b, a, a
    assert found["rank-1"] == pytest.approx([0, 0, 0, np.nan], nan_ok=True)
    assert tasks.reid.nearest_right(shown)[:3].tolist() == [2, 2, 1]


def test_persons_are_found_by_the_ranks_that_are_asked(tasks, tmp_path, monkeypatch):
    persons, cameras = ["a", "a", "b", "b"], ["1", "2", "1", "2"]
    person, camera = torch.eye(2)[[0, 0, 1, 1]], torch.eye(2)[[0, 1, 0, 1]]
    vectors = torch.stack([person, camera, torch.ones_like(person)], dim=1)  # rank 1 tells, 2 misleads, 3 knows nothing
    network = SimpleNamespace(pooling=SimpleNamespace(count=3))
    found = SimpleNamespace(
        classifier=SimpleNamespace(grid=(4, 2), network=network), before=SimpleNamespace(value=lambda name: 0.25)
    )
    monkeypatch.setattr(tasks.reid, "trained", lambda *_: found)
    monkeypatch.setattr(tasks.reid, "embedded", lambda *_: Shown(vectors.flatten(1), persons, cameras))
    case = next(case for case in tasks.reid.CASES if case.name == tasks.reid.ALONE)
    row = tasks.reid.row_of(case, 0, [], tasks.kept.QUICK, tasks.kept.Keep(tmp_path, tmp_path))
    assert row["ranks"]["1"]["mAP"] == [1.0] * 4
    assert row["ranks"]["2"]["mAP"] == pytest.approx([1 / 3] * 4)  # the other of two cameras stands first
    assert row["ranks"]["1+2+3"]["mAP"] == row["mAP"]


def test_persons_who_are_looked_for_are_not_learnt(tasks, tmp_path):
    folder = tmp_path / "reid-conreid-sample"
    folder.mkdir()
    lines = [
        f"{person}{camera}.png,{label},{person},{camera}" for label, person in enumerate("abcd") for camera in "12"
    ]
    (folder / "labels.csv").write_text("\n".join(["file,label,person_id,camera", *lines]), encoding="utf-8")
    found = {(each.identity, each.split) for each in tasks.reid.sightings(tmp_path)}
    assert found == {(who, "train") for who in "ac"} | {(who, use) for who in "bd" for use in ("query", "gallery")}


def test_a_drawing_is_compared_with_the_prototype_of_others(tasks, tmp_path, monkeypatch):
    similarity = tasks.similarity
    vectors = torch.eye(2)[[0] * 5 + [1]][:, None]  # of five given drawings alike, and the one that is asked
    monkeypatch.setattr(tasks.few_shot, "trained", lambda *_: SimpleNamespace(classifier="conv-4"))
    monkeypatch.setattr(tasks.few_shot, "vectors_of", lambda _, photos: vectors)
    monkeypatch.setattr(similarity, "places_of", lambda *_: torch.arange(50).view(1, 5, 10))
    given = SimpleNamespace(examined=SimpleNamespace(photos=[*range(50)]))
    how = given, tasks.kept.QUICK, tasks.kept.Keep(tmp_path, tmp_path)
    _, (asked,) = similarity.queries(tasks.few_shot.STUDENT, 0, *how)
    assert (asked.photo, asked.reference.tolist(), asked.target.measure) == (5, [[1.0, 0.0]], "by ranks")


def test_a_photo_of_a_person_is_compared_with_its_nearest_right_match(tasks, tmp_path, monkeypatch):
    similarity = tasks.similarity
    turned = torch.deg2rad(torch.tensor([0.0, 1.0, 10.0, 30.0, 5.0, 50.0]))
    persons, cameras = "aaaabb", "112212"
    shown = Shown(torch.stack([turned.cos(), turned.sin()], dim=1), [*persons], [*cameras])
    seen = [
        Sighting(number, *known, use)
        for number, known in enumerate(zip(persons, cameras, strict=True))
        for use in ("query", "gallery")
    ]
    monkeypatch.setattr(tasks.reid, "trained", lambda *_: SimpleNamespace(classifier="lite"))
    monkeypatch.setattr(similarity, "embedded", lambda _, those: shown)
    how = tasks.kept.Extent(judged=48), tasks.kept.Keep(tmp_path, tmp_path)
    _, asked = similarity.matches(tasks.reid.STUDENT, 0, seen, *how)
    assert [(each.photo, each.about) for each in asked] == [(0, "a"), (2, "a"), (4, "b"), (5, "b")]
    assert torch.equal(torch.stack([each.reference for each in asked]), shown.embeddings[[2, 1, 5, 4]])


def test_the_area_of_each_curve_is_kept_under_its_name(tasks, monkeypatch):
    areas = {"deletion": 0.1, "insertion": 0.6}
    read = SimpleNamespace(clean=torch.tensor([[0.75]]), area=lambda name: areas[name])
    monkeypatch.setattr(tasks.similarity, "curves", lambda *_, **how: read)

    class Explainer:
        classifier = SimpleNamespace(prepare=lambda photos: photos)

        def __call__(self, pixels, targets):
            return None

    asked = tasks.similarity.Asked("photo", torch.ones(2), "a")
    assert tasks.similarity.judged(Explainer(), [asked]) == {"clean": [0.75], "deletion": [0.1], "insertion": [0.6]}


def test_garments_are_learnt_and_examined_on_other_photos_and_every_third_is_never_learnt(tasks, tmp_path):
    folder = tmp_path / "clothing10-sample"
    folder.mkdir()
    lines = [f"{name}-{split}.png,{name},{split}" for name in ("dress", "hat", "shoes") for split in ("train", "test")]
    (folder / "labels.csv").write_text("\n".join(["file,name,split", *lines]), encoding="utf-8")
    found = tasks.side_by_side.clothing(tmp_path)
    parts = ([file.stem for file, _ in part] for part in (found.learnt, found.unseen, found.others))
    assert [*parts] == [["dress-train", "hat-train"], ["dress-test", "hat-test"], ["shoes-train", "shoes-test"]]


def test_networks_of_three_tasks_are_compared_on_photos_that_none_has_learnt(tasks, tmp_path, monkeypatch):
    side, asked = tasks.side_by_side, []
    one, other = (f"br-npa on re-id-{seed}.safetensors" for seed in range(2))
    rows = [
        row
        for place in range(2)
        for row in (
            {"kind": "map", "method": one, "image": "a", "place": place, "compactness": place + 0.2, "gini": 0.5},
            {"kind": "overlap", "method": f"{one} | {other}", "image": "a", "place": place, "rank_correlation": place},
        )
    ]
    monkeypatch.setattr(side, "file_of", lambda task, seed, *_: tmp_path / f"{task}-{seed}.safetensors")
    monkeypatch.setattr(side, "compared", lambda files, photos, *_: asked.extend(photos) or {"rows": rows})
    photos = side.Clothing((("learnt", "hat"),), tuple((number, "hat") for number in range(4)), (("new", "shoes"),))
    row = side.method_row("br-npa", photos, tasks.kept.QUICK, tasks.kept.Keep(tmp_path, tmp_path))
    assert asked == [0, 2]
    assert row["sparsity"] == {"compactness": {"re-id": [0.2]}, "gini": {"re-id": [0.5]}}
    assert row["overlap"] == {"re-id-0 | re-id-1": [0.0]}
