"""`fit_reid` from photos of persons to a network that finds others: its figures, its run, what it refuses."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from torch.nn import functional

import regard
from regard.errors import ClassifierError, MetricError, RunError, UnsupportedError
from regard.runs import read_run
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.reid.figures import Found
from regard.training.reid.fit import fit_reid
from regard.training.reid.sightings import of_use

from ..metrics.test_retrieval import by_loops
from .persons import LEARNT, recipe_of, sightings, start
from .tasks import bits


class Killed(BaseException):
    """What no handler sees: a training that ends with it is as one that was killed."""


def stopping(after, reason):
    """Progress that ends a training before the step of that number."""

    def track(_, parts):
        for part in parts:
            if part == after:
                raise reason
            yield part

    return track


SEEN = sightings()
RECIPE = recipe_of(epochs=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reid") / "run"
    return fit_reid(start(), SEEN, recipe=RECIPE, seed=3, run=folder), folder


def test_its_figures_are_those_of_plain_loops_over_the_embeddings_behind_the_neck(trained):
    classifier, found = trained[0].classifier, trained[0].found
    queries, gallery = of_use(SEEN, "query"), of_use(SEEN, "gallery")

    class Plain:
        def __init__(self, some):
            joined = classifier.network.represent(classifier.prepare([each.photo for each in some])).joined()
            self.embeddings = joined.detach()
            self.persons, self.cameras = [each.identity for each in some], [each.camera for each in some]

    expected = by_loops(Plain(queries), Plain(gallery))
    assert found.value("mAP") == pytest.approx(sum(value for value, _ in expected) / 3, abs=1e-6)
    assert found.value("rank-1") == pytest.approx(sum(place == 1 for _, place in expected) / 3)
    assert [figure.name for figure in found.figures] == ["mAP", "rank-1", "rank-5", "rank-10"]
    assert (found.queries, found.unanswerable, found.gallery) == (3, 0, 15)
    assert all(figure.photos == 3 and 0 < figure.chance < 1 for figure in found.figures)
    assert trained[0].before != found


def test_it_gives_a_classifier_of_the_persons_learnt_that_a_file_keeps(trained, tmp_path):
    classifier = trained[0].classifier
    assert classifier.labels == [*LEARNT]
    assert classifier.name == "tiny, BR-NPA, re-ID"
    assert not classifier.network.training
    trained[0].save(tmp_path / "persons.safetensors")
    again = regard.load(tmp_path / "persons.safetensors", network=start().network)
    pixels = again.prepare([each.photo for each in SEEN[:4]])
    assert torch.allclose(again.embed(pixels), classifier.embed(pixels), atol=1e-6)
    assert torch.allclose(again(pixels), classifier(pixels), atol=1e-6)
    assert "mAP" in trained[0].summary


def test_a_match_is_explained_by_what_each_rank_adds_to_its_cosine(trained):
    classifier = trained[0].classifier
    query, match = (classifier.prepare(SEEN[place].photo) for place in (18, 21))
    reference = classifier.embed(query)[0]
    explanation = regard.BRNPA(classifier)(match, regard.Similarity(reference))
    cosine = functional.cosine_similarity(classifier.embed(match)[0], reference, dim=0)
    assert float(explanation.ranks.shares[0, 0].sum()) == pytest.approx(float(cosine), abs=1e-5)


def test_the_start_and_the_teacher_stay_as_they_are_and_a_student_is_finer(trained):
    teacher = trained[0].classifier
    begun, before = start(), (teacher.hash_anew(), start().hash)
    fit_reid(begun, SEEN, recipe=recipe_of(epochs=1))
    student = fit_reid(teacher, SEEN, teacher=teacher, recipe=recipe_of(epochs=1, strides=(1,)))
    assert trained[0].taught is None
    assert student.taught == trained[0].found
    assert (teacher.hash_anew(), begun.hash_anew()) == before
    assert student.classifier.grid == (16, 8)
    assert teacher.grid == (8, 4)
    assert all(weight.grad is None for weight in teacher.network.parameters())


@pytest.mark.parametrize("pooling", ["bilinear", "branch", "mean"])
def test_what_it_is_compared_with_takes_no_draw_of_the_callers_and_is_called_by_its_name(pooling):
    recipe = recipe_of(pooling=pooling, count=2 if pooling == "bilinear" else 1, epochs=1)
    called = {"bilinear": "B-CNN", "branch": "ABN", "mean": "mean"}[pooling]
    begun, drawn = start(), torch.get_rng_state()
    teacher = fit_reid(begun, SEEN, recipe=recipe).classifier
    student = fit_reid(teacher, SEEN, teacher=teacher, recipe=replace(recipe, strides=(1,))).classifier
    assert torch.get_rng_state().equal(drawn)
    assert (teacher.name, student.name) == (f"tiny, {called}, re-ID", f"tiny, {called}, re-ID, 16×8")
    torch.rand(3)
    assert bits(fit_reid(begun, SEEN, recipe=recipe).classifier.network) == bits(teacher.network)


def test_no_step_is_of_one_person_alone(tmp_path):
    """Three persons in steps of two: the third is in the first step, too, or there would be nobody to compare."""
    trained = fit_reid(start(), SEEN, recipe=recipe_of(epochs=2, batch=2), run=tmp_path / "run")
    assert (trained.training["persons"], trained.training["steps"]) == (3, 2)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text("utf-8").splitlines()]
    triplets = [line["means"]["triplet"] for line in log if line["event"] == "step"]
    assert len(triplets) == 2
    assert all(mean > 0 for mean in triplets)


def test_what_is_no_recipe_or_classifier_of_this_training_is_refused():
    for given, error, said in (
        ({"recipe": BRNPARecipe()}, UnsupportedError, "another recipe"),
        ({"teacher": "teacher.safetensors"}, ClassifierError, "the teacher of this training is no Classifier"),
    ):
        with pytest.raises(error, match=said):
            fit_reid(start(), SEEN, **given)
    with pytest.raises(ClassifierError, match="the start of this training is no Classifier"):
        fit_reid("start.safetensors", SEEN)


def test_the_run_has_a_row_a_query_and_is_read_back(trained):
    done, folder = trained
    run = read_run(folder)
    assert [row["target"] for row in run.rows] == ["dot", "eve", "fay"]
    mean = sum(row["average_precision"] for row in run.rows) / 3
    assert mean == pytest.approx(done.found.value("mAP"))
    assert run.manifest["found"] == json.loads(json.dumps(asdict(done.found)))
    assert not list(folder.glob("checkpoint*"))
    again = fit_reid(
        start(), SEEN, recipe=RECIPE, seed=3, run=folder, tracked=lambda *_: pytest.fail("it is trained again")
    )
    assert bits(again.classifier.network) == bits(done.classifier.network)
    assert (again.found, again.before, again.taught) == (done.found, done.before, None)
    with pytest.raises(RunError):
        fit_reid(start(), SEEN, recipe=RECIPE, seed=4, run=folder)


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), Killed()], ids=["Ctrl-C", "killed"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(reason, trained, tmp_path):
    with pytest.raises(type(reason)):
        fit_reid(start(), SEEN, recipe=RECIPE, seed=3, run=tmp_path / "run", tracked=stopping(1, reason))
    again = fit_reid(start(), SEEN, recipe=RECIPE, seed=3, run=tmp_path / "run")
    assert bits(again.classifier.network) == bits(trained[0].classifier.network)
    assert again.found == trained[0].found


def test_the_order_of_the_sightings_changes_nothing(trained):
    learnt = [*reversed(of_use(SEEN, "train"))]
    again = fit_reid(start(), [*learnt, *[each for each in SEEN if each.split != "train"]], recipe=RECIPE, seed=3)
    assert bits(again.classifier.network) == bits(trained[0].classifier.network)


def test_queries_that_cannot_be_answered_are_counted():
    lonely = replace(SEEN[-1], identity="gus", split="query")
    found = fit_reid(start(), [*SEEN[:-1], lonely], recipe=recipe_of(epochs=1)).found
    assert (found.queries, found.unanswerable, found.figures[0].photos) == (4, 1, 3)
    assert Found.of_words(json.loads(json.dumps(asdict(found)))) == found


def test_nothing_to_be_answered_and_nobody_left_to_be_learnt_are_refused(tmp_path):
    blind = [replace(each, camera="0") for each in SEEN]
    with pytest.raises(MetricError, match="no query can be answered"):
        fit_reid(start(), blind, recipe=RECIPE, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ClassifierError, match="both learnt and examined"):
        fit_reid(start(), [*SEEN, replace(SEEN[0], split="gallery")], recipe=RECIPE)


def test_photos_that_cannot_be_read_are_left_out_with_a_warning(tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8torn")
    Image.new("RGB", (20, 40)).save(tmp_path / "black.png")
    torn = [replace(SEEN[0], photo=tmp_path / "torn.jpg"), replace(SEEN[1], photo=tmp_path / "black.png")]
    with pytest.warns(UserWarning, match="1 photos cannot be read"):
        found = fit_reid(start(), [*torn, *SEEN[2:]], recipe=recipe_of(epochs=1))
    assert [*found.unreadable] == [f"{tmp_path / 'torn.jpg'}"]
    assert found.training["photos"] == 17
    torn = [replace(each, photo=tmp_path / "torn.jpg") if each.identity == "ann" else each for each in SEEN]
    for given, lost, said in ((torn, 6, "no photo of some persons"), ([SEEN[0], *torn[1:]], 5, "two photos or more")):
        with (
            pytest.warns(UserWarning, match=f"{lost} photos cannot be read"),
            pytest.raises(ClassifierError, match=said),
        ):
            fit_reid(start(), given, recipe=recipe_of(epochs=1))


@pytest.mark.data
def test_the_sample_beside_the_repository_is_read(shared_data):
    import csv

    from regard.training.reid.figures import embedded, found_in
    from regard.training.reid.sightings import Sighting

    folder = shared_data / "reid-conreid-sample"
    with (folder / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["label"]) < 3]
    seen = [Sighting(folder / row["file"], row["person_id"], row["camera"], row["split"]) for row in rows]
    parts = [embedded(start(), of_use(seen, use)) for use in ("query", "gallery")]
    found, each = found_in(*parts, seed=0)
    assert (found.queries, len(each), found.unanswerable) == (3, 3, 0)
