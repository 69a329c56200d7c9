"""What every report begins with: what was run, by which versions, and how to run it again."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from regard.report.blocks import Block, Facts, Grid, Section, Words
from regard.runs import SeenRun, configuration_hash

MOST_LISTED = 12
"""Entries of a list that are written out."""


def about(run: SeenRun) -> Section:
    """Classifiers and their hashes, command, seeds, versions, times; all of the configuration, folded."""
    blocks: list[Block] = []
    manifest = run.manifest or {}
    if run.manifest is None:
        blocks.append(
            Words(
                "This run is not finished. What follows is what it holds so far; give its command again, with --run "
                "and its folder, to finish it.",
                "warning",
            )
        )
    pairs = {
        "Command": _command(manifest.get("arguments")),
        **dict(_classifiers(run.configuration)),
        "Seed": ", ".join(dict.fromkeys(map(str, _all(run.configuration, "seed", "seeds")))),
        "Started": _time(str(manifest.get("started") or (run.log[0].get("time", "") if run.log else ""))),
        "Finished": _time(str(manifest.get("finished", ""))),
        "Rows": f"{len(run.rows):,}",
        "regard": str(manifest.get("versions", {}).get("regard", "")),
        "Configuration": configuration_hash(run.configuration),
    }
    written = {"Command", "Configuration", *(name for name, _ in _classifiers(run.configuration))}
    blocks.append(Facts([(name, value) for name, value in pairs.items() if value], frozenset(written)))
    versions = [(str(name), str(version)) for name, version in manifest.get("versions", {}).items()]
    if versions:
        blocks.append(Grid([["package", "version"], *versions], "Versions", folded=True))
    settings = [*_flattened(run.configuration)]
    if settings:
        blocks.append(Grid([["setting", "value"], *settings], "All that the numbers depend on", folded=True))
    return Section("about", "What was run", blocks)


def _command(arguments: Any) -> str:
    return "" if not isinstance(arguments, list) else shlex.join(["regard", *map(str, arguments)])


def _classifiers(configuration: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The classifiers of a run and their hashes, however its command writes them."""
    found = [
        (configuration.get(name), configuration.get(f"{name}_hash")) for name in ("classifier", "start", "teacher")
    ]
    found += [tuple(pair) for pair in configuration.get("classifiers", [])]
    found += [(row.get("classifier"), row.get("classifier_hash")) for row in configuration.get("rows", [])]
    known = dict.fromkeys((str(name), str(digest or "")) for name, digest in found if name)
    for number, (name, digest) in enumerate(known, 1):
        yield "Classifier" if len(known) == 1 else f"Classifier {number}", f"{name}, hash {digest}" if digest else name


def _all(value: Any, *names: str) -> Iterator[Any]:
    """What stands under some names, however deep."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            if name in names and not isinstance(each, Mapping):
                yield each
            else:
                yield from _all(each, *names)


def _flattened(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Settings by their dotted names; long lists by their length."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _flattened(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and len(value) > MOST_LISTED:
        yield name, f"{len(value):,} entries"
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    else:
        yield name, "–" if value is None else str(value)


def _time(stamp: str) -> str:
    """A time as a person writes it, in universal time."""
    try:
        return f"{datetime.datetime.fromisoformat(stamp):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return stamp
