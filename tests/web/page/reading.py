"""What the page shows, waited for, numbers as it writes them, and how it looks."""

from pathlib import Path

LOOKS = (Path(__file__).parent / "looks.js").read_text("utf-8").rstrip()
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def expect(what):
    """Playwright's, asked for when a browser is there: without one these tests are collected, and skipped."""
    from playwright import sync_api

    return sync_api.expect(what)


def number(text):
    """ "−1.2·10⁻⁴" → −0.00012; "12.5 %" → 12.5."""
    plain = text.strip().removesuffix(" %").replace("−", "-").replace("·10", "e").translate(RAISED)
    return float(plain)


def looked(page, what):
    """The answer of a function of `looks.js`."""
    return page.evaluate(f"{LOOKS}.{what}()")
