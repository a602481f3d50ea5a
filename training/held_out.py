"""The documents that no model has learned from, as files to score: `python -m training.held_out FOLDER`.

A model is surer of what it has learned from than of what is new. What it says of these documents is what
`candour drift` compares with (`--make-reference`).
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from labels import dataset, references, splits, taxonomy
from training.console import console_script


def held_out(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    reports: Annotated[Path | None, typer.Option(help="The folder of the public reports, for those too.")] = None,
) -> None:
    """Write the documents of dev and test: written ones as text, reports as links to their files.

    What is known of each stands beside it (.meta.json).

    Example: python -m training.held_out held-out --reports ../shared/reports
    """
    folder.mkdir(parents=True)
    labelling = taxonomy.load()
    written = [e for e in dataset.load([dataset.WRITTEN], labelling) if splits.split_of(e.group) != "train"]
    for document, found in groupby(sorted(written, key=lambda e: e.document), lambda e: e.document):
        passages = list(found)
        path = folder / f"{document}.txt"
        path.write_text("\n\n".join(e.text for e in passages) + "\n", encoding="utf-8")
        _about(path, passages[0].kind, passages[0].authority)
    if reports is not None:
        for file, reference in {r.file: r for r in references.read(references.REFERENCES, labelling)}.items():
            if splits.split_of(reference.group) != "train":
                path = folder / file
                path.symlink_to((reports / file).resolve(strict=True))
                _about(path, references.KIND, reference.authority)


def _about(path: Path, kind: dataset.Kind, council: str) -> None:
    about = {"kind": kind, "council": council or None}
    path.with_name(f"{path.name}.meta.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


if __name__ == "__main__":
    console_script(held_out)
