"""The page in a real Chromium, from disk and without a network."""

import json
from pathlib import Path

import pytest

from regard.report.page import write_report
from regard.training.few_shot.fit import fit_few_shot

from ..training import fewshot_trainings as few
from ..web.page.reading import looked
from .reports import explain_run


@pytest.fixture
def opening(chromium, tmp_path):
    """Opens the report of a run; fails if its console has said anything, or if it asked for something."""
    context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 900}, accept_downloads=True)
    said = []

    def opened(run):
        write_report(run, tmp_path / "report.html")
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not_of_page(request.url) else None)
        page.goto((tmp_path / "report.html").as_uri())
        return page

    yield opened
    context.close()
    assert said == []


@pytest.fixture
def page(opening, tmp_path):
    """The report of `regard explain`, open."""
    return opening(explain_run(tmp_path))


@pytest.fixture
def judged(opening, evaluate):
    """The report of `regard evaluate`, open: six photos, of which the classifier is right about four."""
    code, _, err = evaluate("photos.csv --methods attention,rollout --metrics average-drop,gini --steps 3 --run here")
    assert code == 0, err
    return opening(Path("here"))


def not_of_page(url):
    return not url.startswith(("file:", "data:", "blob:"))


def counted(page, photos, cards="article"):
    """Wait until so many cards are shown."""
    page.wait_for_function(
        """([cards, photos]) =>
            [...document.querySelectorAll(cards)].filter((card) => card.checkVisibility()).length === photos""",
        arg=[cards, photos],
    )


def test_filters_choose_by_class_and_score_and_put_in_order(page):
    counted(page, 3)
    scores = page.locator("article").evaluate_all("cards => cards.map(card => JSON.parse(card.dataset.scores))")
    first = "probability of the likeliest"
    values = sorted(score[first] for score in scores)
    page.get_by_label("Order").select_option("highest first")
    ordered = page.locator("article").evaluate_all("cards => cards.map(card => JSON.parse(card.dataset.scores))")
    assert [score[first] for score in ordered] == values[::-1]
    page.get_by_label("from", exact=True).fill(str(values[1]))
    counted(page, 2)
    assert page.locator("output").inner_text() == "2 of 3 photos"
    page.get_by_label("from", exact=True).fill("2")
    counted(page, 0)
    page.get_by_role("button", name="Show all").click()
    counted(page, 3)
    name = "bee, honey bee"
    page.get_by_label("Class").select_option(name)
    cards = page.locator("article").evaluate_all("cards => cards.map(card => JSON.parse(card.dataset.classes))")
    counted(page, sum(name in classes for classes in cards))


def test_pictures_are_drawn_under_every_map_and_the_opacity_is_a_choice(page):
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    over = page.locator(".over").first
    assert over.evaluate("node => getComputedStyle(node).opacity") == "1"
    page.get_by_label("Opacity").fill("0")
    assert over.evaluate("node => getComputedStyle(node).opacity") == "0"


def test_rows_are_saved_from_the_page(page, tmp_path):
    with page.expect_download() as waited:
        page.get_by_role("button", name="Save all numbers as JSON").click()
    saved = json.loads(waited.value.path().read_text("utf-8"))
    assert saved == json.loads(page.locator("#run").evaluate("node => node.textContent"))
    with page.expect_download() as waited:
        page.get_by_role("button", name="Save the rows as CSV").click()
    assert len(waited.value.path().read_text("utf-8").splitlines()) >= 1 + saved["rows"]


def test_tables_are_put_in_order_by_keyboard(page):
    page.locator("summary", has_text="All that the numbers").click()
    head = page.locator("#about table").last.locator("thead th").first
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    names = page.locator("#about table").last.locator("tbody th").all_inner_texts()
    assert names == sorted(names, key=str.casefold)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(width, page):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints_with_all_that_is_folded(page):
    page.emulate_media(media="print")
    assert not page.locator("form.controls").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert len(page.pdf(format="A4")) > 10_000


def test_photos_of_an_evaluation_are_chosen_by_verdict_and_their_maps_by_method(judged):
    gallery = judged.locator("#gallery")
    shown = gallery.locator("article")

    def expected(photos, methods):
        counted(judged, photos, "#gallery article")
        seen = [maps for maps in gallery.locator("[data-method]").all() if maps.is_visible()]
        assert {maps.get_attribute("data-method") for maps in seen} == set(methods)

    every = ["attention", "rollout", "random"]
    expected(6, every)
    gallery.get_by_label("Answer").select_option("right")
    expected(4, every)
    assert {card.get_attribute("data-verdict") for card in shown.all() if card.is_visible()} == {"right"}
    gallery.get_by_label("Method").select_option("rollout")
    expected(4, ["rollout"])
    gallery.get_by_label("Answer").select_option("wrong")
    expected(2, [])
    gallery.get_by_role("button", name="Reset").click()
    expected(6, every)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_of_reports_has_the_contrast_of_wcag_aa(scheme, opening, judged, page, tmp_path):
    settings = {"recipe": few.recipe_of(), "held_out": few.HELD_OUT, "choosing": 0.4, "run": tmp_path / "trained"}
    fit_few_shot(few.start(), few.PHOTOS, few.LABELS, **settings)
    shades = []
    for each in (judged, page, opening(tmp_path / "trained")):
        each.emulate_media(color_scheme=scheme)
        each.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
        shades.append(each.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert looked(each, "faint") == []
    (shade,) = {*shades}
    assert (int(shade.removeprefix("rgb(").partition(",")[0]) > 128) == (scheme == "light")
