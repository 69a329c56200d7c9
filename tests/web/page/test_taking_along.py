"""Picture, raw maps and report are saved; a link and the Python lines are copied."""

import subprocess
import sys

import torch
from PIL import Image

import regard
from regard.explanation import Explanation

from .reading import expect


def saved(page, name, place):
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    waiting.value.save_as(place)
    return place


def test_picture_raw_maps_and_report_are_saved(visit, server, tmp_path):
    page = visit.open("&target=class:1")
    with Image.open(saved(page, "Picture", tmp_path / "map.png")) as picture:
        assert picture.format == "PNG"
    kept = Explanation.load(saved(page, "Raw maps", tmp_path / "maps.safetensors"))
    whole = regard.CDAM(server.classifiers["transformer"])(server.samples[0], [1])
    assert torch.allclose(kept.maps, whole.maps, atol=1e-6)
    text = saved(page, "Report", tmp_path / "report.html").read_text("utf-8")
    assert "<html" in text.lower()
    assert "cdam" in text
    expect(page.locator("#downloads")).to_contain_text("Report is saved.")


def test_a_link_is_copied_and_opens_to_the_same(visiting):
    visit = visiting(permissions=["clipboard-read", "clipboard-write"])
    page = visit.open("&target=class:2&method=grad-cam")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#downloads")).to_contain_text("The link is copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    page.get_by_text("The Python that does the same").click()
    page.get_by_role("button", name="Copy the lines").click()
    expect(page.locator("#downloads")).to_contain_text("The Python lines are copied.")
    lines = page.evaluate("navigator.clipboard.readText()")
    assert "import regard" in lines
    subprocess.run([sys.executable, "-c", f"compile({lines!r}, 'lines', 'exec')"], check=True)


def test_without_a_clipboard_the_link_is_there_to_be_selected(visit):
    visit.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page = visit.open()
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_label("To be copied")).to_have_value(page.url)


def test_what_cannot_be_saved_says_why(visit):
    visit.allowed.append("status of 404")
    page = visit.open()
    page.route(
        "**/picture.png", lambda route: route.fulfill(status=404, json={"error": {"problem": "it was forgotten"}})
    )
    page.get_by_role("button", name="Picture").click()
    expect(page.locator("#downloads")).to_contain_text("Picture could not be saved. It was forgotten.")


def opened(visiting, page):
    """What a link shows to somebody else."""
    other = visiting()
    other.page.goto(page.url)
    other.mapped()
    return other.page


def test_a_link_restores_the_slider_the_scale_and_the_patches(visiting):
    page = visiting().open("&target=class:1&tab=question&removal=black")
    page.locator("#removed").fill("5")
    again = opened(visiting, page)
    expect(again.locator("#panel-question output")).to_have_text("31.3 %")
    expect(again.locator(".entry.ranked dd")).to_have_text(page.locator(".entry.ranked dd").inner_text())
    page.get_by_role("tab", name="Look").click()
    page.get_by_label("Hold this scale for other classes").check()
    page.get_by_role("tab", name="Question the map").click()
    page.get_by_role("button", name="Patch by patch").click()
    page.locator(".sheet").focus()
    for key in ("ArrowRight", "Space", "ArrowDown", "Space"):
        page.keyboard.press(key)
    changed = page.locator("#bars .change")
    expect(changed.first).to_be_visible()
    expect(page.locator("#bars .bars[aria-busy=false]")).to_be_visible()
    again = opened(visiting, page)
    expect(again.locator("#panel-question")).to_contain_text("2 patches off")
    expect(again.locator("#bars .change")).to_have_text(changed.all_inner_texts())
    again.get_by_role("tab", name="Look").click()
    expect(again.get_by_label("Scale held at")).to_be_checked()


def test_a_link_restores_cards_ranks_and_what_an_exam_is_about(visiting):
    page = visiting().open("&tab=ranks&method=br-npa&target=class:0", classifier="ranked")
    page.get_by_role("checkbox", name="Rank 2").uncheck()
    page.get_by_role("button", name="Likeliest classes").click()
    expect(page.locator("#cards .legend")).to_have_count(3)
    page.get_by_role("combobox", name="Trained by").select_option("supervised")
    page.get_by_role("combobox", name="Seed").select_option("2")
    again = opened(visiting, page)
    expect(again.get_by_role("checkbox", name="Rank 2")).not_to_be_checked()
    expect(again.get_by_role("checkbox", name="Rank 1")).to_be_checked()
    expect(again.locator("#cards .legend")).to_have_count(3)
    assert again.locator("#cards h3").all_inner_texts() == page.locator("#cards h3").all_inner_texts()
    expect(again.get_by_role("combobox", name="Trained by")).to_have_value("supervised")
    expect(again.get_by_role("combobox", name="Seed")).to_have_value("2")
    assert again.url == page.url
