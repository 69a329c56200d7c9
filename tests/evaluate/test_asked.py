"""Methods as they are written on the command line."""

import hashlib
import inspect
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import pytest
import torch

from regard import fills
from regard.errors import FileFormatError, LayerError, MissingDependencyError, RegardError, UnsupportedError
from regard.evaluate.asked import FILLS, fill_called, methods_asked
from regard.explainers import registry
from regard.explainers.explainer import Explainer, Found

from ..explainers.networks import classifier_of, cnn, pixels_of, vit

if TYPE_CHECKING:
    from somewhere import Else


class Learnt(Explainer):
    """A method that another package trains."""

    name = "learnt"
    summary = "a file's value everywhere"
    made_by = "learn PHOTOS -c {classifier} --out {file}"

    def __init__(self, classifier, value):
        super().__init__(classifier)
        self.value = value
        self.settings = {"value": value}

    @classmethod
    def load(cls, file: Path, classifier, scale: float = 1.0) -> "Learnt":
        text = file.read_text()
        if not text.startswith("learnt "):
            raise FileFormatError(f"{str(file)!r} holds no learnt method")
        return cls(classifier, scale * float(text.split()[1]))

    def _explain(self, pixels, question):
        return Found(torch.full((len(pixels), len(question.targets), 2, 2), self.value), None)


class Free(Explainer):
    """A method of another package with settings of every kind."""

    name = "free"
    summary = "ones"

    def __init__(
        self,
        classifier,
        *arguments: int,
        level: Literal[1, 2] = 1,
        exact: bool = False,
        size: int | float = 1,
        many: tuple[int, ...] = (),
        free=None,
        word="a",
        **more: str,
    ):
        super().__init__(classifier)
        self.settings = {"level": level, "exact": exact, "size": size, "free": free, "word": word}

    def _explain(self, pixels, question):
        return Found(torch.ones(len(pixels), len(question.targets), 2, 2), None)


class Vague(Free):
    """Its annotations name what is imported for types alone."""

    name = "vague"

    def __init__(self, classifier, *, size=3, other: "Else | None" = None):
        super().__init__(classifier)
        self.settings = {"size": size}


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    module = ModuleType("a_foreign_package")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    points = []
    for kind in (Learnt, Free, Vague):
        setattr(module, kind.__name__, kind)
        points.append(metadata.EntryPoint(kind.name, f"a_foreign_package:{kind.__name__}", registry.GROUP))
    monkeypatch.setattr(metadata, "entry_points", lambda group: metadata.EntryPoints(points))


@pytest.fixture(scope="module")
def transformer():
    return classifier_of(vit())


@pytest.fixture(scope="module")
def convolutional():
    return classifier_of(cnn())


def test_methods_stand_between_commas_each_once_and_in_order(transformer):
    asked = methods_asked(["rollout, cdam", "random:seed=2,cdam,random:seed=3"], transformer)
    assert [method.text for method in asked] == ["rollout", "cdam", "random:seed=2", "random:seed=3"]
    assert [method.name for method in asked] == ["rollout", "cdam", "random", "random"]


def test_settings_are_read_as_the_method_takes_them(transformer):
    smooth, integrated, gradient = methods_asked(
        [
            "smooth-cdam:samples=5:noise=.1:scale=rms:seed=-1,integrated-gradients:steps=2:baseline=blur,grad-cam:layer=norm"
        ],
        transformer,
    )
    assert smooth.settings == {"samples": 5, "noise": 0.1, "scale": "rms", "seed": -1}
    assert smooth.explainer(transformer).settings["samples"] == 5
    assert integrated.settings == {"steps": 2, "baseline": fills.Blur()}
    assert gradient.settings == {"layer": "norm"}


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("free:level=2:exact=true", {"level": 2, "exact": True}),
        ("free:exact=false:size=3", {"exact": False, "size": 3}),
        ("free:size=2e-3", {"size": 0.002}),
        ("free:free=x=y/z:word=é", {"free": "x=y/z", "word": "é"}),
        ("vague:size=4:other=x", {"size": 4, "other": "x"}),
    ],
)
def test_settings_of_other_packages_are_read_too(text, settings, convolutional):
    (asked,) = methods_asked([text], convolutional)
    assert asked.settings == settings
    assert {name: type(value) for name, value in asked.settings.items()} == {
        name: type(value) for name, value in settings.items()
    }


@pytest.mark.parametrize(
    ("text", "problem", "expected"),
    [
        ("cdm", "no method 'cdm'", None),
        ("", "no name", None),
        ("cdam,,rollout", "no name", None),
        (":samples=3", "no name", None),
        ("all:seed=1", "no method 'all'", None),
        ("cdam:trems=value", "cdam has no setting 'trems'", "terms, form, pooled"),
        ("rollout:steps=1", "rollout has no setting", "none: it has no settings"),
        ("smooth-cdam:samples=many", "samples of smooth-cdam", "a whole number"),
        ("smooth-cdam:samples=5.0", "samples of smooth-cdam", "a whole number"),
        ("smooth-cdam:samples=", "samples of smooth-cdam", "a whole number"),
        ("smooth-cdam:noise=nan", "noise of smooth-cdam", "a number, with a decimal point"),
        ("cdam:terms=none", "terms of cdam", "both | value | routing"),
        ("integrated-gradients:baseline=red", "baseline of", "training-mean | mean | black | blur | noise | inpaint"),
        ("free:many=3", "many of free", "a tuple[int, ...], which cannot be written here: use regard from Python"),
        ("free:exact=1", "exact of free", "true | false"),
        ("free:size=big", "size of free", "a whole number or a number, with a decimal point"),
        ("free:arguments=1", "no setting 'arguments'", "level, exact, size, many, free, word"),
        ("random:seed=1:seed=2", "seed is set twice", None),
        ("cdam:my.safetensors", "cdam has no file", "cdam, or cdam:SETTING=VALUE"),
        ("learnt", "learnt is read from a file", "learnt:FILE"),
        ("learnt:a:b", "more than one file", None),
        ("cdam,of/it,too.safetensors", "no method 'of/it'", None),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(text, problem, expected, transformer):
    with pytest.raises(UnsupportedError, match=problem) as refusal:
        methods_asked([text], transformer)
    if expected is not None:
        assert refusal.value.expected == expected


def test_what_is_misspelt_is_answered_with_what_is_near(transformer):
    for text, near in (("cdm", "perhaps cdam"), ("smooth-cdam:noise-at=norm output", "perhaps noise_at or noise")):
        with pytest.raises(UnsupportedError) as refusal:
            methods_asked([text], transformer)
        assert refusal.value.remedy == near


def test_a_value_that_a_method_refuses_is_refused_before_anything_is_run(transformer):
    with pytest.raises(UnsupportedError, match="samples is a whole number"):
        methods_asked(["smooth-cdam:samples=0"], transformer)
    with pytest.raises(LayerError, match="no layer"):
        methods_asked(["grad-cam:layer=nowhere"], transformer)


def test_a_method_that_does_not_explain_the_classifier_is_no_wrong_use(convolutional):
    (asked,) = methods_asked(["smooth-cdam:samples=3"], convolutional)
    with pytest.raises(UnsupportedError):
        asked.explainer(convolutional)


def test_all_are_those_that_fit_and_need_no_file(convolutional, transformer):
    names = [asked.name for asked in methods_asked(["all"], convolutional)]
    assert {"grad-cam", "random", "centre", "free"} <= set(names)
    assert not {"cdam", "rollout", "learnt"} & set(names)
    assert {"cdam", "rollout"} <= {asked.name for asked in methods_asked(["all"], transformer)}
    more = methods_asked(["random:seed=1,all,centre"], convolutional)
    assert [asked.text for asked in more] == ["random:seed=1", *names]


def test_a_method_whose_package_is_missing_is_among_all_and_says_so_itself(convolutional, monkeypatch):
    def missing(self, classifier):
        raise MissingDependencyError("no such package")

    monkeypatch.setattr(Free, "__init__", missing)
    asked = {asked.name: asked for asked in methods_asked(["all"], convolutional)}
    with pytest.raises(MissingDependencyError):
        asked["free"].explainer(convolutional)


def test_a_trained_method_is_read_from_its_file(convolutional, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("it.txt", "a=b"):
        (tmp_path / name).write_text("learnt 3")
    asked = methods_asked(["learnt:it.txt,learnt:it.txt:scale=2,learnt:scale=2:./a=b"], convolutional)
    assert [(method.file, method.settings, method.missing) for method in asked] == [
        (Path("it.txt"), {}, False),
        (Path("it.txt"), {"scale": 2.0}, False),
        (Path("a=b"), {"scale": 2.0}, False),
    ]
    maps = asked[1].explainer(convolutional)(pixels_of(), targets=0).maps
    assert maps.equal(torch.full((2, 1, 2, 2), 6.0))


def test_a_missing_file_is_kept_with_the_command_that_makes_it(convolutional, tmp_path):
    file = tmp_path / "not there.txt"
    (asked,) = methods_asked([f"learnt:{file}"], convolutional)
    assert (asked.name, asked.missing) == ("learnt", True)
    assert asked.made_by == f"learn PHOTOS -c {convolutional.name} --out '{file}'"
    with pytest.raises(UnsupportedError, match="there is no file") as refusal:
        asked.explainer(convolutional)
    assert refusal.value.remedy == asked.made_by


def test_a_folder_and_a_file_of_something_else_are_refused(convolutional, tmp_path):
    with pytest.raises(UnsupportedError, match="read from a file") as refusal:
        methods_asked([f"learnt:{tmp_path}"], convolutional)
    assert refusal.value.came == f"the folder {str(tmp_path)!r}"
    (tmp_path / "other.txt").write_text("something")
    (asked,) = methods_asked([f"learnt:{tmp_path / 'other.txt'}"], convolutional)
    with pytest.raises(FileFormatError, match="holds no learnt"):
        asked.explainer(convolutional)


def test_a_trained_method_without_a_file_is_the_shipped_one_and_then_among_all(convolutional, tmp_path, monkeypatch):
    file = tmp_path / "it.txt"
    file.write_text("learnt 3")

    def shipped(classifier):
        return file if classifier is convolutional else None

    monkeypatch.setattr(Learnt, "shipped", shipped, raising=False)
    (asked,) = methods_asked(["learnt:scale=2"], convolutional)
    assert (asked.text, asked.file, asked.settings) == ("learnt:scale=2", file, {"scale": 2.0})
    assert asked.explainer(convolutional).value == 6.0
    assert asked.digest == hashlib.sha256(b"learnt 3").hexdigest()
    every = {method.name: method for method in methods_asked(["all"], convolutional)}
    assert every["learnt"].file == file
    (own,) = methods_asked(["learnt:other.txt"], convolutional)
    assert own.file == Path("other.txt")
    other = classifier_of(cnn(seed=1))
    assert "learnt" not in {method.name for method in methods_asked(["all"], other)}
    with pytest.raises(UnsupportedError, match="read from a file"):
        methods_asked(["learnt"], other)


def test_every_setting_of_regard_s_own_methods_that_can_be_written_is_known(transformer):
    for name in registry.names():
        kind = registry.find(name)
        if kind.__module__.startswith("regard."):
            known = {parameter for parameter in inspect.signature(kind).parameters if parameter != "classifier"}
            for setting in known:
                with pytest.raises(RegardError) as refusal:
                    methods_asked([f"{name}:{setting}="], transformer)
                assert "which cannot be written" not in refusal.value.expected


def test_fills_are_called_by_name(transformer):
    pixels = pixels_of()
    for name in FILLS:
        background = fill_called(name, transformer.preparation).background(pixels)
        assert background.shape == pixels.shape
    black = fill_called("black", transformer.preparation).background(pixels)
    assert black.equal(torch.full_like(black, -1.0))  # (0 − 0.5) / 0.5
    assert isinstance(fill_called("mean", transformer.preparation), fills.Mean)
    with pytest.raises(UnsupportedError, match="no such fill"):
        fill_called("white", transformer.preparation)
