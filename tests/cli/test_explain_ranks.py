"""`regard explain --method br-npa`: the ranks in colours, in place of a map that is the same for every target."""

import pytest

import regard
from regard.explanation import Explanation

from ..explainers.networks import loud

LOOKED = "does not decide by representatives"


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn, in the order in which it was."""
    names = []
    for name in ("figure", "rank_figure"):
        plain = getattr(Explanation, name)
        monkeypatch.setattr(
            Explanation,
            name,
            lambda self, photos=None, name=name, plain=plain: names.append(name) or plain(self, photos),
        )
    return names


@pytest.fixture
def explain(monkeypatch, tmp_path, program, tiny):
    monkeypatch.chdir(tmp_path)
    tiny["br-npa"] = regard.BRNPAClassifier(tiny["cnn"], [*"abcde"])
    loud(tiny["br-npa"].head)
    return lambda name, *more: program("explain", "photo.png", "--classifier", name, "--run", "run", "--force", *more)


def test_the_picture_is_that_of_the_ranks_and_the_words_say_its_colours(explain, drawn, tmp_path):
    for name, looked in (("br-npa", False), ("cnn", True), ("vit", True)):
        code, out, err = explain(name, "--method", "br-npa")
        assert code == 0
        assert "red: rank 1, green: rank 2, blue: rank 3\n" in out
        assert (LOOKED in err) == looked
        assert (tmp_path / "run" / "pictures" / "photo.png").stat().st_size > 1000
        found = Explanation.load(tmp_path / "run" / "maps" / "photo.safetensors")
        assert (found.ranks.shares is None) == looked
        assert found.ranks.maps.shape[:2] == (1, 3)
    assert drawn == ["rank_figure"] * 3


def test_the_rank_and_their_number_are_settings(explain, tmp_path):
    assert explain("cnn", "--method", "br-npa:rank=max:count=2")[0] == 0
    found = Explanation.load(tmp_path / "run" / "maps" / "photo.safetensors")
    assert found.maps[:, 0].equal(found.ranks.maps.amax(dim=1))
    assert found.ranks.maps.shape[1] == 2
    code, _, err = explain("br-npa", "--method", "br-npa:count=2")
    assert code == 2
    assert "representatives of its own" in err


def test_maps_of_other_methods_are_drawn_as_before(explain, drawn):
    assert explain("cnn", "--method", "grad-cam")[0] == 0
    assert drawn == ["figure"]


def test_the_method_is_listed(program):
    code, out, _ = program("methods")
    (line,) = [line for line in out.splitlines() if line.startswith("br-npa")]
    assert code == 0
    assert "regard.BRNPAClassifier" in line
