"""An exam says of a model what plain loops say, takes what any model gives, and leaves nothing in it."""

import json
import math
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import regard
from regard.attention.selective import SelectiveModel
from regard.attention.selective_networks import classifier_called, focus_called
from regard.errors import MetricError, NotFiniteError, UnsupportedError
from regard.exams.sdc import OUTCOMES, Examination, Items, diagnose, examine, task_called
from tests.exams.sdc.hand_made import Attending, first_number


@dataclass
class Said:
    logits: torch.Tensor
    weights: torch.Tensor


Named = namedtuple("Named", ["weights", "logits"])
FORMS = {
    "tuple": lambda logits, weights: (logits, weights),
    "list": lambda logits, weights: [logits, weights],
    "mapping": lambda logits, weights: {"weights": weights, "logits": logits, "more": None},
    "object": Said,
    "named tuple": lambda logits, weights: Named(weights, logits),
}


class Pooling(nn.Module):
    """A softmax of one number, with dropout, batch norm and a random state to leave alone."""

    def __init__(self, form="tuple", labels=3):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.norm, self.drop, self.head = nn.BatchNorm1d(2), nn.Dropout(0.5), nn.Linear(2, labels)
        self.norm.running_mean += torch.randn(2, generator=draw)
        self.head.weight.data = torch.randn(labels, 2, generator=draw)
        self.form = form

    def forward(self, segments, mask=None):
        torch.rand(3)
        read = self.drop(self.norm(segments.flatten(0, 1)).view_as(segments))
        scores = read[..., 0] if mask is None else read[..., 0].masked_fill(~mask, -math.inf)
        weights = scores.softmax(dim=1)
        segments.zero_()  # a model may work in place
        return FORMS[self.form](self.head((weights[..., None] * read).sum(dim=1)), weights)


def d1(**settings):
    return task_called("d1", **{"train": 60, "test": 80, "segments": 4} | settings)


@pytest.mark.parametrize("form", FORMS)
def test_a_model_may_answer_as_it_likes(form):
    assert examine(Pooling(form), d1()).words() == examine(Pooling(), d1()).words()


@pytest.mark.parametrize("segments", [4, (1, 5)], ids=["equal", "ragged"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_and_figures_are_those_of_loops(segments, split):
    task, model = d1(segments=segments), Pooling().eval()
    found = examine(model, task, split=split)
    mosaics = task.train if split == "train" else task.test
    assert (found.task, found.split, found.kinds) == ("d1", split, mosaics.items.names)
    rows = found.rows()
    assert len(rows) == len(mosaics)
    sums = dict.fromkeys(OUTCOMES, 0)
    table = {}
    for number, row in enumerate(rows):
        example = mosaics[number : number + 1]
        with torch.no_grad():
            logits, weights = model(example.segments.clone(), example.mask)
        count = int((example.classes >= 0).sum())
        values = weights[0, :count].tolist()
        focus, place = values.index(max(values)), int(example.position)
        said = int(logits.argmax())
        name = ("FT" if focus == place else "FF") + ("PT" if said == int(example.label) else "PF")
        assert {key: row[key] for key in OUTCOMES} == {key: float(key == name) for key in OUTCOMES}
        sums[name] += 1
        kind = int(example.classes[0, focus])
        assert (row["focus"], row["position"], row["focused"]) == (focus, place, mosaics.items.names[kind])
        assert (row["label"], row["predicted"]) == (task.labels[int(example.label)], task.labels[said])
        others = [value for at, value in enumerate(values) if at != place] or [0.0]
        assert row["max-weight"] == pytest.approx(max(values), abs=1e-6)
        assert row["margin"] == pytest.approx(values[place] - max(others), abs=1e-6)
        assert row["entropy"] == pytest.approx(-sum(v * math.log2(v) for v in values if v), abs=1e-5)
        if focus != place:
            table[kind, said] = table.get((kind, said), 0) + 1
    for name, total in sums.items():
        assert found.figures[name] == pytest.approx(100 * total / len(rows))
    assert found.background_to_label.sum() == sum(table.values())
    assert all(found.background_to_label[key] == total for key, total in table.items())
    assert torch.allclose(found.by_label.nansum(dim=1), torch.full((3,), 100.0).double())


def test_nothing_is_left_in_the_model_and_it_is_read_in_eval_mode():
    model = Pooling().train()
    model.drop.eval()
    model.head.weight.requires_grad_(False)
    model.norm.weight.grad = torch.ones(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    with torch.enable_grad():
        found = examine(model, d1())
        assert torch.is_grad_enabled()
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [part.training for part in (model, model.norm, model.drop, model.head)] == [True, True, False, True]
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, True, False, True]
    assert torch.equal(model.norm.weight.grad, torch.ones(2))
    assert model.head.bias.grad is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert found.words() == examine(Pooling().eval(), d1()).words()


def test_nothing_is_left_in_a_model_that_fails():
    class Failing(Pooling):
        def forward(self, segments, mask=None):
            torch.rand(1)
            raise IndexError("out of segments")

    model = Failing().train()
    random = torch.random.get_rng_state()
    with pytest.raises(MetricError, match=r"the model cannot be asked(.|\n)*IndexError: out of segments"):
        examine(model, d1())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(part.training for part in model.modules())


def test_batches_change_nothing_and_a_model_is_asked_in_its_own_type():
    task, model = d1(segments=(1, 6)), Pooling().double()
    whole = examine(model, task, batch=1000)
    for batch in (1, 7):
        found = examine(model, task, batch=batch)
        assert torch.allclose(found.answers.weights, whole.answers.weights, atol=1e-12)
        assert torch.equal(found.outcomes, whole.outcomes)
    assert whole.answers.weights.dtype == torch.float64


def test_a_selective_model_needs_nothing_else():
    model = SelectiveModel(focus_called("mlp-8", (2,), 0), classifier_called("mlp-8", (2,), 3, 0))
    found = examine(model, d1(segments=(2, 5)))
    assert found.diagnosis.evidence.one_hot is not None
    assert isinstance(found, Examination)


def test_pictures_are_examined_too(tmp_path):
    from tests.exams.sdc.item_sets import task_of

    task = task_of("folder", tmp_path, train=20, test=20, size=8, held_out=0.5, foreground=("ant", "bee"))
    model = Attending(
        lambda segments: (segments.flatten(2).sum(dim=(1, 2))[:, None] * torch.tensor([1.0, -1.0]), even(segments))
    )
    assert examine(model, task).figures["focus-accuracy"] == pytest.approx(100 / 9)


def even(segments):
    return torch.full(segments.shape[:2], 1 / segments.shape[1])


@pytest.mark.parametrize(
    ("ties", "share", "focus"), [("fractional", 25, 0), ("first", None, 0), ("strict", 0, None), ("random", None, None)]
)
def test_ties_are_treated_as_asked(ties, share, focus):
    task = d1(test=400)
    model = Attending(lambda segments: (torch.zeros(len(segments), 3), even(segments)))
    found = examine(model, task, ties=ties)
    assert found.ties == ties
    if share is not None:
        assert found.figures["focus-accuracy"] == pytest.approx(share)
    if ties != "random":
        assert {row["focus"] for row in found.rows()} == {focus}
    else:
        assert len({row["focus"] for row in found.rows()}) == 4
        assert examine(model, task, ties=ties, seed=1).rows() != found.rows()
        assert examine(model, task, ties=ties).rows() == found.rows()


def test_intervals_are_where_a_bootstrap_of_examples_has_its_means():
    found = examine(Pooling(), d1(test=400))
    share = found.figures["accuracy"] / 100
    spread = 100 * math.sqrt(share * (1 - share) / 400)
    low, high = found.intervals["accuracy"]
    assert low < found.figures["accuracy"] < high
    # a binomial share: ± 1.96 standard errors
    assert (high - low) / (2 * spread) == pytest.approx(1.96, rel=0.1)
    assert set(found.intervals) == {*OUTCOMES, "accuracy", "focus-accuracy"}
    sure = examine(Attending(lambda segments: (torch.zeros(len(segments), 3), even(segments))), d1())
    assert sure.intervals["focus-accuracy"] is None


def test_words_are_json_and_say_everything():
    found = examine(Pooling(), d1(test=3, segments=(1, 2), seed=1))
    missing = sorted({0, 1, 2} - {*found.answers.label.tolist()})
    assert len(missing) == 1  # a label that does not occur
    words = json.loads(json.dumps(found.words(), allow_nan=False))
    assert (words["task"], words["split"], words["examples"]) == ("d1", "test", 3)
    assert words["figures"] == pytest.approx(found.figures)
    assert words["diagnosis"]["mode"] == found.diagnosis.mode
    rows = [[row[name] for name in OUTCOMES] for row in words["by_label"].values()]
    assert [number for number, row in enumerate(rows) if row == [None] * 4] == missing
    assert [sum(row) for number, row in enumerate(rows) if number not in missing] == pytest.approx([100, 100])
    told = torch.tensor([[*row.values()] for row in words["background_to_label"].values()])
    assert torch.equal(told, found.background_to_label[3:].float())
    assert found.diagnosis.mode in str(found)


def test_one_segment_alone_is_always_looked_at():
    found = examine(
        SelectiveModel(focus_called("linear", (2,), 0), classifier_called("linear", (2,), 3, 0)), d1(segments=1)
    )
    assert found.figures["focus-accuracy"] == 100
    json.dumps(found.words(), allow_nan=False)


WRONG = {
    "three": (lambda s: (logits(s), even(s), None), "does not say logits and weights"),
    "a tensor": (lambda s: logits(s), "does not say logits and weights"),
    "other keys": (lambda s: {"logits": logits(s), "attention": even(s)}, "does not say logits and weights"),
    "nothing": (lambda s: None, "does not say logits and weights"),
    "the other way round": (lambda s: (even(s), logits(s)), "a number for each label"),
    "a label less": (lambda s: (logits(s)[:, :2], even(s)), "a number for each label"),
    "a segment less": (lambda s: (logits(s), even(s)[:, :3]), "a weight for each segment"),
    "heads": (lambda s: (logits(s), even(s)[:, None]), "a weight for each segment"),
    "whole numbers": (lambda s: (logits(s), even(s).long()), "a weight for each segment"),
    "no tensor": (lambda s: (logits(s), even(s).numpy()), "a weight for each segment"),
    "scores": (lambda s: (logits(s), first_number(s)), "do not add up to one"),
    "below zero": (lambda s: (logits(s), signed(s)), "below zero"),
    "mates": (lambda s: (logits(s) + s.mean(), even(s)), "logits for a mosaic depend on the others"),
    "weights of mates": (lambda s: (logits(s), mated(s)), "weights for a mosaic depend on the others"),
    "chance": (lambda s: (torch.rand(len(s), 3), even(s)), "or on chance"),
}


def logits(segments):
    return first_number(segments)[:, :3]


def signed(segments):
    return torch.tensor([1.5, -0.5, 0.0, 0.0]).expand(len(segments), 4)


def mated(segments):
    return (first_number(segments) * first_number(segments).mean()).softmax(dim=1)


@pytest.mark.parametrize("fault", WRONG)
def test_an_answer_that_is_none_is_refused(fault):
    answer, problem = WRONG[fault]
    with pytest.raises(MetricError, match=problem):
        examine(Attending(answer), d1())


def test_sums_are_said_with_the_farthest():
    def answer(segments):
        return logits(segments), even(segments) * (1 + 0.5 * (first_number(segments)[:, :1] > 5))

    with pytest.raises(MetricError, match=r"sums from 1 to 1\.5, farthest in example \d") as refusal:
        examine(Attending(answer), d1())
    number = int(refusal.value.came.rpartition(" ")[2])
    assert float(d1().test[:].segments[number, 0, 0]) > 5


@pytest.mark.parametrize(
    ("what", "value"), [("logit", math.nan), ("logit", math.inf), ("weight", math.nan), ("weight", math.inf)]
)
@pytest.mark.parametrize("batch", [10, 256])
def test_what_is_no_number_is_refused_with_its_example(what, value, batch):
    far, farther = d1().test[:].segments[[37, 60], 0]

    def answer(segments):
        found = {"logit": logits(segments).clone(), "weight": even(segments)}
        found[what][(segments[:, 0] == far).all(dim=1), 2] = value
        found[what][(segments[:, 0] == farther).all(dim=1), 1] = value
        return found["logit"], found["weight"]

    with pytest.raises(NotFiniteError, match=rf"a {what} that is no number(.|\n)*example 37, place 2"):
        examine(Attending(answer), d1(), batch=batch)


def test_a_logit_of_minus_infinity_is_an_answer():
    model = Attending(lambda s: (torch.tensor([0.0, -math.inf, -math.inf]).expand(len(s), 3), even(s)))
    assert examine(model, d1()).figures["accuracy"] > 0


def test_weight_on_no_segment_is_refused():
    model = Attending(lambda s, mask: (logits(s), even(s)))
    with pytest.raises(MetricError, match="weight where there is no segment"):
        examine(model, d1(segments=(1, 4)))


def test_a_model_that_takes_no_mask_is_told_of_it():
    class Maskless(nn.Module):
        def forward(self, segments):
            return logits(segments), even(segments)

    with pytest.raises(MetricError, match=r"cannot be asked(.|\n)*last argument is a mask"):
        examine(Maskless(), d1(segments=(1, 4)))


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"split": "validation"}, UnsupportedError),
        ({"ties": "last"}, MetricError),
        ({"batch": 0}, MetricError),
        ({"batch": 2.5}, MetricError),
        ({"seed": "a"}, UnsupportedError),
        ({"task": "d1"}, UnsupportedError),
    ],
)
def test_what_cannot_be_asked_is_refused(asked, error):
    for ask in (examine, diagnose):
        with pytest.raises(error):
            ask(Pooling(), **{"task": d1()} | asked)


def test_a_model_made_in_inference_mode_is_examined_as_any_other():
    with torch.inference_mode():
        model = Pooling()
    found = examine(model, d1())
    assert found.words() == examine(Pooling(), d1()).words()
    assert all(parameter.requires_grad for parameter in model.parameters())


class Watched(Pooling):
    """Has memory for so many mosaics at once, and none for more."""

    def __init__(self, most):
        super().__init__()
        self.most, self.sizes, self.exact = most, [], []

    def look(self, segments):
        self.sizes.append(len(segments))
        self.exact.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        if len(segments) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def with_weights(self, segments, weights):
        self.look(segments)
        read = self.norm(segments.flatten(0, 1)).view_as(segments)
        return self.head((weights[..., None] * read).sum(dim=1))

    def forward(self, segments, mask=None):
        self.look(segments)
        return super().forward(segments, mask)


def test_where_memory_runs_out_fewer_mosaics_are_asked_about_at_once():
    model = Watched(20)
    found = examine(model, d1(), with_weights=model.with_weights)
    assert max(model.sizes) > 20
    model.most = 1000
    alone = examine(model, d1(), with_weights=model.with_weights, batch=10)
    assert torch.equal(found.outcomes, alone.outcomes)
    assert found.diagnosis.words() == alone.diagnosis.words()
    with pytest.raises(torch.OutOfMemoryError):
        examine(Watched(0), d1())


@pytest.mark.parametrize("segments", [4, (2, 6)], ids=["equal", "ragged"])
def test_never_more_than_a_batch_of_segments_is_taken(segments, monkeypatch):
    model = SelectiveModel(focus_called("linear", (2,), 0), classifier_called("linear", (2,), 3, 0))
    task, taken, sizes = d1(segments=segments, train=300, test=400), Items.taken, []

    def watched(items, index):
        sizes.append(index.numel())
        return taken(items, index)

    monkeypatch.setattr(Items, "taken", watched)
    examine(model, task, batch=50)
    assert max(sizes) == 50 * task.segments


def test_float32_is_float32_while_a_model_is_asked():
    products, model = torch.backends.cuda.matmul, Watched(1000)
    before = products.allow_tf32
    try:
        products.allow_tf32 = True
        examine(model, d1(), with_weights=model.with_weights)
        assert products.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        products.allow_tf32 = before
    assert {*model.exact} == {(False, False)}


def test_a_model_in_half_precision_is_judged_by_its_own_steps():
    class Half(nn.Module):
        def forward(self, segments):
            weights = first_number(segments).softmax(dim=1).bfloat16()
            return (weights[..., None] * segments.bfloat16()).sum(dim=1) @ torch.ones(2, 3).bfloat16(), weights

    assert examine(Half(), d1(segments=9)).answers.weights.dtype == torch.bfloat16


def test_a_plain_function_is_examined_and_inference_mode_is_no_hindrance():
    with torch.inference_mode():
        found = regard.exams.sdc.examine(lambda s: (logits(s), even(s)), d1())
    assert found.figures["focus-accuracy"] == pytest.approx(25)


def test_the_exam_is_a_function_whatever_was_imported_first():
    import importlib

    importlib.import_module("regard.exams.sdc.examine")
    assert callable(regard.exams.sdc.examine)
    assert "exams" in dir(regard)
    with pytest.raises(AttributeError, match=r"regard\.exams has no 'sdcs'"):
        _ = regard.exams.sdcs
