"""What can be kept of a map: its picture, the raw numbers, a report. Nothing of it touches a disk but in passing."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from regard.explained_run import write_explanation
from regard.explanation import Explanation
from regard.report.page import page_of
from regard.runs import Run, see_run
from regard.web.photos import ShownPhoto


def picture(explanation: Explanation, photo: ShownPhoto) -> bytes:
    """The map over the whole photo with its scale, a PNG; of a method with ranks, these."""
    draw = explanation.figure if explanation.ranks is None else explanation.rank_figure
    file = io.BytesIO()
    draw([photo.open()]).savefig(file, format="png", dpi=150)
    return file.getvalue()


def raw_maps(explanation: Explanation, _: ShownPhoto) -> bytes:
    """The file that `Explanation.save` writes."""
    return explanation.to_bytes()


def report(explanation: Explanation, photo: ShownPhoto) -> bytes:
    """The report of a run of this one map; the run stands in a folder for as long as its report is written."""
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=_in_memory()) as folder:
        file = Path(folder) / f"{file_stem(photo.name)}.png"
        photo.open().save(file, compress_level=1)
        run = Run.open(Path(folder) / "run", "explain", _configuration(explanation))
        write_explanation(run, explanation, file, "photo")
        facts = {"name": explanation.classifier, "hash": explanation.classifier_hash}
        run.finish(classifier=facts, photos=1, failed=0, arguments=None)  # the server's own are not the visitor's
        page = page_of(see_run(run.folder)).replace(f"{folder}/", "")
    return page.encode(errors="replace")


def clear() -> None:
    """Remove folders of reports that a server left who was killed while it wrote them."""
    for folder in Path(_in_memory() or tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):  # another one's
            if time.time() - folder.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def file_stem(name: str) -> str:
    """What a photo's file may be called anywhere: letters and digits of its name, and little else."""
    kept = "".join(letter if letter.isalnum() or letter in " -_" else "_" for letter in Path(name).stem)
    return kept[:60].strip() or "photo"  # at most 240 bytes


IN_MEMORY = Path("/dev/shm")
"""Where there is one; elsewhere a temporary folder, which is emptied as soon as the report is made."""
FOLDER = "regard-report-"
LEFT_SECONDS = 600


def _in_memory() -> Path | None:
    return IN_MEMORY if IN_MEMORY.is_dir() else None


def _configuration(explanation: Explanation) -> dict[str, Any]:
    return {
        "classifier": explanation.classifier,
        "classifier_hash": explanation.classifier_hash,
        "method": explanation.method,
        "settings": dict(explanation.settings),
        "targets": [answer.name for answer in explanation.targets[0]],
    }


DOWNLOADS: dict[str, tuple[Callable[[Explanation, ShownPhoto], bytes], str]] = {
    "picture.png": (picture, "image/png"),
    "maps.safetensors": (raw_maps, "application/octet-stream"),
    "report.html": (report, "text/html"),
}
"""By what each file is made, and its type."""
