"""What must not move a label, and what must: behaviour tests in the manner of CheckList (Ribeiro et al. 2020).

The cases were written for this and nothing else, by a writer who saw neither training passages nor a model, and a blind
reader gave each half of a pair its labels. The contrast sets of the training data turn on the same, in other words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Literal

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from labels import dataset, taxonomy
from labels.dataset import Filled, RowError
from labels.taxonomy import Taxonomy
from models import calibration, registry
from models import classifier as classifiers
from models.classifier import Classifier
from training.console import StoreOption, console_script
from training.evaluate import Flags

CASES = Path(__file__).with_name("behaviour")
# Of the labels of unchanged meaning, so many may flip at most; of those that must flip, so many must at least.
MOST_FLIPPED, LEAST_TURNED = 0.03, 0.85

COUNCILS = (
    "Tarnholme Borough Council",
    "Velding County Council",
    "Ossleby City Council",
    "the London Borough of Corrow",
)
PEOPLE = ("Ann Teller", "Mohammed Rafiq", "Siobhan O'Dwyer", "Tunde Bankole-Reid", "Councillor Grace Liu")
TOWNS = ("Tarnholme", "Velding", "Ossleby", "Corrow-on-Sea")


class _Case(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    id: Filled


class Base(_Case):
    """A passage with slots for names: {council}, {person}, {town}."""

    text: Filled

    def filled(self, n: int) -> str:
        """The text with the n-th of each list of names."""
        names = {"council": COUNCILS, "person": PEOPLE, "town": TOWNS}
        return re.sub(r"\{(\w+)\}", lambda slot: names[slot[1]][n % len(names[slot[1]])], self.text)


class Turn(_Case):
    """Two passages, one small turn apart: from before to after the labels in `on` must come on, those in `off` go."""

    kind: Literal["negation", "not_inadequate", "sorry", "speaker"]
    before: Filled
    after: Filled
    on: tuple[str, ...] = Field(description="Keys, such as stance/critical.")
    off: tuple[str, ...]


@dataclass(frozen=True)
class Invariance:
    """What a change that means nothing moved.

    flipped: the share of the labels' decisions, eight a passage, that are others after it; moved: the share of passages
    with at least one. Both of the passages that the change changes at all.
    """

    name: str
    flipped: float
    moved: float
    passages: int


@dataclass(frozen=True)
class Direction:
    """What turns of one kind moved. turned: the share of the flips that had to be seen; failed: ids of pairs."""

    name: str
    turned: float
    pairs: int
    failed: tuple[str, ...]


def bases(folder: Path = CASES) -> list[Base]:
    """The passages that are changed. Raises DatasetError."""
    return dataset.models(folder / "invariance.jsonl", Base)


def turns(labelling: Taxonomy, folder: Path = CASES) -> list[Turn]:
    """The pairs. Raises DatasetError, also for a label that the taxonomy lacks."""
    found = dataset.models(folder / "direction.jsonl", Turn)
    wrong = [f"{turn.id}: {key}" for turn in found for key in (*turn.on, *turn.off) if key not in labelling.keys]
    if wrong:
        raise dataset.DatasetError([RowError(str(folder), 0, f"unknown label in {', '.join(wrong)}")])
    return found


def invariances(cases: Sequence[Base], classifier: Classifier, seed: int = 1) -> list[Invariance]:
    """Each change against the unchanged passages. Seeded: the same changes every time."""
    found = []
    for name, change in CHANGES.items():
        rng = Random(f"{seed}:{name}")
        pairs = [(case.filled(0), change(case, rng)) for case in cases]
        pairs = [(before, after) for before, after in pairs if before != after]
        flipped = _flags([b for b, _ in pairs], classifier) != _flags([a for _, a in pairs], classifier)
        found.append(Invariance(name, float(flipped.mean()), float(flipped.any(axis=1).mean()), len(pairs)))
    return found


def directions(cases: Sequence[Turn], classifier: Classifier) -> list[Direction]:
    """Each kind of turn. A label that was on before although it should have come on has not turned."""
    column = {output.key: n for n, output in enumerate(classifier.manifest.outputs)}
    before = _flags([case.before for case in cases], classifier)
    after = _flags([case.after for case in cases], classifier)
    found = []
    for kind in dict.fromkeys(case.kind for case in cases):
        seen: list[bool] = []
        failed: list[str] = []
        rows = [n for n, case in enumerate(cases) if case.kind == kind]
        for n in rows:
            case = cases[n]
            right = [bool(not before[n, column[key]] and after[n, column[key]]) for key in case.on]
            right += [bool(before[n, column[key]] and not after[n, column[key]]) for key in case.off]
            seen += right
            failed += [] if all(right) else [case.id]
        found.append(Direction(kind, float(np.mean(seen)), len(rows), tuple(failed)))
    return found


def _names(case: Base, rng: Random) -> str:
    return case.filled(rng.choice([n for n in range(1, 60) if n % len(COUNCILS) and n % len(PEOPLE)]))


def _typos(case: Base, rng: Random) -> str:
    """Two neighbouring letters change places, or one is left out, inside one word in fifteen."""
    words = case.filled(0).split(" ")
    long = [n for n, word in enumerate(words) if len(word) > 4 and word.isalpha() and word.islower()]
    for n in rng.sample(long, min(len(long), max(1, len(words) // 15))):
        place = rng.randrange(1, len(words[n]) - 2)
        kept = words[n][place + 1] + words[n][place] if rng.random() < 0.5 else words[n][place + 1]
        words[n] = words[n][:place] + kept + words[n][place + 2 :]
    return " ".join(words)


def _ocr(case: Base, rng: Random) -> str:
    """What scanning does, to one word in fifteen: rn for m, 1 for l, a ligature, a word broken at a line's end."""
    words = case.filled(0).split(" ")
    scars = (("m", "rn"), ("l", "1"), ("o", "0"), ("fi", "\ufb01"), ("e", "c"))
    long = [n for n, word in enumerate(words) if len(word) > 4 and word.isalpha() and word.islower()]
    for n in rng.sample(long, min(len(long), max(1, len(words) // 15))):
        fitting = [(old, new) for old, new in scars if old in words[n]]
        if fitting and rng.random() < 0.7:
            words[n] = words[n].replace(*rng.choice(fitting), 1)
        else:
            half = len(words[n]) // 2
            words[n] = f"{words[n][:half]}- {words[n][half:]}"
    return " ".join(words)


def _curly(case: Base, rng: Random) -> str:  # noqa: ARG001  # as every change is called
    text = re.sub(r"(^|[\s(])\"", "\\1\u201c", case.filled(0)).replace('"', "\u201d")
    return re.sub(r"(^|[\s(])'", "\\1\u2018", text).replace("'", "\u2019")


def _upper(case: Base, rng: Random) -> str:  # noqa: ARG001
    return case.filled(0).upper()


def _boilerplate(case: Base, rng: Random) -> str:
    opening = (
        "Published on Tuesday at 10.15am.",
        "This page was last updated in March.",
        "Page 3 of 9.",
        "Ref: CS/114.",
    )
    ending = (
        "For more information visit our website.",
        "Read more on this story below.",
        "Press office: 01632 960 114.",
    )
    return f"{rng.choice(opening)} {case.filled(0)}" if rng.random() < 0.5 else f"{case.filled(0)} {rng.choice(ending)}"


CHANGES: dict[str, Callable[[Base, Random], str]] = {
    "names": _names,
    "typos": _typos,
    "OCR noise": _ocr,
    "curly quotes for straight": _curly,
    "upper case": _upper,
    "boilerplate": _boilerplate,
}


def _flags(texts: Sequence[str], classifier: Classifier) -> Flags:
    return calibration.on(classifier.scores(texts), classifier.manifest.outputs)


def main(
    model: Annotated[str, typer.Argument(help="Version or alias.")] = registry.CHAMPION,
    store: StoreOption = registry.PACKAGED,
) -> None:
    """Print how a model behaves: what flips though nothing was meant, and what turns that must."""
    loaded = classifiers.load(model, store)
    console = Console(highlight=False, soft_wrap=True)
    held = Table("change", "labels flipped", "passages moved", "passages", box=None, pad_edge=False)
    for kept in invariances(bases(), loaded):
        held.add_row(kept.name, f"{kept.flipped:.1%}", f"{kept.moved:.1%}", str(kept.passages))
    console.print(held)
    turned = Table("turn", "flips seen", "pairs", "pairs that failed", box=None, pad_edge=False)
    for found in directions(turns(taxonomy.load()), loaded):
        turned.add_row(found.name, f"{found.turned:.1%}", str(found.pairs), " ".join(found.failed))
    console.print(turned)


if __name__ == "__main__":
    console_script(main)
