"""What `vsearch serve` and `vsearch rate` share."""

from __future__ import annotations

import click

from ..errors import MissingDependencyError
from ..installing import how_to_install

host = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve on. Any other than this machine's own wants a token: VSEARCH_TOKEN, or "
    "one that is made and printed.",
)
port = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="0 takes a free one.",
)
public_url = click.option(
    "--public-url",
    metavar="URL",
    help="Where browsers reach it through a reverse proxy, such as https://shop.example/find/. "
    "Who may come is then the proxy's to say, or VSEARCH_TOKEN's.",
)


def require_server() -> None:
    """MissingDependencyError without the packages of the extra ``serve``."""
    try:
        import fastapi_offline  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"The package {error.name}, which the server needs, is not installed",
            "Nothing is served",
            f"Install it with {how_to_install('cpu,serve')}",
        ) from error
