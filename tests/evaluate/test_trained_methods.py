"""TAME among the methods that are judged: read from its file, and asked of redrawn weights as it was trained."""

import pytest
import torch

import regard
from regard.errors import FileFormatError
from regard.evaluate.asked import methods_asked
from regard.evaluate.judge import Entrant
from regard.metrics.of_methods import Randomisation
from regard.models.randomised import randomised

from ..explainers.attentions import drawn
from ..explainers.networks import classifier_of, pixels_of, vit


@pytest.fixture(scope="module")
def classifier():
    return classifier_of(vit())


def entrant_of(classifier, variant, folder):
    file = folder / f"{variant}.safetensors"
    drawn(classifier, variant).save(file)
    (asked,) = methods_asked([f"tame:{file}:force=true"], classifier)
    return Entrant(asked.text, asked.explainer, asked.explainer(classifier))


def test_a_file_s_explainer_takes_its_settings(classifier, tmp_path):
    entrant = entrant_of(classifier, "tame", tmp_path)
    assert entrant.explainer.force
    assert entrant.method(classifier) is entrant.explainer
    with pytest.raises(FileFormatError, match="another classifier"):
        entrant.make(randomised(classifier, "head"))


@pytest.mark.parametrize("variant", ["tame", "tied"])
def test_the_sanity_check_asks_the_attention_as_it_was_trained(classifier, variant, tmp_path):
    entrant, pixels = entrant_of(classifier, variant, tmp_path), pixels_of()
    classes = regard.PerImage([1, 2])
    of_head = Randomisation("head").measure(entrant.method, classifier, pixels, classes)
    of_all = Randomisation("cascade").measure(entrant.method, classifier, pixels, classes)
    if variant == "tame":  # reads what lies before the head, and never the head
        assert torch.allclose(of_head, torch.ones_like(of_head))
    else:
        assert (of_head < 0.999).all()
    assert (of_all < 0.999).all()
