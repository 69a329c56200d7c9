"""What the tables of benchmarks/study_brnpa_tasks.py say of seeds, episodes and photos together."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def study(imported):
    return [imported(name) for name in ("study_brnpa_tasks_table", "tasks_side_by_side", "tasks_overlap")]


def test_a_mean_over_seeds_and_episodes_has_the_interval_of_a_plain_loop(study):
    table, *_ = study
    values = np.random.default_rng(3).normal(size=(3, 20)) + np.array([[0.0], [1.0], [4.0]])
    found = table.mean_of(values)
    draw, means = np.random.default_rng(5), []
    for _ in range(4000):
        rows = [values[draw.integers(3)] for _ in range(3)]
        means.append(np.mean([row[draw.integers(20)] for row in rows for _ in range(20)]))
    assert found.value == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.15)


def test_photos_of_a_person_are_drawn_together(study):
    table, *_ = study
    persons, values = ["a"] * 8 + ["b"] * 8, [[0.0] * 8 + [1.0] * 8]
    together = table.mean_of(values, persons, shared=True)
    assert (together.low, together.high) == (0.0, 1.0)  # a quarter of all draws holds one person alone
    apart = table.mean_of(values, shared=True)
    assert apart.low > 0.2
    assert apart.high < 0.8


def test_a_person_with_more_photos_counts_for_more_of_them(study):
    table, *_ = study
    found = table.mean_of([[1.0, 0.0, 0.0, 0.0]], ["a", "b", "b", "b"], shared=True)
    assert found.value == 0.25
    assert (found.low, found.high) == (0.0, 1.0)
    persons, values = np.repeat(range(20), [1, 3] * 10), np.repeat([1.0, 0.0] * 10, [1, 3] * 10)
    found = table.mean_of([values], persons, shared=True)
    assert found.low < found.value == 0.25 < found.high < 0.5  # a half, were persons counted alike


def test_the_same_queries_in_all_seeds_are_drawn_once(study):
    table, *_ = study
    values = np.tile([0.0, 1.0] * 10, (3, 1))
    shared, own = table.mean_of(values, shared=True), table.mean_of(values)
    assert shared.high - shared.low == pytest.approx((own.high - own.low) * 3**0.5, rel=0.15)


def test_differences_are_of_the_seeds_that_both_have(study):
    table, *_ = study
    found = table.difference({0: [1.0, 2.0], 2: [9.0, 9.0]}, {0: [0.5, 1.5], 1: [7.0, 7.0]})
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    assert table.difference({0: [1.0]}, {1: [1.0]}) is None


def test_networks_of_a_pair_are_named_in_the_order_of_the_alphabet(study):
    *_, alike = study
    contenders = ["br-npa on re-id-2.safetensors", "br-npa on few-shot-0.safetensors"]
    assert alike.pair_of(" | ".join(contenders)) == "few-shot-0 | re-id-2"
    assert alike.pair_of(" | ".join(contenders[::-1])) == "few-shot-0 | re-id-2"


def test_two_tasks_overlap_is_held_against_that_of_two_seeds_of_each(study):
    *_, alike = study
    found = {"few-0 | few-1": [0.8, 0.6], "re-0 | re-1": [0.4, 0.6]}
    found |= {f"few-{one} | re-{other}": [0.1 + one, 0.3 + other] for one in (0, 1) for other in (0, 1)}
    said = alike.overlaps(found)
    assert {what: mean.value for what, mean in said.items()} == pytest.approx(
        {"few, two seeds": 0.7, "re, two seeds": 0.5, "few and re": 0.7, "few and re, less two seeds": 0.1}
    )
    assert said["few, two seeds"].low == pytest.approx(0.6)  # one pair of networks: photos alone are drawn
    assert said["few, two seeds"].high == pytest.approx(0.8)


def test_overlaps_have_the_interval_of_a_plain_loop(study):
    *_, alike = study
    random = np.random.default_rng(2)
    worth = {f"{task}-{seed}": random.normal(size=6) for task in ("a", "b") for seed in range(3)}
    names = sorted(worth)
    found = {
        f"{one} | {other}": (worth[one] + 2 * worth[other]).tolist()
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }
    draw, means = np.random.default_rng(7), []

    def mean(first, second, pairs, photos):
        taken = [found[" | ".join(sorted((f"{first}-{i}", f"{second}-{j}")))] for i, j in pairs]
        return np.mean([np.array(each)[photos].mean() for each in taken])

    for _ in range(4000):
        one, other, photos = draw.integers(3, size=3), draw.integers(3, size=3), draw.integers(6, size=6)
        own = [[(i, j) for i in drawn for j in drawn if i != j] for drawn in (one, other)]
        if all(own):
            apart = mean("a", "b", [(i, j) for i in one for j in other], photos)
            means.append(apart - (mean("a", "a", own[0], photos) + mean("b", "b", own[1], photos)) / 2)
    said = alike.overlaps(found)["a and b, less two seeds"]
    assert [said.low, said.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.15)


def test_overlaps_that_there_are_not_count_nowhere(study):
    table, _, alike = study
    found = {"few-0 | few-1": [0.8, None, 0.6], "re-0 | re-1": [None, 0.4, 0.6]}
    found |= {f"few-{one} | re-{other}": [0.2 + one, None, None] for one in (0, 1) for other in (0, 1)}
    assert {what: mean.value for what, mean in alike.overlaps(found).items()} == pytest.approx(
        {"few, two seeds": 0.7, "re, two seeds": 0.5, "few and re": 0.7, "few and re, less two seeds": 0.1}
    )
    assert table.percent_empty(found) == "56"  # 10 of 18
    assert table.over_photos("gini, ", [{"few": [0.0, None, 0.4]}, {"few": [None]}]) == [
        "| gini, few | 0.20 [0.00, 0.40] |  |"
    ]


def test_a_photo_counts_with_the_mean_of_its_pairs_and_keeps_its_place(study):
    _, side, _ = study
    found = side.by_photo([("x", "b", 1.0), ("x", "a", 0.2), ("x", "b", 0.0), ("x", "a", None), ("y", "b", 0.5)])
    assert found == {"x": [0.2, 0.5], "y": [None, 0.5]}


def rows_of_all_tables(cases=("K = 3", "K = 3, distilled", "B-CNN")):
    """Two seeds; a network's numbers are all alike, so that means have no spread."""
    rows, worth = [], {"K = 3": 0.5, "K = 3, distilled": 0.75, "B-CNN": 0.25}
    for case in cases:
        ranks = {name: [worth[case] / 2] * 4 for name in ("1", "2", "3", "1+2", "2+3")} | {"1+2+3": [worth[case]] * 4}
        with_ranks = {"ranks": ranks} if case.startswith("K") else {}
        first = ("br-npa, rank 1", "br-npa, mean of ranks") if with_ranks else ("its own maps, mean",)
        for seed in range(2):
            about = {"case": case, "seed": seed, "grid": [7, 7]}
            rows.append({"task": "few-shot", "shots": 1, **about, "accuracy": [worth[case]] * 4, **with_ranks})
            found = {"mAP": [worth[case]] * 4, "rank-1": [1.0] * 4}
            by_rank = {"ranks": {name: {"mAP": values} for name, values in ranks.items()}} if with_ranks else {}
            rows.append({"task": "re-id", **about, "before": 0.1, "persons": list("aabb"), **found, **by_rank})
            areas = {
                name: (0.2 + place / 10) * worth[case]
                for place, name in enumerate((*first, "grad-cam", "rise", "random", "centre"))
            }
            methods = {
                name: {"clean": [worth[case]] * 2, "deletion": [area] * 2, "insertion": [2 * area] * 2}
                for name, area in areas.items()
            }
            asked = {**about, "about": ["a", "b"], "methods": methods}
            rows += [{"task": f"similarity, {task}", **asked} for task in ("few-shot", "re-id")]
    return rows


def test_networks_are_held_against_the_one_that_learns_alone_and_the_teacher(study):
    table, *_ = study
    about = {"task": "few-shot", "shots": 1, "seed": 0}
    taught = {"case": "K = 3, 3×3, the teacher", "grid": [3, 3], "accuracy": [0.5, 1.0]}
    alone = {"case": "K = 3", "grid": [7, 7], "accuracy": [0.5, 0.5]}
    said = table.document([{**about, **taught}, {**about, **alone}]).splitlines()
    assert "|  | grid | seeds | accuracy [95 %] | less K = 3 | less K = 3, 3×3, the teacher |" in said
    assert "| K = 3, 3×3, the teacher | 3×3 | 1 | 75.0 [50.0, 100.0] | +25.0 [+0.0, +50.0] |  |" in said
    assert "| K = 3 | 7×7 | 1 | 50.0 [50.0, 50.0] |  | -25.0 [-50.0, +0.0] |" in said


def test_every_table_says_what_its_rows_hold(study):
    table, *_ = study
    said = table.document(rows_of_all_tables()).splitlines()
    shot = said.index("### Omniglot, 5 ways, 1 shot")
    assert "| K = 3, distilled | 7×7 | 2 | 75.0 [75.0, 75.0] | +25.0 [+25.0, +25.0] |  |" in said[shot:]
    assert "| 1 | 25.0 (-25.0 [-25.0, -25.0]) | 37.5 (-37.5 [-37.5, -37.5]) |" in said[shot:]
    again = said.index("### Re-identification, 2 persons, 4 queries")
    line = "| B-CNN | 7×7 | 2 | 10.0 | 25.0 [25.0, 25.0] | -25.0 [-25.0, -25.0] |  | 100.0 [100.0, 100.0] |"
    assert line in said[again:]
    maps = said.index("### What makes a drawing and its prototype alike")
    rise = next(line for line in said[maps:] if line.startswith("| K = 3, distilled | 7×7 | rise |"))
    assert [cell.split(" ")[0] for cell in rise.strip("| ").split(" | ")[3:]] == [
        *("2", "2", "0.75"),  # seeds, photos, cosine
        *("0.375", "+0.075", "-0.225"),  # 0.5 · 0.75; less grad-cam 0.4 · 0.75; rank 1, 0.2 · 0.75, less it
        *("0.750", "+0.150", "-0.450"),
    ]
    share = next(line for line in said[maps:] if line.startswith("| its own, mean | B-CNN | 2 |"))
    assert [cell.split(" ")[0] for cell in share.strip("| ").split(" | ")[3:]] == ["0.200", "+0.100", "0.400", "+0.200"]
    blind = next(line for line in said[maps:] if line.startswith("| random | B-CNN | 2 |"))
    assert [cell.split(" ")[0] for cell in blind.strip("| ").split(" | ")[3:]] == ["0.500", "+0.100", "1.000", "+0.200"]


def test_tasks_side_by_side_are_one_table_of_worth_and_one_of_maps(study):
    table, *_ = study
    rows = [
        {
            "task": "side by side",
            "case": "re-id",
            "seed": seed,
            "grid": [14, 14],
            "of": "mAP",
            "value": value,
            "chance": 0.1,
        }
        for seed, value in enumerate((0.25, 0.5))
    ]
    sparsity = {"compactness": {"re-id": [0.5, 0.5]}, "gini": {"re-id": [0.25, 0.25]}}
    overlap = {"few-0 | few-1": [0.9] * 2, "re-0 | re-1": [0.7] * 2}
    overlap |= {f"few-{one} | re-{other}": [0.6] * 2 for one in (0, 1) for other in (0, 1)}
    rows.append({"task": "compare", "method": "br-npa", "seeds": 2, "sparsity": sparsity, "overlap": overlap})
    said = table.document(rows)
    assert "| re-id | 14×14 | 2 | mAP: 25.0, 50.0 | 10.0 |" in said
    assert "| compactness, re-id | 0.50 [0.50, 0.50] |" in said
    assert "| overlap, few and re | 0.60 [0.60, 0.60] |" in said
    assert "| overlap, few and re, less two seeds | -0.20 [-0.20, -0.20] |" in said


def test_episodes_of_one_shot_and_of_five_are_in_two_tables(study):
    table, *_ = study
    row = {"task": "few-shot", "case": "K = 3", "seed": 0, "grid": [7, 7]}
    said = table.few_shot([{**row, "shots": shots, "accuracy": [worth]} for shots, worth in ((1, 0.25), (5, 0.75))])
    assert [line for line in said if line.startswith(("###", "| K = 3 |"))] == [
        "### Omniglot, 5 ways, 1 shot",
        "| K = 3 | 7×7 | 1 | 25.0 [25.0, 25.0] |  |  |",
        "### Omniglot, 5 ways, 5 shots",
        "| K = 3 | 7×7 | 1 | 75.0 [75.0, 75.0] |  |  |",
    ]


def test_the_interval_of_retrieval_is_of_persons(study, tasks):
    table, *_ = study
    row = {"task": "re-id", "case": tasks.reid.TEACHER, "seed": 0, "grid": [4, 2], "before": 0.25}
    row |= {"persons": ["a"] * 8 + ["b"] * 8, "mAP": [0.0] * 8 + [1.0] * 8, "rank-1": [1.0] * 8 + [0.0] * 8}
    ends = "50.0 [0.0, 100.0] |  |  | 50.0 [0.0, 100.0] |"
    assert table.reid([row])[4] == f"| {tasks.reid.TEACHER} | 4×2 | 1 | 25.0 | {ends}"


def test_photos_of_persons_are_the_same_in_all_seeds_and_episodes_are_not(study, monkeypatch):
    (table, *_), asked = study, []
    monkeypatch.setattr(table, "of_network", lambda rows, shared: asked.append(shared) or [])
    monkeypatch.setattr(table, "of_networks", lambda networks, shared: asked.append(shared) or [])
    for task, shared in (("few-shot", False), ("re-id", True)):
        table.similarity([{"task": f"similarity, {task}", "case": "B-CNN"}])
        assert asked[-2:] == [shared] * 2
