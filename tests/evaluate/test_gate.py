import pytest
import torch

from regard.evaluate.gate import Answered, Gate, answered, counting
from regard.evaluate.known_photo import KnownPhoto

from .pictures import LABELS, photos_in, tiny_cnn


@pytest.fixture
def asked(tmp_path):
    classifier, paths = tiny_cnn(), photos_in(tmp_path, 3)
    logits = classifier(classifier.prepare(paths))
    return classifier, paths, logits.argsort(dim=1, descending=True), logits.softmax(1).amax(1).detach()


def test_a_photo_counts_whose_likeliest_class_is_its_label_by_name_or_index(asked):
    classifier, paths, order, chances = asked
    first = int(order[0, 0])
    for label in (first, str(first), LABELS[first]):
        (answer,) = answered(classifier, [KnownPhoto(paths[0], label)])
        assert (answer.label, answer.predicted, answer.status) == (first, first, "counts")
        assert (answer.second, answer.least) == (int(order[0, 1]), int(order[0, -1]))
        assert answer.probability == pytest.approx(float(chances[0]), abs=1e-6)


def test_another_label_excludes_the_photo_and_none_or_an_unknown_one_does_not(asked):
    classifier, paths, order, _ = asked
    wrong, unknown, nothing = answered(
        classifier, [KnownPhoto(paths[0], int(order[0, 1])), KnownPhoto(paths[1], "unicorn"), KnownPhoto(paths[2])]
    )
    assert wrong.status == "misclassified"
    assert (unknown.status, unknown.label) == ("unknown label", None)
    assert (nothing.status, nothing.label) == ("counts", None)


def test_a_photo_that_cannot_be_read_fails_alone_with_the_reason(asked, tmp_path):
    classifier, paths, order, _ = asked
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    failed, good = answered(classifier, [KnownPhoto(broken, 0), KnownPhoto(paths[0], int(order[0, 0]))])
    assert failed.status == "failed"
    assert "broken.png" in failed.error
    assert good.status == "counts"


def test_the_gate_states_accuracy_of_labelled_photos_and_confidence_of_those_that_count():
    def answer(label, predicted, chance, status):
        return Answered(KnownPhoto("photo"), label, predicted, 1, 2, chance, status)

    gate = Gate.of(
        [
            answer(0, 0, 0.9, "counts"),
            answer(1, 0, 0.99, "misclassified"),
            answer(None, 3, 0.5, "counts"),
            answer(None, None, None, "failed"),
        ]
    )
    assert gate == Gate(3, 2, 1, 2, 1, (), ("1, not 0",), pytest.approx(0.7))
    assert "1 of 2 labelled photos are classified rightly (50.0%)" in gate.words()
    assert "2 of 3 count" in gate.words()
    assert "1 could not be read" in gate.words()


def test_measurements_have_no_probability(tmp_path):
    (answer,) = answered(tiny_cnn(outputs="scalar"), [KnownPhoto(photos_in(tmp_path, 1)[0])])
    assert answer.probability is None
    assert Gate.of([answer]).confidence is None


def test_an_answer_survives_its_row(asked):
    classifier, paths, order, _ = asked
    photo = KnownPhoto(paths[0], int(order[0, 0]))
    (answer,) = answered(classifier, [photo])
    assert Answered.of_row(photo, answer.row()) == answer
    assert torch.is_grad_enabled()


def test_photos_are_answered_together_and_one_by_one_only_where_one_is_broken(asked, tmp_path, monkeypatch):
    classifier, paths, *_ = asked
    sizes = []
    plain = type(classifier).__call__
    monkeypatch.setattr(
        type(classifier), "__call__", lambda self, pixels: sizes.append(len(pixels)) or plain(self, pixels)
    )
    together = answered(classifier, [KnownPhoto(path) for path in paths])
    assert sizes == [3]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    first, failed, *rest = answered(classifier, [KnownPhoto(path) for path in (paths[0], broken, *paths[1:])])
    assert sizes == [3, 1, 1, 1]
    assert failed.status == "failed"
    for one, other in zip(together, (first, *rest), strict=True):
        assert (one.predicted, one.second, one.least) == (other.predicted, other.second, other.least)
        assert one.probability == pytest.approx(other.probability, abs=1e-6)


def test_an_answer_that_is_not_finite_fails_alone(asked, monkeypatch):
    classifier, paths, *_ = asked
    plain = type(classifier).__call__

    def spoilt(self, pixels):
        logits = plain(self, pixels).clone()
        logits[1, 2] = torch.nan
        return logits

    monkeypatch.setattr(type(classifier), "__call__", spoilt)
    found = answered(classifier, [KnownPhoto(path) for path in paths])
    assert [answer.status for answer in found] == ["counts", "failed", "counts"]
    assert "NaN" in found[1].error


def labelled(label, known, status):
    return Answered(KnownPhoto("photo", label), known, 0, 1, 2, 0.5, status)


def test_a_label_of_no_class_leaves_its_photo_out_where_others_are_known():
    answers = [labelled("ant", 0, "counts"), labelled("wibble", None, "unknown label")]
    assert counting(answers) == answers[:1]
    assert "1 have a label that is no class of the classifier (wibble, …), left out" in Gate.of(answers).words()


def test_labels_of_another_data_set_alone_leave_the_photos_to_be_judged_for_their_likeliest_class():
    answers = [labelled("zebra crossing", None, "unknown label")] * 2
    assert counting(answers) == answers
    assert "judged for their likeliest class" in Gate.of(answers).words()


def test_labels_that_are_mostly_wrong_are_doubted_with_examples():
    answers = [labelled(7, 7, "misclassified")] * 2 + [labelled(0, 0, "counts")]
    assert "the labels may be of other classes, see --labels (7, not 0" in Gate.of(answers).words()
    assert "--labels" not in Gate.of(answers[1:]).words()
