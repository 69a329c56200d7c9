"""A small model that attends is trained in seconds and examined on the page."""

from .reading import expect, number


def test_a_task_and_a_paradigm_are_chosen_and_the_outcome_is_told(visit):
    page = visit.open(photo=None)
    page.get_by_role("combobox", name="Task").select_option("boxes-1")
    page.get_by_role("combobox", name="Trained by").select_option("supervised")
    page.get_by_role("button", name="Train and examine").click()
    start = page.locator("#exam").get_by_role("button", name="Start")
    outcomes = page.locator("#exam .outcomes strong")
    start.or_(outcomes.first).first.wait_for(timeout=90_000)
    if start.is_visible():
        start.click()
    outcomes.first.wait_for(timeout=90_000)
    shares = [number(text) for text in outcomes.all_inner_texts()]
    assert len(shares) == 4
    assert abs(sum(shares) - 100) < 1
    assert len(page.locator("#exam .verdict").inner_text()) > 30
    mosaics = page.locator("#exam .mosaic svg")
    expect(mosaics).to_have_count(12)
    assert "The foreground has" in mosaics.first.get_attribute("aria-label")
