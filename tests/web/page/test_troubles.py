"""What the page says, and how it goes on, when the server is gone, busy, or cannot do what it is asked."""

import re

from regard.web.settings import Limits

from ...explainers.networks import classifier_of, cnn
from .conftest import Slow
from .reading import expect


def test_a_server_that_is_gone_is_said_and_the_page_goes_on_once_it_is_back(visit):
    visit.allowed += ["ERR_CONNECTION", "ERR_FAILED", "Failed to load resource"]
    page = visit.open()
    page.route("**/api/v1/**", lambda route: route.abort())
    page.locator("#bars .bar").nth(1).click()
    expect(page.locator("#banner")).to_contain_text("The server does not answer.")
    page.unroute("**/api/v1/**")
    expect(page.locator("#banner")).to_be_hidden()
    visit.mapped()


def test_a_server_that_is_gone_from_the_start_is_said_and_the_page_opens_once_it_is_there(visit):
    visit.allowed += ["ERR_FAILED", "Failed to load resource"]
    page = visit.page
    page.route("**/api/v1/**", lambda route: route.abort())
    page.goto(visit.address)
    expect(page.locator("#banner")).to_contain_text("The server does not answer.")
    page.unroute("**/api/v1/**")
    expect(page.locator("#stage .empty")).to_be_visible()


def test_a_server_that_cannot_say_what_it_has_can_be_asked_again(visit):
    visit.allowed.append("status of 500")
    page = visit.page
    error = {"error": {"problem": "no classifier could be read"}}
    page.route("**/api/v1/about", lambda route: route.fulfill(status=500, json=error))
    page.goto(visit.address)
    expect(page.locator("#opening")).to_contain_text("No classifier could be read.")
    page.unroute("**/api/v1/about")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#stage .empty")).to_be_visible()


def test_a_busy_server_is_waited_for_with_a_countdown(visit):
    visit.allowed.append("status of 429")
    page = visit.open()
    busy = [5]

    def sometimes(route):
        if not busy:
            return route.fallback()
        return route.fulfill(status=429, headers={"Retry-After": str(busy.pop())}, json={"error": {"problem": "full"}})

    page.route("**/api/v1/estimate", sometimes)
    page.locator("#bars .bar").nth(1).click()
    expect(page.locator("#banner")).to_have_text(
        re.compile(r"The server has all hands full\. Trying again in [1-5] s\.")
    )
    visit.mapped()
    expect(page.locator("#banner")).to_be_hidden()


def test_a_job_that_failed_says_why_and_can_be_tried_again(visit):
    page = visit.open()
    error = {"problem": "no map: NaN or infinity", "remedy": "ask another class"}
    failed = {"id": "j", "kind": "explain", "state": "failed", "place": None, "passes_done": 1, "passes_expected": 1}
    failed |= {"seconds_expected": None, "seconds": 1.0, "error": error, "result": None}
    page.route("**/api/v1/jobs", lambda route: route.fulfill(status=202, json=failed))
    page.locator("#bars .bar").nth(1).click()
    said = page.locator("#stage .progress.failed")
    expect(said).to_contain_text("failed. No map: NaN or infinity. Ask another class.")
    page.unroute("**/api/v1/jobs")
    said.get_by_role("button", name="Try again").click()
    visit.mapped()


def test_a_map_that_takes_long_is_asked_about_and_cancelled(visit):
    page = visit.open(classifier="slow")
    page.get_by_role("combobox", name="Method", exact=True).select_option("rise")
    said = page.locator("#stage .progress")
    expect(said).to_contain_text("takes about")
    said.get_by_role("button", name="Start").click()
    said.get_by_role("button", name="Cancel").click()
    expect(said).to_contain_text("was cancelled.")
    page.get_by_role("combobox", name="Method", exact=True).select_option("grad-cam")
    visit.mapped()


def test_a_page_that_is_closed_frees_its_job(visiting, serving, folder):
    each = {"quick": classifier_of(cnn()), "slow": classifier_of(Slow(cnn(), 0.06))}
    own = serving(each, [folder / "own.png"], limits=Limits(unheard_seconds=3))
    page = visiting(own).open(classifier="slow", photo="own")
    page.get_by_role("combobox", name="Method", exact=True).select_option("rise")
    with page.expect_response(lambda answer: answer.request.method == "POST" and answer.url.endswith("/jobs")) as sent:
        page.locator("#stage").get_by_role("button", name="Start").click()
    job = sent.value.json()["id"]
    page.locator("#stage .progress.running").wait_for()
    asked = page.context.request
    page.close()
    visiting(own).open(classifier="quick", photo="own")  # the worker has time for somebody else
    assert asked.get(f"{own.address}/api/v1/jobs/{job}").json()["state"] == "dropped"


def test_what_a_classifier_is_called_is_never_read_as_html(visit):
    def odd(route):
        answer = route.fetch()
        about = answer.json()
        about["classifiers"][0]["methods"][0]["summary"] = "<img src=y onerror=alert(1)>"
        route.fulfill(response=answer, json=about)

    visit.page.route("**/api/v1/about", odd)
    page = visit.open(photo=None)
    expect(page.locator("#settings")).to_contain_text("<img src=y")
    assert page.locator("img[src='y']").count() == 0


def test_what_would_take_longer_than_the_server_allows_says_so_and_is_not_offered(visit):
    page = visit.open()

    def long(route):
        route.fulfill(json={"passes": 4001, "seconds": 600, "too_long": True, "most_seconds": 120})

    page.route("**/api/v1/estimate", long)
    page.get_by_role("combobox", name="Method", exact=True).select_option("rise")
    said = page.locator("#stage .progress.beyond")
    expect(said).to_contain_text("would take about 10 min, and this server ends a job after 2 min")
    expect(said.get_by_role("button")).to_have_count(0)
    page.unroute("**/api/v1/estimate")
    page.get_by_role("combobox", name="Method", exact=True).select_option("grad-cam")
    visit.mapped()
