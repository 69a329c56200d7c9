"""A concept is shown by a few photos, and found in others; of two, the difference."""

import pytest

import regard

from .reading import expect, number


def show(page, name, *photos):
    page.get_by_label("Name", exact=True).fill(name)
    group = page.get_by_role("group", name="Photos that show it")
    for box in group.get_by_role("checkbox").all():
        box.set_checked(box.get_attribute("aria-label") in photos)
    page.get_by_role("button", name="Find this concept").click()
    page.get_by_role("button", name=f"Show “{name}” in this photo").wait_for()


def test_a_concept_is_shown_found_in_another_photo_and_told_from_a_second(visit, server):
    page = visit.open("&tab=concepts")
    make = page.get_by_role("button", name="Find this concept")
    expect(make).to_be_disabled()
    show(page, "stripes", "n01", "n02")
    expect(page.locator("#live")).to_have_text("The map of stripes is there.")
    page.get_by_role("button", name="n03").click()
    expect(page.locator("#stage img.photo")).to_have_attribute("alt", "n03")
    expect(page.locator("#live")).to_have_text("The map of stripes is there.")
    visit.mapped()
    classifier = server.classifiers["transformer"]
    concept = regard.Concept.from_images(classifier, server.samples[1:3], name="stripes")
    strongest = float(regard.CDAM(classifier)(server.samples[3], [concept]).maps.abs().max())
    assert number(page.locator("#stage .legend .numbers span").last.inner_text()) == pytest.approx(strongest, rel=6e-3)
    show(page, "dots", "n04")
    page.get_by_role("button", name="Show the difference").click()
    expect(page.locator("#live")).to_have_text("The map of stripes rather than dots is there.")
    assert "concept:" not in page.url  # nobody else has it
    page.locator("#bars .bar").first.click()
    expect(page.locator("#bars .bar").first).to_have_attribute("aria-pressed", "true")


def test_an_own_photo_shows_a_concept(visit, folder):
    page = visit.open("&tab=concepts")
    page.set_input_files("#file", folder / "own.png")
    visit.mapped()
    show(page, "mine", "Your photo own.png")
    expect(page.locator("#live")).to_have_text("The map of mine is there.")


def test_photos_without_a_concept_are_what_it_is_told_from(visit, server):
    page = visit.open("&tab=concepts")
    page.get_by_text("Photos without it").click()
    without = page.get_by_role("group", name="Photos that do not (optional)")
    for name in ("n02", "n03"):
        without.get_by_role("checkbox", name=name).check()
    with page.expect_request(
        lambda request: request.method == "POST" and "concept" in (request.post_data or "")
    ) as sent:
        show(page, "stripes", "n01", "n02")
    assert sent.value.post_data_json["against"] == ["sample:n03"]  # what shows it is not what it is told from
    expect(page.locator("#live")).to_have_text("The map of stripes is there.")
    classifier, samples = server.classifiers["transformer"], server.samples
    concept = regard.Concept.from_images(
        classifier, samples[1:3], name="stripes", measure="contrast", others=[samples[3]]
    )
    strongest = float(regard.CDAM(classifier)(samples[0], [concept]).maps.abs().max())
    assert number(page.locator("#stage .legend .numbers span").last.inner_text()) == pytest.approx(strongest, rel=6e-3)
