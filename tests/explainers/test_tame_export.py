"""A trained attention as ONNX, against torch: papers/tame.md, check 41."""

import io
import json
import shutil
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import FileFormatError, MissingDependencyError, UnsupportedError
from regard.explainers import tame_export
from regard.explainers.tame_export import export_onnx

from .attentions import drawn
from .networks import WIDTH, classifier_of, cnn, pixels_of, vit
from .test_matrix import disturb, state

onnx = import_optional("onnx", "export")
onnxruntime = import_optional("onnxruntime", "export")


def session_of(file):
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def run(session, pixels, classes):
    return map(torch.from_numpy, session.run(None, {"pixels": pixels.numpy(), "classes": classes.numpy()}))


def check_parity(session, tame, pixels, sizes=((1, 1), (1, 2), (5, 2), (5, 5), (16, 3))):
    """16 pictures, by one and by five, with few and many classes: within 1e-4 of what the explainer gives."""
    count = tame.classifier.class_count
    for batch, targets in sizes:
        for part in pixels.split(batch):
            classes = torch.randint(count, (len(part), targets), generator=torch.Generator().manual_seed(targets))
            logits, maps = run(session, part, classes)
            expected = tame(part, regard.PerImage(classes))
            assert (logits - expected.logits).abs().max() <= 1e-4
            assert maps.shape == expected.maps.shape
            assert (maps - expected.maps).abs().max() <= 1e-4


MADE = {
    "cnn": lambda: (classifier_of(cnn(), labels=["ä", *"bcde"]), {}),
    "vit, gated": lambda: (classifier_of(vit(reg_tokens=2), outputs="sigmoid"), {"gated": True}),
    "vit with a head apart, frame not square, tied, smooth": lambda: (
        classifier_of(vit(num_classes=0, img_size=(32, 48)), (32, 48), head=nn.Linear(WIDTH, 3)),
        {"variant": "tied", "smoothing": 1},
    ),
}


@dataclass
class Case:
    """An export, and what it left."""

    tame: regard.TAME
    written: tame_export.Exported
    printed: str
    states: tuple[dict, dict]

    @property
    def session(self):
        return session_of(self.written.file)


@pytest.fixture(params=MADE, scope="module")
def case(request, tmp_path_factory):
    """Exported in the middle of training, where a warning is an error."""
    classifier, settings = MADE[request.param]()
    tame, folder = regard.TAME(classifier, drawn(classifier, **settings)), tmp_path_factory.mktemp("exported")
    disturb(classifier.network)
    before, printed = state(classifier), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed), warnings.catch_warnings():
        warnings.simplefilter("error")
        written = export_onnx(tame, folder / "it.onnx")
    assert [path.name for path in folder.iterdir()] == ["it.onnx"]
    return Case(tame, written, printed.getvalue(), (before, state(classifier)))


def test_onnxruntime_gives_the_logits_and_maps_of_torch_for_every_batch(case):
    assert max(case.written.logits_difference, case.written.maps_difference) <= 1e-4
    check_parity(case.session, case.tame, pixels_of(16, case.tame.classifier.preparation.frame))


def test_nothing_is_printed_and_nothing_left_in_a_network_that_is_being_trained(case):
    assert case.printed == ""
    before, after = case.states
    assert before == after


def test_class_ids_choose_the_rows(case):
    pixels, count = pixels_of(2, case.tame.classifier.preparation.frame), case.tame.classifier.class_count
    _, every = run(case.session, pixels, torch.arange(count).expand(2, -1))
    asked = torch.tensor([[count - 1, 0], [1, 1]])
    _, maps = run(case.session, pixels, asked)
    expected = every[torch.arange(2)[:, None], asked]
    assert (maps - expected).abs().max() <= 1e-5
    for beyond in (count, -1, -count, -count - 1):
        with pytest.raises(Exception, match="Gather"):
            run(case.session, pixels, torch.tensor([[0, 0], [beyond, 0]]))


def test_the_file_says_whose_it_is(case):
    classifier, model = case.tame.classifier, onnx.load(case.written.file)
    onnx.checker.check_model(model)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == case.written.opset >= 17
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert (said["classifier"], said["classifier_hash"]) == (classifier.name, classifier.hash)
    preparation = json.loads(said["preparation"])
    height, width = preparation.pop("frame")
    assert (height, width) == classifier.preparation.frame
    preparation["size"] = tuple(preparation["size"]) if isinstance(preparation["size"], list) else preparation["size"]
    assert regard.Preparation(**preparation).to_dict() == classifier.preparation.to_dict()
    assert json.loads(said["labels"]) == classifier.labels
    assert json.loads(said["photos_of_class"]) == [100] * classifier.class_count
    assert json.loads(said["training"])["fill"] == "black"
    assert said["outputs"] == classifier.outputs
    assert said["maps"] == "before any sigmoid; above zero: kept by the mask, below zero: hidden by the mask"
    shapes = {
        each.name: [dimension.dim_param or dimension.dim_value for dimension in each.type.tensor_type.shape.dim]
        for each in (*model.graph.input, *model.graph.output)
    }
    grid = case.tame(pixels_of(1, (height, width)), 0).maps.shape[2:]
    assert shapes == {
        "pixels": ["batch", 3, height, width],
        "classes": ["batch", "targets"],
        "logits": ["batch", classifier.class_count],
        "maps": ["batch", "targets", *grid],
    }


class Branching(nn.Module):
    """A network whose way hangs on values."""

    def __init__(self):
        super().__init__()
        self.body = cnn()

    def forward(self, pixels):
        return self.body(pixels) if float(pixels.mean()) > -5 else self.body(-pixels)


def test_a_network_that_cannot_be_traced_is_refused_and_nothing_is_left(tmp_path):
    classifier = classifier_of(Branching())
    tame = regard.TAME(classifier, drawn(classifier, layers=("body.1", "body.5")))
    before = state(classifier)
    with pytest.raises(UnsupportedError, match="torch cannot write this network as ONNX") as refusal:
        export_onnx(tame, tmp_path / "it.onnx")
    assert refusal.value.came
    assert state(classifier) == before
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused_in_words(tmp_path, monkeypatch):
    full = classifier_of(vit())
    trained = drawn(full)
    half = regard.TAME(classifier_of(vit(), precision="bfloat16"), trained)
    with pytest.raises(UnsupportedError, match="exported in float32"):
        export_onnx(half, tmp_path / "it.onnx")
    tame = regard.TAME(full, trained)
    for place in (tmp_path, tmp_path / "nowhere" / "it.onnx"):
        with pytest.raises(FileFormatError, match="cannot be written"):
            export_onnx(tame, place)
    with pytest.raises(UnsupportedError, match="trained for another classifier"):
        export_onnx(tame.transferred(classifier_of(vit(seed=2))), tmp_path / "it.onnx")
    monkeypatch.setattr(tame_export, "LARGEST", 1000)
    with pytest.raises(UnsupportedError, match="too many for one ONNX file"):
        export_onnx(tame, tmp_path / "it.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_gives_other_numbers_is_not_kept(case, tmp_path, monkeypatch):
    classifier, file = case.tame.classifier, tmp_path / "it.onnx"
    file.write_text("the one before")
    trained = case.tame.trained.read_from(classifier)
    with torch.no_grad():
        trained.attention.fuser.bias[1] += 0.01

    class Program:
        model = SimpleNamespace(metadata_props={})

        def save(self, path, external_data):
            shutil.copy(case.written.file, path)

    monkeypatch.setattr(tame_export, "_traced", lambda *_: Program())
    with pytest.raises(UnsupportedError, match="onnxruntime gives other numbers"):
        export_onnx(regard.TAME(classifier, trained), file)
    assert file.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [file]
    export_onnx(case.tame, file)
    assert file.read_bytes() == case.written.file.read_bytes()


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    def missing(module, extra):
        raise MissingDependencyError(f"the package {module!r} is needed", remedy=f'pip install "regard[{extra}]"')

    classifier = classifier_of(cnn())
    monkeypatch.setattr(tame_export, "import_optional", missing)
    with pytest.raises(MissingDependencyError) as refusal:
        export_onnx(regard.TAME(classifier, drawn(classifier)), tmp_path / "it.onnx")
    assert refusal.value.remedy == 'pip install "regard[export]"'


@pytest.mark.data
def test_the_embedded_cnn_is_exported_whole(shared_data, tmp_path):
    classifier = regard.load("regard:efficientnet-lite0")
    tame, file = regard.TAME(classifier, drawn(classifier)), tmp_path / "it.onnx"
    export_onnx(tame, file)
    photos = sorted((shared_data / "imagenette-224").rglob("*.[jJ][pP]*[gG]"))[::20][:16]
    assert len(photos) == 16
    check_parity(session_of(file), tame, classifier.prepare(photos).as_subclass(torch.Tensor), ((1, 1), (5, 3)))
