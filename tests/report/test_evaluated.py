import json
from pathlib import Path

import pytest

from regard.evaluate.table import tables
from regard.report.evaluated import Evaluated
from regard.report.page import page_of, write_report
from regard.runs import read_run, see_run

from .reports import Page, page_in, rows_in

ASKED = (
    "photos.csv --methods attention,rollout --metrics average-drop:share=0.15,average-drop,gini,pointing-game,"
    "class-sensitivity:other=least,max-sensitivity:samples=2,randomisation:part=head,rank-correlation "
    "--steps 3 --again-photos 2 --run here"
)


@pytest.fixture
def judged(evaluate):
    code, _, err = evaluate(ASKED)
    assert code == 0, err
    return Path("here")


def test_the_tables_are_those_of_the_command(judged, evaluate):
    _, out, _ = evaluate(ASKED + " --json")
    found = Evaluated.of(see_run(judged))
    assert found.unknown == ()
    assert json.loads(json.dumps([table.to_json() for table in found.tables])) == json.loads(out)["tables"]
    page = Page(page_of(see_run(judged)))
    assert page.wrong == []
    (table,) = found.tables
    for one in table.standings:
        assert one.heading in page.text
        assert all(str(estimate) in page.text for estimate in one.cells.values())


def test_gate_cases_classes_and_missing_numbers_stand_there(judged):
    write_report(judged, "report.html")
    page = page_in("report.html")
    assert "4 of 6 labelled photos are classified rightly (66.7%)" in page.text
    verdicts = [card["data-verdict"] for card in page.all("article")]
    assert verdicts.count("wrong") == 2
    assert {attributes["id"] for attributes in page.all("section")} == {
        *("about", "gate", "summary", "curves", "cases", "classes", "failures", "gallery")
    }
    assert "the method was not asked again on this photo" in page.text
    assert rows_in(page.data) == read_run(judged).rows


def test_every_missing_number_of_a_judged_row_has_a_reason(judged):
    write_report(judged, "report.html")
    data, run = page_in("report.html").data, read_run(judged)
    said = {(column, row) for column, each in data["null"].items() for rows in each.values() for row in rows}
    metrics = [column for column, _, _ in run.manifest["configuration"]["protocol"]["metrics"]]
    missing = {
        (column, number)
        for number, row in enumerate(run.rows)
        for column in metrics
        if row["kind"] == "judged" and row.get(column) is None and not column.startswith("rank-correlation")
    }
    assert said == missing


def test_an_evaluation_that_has_only_begun_has_its_gate_alone(judged):
    run = see_run(judged)
    gate = [row for row in run.rows if row["kind"] == "gate"]
    begun = type(run)(run.folder, run.command, run.configuration, None, gate, run.log)
    page = Page(page_of(begun))
    assert {attributes["id"] for attributes in page.all("section")} == {"about", "gate", "gallery"}
    assert "4 of 6 labelled photos are classified rightly" in page.text
    assert tables(gate, (), 0, compared=True) == ()
