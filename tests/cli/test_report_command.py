import json

import pytest

from ..report.reports import Page, explain_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explain_run(tmp_path, names=("a.png",))


def test_a_report_lies_in_its_run_and_its_place_is_printed(program, run, tmp_path):
    code, out, err = program("report", "run")
    assert (code, err) == (0, "")
    assert out.startswith("run/report.html: 0.")
    assert Page((tmp_path / "run" / "report.html").read_text("utf-8")).wrong == []


def test_json_says_where_it_is_and_how_large(program, run, tmp_path):
    code, out, _ = program("report", "run", "--out", "page.html", "--json")
    size = (tmp_path / "page.html").stat().st_size
    assert (code, json.loads(out)) == (0, {"file": "page.html", "bytes": size, "finished": True})


def test_a_report_replaces_nothing_that_stands_there_but_by_force(program, run, tmp_path):
    (tmp_path / "page.html").write_text("mine")
    code, _, err = program("report", "run", "--out", "page.html")
    assert (code, (tmp_path / "page.html").read_text()) == (2, "mine")
    assert "is there already" in err
    assert program("report", "run", "--out", "page.html", "--force")[0] == 0


def test_the_report_in_a_run_is_replaced_by_its_next_one_and_nothing_else_is(program, run, tmp_path):
    report = tmp_path / "run" / "report.html"
    assert program("report", "run")[0] == 0
    made = report.read_bytes()
    assert program("report", "run")[0] == 0
    assert report.read_bytes() == made
    report.write_text("<html>mine</html>")
    assert program("report", "run")[0] == 2
    assert report.read_text() == "<html>mine</html>"


@pytest.mark.parametrize("place", ["photos", "nowhere", "photos/a.png", "run/maps"])
def test_what_is_no_run_is_refused_by_a_sentence(place, program, run):
    code, out, err = program("report", place)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("out", ["page.png", "nowhere/page.html", "run"])
def test_a_place_that_cannot_be_written_is_refused(out, program, run):
    assert program("report", "run", "--out", out)[0] == 2


def test_an_unfinished_run_is_reported_and_said(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explain_run(tmp_path, names=("a.png",), finish=False)
    code, _, err = program("report", "run")
    assert code == 0
    assert "is not finished" in err


def test_a_report_opens_in_the_browser_where_that_is_asked(program, run, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("typer.launch", opened.append)
    program("report", "run", "--open")
    assert opened == [(tmp_path / "run" / "report.html").as_uri()]
