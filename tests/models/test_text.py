"""Texts as classes and as targets, of models that embed pictures and texts in one space."""

import pytest
import torch
from torch.nn import functional

import regard
from regard.errors import ClassifierError, TargetError
from regard.models.text import TextHead, embed_texts

from ..explainers.networks import classifier_of, pixels_of, same, vit
from .folders import SQUARE, clip, model, save, tokenizer, two_towers

PIXELS = pixels_of(2)
LABELS = ["cat", "dog, french horn", "owl"]
CAPTIONS = ["a photo of a cat", "a photo of a dog", "a photo of a owl"]


@pytest.fixture(params=["CLIP", "Siglip"])
def kind(request):
    return request.param


@pytest.fixture
def folder(tmp_path, kind):
    return f"transformers:{clip(tmp_path, kind)}"


def joint(kind, texts):
    """Logits of the whole model, as its authors compute them: (pictures, texts)."""
    whole = two_towers(kind)
    numbers = tokenizer()(texts, padding="max_length", max_length=9, return_tensors="pt")
    with torch.no_grad():
        return whole(pixel_values=PIXELS, **numbers).logits_per_image


def test_labels_are_compared_with_pictures_as_the_whole_model_does(folder, kind):
    classifier = regard.load(folder, labels=LABELS)
    assert (classifier.labels, classifier.class_count) == (LABELS, 3)
    assert classifier.outputs == {"CLIP": "softmax", "Siglip": "sigmoid"}[kind]
    torch.testing.assert_close(classifier(PIXELS).detach(), joint(kind, CAPTIONS), atol=1e-4, rtol=1e-4)


def test_without_labels_the_embedding_is_that_of_the_whole_before_it_is_normalised(folder, kind):
    classifier = regard.load(folder)
    with torch.no_grad():
        features = two_towers(kind).get_image_features(pixel_values=PIXELS)
    features = features if isinstance(features, torch.Tensor) else features.pooler_output
    assert (classifier.outputs, classifier.labels) == ("embedding", None)
    same(classifier.embed(PIXELS), features, 1e-5)
    assert (features.norm(dim=1) - 1).abs().min() > 0.1
    assert not any("text" in name for name, _ in classifier.network.named_modules())


def test_a_text_is_a_target_like_any_other(folder):
    classifier = regard.load(folder)
    reference = embed_texts(folder, ["a french horn"])[0]
    target = regard.Similarity(reference, "cosine", "a french horn")
    explanation = regard.CDAM(classifier)(PIXELS, targets=target)
    cosines = functional.cosine_similarity(classifier.embed(PIXELS), reference[None])
    assert [answer[0].name for answer in explanation.targets] == ["a french horn"] * 2
    torch.testing.assert_close(torch.tensor([answer[0].score for answer in explanation.targets]), cosines)
    assert explanation.maps.abs().max() > 0


def test_a_text_direction_gives_the_map_of_the_head_s_class(folder):
    """The logit of a class is scale · cos(e, t) + bias, so its map is the scale times that of the cosine."""
    classifier = regard.load(folder, labels=LABELS)
    texts = embed_texts(folder, CAPTIONS)
    targets = [regard.Similarity(text, "cosine", name) for text, name in zip(texts, CAPTIONS, strict=True)]
    cdam = regard.CDAM(classifier)
    of_classes, of_texts = cdam(PIXELS, targets=LABELS), cdam(PIXELS, targets=targets)
    scale = float(two_towers("CLIP" if classifier.outputs == "softmax" else "Siglip").logit_scale.detach().exp())
    assert of_texts.maps.abs().max() > 0
    same(of_classes.maps, scale * of_texts.maps, 1e-5)
    of_backbone = regard.CDAM(regard.load(folder))(PIXELS, targets=targets)
    same(of_backbone.maps, of_texts.maps, 1e-5)


def test_texts_do_not_depend_on_those_beside_them(folder):
    alone = torch.cat([embed_texts(folder, [caption]) for caption in CAPTIONS])
    same(embed_texts(folder, CAPTIONS), alone, 1e-6)
    assert alone.shape[0] == 3
    assert (alone[0] - alone[1]).abs().max() > 0.1


def test_the_head_is_a_cosine_times_a_scale_and_a_bias():
    head = TextHead(torch.tensor([[3.0, 4.0], [0.0, -2.0]]), scale=10.0, bias=-1.0)
    logits = head(torch.tensor([[1.0, 0.0], [0.0, 5.0]]))
    torch.testing.assert_close(logits, torch.tensor([[5.0, -1.0], [7.0, -11.0]]))
    assert sorted(head.state_dict()) == ["bias", "scale", "text"]
    assert str(head) == "TextHead(texts=2, width=2)"


def test_half_precision_changes_the_network_and_not_the_head(folder):
    exact, fast = (regard.load(folder, labels=LABELS, precision=kind) for kind in ("float32", "bfloat16"))
    assert fast.head.text.dtype is torch.float32
    assert (fast(PIXELS) - exact(PIXELS)).abs().max() < 0.1 * exact.head.scale


def test_texts_of_a_folder_in_half_precision_are_embedded_in_single(tmp_path, kind):
    folder, whole = clip(tmp_path, kind), two_towers(kind).to(torch.bfloat16)
    whole.save_pretrained(folder)
    numbers = tokenizer()(CAPTIONS, padding="max_length", max_length=9, return_tensors="pt")
    with torch.no_grad():
        features = whole.float().get_text_features(**numbers)
    features = features if isinstance(features, torch.Tensor) else features.pooler_output
    same(embed_texts(f"transformers:{folder}", CAPTIONS), features, 1e-5)


def test_random_weights_need_no_file_of_weights(tmp_path, kind):
    folder = clip(tmp_path, kind)
    (folder / "model.safetensors").unlink()
    classifier = regard.load(f"transformers:{folder}", labels=LABELS, pretrained=False)
    assert classifier.class_count == 3


def test_weights_of_the_pictures_alone_cannot_embed_the_texts(tmp_path, folder):
    torch.save(regard.load(folder).network.state_dict(), tmp_path / "pictures.pth")
    assert regard.load(folder, weights=tmp_path / "pictures.pth").outputs == "embedding"
    with pytest.raises(ClassifierError, match="texts cannot be embedded"):
        regard.load(folder, weights=tmp_path / "pictures.pth", labels=LABELS)


def test_labels_need_the_tokenizer(tmp_path):
    folder = clip(tmp_path, with_tokenizer=False)
    assert regard.load(f"transformers:{folder}").outputs == "embedding"
    with pytest.raises(ClassifierError, match="brings no tokenizer") as refusal:
        regard.load(f"transformers:{folder}", labels=LABELS)
    assert refusal.value.remedy == "save the tokenizer beside the model"


@pytest.mark.parametrize("texts", ["a cat", [], [""], ["a cat", "  "], [3], None], ids=repr)
def test_texts_that_are_none_are_refused(tmp_path, texts):
    folder = clip(tmp_path)
    with pytest.raises(TargetError, match="list of sentences"):
        embed_texts(f"transformers:{folder}", texts)


def test_a_text_that_is_too_long_is_refused_instead_of_cut(tmp_path):
    folder = clip(tmp_path)
    assert embed_texts(f"transformers:{folder}", ["a " * 8]).shape == (1, 10)
    with pytest.raises(TargetError, match="longer than the model reads") as refusal:
        embed_texts(f"transformers:{folder}", ["a cat", "a " * 9])
    assert refusal.value.expected == "9 tokens"


@pytest.mark.parametrize("name", ["timm:test_vit", "regard:vit-small", "", "CLIP", None])
def test_texts_are_read_by_models_of_transformers_alone(name):
    with pytest.raises(ClassifierError, match="no text tower"):
        embed_texts(name, ["a cat"])


def test_a_model_of_pictures_alone_reads_no_texts(tmp_path):
    folder = save(tmp_path, model("ViT", "ViTForImageClassification"), "ViTImageProcessor", size=SQUARE)
    with pytest.raises(ClassifierError, match="reads no texts"):
        embed_texts(f"transformers:{folder}", ["a cat"])


def test_a_text_of_another_model_does_not_fit(tmp_path):
    folder = clip(tmp_path)
    other = regard.Similarity(embed_texts(f"transformers:{folder}", ["a cat"])[0], "cosine", "a cat")
    with pytest.raises(TargetError, match="not an embedding of this classifier"):
        regard.CDAM(classifier_of(vit()))(PIXELS, targets=other)
