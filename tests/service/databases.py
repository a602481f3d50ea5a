"""Fixtures: a fresh database for each test, on SQLite and on a real PostgreSQL where its programs are found."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from service.store import Store

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """A PostgreSQL of our own in a temporary folder, on a socket there; its URL names the database `postgres`."""
    programs = _programs()
    if programs is None:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl")
    # Not in pytest's folder, which another user may not enter: the server refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="candour-postgres-"))
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    quick = f"-F -k {folder} -c listen_addresses='' -c synchronous_commit=off -c full_page_writes=off"

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "-D", data, *arguments],
            user=user, extra_groups=[] if user else None, cwd=folder,
            stdout=subprocess.DEVNULL, check=True, timeout=120,
        )  # fmt: skip

    try:
        run("initdb", "-U", "candour", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
        run("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", quick)
        try:
            yield make_url(f"postgresql+psycopg://candour@/postgres?host={folder}")
        finally:
            run("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """The folder of initdb and pg_ctl; None where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    if config := shutil.which("pg_config"):
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)
        folders.append(Path(said.stdout.strip()))
    return next((folder for folder in folders if (folder / "initdb").is_file() and (folder / "pg_ctl").is_file()), None)


@contextmanager
def empty(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The URL of an empty database, one of KINDS. folder: where SQLite's file stands."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'candour.db'}"
        return
    server: URL = request.getfixturevalue("postgres")
    name = f"test_{secrets.token_hex(4)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
        yield server.set(database=name).render_as_string()
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    with empty(request.param, request, tmp_path) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    store.upgrade()
    yield store
    store.close()
