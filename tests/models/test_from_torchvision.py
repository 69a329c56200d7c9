"""torchvision's networks, prepared and labelled as their published weights say."""

from urllib.error import URLError

import pytest
import torch
from PIL import Image

import regard
from regard.compat import import_optional
from regard.errors import ClassifierError
from regard.models import catalog
from regard.models.from_torchvision import listed

from ..explainers.networks import loud, pixels_of
from .photographs import PHOTOS

models = import_optional("torchvision.models", "torchvision")


@pytest.fixture
def offline(monkeypatch):
    """Weights of torchvision that must not be fetched."""

    def unreachable(self, *arguments, **named):
        raise URLError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr(models._api.WeightsEnum, "get_state_dict", unreachable)


def fetched(monkeypatch, network):
    """Weights that come as if they had been fetched: those of `network`."""
    monkeypatch.setattr(models._api.WeightsEnum, "get_state_dict", lambda *_, **__: network.state_dict())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vit_b_16", "vit_h_14", "efficientnet_b3", "inception_v3"])
def test_the_preparation_is_torchvision_s_own_transform(name):
    published = models.get_model_weights(name).DEFAULT
    transform = published.transforms()
    preparation = preparation_of(name)
    for photo in PHOTOS:
        torch.testing.assert_close(preparation([photo])[0], transform(photo), atol=1e-6, rtol=0)


def preparation_of(name):
    """The preparation, without the time that a large network takes to be built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regard.models.from_torchvision._network", lambda *_: None)
        return regard.models.from_torchvision.offer(name, False, None, {}).preparation


def test_every_network_that_is_listed_has_a_preparation_that_is_torchvision_s():
    photo = Image.effect_noise((301, 233), 90).convert("RGB")
    names = [entry.name.partition(":")[2] for entry in listed()]
    transforms = {name: models.get_model_weights(name).DEFAULT.transforms() for name in names}
    assert len(names) > 70
    seen = set()
    for name, transform in transforms.items():
        if repr(transform) not in seen:
            seen.add(repr(transform))
            torch.testing.assert_close(preparation_of(name)([photo])[0], transform(photo), atol=1e-6, rtol=0)
    assert len(seen) > 10


def test_random_weights_need_no_network_and_bring_imagenet_s_labels(offline):
    classifier = regard.load("torchvision:resnet18", pretrained=False)
    assert (classifier.name, classifier.class_count, classifier.outputs) == ("torchvision:resnet18", 1000, "softmax")
    assert classifier.labels == models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert classifier.labels[5] == "electric ray"


def test_weights_that_cannot_be_fetched_are_refused_with_what_works_without_a_network(offline):
    with pytest.raises(ClassifierError, match="cannot fetch torchvision:resnet18") as refusal:
        regard.load("torchvision:resnet18")
    assert "name resolution" in refusal.value.came
    assert "weights=FILE" in refusal.value.remedy
    assert "pretrained=False" in refusal.value.remedy


def test_published_weights_are_taken(monkeypatch):
    network = loud(models.resnet18())
    fetched(monkeypatch, network)
    pixels = pixels_of(2, (64, 64))
    torch.testing.assert_close(regard.load("torchvision:resnet18")(pixels), network(pixels), atol=1e-4, rtol=1e-4)


def test_weights_of_one_s_own_need_no_network(offline, tmp_path):
    network = loud(models.resnet18(num_classes=3))
    torch.save(network.state_dict(), tmp_path / "own.pth")
    classifier = regard.load("torchvision:resnet18", weights=tmp_path / "own.pth", labels=["a", "b", "c"])
    pixels = pixels_of(2, (64, 64))
    torch.testing.assert_close(classifier(pixels), network(pixels), atol=1e-4, rtol=1e-4)
    assert classifier.labels == ["a", "b", "c"]
    with pytest.raises(ClassifierError, match="not those of this network"):
        regard.load("torchvision:resnet18", weights=tmp_path / "own.pth")


def test_labels_set_the_number_of_classes_of_random_weights_alone(offline):
    classifier = regard.load("torchvision:resnet18", pretrained=False, labels=["cat", "dog"], outputs="sigmoid")
    assert (classifier.class_count, classifier.labels, classifier.outputs) == (2, ["cat", "dog"], "sigmoid")
    with pytest.raises(ClassifierError, match="labels do not fit the published weights") as refusal:
        regard.load("torchvision:resnet18", labels=["cat", "dog"])
    assert (refusal.value.came, "1000" in refusal.value.expected) == ("2 labels", True)
    assert regard.load("torchvision:resnet18", pretrained=False, num_classes=7).labels is None


def test_labels_of_the_published_number_rename_the_classes(monkeypatch):
    fetched(monkeypatch, models.resnet18())
    assert regard.load("torchvision:resnet18", labels=[f"thing {i}" for i in range(1000)]).labels[7] == "thing 7"


@pytest.mark.filterwarnings("ignore:auxiliary heads in the pretrained googlenet")
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_two_with_a_second_head_are_built_as_their_weights_were_trained(name, monkeypatch):
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)  # slow, and overwritten
    torch.manual_seed(0)
    published = getattr(models, name)(init_weights=False, transform_input=True).eval()
    fetched(monkeypatch, published)
    classifier = regard.load(f"torchvision:{name}")
    again = catalog.build(classifier.source).eval()
    again.load_state_dict(classifier.network.state_dict())
    pixels = pixels_of(1, (96, 96))
    torch.testing.assert_close(again(pixels), published(pixels), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(classifier(pixels), published(pixels), atol=1e-5, rtol=1e-4)
    assert classifier.network.transform_input
    assert classifier.class_count == 1000


def test_a_transformer_s_preparation_follows_the_size_that_it_is_built_for():
    classifier = regard.load("torchvision:vit_b_32", pretrained=False, image_size=64)
    assert classifier.preparation == regard.Preparation(size=64, crop=224 / 256, interpolation="bilinear")
    assert classifier.network.image_size == 64


def test_a_transformer_is_built_for_the_size_that_its_published_weights_want(monkeypatch):
    built = []
    monkeypatch.setattr("regard.models.from_torchvision._network", lambda *given: built.append(given))
    assert regard.models.from_torchvision.offer("vit_h_14", False, None, {}).preparation.size == 518
    assert built == [("vit_h_14", None, {"image_size": 518})]


@pytest.mark.parametrize(
    ("name", "near"), [("resnet51", "resnet50"), ("vit_b16", "vit_b_16"), ("fcn_resnet50", "resnet50"), ("", None)]
)
def test_an_unknown_network_is_refused_with_the_nearest(name, near):
    with pytest.raises(ClassifierError, match=f"no classification network '{name}'") as refusal:
        regard.load(f"torchvision:{name}", pretrained=False)
    assert near is None or near in refusal.value.expected


def test_arguments_that_the_network_does_not_take_are_refused():
    with pytest.raises(ClassifierError, match="cannot build torchvision:resnet18") as refusal:
        regard.load("torchvision:resnet18", pretrained=False, nonsense=3)
    assert "nonsense" in refusal.value.came
