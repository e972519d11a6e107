"""The language of what the server words itself, as browsers ask for it."""

from __future__ import annotations

#: What the pages speak. The first is for those who wish for neither.
LANGUAGES = ("en", "de")


def preferred(wishes: str, address: str = "") -> str:
    """The language of `LANGUAGES` that a browser wishes for most.

    It is chosen as the pages' scripts do (static/i18n.js): "de-AT" is German, and what the page's
    address says (`?lang=`, here `address`) comes first.

    Args:
        wishes: the header Accept-Language (RFC 9110, section 12.5.4); what is not of its form is
            no wish.
    """
    if address[:2].lower() in LANGUAGES:
        return address[:2].lower()
    qualities: dict[str, float] = {}
    for wish in wishes.split(","):
        name, _, parameter = wish.replace(" ", "").partition(";")
        quality = _quality(parameter)
        name = name if name == "*" else name.partition("-")[0].lower()
        qualities.setdefault(name, quality)
    others = qualities.pop("*", 0.0)
    named = [name for name in qualities if name in LANGUAGES]
    rest = [name for name in LANGUAGES if name not in named]
    # Of equal ones the first: max() keeps it.
    best = max((*named, *rest), key=lambda name: qualities.get(name, others))
    return best if qualities.get(best, others) > 0 else LANGUAGES[0]


def _quality(parameter: str) -> float:
    """Of "q=0.8" 0.8; of none 1; of anything else 0."""
    if not parameter:
        return 1.0
    name, _, value = parameter.partition("=")
    digits = value.replace(".", "", 1)
    if name.lower() != "q" or not digits.isdecimal() or not digits.isascii():
        return 0.0
    return min(float(value), 1.0)
