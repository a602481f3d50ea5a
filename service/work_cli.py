"""`candour work`: a worker on the batches of a store, beside its servers, on this machine or another."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing

from rich.console import Console

from models import classifier
from service import analysis
from service.jobs import Jobs
from service.parsing import Limits, Parsers
from service.settings import Settings
from service.store import opened

log = Console(stderr=True, highlight=False)


def work() -> None:
    """Score the documents of batches that servers with the same CANDOUR_DATABASE take, until told to stop.

    Other machines share a database of PostgreSQL. The documents at hand are finished first.
    """
    settings = Settings()
    loaded = classifier.load(settings.model, settings.store, settings.threads)
    cores = settings.threads or os.cpu_count() or 1
    limits = Limits(settings.max_parse_seconds, settings.max_parse_memory, settings.max_pages)
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    with opened(settings.database) as store, Parsers(cores, limits) as parsers:
        jobs = Jobs(
            store,
            settings.database,
            parsers,
            lambda: (loaded.version, lambda texts: analysis.classify(texts, loaded)),
            cores,
        )
        jobs.start()
        with closing(jobs):
            log.print(f"candour: working on batches with the model {loaded.version}", markup=False)
            told.wait()
