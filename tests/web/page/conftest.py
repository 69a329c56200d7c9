"""The page in a real Chromium, from a real server on this machine; nothing else may be asked for anything."""

import threading
import time
from importlib.util import find_spec

import pytest
import torch
from PIL import Image
from torch import nn

import regard

from ...conftest import no_browser
from ...evaluate.pictures import LABELS, photos_in
from ...explainers.networks import classifier_of, cnn, loud, vit

SEEN = """
  window.violations = [];
  addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + event.blockedURI));
"""


class Slow(nn.Module):
    """A network that takes its time for each photo: long enough to be asked about, and to be cancelled."""

    def __init__(self, network, seconds):
        super().__init__()
        self.network, self.seconds = network, seconds

    def forward(self, pixels):
        time.sleep(self.seconds * len(pixels))
        return self.network(pixels)


def classifiers():
    """A transformer, a convolutional network, one that decides by representatives, and a slow one."""
    backbone = regard.load("timm:test_resnet", pretrained=False)
    loud(backbone.network)
    ranked = regard.BRNPAClassifier(backbone, LABELS, strides=1, count=3, name="ranked")
    loud(ranked.head, seed=4)
    return {
        "transformer": classifier_of(vit(), labels=LABELS),
        "convolutional": classifier_of(cnn(), labels=LABELS),
        "ranked": ranked,
        "slow": classifier_of(Slow(cnn(1), 0.02), labels=LABELS),
    }


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Of photos: samples, and `own.png`, which is none."""
    place = tmp_path_factory.mktemp("page")
    photos_in(place / "samples", 5)
    generator = torch.Generator().manual_seed(7)
    noise = torch.randint(256, (60, 90, 3), generator=generator, dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(place / "own.png")
    return place


class Served:
    """A server of the page, with classifiers and sample photos, in a thread of this process."""

    def __init__(self, classifiers, samples, **settings):
        import uvicorn

        from regard.web.app import create_app
        from regard.web.desk import Desk
        from regard.web.listening import bound
        from regard.web.photos import samples_of

        self.classifiers, self.samples = classifiers, sorted(samples)
        socket = bound("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{socket.getsockname()[1]}"
        app = create_app(Desk(self.classifiers, samples_of(self.samples)), **settings)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        self._thread = threading.Thread(target=self._server.run, args=([socket],))
        self._thread.start()

    def close(self):
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="session")
def serving():
    """Makes servers."""
    for name in ("fastapi", "uvicorn", "python_multipart"):
        if find_spec(name) is None:
            no_browser(f"{name} is not installed: it comes with the extra web")
    started = []

    def serve(classifiers, samples, **settings):
        started.append(Served(classifiers, samples, **settings))
        return started[-1]

    yield serve
    for each in started:
        each.close()


@pytest.fixture(scope="session")
def server(serving, folder):
    return serving(classifiers(), (folder / "samples").iterdir())


class Visit:
    """One visit of the page, and what went wrong in it.

    Attributes:
        page: Playwright's.
        allowed: parts of messages that the test brings about on purpose.
    """

    def __init__(self, context, address):
        self.address, self.page, self.allowed, self.wrong = address, context.new_page(), [], []
        self.page.on(
            "console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def open(self, fragment="", classifier="transformer", photo="n00"):
        """The page, with a sample on the stage unless `photo` is None."""
        chosen = f"#classifier={classifier}" + (f"&photo=sample:{photo}" if photo else "") + fragment
        self.page.goto(f"{self.address}/{chosen}")
        self.page.locator("#page").wait_for()
        if photo:
            self.mapped()
        return self.page

    def mapped(self):
        """Wait until the map on the stage is there."""
        self.page.locator("#downloads").wait_for()

    def faults(self):
        violations = self.page.evaluate("window.violations ?? []") if not self.page.is_closed() else []
        return violations + [said for said in self.wrong if not any(part in said for part in self.allowed)]


@pytest.fixture
def visiting(chromium, server):
    """Makes visits, each with its own cookies; fails if one asked anybody else, broke the policy, or had an error."""
    visits, contexts = [], []

    def visit(at=server, **settings):
        context = chromium.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True} | settings
        )
        context.add_init_script(SEEN)
        outside = []

        def only_here(route):
            if route.request.url.startswith((at.address, "data:", "blob:")):
                route.fallback()
            else:
                outside.append(route.request.url)
                route.abort()

        context.route("**/*", only_here)
        made = Visit(context, at.address)
        made.wrong = outside
        contexts.append(context)
        visits.append(made)
        return made

    yield visit
    faults = [fault for made in visits for fault in made.faults()]
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def visit(visiting):
    """One visit of a wide window."""
    return visiting()
