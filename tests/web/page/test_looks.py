"""From phone to wide screen, light and dark, by keyboard alone: readable, reachable, nothing cut off."""

from pathlib import Path

import pytest

from .reading import expect

LOOKS = (Path(__file__).parent / "looks.js").read_text("utf-8").rstrip()


def looked(page, what):
    """The answer of a function of `looks.js`."""
    return page.evaluate(f"{LOOKS}.{what}()")


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


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_is_cut_off_at_any_width(visiting, width):
    visit = visiting(viewport={"width": width, "height": 800})
    page = visit.open("&tab=question")
    page.locator("svg.curve").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert looked(page, "flat") == []


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
