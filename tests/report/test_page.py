import base64
import hashlib
import json
import math
import re
import shutil

import pytest

from regard.errors import RunError
from regard.report.blocks import Card, Gallery
from regard.report.data import embedded
from regard.report.page import page_of, write_report
from regard.runs import Run, SeenRun, read_run, see_run

from .reports import HOSTILE, LABELS, Page, explain_run, page_in, rows_in


def test_a_page_parses_and_refers_to_nothing_outside_of_it(tmp_path):
    write_report(explain_run(tmp_path), tmp_path / "report.html")
    page = page_in(tmp_path / "report.html")
    assert page.wrong == []
    references = [
        attributes[name]
        for _, attributes in page.elements
        for name in ("src", "href", "srcset", "action", "data", "poster", "formaction", "xlink:href")
        if attributes.get(name)
    ]
    assert len([one for one in references if one.startswith("data:image/webp")]) == 3 * 5  # a photo and four maps each
    assert all(one.startswith(("data:image/", "#")) for one in references)
    assert not re.search(r"url\((?!data:)|@import", "".join(page.inside["style"]))
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {one[1:] for one in references if one.startswith("#")} <= ids
    assert len(ids) == len([1 for _, attributes in page.elements if "id" in attributes])


def test_the_policy_allows_the_page_s_own_style_and_script_and_nothing_else(tmp_path):
    write_report(explain_run(tmp_path), tmp_path / "report.html")
    page = page_in(tmp_path / "report.html")
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    def digest(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": digest(page.inside["style"][0]),
        "script-src": digest(page.inside["script"][1]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [1 for _, attributes in page.elements if "style" in attributes]


def test_the_numbers_inside_are_the_rows(tmp_path):
    folder = explain_run(tmp_path)
    write_report(folder, tmp_path / "report.html")
    data = page_in(tmp_path / "report.html").data
    assert rows_in(data) == read_run(folder).rows
    assert data["manifest"] == json.loads((folder / "manifest.json").read_text("utf-8"))


def test_names_of_photos_and_classes_are_words_wherever_they_stand(tmp_path):
    folder = explain_run(tmp_path)
    write_report(folder, tmp_path / "report.html")
    page = page_in(tmp_path / "report.html")
    assert len(page.all("script")) == 2
    assert all(image.get("src", "data:").startswith("data:") for image in page.all("img"))
    assert HOSTILE in page.text
    assert LABELS[2] in page.text
    assert any(LABELS[2] in attributes.get("alt", "") for attributes in page.all("img"))
    assert any(LABELS[2] in json.loads(card["data-classes"]) for card in page.all("article"))


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "\u2028", "]]>", "&lt;", '"', "\\u003c", "\ud800"])
def test_no_text_breaks_out_of_the_numbers(text, tmp_path):
    run = SeenRun(tmp_path, "explain", {text: text}, None, [{"image": text, "method": text, "target": text}], [])
    found = embedded(run, lambda row: {text: text})
    assert not set(found) & set("<>&\u2028\u2029")
    assert rows_in(json.loads(found)) == run.rows
    assert Page(f"<script>{found}</script>").wrong == []


def test_what_is_no_number_is_null_and_says_why(tmp_path):
    rows = [{"image": "a", "value": math.nan}, {"image": "b", "value": -math.inf}, {"image": "c", "value": None}]
    run = SeenRun(tmp_path, "other", {}, None, rows, [])
    data = json.loads(embedded(run, lambda row: {"value": "too dark"} if row["image"] == "c" else {}))
    assert data["columns"]["value"] == {"values": [None, None, None]}
    assert data["null"] == {"value": {"not a number": [0], "infinite": [1], "too dark": [2]}}


def test_a_score_that_is_infinite_or_none_is_no_number_for_the_page_s_script(tmp_path, monkeypatch):
    odd = {"a": math.inf, "b": -math.inf, "c": math.nan, "d</script>": 0.5}
    monkeypatch.setattr("regard.report.explained._chances", lambda _: odd)
    page = Page(page_of(see_run(explain_run(tmp_path, names=("a.png",)))))
    assert [json.loads(card["data-scores"], parse_constant=pytest.fail) for card in page.all("article")] == [
        {"d</script>": 0.5}
    ]


def test_scores_are_offered_that_all_photos_have():
    scores = ({"likeliest": 0.9, "of ant": 0.9}, {}, {"likeliest": 0.7, "of bee": 0.7}, {"likeliest": math.nan})
    assert Gallery([Card(str(number), None, (4, 3), scores=each) for number, each in enumerate(scores)]).scores == [
        "likeliest"
    ]


def test_a_report_has_a_size_and_says_what_is_left_out(tmp_path, monkeypatch):
    folder = explain_run(tmp_path)
    monkeypatch.setattr("regard.report.explained.MOST_MAPS", 9)  # four maps a photo
    monkeypatch.setattr("regard.report.data.MOST_ROWS", 5)
    page = Page(page_of(see_run(folder)))
    assert len(page.all("article")) == 2
    assert "2 of 3 photos are shown, spread evenly" in page.text
    assert len(rows_in(page.data)) == 4
    assert "4 of 12 rows, photos spread evenly, of the run are inside of it" in page.text


def test_a_photo_that_is_gone_is_shown_as_the_classifier_saw_it(tmp_path):
    folder = explain_run(tmp_path)
    shutil.rmtree(tmp_path / "photos")
    page = Page(page_of(see_run(folder)))
    assert page.text.count("the photo is gone from where the run found it") == 3
    assert page.text.count("shown is what the classifier saw of it") == 3
    assert len([image for image in page.all("img") if image.get("src", "").startswith("data:")]) == 15


def test_a_photo_that_has_changed_is_not_shown(tmp_path):
    folder = explain_run(tmp_path, names=("a.png",))
    shutil.rmtree(folder / "maps")
    with (tmp_path / "photos" / "a.png").open("ab") as file:
        file.write(b"more")
    page = Page(page_of(see_run(folder)))
    assert "the photo has changed since the run" in page.text
    assert "the file of the map cannot be read" in page.text
    assert page.all("img") == []


def test_photos_are_found_beside_a_run_that_was_moved_with_them(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = explain_run(type(tmp_path)(), names=("a.png",)).absolute()
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir("/")
    page = Page(page_of(see_run(tmp_path / "there" / run.name)))
    assert "gone" not in page.text


def test_a_map_outside_of_the_run_is_not_read(tmp_path):
    folder = explain_run(tmp_path, names=("a.png",), finish=False)
    (folder / "maps" / "photo-0.safetensors").rename(tmp_path / "other.safetensors")
    rows = see_run(folder).rows
    run = SeenRun(folder, "explain", {}, None, [{**row, "maps": "../other.safetensors"} for row in rows], [])
    assert "lies outside of the run" in Page(page_of(run)).text


def test_an_unfinished_run_is_reported_and_says_so(tmp_path):
    folder = explain_run(tmp_path, finish=False)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "cut sh')
    assert not write_report(folder, tmp_path / "report.html").finished
    page = page_in(tmp_path / "report.html")
    assert "This run is not finished" in page.text
    assert rows_in(page.data) == see_run(folder).rows
    assert page.data["manifest"] is None


def test_what_was_run_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["regard", "explain", "two words.png"])
    folder = explain_run(tmp_path, names=("a.png",))
    text = Page(page_of(see_run(folder))).text
    manifest = read_run(folder).manifest
    assert "regard explain 'two words.png'" in text
    for said in (
        manifest["configuration"]["classifier_hash"],
        manifest["configuration_hash"],
        manifest["versions"]["torch"],
    ):
        assert said in text


def test_a_run_of_a_kind_that_is_not_known_is_reported_with_its_rows(tmp_path):
    run = Run.open(tmp_path / "run", "weigh", {"seed": 3})
    run.write_rows([{"image": "a", "method": "m", "target": "t", "grams": 2.5}])
    run.finish()
    page = Page(page_of(see_run(run.folder)))
    assert "grams" in page.text
    assert "2.5" in page.text


def damaged(folder, name, content):
    (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", b"{"),
        ("manifest.json", b'{"format": "regard.run", "version": 99}'),
        ("rows.parquet", b"PAR1"),
        ("configuration.json", b"\xff"),
        ("configuration.json", b'{"command": 3, "configuration": []}'),
    ],
)
def test_a_damaged_run_is_refused(name, content, tmp_path):
    folder = explain_run(tmp_path, names=("a.png",))
    damaged(folder, name, content)
    with pytest.raises(RunError):
        write_report(folder, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("place", ["photos", "nowhere", "photos/a.png"])
def test_what_is_no_run_is_refused(place, tmp_path):
    explain_run(tmp_path, names=("a.png",))
    with pytest.raises(RunError, match="no run"):
        write_report(tmp_path / place, tmp_path / "report.html")
