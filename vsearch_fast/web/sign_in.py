"""The page that asks for the token, where a browser comes without it.

It is one file without a script; its style is allowed by its hash. The form goes to ``sign-in`` in
the folder of the pages, and the answer leads back to the page that was asked for, by a relative
address.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from urllib.parse import parse_qsl, quote, urlencode

from .language import preferred

#: Where the form is sent, from the folder of the pages.
NAME = "sign-in"

#: Characters of a form that is read.
MOST = 10_000

_STYLE = """
:root { color-scheme: light dark; font: 100%/1.5 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-content: center; padding: 1rem }
main { max-width: 24rem }
h1 { font-size: 1.4rem }
label, input, button { display: block; box-sizing: border-box; width: 100%; font: inherit }
input, button { margin-top: .5rem; padding: .6rem; border: 1px solid; border-radius: .4rem }
button { margin-top: 1rem; font-weight: 600; cursor: pointer }
[role=alert] { border-left: .25rem solid #c22; padding-left: .75rem }
"""

_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} – vsearch</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{wrong}<p>{wanted}</p>
<form method="post" action="{action}">
<input type="hidden" name="page" value="{page}">
<input type="hidden" name="query" value="{query}">
<input type="text" name="username" value="vsearch" autocomplete="username" hidden>
<label for="token">{token}</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>{title}</button>
</form>
</main>
</body>
</html>
"""

#: Its words, by language; markup, so that nothing of a request may come into them.
WORDS = {
    "en": {
        "title": "Sign in",
        "wanted": "This server wants a token. It is in the address that <code>vsearch serve</code> "
        "printed, behind <code>token=</code>; whoever runs the server knows it.",
        "token": "Token",
        "wrong": "That is not the token of this server. Nothing was opened.",
    },
    "de": {
        "title": "Anmelden",
        "wanted": "Dieser Server verlangt ein Token. Es steht in der Adresse, die "
        "<code>vsearch serve</code> ausgegeben hat, hinter <code>token=</code>; wer den Server "
        "betreibt, kennt es.",
        "token": "Token",
        "wrong": "Das ist nicht das Token dieses Servers. Es wurde nichts geöffnet.",
    },
}


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent: the token, and the name and query of the page that was asked for."""

    token: str
    page: str
    query: str


def page(path: str, query: str, wishes: str, *, wrong: bool = False) -> bytes:
    """The page in place of what was asked for at a path of the server's own, in the language that
    the browser `wishes` for (Accept-Language)."""
    depth = max(0, path.count("/") - 1)
    # Deeper addresses are no pages: from there it goes to the first one.
    name, query = ("", "") if depth else (path.rpartition("/")[2], query)
    language = preferred(wishes, dict(parse_qsl(query)).get("lang", ""))
    words = dict(WORDS[language])
    told = words.pop("wrong")
    return _PAGE.format(
        **words, language=language, style=_STYLE,
        wrong=f'<p role="alert">{told}</p>\n' if wrong else "",
        action=f"{'../' * depth or './'}{NAME}", page=escape(name),
        query=escape(_without_token(query)),
    ).encode()  # fmt: skip


def read(body: bytes) -> Form:
    """A form that was sent; what is missing is empty."""
    pairs = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    return Form(pairs.get("token", "").strip(), pairs.get("page", ""), pairs.get("query", ""))


def place(form: Form) -> str:
    """Where a form leads, from the folder of the pages: always below it, so never to a stranger's
    page."""
    name = quote(form.page.rpartition("/")[2].replace("\\", ""), safe="")
    query = _without_token(form.query)
    return f"./{'' if name in ('.', '..') else name}" + (f"?{query}" if query else "")


def _without_token(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode([pair for pair in pairs if pair[0] != "token"])
