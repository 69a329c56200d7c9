import json
import math
from pathlib import Path

import pytest
import regard_embedded
import torch
from PIL import Image
from scipy.stats import spearmanr

import regard
from regard.cli import compare as command
from regard.cli import comparison_results
from regard.drawing import draw_comparison
from regard.explainers.attention import AttentionMap
from regard.explainers.explainer import Found
from regard.runs import read_run

from ..explainers.networks import classifier_of, vit

PHOTOS = {photo.path.stem: photo.path for photo in regard_embedded.photos()}
LABELS = ["ant", "bee, honey bee", "cat", "crane", "crane"]


def rows_of(out, kind="map"):
    return [row for row in json.loads(out)["rows"] if row["kind"] == kind]


@pytest.mark.usefixtures("tiny")
def test_every_method_target_and_classifier_has_its_map_with_figures(compare):
    arguments = ("--methods", "relevance,rollout", "--targets", "ant,cat", "--models", "vit,other", "--run", "here")
    code, out, err = compare("photo.png", *arguments, "--json")
    assert code == 0
    assert "Traceback" not in err
    maps = rows_of(out)
    assert {(row["method"], row["target"]) for row in maps} == {
        (f"{method} on {name}", target)
        for method in ("relevance", "rollout")
        for name in ("vit", "other")
        for target in ("ant", "cat")
    }
    assert {(row["classifier"], row["target"], row["class_index"]) for row in maps} == {
        ("vit", "ant", 0),
        ("vit", "cat", 2),
        ("other", "ant", 4),
        ("other", "cat", 2),
    }
    for row in maps:
        explanation = regard.Explanation.load(Path("here") / row["maps"])
        sizes = explanation.maps[0, row["place"]].abs().flatten().tolist()
        assert row["compactness"] == sum(size <= 0.05 * max(sizes) for size in sizes) / len(sizes)
        assert row["gini"] == pytest.approx(
            sum(abs(a - b) for a in sizes for b in sizes) / (2 * len(sizes) * sum(sizes)), abs=1e-9
        )
        assert row["probability"] == pytest.approx(
            float(explanation.logits.softmax(1)[0, row["class_index"]]), abs=1e-6
        )
    assert len(read_run(Path("here")).rows) == 8 + 6 * 2 + 4
    assert (Path("here") / "index.csv").read_text().count("photo.png") == 2 * 24


@pytest.mark.usefixtures("tiny")
def test_overlap_and_class_sensitivity_are_scipy_s_rank_correlations_of_the_saved_maps(compare):
    _, out, _ = compare("photo.png", "--methods", "relevance,random", "--targets", "0,1,2", "--run", "here", "--json")
    saved = {
        row["method"].partition(" ")[0]: regard.Explanation.load(Path("here") / row["maps"]).maps[0]
        for row in rows_of(out)
    }
    overlap = rows_of(out, "overlap")
    assert [row["method"] for row in overlap] == ["relevance on vit | random on vit"] * 3
    for row in overlap:
        pair = (saved[name][row["place"]].flatten() for name in ("relevance", "random"))
        assert row["rank_correlation"] == pytest.approx(spearmanr(*pair).statistic, abs=1e-9)
    between = rows_of(out, "between targets")
    assert {row["target"] for row in between} == {"ant | bee, honey bee", "ant | cat", "bee, honey bee | cat"}
    for row in between:
        maps = saved[row["method"].partition(" ")[0]]
        pair = (maps[row[place]].flatten() for place in ("place", "other_place"))
        assert row["rank_correlation"] == pytest.approx(spearmanr(*pair).statistic, abs=1e-9)


@pytest.mark.usefixtures("tiny")
def test_the_table_says_means_and_each_target_s_value_and_a_pipe_gets_tabs(compare):
    arguments = ("photo.png", "--methods", "relevance,rollout", "--targets", "0,1,2", "--run", "here")
    _, out, _ = compare(*arguments, "--json")
    _, printed, _ = compare(*arguments, "--force")
    lines = {tuple(line.split("\t")[:2]): line.split("\t")[2:] for line in printed.splitlines() if "\t" in line}
    assert lines["figure", "method"] == ["mean", "ant", "bee, honey bee", "cat"]
    assert lines["probability", "vit"][0] == "–"
    assert lines["probability", "vit"][1].endswith("%")
    assert lines["between targets", "rollout on vit"] == ["1.00"] * 4
    pairs = {
        (row["place"], row["other_place"]): row["rank_correlation"]
        for row in rows_of(out, "between targets")
        if row["method"] == "relevance on vit"
    }
    with_ant = (pairs[0, 1] + pairs[0, 2]) / 2
    assert lines["between targets", "relevance on vit"][:2] == [f"{sum(pairs.values()) / 3:.2f}", f"{with_ant:.2f}"]
    overlap = [row["rank_correlation"] for row in rows_of(out, "overlap")]
    assert lines["overlap", "relevance on vit | rollout on vit"][0] == f"{sum(overlap) / 3:.2f}"
    figures = {(entry["figure"], entry["method"]): entry for entry in json.loads(out)["figures"]}
    assert figures["overlap", "relevance on vit | rollout on vit"]["mean"] == pytest.approx(sum(overlap) / 3)
    assert "lower tells targets apart" in printed


@pytest.mark.usefixtures("tiny")
def test_without_targets_the_first_classifier_s_likeliest_classes_are_compared_by_label(compare, tiny):
    _, out, _ = compare("photo.png", "--methods", "rollout", "--models", "vit,other", "--json")
    likeliest = tiny["vit"](tiny["vit"].prepare("photo.png"))[0].argsort(descending=True)[:3].tolist()
    maps = rows_of(out)
    own = [row["class_index"] for row in sorted(maps, key=lambda row: row["place"]) if row["classifier"] == "vit"]
    assert own == likeliest
    elsewhere = {row["target"]: row["class_index"] for row in maps if row["classifier"] == "other"}
    translated = {"ant": 4, "bee, honey bee": 1, "cat": 2}
    assert elsewhere == {
        name: translated.get(name) for name in (row["target"] for row in maps if row["classifier"] == "vit")
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["ant,cat"], ["ant", "cat"]),
        (["bee, honey bee"], ["bee, honey bee"]),
        (["ant,bee, honey bee,cat"], ["ant", "bee, honey bee", "cat"]),
        ([" ant , BEE, Honey bee"], ["ant", "bee, honey bee"]),
        (["bee,honey bee"], ["bee, honey bee"]),
        (["0,ant,2", "honey bee"], ["ant", "cat", "bee, honey bee"]),
        (["3"], ["crane (3)"]),
        (["crane (4),1"], ["crane (4)", "bee, honey bee"]),
    ],
    ids=lambda value: "+".join(value).replace(" ", "_"),
)
@pytest.mark.usefixtures("tiny")
def test_targets_stand_between_commas_and_labels_with_commas_stay_whole(compare, given, expected):
    options = [part for text in given for part in ("--targets", text)]
    _, out, _ = compare("photo.png", "--methods", "rollout", *options, "--json")
    assert [row["target"] for row in sorted(rows_of(out), key=lambda row: row["place"])] == expected


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("method", "status"), [("relevance", "no map"), ("rollout", "explained")])
def test_an_index_counts_in_the_first_classifier_and_an_unknown_label_has_no_map_but_that_of_all(
    compare, method, status
):
    _, out, _ = compare("photo.png", "--methods", method, "--targets", "0,dog", "--models", "vit,other", "--json")
    rows = rows_of(out)
    found = {(row["classifier"], row["target"]): (row.get("class_index"), row["error"]) for row in rows}
    assert found == {
        ("vit", "ant"): (0, None),
        ("other", "ant"): (4, None),
        ("vit", "dog"): (None, "no class is called 'dog'"),
        ("other", "dog"): (0, None),
    }
    (unknown,) = (row for row in rows if row["error"])
    assert unknown["status"] == status
    assert (unknown.get("gini") is None) == (status == "no map")


@pytest.mark.parametrize(
    ("labels", "given", "indices"),
    [
        (["2", "5", "7", "9", "0"], "2,5,7", [0, 1, 2]),
        (["2", "5", "7", "9", "0"], "1,3,4", [1, 3, 4]),
        (["0", "1", "1", "-1", "x, 4"], "4,-1,0", [4, 3, 0]),
        (["2", "5", "7", "9", "0"], "7 ,02", [2, 2]),
    ],
    ids=["labels", "indices", "synonym-and-sign", "another-spelling"],
)
def test_a_whole_number_is_an_index_only_where_no_class_has_that_name(compare, tiny, labels, given, indices):
    tiny["vit"] = classifier_of(vit(), labels=labels, name="vit")
    _, out, _ = compare("photo.png", "--methods", "rollout", "--targets", given, "--json")
    found = [row["class_index"] for row in sorted(rows_of(out), key=lambda row: row["place"])]
    assert found == list(dict.fromkeys(indices))


def test_a_number_that_two_classes_are_called_is_ambiguous_and_no_index(compare, tiny):
    tiny["vit"] = classifier_of(vit(), labels=["1", "a", "1", "b", "c"], name="vit")
    code, _, err = compare("photo.png", "--methods", "rollout", "--targets", "1")
    assert (code, "names 2 classes" in err) == (2, True)


def test_the_likeliest_classes_are_those_also_where_their_names_are_numbers(compare, tiny):
    tiny["vit"] = classifier_of(vit(), labels=["4", "3", "2", "1", "0"], name="vit")
    likeliest = tiny["vit"](tiny["vit"].prepare("photo.png"))[0].argsort(descending=True)[:3].tolist()
    _, out, _ = compare("photo.png", "--methods", "rollout", "--json")
    assert [row["class_index"] for row in sorted(rows_of(out), key=lambda row: row["place"])] == likeliest


def test_weights_go_to_the_one_classifier_named(compare, tiny, monkeypatch):
    given = []
    monkeypatch.setattr(
        "regard.models.catalog.load", lambda name, weights, **_: given.append((name, weights)) or tiny[name]
    )
    arguments = ("photo.png", "--methods", "rollout", "--targets", "ant")
    assert compare(*arguments, "--models", "cnn,vit")[0] == 0
    assert compare(*arguments, "--models", "vit", "--weights", "w.safetensors")[0] == 0
    assert given == [("cnn", None), ("vit", None), ("vit", Path("w.safetensors"))]


def test_fine_maps_are_drawn_averaged_and_saved_raw(compare, tiny, monkeypatch):
    drawn, fine = [], torch.randn(1, 1, 112, 112, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(command, "draw", comparison_results.draw)
    monkeypatch.setattr("regard.drawing.draw_comparison", lambda *rest: drawn.append(rest) or draw_comparison(*rest))
    monkeypatch.setattr(AttentionMap, "_explain", lambda *_: Found(fine, None))
    code, out, _ = compare("photo.png", "--methods", "attention", "--targets", "ant", "--run", "here", "--json")
    assert code == 0
    assert regard.Explanation.load(Path("here") / rows_of(out)[0]["maps"]).maps.equal(fine)
    ((_, (row,), *_),) = drawn
    cells = fine.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    values = row.panels[0].values
    assert float(values[values.isfinite()].max()) <= float(cells.max()) < float(fine.max())
    assert row.scale.said.endswith("scale ends at the 99.5th percentile")


@pytest.mark.usefixtures("tiny")
def test_a_method_that_cannot_explain_a_classifier_leaves_a_row_that_says_why(compare):
    arguments = ("--methods", "rollout,grad-cam", "--models", "vit,cnn", "--targets", "ant", "--run", "here")
    code, out, _ = compare("photo.png", *arguments, "--json")
    found = {row["method"]: (row["status"], row["error"]) for row in rows_of(out)}
    assert code == 0
    assert found["rollout on vit"] == found["grad-cam on cnn"] == found["grad-cam on vit"] == ("explained", None)
    assert found["rollout on cnn"][0] == "no map"
    assert "vision transformers" in found["rollout on cnn"][1]
    _, printed, _ = compare("photo.png", *arguments, "--force")
    assert "rollout on cnn: no map: " in printed


@pytest.mark.usefixtures("tiny")
def test_without_methods_up_to_three_that_fit_are_compared(compare):
    _, out, _ = compare("photo.png", "--models", "cnn,vit", "--targets", "ant", "--json")
    assert {row["method"] for row in rows_of(out)} == {
        "grad-cam on cnn",
        "cdam on vit",
        "relevance on vit",
        "attention on vit",
    }


@pytest.mark.usefixtures("tiny")
def test_a_concept_is_a_column_shown_to_each_classifier_in_its_own_embedding(compare):
    Path("stripes").mkdir()
    Image.effect_noise((40, 40), 90).save("stripes/a.png")
    arguments = ("--methods", "relevance", "--models", "vit,headless", "--concept", "stripe=stripes")
    code, out, _ = compare("photo.png", *arguments, "--json")
    assert code == 0
    assert {(row["method"], row["target"], row["probability"]) for row in rows_of(out)} == {
        ("relevance on vit", "concept stripe", None),
        ("relevance on headless", "concept stripe", None),
    }
    assert all(math.isfinite(row["score"]) for row in rows_of(out))


@pytest.mark.usefixtures("tiny")
def test_what_is_drawn_is_one_scale_for_classes_another_for_concepts_and_a_common_map_once(compare, monkeypatch):
    given = []
    monkeypatch.setattr(command, "draw", comparison_results.draw)
    monkeypatch.setattr("regard.drawing.draw_comparison", lambda *rest: given.append(rest) or draw_comparison(*rest))
    Path("stripes").mkdir()
    Image.effect_noise((40, 40), 90).save("stripes/a.png")
    arguments = ("--methods", "relevance,rollout", "--targets", "ant,cat", "--concept", "stripe=stripes")
    code, out, _ = compare("photo.png", *arguments, "--run", "here", "--json")
    assert code == 0
    ((_, (relevance, rollout), matrices, name),) = given
    row = next(row for row in rows_of(out) if row["method"] == "relevance on vit")
    maps = regard.Explanation.load(Path("here") / row["maps"]).maps[0]
    assert relevance.scale.vmax == float(maps[:2].max())
    assert [panel.scale for panel in relevance.panels[:2]] == [None, None]
    assert relevance.panels[2].scale.vmax == float(maps[2].max())
    assert "scale to" in relevance.panels[2].words
    assert [panel.values is None for panel in rollout.panels] == [False, True, True]
    assert rollout.panels[1].words == "the same for every target"
    assert [title.rpartition(" ")[2] for title, _ in matrices] == ["mean", "ant", "cat", "stripe"]
    overlap = [row["rank_correlation"] for row in rows_of(out, "overlap")]
    assert float(matrices[0][1][0, 1]) == pytest.approx(sum(overlap) / 3)
    assert name == "photo.png"
    assert Path("here/pictures/photo.png").exists()


@pytest.mark.usefixtures("tiny")
def test_several_photos_have_a_comparison_each_and_a_bad_one_a_row(compare):
    Image.effect_noise((60, 30), 60).save("noise.png")
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:300])
    code, out, err = compare("photo.png", "noise.png", "cut.png", "--methods", "rollout", "--run", "here")
    assert code == 1
    assert {path.name for path in Path("here/maps").iterdir()} == {"photo", "noise"}
    status = {row["image"]: row["status"] for row in read_run(Path("here")).rows if row["kind"] != "between targets"}
    assert status == {"photo.png": "explained", "noise.png": "explained", "cut.png": "failed"}
    assert (err.count("failed: cut.png: "), "cut.png" in out) == (1, False)
    assert "compactness: share of places" in out
    assert "Traceback" not in err


@pytest.mark.usefixtures("tiny")
def test_a_run_that_compared_nothing_says_so_once_and_explains_no_figures(compare):
    Path("text.png").write_text("no picture at all")
    code, out, err = compare("text.png", "--methods", "rollout", "--run", "here")
    assert (code, err.count("failed: text.png: "), out) == (1, 1, "index.csv in here\n")


@pytest.mark.usefixtures("tiny")
def test_a_method_that_fails_on_the_photo_is_a_row_that_says_why_beside_one_that_works(compare, monkeypatch):
    nothing = Found(torch.full((1, 1, 4, 4), math.nan), None)
    monkeypatch.setattr(AttentionMap, "_explain", lambda *_: nothing)
    arguments = ("photo.png", "--targets", "ant", "--run", "here")
    code, out, _ = compare(*arguments, "--methods", "rollout,attention", "--json")
    found = {row["method"]: (row["status"], row["error"]) for row in rows_of(out)}
    assert code == 1
    assert found["rollout on vit"] == ("explained", None)
    assert found["attention on vit"][0] == "failed"
    assert "NaN" in found["attention on vit"][1]
    code, out, err = compare(*arguments, "--methods", "attention", "--force")
    assert (code, out) == (1, "index.csv in here\n")
    assert err.count("failed: photo.png: no method explained the photo") == 1
    assert "NaN" in err
