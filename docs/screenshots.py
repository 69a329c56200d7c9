"""The pictures of docs/serve.md and docs/report.md, in Chromium: every state of the page of `regard serve`, a report.

    python docs/screenshots.py [looked_at in_trouble …]

All photos in them are the embedded samples, whose licences allow that.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import regard_embedded
from PIL import Image
from playwright.sync_api import Browser, Page, Route, sync_playwright

IMAGES = Path(__file__).parent / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT = 300_000
TALLEST = 1300
"""Pixels above which a picture is scaled down."""
VIT, CNN = "classifier=regard:vit-small", "classifier=regard:efficientnet-lite0"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def served() -> Iterator[str]:
    """The address of a server."""
    command = [sys.executable, "-m", "regard", "serve", "--port", "0", "--no-open"]
    with subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if found := re.search(r"http://\S+/", line):
                yield found[0]
                break
        server.terminate()


class Album:
    """Pictures of one page, each named after what it shows."""

    def __init__(self, browser: Browser, address: str, **settings: object) -> None:
        self.page: Page = browser.new_page(**{"viewport": WIDE, **settings})
        self.page.set_default_timeout(TIMEOUT)
        self.address = address

    def open(self, fragment: str = "") -> Page:
        """The page, with a map where the fragment names a photo of the samples."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}#{fragment}")
        self.page.locator("#page").wait_for()
        if "photo=sample" in fragment:
            self.page.locator("#downloads").wait_for()
        return self.page

    def keep(self, name: str, whole: bool = False) -> None:
        """What is seen now."""
        self.page.mouse.move(1, 1)
        if whole:
            self.page.evaluate("scrollTo(0, 0)")
        self.page.wait_for_timeout(700)
        picture = Image.open(io.BytesIO(self.page.screenshot(full_page=whole))).convert("RGB")
        if picture.height > TALLEST:
            picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Image.Resampling.LANCZOS)
        picture.save(IMAGES / f"page-{name}.webp", quality=78, method=6)

    def go_on(self) -> None:
        """Begin what asks first."""
        self.page.wait_for_timeout(1500)
        for start in self.page.get_by_role("button", name="Start").all():
            start.click()


def looked_at(album: Album) -> None:
    """Photo, classes, map."""
    album.open()
    album.keep("empty")
    page = album.open(f"{VIT}&photo=sample:pair-french-horn-and-church")
    album.keep("map")
    page.get_by_role("combobox", name=re.compile("rather than")).select_option("church")
    page.locator("#live", has_text="rather than").wait_for(state="attached")
    album.keep("difference")
    page = album.open(f"{CNN}&photo=sample:gondola")
    page.get_by_role("combobox", name="Search all classes").press_sequentially("boat")
    page.locator(".found li").first.wait_for()
    album.keep("search")
    page.set_input_files("#file", {"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": b"<html><body>"})
    page.locator("#photos .error").wait_for()
    album.keep("refused")
    album.open("photo=own&method=tame")
    album.keep("own-photo")


def compared(album: Album) -> None:
    """Side by side, and what is said of a job that takes long."""
    page = album.open(f"{CNN}&photo=sample:harp")
    page.get_by_role("button", name="Quick methods").click()
    page.locator("#cards .card").nth(5).locator(".legend").wait_for()
    page.get_by_role("combobox", name="Add another method").select_option("rise")
    page.get_by_role("button", name="Leave it").wait_for()
    page.locator("#cards").scroll_into_view_if_needed()
    album.keep("cards", whole=True)
    page.get_by_role("button", name="Start").click()
    page.locator("#cards .progress.running").wait_for()
    page.locator("#cards .card").last.scroll_into_view_if_needed()
    album.keep("progress")
    page.get_by_role("button", name=re.compile("Cancel")).click()
    album.keep("cancelled")


def questioned(album: Album) -> None:
    """The map, questioned."""
    page = album.open(f"{CNN}&photo=sample:indian-elephant&tab=question&removal=blur")
    album.go_on()
    page.locator("svg.curve").wait_for()
    page.locator("#removed").fill("4")
    album.keep("question", whole=True)
    page = album.open(f"{VIT}&photo=sample:pair-french-horn-and-church&tab=question&questioned=patches&removal=black")
    box = page.locator(".sheet").bounding_box()
    assert box is not None
    for down in (0.72, 0.78, 0.84, 0.9):
        page.mouse.move(box["x"] + box["width"] * 0.03, box["y"] + box["height"] * down)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * down, steps=20)
        page.mouse.up()
    page.locator("#bars .change").first.wait_for()
    album.keep("patches")


def shown(album: Album) -> None:
    """A concept, representatives, an exam."""
    page = album.open(f"{VIT}&photo=sample:church-5&tab=concepts")
    page.get_by_label("Name", exact=True).fill("church towers")
    for number in (1, 2, 4):
        page.get_by_role("group", name="Photos that show it").get_by_role("checkbox", name="church", exact=True).nth(
            number
        ).check()
    page.get_by_role("button", name="Find this concept").click()
    page.locator("#live", has_text="church towers").wait_for(state="attached")
    page.get_by_role("button", name="bell cote").first.click()
    page.locator("#downloads").wait_for()
    album.keep("concept", whole=True)
    album.open(f"{CNN}&photo=sample:pickup&tab=ranks&method=br-npa")
    album.keep("ranks")
    page = album.open()
    page.get_by_role("button", name="Train and examine").click()
    album.go_on()
    page.locator("#exam .mosaic").first.wait_for()
    page.locator("#exam").scroll_into_view_if_needed()
    album.keep("exam", whole=True)


def given(answer: Mapping[str, Any] | None, route: Route) -> None:
    """Answer in the place of the server; None is that nobody answers."""
    if answer is None:
        route.abort()
    else:
        route.fulfill(**answer)


def in_trouble(album: Album) -> None:
    """What takes its time, and what goes wrong: answers that a server gives only in trouble are given here."""
    job = {"id": "1", "kind": "explain", "passes_done": 0, "passes_expected": 4, "seconds_expected": 1.0}
    job |= {"seconds": None, "error": None, "result": None, "place": None}
    error = {"problem": "the map is not a number anywhere", "remedy": "ask another class, or choose another method"}
    long = {"passes": 4001, "seconds": 660, "too_long": True, "most_seconds": 120}
    for name, where, answer, seen in (
        ("waiting", "jobs", {"status": 202, "json": {**job, "state": "waiting", "place": 3}}, "#stage .waiting"),
        ("failed", "jobs", {"status": 202, "json": {**job, "state": "failed", "error": error}}, "#stage .failed"),
        ("beyond", "estimate", {"json": long}, "#stage .beyond"),
        ("busy", "estimate", {"status": 429, "headers": {"Retry-After": "9"}, "json": {}}, "#banner:not([hidden])"),
        ("gone", "**", None, "#banner:not([hidden])"),
    ):
        page = album.open(f"{CNN}&photo=sample:gondola")
        page.route("**/api/v1/jobs/*", lambda _: None)
        page.route(f"**/api/v1/{where}", partial(given, answer))
        page.locator("#bars .bar").nth(1).click()
        page.locator(seen).wait_for()
        album.keep(name)
        page.unroute_all(behavior="ignoreErrors")
    for name, seen in (("opening", "#opening [role=status]"), ("closed", "#banner:not([hidden])")):
        page.goto("about:blank")
        page.route("**/api/v1/about", (lambda _: None) if name == "opening" else partial(given, None))
        page.goto(album.address)
        page.locator(seen).wait_for()
        album.keep(name)
        page.unroute_all(behavior="ignoreErrors")


def reported(album: Album) -> None:
    """The report of a run: embedded photos, two methods side by side, their maps of French horn and church."""
    with tempfile.TemporaryDirectory() as folder:
        run, photos = Path(folder, "run"), [photo.path for photo in regard_embedded.photos()]
        chosen = [str(photo) for photo in photos if photo.stem.startswith(("church", "french-horn", "pair"))]
        methods = ["--methods", "tame,grad-cam", "--targets", "566,497"]
        for asked in (["compare", *chosen, *methods, "--run", str(run)], ["report", str(run)]):
            subprocess.run([sys.executable, "-m", "regard", *asked], check=True)
        album.page.goto((run / "report.html").as_uri())
        album.page.evaluate("document.querySelector('#gallery').scrollIntoView()")
        album.keep("report")


def in_the_dark(album: Album) -> None:
    """Dark, and the API's own page."""
    album.page.emulate_media(color_scheme="dark")
    album.open(f"{VIT}&photo=sample:church-8")
    album.keep("dark")
    album.page.goto(f"{album.address}api")
    album.page.locator(".route").first.wait_for()
    album.keep("api")


def on_a_phone(album: Album) -> None:
    """The whole page, narrow."""
    album.page.set_viewport_size(PHONE)
    album.open(f"{VIT}&photo=sample:church-8")
    album.keep("phone", whole=True)


PARTS = (looked_at, compared, questioned, shown, in_trouble, reported, in_the_dark, on_a_phone)


def main(asked: Sequence[str]) -> None:
    """All pictures anew, or those of the parts that are named."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit("there is no Chromium: make browser installs it")
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for part in PARTS:
            if not asked or part.__name__ in asked:
                part(Album(browser, address))
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
