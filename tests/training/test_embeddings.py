"""Embeddings are those of the classifier, and are computed once."""

import pytest
import torch
from PIL import Image
from torch import nn

from regard.errors import NotFiniteError, PhotoError
from regard.models.head import backbone_of
from regard.models.passes import counted
from regard.training import embeddings
from regard.training.embeddings import embedded

from ..explainers.networks import classifier_of, same, vit
from .pictures import pictures, write_folder

PICTURES, _ = pictures(2)


@pytest.fixture
def backbone():
    return backbone_of(classifier_of(vit()))


@pytest.fixture
def files(tmp_path):
    return sorted(write_folder(tmp_path / "photos", 2).rglob("*.png"))


def spent(*arguments):
    with counted() as counter:
        found = embedded(*arguments)
    return counter.forwards, found


def test_embeddings_are_those_of_the_classifier_in_the_order_of_contents(backbone):
    found = embedded(backbone, PICTURES)
    expected = backbone.embed(backbone.prepare([PICTURES[place] for place in found.places]))
    same(found.values, expected)
    assert sorted(found.places) == list(range(len(PICTURES)))
    turned = embedded(backbone, PICTURES[::-1])
    assert turned.fingerprints == found.fingerprints == tuple(sorted(found.fingerprints))
    same(turned.values, found.values)


def test_what_is_kept_is_not_computed_again_by_whatever_name(backbone, files, tmp_path):
    cache = tmp_path / "cache"
    first, found = spent(backbone, files[:4], cache)
    copied = tmp_path / "copy.png"
    copied.write_bytes(files[0].read_bytes())
    again, more = spent(backbone, [copied, *files, files[1]], cache)
    assert (first, again) == (4, 2)
    assert len(more.places) == 8
    assert torch.equal(more.values[more.places.index(0)], found.values[found.places.index(0)])
    assert spent(backbone, files, cache)[0] == 0


def test_another_backbone_does_not_read_them(backbone, files, tmp_path):
    other = backbone_of(classifier_of(vit(seed=1)))
    embedded(backbone, files, tmp_path / "cache")
    number, found = spent(other, files, tmp_path / "cache")
    assert number == len(files)
    same(found.values, embedded(other, files).values)


def test_embeddings_of_another_precision_are_not_read(files, tmp_path):
    exact, halved = (backbone_of(classifier_of(vit(), precision=kind)) for kind in ("float32", "bfloat16"))
    assert exact.hash == halved.hash
    embedded(exact, files, tmp_path / "cache")
    number, found = spent(halved, files, tmp_path / "cache")
    assert number == len(files)
    assert torch.equal(found.values, embedded(halved, files).values)


def test_a_killed_training_goes_on_where_it_stood(backbone, files, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "BATCH", 2)

    def killed(batches):
        yield batches[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedded(backbone, files, tmp_path / "cache", killed)
    assert spent(backbone, files, tmp_path / "cache")[0] == len(files) - 2


def test_a_damaged_file_of_embeddings_is_computed_again(backbone, files, tmp_path):
    embedded(backbone, files, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").rglob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-7])
    assert spent(backbone, files, tmp_path / "cache")[0] == len(files)
    assert spent(backbone, files, tmp_path / "cache")[0] == 0


def test_photos_that_cannot_be_read_are_named_and_none_at_all_is_refused(backbone, files, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(files[0].read_bytes()[:60])
    bad = [tmp_path / "text.png", tmp_path / "none.png", tmp_path / "cut.png", tmp_path]
    found = embedded(backbone, [bad[0], files[0], *bad[1:]])
    assert found.places == (1,)
    assert sorted(found.unreadable) == [0, 2, 3, 4]
    assert "no photo that can be read" in found.unreadable[0]
    with pytest.raises(PhotoError, match="no photo can be read"):
        embedded(backbone, bad)
    with pytest.raises(PhotoError, match="no photo can be read"):
        embedded(backbone, [])


def test_pictures_of_the_same_bytes_and_other_sides_are_other_photos(backbone):
    wide, high = Image.new("RGB", (64, 16)), Image.new("RGB", (16, 64))
    assert len({*embedded(backbone, [wide, high]).fingerprints}) == 2


def test_a_prepared_picture_that_happens_to_lie_between_0_and_1_is_embedded(backbone):
    grey = Image.new("RGB", (32, 32), (200, 200, 200))
    assert 0 < float(backbone.prepare(grey).min()) < 1
    assert embedded(backbone, [grey]).values.isfinite().all()


class ByLight(nn.Module):
    """Embeds pictures by the logarithm of their light: of a black one, which it is never tried on, minus infinity."""

    def forward(self, pixels):
        return (1 + pixels).mean(dim=(2, 3)).abs().log()


def test_an_embedding_that_is_not_finite_is_refused_with_its_photo(files, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "black.png")
    backbone = classifier_of(ByLight(), outputs="embedding")
    with pytest.raises(NotFiniteError, match=r"embeds a photo as NaN or infinity\n.*black\.png"):
        embedded(backbone, [*files, tmp_path / "black.png"], tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert embedded(backbone, files, tmp_path / "cache").values.isfinite().all()
