"""The report of a large run: its size, how long it takes to make, and to open in Chromium.

A run of `regard explain` of 500 photos with three maps each is made of photos drawn at random and maps of 14×14 cells;
no network is asked. Budgets: 40 MB, and two seconds until the page is there and its script has run.

    python benchmarks/report.py --quick
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from measuring import head, options, where
from PIL import Image

from regard.explanation import Explanation
from regard.images import Geometry
from regard.naming import photo_facts
from regard.question import TargetAnswer
from regard.report.page import write_report
from regard.runs import Run

PHOTOS, QUICK, TARGETS, OPENED = 500, 20, 3, 5
MEGABYTES, SECONDS = 40, 2.0


def photo(number: int) -> Image.Image:
    """As hard to compress as a photo: waves of many lengths, and noise."""
    drawn = np.random.default_rng(number)
    canvas = np.zeros((375, 500, 3))
    for size in (4, 16, 64):
        small = Image.fromarray(drawn.integers(0, 256, (size, size, 3), dtype=np.uint8))
        canvas += np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC), dtype=float) / 3
    noisy = canvas + drawn.normal(0, 6, canvas.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def explanation(number: int) -> Explanation:
    generator = torch.Generator().manual_seed(number)
    answers = tuple(
        TargetAnswer(f"class {target}", target, 3.0 - target, 0.5 / (1 + target)) for target in range(TARGETS)
    )
    return Explanation(
        maps=torch.randn((1, TARGETS, 14, 14), generator=generator),
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


def made(folder: Path, photos: int) -> Path:
    """A run of `regard explain` of so many photos."""
    (folder / "photos").mkdir()
    run = Run.open(folder / "run", "explain", {"classifier": "none", "photos": photos})
    (run.folder / "maps").mkdir()
    rows = []
    for number in range(photos):
        path = folder / "photos" / f"{number:04d}.jpg"
        photo(number).save(path, quality=90)
        shown = explanation(number)
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


def opening(file: Path) -> Sequence[float] | str:
    """Seconds until the page is loaded, laid out, and its script has run; in words why there are none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "playwright is not installed"
    chromium = shutil.which("chromium")
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


def kept(value: float, budget: float) -> str:
    return "yes" if value <= budget else "**no**"


def said(spent: Sequence[float]) -> str:
    return f"{statistics.median(spent):.2f} s ({min(spent):.2f} to {max(spent):.2f})"


def main() -> None:
    asked = options(__doc__, f"{QUICK} photos").parse_args()
    photos = QUICK if asked.quick else PHOTOS
    with tempfile.TemporaryDirectory() as folder:
        run, file = made(Path(folder), photos), Path(folder, "report.html")
        start = time.perf_counter()
        written = write_report(run, file)
        making, found = time.perf_counter() - start, opening(file)
    size = written.size / 1e6
    lines = head(["of a report", "measured", "budget", "kept"])
    lines.append(f"| photos, {TARGETS} maps each | {photos} | | |")
    lines.append(f"| size | {size:.1f} MB | {MEGABYTES} MB | {kept(size, MEGABYTES)} |")
    lines.append(f"| making it | {making:.1f} s | | |")
    opened, judged = (found, "–") if isinstance(found, str) else (said(found), kept(statistics.median(found), SECONDS))
    lines.append(
        f"| opening it in Chromium, median of {OPENED} and their range | {opened} | {SECONDS:g} s | {judged} |"
    )
    print("\n".join(lines))
    if asked.write:
        about = "Made by `python benchmarks/report.py --write docs/benchmarks/report.md`."
        asked.write.write_text(
            "\n".join(["# Size and opening of reports", "", about, "", f"{where(asked.device)}.", "", *lines, ""]),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
