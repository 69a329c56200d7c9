import math

import pytest

from regard.evaluate.markdown import cell, written
from regard.evaluate.statistics import Estimate, holm, paired
from regard.evaluate.table import tabulated
from regard.metrics.of_curves import AverageDrop, Insertion
from regard.metrics.of_maps import ClassSensitivity, Gini


def row(method, image, again="", status="judged", **numbers):
    costs = {"classifier": "vit", "forwards": 1.0, "backwards": 0.0, "milliseconds": 2.0, "megabytes": None}
    return {
        "kind": "judged",
        "method": method,
        "image": image,
        "classifier": "vit",
        "status": status,
        "again": again,
        **costs,
        **numbers,
    }


DROP = "average-drop-0.5"


def rows_of(values):
    return [
        row(method, f"p{place:03d}", **{DROP: value})
        for method, several in values.items()
        for place, value in enumerate(several)
    ]


def test_methods_stand_in_the_order_of_the_ranked_score_whatever_else_was_measured():
    rows = [
        row(name, "p", **{DROP: drop, "insertion": 1 - drop / 2})
        for name, drop in {"worst": 0.9, "best": 0.1, "middle": 0.4}.items()
    ]
    found = tabulated(rows, (Insertion(), AverageDrop()), 0, pairs=True)
    assert found.methods == ("best", "middle", "worst")
    assert found.best(AverageDrop()) == "best"
    assert found.best(Insertion()) == "best"


def test_means_and_missing_values_are_those_of_the_photos():
    rows = [*rows_of({"a": [0.1, 0.3, None]}), row("a", "bad", status="not finite", **{DROP: None})]
    found = tabulated(rows, (AverageDrop(),), 0, pairs=True)
    estimate = found.cells["a", DROP]
    assert (estimate.mean, estimate.photos, estimate.missing) == (pytest.approx(0.2), 2, 2)
    assert found.photos["a"] == (4, 1, 0)


def test_maps_that_are_zero_everywhere_are_counted_and_said():
    rows = [row("a", f"p{place}", zero=place < 2, **{DROP: 0.1}) for place in range(5)]
    found = tabulated(rows, (AverageDrop(),), 0, pairs=True)
    assert found.photos["a"] == (5, 0, 2)
    assert "Zero everywhere: a on 2 photos." in written(found, "Title", [])
    assert found.to_json()["methods"][0]["zero"] == 2


def test_what_asks_again_counts_only_the_photos_on_which_it_was_asked():
    rows = [
        row("a", "p0", again="several targets, method", **{"class-sensitivity-1": None}),
        row("a", "p1", **{"class-sensitivity-1": None}),
        row("a", "p2", again="several targets, method", **{"class-sensitivity-1": 0.5}),
    ]
    found = tabulated(rows, (ClassSensitivity(),), 0, pairs=True)
    assert found.cells["a", "class-sensitivity-1"].photos == 1
    assert found.cells["a", "class-sensitivity-1"].missing == 1


def test_a_metric_that_no_row_has_is_left_out():
    assert tabulated(rows_of({"a": [0.1]}), (AverageDrop(), Gini()), 0, pairs=True).metrics[0].column == DROP


def test_differences_are_paired_over_common_photos_and_adjusted_over_the_pairs():
    values = {
        "a": [0.1, 0.2, 0.3, 0.1, 0.2, 0.15, 0.2, 0.2],
        "b": [0.4, 0.5, 0.7, 0.6, 0.5, 0.4, 0.6, 0.5],
        "c": [0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.2, 0.2],
    }
    found = tabulated(rows_of(values), (AverageDrop(),), 0, pairs=True)
    pairs = {(one.first, one.second): one for one in found.differences}
    assert pairs.keys() == {("a", "b"), ("a", "c")}
    raw = [paired(values[one], values[other], 0).p_value for one, other in pairs]
    assert [one.adjusted for one in pairs.values()] == list(holm(raw))
    assert pairs["a", "b"].found.mean == pytest.approx(sum(values["a"]) / 8 - sum(values["b"]) / 8)
    assert found.like("a", AverageDrop()) == {"a", "c"}


def test_every_method_is_compared_with_the_random_control_too():
    values = {name: [drop] * 8 for name, drop in {"a": 0.1, "b": 0.3, "random": 0.3, "c": 0.5}.items()}
    found = tabulated(rows_of(values), (AverageDrop(),), 0, pairs=True)
    assert len(found.differences) == 3 + 2
    assert found.like("random", AverageDrop()) == {"random", "b"}
    page = written(found, "Title", []).partition("## Faith")[2]
    assert page.count(" ? |") == 1


def test_without_pairs_only_the_best_is_as_good_as_the_best():
    found = tabulated(rows_of({"a": [0.1], "b": [0.1001]}), (AverageDrop(),), 0, pairs=False)
    assert found.differences == ()
    assert found.like("a", AverageDrop()) == {"a"}


def test_pairs_of_methods_on_different_photos_use_those_that_both_have():
    rows = rows_of({"fast": [0.1] * 8}) + [row("slow", f"p{place:03d}", **{DROP: 0.2}) for place in (0, 3)]
    (difference,) = tabulated(rows, (AverageDrop(),), 0, pairs=True).differences
    assert difference.found.photos == 2


def test_overlap_is_the_mean_over_photos():
    pair = {"kind": "overlap", "method": "a | b", "image": "p", "rank-correlation": 0.5}
    rows = [*rows_of({"a": [0.1], "b": [0.2]}), pair, {**pair, "image": "q", "rank-correlation": None}]
    found = tabulated(rows, (AverageDrop(),), 0, pairs=True).overlap["a", "b"]
    assert (found.mean, found.photos, found.missing) == (0.5, 1, 1)


def test_a_cell_says_mean_interval_and_how_many_photos_where_they_are_fewer():
    assert cell(Estimate(0.25, (0.2, 0.31), 10, 0), 10) == "0.250 [0.200, 0.310]"
    assert cell(Estimate(0.25, None, 3, 0), 10) == "0.250 (3)"
    assert cell(Estimate(math.nan, None, 0, 4), 4) == "–"


def test_the_page_marks_the_best_and_what_chance_cannot_tell_from_it():
    values = {
        "a": [0.1, 0.2, 0.3, 0.1, 0.2, 0.15, 0.2, 0.2],
        "b": [0.4, 0.5, 0.7, 0.6, 0.5, 0.4, 0.6, 0.5],
        "c": [0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.2, 0.2],
    }
    page = written(tabulated(rows_of(values), (AverageDrop(),), 0, pairs=True), "Title", ["a fact"])
    figures = page.partition("## Cost")[0]
    lines = {line.split(" | ")[0].strip("| "): line for line in figures.splitlines() if line.startswith("|")}
    assert "# Title" in page
    assert "- a fact" in page
    assert "**0.181" in lines["a"]
    assert "≈ 0.188" in lines["c"]
    assert "≈" not in lines["b"]
    assert "average-drop-0.5 ↓" in page


def test_a_table_of_nothing_is_a_table():
    found = tabulated([], (AverageDrop(),), 0, pairs=True)
    assert found.methods == ()
    assert "## Cost" in written(found, "Title", [])


def test_json_holds_every_cell_and_difference():
    found = tabulated(rows_of({"a": [0.1, 0.2], "b": [0.4, 0.5]}), (AverageDrop(),), 0, pairs=True).to_json()
    assert found["metrics"][DROP]["higher_is_better"] is False
    assert [one["method"] for one in found["methods"]] == ["a", "b"]
    assert found["methods"][0][DROP]["photos"] == 2
    assert found["differences"][0]["holm"] <= 1
