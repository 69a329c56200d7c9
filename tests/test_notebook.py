import base64
import html
import io
import re
from dataclasses import replace

import torch
from PIL import Image

from regard.evaluate.table import tables
from regard.exams.sdc import examine
from regard.explainers.controls import Random
from regard.metrics.of_maps import Gini

from .exams.sdc.hand_made import above, selective, singletons
from .explainers.networks import classifier_of, vit
from .report.reports import HOSTILE, Page


def explained(images):
    labels = ["ant", HOSTILE, "cat", "crane", "crane"]
    subject = classifier_of(vit(), labels=labels)
    pixels = torch.randn((images, *subject.picture().shape[1:]), generator=torch.Generator().manual_seed(0))
    return Random(subject)(pixels, [1])


def test_a_notebook_shows_an_explanation_as_a_small_picture_and_says_what_it_is():
    page = Page(explained(2)._repr_html_())
    (image,) = page.all("img")
    assert len(page.elements) == 1
    assert image["alt"].count(HOSTILE) == 2
    picture = Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))))
    assert picture.width <= 900


def test_of_many_images_a_notebook_shows_the_first():
    said = html.unescape(explained(10)._repr_html_()[:2000])
    assert "8 of 10 images" in said


def test_a_notebook_shows_a_table_with_its_intervals_and_names_escaped():
    row = {"kind": "judged", "control": False, "status": "judged", "classifier": "c", "again": ""}
    rows = [{**row, "method": HOSTILE, "image": name, "gini": value} for name, value in (("a", 0.25), ("b", 0.75))]
    (table,) = tables(rows, [Gini()], 0, compared=True)
    page = Page(table._repr_html_())
    assert page.wrong == []
    assert page.all("img") == []
    assert HOSTILE in page.text
    assert re.search(r"gini ↑ \(2\)", page.text)
    assert re.search(r"0\.500 \[0\.\d+, 0\.\d+\]", page.text)


def test_a_notebook_shows_an_examination_as_a_picture_and_says_its_figures_and_diagnosis():
    found = replace(examine(selective(lambda x: 2 * x, above(0.5)), singletons(0.0, train=40, test=60)), task=HOSTILE)
    page = Page(found._repr_html_())
    (image,) = page.all("img")
    assert len(page.elements) == 1
    assert image["alt"].startswith(f"{HOSTILE}, test, 60 mosaics: ")
    assert f"accuracy {found.figures['accuracy']:.1f} %" in image["alt"]
    assert str(found.diagnosis) in image["alt"]
    picture = Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))))
    assert 100 < picture.width <= 900
