"""The limits of a server: what it takes from a stranger, and how much it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from .public import PublicUrl


@dataclass(frozen=True, slots=True)
class Settings:
    """Every limit has a reason: beyond it one client could spend what all of them share.

    Attributes:
        token: what requests must carry; None where only this machine can send any.
        hosts: names in a request's Host header that are answered; None for any. Only for a
            server without a token: a foreign page cannot then reach it by a name of its own
            that points to this machine (DNS rebinding).
        cors: origins, such as https://shop.example, whose pages may use the API, too.
        public: where browsers reach the server behind a reverse proxy, if it was said.
        fetch: hosts, with their ports where those are not the usual ones, whose pictures are
            fetched by their address.
        upload_bytes: largest body of a request.
        max_pixels: largest picture that is decoded, width times height.
        largest_k: matches a query at most.
        largest_offset: nearer matches that a search may skip.
        listed_items: items of a catalogue that is sorted, searched by words and counted by value,
            at most: that takes some hundred bytes each.
        compared_items: items of a catalogue among which copies are looked for, at most.
        waiting: queries that may wait for the network, and as many for a scan, before more are
            told to come again (429).
        seconds: longest time for reading a body, and then for an answer.
        kept_bytes: uploaded pictures kept, in memory, for links and further searches.
        thumbnail_bytes: thumbnails kept in memory.
    """

    token: str | None = None
    hosts: frozenset[str] | None = frozenset({"localhost", "127.0.0.1", "[::1]"})
    public: PublicUrl | None = None
    cors: frozenset[str] = frozenset()
    fetch: frozenset[str] = frozenset()
    upload_bytes: int = 20_000_000
    max_pixels: int = 40_000_000
    largest_k: int = 100
    largest_offset: int = 10_000
    listed_items: int = 1_000_000
    compared_items: int = 200_000
    waiting: int = 64
    seconds: float = 30.0
    kept_bytes: int = 256 << 20
    thumbnail_bytes: int = 64 << 20
