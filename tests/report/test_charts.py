import math
import re

from regard.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Point, Tick, curves, intervals


def test_a_curve_goes_through_its_points_and_leaves_a_gap_where_there_is_no_number():
    points = [Point(0, 0.0), Point(1, 1.0), Point(2, math.nan), Point(3, 0.5), Point(4, 0.0)]
    chart = curves("loss", "epoch", {"held out": points}, Tick(3, "chosen"))
    (line,) = chart.lines
    assert re.findall("[ML]", line.path) == ["M", "L", "M", "L"]
    across, low, high = (WIDTH - RIGHT - LEFT) / 4, HEIGHT - BOTTOM, TOP
    places = [(LEFT + across * x, low + (high - low) * y) for x, y in ((0, 0), (1, 1), (3, 0.5), (4, 0))]
    assert [(x, y) for x, y, _ in line.dots] == [(round(x, 1), round(y, 1)) for x, y in places]
    assert chart.mark.place == places[2][0]
    assert [tick.words for tick in chart.x_ticks] == ["0", "1", "2", "3", "4"]
    assert chart.said == "loss by epoch: held out from 0 at 0 to 0 at 4."


def test_an_interval_lies_about_its_mean():
    chart = intervals(
        "drop", "drop", [("a", 0.5, (0.25, 1.0), True), ("b", 0.0, None, False), ("c", math.nan, None, True)]
    )
    first, second = chart.bars
    left, _, right, _ = chart.inner
    placed = [left + (right - left) * value for value in (0.25, 0.5, 1.0)]
    assert (first.low, first.mean, first.high) == tuple(round(place, 1) for place in placed)
    assert (second.mean, second.low, second.words) == (left, None, "b: 0.000")


def test_nothing_is_drawn_of_no_numbers():
    assert curves("loss", "epoch", {"a": [Point(0, math.nan)]}) is None
    assert curves("loss", "epoch", {}) is None
    assert intervals("drop", "drop", [("a", math.nan, None, True)]) is None
    assert curves("loss", "epoch", {"a": [Point(0, 2.0)]}).lines[0].path.startswith("M")
