"""Every method × every kind of tiny network × every kind of target: the contract of design.md, section 5."""

import warnings
from contextlib import nullcontext, suppress

import pytest
import torch
from torch import nn

import regard
from regard.errors import ClassifierError, TargetError, UnsupportedError
from regard.explainers.registry import find, names
from regard.models import passes

from .attentions import drawn
from .networks import TOKENS_ALIKE, classifier_of, cnn, loud, mlp_head, pixels_of, same, vit

IMAGES = 3
pytestmark = TOKENS_ALIKE


def convolutional_backbone():
    return loud(nn.Sequential(*list(cnn())[:-1], nn.Identity()))


CLASSIFIERS = {
    "vit": lambda: classifier_of(vit(), labels=list("abcde")),
    "vit with registers": lambda: classifier_of(vit(reg_tokens=4), outputs="sigmoid"),
    "vit by autograd": lambda: classifier_of(vit(qk_norm=True)),
    "vit in bfloat16": lambda: classifier_of(vit(), precision="bfloat16"),
    "vit without a head": lambda: classifier_of(vit(num_classes=0)),
    "vit with a head of one's own": lambda: classifier_of(vit(num_classes=0), head=mlp_head()),
    "vit that measures": lambda: classifier_of(vit(), outputs="scalar"),
    "vit whose patches are averaged": lambda: classifier_of(vit(global_pool="avg")),
    "cnn": lambda: classifier_of(cnn(), labels=list("abcde")),
    "cnn of independent classes": lambda: classifier_of(cnn(), outputs="sigmoid"),
    "cnn without a head": lambda: classifier_of(convolutional_backbone(), outputs="embedding"),
    "wrapped cnn": lambda: classifier_of(nn.DataParallel(cnn())),
}


def concept(classifier, measure):
    others = pixels_of(2, seed=8) if measure == "contrast" else None
    return regard.Concept.from_images(classifier, pixels_of(2, seed=7), "horn", measure, others)


TARGETS = {
    "index": lambda _: 1,
    "label": lambda _: "b",
    "predicted": lambda _: regard.Predicted(2),
    "top": lambda _: regard.top(3),
    "per image": lambda _: regard.PerImage([[0, 1], [4, 2], [3, 3]]),
    "difference": lambda _: regard.Difference(0, regard.Predicted()),
    "probability": lambda _: regard.Probability(2),
    "log-probability": lambda _: regard.LogProbability(regard.Predicted()),
    "score of logits": lambda _: regard.Score(lambda logits: (logits[:, 0] * logits[:, 1]).tanh()),
    "score of the embedding": lambda _: regard.Score(lambda embedding: embedding.square().sum(1), of="embedding"),
    "dot": lambda classifier: concept(classifier, "dot"),
    "cosine": lambda classifier: concept(classifier, "cosine"),
    "contrast": lambda classifier: concept(classifier, "contrast"),
    "similarity": lambda classifier: regard.Similarity(classifier.embed(pixels_of(1, seed=9))[0]),
    "several": lambda classifier: [0, concept(classifier, "dot"), regard.Difference(1, 2)],
    "default": lambda _: None,
}


FEW = {
    "integrated-gradients": {"steps": 4},
    "smooth-grad": {"samples": 3},
    "smooth-cdam": {"samples": 3},
    "integrated-cdam": {"steps": 3},
    "paper-integrated-cdam": {"steps": 4},
    "rise": {"samples": 4},
    "occlusion": {"window": 16},
}
"""Fewer points of averages than by default: the contract is the same."""


def explainers(classifier):
    """All methods that explain this classifier; the others refuse it."""
    able = []
    for name in names():
        with warnings.catch_warnings(), suppress(UnsupportedError):
            warnings.simplefilter("ignore", UserWarning)
            trained = {"trained": drawn(classifier)} if name == "tame" else {}
            able.append(find(name)(classifier, **FEW.get(name, {}), **trained))
    return able


def state(classifier):
    """All of a network that a call could leave changed."""
    network = classifier.network
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "hooks": [len(getattr(module, kind)) for module in network.modules() for kind in hooks],
        "attributes": [sorted(vars(module)) for module in network.modules()],
        "modes": [module.training for module in network.modules()],
        "required": [parameter.requires_grad for parameter in network.parameters()],
        "gradients": [None if p.grad is None else p.grad.sum().item() for p in network.parameters()],
        "weights": [tensor.double().sum().item() for tensor in network.state_dict().values()],
        "recording": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "random": torch.get_rng_state().tolist(),
        "fused": [module.fused_attn for module in network.modules() if hasattr(module, "fused_attn")],
    }


def disturb(network):
    """A network in the middle of training: mixed modes, frozen parts, gradients of its own."""
    network.train()
    next(iter(network.children())).eval()
    parameters = list(network.parameters())
    for parameter in parameters[::2]:
        parameter.requires_grad_(False)
    parameters[1].grad = torch.ones_like(parameters[1])


@pytest.fixture(params=CLASSIFIERS, scope="module")
def make(request):
    return CLASSIFIERS[request.param]


@pytest.fixture(scope="module")
def classifier(make):
    return make()


@pytest.fixture(scope="module")
def able(classifier):
    return explainers(classifier)


CAMS = {"grad-cam", "grad-cam++", "layer-cam", "hires-cam", "x-grad-cam", "eigen-cam", "eigen-grad-cam"}
CONTROLS = {"random", "centre", "edges", "ones"}
PERTURBING = {"rise", "occlusion", "score-cam", "ablation-cam"}
OF_ANY = {*CAMS, *CONTROLS, *PERTURBING, "br-npa", "input-gradient", "integrated-gradients", "smooth-grad"}
CDAMS = {"cdam", "smooth-cdam", "integrated-cdam", "paper-integrated-cdam"}
OF_TOKENS = {*CDAMS, "rollout", "relevance", "token-ablation", "token-gradient"}
OF_THE_CLASS_TOKEN = {"attention", "attention-grad-cam", "last-block-ablation", "partial-relevance"}
EXPLAINED_BY = {
    "vit by autograd": {"attention", "attention-grad-cam", "partial-relevance", *OF_TOKENS},
    "vit without a head": OF_TOKENS | OF_THE_CLASS_TOKEN - {"partial-relevance"},
    "vit whose patches are averaged": OF_TOKENS,
    **{name: set() for name in CLASSIFIERS if "cnn" in name},
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_networks_that_each_method_explains(name):
    able = {explainer.name for explainer in explainers(CLASSIFIERS[name]())}
    of_classes = set() if "without a head" in name else {"tame"}
    assert able == EXPLAINED_BY.get(name, OF_TOKENS | OF_THE_CLASS_TOKEN) | OF_ANY | of_classes


NEEDS_NO_HEAD = {"score of the embedding", "dot", "cosine", "contrast", "similarity"}
NEEDS_A_RANKING = {"predicted", "top", "difference", "probability", "log-probability"}

ASKS = {
    "index": {"class"},
    "label": {"class"},
    "top": {"predicted"},
    "default": {"predicted"},
    "score of logits": {"score"},
    "score of the embedding": {"score"},
    "dot": {"concept"},
    "cosine": {"concept"},
    "contrast": {"concept"},
    "several": {"class", "concept", "difference"},
}


def askable(classifier, kind):
    """Whether the target can be made at all: not of an embedding that is not known."""
    return classifier.width is not None or kind not in {*NEEDS_NO_HEAD - {"score of the embedding"}, "several"}


def fits(classifier, kind, explainer):
    if not ASKS.get(kind, {kind}) <= explainer.answers:
        return False
    if classifier.width is None and kind == "score of the embedding":
        return False
    if classifier.class_count is None:
        return kind in NEEDS_NO_HEAD or (kind == "default" and not explainer.per_target)
    if classifier.outputs == "scalar" and kind in NEEDS_A_RANKING:
        return False
    return kind != "label" or classifier.labels is not None


@pytest.mark.parametrize("kind", TARGETS)
def test_every_method_answers_every_target_that_fits_and_refuses_the_others_before_any_pass(classifier, able, kind):
    if not askable(classifier, kind):
        with pytest.raises(ClassifierError, match=r"embedding of .* is not known"):
            TARGETS[kind](classifier)
        return
    pixels, target = pixels_of(IMAGES), TARGETS[kind](classifier)
    for explainer in able:
        if not fits(classifier, kind, explainer):
            with passes.counted() as spent, pytest.raises(TargetError):
                explainer(pixels, target)
            assert spent.forwards == 0
            continue
        explanation = explainer(pixels, target)
        images, targets, height, width = explanation.maps.shape
        assert explanation.maps.dtype is torch.float32
        assert images == len(explanation.targets) == len(explanation) == IMAGES
        assert {len(row) for row in explanation.targets} == {targets}
        assert explanation.maps.isfinite().all()
        assert min(height, width) > 1
        assert (explanation.logits is None) == (classifier.class_count is None)
        assert explanation.signed or (explanation.maps >= 0).all()
        assert explanation.forwards == IMAGES * explainer.forwards_each
        assert explainer(pixels, target).maps.equal(explanation.maps)
        assert explanation.per_target or explanation.maps[:, :1].expand_as(explanation.maps).equal(explanation.maps)


def rounding_of(explainer):
    """Share of a map that rounding may be: larger where scores are subtracted, or are exponents, as in Score-CAM.

    Ablation-CAM's map is what a positive part leaves of sums that may be a thousand times larger.
    """
    if explainer.name == "ablation-cam":
        return 5e-3
    return 2e-4 if explainer.name in {"token-ablation", "occlusion", "score-cam"} else 1e-5


def test_every_method_gives_an_image_the_same_map_alone_and_among_others(classifier, able):
    pixels = pixels_of(IMAGES)
    target = [0, 1] if classifier.class_count else concept(classifier, "dot")
    half = 2000 if classifier.precision == "bfloat16" else 1
    for explainer in able:
        together = explainer(pixels, target).maps
        for image in range(IMAGES):
            alone = explainer(pixels[image : image + 1], target).maps[0]
            same(alone, together[image], half * rounding_of(explainer))


def total(embedding):
    return embedding.sum(dim=1)


SUM = regard.Score(total, of="embedding")


def sum_or_class(explainer):
    return SUM if "score" in explainer.answers and explainer.classifier.width is not None else 0


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode], ids=lambda mode: mode.__name__)
def test_nothing_is_left_in_a_network_that_is_being_trained(make, able, mode):
    classifier = make()
    assert classifier.hash == able[0].classifier.hash
    quiet = {explainer.name: explainer(pixels_of(), sum_or_class(explainer)).maps for explainer in able}
    disturb(classifier.network)
    for explainer in explainers(classifier):
        with mode():
            before = state(classifier)
            maps = explainer(pixels_of(), sum_or_class(explainer)).maps
            assert state(classifier) == before
        same(maps, quiet[explainer.name], rounding_of(explainer))


class BrokenError(Exception):
    pass


def fail(*_, **__):
    torch.rand(3)
    raise BrokenError


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["first layer", "middle layer", "last layer"])
def test_nothing_is_left_after_a_failure_inside_the_network(make, where, monkeypatch):
    classifier = make()
    prepared = list(explainers(classifier))
    disturb(classifier.network)
    leaves = [module for module in classifier.module.modules() if not list(module.children())]
    monkeypatch.setattr(leaves[round(where * (len(leaves) - 1))], "forward", fail)
    failures = 0
    for explainer in prepared:
        before = state(classifier)
        try:
            explainer(pixels_of(), sum_or_class(explainer))
        except BrokenError:
            failures += 1
        assert state(classifier) == before
    assert failures or where == 1.0  # a class head is not run where only the embedding is asked for
