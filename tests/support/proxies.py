"""Real reverse proxies, nginx and Caddy, as processes of a test on free ports."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NAME = "shop.example"
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "behind-a-proxy.md"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """Its path; skips where it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"no {name}: apt-get install {name}")
    return found


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for `NAME`, signed by its own key, and that key."""
    file, key = folder / "certificate.pem", folder / "key.pem"
    if not file.exists():
        command: list[str | Path] = [
            program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
            "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", key, "-out", file,
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    return file, key


#: Seconds after which a proxy has hung that is not up, or not gone.
_HANGS = 120


@contextlib.contextmanager
def _process(command: list[str | Path], port: int, folder: Path) -> Iterator[None]:
    log = folder / "proxy.log"
    # Caddy keeps certificates and its last configuration under these.
    own = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | own)
    try:
        end = time.monotonic() + _HANGS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"the proxy did not start: {log.read_text(errors='replace')}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(_HANGS)


@contextlib.contextmanager
def nginx(folder: Path, servers: str, port: int) -> Iterator[None]:
    """nginx with these ``server`` blocks, one of which listens on `port`."""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nworker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{servers}\n}}\n"
    )
    command: list[str | Path] = [program("nginx"), "-c", folder / "nginx.conf", "-p", folder]
    with _process(command, port, folder):
        yield


@contextlib.contextmanager
def caddy(folder: Path, sites: str, port: int) -> Iterator[None]:
    """Caddy with these sites, one of which listens on `port`."""
    options = "{\nadmin off\nauto_https disable_redirects\nskip_install_trust\n}\n"
    (folder / "Caddyfile").write_text(options + sites)
    command: list[str | Path] = [
        program("caddy"), "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile",
    ]  # fmt: skip
    with _process(command, port, folder):
        yield


def nginx_location(upstream: str, path: str, extra: str = "", *, strips: bool = True) -> str:
    """A location that passes `path` on to a server's address."""
    place = upstream + ("/" if strips else "")
    return f"location {path} {{ proxy_pass {place}; client_max_body_size 20m; {extra} }}"


def nginx_server(port: int, location: str, tls: tuple[Path, Path] | None) -> str:
    """A server block of `NAME`."""
    if tls is None:
        return f"server {{ listen 127.0.0.1:{port}; server_name {NAME}; {location} }}"
    return (
        f"server {{ listen 127.0.0.1:{port} ssl; server_name {NAME}; "
        f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]}; {location} }}"
    )


def caddy_site(port: int, body: str, tls: tuple[Path, Path] | None) -> str:
    """A site of `NAME`."""
    scheme = "http" if tls is None else "https"
    certified = "" if tls is None else f"tls {tls[0]} {tls[1]}\n"
    return f"{scheme}://{NAME}:{port} {{\n{certified}{body}\n}}\n"


def of_the_guide(kind: str) -> str:
    """The guide's block in this language, "nginx" or "caddy"."""
    [block] = re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return block
