"""The time of a document over HTTP against the bare model's for the same passages, side by side.

    python benchmarks/document.py [--database URL]

A `candour serve` of its own, with a key, and one client. In turn, some hundreds of times: the model labels the ten
passages of a document in this process; the client sends the same document, which the server has not seen, and has
its answer; the client classifies the same ten passages. A row: the median, the 95th percentile, and the ratio of each
to the bare model's. Each run begins a new server; the last lines give the spread of the ratios over the runs.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labels import dataset, taxonomy
from models import classifier
from service.client import Client
from service.keys import Scope
from service.store import Store

PASSAGES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--database", help="A store that is empty or may be thrown away. Default: SQLite, a file a run."
    )
    options = parser.parse_args()

    rows = dataset.load([dataset.WRITTEN], taxonomy.load())
    texts = [row.text for row in rows]
    loaded = classifier.load()
    loaded.predict(texts[:50])
    ratios: dict[str, list[float]] = {}
    for run in range(options.runs):
        # Another word in each run, so that a store that is used twice has not seen the document.
        documents = [
            [f"Paper {run}.{n}. {text}" for text in texts[n * PASSAGES : (n + 1) * PASSAGES]]
            for n in range(options.documents)
        ]
        with tempfile.TemporaryDirectory() as folder, _served(options.database or f"sqlite:///{folder}/c.db") as client:
            client.classify(texts[:50])
            contestants: dict[str, Callable[[list[str]], object]] = {
                "the bare model": loaded.predict,
                "POST /v1/documents": lambda passages, c=client: c.score(text="\n\n".join(passages)),
                "POST /v1/classify": client.classify,
            }
            seconds: dict[str, list[float]] = {name: [] for name in contestants}
            for passages in documents:
                for name, task in contestants.items():
                    started = time.perf_counter()
                    task(passages)
                    seconds[name].append(time.perf_counter() - started)
        bare = _figures(seconds["the bare model"])
        for name, taken in seconds.items():
            found = _figures(taken)
            ratio = [mine / its for mine, its in zip(found, bare, strict=True)]
            ratios.setdefault(name, []).append(ratio[1])
            print(
                f"run {run + 1}  {name:20s} median {found[0] * 1000:5.1f} ms x{ratio[0]:.2f}   "
                f"p95 {found[1] * 1000:5.1f} ms x{ratio[1]:.2f}"
            )
    for name, found in ratios.items():
        print(
            f"{name:20s} p95: x{statistics.median(found):.2f} of the bare model's [{min(found):.2f}-{max(found):.2f}]"
        )


def _figures(seconds: list[float]) -> tuple[float, float]:
    return statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]


@contextmanager
def _served(database: str) -> Iterator[Client]:
    """A client of a server of its own."""
    store = Store(database)
    store.upgrade()
    _, token = store.create_key("benchmark", [Scope.READ, Scope.SCORE])
    store.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [Path(sys.executable).with_name("candour"), "serve", "--port", str(port)]
    with subprocess.Popen(
        command, env=os.environ | {"CANDOUR_DATABASE": database}, stderr=subprocess.DEVNULL
    ) as server, Client(f"http://127.0.0.1:{port}", token, retries=20) as client:  # fmt: skip
        try:
            client.ready()
            yield client
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
