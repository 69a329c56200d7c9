"""`regard exam sdc`: studies and grids of one's own, runs that are found again, refusals that say what to do."""

import json

import pytest

from regard.cli import exam_sitting

SMALL = [
    *("--task", "boxes-2", "--train", "40", "--test", "30", "--focus", "mlp-4", "--classifier", "linear"),
    *("--epochs", "2", "--batch", "20", "--seeds", "2"),
]


@pytest.fixture
def sdc(monkeypatch, tmp_path, program):
    """Runs `regard exam sdc …` in an empty directory; gives exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: program("exam", "sdc", *arguments)


def test_a_grid_of_one_s_own_is_told_and_found_again(sdc, tmp_path):
    arguments = [*SMALL, "--weights", "softmax,spherical", "--focus-begins", "zero,random", "--run", "a"]
    code, out, err = sdc(*arguments, "--figures")
    assert code == 0
    assert "left out: " in err
    assert "3 cells: 6 trainings, 12 epochs" in err
    assert {line.split("\t")[0] for line in out.splitlines()} >= {"default", "focus random", "spherical, focus random"}
    assert "## Weights and entropy" in (tmp_path / "a" / "table.md").read_text()
    drawn = {file.name for file in (tmp_path / "a" / "figures").iterdir()}
    assert {"default-curves.png", "default-regions.png", "spherical-focus-random-mosaics.png"} <= drawn
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["rows"] == 6 + 6 * 3
    page = (tmp_path / "a" / "table.md").read_text()
    (tmp_path / "a" / "table.md").write_text("as another version wrote it")
    code, again, err = sdc(*arguments)
    assert (code, again) == (0, out)
    assert "nothing is trained anew" in err
    assert (tmp_path / "a" / "table.md").read_text() == page
    code, out, _ = sdc(*arguments, "--json")
    found = json.loads(out)
    assert found["lines"][0]["name"] == "default"
    assert found["seeds"] == [0, 1]


def test_every_field_of_a_cell_is_an_option(sdc, tmp_path):
    code, out, err = sdc(
        *SMALL,
        *("--segments", "2-4", "--overlap", "0,0.2", "--spread", "0.5", "--skew", "0.5", "--label-noise", "0.1"),
        *(
            "--weights",
            "top-k:2",
            "--paradigm",
            "sampled",
            "--samples",
            "2",
            "--baseline",
            "leave-one-out,self-critical",
        ),
        *("--entropy", "0.01", "--warm-up", "1", "--stop", "never", "--run", "a", "--json", "--device", "cpu"),
    )
    assert code == 0, err
    found = json.loads(out)["cells"]
    assert [*found] == ["default", "baseline self-critical", "overlap 0.2", "overlap 0.2, baseline self-critical"]
    cell = found["overlap 0.2, baseline self-critical"]
    assert (cell["segments"], cell["spread"], cell["skew"], cell["label_noise"]) == ([2, 4], 0.5, 0.5, 0.1)
    assert (cell["weights"], cell["samples"], cell["warm_up"], cell["stop"]) == ("top-k:2", 2, 1, None)
    assert "device" not in json.loads((tmp_path / "a" / "configuration.json").read_text())["configuration"]


def test_what_cells_have_besides_their_names_stands_above_the_table(sdc, tmp_path, monkeypatch):
    from regard.exams.sdc import studies
    from regard.exams.sdc.cell import Cell

    default = Cell("boxes-2", train=40, test=30, focus="linear", classifier="linear", epochs=2, batch=20)
    monkeypatch.setattr(studies, "STUDIES", {"small": (default, 2, [{"weights": "sparsemax", "rate": 0.1}])})
    code, _, _ = sdc("--grid", "small", "--run", "a")
    assert code == 0
    assert "- sparsemax: also rate 0.1." in (tmp_path / "a" / "table.md").read_text()


def test_one_that_was_stopped_says_how_it_goes_on_and_does(sdc, tmp_path, monkeypatch):
    arguments = [*SMALL, "--layer", "0,1", "--run", "a"]
    heard = exam_sitting._heard

    def stopping(epochs):
        def hear(epoch, seeds):
            if (tmp_path / "a" / "rows").exists():
                raise KeyboardInterrupt
            heard(epochs)(epoch, seeds)

        return hear

    monkeypatch.setattr(exam_sitting, "_heard", stopping)
    code, _, err = sdc(*arguments)
    assert code == 1
    assert "--run a to go on" in err
    monkeypatch.setattr(exam_sitting, "_heard", heard)
    code, _, err = sdc(*arguments)
    assert code == 0
    assert "2 trainings left, of 4" in err
    assert "2 of 2: layer 1" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--grid", "d3"], "no such grid"),
        (["--grid", "d1", "--layer", "1"], "without --grid"),
        (["--grid", "cifar-10"], "--data"),
        ([*SMALL, "--data", "a.npz"], "no cell of this grid has pictures"),
        (["--task", "cifar-10", "--data", "missing.npz"], "missing.npz"),
        (["--task", "d4"], "no such task"),
        (["--layer", "one"], "takes numbers"),
        (["--layer", ""], "takes numbers"),
        (["--layer", "1,,2"], "takes numbers"),
        (["--segments", "2-"], "segments"),
        (["--segments", "9-2"], "segments"),
        (["--weights", ""], "takes words"),
        (["--weights", "top-k"], "top-k:2"),
        (["--gamma", "0.1"], "implanted alone"),
        (["--device", "abacus"], "no such device"),
        (["--device", "meta"], "counted in float64, which this device does not have"),
        (["--rate", "0"], "rate"),
        (["--weights", "spherical", "--focus-begins", "zero"], "no cell of this grid can be"),
        ([*SMALL, "--layer", "7"], "no such layer"),
        (["--seeds", "0"], "seeds"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(arguments, said, sdc, tmp_path):
    code, out, err = sdc(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert [*tmp_path.iterdir()] == []
