"""A class's map lies over the photo, on a scale with numbers; it can be read, made paler, and asked differently."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

import regard
from regard.drawing import overlay, scale_of

from .reading import expect, number


def canvas_of(page, selector):
    """Its pixels (height, width, 3), once they are as the page has it."""
    page.locator(f"{selector}[data-drawn]").wait_for()
    text = page.evaluate("(selector) => document.querySelector(selector).toDataURL('image/png')", selector)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))).convert("RGB"), dtype=np.int16)


def lossless(page, path):
    """Photos come as they are, so that pixels can be compared; the server's own are WebP."""
    page.route("**/api/v1/photos/**", lambda route: route.fulfill(path=path, content_type="image/png"))


@pytest.mark.parametrize(("method", "maker"), [("cdam", regard.CDAM), ("attention", regard.AttentionMap)])
def test_the_overlay_is_the_one_that_regard_draws(method, maker, visit, server):
    lossless(visit.page, server.samples[0])
    page = visit.open(f"&target=class:2&method={method}")
    explanation = maker(server.classifiers["transformer"])(server.samples[0], [2])
    picture = np.asarray(Image.open(server.samples[0]))
    (placed,) = explanation.on_photo("bilinear")
    expected = overlay(picture, placed[0].numpy(), scale_of(explanation.maps, explanation.signed), explanation.signed)
    drawn = canvas_of(page, "#stage .map")
    assert drawn.shape == expected.shape
    assert np.abs(drawn - expected).max() <= 6  # one step of 256 colours
    assert np.abs(drawn - expected).mean() < 0.6


def test_a_class_is_clicked_and_its_map_is_drawn_on_a_scale_with_numbers(visit, server):
    page = visit.open()
    row = page.locator("#bars .bar").nth(2)
    name = row.locator(".label").inner_text()
    row.click()
    expect(row).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".sheet")).to_have_attribute(
        "aria-label", f"Map of {name} over the photo. Arrow keys read its values."
    )
    visit.mapped()
    strongest = regard.CDAM(server.classifiers["transformer"])(server.samples[0], [name]).maps.abs().max()
    ends = page.locator("#stage .legend .numbers span").all_inner_texts()
    assert [number(end) for end in ends] == [pytest.approx(end * float(strongest), rel=6e-3) for end in (-1, 0, 1)]
    expect(page.locator("#stage .legend")).to_contain_text("against the target")
    expect(page.locator("#live")).to_have_text(f"The map of {name} is there.")


def test_all_classes_are_searched(visit):
    page = visit.open()
    field = page.get_by_role("combobox", name="Search all classes")
    field.press_sequentially("el")
    expect(page.locator(".found li").first).to_contain_text("elk")
    field.press("Enter")
    expect(page.locator("#bars .bar[aria-pressed=true] .label")).to_have_text("elk")
    assert "target=class:4" in page.url
    field.press_sequentially("unicorn")
    expect(page.locator("#panel-map .search [role=status]")).to_have_text("No class is called “unicorn”.")


def test_one_class_rather_than_another(visit, server):
    page = visit.open("&target=class:0")
    page.get_by_role("combobox", name="Why ant rather than").select_option("cat")
    expect(page.locator("#live")).to_have_text("The map of ant rather than cat is there.")
    strongest = (
        regard.CDAM(server.classifiers["transformer"])(server.samples[0], [regard.Difference(0, 2)]).maps.abs().max()
    )
    assert number(page.locator("#stage .legend .numbers span").last.inner_text()) == pytest.approx(
        float(strongest), rel=6e-3
    )


def test_opacity_cells_and_a_scale_that_is_held(visit):
    page = visit.open()
    shown = canvas_of(page, "#stage .map")
    page.get_by_label("Map over the photo").fill("30")
    expect(page.locator("#stage .map")).to_have_css("opacity", "0.3")
    page.get_by_label("Show its cells as they are").check()
    assert np.abs(canvas_of(page, "#stage .map") - shown).max() > 20
    ends = page.locator("#stage .legend .numbers")
    held = ends.inner_text()
    page.get_by_label("Hold this scale for other classes").check()
    page.locator("#bars .bar").nth(3).click()
    visit.mapped()
    expect(ends).to_have_text(held.replace("\n", ""))
    page.get_by_label("Scale held at").uncheck()
    expect(ends).not_to_have_text(held.replace("\n", ""))
    assert "opacity=0.3" in page.url
    assert "cells=sharp" in page.url


def test_value_and_patch_are_read_by_pointer_and_by_arrow_keys(visit, server):
    page = visit.open("&target=class:1")
    maps = regard.CDAM(server.classifiers["transformer"])(server.samples[0], [1])
    box = page.locator(".sheet").bounding_box()
    left, top, right, bottom = maps.geometries[0].box
    across, down = left + (right - left) * 2.5 / 4, top + (bottom - top) * 0.5 / 4
    page.mouse.move(box["x"] + box["width"] * across / 32, box["y"] + box["height"] * down / 40)
    read = page.locator("#reading")
    expect(read).to_contain_text("row 1 of 4, column 3 of 4: ")
    assert number(read.inner_text().split(": ")[1].split(",")[0]) == pytest.approx(
        float(maps.maps[0, 0, 0, 2]), rel=6e-3
    )
    spoken = page.locator("#spoken")
    expect(spoken).to_have_text("")  # what a pointer passes over is not read aloud
    page.mouse.move(2, 2)
    page.locator(".sheet").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(read).to_contain_text("row 3 of 4, column 4 of 4: ")
    expect(spoken).to_have_text(read.inner_text())
    value = float(maps.maps[0, 0, 2, 3])
    assert number(read.inner_text().split(": ")[1].split(",")[0]) == pytest.approx(value, rel=6e-3)
    expect(read).to_contain_text("for the target" if value > 0 else "against the target")


def test_method_and_classifier_are_changed_and_the_way_back_leads_back(visit):
    page = visit.open()
    page.get_by_role("combobox", name="Method", exact=True).select_option("attention")
    expect(page.locator("#downloads")).to_contain_text("attention · 1 forward pass")
    expect(page.locator("#stage .legend")).to_contain_text("most attention")
    page.get_by_role("combobox", name="Classifier", exact=True).select_option("convolutional")
    expect(page.locator("#downloads")).to_contain_text("grad-cam ·")
    page.go_back()
    expect(page.locator("#downloads")).to_contain_text("attention ·")
    page.go_back()
    expect(page.locator("#downloads")).to_contain_text("cdam ·")


def test_an_address_restores_what_was_seen(visiting):
    first = visiting()
    page = first.open("&target=class:3&method=grad-cam&cells=sharp", photo="n02")
    second = visiting()
    again = second.page
    again.goto(page.url)
    second.mapped()
    assert torch.equal(*(torch.from_numpy(canvas_of(there, "#stage .map")) for there in (page, again)))


def test_nonsense_in_the_address_does_no_harm(visit):
    odd = "&target=class:99999999&method=<b>&tab=none&opacity=x&questioned=1&removal=petrol&step=-1&off=a,,9&hidden=1e9"
    page = visit.open(f"{odd}&held=-2&exam=*b*&card=&card=***&card=sample:n00*transformer*cdam*class:x", photo=None)
    page.get_by_role("button", name="n00").click()
    expect(page.locator("#bars .bar").first).to_be_visible()
    visit.allowed.append("status of 4")
    page.goto(f"{visit.address}/#photo=sample:none&target=class:77")
    page.reload()
    expect(page.locator("#stage .empty")).to_be_visible()
