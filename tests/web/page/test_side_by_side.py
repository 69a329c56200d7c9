"""Methods, classes and classifiers side by side: each a card with a job of its own, asked about where it is long."""

import pytest

from ...evaluate.pictures import LABELS
from .reading import expect, number


def cards(page):
    return page.locator("#cards .card")


def test_quick_methods_stand_side_by_side_and_one_is_opened(visit):
    page = visit.open("&target=class:1")
    page.get_by_role("button", name="Quick methods").click()
    expect(cards(page)).to_have_count(6)
    expect(cards(page).locator(".legend")).to_have_count(6)
    names = {text.split(" · ")[0] for text in cards(page).locator("header p").all_inner_texts()}
    assert len(names) == 6
    card = cards(page).filter(has_text="attention · transformer")
    card.get_by_role("button", name="Open above").click()
    expect(page.locator("#downloads")).to_contain_text("attention ·")
    page.get_by_role("button", name="Clear").click()
    expect(cards(page)).to_have_count(0)


def test_classes_of_one_method_share_a_scale(visit):
    page = visit.open()
    page.get_by_role("button", name="Likeliest classes").click()
    expect(cards(page).locator(".legend")).to_have_count(3)
    scales = cards(page).locator(".legend .numbers").all_inner_texts()
    assert len(set(scales)) == 1
    another = sorted({*LABELS} - {*cards(page).locator("h3").all_inner_texts()})[0]
    field = page.get_by_role("combobox", name="Add another class")
    field.press_sequentially(another)
    expect(page.locator("#cards .found li")).to_have_count(1)
    field.press("Enter")
    expect(cards(page).last.locator("h3")).to_have_text(another)


def test_classifiers_side_by_side_and_a_card_taken_away(visit):
    page = visit.open(classifier="convolutional")
    page.get_by_role("button", name="All classifiers").click()
    expect(cards(page)).to_have_count(4)
    expect(cards(page).filter(has_text="· transformer").locator(".legend")).to_have_count(1)
    page.locator("#cards .away").first.click()
    expect(cards(page)).to_have_count(3)


def test_other_photos_stand_side_by_side_each_with_its_own_map(visit, server):
    page = visit.open("&target=class:1&method=grad-cam", classifier="convolutional")
    page.get_by_role("button", name="Other photos").click()
    expect(cards(page)).to_have_count(5)
    expect(cards(page).locator(".legend")).to_have_count(5)
    beneath = cards(page).locator("header p").all_inner_texts()
    assert [text.split(" · ")[2:] for text in beneath] == [[], *([f"n0{number}.png"] for number in range(1, 5))]
    classifier = server.classifiers["convolutional"]
    for card, sample in zip(cards(page).all(), server.samples, strict=True):
        probability = classifier(classifier.prepare(sample)).softmax(dim=1)[0, 1].item()
        said = card.locator("p.quiet").last.inner_text().split(" · ")[0]
        assert number(said) == pytest.approx(100 * probability, abs=0.06)
    cards(page).last.get_by_role("button", name="Open above").click()
    expect(page.locator("#stage img.photo")).to_have_attribute("alt", "n04")


def test_what_takes_long_is_asked_about_shows_its_progress_and_is_cancelled(visit):
    page = visit.open(classifier="slow")
    page.get_by_role("combobox", name="Add another method").select_option("rise")
    card = cards(page).first
    expect(card).to_contain_text("This map takes about")
    expect(card).to_contain_text("(1001 passes)")
    card.get_by_role("button", name="Start").click()
    expect(card.locator(".progress.running progress[value]")).to_be_visible()
    card.get_by_role("button", name="Cancel: This map").click()
    expect(card).to_contain_text("This map was cancelled.")
    page.locator("#bars .bar").nth(1).click()
    visit.mapped()  # the worker is free again
    card.get_by_role("button", name="Begin again").click()
    expect(card.get_by_role("button", name="Leave it")).to_be_visible()
    card.get_by_role("button", name="Leave it").click()
    expect(card).to_contain_text("was cancelled")
