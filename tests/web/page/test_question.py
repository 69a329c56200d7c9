"""The map is questioned: parts go in its order, or patch by patch, and the page shows what is still answered."""

import pytest
import torch

import regard

from .reading import expect, number
from .test_map import canvas_of, lossless

BLACK = -1.0
"""As the classifiers of these tests see it: mean and deviation are 0.5."""


def questioned(visit, fragment="", **where):
    page = visit.open(f"&tab=question{fragment}", **where)
    page.locator("svg.curve").wait_for()
    return page


def value(page, kind):
    return number(page.locator(f".entry.{kind} dd").inner_text())


def test_a_slider_removes_the_most_relevant_part_and_the_probability_moves_along_its_curve(visit, server):
    lossless(visit.page, server.samples[0])
    page = questioned(visit, "&target=class:1&removal=black")
    assert value(page, "clean") == value(page, "ranked") == value(page, "random")
    page.locator("#removed").fill("5")
    classifier = server.classifiers["transformer"]
    explanation = regard.CDAM(classifier)(server.samples[0], [1])
    maps = explanation.maps[0, 0]
    pixels = classifier.prepare(server.samples[0])
    order = maps.flatten().argsort(descending=True)
    keep = torch.ones(16)
    keep[order[:5]] = 0
    mask = keep.reshape(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    filled = pixels * mask + BLACK * (1 - mask)
    expected = float(classifier(filled).softmax(dim=1)[0, 1])
    assert value(page, "ranked") == pytest.approx(100 * expected, abs=0.06)
    said = page.locator("svg.curve").get_attribute("aria-label")
    assert number(said.removeprefix("31.3 % removed: ").split(";")[0]) == value(page, "ranked")
    assert number(said.split("at random: ")[1].split(",")[0]) == value(page, "random")
    expect(page.locator("#panel-question output")).to_have_text("31.3 %")
    shown = canvas_of(page, "#stage .marks")
    gone = (shown == 0).all(axis=2).mean()
    assert gone == pytest.approx(1.0, abs=0.001)  # transparent or black: nothing else is drawn over the photo
    opaque = page.evaluate(
        """() => { const canvas = document.querySelector("#stage .marks");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((_, at) => at % 4 === 3 && data[at] > 0).length; }"""
    )
    left, top, right, bottom = explanation.geometries[0].box
    assert opaque == pytest.approx((right - left) * (bottom - top) * 5 / 16, rel=0.05)


def test_least_relevant_first_by_blur_and_by_dropping_tokens(visit):
    page = questioned(visit)
    page.locator("#removed").fill("8")
    most = value(page, "ranked")
    page.get_by_role("button", name="Least relevant first").click()
    assert value(page, "other") == most
    expect(page.locator(".verdict")).to_be_visible()
    for removal in ("Blur", "Nothing (tokens are dropped)"):
        page.get_by_role("combobox", name="What takes their place").select_option(removal)
        page.locator("svg.curve").wait_for()
    assert "removal=tokens" in page.url
    assert "order=least" in page.url


def test_a_network_that_cannot_drop_tokens_is_not_asked_to(visit):
    page = questioned(visit, "&removal=tokens", classifier="convolutional")
    chosen = page.get_by_role("combobox", name="What takes their place")
    expect(chosen).to_have_value("mean")
    expect(chosen.locator("option[value=tokens]")).to_be_disabled()


def test_single_patches_go_off_and_on_and_the_bars_change_with_their_difference(visit, server):
    page = visit.open("&tab=question&questioned=patches&removal=black&target=class:1")
    box = page.locator(".sheet").bounding_box()
    bar = page.locator("#bars .bar[aria-pressed=true]")
    before = number(bar.locator(".number").inner_text())
    page.mouse.click(box["x"] + box["width"] * 0.17, box["y"] + box["height"] * 0.41)
    expect(bar.locator(".change")).to_be_visible()
    page.locator(".sheet").focus()
    for key in ("ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    expect(page.locator("#panel-question")).to_contain_text("2 patches off")
    expect(page.locator("#bars .bars[aria-busy=false]")).to_be_visible()
    classifier = server.classifiers["transformer"]
    pixels = classifier.prepare(server.samples[0])
    off = torch.zeros(4, 4)
    off[1, 0] = off[2, 1] = 1
    mask = off.repeat_interleave(8, 0).repeat_interleave(8, 1)
    answer = classifier(pixels * (1 - mask) + BLACK * mask).softmax(dim=1)[0]
    assert number(bar.locator(".number").inner_text()) == pytest.approx(100 * float(answer[1]), abs=0.06)
    change = bar.locator(".change").inner_text().replace("±", "")
    assert number(change) == pytest.approx(100 * float(answer[1]) - before, abs=0.11)
    page.get_by_role("button", name="All on again").click()
    expect(page.locator("#bars .change")).to_have_count(0)
    assert number(bar.locator(".number").inner_text()) == before


@pytest.mark.parametrize(
    ("order", "ranked", "said"),
    [
        ("most", 0.2, "less is left than in all 6 random orders"),
        ("most", 0.4, "lies among 6 random orders: no better than chance"),
        ("most", 0.7, "more is left than in all 6 random orders: worse than chance"),
        ("least", 0.7, "the answer does not hang on them, as the map says"),
        ("least", 0.5, "lies among 6 random orders: no better than chance"),
        ("least", 0.2, "the map calls irrelevant what the answer hangs on"),
    ],
)
def test_a_map_is_better_than_chance_only_where_it_leaves_the_band_of_all_random_orders(visit, order, ranked, said):
    def known(route):
        answer = route.fetch()
        job = answer.json()
        if job["kind"] == "curve" and job["result"]:
            points = len(job["result"]["removed"])
            found = {"deletion": ranked, "least_first": ranked, "random_deletion": 0.45}
            job["result"] |= {name: [each] * points for name, each in found.items()}
            job["result"] |= {"random_deletion_band": [[0.3, 0.6]] * points, "random_orders": 6}
        route.fulfill(response=answer, json=job)

    visit.page.route("**/api/v1/jobs**", known)
    visit.page.route("**/api/v1/jobs/**", known)
    page = questioned(visit, f"&step=3&order={order}")
    expect(page.locator(".verdict")).to_contain_text(said)
    expect(page.locator(".verdict")).to_contain_text("So it is at 15 of 15 steps.")
    expect(page.locator(".entry.random dt")).to_have_text("At random: 30.0 % to 60.0 %, mean")
