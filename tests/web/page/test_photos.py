"""Photos come onto the page by choosing, picking, dropping and pasting; what is none is refused with the reason."""

import base64

from .reading import expect, looked


def bars(page):
    return page.locator("#bars .bar")


def sent(page, path, kind, name, mime="image/png"):
    """Drop or paste a file, as the browser tells the page of it."""
    page.evaluate(
        """([text, kind, name, mime]) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: mime }));
            const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
                : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [base64.b64encode(path.read_bytes()).decode(), kind, name, mime],
    )


def test_an_empty_page_says_what_to_do(visit):
    page = visit.open(photo=None)
    expect(page.locator("#stage .empty")).to_contain_text("Drop a photo here")
    expect(bars(page)).to_have_count(0)
    assert page.url.endswith("/#classifier=transformer")


def test_a_sample_is_clicked_and_its_likeliest_classes_stand_as_bars(visit, server):
    page = visit.open(photo=None)
    page.get_by_role("button", name="n01").click()
    visit.mapped()
    classifier = server.classifiers["transformer"]
    answer = classifier(classifier.prepare(server.samples[1])).softmax(dim=1)[0]
    order = answer.argsort(descending=True).tolist()
    for row, index in zip(bars(page).all(), order, strict=True):
        expect(row.locator(".label")).to_have_text(classifier.labels[index])
        said = float(row.locator(".number").inner_text().removesuffix(" %"))
        assert abs(said - 100 * float(answer[index])) < 0.06
    assert "photo=sample:n01" in page.url


def test_a_photo_is_picked(visit, folder):
    page = visit.open(photo=None)
    page.set_input_files("#file", folder / "own.png")
    visit.mapped()
    expect(page.locator("#stage img.photo")).to_have_attribute("alt", "Your photo own.png")
    assert "photo=own" in page.url
    assert page.evaluate("document.querySelector('#stage .map').width") == 90


def test_a_photo_is_dropped_anywhere(visit, folder):
    page = visit.open(photo=None)
    sent(page, folder / "own.png", "dragenter", "own.png")
    expect(page.locator("#veil")).to_be_visible()
    sent(page, folder / "own.png", "drop", "own.png")
    expect(page.locator("#veil")).to_be_hidden()
    visit.mapped()
    expect(bars(page).first).to_be_visible()


def test_a_photo_is_pasted(visit, folder):
    page = visit.open()
    sent(page, folder / "own.png", "paste", "image.png")
    expect(page.locator("#stage img.photo")).to_have_attribute("alt", "Your photo image.png")
    visit.mapped()


def test_what_is_no_photo_is_refused_with_the_reason(visit, folder, tmp_path):
    visit.allowed.append("status of 4")
    page = visit.open()
    wrong = tmp_path / "page.jpg"
    wrong.write_text("<html><script>alert(1)</script>", "utf-8")
    page.set_input_files("#file", wrong)
    said = page.locator("#photos .error")
    expect(said).to_contain_text("page.jpg was not taken")
    assert len(said.inner_text()) > len("page.jpg was not taken. ") + 10
    expect(page.locator("#stage img.photo")).to_be_visible()
    page.set_input_files("#file", folder / "own.png")
    expect(said).to_have_count(0)


def test_a_file_s_name_is_never_read_as_html(visit, folder, tmp_path):
    page = visit.open(photo=None)
    odd = tmp_path / "<img src=x onerror=alert(1)>.png"
    odd.write_bytes((folder / "own.png").read_bytes())
    page.set_input_files("#file", odd)
    visit.mapped()
    assert page.locator("img[src='x']").count() == 0


def test_an_own_photo_outlasts_a_reload_and_can_be_removed(visit, folder):
    page = visit.open(photo=None)
    page.set_input_files("#file", folder / "own.png")
    visit.mapped()
    page.reload()
    visit.mapped()
    expect(page.locator("#stage img.photo")).to_have_attribute("alt", "Your photo own.png")
    page.get_by_role("button", name="Remove Your photo own.png").click()
    expect(page.locator("#stage .empty")).to_be_visible()


def test_a_link_to_an_own_photo_asks_for_the_photo_and_keeps_the_settings(visit, folder):
    page = visit.open("&photo=own&method=attention&opacity=0.5", photo=None)
    expect(page.locator("#photos")).to_contain_text("which no link can hold")
    expect(page.locator("#stage .empty")).to_contain_text("Which photo was it?")
    page.set_input_files("#file", folder / "own.png")
    visit.mapped()
    expect(page.locator("#downloads")).to_contain_text("attention ·")
    expect(page.locator("#opacity")).to_have_value("50")


def test_author_and_licence_of_a_sample_can_be_found(visit):
    page = visit.page
    licence = "https://creativecommons.org/licenses/by/2.0/"

    def credited(route):
        answer = route.fetch()
        about = answer.json()
        about["samples"][0]["credit"] = f"Ann Author, {licence}, https://elsewhere.example/1, scaled"
        route.fulfill(response=answer, json=about)

    page.route("**/api/v1/about", credited)
    visit.open()
    said = page.locator("#stage .credit")
    expect(said.get_by_text(licence)).to_be_hidden()
    said.get_by_text("Photo: Ann Author (licence and source)").click()
    expect(said.get_by_text(licence)).to_be_visible()
    assert looked(page, "small") == []
    page.get_by_role("button", name="n01").click()
    expect(said).to_be_empty()
