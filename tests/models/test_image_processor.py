"""A preparation is what transformers' own image processor does to photos."""

import numpy as np
import pytest
import torch
from PIL import Image

from regard.compat import import_optional
from regard.errors import ClassifierError
from regard.models.image_processor import image_processor, preparation_of

from .photographs import PHOTOS

transformers = import_optional("transformers", "transformers")

PROCESSORS = {
    "ViT": ("ViTImageProcessor", {}),
    "ViT of another frame": ("ViTImageProcessor", {"size": {"height": 96, "width": 64}, "resample": 3}),
    "ViT without scaling of colours": ("ViTImageProcessor", {"do_normalize": False}),
    "ViT of colours from -1 to 1": ("ViTImageProcessor", {"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1]}),
    "DeiT": ("DeiTImageProcessor", {}),
    "CLIP": ("CLIPImageProcessor", {}),
    "CLIP of lanczos": ("CLIPImageProcessor", {"resample": 1, "size": {"shortest_edge": 72}, "crop_size": 64}),
    "DINOv2": ("BitImageProcessor", {"size": {"shortest_edge": 256}}),
    "a share that no division gives exactly": ("BitImageProcessor", {"size": {"shortest_edge": 25}, "crop_size": 7}),
    "a frame larger than the photo": ("CLIPImageProcessor", {"size": {"shortest_edge": 200}}),
    "SigLIP": ("SiglipImageProcessor", {}),
    "ConvNeXT, small": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    "ConvNeXT, large": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
}


def exact(name, **settings):
    """The processor that scales with Pillow, as regard does; under another name since transformers 5."""
    return getattr(transformers, f"{name}Pil", getattr(transformers, name))(**settings)


def processed(processor, photo):
    return processor(images=photo, return_tensors="pt")["pixel_values"][0]


def odd(preparation, photo):
    """Whether half a pixel is over where the middle is cut: transformers rounds it down, torchvision to even."""
    wide, high = preparation._scaled(*photo.size)
    return any(
        (scaled - side) % 4 == 3 for scaled, side in ((high, preparation.frame[0]), (wide, preparation.frame[1]))
    )


@pytest.mark.parametrize(("name", "settings"), PROCESSORS.values(), ids=PROCESSORS)
def test_the_preparation_is_that_of_the_processor(name, settings):
    processor = exact(name, **settings)
    preparation = preparation_of(processor)
    same = [photo for photo in PHOTOS if not odd(preparation, photo)]
    assert len(same) >= 2
    for photo in same:
        torch.testing.assert_close(
            preparation([photo]).as_subclass(torch.Tensor)[0], processed(processor, photo), atol=1e-6, rtol=1e-6
        )


@pytest.mark.parametrize(("name", "settings"), PROCESSORS.values(), ids=PROCESSORS)
def test_processors_that_scale_tensors_differ_by_rounding_alone(name, settings):
    processor = getattr(transformers, name)(**settings)
    if transformers.__version__.startswith("4."):
        processor = getattr(transformers, f"{name}Fast")(**settings)
    preparation = preparation_of(processor)
    std = torch.tensor(preparation.std).view(-1, 1, 1)
    for photo in (photo for photo in PHOTOS if not odd(preparation, photo)):
        difference = preparation([photo]).as_subclass(torch.Tensor)[0] - processed(processor, photo)
        assert float((difference * std).abs().mean()) < 1 / 255


def test_an_odd_rest_is_cut_one_pixel_further():
    processor = exact("CLIPImageProcessor", size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    photo = PHOTOS[0].resize((39, 32))
    assert odd(preparation_of(processor), photo)
    own = preparation_of(processor)([photo]).as_subclass(torch.Tensor)[0]
    torch.testing.assert_close(own[..., :-1], processed(processor, photo)[..., 1:], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("LevitImageProcessor", {}),
        ("MobileViTImageProcessor", {}),
        ("EfficientNetImageProcessor", {}),
        ("ViTImageProcessor", {"do_resize": False}),
        ("BitImageProcessor", {"do_center_crop": False}),
        ("Siglip2ImageProcessor", {}),
        ("ViTImageProcessor", {"resample": 4}),
    ],
)
def test_a_processor_that_does_something_else_is_refused(name, settings):
    with pytest.raises(ClassifierError) as refusal:
        preparation_of(exact(name, **settings))
    assert refusal.value.came or refusal.value.expected


def test_a_processor_that_is_changed_by_its_author_is_noticed():
    class Mirroring(type(exact("ViTImageProcessor"))):
        def __call__(self, images, **settings):
            return super().__call__(Image.fromarray(np.asarray(images)[:, ::-1]), **settings)

    with pytest.raises(ClassifierError, match="does more to a photo"):
        preparation_of(Mirroring())


def test_a_folder_without_a_processor_is_refused(tmp_path):
    with pytest.raises(ClassifierError, match="does not say how photos are prepared") as refusal:
        image_processor(str(tmp_path))
    assert refusal.value.expected == "preprocessor_config.json beside the weights"
