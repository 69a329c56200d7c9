import csv
import json
import shutil
from pathlib import Path

import pytest

from regard.evaluate.table import tables
from regard.report.evaluated_run import Evaluated
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
    rows = read_run(judged).rows
    lists = {"curve shares", "deletion curve", "insertion curve"}
    assert rows_in(page.data) == [{name: row[name] for name in row if name not in lists} for row in rows]
    with (judged / "index.csv").open(encoding="utf-8") as file:
        assert not lists & {*next(csv.reader(file))}


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


def test_the_best_methods_maps_lie_side_by_side_on_every_judged_photo_beside_chance(judged):
    write_report(judged, "report.html")
    page, run = page_in("report.html"), see_run(judged)
    few = Evaluated.of(run).few
    shown = [card for card in page.all("article") if card["data-verdict"] == "right"]
    layers = [image["alt"] for image in page.all("img") if image.get("class") == "over"]
    assert few == ["attention", "rollout", "random"]
    assert len(shown) == 4 + 4  # in the gallery, and among the best and worst cases
    assert len(layers) == len(few) * len(shown)
    assert all(sum(f" by {method}: " in words for words in layers) == len(shown) for method in few)
    assert all(f"{method}: the brighter, the more attention" in page.text for method in few)


def test_of_many_photos_fewer_methods_show_their_maps_chance_among_them(judged, monkeypatch):
    monkeypatch.setattr("regard.report.evaluated_photos.MAPS", 12)  # two methods on six photos
    page = Page(page_of(see_run(judged)))
    layers = [image["alt"] for image in page.all("img") if image.get("class") == "over"]
    assert {words.split(" by ")[1].split(":")[0] for words in layers} == {"attention", "random"}


def test_curves_over_what_is_removed_and_shown_are_means_of_the_rows(judged):
    found = Evaluated.of(see_run(judged))
    rows = [row for row in found.run.rows if row["kind"] == "judged" and row["method"] == "rollout"]
    for column in ("deletion curve", "insertion curve"):
        points = found.mean_curves(column)["rollout"]
        assert [point.x for point in points] == pytest.approx([100 * count / 1024 for count in (0, 341, 683, 1024)])
        assert [point.y for point in points] == pytest.approx(
            [sum(row[column][k] for row in rows) / 4 for k in range(4)]
        )
    assert "Deletion: probability of the class" in Page(page_of(found.run)).text


def test_a_run_whose_maps_are_gone_or_that_kept_none_is_reported_without(judged):
    run = see_run(judged)
    shutil.rmtree(judged / "maps")
    page = Page(page_of(run))
    assert page.wrong == []
    assert "the file of the map cannot be read" in page.text
    plain = [
        {name: value for name, value in row.items() if name not in ("maps", "deletion curve", "insertion curve")}
        for row in run.rows
    ]
    older = Page(page_of(type(run)(run.folder, run.command, run.configuration, run.manifest, plain, run.log)))
    assert older.wrong == []
    assert "Deletion: probability of the class" not in older.text
    assert not [image for image in older.all("img") if image.get("class") == "over"]
