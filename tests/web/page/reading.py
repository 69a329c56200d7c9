"""Numbers as the page writes them."""

RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def number(text):
    """ "−1.2·10⁻⁴" → −0.00012; "12.5 %" → 12.5."""
    plain = text.strip().removesuffix(" %").replace("−", "-").replace("·10", "e").translate(RAISED)
    return float(plain)
