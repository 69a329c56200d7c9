"""The page in a real Chromium, from disk and without a network."""

import json

import pytest

from regard.report.page import write_report

from .reports import explain_run


@pytest.fixture
def page(chromium, tmp_path):
    """A report that is open, and what its console has said."""
    write_report(explain_run(tmp_path), tmp_path / "report.html")
    context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened, said = context.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url) if not_of_page(request.url) else None)
    opened.goto((tmp_path / "report.html").as_uri())
    yield opened
    context.close()
    assert said == []


def not_of_page(url):
    return not url.startswith(("file:", "data:", "blob:"))


def counted(page, photos):
    """Wait until so many cards are shown."""
    page.wait_for_function(
        "count => [...document.querySelectorAll('article')].filter(card => card.checkVisibility()).length === count",
        arg=photos,
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
