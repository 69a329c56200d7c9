"""Which methods there are, which is chosen, and the one line that chooses all."""

import sys
from importlib import metadata
from types import ModuleType

import pytest
import regard_embedded
import torch

import regard
from regard.errors import LayerError, UnsupportedError
from regard.explainers import registry
from regard.explainers.explainer import ALL_TARGETS, Explainer, Found
from regard.models.catalog import DEFAULT
from regard.models.taps import Place, read
from regard.targets import Target

from .networks import classifier_of, cnn, pixels_of, vit


class Foreign(Explainer):
    """Another package's method."""

    name = "foreign"
    summary = "ones"
    answers = frozenset({"class"})

    def _explain(self, pixels, question):
        return Found(torch.ones(len(pixels), len(question.targets), 2, 2), None)


@pytest.fixture
def installed(monkeypatch):
    """A package whose entry points add a method, and something that is none."""
    module = ModuleType("a_foreign_package")
    module.Foreign, module.nothing = Foreign, 3
    monkeypatch.setitem(sys.modules, module.__name__, module)
    points = [
        metadata.EntryPoint(name, f"a_foreign_package:{attribute}", registry.GROUP)
        for name, attribute in (("foreign", "Foreign"), ("broken", "nothing"))
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: metadata.EntryPoints(points))


def test_another_package_s_method_is_found_and_explains(installed):
    assert registry.names()[-2:] == ["broken", "foreign"]
    explanation = regard.explain(pixels_of(), classifier_of(cnn()), method="foreign", targets=[0, 1])
    assert explanation.method == "foreign"
    assert explanation.maps.equal(torch.ones(2, 2, 2, 2))


def test_a_target_that_a_method_does_not_answer_is_refused(installed):
    with pytest.raises(regard.errors.TargetError, match="does not answer"):
        regard.explain(pixels_of(), classifier_of(cnn()), method="foreign", targets=regard.Predicted())


def test_what_is_registered_and_no_explainer_is_refused(installed):
    with pytest.raises(UnsupportedError, match="'broken' is no explainer"):
        registry.find("broken")


def test_every_method_says_what_it_is():
    listed = {method.name: method for method in regard.methods()}
    assert {"cdam", "grad-cam", "attention", "random", "centre"} <= listed.keys()
    assert all(method.summary and method.networks and method.answers for method in listed.values())
    assert all(registry.find(name).name == name for name in listed)


def test_the_kinds_of_targets_are_those_that_there_are():
    import regard.concepts  # noqa: F401 (defines two of them)

    assert {target.kind for target in all_subclasses(Target)} == ALL_TARGETS


def all_subclasses(base):
    return {child for direct in base.__subclasses__() for child in {direct} | all_subclasses(direct)}


def test_an_unknown_method_is_answered_with_the_known_ones():
    with pytest.raises(UnsupportedError, match="cdam, grad-cam, attention, "):
        registry.find("gradcam")


def test_the_best_method_is_chosen_by_the_network():
    assert registry.choose(classifier_of(vit())).name == "cdam"
    assert registry.choose(classifier_of(cnn())).name == "grad-cam"
    assert registry.choose(classifier_of(vit()), "attention").name == "attention"
    assert registry.choose(classifier_of(vit(global_pool="avg"))).name == "cdam"
    with pytest.raises(UnsupportedError, match="no method explains") as refusal:
        registry.choose(classifier_of(vit(depth=0)))
    assert "cdam" in refusal.value.came
    assert "grad-cam" in refusal.value.came


def test_one_line_explains_a_photo_with_everything_chosen():
    photo = next(photo for photo in regard_embedded.photos() if photo.path.stem == "gondola")
    explanation = regard.explain(photo.path)
    assert (explanation.classifier, explanation.method) == ("regard:efficientnet-lite0", "tame")
    assert explanation.targets[0][0].name == "gondola"
    chances = [answer.probability for answer in explanation.targets[0]]
    assert len(chances) == 3
    assert chances == sorted(chances, reverse=True)


@pytest.mark.parametrize(
    ("targets", "method"),
    [
        (None, "tame"),
        ([281, "gondola", regard.Predicted(2)], "tame"),
        (regard.PerImage([281]), "tame"),
        (regard.Difference(281, 282), "grad-cam"),
        ([281, regard.Probability(281)], "grad-cam"),
    ],
    ids=["nothing", "classes", "classes by image", "a difference", "a probability beside a class"],
)
def test_the_attention_shipped_for_a_network_is_chosen_where_it_answers(targets, method):
    photo = next(photo for photo in regard_embedded.photos() if photo.path.stem == "gondola")
    assert regard.explain(photo.path, targets=targets).method == method


def test_settings_choose_a_method_that_has_them():
    assert registry.choose(regard.load(DEFAULT), layer="blocks.4").name == "grad-cam"
    with pytest.raises(UnsupportedError, match="no method explains") as refusal:
        registry.choose(regard.load(DEFAULT), sampels=3)
    assert all(f"{name} has no setting 'sampels'" in refusal.value.came for name in ("cdam", "tame", "grad-cam"))


def test_what_is_no_target_is_refused_before_a_method_is_chosen():
    with pytest.raises(regard.errors.TargetError, match="not a target"):
        registry.choose(classifier_of(cnn()), targets=[3.5])


def test_one_line_takes_a_classifier_by_name_and_a_method_s_settings():
    photo = next(photo for photo in regard_embedded.photos() if photo.path.stem == "church-3")
    explanation = regard.explain(photo.path, "regard:vit-small", "cdam", "church", terms="value")
    assert explanation.settings["terms"] == "value"
    assert explanation.targets[0][0].name == "church"


def test_a_method_of_a_broken_package_hides_no_other(monkeypatch, caplog):
    point = metadata.EntryPoint("lost", "a_package_that_is_gone:Method", registry.GROUP)
    monkeypatch.setattr(metadata, "entry_points", lambda group: metadata.EntryPoints([point]))
    assert "cdam" in {method.name for method in regard.methods()}
    assert "'lost' of another package cannot be loaded" in caplog.text
    with pytest.raises(UnsupportedError, match="cannot be loaded"):
        registry.find("lost")


def test_a_bare_network_in_the_one_line_is_refused_with_how_to_wrap_it():
    with pytest.raises(regard.errors.ClassifierError, match="or a name"):
        regard.explain(pixels_of(), cnn())


def test_a_compiled_network_says_why_its_layers_are_not_seen():
    network = vit()
    network.compile(backend="eager")
    with pytest.raises(LayerError, match="does not run") as refusal:
        read(network, [Place("blocks.0.attn.proj")], lambda: pixels_of())
    assert "compiled" in refusal.value.came
    assert "the network that was compiled" in refusal.value.remedy


def test_a_setting_that_a_method_does_not_have_is_answered_with_those_it_has():
    with pytest.raises(UnsupportedError, match="cdam has no setting 'sampels'") as refusal:
        registry.choose(classifier_of(vit()), "cdam", sampels=3)
    assert refusal.value.expected == "terms, form, pooled"
    with pytest.raises(UnsupportedError, match="rollout has no setting"):
        registry.choose(classifier_of(vit()), "rollout", steps=3)


def test_a_misspelt_method_is_answered_with_the_nearest():
    with pytest.raises(UnsupportedError, match="no method 'CDAM'") as refusal:
        registry.choose(classifier_of(vit()), "CDAM")
    assert "perhaps cdam" in refusal.value.remedy
