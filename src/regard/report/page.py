"""A run as one HTML page: everything inside, nothing fetched, and nothing that a photo's name can break."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from regard.naming import printable
from regard.provenance import version
from regard.report.about import about
from regard.report.data import embedded, said_inside
from regard.report.kinds import kind_of
from regard.report.thumbnails import bar
from regard.runs import SeenRun, see_run

MARK = '<meta name="generator" content="regard '
"""In the head of every report."""


@dataclass(frozen=True)
class Written:
    """A report: its file, its size in bytes, and whether its run was finished."""

    file: Path
    size: int
    finished: bool


def write_report(folder: str | Path, out: str | Path) -> Written:
    """Write the report of a run to a file, whole or not at all.

    Args:
        folder: of the run, finished or not.
        out: the HTML file; what stands there is replaced.

    Raises:
        RunError: no run stands in the folder, or it is damaged.
    """
    run, out = see_run(Path(folder)), Path(out)
    page = page_of(run).encode(errors="replace")
    unfinished = out.with_name(out.name + ".unfinished")
    unfinished.write_bytes(page)
    unfinished.replace(out)
    return Written(out, len(page), run.manifest is not None)


def is_report(file: Path) -> bool:
    """Whether a file is a report that was made here, as its head says."""
    try:
        with file.open("rb") as opened:
            return MARK.encode() in opened.read(2000)
    except OSError:
        return False


def page_of(run: SeenRun) -> str:
    """The page. Sections that have nothing to show are left out."""
    kind = kind_of(run)
    sections = [section for section in (about(run), *kind.sections(run)) if section.blocks]
    bars = {"signed": bar(True), "unsigned": bar(False)}
    scales = "".join(f".bar.{name} {{ background-image: url({picture}); }}\n" for name, picture in bars.items())
    style, script = _asset("report.css") + scales, _asset("report.js")
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=kind.title,
            name=printable(run.folder.resolve().name),
            version=version(),
            sections=sections,
            style=Markup(style),
            script=Markup(script),
            policy=_policy(style, script),
            inside=said_inside(run),
            data=Markup(embedded(run, kind.reasons(run))),
        )
    )


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("regard.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _asset(name: str) -> str:
    return (resources.files("regard.report") / "templates" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy under which nothing is fetched and nothing runs but the page's own style and script."""
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
