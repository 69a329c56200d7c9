"""From phone to wide screen, light and dark, by keyboard alone: readable, reachable, nothing cut off."""

import pytest

from .reading import expect, looked
from .test_concepts import show


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_of_wcag_aa(visiting, scheme):
    visit = visiting(color_scheme=scheme)
    page = visit.open("&tab=question")
    page.locator("svg.curve").wait_for()
    assert looked(page, "faint") == []
    page.get_by_role("button", name="Patch by patch").click()
    page.locator(".sheet").focus()
    for key in ("ArrowRight", "Space"):
        page.keyboard.press(key)
    page.locator("#bars .change").first.wait_for()
    page.get_by_role("tab", name="Look").click()
    page.get_by_role("button", name="Likeliest classes").click()
    expect(page.locator("#cards .legend")).to_have_count(3)
    assert looked(page, "faint") == []
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != shade
    page.reload()
    visit.mapped()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != shade
    assert looked(page, "faint") == []


def concept(visit):
    page = visit.open("&tab=concepts")
    show(page, "stripes", "n01", "n02")
    page.get_by_text("Photos without it").click()


def ranks(visit):
    page = visit.open("&tab=ranks&method=br-npa&target=class:0", classifier="ranked")
    page.get_by_role("checkbox", name="Rank 1").uncheck()
    page.locator("#panel-ranks .verdict").wait_for()


def exam(visit):
    page = visit.open(photo=None)
    page.get_by_role("button", name="Train and examine").click()
    start, mosaic = page.locator("#exam").get_by_role("button", name="Start"), page.locator("#exam .mosaic")
    start.or_(mosaic.first).first.wait_for()
    if start.is_visible():
        start.click()
    mosaic.first.wait_for(timeout=90_000)


def failed(visit):
    page = visit.open()
    facts = {"id": "j", "kind": "explain", "state": "failed", "place": None, "passes_done": 1, "passes_expected": 1}
    facts |= {"seconds_expected": None, "seconds": 1.0, "error": {"problem": "no map: NaN"}, "result": None}
    page.route("**/api/v1/jobs", lambda route: route.fulfill(status=202, json=facts))
    page.locator("#bars .bar").nth(1).click()
    page.locator("#stage .progress.failed").wait_for()


def refused(visit):
    visit.allowed.append("status of 4")
    page = visit.open()
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"<html>"})
    page.locator("#photos .error").wait_for()


def empty(visit):
    visit.open(photo=None)


def on_a_phone(visit):
    visit.page.set_viewport_size({"width": 360, "height": 800})
    visit.open()


@pytest.mark.parametrize("state", [concept, ranks, exam, failed, refused, empty, on_a_phone])
def test_every_state_has_contrast_and_targets_of_wcag_aa(visit, state):
    state(visit)
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        assert looked(visit.page, "faint") == []
    assert looked(visit.page, "small") == []


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_is_cut_off_at_any_width(visiting, width):
    visit = visiting(viewport={"width": width, "height": 800})
    page = visit.open("&tab=question")
    page.locator("svg.curve").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert looked(page, "small") == []


def test_everything_is_reached_and_done_by_keyboard_alone(visit):
    page = visit.open(photo=None)
    press = page.keyboard.press

    def to(selector, most=60):
        """Tab until what is wanted has the focus, which is seen on the way."""
        for _ in range(most):
            press("Tab")
            assert looked(page, "isFocusSeen"), page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} was not reached")

    to(".skip")
    to("[data-photo='sample:n02']")
    press("Enter")
    visit.mapped()
    to(".sheet")
    press("ArrowDown")
    expect(page.locator("#reading")).to_contain_text("row ")
    to("#bars .bar")
    press("Tab")
    press("Enter")
    expect(page.locator("#bars .bar").nth(1)).to_have_attribute("aria-pressed", "true")
    visit.mapped()
    to("#tab-map")
    press("ArrowRight")
    expect(page.locator("#tab-question")).to_be_focused()
    page.locator("svg.curve").wait_for()
    to("#removed")
    press("ArrowRight")
    expect(page.locator("#panel-question output")).not_to_have_text("0 %")
    to("[data-key=link]")


def test_pictures_have_words_and_fields_have_names(visit):
    page = visit.open("&tab=concepts")
    assert looked(page, "nameless") == []
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("h1").count() == 1


def test_whoever_wants_no_motion_sees_none(visiting):
    page = visiting(reduced_motion="reduce").open()
    assert looked(page, "moving") == []


def test_the_api_is_documented_on_a_page_of_its_own(visit):
    page = visit.page
    page.goto(f"{visit.address}/api")
    expect(page.locator(".route h2").first).to_contain_text("/api/v1/about")
    page.get_by_role("link", name="JobFacts").first.click()
    expect(page.locator("#JobFacts")).to_contain_text("passes_done")
    assert looked(page, "faint") == []
