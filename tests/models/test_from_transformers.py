"""Models of transformers in folders: their class, weights, preparation, labels and the meaning of their output."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import regard
from regard.errors import ClassifierError
from regard.models import catalog

from ..explainers.networks import WIDTH, loud, pixels_of, same
from . import folders
from .folders import SHORTER, SQUARE, model, save, transformers

PIXELS = pixels_of(2)
PETS = {"id2label": {0: "cat", 1: "dog", 2: "owl"}}
SQUASHED = {"height": 36, "width": 36}
# kind, class, changes, processor and its settings, prefix, rows, outputs
KINDS = {
    "ViT": ("ViT", "ViTForImageClassification", PETS, "ViTImageProcessor", {"size": SQUARE}, 1, (0,), "softmax"),
    "DeiT": (
        *("DeiT", "DeiTForImageClassification", {"num_labels": 4}),
        *("DeiTImageProcessor", {"size": SQUASHED, "crop_size": SQUARE}, 2, (0,), "softmax"),
    ),
    "DeiT with a teacher": (
        *("DeiT", "DeiTForImageClassificationWithTeacher", PETS),
        *("DeiTImageProcessor", {"size": SQUASHED, "crop_size": SQUARE}, 2, (0, 1), "softmax"),
    ),
    "DINOv2": (
        *("Dinov2", "Dinov2Model", {}),
        *("BitImageProcessor", {"size": SHORTER, "crop_size": SQUARE}, 1, (0,), "embedding"),
    ),
    "DINOv2 with registers": (
        *("Dinov2WithRegisters", "Dinov2WithRegistersModel", {}),
        *("BitImageProcessor", {"size": SHORTER, "crop_size": SQUARE}, 5, (0,), "embedding"),
    ),
    "DINOv2 with a head": (
        *("Dinov2", "Dinov2ForImageClassification", PETS),
        *("BitImageProcessor", {"size": SHORTER, "crop_size": SQUARE}, 1, None, "softmax"),
    ),
    "half of CLIP": (
        *("CLIPVision", "CLIPVisionModelWithProjection", {"projection_dim": 10}),
        *("CLIPImageProcessor", {"size": SHORTER, "crop_size": SQUARE}, 1, (0,), "embedding"),
    ),
    "half of SigLIP": (
        *("SiglipVision", "SiglipVisionModel", {}),
        *("SiglipImageProcessor", {"size": SQUARE}, 0, None, "embedding"),
    ),
}


def answer(network):
    """What the model itself says, by the names that transformers gives its outputs."""
    with torch.no_grad():
        given = network(PIXELS)
    for name in ("logits", "image_embeds"):
        if getattr(given, name, None) is not None:
            return given[name]
    return given.pooler_output


@pytest.fixture(params=KINDS, ids=list(KINDS))
def kind(request, tmp_path):
    family, name, changes, processor, settings, *expected = KINDS[request.param]
    network = model(family, name, **changes)
    return save(tmp_path, network, processor, **settings), network, changes.get("id2label"), *expected


def test_a_folder_is_loaded_as_its_authors_saved_it(kind):
    folder, network, labels, prefix, rows, outputs = kind
    classifier = regard.load(f"transformers:{folder}")
    assert type(classifier.network) is type(network)
    assert (classifier.outputs, classifier.name) == (outputs, f"transformers:{folder}")
    assert classifier.labels == (None if labels is None else list(labels.values()))
    assert (classifier.tokens.prefix, classifier.tokens.rows) == (prefix, rows)
    assert classifier.preparation.frame == (32, 32)
    same(classifier(PIXELS), answer(network), 1e-5)
    assert not classifier.network.training


def test_a_source_builds_the_network_again_without_the_folder(kind):
    folder, *_ = kind
    classifier = regard.load(f"transformers:{folder}")
    for file in folder.iterdir():
        file.unlink()
    assert str(folder) not in json.dumps([classifier.source.architecture, classifier.source.arguments])
    again = catalog.build(type(classifier.source)(**json.loads(json.dumps(vars(classifier.source))))).eval()
    again.load_state_dict(classifier.network.state_dict())
    same(answer(again), answer(classifier.network), 1e-6)


def test_random_weights_read_the_configuration_alone(kind):
    folder, network, labels, *_, outputs = kind
    for file in [*folder.glob("*.safetensors"), folder / "preprocessor_config.json"]:
        file.unlink()
    classifier = regard.load(f"transformers:{folder}", pretrained=False)
    assert type(classifier.network) is type(network)
    assert (classifier.outputs, classifier.preparation.frame) == (outputs, (32, 32))
    assert classifier.labels == (None if labels is None else list(labels.values()))


@pytest.mark.parametrize("as_saved", [True, False], ids=["as save_pretrained names them", "as the network does"])
def test_weights_of_one_s_own_are_taken(kind, as_saved, tmp_path):
    folder, network, *_ = kind
    loud(network, seed=7)
    if as_saved:
        network.save_pretrained(tmp_path / "own")
        file = tmp_path / "own" / "model.safetensors"
    else:
        file = tmp_path / "own.pth"
        torch.save(network.state_dict(), file)
    classifier = regard.load(f"transformers:{folder}", weights=file)
    same(classifier(PIXELS), answer(network), 1e-5)
    assert not torch.allclose(classifier(PIXELS), regard.load(f"transformers:{folder}")(PIXELS), rtol=0.1)


@pytest.mark.parametrize("change", ["one too many", "one missing", "another shape"])
def test_weights_of_one_s_own_that_do_not_fit_are_refused(change, tmp_path):
    folder = vit(tmp_path, **PETS)
    weights = load(folder)
    if change == "one too many":
        weights["more"] = torch.zeros(1)
    elif change == "one missing":
        weights.pop("classifier.bias")
    else:
        weights["classifier.bias"] = torch.zeros(7)
    save_file(weights, tmp_path / "own.safetensors")
    with pytest.raises(ClassifierError, match="are not those of this network"):
        regard.load(f"transformers:{folder}", weights=tmp_path / "own.safetensors")


def load(folder):
    return load_file(folder / "model.safetensors")


def vit(folder, name="ViTForImageClassification", **changes):
    return save(folder, model("ViT", name, **changes), "ViTImageProcessor", size=SQUARE)


@pytest.mark.parametrize(
    ("problem", "outputs"),
    [
        (None, "softmax"),
        ("single_label_classification", "softmax"),
        ("multi_label_classification", "sigmoid"),
        ("regression", "scalar"),
    ],
)
def test_the_problem_says_what_the_output_means(problem, outputs, tmp_path):
    folder = vit(tmp_path, problem_type=problem, **PETS)
    assert regard.load(f"transformers:{folder}").outputs == outputs
    assert regard.load(f"transformers:{folder}", outputs="scalar").outputs == "scalar"


def test_numbers_that_stand_for_names_are_no_labels(tmp_path):
    assert regard.load(f"transformers:{vit(tmp_path, num_labels=12)}").labels is None


def test_labels_rename_classes_and_set_their_number_only_of_random_weights(tmp_path):
    folder = vit(tmp_path, **PETS)
    assert regard.load(f"transformers:{folder}", labels=["a", "b", "c"]).labels == ["a", "b", "c"]
    with pytest.raises(ClassifierError, match="labels do not fit the published weights"):
        regard.load(f"transformers:{folder}", labels=["a", "b"])
    classifier = regard.load(f"transformers:{folder}", labels=["a", "b"], pretrained=False)
    assert (classifier.labels, classifier.class_count) == (["a", "b"], 2)
    assert catalog.build(classifier.source).num_labels == 2


def test_a_backbone_takes_no_labels(tmp_path):
    with pytest.raises(ClassifierError, match="labels do not fit"):
        regard.load(f"transformers:{vit(tmp_path, 'ViTModel')}", labels=["a", "b"])


def test_values_of_the_configuration_can_be_changed_and_unknown_ones_are_refused(tmp_path):
    folder = vit(tmp_path)
    classifier = regard.load(f"transformers:{folder}", pretrained=False, num_hidden_layers=1)
    assert len(classifier.tokens.blocks) == 1
    with pytest.raises(ClassifierError, match="no such value") as refusal:
        regard.load(f"transformers:{folder}", pretrained=False, depth=1)
    assert refusal.value.came == "depth"


def test_a_model_saved_for_another_task_becomes_its_backbone(tmp_path):
    network = model("ViT", "ViTForMaskedImageModeling", num_channels=3, encoder_stride=8)
    classifier = regard.load(f"transformers:{save(tmp_path, network, 'ViTImageProcessor', size=SQUARE)}")
    assert type(classifier.network).__name__ == "ViTModel"
    with torch.no_grad():
        same(classifier(PIXELS), network.vit(PIXELS).last_hidden_state[:, 0], 1e-5)


def test_half_precision_of_a_folder_does_not_decide_that_of_the_classifier(tmp_path):
    network = model("ViT", "ViTForImageClassification").to(torch.bfloat16)
    folder = save(tmp_path, network, "ViTImageProcessor", size=SQUARE)
    assert {weight.dtype for weight in regard.load(f"transformers:{folder}").network.parameters()} == {torch.float32}
    fast = regard.load(f"transformers:{folder}", precision="bfloat16")
    assert {weight.dtype for weight in fast.network.parameters()} == {torch.bfloat16}


def test_weights_that_are_missing_are_refused_instead_of_left_random(tmp_path):
    folder = vit(tmp_path)
    weights = load(folder)
    weights.pop("classifier.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ClassifierError, match="are not those of a ViTForImageClassification") as refusal:
        regard.load(f"transformers:{folder}")
    assert refusal.value.came == "1 missing (classifier.weight, …)"


def test_weights_of_other_shapes_are_refused(tmp_path):
    folder = vit(tmp_path)
    weights = load(folder)
    weights["classifier.weight"] = torch.zeros(7, WIDTH)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ClassifierError, match="cannot fetch transformers:"):
        regard.load(f"transformers:{folder}")


def test_weights_that_are_not_there_or_damaged_are_refused(tmp_path):
    folder = vit(tmp_path)
    (folder / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ClassifierError, match="cannot fetch transformers:"):
        regard.load(f"transformers:{folder}")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ClassifierError, match="cannot fetch transformers:") as refusal:
        regard.load(f"transformers:{folder}")
    assert "pretrained=False" in refusal.value.remedy


def test_a_folder_without_an_image_processor_is_refused(tmp_path):
    model("ViT", "ViTForImageClassification").save_pretrained(tmp_path)
    with pytest.raises(ClassifierError, match="does not say how photos are prepared"):
        regard.load(f"transformers:{tmp_path}")


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"model_type": "nothing"}', '{"model_type": "vit", "hidden_size": "wide"}']
)
def test_a_configuration_that_cannot_be_read_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ClassifierError, match="transformers:"):
        regard.load(f"transformers:{tmp_path}", pretrained=False)


def test_a_model_of_texts_is_refused(tmp_path):
    transformers.BertConfig(architectures=["BertModel"]).save_pretrained(tmp_path)
    with pytest.raises(ClassifierError, match="'bert' model is no classifier of pictures"):
        regard.load(f"transformers:{tmp_path}", pretrained=False)


def test_a_model_that_hides_patches_at_random_is_refused(tmp_path):
    transformers.ViTMAEConfig(architectures=["ViTMAEForPreTraining"], mask_ratio=0.75).save_pretrained(tmp_path)
    with pytest.raises(ClassifierError, match="ViTMAEModel hides patches at random") as refusal:
        regard.load(f"transformers:{tmp_path}", pretrained=False)
    assert refusal.value.came == "mask_ratio=0.75"


def test_code_of_a_folder_is_not_run(tmp_path):
    folder = vit(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(ClassifierError, match="cannot read the configuration"):
        regard.load(f"transformers:{folder}")


def test_cdam_explains_what_was_loaded(tmp_path):
    classifier = regard.load(f"transformers:{vit(tmp_path, **PETS)}")
    explanation = regard.CDAM(classifier)(PIXELS, targets=["cat", "owl"])
    assert explanation.maps.shape == (2, 2, 4, 4)
    assert folders.PICTURES["image_size"] == 32
