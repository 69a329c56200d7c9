"""A classifier answers as its network does, and leaves the network as it was."""

import copy
import logging
import math
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import regard
from regard.errors import ClassifierError, TargetError
from regard.models import passes
from regard.question import ask

from ..explainers.networks import CLASSES, WIDTH, classifier_of, cnn, loud, mlp_head, pixels_of, vit


def normed():
    """Batch statistics and dropout: what a pass in training mode would change."""
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return loud(nn.Sequential(*layers, nn.Linear(4, CLASSES)))


class After(nn.Module):
    """A network whose logits go through a function before they are returned."""

    def __init__(self, function):
        super().__init__()
        self.body, self.fc, self.function = cnn()[:-1], cnn()[-1], function

    def forward(self, pixels):
        return self.function(self.fc(self.body(pixels)))


def state_of(network):
    """Everything in a network that a call could change."""
    return {
        "training": [module.training for module in network.modules()],
        "required": [parameter.requires_grad for parameter in network.parameters()],
        "gradients": [parameter.grad for parameter in network.parameters()],
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()),
        "values": {name: tensor.clone() for name, tensor in network.state_dict().items()},
    }


def unchanged(network, before):
    after = state_of(network)
    torch.testing.assert_close(after.pop("values"), (before := dict(before)).pop("values"), rtol=0, atol=0)
    assert all(one is other for one, other in zip(after.pop("gradients"), before.pop("gradients"), strict=True))
    assert after == before
    return True


@pytest.mark.parametrize("make", [cnn, vit, normed])
def test_logits_are_those_of_the_network_in_eval_mode(make):
    logits = classifier_of(make().train())(pixels_of())
    assert logits.equal(make()(pixels_of()))
    assert logits.dtype is torch.float32


def test_a_network_in_training_mode_is_read_in_eval_mode_with_one_line_and_set_back(caplog):
    network = normed().train()
    before, classifier = state_of(network), classifier_of(network)
    caplog.set_level(logging.INFO, "regard")
    for call in (classifier, classifier.embed):
        caplog.clear()
        call(pixels_of())
        assert [record.message for record in caplog.records if "training mode" in record.message] == [
            "Sequential is in training mode; it is read in eval mode and set back afterwards"
        ]
    assert unchanged(network, before)
    network.eval()
    caplog.clear()
    classifier(pixels_of())
    assert not caplog.records


def test_every_module_and_parameter_keeps_its_own_flags_and_gradient():
    network, head = vit(num_classes=0), mlp_head()
    network.blocks[0].train()
    head[1].train()
    network.patch_embed.requires_grad_(False)
    head[0].weight.grad = torch.ones_like(head[0].weight)
    before = state_of(network), state_of(head)
    classifier = classifier_of(network, head=head)
    classifier(pixels_of())
    classifier.embed(pixels_of())
    assert unchanged(network, before[0])
    assert unchanged(head, before[1])


def test_a_network_that_fails_on_the_way_is_set_back_too():
    network = After(lambda logits: logits if len(logits) == 1 else 1 / 0).train()
    classifier, before = classifier_of(network), state_of(network)
    for call in (classifier, classifier.embed):
        with pytest.raises(ZeroDivisionError):
            call(pixels_of())
        assert unchanged(network, before)


def test_a_head_on_a_backbone_reads_its_embedding():
    backbone, head = vit(num_classes=0), mlp_head()
    classifier = classifier_of(backbone, head=head, labels=list("abcde"))
    assert (classifier.outputs, classifier.class_count, classifier.width) == ("softmax", CLASSES, WIDTH)
    assert classifier.embed(pixels_of()).equal(backbone(pixels_of()))
    assert classifier(pixels_of()).equal(head(backbone(pixels_of())))
    assert classifier.head_module() is head


@pytest.mark.parametrize(("network", "head"), [(vit(), "head"), (cnn(), "8"), (normed(), "5")])
def test_the_embedding_is_what_the_head_reads_in_chunks_of_the_size_remembered(network, head):
    classifier, pixels, read = classifier_of(network), pixels_of(5), []
    passes.remember_chunk(classifier, pixels[:1], 2)
    assert (classifier.tokens is None) == (head != "head")
    network.get_submodule(head).register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    embedding = classifier.embed(pixels)
    assert [len(chunk) for chunk in read] == [2, 2, 1]
    assert embedding.equal(torch.cat(read))
    assert not embedding.requires_grad
    assert classifier.head_module() is network.get_submodule(head)


def test_an_embedding_that_nothing_linear_reads_is_refused_with_what_to_do():
    classifier = classifier_of(After(abs))
    assert classifier.width is None
    with pytest.raises(ClassifierError, match="embedding of After is not known") as refusal:
        classifier.embed(pixels_of())
    assert "head=" in refusal.value.remedy


@pytest.mark.parametrize(
    "function", [torch.relu, torch.relu_, lambda logits: logits.mul_(3)], ids=["relu", "relu_", "mul_"]
)
def test_a_linear_layer_whose_output_is_changed_afterwards_is_not_taken_for_the_head(function):
    assert classifier_of(After(function)).head_module() is None


class Backbone(nn.Module):
    """A transformers model without a classification layer."""

    config = SimpleNamespace()

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1))

    def forward(self, pixels):
        return {"last_hidden_state": pixels.flatten(2)[:, :, :4] * 2, "pooler_output": None}


@pytest.mark.parametrize(
    ("network", "width", "expected"),
    [
        (vit(num_classes=0), WIDTH, vit(num_classes=0)),
        (Backbone(), 4, lambda pixels: pixels[:, 0, 0, :4] * 2),
    ],
    ids=["timm", "transformers"],
)
def test_a_network_without_a_head_gives_embeddings_and_no_classes(network, width, expected):
    classifier = classifier_of(network)
    assert (classifier.outputs, classifier.labels, classifier.class_count) == ("embedding", None, None)
    assert (classifier.width, classifier.head_module()) == (width, None)
    assert classifier(pixels_of()).equal(expected(pixels_of()))
    assert classifier.embed(pixels_of()).equal(classifier(pixels_of()))


@pytest.mark.parametrize(
    "target", [3, "tabby", regard.Predicted(), [regard.Difference(0, 1)], regard.Probability(1)], ids=repr
)
def test_class_targets_are_refused_without_a_head(target):
    with pytest.raises(TargetError):
        ask(target, classifier_of(vit(num_classes=0)), 1)
    with pytest.raises(ClassifierError, match="no labels without a head"):
        classifier_of(vit(num_classes=0), labels=["tabby"])


@pytest.mark.parametrize(
    ("outputs", "chances"),
    [(None, [0.25, 0.75]), ("softmax", [0.25, 0.75]), ("sigmoid", [0.5, 0.75]), ("scalar", None)],
)
def test_outputs_say_what_logits_mean(outputs, chances):
    network = After(lambda logits: (logits[:, :2] * 0) + torch.tensor([0.0, math.log(3)]))
    classifier = classifier_of(network, outputs=outputs)
    (answers,) = ask([0, 1], classifier, 1).answers(classifier.respond(pixels_of(1)))
    assert [answer.score for answer in answers] == pytest.approx([0, math.log(3)])
    found = [answer.probability for answer in answers]
    assert found == ([None, None] if chances is None else pytest.approx(chances))


class ModelOutput(SimpleNamespace):
    """As transformers': fields by name, optional ones None."""

    def to_tuple(self):
        return tuple(value for value in vars(self).values() if value is not None)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: {"loss": None, "logits": y},
        lambda y: ModelOutput(loss=None, logits=y, last_hidden_state=(y + 1)[:, None]),
        lambda y: ModelOutput(logits=None, image_embeds=y),
        lambda y: (y, y + 1),
        lambda y: [y],
        lambda y: namedtuple("Output", "logits aux")(y, y + 1),
    ],
)
def test_logits_are_found_in_what_networks_return(wrap):
    assert classifier_of(After(wrap))(pixels_of()).equal(cnn()(pixels_of()))


@pytest.mark.parametrize("wrap", [lambda y: None, lambda y: (), lambda y: {"boxes": y}, lambda y: ("text", y)])
def test_an_output_without_logits_is_refused(wrap):
    with pytest.raises(ClassifierError, match="nothing that can be read as logits"):
        classifier_of(After(wrap))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: y[:, None].expand(-1, 17, -1),
        lambda y: y[:, :, None, None].expand(-1, -1, 4, 4),
        lambda y: y[0],
        lambda y: torch.cat([y, y]),
        lambda y: {"logits": y[:, None].expand(-1, 17, -1)},
    ],
    ids=["tokens", "feature map", "vector", "two rows", "tokens by name"],
)
def test_an_output_that_is_not_one_row_a_picture_is_refused_with_what_to_do(wrap):
    with pytest.raises(ClassifierError, match="one row per picture") as refusal:
        classifier_of(After(wrap))
    assert "pool" in refusal.value.remedy


@pytest.mark.parametrize("labels", [list("abcd"), list("abcdef"), "abcde", [0, 1, 2, 3, 4], []])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ClassifierError, match="labels"):
        classifier_of(cnn(), labels=labels)
    assert classifier_of(cnn(), labels=tuple("abcde")).labels == list("abcde")


def test_a_network_that_cannot_run_on_its_preparation_is_refused_with_its_own_reason():
    with pytest.raises(ClassifierError, match="cannot run on what its preparation gives") as refusal:
        classifier_of(vit(), size=40)
    assert "40" in refusal.value.came
    assert "(B, 3, 40, 40)" in refusal.value.expected


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("resnet50", regard.Preparation()), "no nn.Module"),
        ((lambda pixels: pixels, regard.Preparation()), "no nn.Module"),
        ((cnn(), 224), "how photos are prepared"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(arguments, problem):
    with pytest.raises(ClassifierError, match=problem):
        regard.Classifier(*arguments)


@pytest.mark.parametrize(
    "settings",
    [{"outputs": "logits"}, {"precision": "int8"}, {"outputs": "embedding", "head": mlp_head(width=8)}],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ClassifierError):
        classifier_of(cnn(), **settings)


@pytest.mark.parametrize("part", ["network", "head"])
def test_parameters_made_in_inference_mode_are_refused(part):
    backbone, head = cnn()[:-1], nn.Linear(8, CLASSES)
    with torch.inference_mode():
        made = copy.deepcopy(backbone if part == "network" else head)
    with pytest.raises(ClassifierError, match=r"made inside torch\.inference_mode"):
        classifier_of(made if part == "network" else backbone, head=made if part == "head" else head)


class Compiled(nn.Module):
    """As torch.compile's: the network under another name, here unable to run by itself."""

    def __init__(self, network):
        super().__init__()
        self._orig_mod = network


@pytest.mark.parametrize("wrap", [nn.DataParallel, Compiled, lambda network: nn.DataParallel(Compiled(network))])
def test_the_network_inside_wrappers_is_read(wrap):
    network = vit().train()
    wrapper = wrap(network)
    classifier, plain = classifier_of(wrapper), classifier_of(vit())
    assert (classifier.network, classifier.module, classifier.name) == (wrapper, network, "VisionTransformer")
    assert (classifier.tokens, classifier.hash) == (plain.tokens, plain.hash)
    assert classifier(pixels_of()).equal(plain(pixels_of()))
    assert classifier.embed(pixels_of()).equal(plain.embed(pixels_of()))
    assert wrapper.training
    assert network.training


def test_a_network_that_ends_in_a_softmax_is_not_taken_for_one_of_logits():
    network = nn.Sequential(cnn(), nn.Softmax(1))
    with pytest.raises(ClassifierError, match="returns probabilities") as refusal:
        classifier_of(network)
    assert "scalar" in refusal.value.remedy
    assert classifier_of(network, outputs="scalar").class_count == 5


class Pooled(Backbone):
    """A model of transformers without a class token: its first token is a corner of the picture."""

    def __init__(self):
        super().__init__()
        del self.cls_token
        self.pooler = nn.AdaptiveAvgPool1d(1)

    def forward(self, pixels):
        tokens = pixels.flatten(2)[:, :, :4]
        return {"last_hidden_state": tokens, "pooler_output": tokens.mean(1)}


def test_the_embedding_of_a_backbone_without_a_class_token_is_what_it_pools():
    assert classifier_of(Pooled())(pixels_of()).equal(pixels_of().flatten(2)[:, :, :4].mean(1))


def test_a_first_layer_that_works_in_place_leaves_the_caller_s_pixels():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)).eval()
    classifier, pixels = classifier_of(network), pixels_of(2)
    before = pixels.clone()
    classifier(pixels)
    classifier.embed(pixels)
    regard.Random(classifier)(pixels, 0)
    assert pixels.equal(before)
