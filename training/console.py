"""Run a command of this package by itself (`python -m training.…`), its errors in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from labels.dataset import DatasetError
from labels.taxonomy import TaxonomyError
from models.manifest import ArtefactError

StoreOption = Annotated[Path, typer.Option(help="The model store.", envvar="CANDOUR_STORE")]


def console_script(command: Callable[..., None]) -> None:
    """Parse the arguments and call the command. Exits 1, with what was wrong, where it could not run."""
    try:
        typer.run(command)
    except (ArtefactError, DatasetError, TaxonomyError, OSError) as error:
        Console(stderr=True, highlight=False).print(f"candour: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
