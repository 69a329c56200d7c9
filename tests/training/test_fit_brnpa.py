"""`fit_brnpa` from photos to a classifier: its figures, its run, what it leaves alone, what it refuses."""

import json
import warnings
from dataclasses import asdict

import pytest
import torch
from PIL import Image
from safetensors.torch import save

import regard
from regard.errors import ClassifierError, FileFormatError, PhotoError, RunError, UnsupportedError
from regard.models.batch_norm import remeasured
from regard.runs import read_run
from regard.training.brnpa import fit as brnpa_module
from regard.training.brnpa.answers import ANSWERS
from regard.training.brnpa.figures import AGREEMENT, Worth
from regard.training.brnpa.fit import fit_brnpa
from regard.training.brnpa.plan import Plan
from regard.training.embeddings import fingerprint
from regard.training.parts import parted

from ..explainers.networks import TOKENS_ALIKE, classifier_of, cnn, vit
from .brnpa_trainings import LABELS, NAMES, PHOTOS, normed, part_of, recipe_of, start
from .tasks import bits

RANKS = ((1,), (2, 3))


class Killed(BaseException):
    """What no handler sees: a training that ends with it is as one that was killed."""


def stopping(after, reason):
    """Progress that ends a training before the step of that number."""

    def track(what, parts):
        for part in parts:
            if what == "training" and part == after:
                raise reason
            yield part

    return track


def never(*_):
    pytest.fail("photos are looked at")


@pytest.fixture(scope="module")
def teacher():
    return fit_brnpa(start(), PHOTOS, LABELS, recipe=recipe_of()).classifier


def test_it_gives_a_classifier_that_other_parts_take_and_says_what_it_is_worth(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(brnpa_module, "parted", lambda *given: kept.append(parted(*given)) or kept[-1])
    subject = start()
    before = subject.hash
    heard = []
    trained = fit_brnpa(
        subject,
        PHOTOS,
        LABELS,
        recipe=recipe_of(auxiliary=RANKS, epochs=3),
        seed=3,
        run=tmp_path / "run",
        heard=lambda *told: heard.append(told),
    )
    assert subject.hash == before
    classifier, (parts,) = trained.classifier, kept
    assert classifier.labels == NAMES
    assert classifier.name == "tiny, BR-NPA"
    assert not classifier.network.training
    right = [
        classifier(classifier.prepare(photo)).argmax() == y
        for photo, y in zip(parts.examined.photos, parts.examined.classes, strict=True)
    ]
    overall = trained.worth.held_out.overall
    assert (overall.photos, overall.value) == (len(right), pytest.approx(sum(right) / len(right)))
    assert [figure.name for figure in trained.worth.beside] == ["ranks 1", "ranks 2+3"]
    training = trained.training
    counts = [training[f"photos_{name}"] for name in ("trained_on", "chosen_by", "held_out", "unreadable")]
    assert counts == [15, 3, 6, 0]
    assert len(trained.epochs) == 4
    assert [dict(figures) for _, figures in heard] == [dict(epoch) for epoch in trained.epochs]
    best = min(range(1, 4), key=lambda epoch: trained.epochs[epoch]["cross_entropy"])
    assert training["epoch_chosen"] == best
    pixels = torch.cat([classifier.prepare(photo).as_subclass(torch.Tensor) for photo in parts.chosen_by.photos])
    again = torch.nn.functional.cross_entropy(classifier(pixels).detach(), torch.tensor(parts.chosen_by.classes))
    assert trained.epochs[best]["cross_entropy"] == pytest.approx(float(again), abs=1e-5)
    run = read_run(tmp_path / "run")
    assert [row["epoch"] for row in run.rows if row["image"] == "chosen by"] == [0, 1, 2, 3]
    assert not (tmp_path / "run" / "checkpoints").exists()
    trained.save(tmp_path / "mine.safetensors")
    loaded = regard.load(tmp_path / "mine.safetensors", network=cnn())
    assert loaded.hash == classifier.hash
    assert regard.GradCAM(loaded)(PHOTOS[0]).maps.shape[0] == 1
    assert Worth.of_words(json.loads(json.dumps(asdict(trained.worth)))) == trained.worth


def test_the_answers_to_examined_photos_are_kept_with_the_run(teacher, tmp_path):
    asked = {"teacher": teacher, "recipe": recipe_of(auxiliary=RANKS), "run": tmp_path / "run"}
    once, again = (fit_brnpa(start(), PHOTOS, LABELS, **asked) for _ in range(2))
    photo_of = {fingerprint(photo): photo for photo in PHOTOS}
    photos = [photo_of[mark] for mark in once.examined.photos]
    label_of = {fingerprint(photo): label for photo, label in zip(PHOTOS, LABELS, strict=True)}
    true = [label_of[mark] for mark in once.examined.photos]
    assert [NAMES[index] for index in once.examined.truth.tolist()] == true
    found = once.examined.answers
    for subject, logits in ((once.classifier, found.student), (teacher, found.teacher)):
        torch.testing.assert_close(logits, subject(subject.prepare(photos)).detach())
    said = [NAMES[index] for index in found.student.argmax(dim=1).tolist()]
    right = [one == other for one, other in zip(said, true, strict=True)]
    assert once.worth.held_out.overall.value == pytest.approx(sum(right) / len(right))
    rows = {row["image"]: row for row in read_run(tmp_path / "run").rows if row["target"] == "examined"}
    listed = [rows[mark] for mark in once.examined.photos]
    assert [(row["class"], row["answer"]) for row in listed] == [*zip(true, said, strict=True)]
    odds = found.student.double().exp()
    chances = [float(one[NAMES.index(name)] / one.sum()) for one, name in zip(odds, true, strict=True)]
    assert [row["probability of the class"] for row in listed] == pytest.approx(chances)
    assert again.examined.photos == once.examined.photos
    assert torch.equal(again.examined.truth, once.examined.truth)
    assert torch.equal(again.examined.answers.student, found.student)
    assert torch.equal(again.examined.answers.teacher, found.teacher)
    assert [*again.examined.answers.watched] == [*found.watched] == ["1", "2+3"]
    for name, logits in found.watched.items():
        assert torch.equal(again.examined.answers.watched[name], logits)


@pytest.mark.parametrize("damaged", [None, b"nothing", save({"student": torch.zeros(1)})], ids=["gone", "cut", "other"])
def test_a_finished_run_whose_answers_are_damaged_is_refused(damaged, tmp_path):
    asked = {"recipe": recipe_of(epochs=1), "run": tmp_path / "run"}
    fit_brnpa(start(), PHOTOS, LABELS, **asked)
    file = tmp_path / "run" / ANSWERS
    file.unlink() if damaged is None else file.write_bytes(damaged)
    with pytest.raises(FileFormatError, match="does not hold a training's answers"):
        fit_brnpa(start(), PHOTOS, LABELS, **asked)
    assert fit_brnpa(start(), PHOTOS, LABELS, **asked, force=True).examined.photos


def test_the_same_asked_again_is_read_back_and_another_is_refused(tmp_path):
    asked = {"recipe": recipe_of(auxiliary=RANKS), "run": tmp_path / "run"}
    trained = fit_brnpa(start(), PHOTOS, LABELS, **asked)
    again = fit_brnpa(start(), PHOTOS[::-1], LABELS[::-1], **asked, tracked=never)
    assert again.classifier.hash == trained.classifier.hash
    assert (again.worth, again.epochs, dict(again.training)) == (trained.worth, trained.epochs, dict(trained.training))
    for changed in ({"seed": 1}, {"choosing": 0.3}, {"held_out": 0.3}, {"recipe": recipe_of(dropout=0.5)}):
        with pytest.raises(RunError, match="finished run"):
            fit_brnpa(start(), PHOTOS, LABELS, **asked | changed, tracked=never)
    other = [*LABELS[1:], LABELS[0]]
    with pytest.raises(RunError, match="finished run"):
        fit_brnpa(start(), PHOTOS, other, **asked, tracked=never)


@pytest.mark.parametrize("reason", [KeyboardInterrupt, Killed])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(reason, tmp_path, teacher):
    asked = {
        "teacher": teacher,
        "recipe": recipe_of(strides=(1,), dropout=0.3, auxiliary=RANKS, batch_norm="trained", epochs=3, batch=5),
    }
    whole = fit_brnpa(start(), PHOTOS, LABELS, **asked)
    for after in (1, 4):
        with pytest.raises(reason):
            fit_brnpa(start(), PHOTOS, LABELS, **asked, run=tmp_path / "run", tracked=stopping(after, reason))
    again = fit_brnpa(start(), PHOTOS, LABELS, **asked, run=tmp_path / "run")
    assert bits(again.classifier.network) == bits(whole.classifier.network)
    assert bits(again.classifier.head) == bits(whole.classifier.head)
    assert (again.worth, again.epochs) == (whole.worth, whole.epochs)


def test_neither_order_nor_names_of_photos_change_a_bit(tmp_path):
    folders = [tmp_path / name for name in ("one", "other")]
    found = []
    for folder, order in zip(folders, (range(24), reversed(range(24))), strict=True):
        folder.mkdir()
        labels = []
        for place, number in enumerate(order):
            Image.fromarray(PHOTOS[number]).save(folder / f"{place:02d}.png")
            labels.append(LABELS[number])
        found.append(fit_brnpa(start(), sorted(folder.iterdir()), labels, recipe=recipe_of()))
    assert bits(found[0].classifier.network) == bits(found[1].classifier.network)
    assert found[0].worth == found[1].worth


def test_every_draw_has_the_seed_and_none_is_torchs_own():
    subject = start()
    first = fit_brnpa(subject, PHOTOS, LABELS, recipe=recipe_of())
    torch.rand(3)
    drawn = torch.get_rng_state()
    again = fit_brnpa(subject, PHOTOS, LABELS, recipe=recipe_of())
    assert torch.get_rng_state().equal(drawn)
    assert bits(again.classifier.network) == bits(first.classifier.network)
    other = fit_brnpa(subject, PHOTOS, LABELS, recipe=recipe_of(), seed=1)
    assert bits(other.classifier.network) != bits(first.classifier.network)


def test_a_student_begins_as_its_teacher_and_leaves_it_as_it_is(teacher):
    before = bits(teacher.network), teacher.hash, [weight.requires_grad for weight in teacher.network.parameters()]
    plan = Plan.of(teacher, teacher, NAMES, recipe_of(strides=(1,)), 0)
    assert bits(plan.classifier.head) == bits(teacher.head)
    assert bits(plan.classifier.network) == bits(teacher.network)
    assert plan.classifier.name == "tiny, BR-NPA, 32×32"
    student = fit_brnpa(teacher, PHOTOS, LABELS, teacher=teacher, recipe=recipe_of(strides=(1,)))
    assert bits(student.classifier.network) != bits(teacher.network)
    after = (
        bits(teacher.network),
        teacher.hash_anew(),
        [weight.requires_grad for weight in teacher.network.parameters()],
    )
    assert after == before
    assert [figure.name for figure in student.worth.beside] == ["teacher", AGREEMENT]
    assert "agreement" in student.epochs[0]


def test_a_student_of_another_pooling_begins_with_a_head_of_its_own(teacher):
    plan = Plan.of(teacher, teacher, NAMES, recipe_of(pooling="bilinear"), 0)
    assert bits(plan.classifier.head) != bits(teacher.head)
    assert bits(plan.classifier.network.backbone) == bits(teacher.network.backbone)
    assert plan.classifier.name.endswith("B-CNN")


def test_settings_of_representatives_that_no_recipe_has_are_those_of_the_start():
    """Papers/brnpa 5.4 asks for the weights: they are trained from a classifier that has them."""
    own = {"weights": "softmax", "temperature": 0.5, "negative": "signed", "detach": True}
    begun = regard.BRNPAClassifier(start(), NAMES, bias=True, **own)
    plan = Plan.of(begun, None, NAMES, recipe_of(strides=(1,)), 0)
    pooling = plan.classifier.network.pooling
    assert {name: getattr(pooling, name) for name in own} == own
    assert bits(plan.classifier.head) == bits(begun.head)
    assert (plan.anew, plan.classifier.name) == ((), "tiny, BR-NPA, 32×32")
    others = Plan.of(begun, None, ["ant", "bee"], recipe_of(count=2), 0)
    assert {name: getattr(others.classifier.network.pooling, name) for name in own} == own
    assert f"classes ['ant', 'bee'], not {NAMES!r}" in others.anew
    assert "pooling count 2, not 3" in others.anew


def test_a_start_whose_pooling_is_not_what_the_recipe_asks_for_is_named_by_a_warning(tmp_path):
    begun = regard.BRNPAClassifier(start(), NAMES, count=5)
    said = "tiny, BR-NPA gives its backbone alone, pooling and head begin anew: .*pooling count 3, not 5"
    with pytest.warns(UserWarning, match=said):
        trained = fit_brnpa(begun, PHOTOS, LABELS, recipe=recipe_of(epochs=1))
    assert trained.classifier.network.pooling.count == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_brnpa(begun, PHOTOS, LABELS, recipe=recipe_of(epochs=1, count=5)).classifier.name == "tiny, BR-NPA"


def test_what_was_trained_on_from_a_finer_student_is_loaded_on_its_grid(teacher, tmp_path):
    student = fit_brnpa(teacher, PHOTOS, LABELS, teacher=teacher, recipe=recipe_of(strides=1, epochs=1)).classifier
    trained = fit_brnpa(student, PHOTOS, LABELS, teacher=student, recipe=recipe_of(epochs=1))
    trained.save(tmp_path / "again.safetensors")
    loaded = regard.load(tmp_path / "again.safetensors", network=cnn())
    assert loaded.grid == trained.classifier.grid == student.grid == (32, 32)
    pixels = loaded.prepare(PHOTOS[:2])
    assert torch.equal(loaded(pixels), trained.classifier(pixels))


def test_a_finished_run_whose_file_is_another_network_is_refused(tmp_path):
    asked = {"recipe": recipe_of(epochs=1), "run": tmp_path / "run"}
    fit_brnpa(start(), PHOTOS, LABELS, **asked)
    other = fit_brnpa(start(normed()), PHOTOS, LABELS, recipe=recipe_of(epochs=1))
    other.save(tmp_path / "run" / "classifier.safetensors")
    with pytest.raises(ClassifierError, match="are not those of this network"):
        fit_brnpa(start(), PHOTOS, LABELS, **asked)


def test_batch_norm_is_measured_anew_where_strides_change_and_nothing_makes_up_for_it():
    part = part_of()
    for strides, dilation, changes in ((None, None, False), ((1, 1), False, True), ((1, 1), True, False)):
        plan = Plan.of(start(normed()), None, NAMES, recipe_of(strides=strides, dilation=dilation), 0)
        before = bits(plan.classifier.network)
        pixels = plan.classifier.prepare(part.photos)
        expected = bits(remeasured(plan.classifier.network, pixels)) if changes else before
        plan.measure(part)
        assert bits(plan.classifier.network) == expected
        assert (expected != before) == changes


def test_without_photos_to_choose_by_the_last_epoch_is_kept():
    trained = fit_brnpa(start(), PHOTOS, LABELS, recipe=recipe_of(), choosing=0, heard=never)
    assert trained.epochs == ()
    assert trained.training["epoch_chosen"] == 2
    assert trained.training["photos_trained_on"] == 18


@pytest.mark.parametrize("pooling", ["bilinear", "branch", "mean"])
def test_what_it_is_compared_with_is_trained_saved_and_loaded_alike(pooling, tmp_path):
    trained = fit_brnpa(start(), PHOTOS, LABELS, recipe=recipe_of(pooling=pooling, epochs=1))
    trained.save(tmp_path / "other.safetensors")
    loaded = regard.load(tmp_path / "other.safetensors", network=cnn())
    assert torch.equal(loaded(loaded.prepare(PHOTOS[0])), trained.classifier(trained.classifier.prepare(PHOTOS[0])))
    assert loaded.hash == trained.classifier.hash


@TOKENS_ALIKE
def test_a_transformer_is_trained_as_well():
    trained = fit_brnpa(classifier_of(vit()), PHOTOS, LABELS, recipe=recipe_of(epochs=1, strides=(4,), auxiliary=RANKS))
    found, _ = trained.classifier.represent(trained.classifier.prepare(PHOTOS[:2]))
    assert found.maps.shape == (2, 3, 8, 8)


def test_the_authors_recipe_trains():
    trained = fit_brnpa(
        start(normed()), PHOTOS, LABELS, recipe=recipe_of(optimizer="sgd", schedule="stepped", batch_norm="trained")
    )
    assert trained.worth.held_out.photos == 6


def test_what_cannot_be_read_is_left_out_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="1 photos cannot be read"):
        trained = fit_brnpa(start(), [*PHOTOS, tmp_path / "none.png"], [*LABELS, "red"], recipe=recipe_of(epochs=1))
    assert list(trained.unreadable) == [str(tmp_path / "none.png")]


REFUSED = {
    "labels that pass": ({"labels": iter(LABELS)}, ClassifierError, "labels are a list"),
    "photos that pass": ({"photos": iter(PHOTOS)}, UnsupportedError, "a list of photos"),
    "a teacher's name": ({"teacher": "teacher.safetensors"}, ClassifierError, "the teacher of this training is no"),
    "a recipe of words": ({"recipe": {"epochs": 2}}, UnsupportedError, "another recipe"),
    "labels of others": ({"labels": LABELS[1:]}, ClassifierError, "every photo has its label"),
    "one class": ({"labels": ["red"] * 24}, ClassifierError, "classes apart"),
    "no share": ({"held_out": 1.0}, ClassifierError, "held_out is a share"),
    "marks of others": ({"held_out": [True]}, ClassifierError, "held out or not"),
    "all to choose by": ({"choosing": 1.0}, ClassifierError, "the epoch is chosen by a share"),
    "one photo": ({"photos": PHOTOS[0]}, UnsupportedError, "a list of photos"),
    "no such layer": ({"recipe": recipe_of(layer="nowhere")}, regard.errors.LayerError, "no layer"),
    "no such strides": ({"recipe": recipe_of(strides=(3,))}, UnsupportedError, "cannot move by 3"),
    "a seed that is none": ({"seed": 2**63}, UnsupportedError, "seed"),
    "no photos that can be read": ({"photos": ["nowhere.jpg"] * 24}, PhotoError, "no photo can be read"),
}


@pytest.mark.parametrize(("changed", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_written(changed, error, said, tmp_path):
    asked = {"photos": PHOTOS, "labels": LABELS, "recipe": recipe_of()} | changed
    with pytest.raises(error, match=said):
        fit_brnpa(start(), asked.pop("photos"), asked.pop("labels"), **asked, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_or_other_pixels_is_refused(teacher):
    with pytest.raises(ClassifierError, match="does not answer about these classes"):
        fit_brnpa(start(), PHOTOS, [f"dark {label}" for label in LABELS], teacher=teacher, tracked=never)
    other = regard.Classifier(cnn(), regard.Preparation(size=24))
    with pytest.raises(ClassifierError, match="the same pixels"):
        fit_brnpa(other, PHOTOS, LABELS, teacher=teacher, tracked=never)


def test_weights_in_half_precision_are_refused():
    half = classifier_of(cnn().to(torch.bfloat16))
    with pytest.raises(UnsupportedError, match="trained in float32"):
        fit_brnpa(half, PHOTOS, LABELS, recipe=recipe_of(), tracked=never)
