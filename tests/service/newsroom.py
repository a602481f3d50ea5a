"""A council's web server on this machine, which misbehaves as it is told to."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

XML = {"Content-Type": "application/xml"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
NOT_FOUND = b"<html><head><title>Page not found</title></head><body><h1>Page not found</h1></body></html>"


class Request(NamedTuple):
    """What the server was asked, and when (monotonic seconds)."""

    path: str
    headers: Mapping[str, str]
    time: float


@dataclass
class Answer:
    """What the server says. parts: sent as they come, without a length, in place of a body."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Iterator[bytes] | None = None


class Newsroom:
    """The pages of a server by path, each an answer or a function that makes one of a request; what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = url.split("//")[1]
        self.pages: dict[str, Answer | Callable[[Request], Answer]] = {}
        self.asked: list[Request] = []
        self.at_once = self.most_at_once = 0
        self.closing = threading.Event()

    def paths(self) -> list[str]:
        """What was asked for, in order, without robots.txt."""
        return [request.path for request in self.asked if request.path != "/robots.txt"]

    def article(self, path: str, title: str, *paragraphs: str, canonical: str = "", **headers: str) -> str:
        """Put an article at a path; its URL."""
        self.pages[path] = Answer(article(title, *paragraphs, canonical=canonical), headers=HTML | headers)
        return self.url + path

    def rss(self, path: str, *urls: str, **headers: str) -> str:
        """Put a feed of those URLs at a path; its URL."""
        self.pages[path] = Answer(rss(*urls), headers=XML | headers)
        return self.url + path

    def sitemap(self, path: str, **changed: str) -> str:
        """Put a sitemap at a path: the paths of pages (without slash), and when each changed; its URL."""
        items = "".join(
            f"<url><loc>{self.url}/{name}</loc><lastmod>{when}</lastmod></url>" for name, when in changed.items()
        )
        self.pages[path] = Answer(
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{items}</urlset>'.encode(), headers=XML
        )
        return self.url + path

    def forever(self, part: bytes, pause: float = 0.0) -> Iterator[bytes]:
        """The same bytes again and again, until the server closes or its reader leaves."""
        for same in repeat(part):
            if self.closing.wait(pause):
                return
            yield same


def article(title: str, *paragraphs: str, canonical: str = "") -> bytes:
    link = f'<link rel="canonical" href="{canonical}">' if canonical else ""
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>{link}</head>'
        f"<body><article><h1>{title}</h1>{body}</article></body></html>"
    ).encode()


def rss(*urls: str, title: str = "Item", published: str = "Tue, 01 Jul 2025 23:30:00 GMT") -> bytes:
    items = "".join(
        f"<item><title>{title}</title><link>{escape(url)}</link><pubDate>{published}</pubDate></item>" for url in urls
    )
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>{items}</channel></rss>'.encode()


def bomb(size: int) -> Answer:
    """A page that is small on the wire and `size` bytes when it is unzipped, twice over if it is believed."""
    return Answer(gzip.compress(b"<p>" + b" " * size), headers=HTML | {"Content-Encoding": "gzip"})


@contextmanager
def newsroom(certificate: Path | None = None) -> Iterator[Newsroom]:
    """A server that answers from here to the end of the block; over TLS with a certificate and its key in one file."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, time.monotonic())
            room.asked.append(request)
            room.at_once += 1
            room.most_at_once = max(room.most_at_once, room.at_once)
            try:
                with suppress(ConnectionError):
                    self.answer(request)
            finally:
                room.at_once -= 1

        def answer(self, request: Request) -> None:
            page = room.pages.get(self.path, Answer(NOT_FOUND, 404, HTML))
            answer = page if isinstance(page, Answer) else page(request)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.parts is None:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if answer.parts is None:
                self.wfile.write(answer.body)
                return
            self.close_connection = True
            for part in answer.parts:
                self.wfile.write(part)
                self.wfile.flush()

        def handle(self) -> None:
            with suppress(ssl.SSLError, ConnectionError):  # a client that did not like the certificate
                super().handle()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        room = Newsroom(f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="newsroom")
        thread.start()
        try:
            yield room
        finally:
            room.closing.set()
            server.shutdown()
            thread.join()
