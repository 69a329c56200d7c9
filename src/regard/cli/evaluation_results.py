"""What `regard evaluate` prints and writes once all is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.output import print_json, print_table

if TYPE_CHECKING:
    from regard.cli.evaluation_asked import Evaluation
    from regard.evaluate.gate import Gate
    from regard.evaluate.table import Table
    from regard.runs import FinishedRun
    from regard.statistics import Estimate


@dataclass(frozen=True)
class Judged:
    """What was found.

    Attributes:
        rows: of the run.
        gates: which photos count, by classifier.
        skipped: methods that could not be made, and why.
        version: of the regard that judged.
    """

    rows: Sequence[Mapping[str, Any]]
    gates: Mapping[str, Gate]
    skipped: Mapping[str, str]
    version: str

    @classmethod
    def before(cls, run: FinishedRun, asked: Evaluation) -> Judged:
        """What a finished run of the same holds.

        Raises:
            RunError: it is of other contents of a photo.
        """
        from regard.evaluate.contest import answers_in, left_out
        from regard.evaluate.gate import Gate

        answers = {subject.name: answers_in(run.rows, subject, asked.photos) for subject in asked.subjects.values()}
        gates = {name: Gate.of(found) for name, found in answers.items()}
        return cls(run.rows, gates, left_out(run.rows), run.manifest["versions"]["regard"])

    @property
    def failed(self) -> bool:
        """Whether anything did: a photo, or a method on one."""
        from regard.evaluate.gate import FAILED

        return any(row["status"] == FAILED for row in self.rows)

    def facts(self) -> dict[str, Any]:
        """Gates and skipped methods, for programs."""
        return {"gate": {name: asdict(gate) for name, gate in self.gates.items()}, "skipped": dict(self.skipped)}


@dataclass(frozen=True)
class Report:
    """The tables of what was found.

    Attributes:
        tables: methods × metrics.
        overlap: (metric, method, method) → how alike their maps are.
        page: all of it, as Markdown.
    """

    tables: Sequence[Table]
    overlap: Mapping[tuple[str, str, str], Estimate]
    page: str

    @classmethod
    def of(cls, found: Judged, asked: Evaluation) -> Report:
        """The report of what was found."""
        from regard.evaluate.markdown import written
        from regard.evaluate.table import overlaps, tables

        metrics, seed, one = asked.protocol.metrics, asked.protocol.seed, len(asked.subjects) == 1
        told, alike = tables(found.rows, metrics, seed, compared=one), overlaps(found.rows, metrics, seed)
        title = f"Methods judged on {', '.join(found.gates)}"
        return cls(told, alike, asked.without_folders(written(told, alike, title, _facts(found, asked), one)))


def tell(report: Report, found: Judged, folder: Path, file: Path | None, as_json: bool) -> None:
    """Print the tables, and write the page where it was asked for.

    Args:
        report: the tables.
        found: what they are of.
        folder: of the run.
        file: where the page goes besides.
        as_json: whether programs read what is printed.
    """
    from regard.evaluate.table import overlap_to_json

    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(report.page, encoding="utf-8")
    if as_json:
        tables = {"tables": [table.to_json() for table in report.tables], "overlap": overlap_to_json(report.overlap)}
        print_json({"run": str(folder), **found.facts(), **tables})
    else:
        _print(report.tables, folder)


def _facts(found: Judged, asked: Evaluation) -> list[str]:
    return [
        *asked.facts(),
        f"Judged by regard {found.version}.",
        *(f"{name}: {gate.words()}." for name, gate in found.gates.items()),
        *(f"Skipped: {name}: {reason}" for name, reason in found.skipped.items()),
    ]


def _print(found: Sequence[Table], folder: Path) -> None:
    """Means alone; table.md has the intervals."""
    from regard.evaluate.markdown import MARKS, figures, mean

    for table in found:
        print(f"{table.photos} photos, {len(table.lines)} methods")
        for heading, (head, *rows) in figures(table, mean):
            print(heading)
            print_table(head, rows)
    print(MARKS)
    print(f"intervals, costs and overlaps in {folder / 'table.md'}; rows and manifest beside it")
