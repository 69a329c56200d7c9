"""Representatives are switched off and on, each with its share of the logit."""

import re

import numpy as np
import pytest

import regard
from regard.compat import import_optional

from .reading import expect, number
from .test_map import canvas_of


def test_representatives_have_their_share_and_are_switched_off_and_on(visit, server):
    page = visit.open("&tab=ranks&method=br-npa&target=class:0", classifier="ranked")
    explanation = regard.BRNPA(server.classifiers["ranked"])(server.samples[0], [0])
    shares = explanation.ranks.shares[0, 0].tolist()
    words = page.locator("#panel-ranks .ranks .number")
    expect(words).to_have_count(3)
    for share, valid, text in zip(shares, explanation.ranks.valid[0].tolist(), words.all_inner_texts(), strict=True):
        assert not valid or number(text.split(" ")[0].removeprefix("+")) == pytest.approx(share, rel=6e-3)
    before = canvas_of(page, "#stage .map")
    page.get_by_role("checkbox", name="Rank 1").uncheck()
    verdict = page.locator("#panel-ranks .verdict")
    score = float(explanation.logits[0, 0])
    expect(verdict).to_contain_text("With those that are on the logit of ant is")
    said = verdict.inner_text().split(" is ")[1].split(";")[0]
    assert number(said) == pytest.approx(score - shares[0], rel=1e-2, abs=1e-3)
    assert np.abs(canvas_of(page, "#stage .map") - before).max() > 20
    page.get_by_role("checkbox", name="Rank 1").check()
    assert (canvas_of(page, "#stage .map") == before).all()


def test_a_classifier_that_does_not_decide_by_them_says_so_and_one_pass_is_timed(visit):
    page = visit.open("&tab=ranks&method=br-npa", classifier="convolutional")
    expect(page.locator("#panel-ranks")).to_contain_text("does not decide by its representatives")
    expect(page.locator("#downloads")).to_contain_text("br-npa · 1 forward pass ·")
    page.get_by_role("combobox", name="Method", exact=True).select_option("grad-cam")
    expect(page.locator("#downloads")).to_contain_text("grad-cam ·")


def test_tame_s_one_pass_is_timed_on_the_classifier_that_comes_along(visiting, serving):
    embedded = import_optional("regard_embedded", "embedded")
    photo = next(photo.path for photo in embedded.photos() if photo.path.stem == "gondola")
    own = serving({"embedded": regard.load("regard:efficientnet-lite0")}, [photo])
    page = visiting(own).open(classifier="embedded", photo="gondola")
    expect(page.get_by_role("combobox", name="Method", exact=True)).to_have_value("tame")
    facts = page.locator("#downloads p").first
    expect(facts).to_have_text(re.compile(r"^tame · 1 forward pass · [\d.]+ m?s$"))
    expect(page.locator("#bars .bar[aria-pressed=true] .label")).to_have_text("gondola")
