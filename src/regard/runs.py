"""Run folders: the one owner of result files.

A run is the folder of one command's results:

    configuration.json   what was asked, written first; its hash keys every row
    rows/                Parquet parts while it runs, each written whole and then renamed into place
    log.jsonl            what happened, one JSON object a line
    rows.parquet         all rows in order, written when the run is complete
    index.csv            the same for people and spreadsheets, but for columns of lists
    manifest.json        versions, counts, times; written last: a folder without it is unfinished

A row is keyed by (configuration hash, image, method, target). An unfinished run is continued by the
same command with the same configuration; rows that are there are not computed again.
"""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

from regard.errors import RunError
from regard.provenance import typed, version, versions

FORMAT_VERSION = 1
KEY = ("configuration_hash", "image", "method", "target")

_CONFIGURATION, _MANIFEST, _LOG = "configuration.json", "manifest.json", "log.jsonl"
_PARTS, _ROWS, _INDEX = "rows", "rows.parquet", "index.csv"


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration's canonical JSON: the same for the same question, in any order of keys."""
    canonical = json.dumps(configuration, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Run:
    """A run folder that is open for writing; make one with `Run.open`."""

    folder: Path
    command: str
    configuration: Mapping[str, Any]
    started: str

    @classmethod
    def open(cls, folder: Path, command: str, configuration: Mapping[str, Any], force: bool = False) -> Run:
        """Create a run folder, or continue an unfinished one of the same configuration.

        Args:
            folder: where; must not hold anything else.
            command: the regard command.
            configuration: all that the numbers depend on, JSON values only.
            force: remove a run that stands there first. Never removes a folder that is no run.

        Raises:
            RunError: the folder holds other files, a finished run, or a run of another configuration; or it cannot be
                made or written.
        """
        run = cls(folder, command, configuration, _now())
        with _told_if_not_written(folder):
            _make_ready(folder, command, configuration, force)
            run.log("started", version=version(), configuration_hash=run.configuration_hash)
        return run

    @property
    def configuration_hash(self) -> str:
        """The hash that keys every row of this run."""
        return configuration_hash(self.configuration)

    def write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows as one Parquet part. Each needs image, method and target; the hash is added here."""
        if not rows:
            return
        missing = [name for name in KEY[1:] for row in rows if name not in row]
        if missing:
            raise RunError("a row lacks part of its key", came=f"no {missing[0]!r}", expected=", ".join(KEY[1:]))
        table = _table([{KEY[0]: "", **row, KEY[0]: self.configuration_hash} for row in rows])
        parts = self.folder / _PARTS
        parts.mkdir(exist_ok=True)
        taken = [int(part.stem) for part in parts.glob("*.parquet")]
        place = parts / f"{max(taken, default=-1) + 1:06d}.parquet"
        unfinished = place.with_suffix(".unfinished")
        _write_table(table, unfinished)
        unfinished.replace(place)

    def forget(self, images: Collection[str]) -> None:
        """Take out the rows of images that will be done anew."""
        kept = [row for row in self.rows() if row["image"] not in images]
        parts = self.folder / _PARTS
        if not images or not parts.exists():
            return
        given_up = sorted(parts.glob("*.parquet"))
        self.write_rows(kept)
        for part in given_up:
            part.unlink()

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, sorted by key; a key that was written twice counts once, the later row."""
        parts = sorted((self.folder / _PARTS).glob("*.parquet")) or list(self.folder.glob(_ROWS))
        found = {_key(row): row for part in parts for row in _read_rows(part)}
        return [found[key] for key in sorted(found)]

    def log(self, event: str, **fields: Any) -> None:
        """Append one line to the log."""
        with (self.folder / _LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": _now(), "event": event, **fields}, ensure_ascii=False) + "\n")

    def finish(self, **facts: Any) -> None:
        """Merge the rows into one file and write the manifest; the run is complete then.

        Args:
            facts: what else the manifest says: counts, classifier, seeds.
        """
        rows = self.rows()
        if rows:
            unfinished = self.folder / f"{_ROWS}.unfinished"
            _write_table(_table(rows), unfinished)
            unfinished.replace(self.folder / _ROWS)
            _write_atomically(self.folder / _INDEX, _to_csv(rows))
        self.log("finished", rows=len(rows))
        manifest = {
            "format": "regard.run",
            "version": FORMAT_VERSION,
            "command": self.command,
            "arguments": typed(),
            "configuration": self.configuration,
            "configuration_hash": self.configuration_hash,
            "started": self.started,
            "finished": _now(),
            "rows": len(rows),
            "versions": versions(),
            **facts,
        }
        _write_atomically(self.folder / _MANIFEST, _to_json(manifest))
        shutil.rmtree(self.folder / _PARTS, ignore_errors=True)


@dataclass(frozen=True)
class FinishedRun:
    """A complete run, read back."""

    folder: Path
    manifest: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


def read_run(folder: Path) -> FinishedRun:
    """Read a complete run.

    Raises:
        RunError: no run, an unfinished one, or one of a newer regard.
    """
    if not (folder / _MANIFEST).is_file():
        unfinished = (folder / _CONFIGURATION).is_file()
        raise RunError(
            f"{str(folder)!r} holds {'an unfinished run' if unfinished else 'no run'}",
            remedy="give the same command again to finish it" if unfinished else "check the path",
        )
    manifest = _read_json(folder / _MANIFEST)
    version = manifest.get("version")
    if manifest.get("format") != "regard.run" or not isinstance(version, int) or version > FORMAT_VERSION:
        raise RunError(
            f"this version of regard cannot read the run in {str(folder)!r}",
            came=f"{manifest.get('format')} version {version}",
            expected=f"regard.run version {FORMAT_VERSION} or older",
        )
    try:
        rows = _read_rows(folder / _ROWS) if manifest.get("rows") else []
    except (OSError, arrow.ArrowException) as reason:
        raise RunError(f"the rows of the run in {str(folder)!r} are gone or damaged", came=str(reason)) from reason
    return FinishedRun(folder, manifest, rows)


@dataclass(frozen=True)
class SeenRun:
    """A run as it stands, finished or not.

    Attributes:
        folder: of the run.
        command: the regard command.
        configuration: what was asked.
        manifest: of a finished run; None while it is not.
        rows: so far.
        log: what happened, in order; a line that a kill cut short is left out.
    """

    folder: Path
    command: str
    configuration: Mapping[str, Any]
    manifest: Mapping[str, Any] | None
    rows: Sequence[Mapping[str, Any]]
    log: Sequence[Mapping[str, Any]]


def see_run(folder: Path) -> SeenRun:
    """Read a run as it stands; nothing is written.

    Raises:
        RunError: no run stands there, it is damaged, or of a newer regard.
    """
    asked = _asked(folder)
    if asked is None:
        raise RunError(f"{str(folder)!r} holds no run", remedy="give the folder that a command of regard has written")
    command, configuration = asked["command"], asked["configuration"]
    if not isinstance(command, str) or not isinstance(configuration, dict):
        raise RunError(f"the configuration of the run in {str(folder)!r} is damaged")
    try:
        finished = read_run(folder) if (folder / _MANIFEST).is_file() else None
        rows = Run(folder, command, configuration, "").rows() if finished is None else finished.rows
        log = (folder / _LOG).read_text(encoding="utf-8", errors="replace") if (folder / _LOG).is_file() else ""
    except (OSError, KeyError, arrow.ArrowException) as reason:
        raise RunError(f"the run in {str(folder)!r} is damaged", came=f"{type(reason).__name__}: {reason}") from reason
    events = [event for line in log.splitlines() if (event := _object(line))]
    return SeenRun(folder, command, configuration, None if finished is None else finished.manifest, rows, events)


def finished_run(folder: Path, command: str, configuration: Mapping[str, Any]) -> FinishedRun | None:
    """The complete run of a command and configuration that stands in a folder; None where there is none.

    Raises:
        RunError: a complete run stands there that cannot be read.
    """
    try:
        if not (folder / _MANIFEST).is_file():
            return None
    except OSError:
        return None  # opening a run there says why
    found = read_run(folder)
    asked = found.manifest.get("command"), found.manifest.get("configuration_hash")
    return found if asked == (command, configuration_hash(configuration)) else None


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, finished or not."""
    return (folder / _CONFIGURATION).is_file() and _asked(folder) is not None


def check_folder(folder: Path) -> None:
    """Refuse before slow work what can be no folder: a file, or a place under one.

    Raises:
        RunError: it is one, or cannot be looked at.
    """
    with _told_if_not_written(folder):
        for place in (folder, *folder.parents):
            if place.exists() and not place.is_dir():
                raise NotADirectoryError(f"{str(place)!r} is a file")


def check_run_folder(folder: Path) -> None:
    """Refuse before slow work a folder in which no run can be opened, whatever it asks, also by force.

    Raises:
        RunError: it is a file, lies under one, cannot be looked at, or holds other files and no run.
    """
    check_folder(folder)
    with _told_if_not_written(folder):
        _standing(folder)


def new_folder(command: str, parent: Path) -> Path:
    """A folder for a new run under `parent` that does not exist yet, named by command and time."""
    stem = f"{command}-{datetime.datetime.now().astimezone():%Y%m%d-%H%M%S}"
    candidates = (parent / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 1000))
    return next(folder for folder in candidates if not folder.exists())


def _make_ready(folder: Path, command: str, configuration: Mapping[str, Any], force: bool) -> None:
    """Make the folder of a run, or see that the run that stands there can be continued."""
    check_folder(folder)
    standing = _standing(folder)
    if standing is not None and not force:
        _check_resumable(folder, standing, command, configuration)
        return
    if standing is not None:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(folder / _CONFIGURATION, _to_json({"command": command, "configuration": configuration}))


@contextmanager
def _told_if_not_written(folder: Path) -> Iterator[None]:
    """What the system says of a folder becomes an error a person can read."""
    try:
        yield
    except OSError as reason:
        raise RunError(
            f"the folder {str(folder)!r} cannot be written",
            came=str(reason),
            remedy="choose another folder, in which you may write",
        ) from reason


def _standing(folder: Path) -> dict[str, Any] | None:
    """What the run that stands there asked; None where there is nothing.

    What a process killed in its very first write left behind is nothing.

    Raises:
        RunError: other files stand there.
    """
    if not folder.exists() or all(entry.name == f"{_CONFIGURATION}.unfinished" for entry in folder.iterdir()):
        return None
    asked = _asked(folder)
    if asked is None:
        raise RunError(
            f"{str(folder)!r} holds other files and no run",
            remedy="choose an empty or a new folder; --force replaces only runs",
        )
    return asked


def _check_resumable(folder: Path, standing: Mapping[str, Any], command: str, configuration: Mapping[str, Any]) -> None:
    if (folder / _MANIFEST).is_file():
        raise RunError(
            f"{str(folder)!r} holds a finished run", remedy="choose another folder, or --force to replace the run"
        )
    there = standing["configuration"]
    if standing["command"] != command or configuration_hash(there) != configuration_hash(configuration):
        differing = sorted(key for key in {*there, *configuration} if there.get(key) != configuration.get(key))
        differing = differing if standing["command"] == command else [f"command, {standing['command']}"]
        raise RunError(
            f"{str(folder)!r} holds an unfinished run that asked something else",
            came=f"another {', '.join(differing)}",
            remedy="choose another folder, or --force to replace the run",
        )


def _asked(folder: Path) -> dict[str, Any] | None:
    """What a run folder's configuration file says; None where there is none, or one of another program."""
    if not (folder / _CONFIGURATION).is_file():
        return None
    asked = _read_json(folder / _CONFIGURATION)
    return asked if asked.keys() == {"command", "configuration"} else None


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where it holds none."""
    try:
        return _object(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return {}


def _object(text: str) -> dict[str, Any]:
    """The object that a JSON text is; an empty one where it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _table(rows: Sequence[Mapping[str, Any]]) -> arrow.Table:
    """Rows as a table with every column that any of them has."""
    columns = dict.fromkeys(name for row in rows for name in row)
    try:
        return arrow.table({name: [row.get(name) for row in rows] for name in columns})
    except (arrow.ArrowException, UnicodeEncodeError) as reason:
        raise RunError("rows hold text that is no Unicode, or a column of several types", came=str(reason)) from reason


def _write_table(table: arrow.Table, place: Path) -> None:
    with place.open("wb") as file:  # of a path, pyarrow takes what stands before a colon for an address
        parquet.write_table(table, file)


def _read_rows(place: Path) -> list[dict[str, Any]]:
    with place.open("rb") as file:
        rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    return rows


def _write_atomically(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    lists = {name for row in rows for name, value in row.items() if isinstance(value, list)}
    columns = list(dict.fromkeys(name for row in rows for name in row if name != KEY[0] and name not in lists))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
