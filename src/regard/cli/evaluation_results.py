"""What `regard evaluate` prints and writes once all is judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regard.cli.output import print_json, print_table

if TYPE_CHECKING:
    from regard.evaluate.gate import Gate
    from regard.evaluate.judge import Protocol
    from regard.evaluate.table import Table
    from regard.models.classifier import Classifier
    from regard.runs import Run


def finish(
    results: Run,
    subjects: Sequence[Classifier],
    protocol: Protocol,
    gates: dict[str, Gate],
    skipped: dict[str, str],
    file: Path | None,
    as_json: bool,
) -> bool:
    """Close the run, print and write its table; whether anything failed: a photo, or a method on one."""
    from dataclasses import asdict

    from regard.evaluate.gate import FAILED
    from regard.evaluate.markdown import written
    from regard.evaluate.table import overlap_to_json, overlaps, tables

    rows, one = results.rows(), len(subjects) == 1
    found = tables(rows, protocol.metrics, protocol.seed, compared=one)
    alike = overlaps(rows, protocol.metrics, protocol.seed)
    text = written(found, alike, _title(subjects), _facts(subjects, protocol, gates, skipped), one)
    gate = {name: asdict(answers) for name, answers in gates.items()}
    (results.folder / "table.md").write_text(text, encoding="utf-8")
    results.finish(
        classifiers={subject.name: subject.hash for subject in subjects},
        gate=gate,
        skipped=skipped,
    )
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    if as_json:
        said = {"tables": [table.to_json() for table in found], "overlap": overlap_to_json(alike)}
        print_json({"run": str(results.folder), "gate": gate, "skipped": skipped, **said})
    else:
        _print(found, results)
    return any(row["status"] == FAILED for row in rows)


def _title(subjects: Sequence[Classifier]) -> str:
    return f"Methods judged on {', '.join(subject.name for subject in subjects)}"


def _facts(
    subjects: Sequence[Classifier], protocol: Protocol, gates: dict[str, Gate], skipped: dict[str, str]
) -> list[str]:
    fill, ties = repr(protocol.fill), protocol.conditions()["ties"]
    facts = [f"{name}: {gate.words()}." for name, gate in gates.items()]
    if protocol.reads("curves"):
        facts.append(f"Curves: {protocol.steps} steps at {protocol.level} level, fill {fill}; {ties}.")
    if protocol.reads("token curves"):
        facts.append(f"Token curves: {protocol.steps} steps, tokens dropped; {ties}.")
    facts.append(f"Precision {subjects[0].precision}, seed {protocol.seed}.")
    return facts + [f"Skipped: {name}: {reason}" for name, reason in skipped.items()]


def _print(found: Sequence[Table], results: Run) -> None:
    """Means alone; table.md has the intervals."""
    from regard.evaluate.markdown import MARKS, figures, mean

    for table in found:
        print(f"{table.photos} photos, {len(table.lines)} methods")
        for heading, (head, *rows) in figures(table, mean):
            print(heading)
            print_table(head, rows)
    print(MARKS)
    print(f"intervals, costs and overlaps in {results.folder / 'table.md'}; rows and manifest beside it")
