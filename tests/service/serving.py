"""A real server on a free port of this machine, for clients that need one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from service.api.app import create_app
from service.settings import Settings


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The base URL of a server with settings, which answers from here to the end of the block."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # asyncio does so for its own alone
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="served")
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start; its log says why"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
