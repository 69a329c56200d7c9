"""The pictures of docs/serve.md: `regard serve` with what is embedded, every state of its page in Chromium.

    python docs/screenshots.py

All photos in them are the embedded samples, whose licences allow that.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
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
        self.page: Page = browser.new_page(**{"viewport": WIDE, **settings})  # type: ignore[arg-type]
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


def in_trouble(album: Album) -> None:
    """The server is gone; it is busy."""
    page = album.open(f"{CNN}&photo=sample:gondola")
    page.route("**/api/v1/estimate", lambda route: route.fulfill(status=429, headers={"Retry-After": "9"}, json={}))
    page.locator("#bars .bar").nth(1).click()
    page.locator("#banner:not([hidden])").wait_for()
    album.keep("busy")
    page.unroute_all()
    page = album.open(f"{CNN}&photo=sample:gondola")
    page.route("**/api/v1/**", lambda route: route.abort())
    page.locator("#bars .bar").nth(1).click()
    page.locator("#banner:not([hidden])").wait_for()
    album.keep("gone")


def main() -> None:
    """All pictures anew."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for part in (looked_at, compared, questioned, shown, in_trouble):
            part(Album(browser, address))
        dark = Album(browser, address, color_scheme="dark")
        dark.open(f"{VIT}&photo=sample:church-8")
        dark.keep("dark")
        dark.page.goto(f"{address}api")
        dark.page.locator(".route").first.wait_for()
        dark.keep("api")
        phone = Album(browser, address, viewport=PHONE)
        phone.open(f"{VIT}&photo=sample:church-8")
        phone.keep("phone", whole=True)
        browser.close()


if __name__ == "__main__":
    main()
