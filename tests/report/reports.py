"""Runs to be reported, and pages read back."""

import json
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from regard.explained_run import write_explanation
from regard.explainers import registry
from regard.question import default_targets
from regard.runs import Run

from ..explainers.networks import classifier_of, vit

LABELS = ["ant", "bee, honey bee", "</script><img src=x onerror=alert(1)>", "crane", "crane"]
HOSTILE = "<img src=x onerror=alert(1)>&\"'.png"
VOID = {"meta", "img", "input", "br", "link"}


def explain_run(folder, names=("a.png", HOSTILE, "b.png"), finish=True, method="cdam"):
    """A run of `regard explain` on small photos, beside a folder of these."""
    subject = classifier_of(vit(), labels=LABELS)
    photos = [folder / "photos" / name for name in names]
    for number, photo in enumerate(photos):
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_mandelbrot((50 + number, 40), (-2, -1, 1, 1), 60 + number).convert("RGB").save(photo)
    explainer, targets = registry.choose(subject, method), default_targets(subject, 4)
    configuration = {"classifier": subject.name, "classifier_hash": subject.hash, "method": explainer.name}
    run = Run.open(folder / "run", "explain", configuration)
    for number, photo in enumerate(photos):
        write_explanation(run, explainer(photo, targets), photo, f"photo-{number}")
    if finish:
        run.finish(photos=len(photos))
    return run.folder


class Page(HTMLParser):
    """A page that was parsed: elements as (tag, attributes), text, and what is not closed as it should be."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.wrong, self.words = [], [], [], []
        self.inside = {"script": [], "style": []}
        self.feed(text)
        self.close()
        self.wrong += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"{tag} closes something else")

    def handle_data(self, data):
        if self.open and self.open[-1] in self.inside:
            self.inside[self.open[-1]].append(data)
        else:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(self.inside["script"][0])


def page_in(file):
    return Page(Path(file).read_text(encoding="utf-8"))


def rows_in(data):
    """The rows that a page holds, read as the page's own script does."""
    columns = {
        name: column["values"]
        if "values" in column
        else [None if code < 0 else column["levels"][code] for code in column["codes"]]
        for name, column in data["columns"].items()
    }
    return [{name: values[row] for name, values in columns.items()} for row in range(data["rows"])]
