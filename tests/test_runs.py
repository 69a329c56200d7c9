import csv
import datetime
import json
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard import runs
from regard.errors import RunError
from regard.runs import Run, check_folder, check_run_folder, configuration_hash, finished_run, new_folder, read_run

ASKED = {"classifier": "regard:vit-small", "targets": ["tabby", 3], "deep": {"a": 1, "b": None}}


def row(image, target="ant", method="cdam", **fields):
    return {"image": image, "method": method, "target": target, **fields}


def opened(folder, command="explain", configuration=ASKED, **settings):
    return Run.open(folder, command, configuration, **settings)


def events(folder):
    return [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results" / "run"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def turned(value):
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_the_hash_of_a_configuration_does_not_depend_on_the_order_of_its_keys(configuration):
    assert configuration_hash(turned(configuration)) == configuration_hash(configuration)


def test_the_hash_tells_configurations_apart():
    others = [{}, ASKED, ASKED | {"seed": 0}, ASKED | {"targets": [3, "tabby"]}, ASKED | {"targets": ["tabby", "3"]}]
    assert len({configuration_hash(other) for other in others}) == 5
    assert configuration_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of "{}"


def test_a_run_from_beginning_to_end(folder):
    run = opened(folder)
    assert files(folder) == ["configuration.json", "log.jsonl"]
    run.write_rows([row("b.jpg", score=1.5), row("ä, \n.jpg", "bee", score=None)])
    run.write_rows([])
    run.write_rows([row("a.jpg", error="none at all")])
    run.finish(photos=3)
    assert files(folder) == ["configuration.json", "index.csv", "log.jsonl", "manifest.json", "rows.parquet"]

    found = read_run(folder)
    key = {"configuration_hash": configuration_hash(ASKED)}
    assert found.rows == [
        key | row("a.jpg", score=None, error="none at all"),
        key | row("b.jpg", score=1.5, error=None),
        key | row("ä, \n.jpg", "bee", score=None, error=None),
    ]
    said = found.manifest
    assert (said["format"], said["version"], said["command"], said["rows"]) == ("regard.run", 1, "explain", 3)
    assert (said["configuration"], said["photos"]) == (ASKED, 3)
    assert said["configuration_hash"] == key["configuration_hash"]
    assert {"python", "regard", "torch"} <= said["versions"].keys()
    started, finished = (datetime.datetime.fromisoformat(said[name]) for name in ("started", "finished"))
    assert started <= finished
    assert events(folder) == ["started", "finished"]
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        index = list(csv.DictReader(file))
    assert [line["image"] for line in index] == ["a.jpg", "b.jpg", "ä, \n.jpg"]
    assert index[1] == row("b.jpg", score="1.5", error="")


def test_a_run_without_rows_is_complete_too(folder):
    opened(folder).finish()
    assert read_run(folder).rows == []
    assert files(folder) == ["configuration.json", "log.jsonl", "manifest.json"]


@pytest.mark.parametrize("name", ["regard:vit-small", "seed=2", "s3:run"])
def test_a_folder_s_name_is_no_address_and_no_column(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = opened(Path(name))
    run.write_rows([row("a.jpg")])
    assert [*run.rows()[0]] == ["configuration_hash", "image", "method", "target"]
    run.finish()
    assert [*read_run(Path(name)).rows[0]] == ["configuration_hash", "image", "method", "target"]


def test_a_row_written_twice_counts_once_and_the_later_one_wins(folder):
    run = opened(folder)
    run.write_rows([row("b", score=1), row("a", score=1)])
    for score in range(2, 13):
        run.write_rows([row("b", score=score)])
    run.write_rows([row("b", "bee", score=20), row("b", method="random", score=30), row("a", score=40)])
    run.write_rows([row("a", score=41), row("a", score=42)])
    for rows in (run.rows(), opened(folder).rows(), (run.finish(), read_run(folder).rows)[1]):
        found = [(found["image"], found["method"], found["target"], found["score"]) for found in rows]
        assert found[:2] == [("a", "cdam", "ant", 42), ("b", "cdam", "ant", 12)]
        assert found[2:] == [("b", "cdam", "bee", 20), ("b", "random", "ant", 30)]


@pytest.mark.parametrize("missing", ["image", "method", "target"])
def test_a_row_without_its_key_is_refused_and_none_of_its_part_is_written(missing, folder):
    run = opened(folder)
    broken = row("b")
    del broken[missing]
    with pytest.raises(RunError, match="lacks part of its key") as refusal:
        run.write_rows([row("a"), broken])
    assert missing in refusal.value.came
    assert run.rows() == []


def test_a_file_name_that_is_no_unicode_is_written_or_refused(folder):
    run, name = opened(folder), os.fsdecode(b"\xff.jpg")
    with suppress(RunError):
        run.write_rows([row(name)])
    assert len(opened(folder).rows()) <= 1


def test_the_log_is_one_object_a_line_in_order(folder):
    run = opened(folder)
    run.log("skipped", image="ä\n.jpg", reason=None)
    opened(folder)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["started", "skipped", "started"]
    assert lines[1] | {"time": 0} == {"time": 0, "event": "skipped", "image": "ä\n.jpg", "reason": None}
    assert lines[0]["configuration_hash"] == configuration_hash(ASKED)
    assert all(datetime.datetime.fromisoformat(line["time"]).tzinfo for line in lines)


def test_an_unfinished_run_goes_on_where_the_same_is_asked(folder):
    opened(folder).write_rows([row("a")])
    again = opened(folder, configuration=turned(ASKED))
    again.write_rows([row("b")])
    assert [found["image"] for found in again.rows()] == ["a", "b"]
    again.finish()
    assert len(read_run(folder).rows) == 2


@pytest.mark.parametrize(
    ("command", "configuration", "named"),
    [
        ("explain", ASKED | {"targets": ["fox"]}, "another targets"),
        ("explain", ASKED | {"seed": 1}, "another seed"),
        ("explain", {"targets": ["tabby", 3]}, "another classifier, deep"),
        ("evaluate", ASKED, "another command, explain"),
    ],
)
def test_an_unfinished_run_of_something_else_is_left_alone(command, configuration, named, folder):
    opened(folder).write_rows([row("a")])
    before = files(folder), (folder / "log.jsonl").read_text()
    with pytest.raises(RunError, match="asked something else") as refusal:
        opened(folder, command, configuration)
    assert refusal.value.came == named
    assert (files(folder), (folder / "log.jsonl").read_text()) == before
    assert opened(folder, command, configuration, force=True).rows() == []


def test_a_finished_run_is_replaced_by_force_alone(folder):
    run = opened(folder)
    run.write_rows([row("a")])
    run.finish()
    with pytest.raises(RunError, match="finished run"):
        opened(folder)
    assert len(read_run(folder).rows) == 1
    assert opened(folder, force=True).rows() == []
    with pytest.raises(RunError, match="unfinished run"):
        read_run(folder)


@pytest.mark.parametrize("content", [None, "{}", "[]", "7", "not json", '{"command": "x"}', '{"name": "webpack"}'])
@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_no_run_is_never_touched(content, force, folder):
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    if content is not None:
        (folder / "configuration.json").write_text(content)
    before = files(folder)
    with pytest.raises(RunError, match="other files and no run"):
        opened(folder, force=force)
    assert files(folder) == before
    assert (folder / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_will_do_and_a_file_will_not(folder):
    folder.mkdir(parents=True)
    assert opened(folder, force=True).rows() == []
    (folder.parent / "file").write_text("")
    for force in (False, True):
        with pytest.raises(RunError, match="is a file"):
            opened(folder.parent / "file", force=force)


@pytest.mark.parametrize("place", ["file", "file/run", "file/deeper/run"])
def test_a_file_in_the_way_is_seen_before_anything_is_done(place, tmp_path):
    (tmp_path / "file").write_text("")
    for check in (check_folder, check_run_folder):
        with pytest.raises(RunError, match=f"{place}' cannot be written") as refusal:
            check(tmp_path / place)
        assert refusal.value.came == f"{str(tmp_path / 'file')!r} is a file"


@pytest.mark.parametrize("place", ["new", "new/one", "empty", "begun", "finished"])
def test_where_a_run_can_be_opened_nothing_is_refused_and_nothing_made(place, tmp_path):
    (tmp_path / "empty").mkdir()
    opened(tmp_path / "begun")
    opened(tmp_path / "finished").finish()
    before = sorted(tmp_path.rglob("*"))
    check_run_folder(tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_finished_run_is_found_by_those_who_ask_the_same(folder):
    run = opened(folder)
    run.write_rows([row("a")])
    assert finished_run(folder, "explain", ASKED) is None
    run.finish()
    assert finished_run(folder, "explain", turned(ASKED)) == read_run(folder)
    assert finished_run(folder, "explain", ASKED | {"seed": 1}) is None
    assert finished_run(folder, "evaluate", ASKED) is None
    assert finished_run(folder.parent, "explain", ASKED) is None
    (folder / "rows.parquet").unlink()
    with pytest.raises(RunError, match="gone or damaged"):
        finished_run(folder, "explain", ASKED)


@pytest.mark.parametrize("broken", ["log.jsonl", "configuration.json.unfinished"])
def test_a_folder_that_cannot_be_written_is_said_with_what_could_not(broken, folder, monkeypatch):
    plain = runs.Path.open

    def refusing(path, *given, **named):
        if path.name == broken:
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *given, **named)

    monkeypatch.setattr(runs.Path, "open", refusing)
    with pytest.raises(RunError, match="cannot be written") as refusal:
        opened(folder)
    assert broken in refusal.value.came
    assert "Permission denied" in refusal.value.came


@contextmanager
def somebody_else():
    """As a user without rights, where this is root, who may write everywhere; else as the one this is."""
    own = os.geteuid()
    try:
        if own == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(own)


def test_a_folder_that_may_only_be_read_is_said():
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "run"
        opened(folder)
        Path(made).chmod(0o755)
        for place in (folder / "log.jsonl", folder):
            place.chmod(0o555)
        with somebody_else(), pytest.raises(RunError, match="cannot be written") as refusal:
            opened(folder)
        assert "log.jsonl" in refusal.value.came
        folder.chmod(0o755)


def test_a_file_in_the_way_of_a_folder_is_said(folder):
    folder.parent.mkdir()
    (folder.parent / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        opened(folder.parent / "file" / "run")
    assert finished_run(folder.parent / "file" / "run", "explain", ASKED) is None


def failing(*_):
    raise OSError("no space left on device")


def test_a_part_that_fails_half_written_spoils_nothing(folder, monkeypatch):
    run = opened(folder)
    run.write_rows([row("a")])
    for place, name in ((runs.parquet, "write_table"), (os, "replace")):
        with monkeypatch.context() as broken:
            broken.setattr(place, name, failing)
            with pytest.raises(OSError, match="no space"):
                run.write_rows([row("b")])
        assert [found["image"] for found in opened(folder).rows()] == ["a"]
    run.write_rows([row("b")])
    assert [found["image"] for found in run.rows()] == ["a", "b"]


@pytest.mark.parametrize("passed", range(3), ids=["rows", "index", "manifest"])
def test_finishing_that_fails_leaves_no_manifest_and_can_be_done_again(passed, folder, monkeypatch):
    run = opened(folder)
    run.write_rows([row("a"), row("b")])
    replace, done = os.replace, []

    def fail_later(source, target):
        if len(done) == passed:
            failing()
        done.append(target)
        replace(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail_later)
        with pytest.raises(OSError, match="no space"):
            run.finish()
    with pytest.raises(RunError, match="unfinished run"):
        read_run(folder)
    again = opened(folder)
    assert [found["image"] for found in again.rows()] == ["a", "b"]
    again.write_rows([row("c")])
    again.finish()
    assert [found["image"] for found in read_run(folder).rows] == ["a", "b", "c"]
    assert not [name for name in files(folder) if name.endswith(".unfinished")]


def manifest(**changes):
    return json.dumps({"format": "regard.run", "version": 1} | changes)


@pytest.mark.parametrize(
    "damaged", [manifest(version=2), manifest(version=None), manifest(format="regard.report"), "{}", "[]", ""]
)
def test_a_manifest_that_is_newer_foreign_or_damaged_is_refused(damaged, folder):
    opened(folder).finish()
    (folder / "manifest.json").write_text(damaged)
    with pytest.raises(RunError, match="cannot read"):
        read_run(folder)


def test_where_there_is_no_run_none_is_read(folder):
    for place in (folder, folder.parent):
        with pytest.raises(RunError, match="no run"):
            read_run(place)
    opened(folder)
    with pytest.raises(RunError, match="unfinished run") as refusal:
        read_run(folder)
    assert "same command again" in refusal.value.remedy


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_finished_run_whose_rows_are_gone_or_damaged_is_refused(damage, folder):
    run = opened(folder)
    run.write_rows([row("a")])
    run.finish()
    rows = folder / "rows.parquet"
    rows.unlink() if damage == "gone" else rows.write_bytes(rows.read_bytes()[:-20])
    with pytest.raises(RunError):
        read_run(folder)


def test_new_folders_of_the_same_second_do_not_collide(tmp_path, monkeypatch):
    noon = datetime.datetime(2031, 5, 7, 12, 0, 9, tzinfo=datetime.UTC)
    monkeypatch.setattr(runs, "datetime", SimpleNamespace(datetime=SimpleNamespace(now=lambda: noon)))
    names = []
    for _ in range(3):
        new = new_folder("explain", tmp_path)
        assert not new.exists()
        new.mkdir()
        names.append(new.name)
    assert len(set(names)) == 3
    assert all(name.startswith("explain-203105") for name in names)
