import json

import pytest

from regard.evaluate.markdown import figures, mean, written
from regard.evaluate.table import overlaps, tables
from regard.metrics.of_curves import AverageDrop, Insertion
from regard.metrics.of_maps import ClassSensitivity, Gini, RankCorrelation
from regard.statistics import Estimate

DROP = AverageDrop().column
LOW = [0.1, 0.2, 0.3, 0.1, 0.2, 0.15, 0.2, 0.2]
HIGH = [0.4, 0.5, 0.7, 0.6, 0.5, 0.4, 0.6, 0.5]


def row(method, image, **numbers):
    plain = {"kind": "judged", "classifier": "vit", "status": "judged", "again": "", "zero": False, "probability": 0.5}
    plain |= {"control": method == "random", "again_error": None}
    costs = {"forwards": 1.0, "backwards": 0.0, "milliseconds": 2.0, "megabytes": None}
    return {**plain, **costs, "method": method, "image": image, **numbers}


def rows_of(values, column=DROP, **facts):
    return [
        row(method, f"p{place:02d}", **{column: value}, **facts)
        for method, several in values.items()
        for place, value in enumerate(several)
    ]


def page(rows, metrics=None, compared=True):
    found = tables(rows, metrics or (AverageDrop(),), 0, compared=compared)
    return written(found, overlaps(rows, (RankCorrelation(),), 0), "Title", ["a fact"], compared)


def lines_of(text):
    """The first cell of each line of all grids → the lines."""
    found = {}
    for line in text.splitlines():
        if line.startswith("|"):
            found.setdefault(line.split(" | ")[0].strip("| "), []).append(line)
    return found


def test_methods_stand_in_the_order_of_the_ranked_score_whatever_else_was_measured():
    drops = {"worst": 0.9, "best": 0.1, "middle": 0.4}
    rows = [row(name, "p", **{DROP: drop, "insertion": drop}) for name, drop in drops.items()]
    (found,) = tables(rows, (Insertion(), AverageDrop()), 0, compared=True)
    assert [line.method for line in found.lines] == ["best", "middle", "worst"]


def test_without_the_ranked_score_the_first_metric_orders_by_its_own_direction():
    rows = rows_of({"a": [0.1], "b": [0.3], "c": [None]}, "insertion")
    (found,) = tables(rows, (Insertion(),), 0, compared=True)
    assert [line.method for line in found.lines] == ["b", "a", "c"]


def test_slow_methods_stand_in_a_table_of_their_own_with_all_others_on_the_same_photos():
    first, second = tables(rows_of({"fast": HIGH, "quick": LOW, "slow": LOW[:7]}), (AverageDrop(),), 0, compared=True)
    assert (first.photos, second.photos) == (8, 7)
    assert {line.method for line in first.lines} == {"fast", "quick"}
    assert {line.method for line in second.lines} == {"fast", "quick", "slow"}
    assert second.standings[0].cells["fast"].mean == pytest.approx(sum(HIGH[:7]) / 7)
    assert second.standings[0].best == {"quick", "slow"}


def test_several_classifiers_share_one_table_over_the_photos_that_all_get_right():
    rows = rows_of({"a on one": LOW, "a on two": HIGH[:5]})
    (found,) = tables(rows, (AverageDrop(),), 0, compared=False)
    assert found.photos == 5
    assert found.standings[0].differences == ()
    text = page(rows, compared=False)
    assert "Nothing is tested" in text
    assert "**" not in text


def test_what_asks_again_counts_only_the_photos_on_which_it_was_asked():
    column = ClassSensitivity().column
    rows = [row("a", "p0", again="several targets, method", **{column: None}), row("a", "p1", **{column: None})]
    rows.append(row("a", "p2", again="several targets", **{column: 0.5}))
    (found,) = tables(rows, (ClassSensitivity(),), 0, compared=True)
    assert (found.standings[0].cells["a"].photos, found.standings[0].cells["a"].missing) == (1, 1)


def test_a_metric_that_no_photo_has_is_said():
    (found,) = tables(rows_of({"a": [0.1]}), (AverageDrop(), Gini()), 0, compared=True)
    assert found.unmeasured == ("gini",)
    assert "Not measured, since no photo has what it needs: gini." in page(
        rows_of({"a": [0.1]}), (AverageDrop(), Gini())
    )


def test_maps_that_say_nothing_are_counted_and_said():
    rows = [row("a", f"p{place}", zero=place < 2, **{DROP: 0.1}) for place in range(4)]
    rows += [row("a", "p4", status="not finite", **{DROP: None}), row("a", "p5", status="failed", **{DROP: None})]
    (found,) = tables(rows, (AverageDrop(),), 0, compared=True)
    assert (found.lines[0].zero, found.lines[0].not_finite, found.lines[0].failed) == (2, 1, 1)
    text = page(rows)
    assert "Zero everywhere: a on 2 of 6 photos." in text
    assert "Not finite: a on 1 of 6 photos." in text
    assert "Failed: a on 1 of 6 photos." in text


def test_cost_is_mean_passes_median_time_and_largest_peak():
    rows = [
        row("a", f"p{place}", forwards=passes, milliseconds=time, megabytes=peak, **{DROP: 0.1})
        for place, (passes, time, peak) in enumerate([(1, 90.0, 5.0), (3, 2.0, 9.0), (2, 4.0, None)])
    ]
    cost = tables(rows, (AverageDrop(),), 0, compared=True)[0].lines[0].cost
    assert (cost.forwards, cost.milliseconds, cost.megabytes) == (2.0, 4.0, 9.0)


def test_accuracy_is_that_of_the_labelled_photos_of_the_gate():
    gate = [
        {"kind": "gate", "method": "gate", "classifier": "vit", "image": str(place), "status": status, "label": label}
        for place, (status, label) in enumerate([("counts", 1), ("misclassified", 2), ("counts", None), ("counts", 3)])
    ]
    (found,) = tables([*gate, *rows_of({"a": [0.1, 0.2]})], (AverageDrop(),), 0, compared=True)
    assert found.lines[0].accuracy == pytest.approx(2 / 3)
    assert found.lines[0].clean_probability == 0.5


def test_overlap_is_the_mean_over_photos():
    pair = {"kind": "overlap", "method": "a | b", "image": "p", "rank-correlation": 0.5}
    rows = [*rows_of({"a": [0.1], "b": [0.2]}), pair, {**pair, "image": "q", "rank-correlation": None}]
    found = overlaps(rows, (RankCorrelation(),), 0)["rank-correlation", "a", "b"]
    assert (found.mean, found.photos, found.missing) == (0.5, 1, 1)
    assert "| a | – | 0.50 |" in page(rows)


def test_a_cell_says_mean_interval_and_how_many_photos_have_none():
    assert str(Estimate(0.25, (0.2, 0.31), 10, 0)) == "0.250 [0.200, 0.310]"
    assert str(Estimate(0.25, None, 3, 2)) == "0.250, 2 without"
    assert str(Estimate(float("nan"), None, 0, 4)) == mean(Estimate(float("nan"), None, 0, 4)) == "–"


def test_the_page_marks_the_best_what_is_like_it_and_what_is_like_chance():
    like_low = [0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.2, 0.2]
    found = lines_of(page(rows_of({"a": LOW, "b": HIGH, "c": like_low, "random": HIGH})))
    assert "**0.181" in found["a"][0]
    assert "≈ 0.188" in found["c"][0]
    assert found["b"][0].endswith("] ? |")
    assert "≈" not in found["b"][0] + found["random"][0]


def test_the_page_says_what_its_columns_are_and_of_how_many_photos():
    text = page(rows_of({"a": LOW, "b": HIGH}))
    assert "average-drop-0.5 ↓ (8)" in text
    assert f"- `{DROP}`: {AverageDrop.summary}; {AverageDrop.rule}." in text
    assert "# Title" in text
    assert "- a fact" in text


def test_a_terminal_gets_means_and_marks():
    (found,) = tables(rows_of({"a": LOW, "b": HIGH}), (AverageDrop(),), 0, compared=True)
    ((heading, (head, *rows)),) = figures(found, mean)
    assert heading.startswith("Faithfulness")
    assert head == ["method", "average-drop-0.5 ↓ (8)"]
    assert rows == [["a", "**0.181**"], ["b", "0.525"]]


def test_nothing_judged_gives_no_table():
    assert tables([], (AverageDrop(),), 0, compared=True) == ()
    assert "# Title" in page([])


def test_json_is_strict_and_holds_every_cell_and_difference():
    rows = rows_of({"a": LOW, "b": HIGH, "c": [None] * 8})
    (found,) = (table.to_json() for table in tables(rows, (AverageDrop(),), 0, compared=True))
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["photos"] == 8
    assert again["metrics"][DROP]["higher_is_better"] is False
    assert again["metrics"][DROP]["best"] == ["a"]
    assert [one["method"] for one in again["methods"]] == ["a", "b", "c"]
    assert again["methods"][0][DROP]["photos"] == 8
    assert again["methods"][2][DROP]["mean"] is None
    assert again["metrics"][DROP]["differences"][0]["holm"] <= 1


def test_memory_is_that_of_the_photo_on_which_it_was_measured():
    rows = [row("a", "p", megabytes=9.0, **{DROP: 0.1}), row("a", "q", megabytes=None, **{DROP: 0.1})]
    head, _, line = page(rows).partition("### Cost of one map\n\n")[2].splitlines()[2:5]
    assert dict(zip(head.split(" | "), line.split(" | "), strict=True))["MiB, peak"] == "9"
