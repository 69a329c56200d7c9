import json
from pathlib import Path

import pytest
from PIL import Image

from regard.errors import LayerError
from regard.evaluate import contest
from regard.explainers import registry
from regard.explainers.attention import AttentionMap
from regard.metrics.of_curves import AverageDrop
from regard.metrics.of_maps import ClassSensitivity
from regard.models import catalog
from regard.runs import read_run

from ..evaluate.pictures import photos_in, tiny_vit
from ..explainers.networks import classifier_of, vit

DROP, SENSITIVITY = AverageDrop().column, ClassSensitivity().column
FEW = "--metrics average-drop,deletion,gini,pointing-game,class-sensitivity,rank-correlation --steps 3 --again-photos 2"


def test_the_table_has_the_methods_the_controls_and_the_photos_that_count(evaluate):
    code, out, err = evaluate(f"photos.csv --methods attention,rollout {FEW} --run here --json")
    assert code == 0, err
    found = json.loads(out)
    assert {one["method"] for one in methods_of(found)} == {"attention", "rollout", "random", "centre", "edges", "ones"}
    assert [table["photos"] for table in found["tables"]] == [4]
    gate = {name: value for name, value in found["gate"]["vit"].items() if name not in ("unknown", "wrong")}
    assert gate | {"confidence": 0} == {
        "photos": 6,
        "labelled": 6,
        "right": 4,
        "counted": 4,
        "failed": 0,
        "confidence": 0,
    }
    assert "4 of 6 labelled photos are classified rightly (66.7%)" in err
    assert "forward passes in all" in err
    for one in methods_of(found):
        assert 0 <= one[DROP]["mean"] <= 1
        assert one["pointing-game"]["photos"] == 4
        assert one[SENSITIVITY]["photos"] + one[SENSITIVITY]["missing"] == 2
        assert one["cost"]["forwards"] >= 1
    assert len(found["overlap"]) == 6 * 5 // 2
    metrics = found["tables"][0]["metrics"]
    assert {name: metrics[name]["photos"] for name in (DROP, "class-sensitivity-second")} == {
        DROP: 4,
        "class-sensitivity-second": 2,
    }
    assert all(metrics[name]["best"] == [] for name in metrics)
    rows = read_run(Path("here")).rows
    assert sum(row["kind"] == "judged" for row in rows) == 6 * 4
    assert all(row["fill"] for row in rows if row["kind"] == "judged")
    assert "| attention |" in Path("here/table.md").read_text()


def methods_of(found):
    """The lines of a run's first table."""
    return found["tables"][0]["methods"]


def test_the_printed_table_is_readable_and_written_where_one_likes(evaluate):
    code, out, _ = evaluate(f"photos.csv --methods attention {FEW} --run here --table docs/table.md")
    assert code == 0
    assert f"{DROP} ↓" in out
    assert "**" in out
    assert Path("docs/table.md").read_text() == Path("here/table.md").read_text()


def test_a_stopped_run_goes_on_and_ends_with_the_same_numbers(evaluate, monkeypatch):
    command = f"photos.csv --methods attention,rollout {FEW} --json"
    _, whole, _ = evaluate(f"{command} --run whole")
    plain, calls = contest.judge, []

    def stopping(*given, **named):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(*given, **named)

    monkeypatch.setattr(contest, "judge", stopping)
    code, _, err = evaluate(f"{command} --run parts")
    assert code == 1
    assert "--run parts to go on" in err
    monkeypatch.setattr(contest, "judge", plain)
    explained = []
    monkeypatch.setattr(AttentionMap, "_explain", _noting(AttentionMap._explain, explained))
    code, parts, err = evaluate(f"{command} --run parts")
    assert code == 0, err
    first, second = json.loads(whole), json.loads(parts)
    for found in (first, second):
        found.pop("run")
        for one in methods_of(found):
            one.pop("cost")
    assert first == second


def _noting(plain, calls):
    def explain(self, pixels, question):
        calls.append(len(pixels))
        return plain(self, pixels, question)

    return explain


def test_a_photo_that_changed_is_judged_anew(evaluate):
    command = f"photos.csv --methods attention {FEW} --run here --json"
    evaluate(command)
    Path("here/manifest.json").unlink()
    photos_in(Path("photos"), 1, seed=9)
    code, out, err = evaluate(command)
    assert code == 0, err
    rows = read_run(Path("here")).rows
    digests = {row["photo_sha256"] for row in rows if row["image"] == "photos/n00.png"}
    assert len(digests) == 1
    assert json.loads(out)["gate"]["vit"]["photos"] == 6


def test_settings_reach_the_method_and_name_its_row(evaluate):
    code, out, err = evaluate(f"photos.csv --methods smooth-cdam:samples=2,smooth-cdam:samples=3 {FEW} --json")
    assert code == 0, err
    assert {"smooth-cdam:samples=2", "smooth-cdam:samples=3"} <= {one["method"] for one in methods_of(json.loads(out))}


def test_a_method_that_does_not_fit_is_skipped_with_its_reason(evaluate):
    code, out, err = evaluate(f"photos --classifier cnn --methods cdam,grad-cam {FEW} --json")
    assert code == 0, err
    assert "cdam" in json.loads(out)["skipped"]
    assert "skipped cdam:" in err


class Trained(AttentionMap):
    """A method that is trained first, as another package might bring it."""

    name = "trained"
    made_by = "regard train trained {classifier} --out {file}"

    @classmethod
    def load(cls, file, classifier):
        return cls(classifier)


def test_a_missing_file_is_a_skipped_row_with_the_command_that_makes_it(evaluate, monkeypatch):
    monkeypatch.setitem(registry._OWN, "trained", f"{__name__}:Trained")
    code, out, err = evaluate(f"photos.csv --methods trained:nowhere.safetensors,rollout {FEW} --run here --json")
    assert code == 0, err
    reason = json.loads(out)["skipped"]["trained:nowhere.safetensors"]
    assert "regard train trained vit --out nowhere.safetensors" in reason
    (row,) = [row for row in read_run(Path("here")).rows if row["kind"] == "skipped"]
    assert (row["method"], row["error"]) == ("trained:nowhere.safetensors", reason)
    Path("there.safetensors").write_bytes(b"")
    code, out, err = evaluate(f"photos.csv --methods trained:there.safetensors {FEW} --json")
    assert code == 0, err
    assert "trained:there.safetensors" in {one["method"] for one in methods_of(json.loads(out))}


def test_half_precision_is_refused_where_it_changes_the_curves(evaluate, monkeypatch):
    monkeypatch.setattr("regard.evaluate.agreement.TOLERANCE", 1e-7)
    code, _, err = evaluate(f"photos.csv --methods attention {FEW} --precision bfloat16")
    assert code == 2
    assert "in bfloat16 are not those in float32" in err
    monkeypatch.setattr("regard.evaluate.agreement.TOLERANCE", 1.0)
    code, _, err = evaluate(f"photos.csv --methods attention {FEW} --precision bfloat16")
    assert code == 0, err
    assert "areas in bfloat16 differ from those in float32 by 0." in err


def test_several_classifiers_stand_in_one_table_only_if_that_is_meant(evaluate):
    code, _, err = evaluate(f"photos.csv --classifier vit,cnn --methods grad-cam {FEW}")
    assert code == 2
    assert "--across-models" in err
    code, out, err = evaluate(f"photos.csv --classifier vit,cnn --methods grad-cam {FEW} --across-models --json")
    assert code == 0, err
    found = json.loads(out)
    assert all(one["differences"] == [] for one in found["tables"][0]["metrics"].values())
    by_name = {one["method"]: one for one in methods_of(found)}
    assert {"grad-cam on vit", "grad-cam on cnn"} <= by_name.keys()
    assert by_name["grad-cam on vit"]["accuracy"] == pytest.approx(4 / 6)
    assert found["tables"][0]["photos"] == 0  # none that both get right
    code, out, err = evaluate(f"photos --classifier vit,cnn --methods grad-cam {FEW} --across-models --json")
    assert code == 0, err
    assert json.loads(out)["tables"][0]["photos"] == 6
    assert all(0 < one["clean_probability"] <= 1 for one in methods_of(json.loads(out)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nowhere", "nowhere"),
        ("photos.csv --methods no-such", "no method 'no-such'"),
        ("photos.csv --metrics no-such", "no metric 'no-such'"),
        ("photos.csv --metrics average-drop:share=7", "share"),
        ("photos.csv --metrics average-drop:share=1", "softly_retained"),
        ("photos.csv --metrics gini:colour=red", "colour"),
        ("photos.csv --fill tar", "no such fill"),
        ("photos.csv --where split=val", "split"),
        ("photos.csv --methods tame:nowhere.safetensors", "regard train tame"),
        ("photos.csv --boxes nowhere.csv", "nowhere.csv"),
        ("photos.csv --table photos", "--table 'photos' is a folder"),
    ],
)
def test_wrong_use_is_said_in_words_before_any_run(evaluate, arguments, words):
    code, _, err = evaluate(arguments)
    assert code in (1, 2)
    assert words in err
    assert "Traceback" not in err
    assert not Path("regard-runs").exists()


def test_a_run_of_another_protocol_is_not_continued(evaluate):
    evaluate(f"photos.csv --methods attention {FEW} --run here")
    Path("here/manifest.json").unlink()
    code, _, err = evaluate(f"photos.csv --methods attention {FEW} --run here --fill blur")
    assert code == 2
    assert "asked something else" in err


def test_photos_of_which_none_counts_give_an_empty_table_that_says_so(evaluate):
    text = Path("photos.csv").read_text()
    kept = [line for line in text.splitlines() if not any(f"n{number:02d}" in line for number in range(4))]
    Path("wrong.csv").write_text("\n".join([*kept, ""]))
    code, _, err = evaluate(f"wrong.csv --methods attention {FEW}")
    assert code == 1
    assert "no photo counts" in err


def unfinished(folder):
    Path(folder, "manifest.json").unlink()


def test_a_run_of_other_boxes_masks_or_labels_is_not_continued(evaluate):
    command = f"photos.csv --methods attention {FEW} --run here"
    evaluate(command)
    unfinished("here")
    text = Path("photos.csv").read_text(encoding="utf-8")
    for changed in (
        text.replace("2,4,20,30", "2,4,20,31", 1),
        text.replace(",cat,", ",dog,").replace(",ant,", ",bee,"),
    ):
        assert changed != text
        Path("photos.csv").write_text(changed, encoding="utf-8")
        code, _, err = evaluate(command)
        assert (code, "another photos" in err) == (2, True)
    Path("photos.csv").write_text(text, encoding="utf-8")
    assert evaluate(command)[0] == 0


def test_a_run_is_not_continued_with_other_contents_of_a_mask(evaluate):
    for photo in Path("photos").iterdir():
        _mask(Path("masks", photo.name), 10)
    command = f"photos.csv --masks masks --methods attention {FEW} --run here"
    assert evaluate(command)[0] == 0
    unfinished("here")
    _mask(Path("masks/n00.png"), 11)
    code, _, err = evaluate(command)
    assert (code, "another photos" in err) == (2, True)


def _mask(path, height):
    path.parent.mkdir(exist_ok=True)
    mask = Image.new("L", (32, 40))
    mask.paste(255, (0, 0, 32, height))
    mask.save(path)


def test_a_run_is_not_continued_with_another_file_of_a_method(evaluate, monkeypatch):
    monkeypatch.setitem(registry._OWN, "trained", f"{__name__}:Trained")
    command = f"photos.csv --methods trained:it,rollout {FEW} --run here"
    for content in (None, b"one", b"two"):
        if content is not None:
            Path("it").write_bytes(content)
        code, _, err = evaluate(command)
        assert (code, "another methods" in err) == ((0, False) if content is None else (2, True))
        if content is None:
            unfinished("here")
    assert evaluate(f"{command} --force")[0] == 0
    unfinished("here")
    assert evaluate(command)[0] == 0


def test_the_seed_reaches_metrics_that_draw(evaluate):
    code, _, err = evaluate("photos.csv --methods attention --metrics max-sensitivity,gini --seed 5 --run here --json")
    assert code == 0, err
    wanted = read_run(Path("here")).manifest["configuration"]["protocol"]["metrics"]
    assert [settings.get("seed") for _, _, settings in wanted] == [5, None]


class Moody(AttentionMap):
    """Explains no photo with a bright corner."""

    name = "moody"

    def __call__(self, photos, *given, **named):
        if bool((photos[:, 0, 0, 0] > 0).any()):
            raise LayerError("not that one")
        return super().__call__(photos, *given, **named)


def test_a_method_that_fails_on_photos_has_rows_that_say_so_and_the_others_go_on(evaluate, monkeypatch):
    monkeypatch.setitem(registry._OWN, "moody", f"{__name__}:Moody")
    bright = [tiny_vit().prepare(Path("photos", f"n{number:02d}.png"))[0, 0, 0, 0] > 0 for number in range(4)]
    assert 0 < sum(bright) < 4
    code, out, err = evaluate(f"photos.csv --methods moody,rollout {FEW} --run here --json")
    assert code == 1, err
    by_name = {one["method"]: one for one in methods_of(json.loads(out))}
    assert by_name["moody"]["failed"] == sum(bright)
    assert by_name["moody"]["gini"]["photos"] == 4 - sum(bright)
    assert by_name["rollout"]["gini"]["photos"] == 4
    failed = [row for row in read_run(Path("here")).rows if row["status"] == "failed"]
    assert {(row["method"], row["error"]) for row in failed} == {("moody", "not that one")}
    assert f"Failed: moody on {sum(bright)} of 4 photos." in Path("here/table.md").read_text(encoding="utf-8")


def test_a_photo_that_cannot_be_read_is_counted_and_makes_the_exit_code_1(evaluate):
    Path("photos/n05.png").write_bytes(b"no picture")
    code, out, err = evaluate(f"photos --methods attention {FEW} --json")
    assert code == 1, err
    assert json.loads(out)["gate"]["vit"] | {"confidence": 0} == {
        "unknown": [],
        "wrong": [],
        "photos": 5,
        "labelled": 0,
        "right": 0,
        "counted": 5,
        "failed": 1,
        "confidence": 0,
    }


def test_measurements_are_judged_without_shares_of_a_probability_and_that_is_said_first(evaluate, monkeypatch):
    monkeypatch.setattr("regard.models.catalog.load", lambda *_, **__: tiny_vit(outputs="scalar"))
    code, out, err = evaluate(f"photos --methods attention {FEW} --json")
    assert code == 0, err
    assert f"left out, since there are no probabilities: {DROP}\n" in err
    assert err.index("left out") < err.index("forward passes in all")
    found = json.loads(out)
    assert DROP not in found["tables"][0]["metrics"]
    assert all(one["deletion"]["photos"] == 6 for one in methods_of(found))


def test_a_network_without_a_head_is_refused_in_words(evaluate, monkeypatch):
    bare = classifier_of(vit(num_classes=0), name="bare")
    monkeypatch.setattr("regard.models.catalog.load", lambda *_, **__: bare)
    code, _, err = evaluate(f"photos --methods attention {FEW}")
    assert code == 2
    assert "bare has no head" in err
    assert not Path("regard-runs").exists()


def test_the_page_speaks_of_curves_only_where_there_are_some(evaluate):
    said = {"gini": [], "deletion": ["- Curves: 16 steps"], "token-fidelity": ["- Token curves: 16 steps"]}
    for metrics, beginnings in said.items():
        evaluate(f"photos.csv --methods attention --metrics {metrics} --run {metrics}")
        page = Path(metrics, "table.md").read_text(encoding="utf-8")
        lines = [line for line in page.splitlines() if "urves: " in line]
        assert [line.partition(" steps")[0] + " steps" for line in lines] == beginnings


def test_weights_of_ones_own_are_those_that_are_judged(evaluate, monkeypatch):
    usual, asked = catalog.load, []
    monkeypatch.setattr(catalog, "load", lambda *given, **more: asked.append(more["weights"]) or usual(*given, **more))
    code, _, err = evaluate(f"photos.csv --methods attention {FEW} --weights mine.safetensors")
    assert code == 0, err
    assert asked == [Path("mine.safetensors")]
    code, _, err = evaluate("photos.csv --classifier vit,cnn --across-models --weights mine.safetensors")
    assert code == 2
    assert "weights are those of one classifier" in err
