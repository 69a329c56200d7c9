"""benchmarks/study_brnpa.py on a tiny network: what is kept of trainings, of maps and of ranks."""

import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

import regard
from regard.fills import Blur
from regard.metrics.sparsity import gini

from ..training.brnpa_trainings import LABELS, NAMES, PHOTOS
from .rows import SET, study_of


def test_a_row_holds_the_answers_of_the_network_that_is_kept_to_the_photos_of_the_test_split(study, trained):
    for name, row in trained.items():
        network = study.network(name, SET, 0)
        files = [study.data / photo for photo in row["photos"]]
        assert sorted(int(file.stem) for file in files) == [n for n in range(len(PHOTOS)) if n % 4 == 0][: len(files)]
        assert [NAMES[index] for index in row["truth"]] == [LABELS[int(file.stem)] for file in files]
        assert torch.tensor(row["logits"]) == pytest.approx(
            network(network.prepare(files)).detach(), rel=1e-4, abs=1e-5
        )
        assert set(row["heads"]) == {"1", "2", "3", "1+2", "2+3"}
    assert trained["teacher"]["taught"] is None
    assert trained["student"]["taught"] == trained["teacher"]["logits"]


def test_a_training_that_was_killed_before_its_row_was_written_is_done_again_to_the_same_answers(
    benchmarks, study, trained
):
    case = benchmarks["cases"].CLAIMED[0]
    file = study.file(SET, case.name, 0)
    file.rename(file.with_suffix(".aside"))
    again = study.train(case, SET, 0)
    assert again["logits"] == trained["teacher"]["logits"]
    assert again["heads"] == trained["teacher"]["heads"]


@pytest.mark.parametrize(
    ("name", "start"), [("student", "teacher of 2"), ("14×14 from ImageNet, distilled", "regard:efficientnet-lite0")]
)
def test_a_student_of_a_seed_learns_from_the_teacher_of_that_seed(benchmarks, tmp_path, monkeypatch, name, start):
    cases, asked = benchmarks["cases"], []
    study = study_of(benchmarks, tmp_path, {})
    answers = SimpleNamespace(student=torch.zeros(0, 2), teacher=None, watched={})
    trained = SimpleNamespace(
        examined=SimpleNamespace(photos=[], truth=torch.zeros(0), answers=answers),
        epochs=1,
        training={"epoch_chosen": 1},
    )
    monkeypatch.setattr(cases, "_published", lambda name: name)
    monkeypatch.setattr(cases.Study, "network", lambda _, name, of, seed: f"{name} of {seed}")
    monkeypatch.setattr(
        cases, "fit_brnpa", lambda start, *_, teacher, seed, **how: asked.append((start, teacher, seed)) or trained
    )
    study.train(next(case for case in cases.CASES if case.name == name), SET, 2)
    assert asked == [(start, "teacher of 2", 2)]


def test_a_network_that_is_gone_is_trained_again_to_the_same_answers(study, trained):
    before = study.network("teacher", SET, 0)
    shutil.rmtree(study.networks / SET / "teacher-0")
    again = study.network("teacher", SET, 0)
    pixels = again.prepare(study.data / trained["teacher"]["photos"][0])
    assert torch.equal(again(pixels), before(pixels))


def test_parts_sum_to_the_logits_and_a_mirrored_photo_mirrored_again_has_the_same_places(benchmarks, study, trained):
    measures = benchmarks["measures"]
    found = measures.ranks_of(study, "student", SET, 0)
    assert np.sum(found["parts"], axis=2) == pytest.approx(np.array(trained["student"]["logits"]), abs=1e-5)
    down, across = found["grid"]
    places = np.array(found["places"])
    assert places.shape == (len(trained["student"]["truth"]), 3, 2)
    assert (places < [down, across]).all()
    _, back = measures.CHANGES["mirrored"]
    assert back(torch.tensor([[[0, 0], [1, across - 1]]]), across).tolist() == [[[0, across - 1], [1, 0]]]


def test_what_is_kept_of_ranks_is_that_of_their_maps(benchmarks, study, trained):
    found, network = benchmarks["measures"].ranks_of(study, "student", SET, 0), study.network("student", SET, 0)
    pixels = network.prepare([study.data / photo for photo in trained["student"]["photos"]])
    (_, across), places = found["grid"], np.array(found["places"])
    with torch.no_grad():
        assert (places[..., 0] * across + places[..., 1]).tolist() == network.represent(pixels)[0].indices.tolist()
    maps, mirrored = (regard.BRNPA(network)(each).ranks.maps for each in (pixels, pixels.flip(3)))
    for rank in range(3):
        expected = stats.spearmanr(maps[0, rank].flatten(), mirrored[0, rank].flip(1).flatten()).statistic
        assert found["correlation"][0][rank] == pytest.approx(expected, abs=1e-6)
    assert found["sparsity"]["rank 1, Gini, own"] == pytest.approx(gini(maps[:, 0]).tolist())
    assert found["sparsity"]["mean of ranks, Gini, own"] == pytest.approx(gini(maps.mean(dim=1)).tolist())


def test_a_head_fitted_afterwards_reads_the_vectors_of_its_ranks_of_the_same_photos(benchmarks, study, trained):
    found = benchmarks["heads"].fitted_heads(study, "teacher", SET, 0)
    assert found["photos"] == trained["teacher"]["photos"]
    assert [*found["truth"]] == [*trained["teacher"]["truth"]]
    assert set(found["heads"]) == {"1", "2", "3", "1+2", "2+3", "1+2+3"}
    said = [np.argmax(logits, axis=1) for logits in found["heads"].values()]
    assert np.mean(said[-1] == found["truth"]) > 0.5  # colours are told apart by any features; a third by chance


def test_a_head_of_some_ranks_reads_the_vectors_of_those_ranks(benchmarks, study, trained, monkeypatch):
    heads = benchmarks["heads"]
    vectors = torch.arange(1.0, 4.0)[:, None]  # of rank k all k
    monkeypatch.setattr(heads.Scaling, "of", lambda _: lambda read: read)
    monkeypatch.setattr(heads, "fit", lambda *_: (lambda read: read, None))
    network, files = study.network("teacher", SET, 0), [study.data / photo for photo in trained["teacher"]["photos"]]
    with torch.no_grad():
        assert torch.equal(heads._vectors(network, files), network.represent(network.prepare(files))[0].vectors)
    monkeypatch.setattr(heads, "_vectors", lambda _, photos: vectors.expand(len(photos), 3, 2))
    found = heads.fitted_heads(study, "teacher", SET, 0)["heads"]
    assert {name: {*np.ravel(read)} for name, read in found.items()} == {
        name: {*map(int, name.split("+"))} for name in ("1", "2", "3", "1+2", "2+3", "1+2+3")
    }


def test_another_networks_maps_are_judged_by_the_judges_answers_to_photos_that_it_gets_right(
    benchmarks, study, trained, monkeypatch
):
    measures = benchmarks["measures"]
    monkeypatch.setattr(measures, "STEPS", 2)
    row = trained["teacher"]
    logits = torch.tensor(row["logits"])
    logits[0], logits[1] = -100 * torch.eye(len(NAMES))[row["truth"][0]], 100 * torch.eye(len(NAMES))[row["truth"][1]]
    answers = {"teacher": logits, "student": -logits}  # the explained network is right about others
    monkeypatch.setattr(type(study), "done", lambda _, of, what, seed: {**row, "logits": answers[what].tolist()})
    method = next(
        method for method in measures.CROSSED if method.what == measures.judged_by("teacher", "student's rank 1")
    )
    found = measures.judged(study, method, SET, 0)
    right = (logits.argmax(1) == torch.tensor(row["truth"])).tolist()
    assert not right[0]
    assert right[1]
    assert [not np.isnan(value) for value in found["deletion"]] == right
    clean = torch.tensor(row["logits"]).double().softmax(1)[range(len(right)), row["truth"]].numpy()
    assert np.array(found["clean"])[right] == pytest.approx(clean[right], abs=1e-4)  # rows have five digits


def test_maps_may_be_judged_with_fewer_places(benchmarks, study, trained, monkeypatch):
    measures, seen = benchmarks["measures"], []
    monkeypatch.setattr(measures, "STEPS", 2)
    real = measures.curves
    monkeypatch.setattr(
        measures, "curves", lambda judge, pixels, of, **how: seen.append(of) or real(judge, pixels, of, **how)
    )
    own = next(method for method in measures.CROSSED if method.what == "student's rank 1 judged by student")
    monkeypatch.setattr(measures, "COARSE", (2, 2))
    for method in (own, measures.COARSENED[0]):
        measures.judged(study, method, SET, 0)
    fine, coarse = seen
    side = fine.maps.shape[-1] // 2
    assert coarse.maps.dtype == torch.float32
    for row, column in itertools.product(range(2), repeat=2):
        part = fine.maps[..., row * side : (row + 1) * side, column * side : (column + 1) * side]
        assert coarse.maps[..., row, column] == pytest.approx(part.mean(dim=(2, 3)), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("Grad-CAM", (None, "pixel")),
        ("Grad-CAM, with a blur", (Blur(), "pixel")),
        ("student's rank 1, by whole cells", (None, "grid")),
    ],
)
def test_what_is_kept_of_a_map_are_the_figures_of_its_curves(benchmarks, study, trained, monkeypatch, name, how):
    measures, asked = benchmarks["measures"], []

    def curves(judge, pixels, of, *, fill, level, steps):
        asked.append((fill, level))
        clean, deletion, insertion, half = (
            torch.tensor([0.8, 0.1, 0.6, 0.2]).expand(len(pixels), -1)[..., None].unbind(1)
        )
        areas = {"deletion": deletion, "insertion": insertion}
        return SimpleNamespace(clean=clean, area=areas.get, retained={0.5: half})

    monkeypatch.setattr(measures, "curves", curves)
    methods = {method.name: method for method in (*measures.OTHERS, *measures.BLURRED, *measures.BY_CELLS)}
    found = measures.judged(study, methods[name], SET, 0)
    assert {*asked} == {how}
    for figure, value in {"clean": 0.8, "deletion": 0.1, "insertion": 0.6, "drop": 0.75}.items():
        known = np.array(found[figure])[~np.isnan(found[figure])]
        assert len(known)
        assert known == pytest.approx(value)


def test_a_map_is_that_of_the_network_and_of_the_rank_that_it_is_named_after(benchmarks, monkeypatch):
    measures = benchmarks["measures"]
    monkeypatch.setattr(measures, "BRNPA", lambda network, rank: (network, rank))
    networks = {case.name: case.name for case in benchmarks["cases"].CASES}
    for method in (*measures.CROSSED, *measures.COARSENED, *measures.MOVED, *measures.BY_CELLS, *measures.OWN):
        assert method.name.startswith(measures.of_ranks(*method.explainer(networks)))


def test_where_few_photos_are_taken_they_are_spread_over_all(benchmarks):
    assert benchmarks["measures"]._spread(6, 3).tolist() == [True, False] * 3
    assert (
        benchmarks["measures"]._spread(2, 3).tolist() == benchmarks["measures"]._spread(2, None).tolist() == [True] * 2
    )


def test_maps_are_moved_by_half_a_cell_either_way(benchmarks):
    maps = torch.tensor([[[[0.0, 4.0, 8.0], [2.0, 6.0, 4.0]]]])
    assert benchmarks["measures"]._beside(back=True)(maps).tolist() == [[[[3.0, 5.5, 6.0], [4.0, 5.0, 4.0]]]]
    assert benchmarks["measures"]._beside(back=False)(maps).tolist() == [[[[0.0, 2.0, 6.0], [1.0, 3.0, 5.5]]]]
    for method in benchmarks["measures"].MOVED:
        corner = 3.0 if "back" in method.name else 0.0
        assert method.changed(maps)[0, 0, 0, 0] == corner


def test_activity_is_of_each_photo_by_itself(benchmarks, study, trained):
    found, network = benchmarks["activity"].activity(study, "teacher", SET, 0), study.network("teacher", SET, 0)
    with torch.no_grad():
        pixels = network.prepare([study.data / photo for photo in trained["teacher"]["photos"]])
        norms = network.network.read(pixels).norm(dim=1).flatten(1)
    assert found["variation of norms"] == pytest.approx((norms.std(dim=1, correction=0) / norms.mean(dim=1)).tolist())


def test_ranks_are_alike_by_the_cosine_of_their_vectors_and_the_overlap_of_their_weights(benchmarks):
    activity = benchmarks["activity"]
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]])
    assert activity.alike(vectors).tolist() == pytest.approx([2 * 0.5**0.5 / 3])
    weights = torch.tensor([[[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]])
    assert activity.overlap(weights).tolist() == pytest.approx([(0.5 + 0.5**0.5) / 3])
