"""The reports of large runs: their size, how long they take to make, and to open in Chromium.

Photos are drawn at random, as are all numbers, and maps of 14×14 cells as smooth as those of networks (about 3 kB each
as a report draws them); no network is asked. One run is of `regard explain`, 500 photos with three maps each; one of
`regard evaluate`, 28 methods and 25 metrics on 500 photos, as it keeps them: curves, maps, and the overlap of any two
methods on 20 photos. Budgets: 40 MB, and two seconds until the page is there and its script has run.

    python benchmarks/report.py --quick
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import head, kept, options, where
from PIL import Image
from torch.nn import functional

from regard.evaluate.contest import GATE, JUDGED, OVERLAP
from regard.evaluate.cost import Cost
from regard.evaluate.gate import COUNTED, Answered
from regard.evaluate.judge import AGAIN, CONTROLS, DELETION, INSERTION, SHARES, Protocol
from regard.evaluate.kept_map import keep_map
from regard.evaluate.known_photo import KnownPhoto
from regard.explainers import registry
from regard.explanation import Explanation
from regard.fills import Mean
from regard.images import Geometry
from regard.metrics.registry import find
from regard.metrics.registry import names as metric_names
from regard.naming import photo_facts
from regard.question import TargetAnswer
from regard.report.page import write_report
from regard.runs import Run

PHOTOS, QUICK, TARGETS, OPENED = 500, 20, 3, 5
METHODS, AGAIN_PHOTOS, STEPS, CLASSES = 28, 20, 16, 100
MEGABYTES, SECONDS = 40, 2.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def photo(number: int) -> Image.Image:
    """As hard to compress as a photo: waves of many lengths, and noise."""
    drawn = np.random.default_rng(number)
    canvas = np.zeros((375, 500, 3))
    for size in (4, 16, 64):
        small = Image.fromarray(drawn.integers(0, 256, (size, size, 3), dtype=np.uint8))
        canvas += np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC), dtype=float) / 3
    noisy = canvas + drawn.normal(0, 6, canvas.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def explanation(number: int, targets: int) -> Explanation:
    generator = torch.Generator().manual_seed(number)
    answers = tuple(
        TargetAnswer(f"class {target}", target, 3.0 - target, 0.5 / (1 + target)) for target in range(targets)
    )
    return Explanation(
        maps=functional.interpolate(torch.randn((1, targets, 7, 7), generator=generator), (14, 14), mode="bilinear"),
        targets=(answers,),
        logits=None,
        geometries=(Geometry((375, 500), (224, 224), (62.5, 0.0, 437.5, 375.0)),),
        pictures=torch.zeros((1, 224, 224, 3), dtype=torch.uint8),
        method="cdam",
        settings={},
        classifier="none",
        classifier_hash="0",
        signed=True,
        per_target=True,
    )


def pictures(folder: Path, photos: int) -> list[Path]:
    """The files of so many photos."""
    paths = [folder / f"{number:04d}.jpg" for number in range(photos)]
    for number, path in enumerate(paths):
        photo(number).save(path, quality=90)
    return paths


def explained(folder: Path, photos: Sequence[Path]) -> Path:
    """A run of `regard explain` of photos."""
    run = Run.open(folder, "explain", {"classifier": "none", "photos": len(photos)})
    (run.folder / "maps").mkdir()
    rows = []
    for number, path in enumerate(photos):
        shown = explanation(number, TARGETS)
        shown.save(run.folder / "maps" / f"{number:04d}.safetensors")
        rows += [
            {
                **photo_facts(path),
                "method": "cdam",
                "target": answer.name,
                "place": place,
                "class_index": answer.index,
                "score": answer.score,
                "probability": answer.probability,
                "maps": f"maps/{number:04d}.safetensors",
                "status": "explained",
            }
            for place, answer in enumerate(shown.targets[0])
        ]
    run.write_rows(rows)
    run.finish()
    return run.folder


def evaluated(folder: Path, photos: Sequence[Path]) -> Path:
    """A run of `regard evaluate` of photos that all count."""
    shares = [find(name)(share=0.15) for name in ("average-drop", "increase-in-confidence", "average-gain")]
    metrics = (*(find(name)() for name in metric_names()), *shares)
    protocol = Protocol(metrics, Mean(), STEPS, "pixel", 0)
    methods = registry.names()[-METHODS:]
    run = Run.open(
        folder, "evaluate", {"classifiers": [["none", "0"]], "methods": methods, "protocol": protocol.words()}
    )
    drawn = np.random.default_rng(0)
    overlaps = [metric.column for metric in metrics if metric.needs == "other maps"]
    for number, path in enumerate(photos):
        named = number % CLASSES
        answer = Answered(KnownPhoto(path, named), named, named, named + 1, 0, 0.9, COUNTED)
        facts = {**photo_facts(path), "target": f"class {named}", "classifier": "none"}
        rows: list[dict[str, Any]] = [{**facts, **answer.row(), "kind": GATE, "method": "gate on none", "target": ""}]
        again = number < AGAIN_PHOTOS
        without = {"other maps"} if again else {"other maps", *AGAIN}
        asked = [metric.column for metric in metrics if metric.needs not in without]
        for place, method in enumerate(methods):
            shown = explanation(number * METHODS + place, 1)
            rows.append(
                {
                    **facts,
                    "kind": JUDGED,
                    "method": method,
                    "control": method in CONTROLS,
                    "class_index": named,
                    "probability": 0.9,
                    "labelled": True,
                    **protocol.conditions(),
                    "precision": "float32",
                    "again": ", ".join(sorted(AGAIN)) if again else "",
                    "again_error": None,
                    **Cost(forwards=1, backwards=1, seconds=0.1, megabytes=None).each(1),
                    "status": "judged",
                    "error": None,
                    "grid": "14×14",
                    "zero": False,
                    **{metric.column: None for metric in metrics},
                    **dict(zip(asked, drawn.random(len(asked)).tolist(), strict=True)),
                    "nan": 0,
                    SHARES: [step / STEPS for step in range(STEPS + 1)],
                    DELETION: drawn.random(STEPS + 1).tolist(),
                    INSERTION: drawn.random(STEPS + 1).tolist(),
                    "maps": keep_map(run.folder, method, facts["image"], shown),
                }
            )
        for pair in itertools.combinations(methods, 2) if again else ():
            alike = dict(zip(overlaps, drawn.random(len(overlaps)).tolist(), strict=True))
            rows.append({**facts, "kind": OVERLAP, "method": " | ".join(pair), **alike, "status": "compared"})
        run.write_rows(rows)
    run.finish()
    return run.folder


def opening(file: Path) -> Sequence[float] | str:
    """Seconds until the page is loaded, laid out, and its script has run; in words why there are none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "playwright is not installed"
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        return "there is no Chromium: make browser installs it"
    spent = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(OPENED):
            page = browser.new_page()
            start = time.perf_counter()
            page.goto(file.as_uri())
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            spent.append(time.perf_counter() - start)
            page.close()
        browser.close()
    return spent


def said(spent: Sequence[float]) -> str:
    return f"{statistics.median(spent):.2f} s ({min(spent):.2f} to {max(spent):.2f})"


def row(what: str, run: Path) -> str:
    """The row of a run's report."""
    file, start = run / "report.html", time.perf_counter()
    size = write_report(run, file).size / 1e6
    making, found = time.perf_counter() - start, opening(file)
    opened, judged = (found, "–") if isinstance(found, str) else (said(found), kept(statistics.median(found), SECONDS))
    return f"| {what} | {size:.1f} MB | {kept(size, MEGABYTES)} | {making:.1f} s | {opened} | {judged} |"


def main() -> None:
    asked = options(__doc__, f"{QUICK} photos").parse_args()
    count = QUICK if asked.quick else PHOTOS
    opened = f"opened in Chromium, median of {OPENED} and their range"
    lines = head(["report of", "size", f"within {MEGABYTES} MB", "made in", opened, f"within {SECONDS:g} s"])
    with tempfile.TemporaryDirectory() as folder:
        photos = pictures(Path(folder), count)
        lines.append(row(f"explain, {count} photos, {TARGETS} maps each", explained(Path(folder, "explain"), photos)))
        judged = evaluated(Path(folder, "evaluate"), photos)
        lines.append(row(f"evaluate, {count} photos, {METHODS} methods, 25 metrics", judged))
    print("\n".join(lines))
    if asked.write:
        about = "Made by `python benchmarks/report.py --write docs/benchmarks/report.md`."
        asked.write.write_text(
            "\n".join(["# Size and opening of reports", "", about, "", f"{where(asked.device)}.", "", *lines, ""]),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
