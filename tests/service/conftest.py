"""A folder with one fictional document of each kind that the service tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

RELEASE = """\
Council responds to inspection

Inspectors found that too many children wait too long for help and that plans for children in care drift.

"We are sorry. We let children down and we accept every finding," said Cllr Nerys Quill, the lead member.

The council had already identified these problems and has invested four million pounds in its front door.

- Two more teams will begin in May.
- Cabinet meets on 4 June.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two documents that can be scored, and three that cannot."""
    docs = tmp_path / "docs"
    (docs / "2024").mkdir(parents=True)
    (docs / "release.txt").write_text(RELEASE, encoding="utf-8")
    (docs / "2024" / "page.pdf").write_text(
        "<html><body><article><h1>Praise for the missing children team</h1><p>Inspectors praised the team that speaks "
        "with every child who comes back after going missing, often on the same day.</p><p>The team began in 2019 and "
        "has nine workers.</p></article></body></html>"
    )
    (docs / "empty.txt").write_bytes(b"")
    (docs / "noise.pdf").write_bytes(bytes(range(256)) * 40)
    (docs / ".hidden.txt").write_text("Not to be read.")
    return docs


@pytest.fixture(scope="session")
def release() -> str:
    """The text of the folder's release.txt."""
    return RELEASE
