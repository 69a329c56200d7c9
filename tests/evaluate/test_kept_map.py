"""What an evaluation keeps of its maps and curves."""

import functools
from dataclasses import replace

import pytest
import torch

import regard
from regard.evaluate.contest import contested
from regard.evaluate.gate import answered
from regard.evaluate.judge import Entrant, Protocol
from regard.evaluate.kept_map import LONGEST, keep_map
from regard.evaluate.known_photo import KnownPhoto
from regard.evaluate.plan import Planned
from regard.explainers.explainer import Explainer, Found
from regard.explanation import Explanation
from regard.fills import Mean
from regard.metrics.of_curves import Deletion, Insertion
from regard.metrics.of_maps import Gini
from regard.runs import Run, read_run

from .pictures import photos_in, tiny_vit

PROTOCOL = Protocol((Deletion(), Insertion()), Mean(), 4, "grid", 0)


@pytest.fixture(scope="module")
def classifier():
    return tiny_vit()


@pytest.fixture
def answers(classifier, tmp_path):
    return answered(classifier, [KnownPhoto(path) for path in photos_in(tmp_path / "photos", 3)])


def judged(kind, classifier, answers, folder, protocol=PROTOCOL):
    run = Run.open(folder, "evaluate", {})
    entrant = Entrant(kind.name, functools.partial(kind), kind(classifier))
    contested(run, Planned(entrant, tuple(answers), 0, frozenset(), 0, 0, 0), protocol, lambda _: None)
    return run.folder, [row for row in run.rows() if row["kind"] == "judged"]


def test_a_map_is_kept_to_the_last_bit(classifier, answers, tmp_path):
    found = regard.CDAM(classifier)(answers[0].photo.path, 0)
    assert torch.equal(Explanation.load(tmp_path / keep_map(tmp_path, "cdam", "photo", found)).maps, found.maps)


def test_every_judged_map_is_kept_without_its_picture(classifier, answers, tmp_path):
    folder, rows = judged(regard.CDAM, classifier, answers, tmp_path / "run")
    for row in rows:
        kept = Explanation.load(folder / row["maps"])
        found = regard.CDAM(classifier)(row["image"], row["class_index"])
        assert torch.allclose(kept.maps, found.maps, atol=1e-6)
        assert kept.geometries == found.geometries
        assert [answer.name for answer in kept.targets[0]] == [row["target"]]
        assert len(kept.pictures) == 0
        assert (folder / row["maps"]).stat().st_size < 4_000
    assert len({row["maps"] for row in rows}) == 3


def test_a_finer_map_is_averaged_over_cells(classifier, answers, tmp_path):
    found = regard.CDAM(classifier)(answers[0].photo.path, 0)
    fine = replace(found, maps=torch.randn(1, 1, 3 * LONGEST, 2 * LONGEST, generator=torch.Generator().manual_seed(0)))
    kept = Explanation.load(tmp_path / keep_map(tmp_path, "fine", "photo", fine)).maps
    cells = fine.maps.double().reshape(LONGEST, 3, LONGEST, 2).mean(dim=(1, 3))
    assert kept.shape == (1, 1, LONGEST, LONGEST)
    assert torch.allclose(kept[0, 0].double(), cells, atol=1e-6)


def test_names_that_look_alike_have_files_of_their_own(classifier, answers, tmp_path):
    found = regard.CDAM(classifier)(answers[0].photo.path, 0)
    names = [("a:b", "x/y.png"), ("a-b", "x/y.png"), ("a:b", "x-y.png"), ("\udcff/../..", "../../\udcff")]
    files = {keep_map(tmp_path, *name, found) for name in names}
    assert len(files) == 4
    assert all((tmp_path / file).resolve().is_relative_to(tmp_path / "maps") for file in files)


def test_the_area_under_the_kept_curve_is_the_number_beside_it(classifier, answers, tmp_path):
    _, rows = judged(regard.CDAM, classifier, answers, tmp_path / "run")
    for row in rows:
        for curve in ("deletion", "insertion"):
            values = torch.tensor(row[f"{curve} curve"], dtype=torch.float64)
            assert len(values) == PROTOCOL.steps + 1
            assert row[curve] == pytest.approx(float(torch.trapezoid(values, dx=1 / PROTOCOL.steps)), abs=1e-12)
        assert row["deletion curve"][0] == row["insertion curve"][-1] == pytest.approx(row["probability"], abs=1e-6)


def test_without_curves_there_are_none_and_a_map_of_nan_is_not_kept(classifier, answers, tmp_path):
    class Broken(Explainer):
        name = "broken"

        def _explain(self, pixels, question):
            return Found(torch.full((len(pixels), 1, 4, 4), torch.nan), self.classifier.respond(pixels))

    gini = replace(PROTOCOL, metrics=(Gini(),))
    _, rows = judged(regard.Random, classifier, answers, tmp_path / "run", gini)
    assert all("deletion curve" not in row and row["maps"] for row in rows)
    _, rows = judged(Broken, classifier, answers, tmp_path / "broken", gini)
    assert [row["status"] for row in rows] == ["not finite"] * 3
    assert [row["maps"] for row in rows] == [None] * 3


def test_a_stopped_evaluation_goes_on_to_all_its_maps_and_curves(classifier, answers, tmp_path):
    whole, rows = judged(regard.CDAM, classifier, answers, tmp_path / "whole")
    part, _ = judged(regard.CDAM, classifier, answers[:1], tmp_path / "part")
    again, resumed = judged(regard.CDAM, classifier, answers, part)
    assert [row["maps"] for row in resumed] == [row["maps"] for row in rows]
    for row, other in zip(resumed, rows, strict=True):
        kept, made = (Explanation.load(run / row["maps"]).maps for run in (again, whole))
        assert torch.allclose(kept, made, atol=1e-6)
        assert row["deletion curve"] == pytest.approx(other["deletion curve"], abs=1e-6)


def test_curves_live_in_the_rows_of_a_finished_run_and_not_in_its_index(classifier, answers, tmp_path):
    folder, rows = judged(regard.CDAM, classifier, answers, tmp_path / "run")
    Run.open(folder, "evaluate", {}).finish()
    assert [row["insertion curve"] for row in read_run(folder).rows] == [row["insertion curve"] for row in rows]
    head = (folder / "index.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "deletion" in head.split(",")
    assert "curve" not in head


def test_steps_that_fall_together_on_a_coarse_grid_keep_their_shares(classifier, answers, tmp_path):
    _, rows = judged(regard.CDAM, classifier, answers, tmp_path / "run", replace(PROTOCOL, steps=24))
    for row in rows:  # 16 cells in 24 steps
        shares, values = (torch.tensor(row[name], dtype=torch.float64) for name in ("curve shares", "insertion curve"))
        assert shares.tolist() == [count / 16 for count in range(17)]
        assert row["insertion"] == pytest.approx(float(torch.trapezoid(values, shares)), abs=1e-12)


def test_maps_are_kept_of_as_many_photos_as_a_report_shows(classifier, answers, tmp_path, monkeypatch):
    monkeypatch.setattr("regard.evaluate.contest.PHOTOS", 2)
    _, rows = judged(regard.CDAM, classifier, answers, tmp_path / "run")
    assert sorted(bool(row["maps"]) for row in rows) == [False, True, True]
