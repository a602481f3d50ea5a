"""`candour learn-curve`: F1 against the number of passages, and what the next hundred labels are likely to buy."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from labels import dataset, splits, taxonomy
from labels.dataset import Example
from labels.files import replacing
from labels.taxonomy import Taxonomy
from training.base import MINILM, Base

if TYPE_CHECKING:
    from training.evaluate import Interval

# torch, scikit-learn, scipy and matplotlib are imported by what needs them: `candour --help` stays quick.

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
SIZES = (1000, 2000, 4000, 8000)
RESAMPLES = 200
NEXT = 100
# A power law has three parameters.
LEAST_SIZES = 3
_PAGE = Path(__file__).with_name("learn_curve.html.jinja")
log = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Plan:
    """A run to come. cost: passages that it goes over, those of dev with each pass."""

    size: int
    seed: int
    epochs: int
    cost: int

    @classmethod
    def of(cls, size: int, seed: int, largest: int, epochs: int, dev: int) -> Plan:
        """As many steps as `epochs` passes over the largest size have: a small set is to fail for want of passages."""
        passes = round(epochs * largest / size)
        return cls(size, seed, passes, passes * (size + dev))


@dataclass(frozen=True)
class Run:
    """How a model of `passages` training passages did on dev.

    positives: training passages with each label. right, named: shape (documents of dev, labels), the true positives,
    and the passages that have the label plus those that were given it. cost: as planned.
    """

    size: int
    seed: int
    passages: int
    positives: list[int]
    right: list[list[int]]
    named: list[list[int]]
    cost: int
    seconds: float


@dataclass(frozen=True)
class Point:
    """F1 at one size, the mean over the seeds. interval: 95%, by bootstrap over documents of dev and seeds."""

    size: int
    positives: float
    f1: float
    interval: Interval


@dataclass(frozen=True)
class LabelCurve:
    """The curve of one label, and what NEXT more passages with it would add to its F1 after all that there are.

    positives: passages with the label in the whole training split; needed: passages of every sort among which NEXT have
    it. limit: the F1 that the power law tends to. best: how often, of the resamples, no other label gains more.
    """

    key: str
    points: tuple[Point, ...]
    positives: int
    needed: int
    limit: float
    gain: float
    interval: Interval
    best: float


def _page_or_json(paths: list[Path] | None) -> list[Path]:
    for path in paths or []:
        if path.suffix.lower() not in (".json", ".html"):
            raise typer.BadParameter(f"{path}: the ending must be .json or .html")
    return paths or []


def learn_curve(
    runs: Annotated[Path, typer.Argument(metavar="RUNS.jsonl", help="A line a run is added here.")],
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", callback=_page_or_json, help="A .json or .html file; may be repeated."),
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Labelled passages (JSONL); may be repeated. Default: the written ones.")
    ] = None,
    base: Annotated[str, typer.Option(help="Base weights.")] = MINILM,
    sizes: Annotated[
        list[int] | None,
        typer.Option("--size", min=1, help="Training passages; may be repeated. Default: 1000 to 8000."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each size.", min=1)] = 3,
    epochs: Annotated[
        int, typer.Option(help="Passes over the largest size; smaller ones have as many steps.", min=1)
    ] = 3,
) -> None:
    """Train on more and more passages, and say what the next hundred labels are likely to buy, and of which label.

    F1 is of dev. A run that is in the file is not run again: after a kill, the same command goes on.

    Example: candour learn-curve curve.jsonl -o curve.html -o curve.json
    """
    from training import base as bases

    labelling = taxonomy.load()
    examples = dataset.load(data or [dataset.WRITTEN], labelling)
    divided = splits.divide(examples)
    train, dev = divided["train"], divided["dev"]
    wanted = sorted(set(sizes or SIZES))
    if len(wanted) < LEAST_SIZES or wanted[-1] > len(train):
        raise typer.BadParameter(
            f"at least {LEAST_SIZES} sizes up to {len(train)}, the training passages that there are",
            param_hint="--size",
        )
    weights = bases.resolve(base)
    setting = {
        "data": dataset.digest(examples)[:12], "base": weights.sha256[:12], "largest": wanted[-1], "epochs": epochs,
    }  # fmt: skip
    held = _held(runs, setting)
    plan = [Plan.of(size, seed, wanted[-1], epochs, len(dev)) for seed in range(1, seeds + 1) for size in wanted]
    left = [one for one in plan if (one.size, one.seed) not in held]
    for number, one in enumerate(left, 1):
        run = held[one.size, one.seed] = fitted(train, dev, labelling, weights, one)
        before = runs.read_bytes() if runs.exists() else b""
        with replacing(runs) as partial:
            partial.write_bytes(before + json.dumps(asdict(run) | setting).encode() + b"\n")
        pace = sum(done.seconds for done in held.values()) / sum(done.cost for done in held.values())
        rest = timedelta(seconds=round(pace * sum(later.cost for later in left[number:])))
        log.print(f"{one.size} passages, seed {one.seed}: run {number} of {len(left)}, about {rest} left")
    found = curves([held[one.size, one.seed] for one in plan], labelling.keys, train, labelling)
    _print(found)
    for path in output or []:
        text = as_json(found, setting) if path.suffix.lower() == ".json" else as_page(found, setting)
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")


def _held(path: Path, setting: Mapping[str, Any]) -> dict[tuple[int, int], Run]:
    """The runs of a file, by size and seed. Raises BadParameter where they are not of this setting."""
    found: dict[tuple[int, int], Run] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        row = json.loads(line)
        other = {name: row.pop(name, None) for name in setting}
        if other != setting:
            raise typer.BadParameter(f"{path} holds runs of another setting, which cannot be compared: {other}")
        found[row["size"], row["seed"]] = Run(**row)
    return found


def nested(train: Sequence[Example], size: int, seed: int) -> list[Example]:
    """Whole documents, drawn at random until they have `size` passages; of one seed the smaller are in the larger."""
    documents = sorted({e.document for e in train})
    order = [documents[n] for n in np.random.default_rng(seed).permutation(len(documents))]
    by_document: dict[str, list[Example]] = {document: [] for document in order}
    for example in train:
        by_document[example.document].append(example)
    drawn: list[Example] = []
    for passages in by_document.values():
        if len(drawn) >= size:
            break
        drawn += passages
    return drawn


def fitted(train: Sequence[Example], dev: Sequence[Example], labelling: Taxonomy, base: Base, plan: Plan) -> Run:
    """Train as the recipe does, from the labels alone: the teacher has seen all of them."""
    from training.train import Settings, fit

    started = time.monotonic()
    drawn = nested(train, plan.size, plan.seed)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(seed=plan.seed, epochs=plan.epochs)
        network = fit(drawn, dev, labelling, base, Path(folder), settings)
    right, named = measured(network.logits([e.text for e in dev], half=True), dev, labelling)
    return Run(
        size=plan.size,
        seed=plan.seed,
        passages=len(drawn),
        positives=_positives(drawn, labelling),
        right=right.tolist(),
        named=named.tolist(),
        cost=plan.cost,
        seconds=round(time.monotonic() - started, 1),
    )


def measured(logits: Array, dev: Sequence[Example], labelling: Taxonomy) -> tuple[Counts, Counts]:
    """`right` and `named` of a run. The thresholds of each half of the documents are chosen on the other half."""
    from models import calibration
    from training import calibrate

    documents = sorted({e.document for e in dev})
    place = np.array([documents.index(e.document) for e in dev])
    truth = np.array([e.vector(labelling) for e in dev])
    flags = np.zeros_like(truth)
    for half in (0, 1):
        mine = place % 2 == half
        outputs = calibrate.outputs(logits[~mine], truth[~mine], labelling.keys)
        flags[mine] = calibration.on(calibration.probabilities(logits[mine], outputs), outputs)
    right, named = np.zeros((2, len(documents), len(labelling.keys)), dtype=np.int64)
    np.add.at(right, place, truth & flags)
    np.add.at(named, place, truth + flags)
    return right, named


def _positives(examples: Sequence[Example], labelling: Taxonomy) -> list[int]:
    return [int(count) for count in np.sum([e.vector(labelling) for e in examples], axis=0)]


def curves(
    runs: Sequence[Run], keys: Sequence[str], train: Sequence[Example], labelling: Taxonomy
) -> tuple[LabelCurve, ...]:
    """The curve of each label, from runs of every size with every seed, all on the same dev.

    The bootstrap draws documents of dev, the same for all runs, and seeds, and fits the law anew each time. A passage
    more of a label is taken to come with as many others as it does in the training split.
    """
    sizes, seeds = sorted({run.size for run in runs}), sorted({run.seed for run in runs})
    grid = [[next(r for r in runs if (r.size, r.seed) == (size, seed)) for size in sizes] for seed in seeds]
    right = np.array([[run.right for run in row] for row in grid])
    named = np.array([[run.named for run in row] for row in grid])
    positives = np.array([[run.positives for run in row] for row in grid], dtype=float)
    have = np.array(_positives(train, labelling), dtype=float)

    def f1(weights: Array) -> Array:
        """Shape (seeds, sizes, labels). weights: how often each document of dev was drawn."""
        both, either = np.einsum("d,rsdl->rsl", weights, right), np.einsum("d,rsdl->rsl", weights, named)
        return np.asarray(2 * both / np.maximum(either, 1))

    def laws(of: Array, drawn: Counts) -> list[PowerLaw]:
        return [PowerLaw.of(positives[drawn][..., n].ravel(), of[..., n].ravel()) for n in range(len(keys))]

    def gains(found: Sequence[PowerLaw]) -> list[float]:
        return [law.at(there + NEXT) - law.at(there) for law, there in zip(found, have, strict=True)]

    chance = np.random.default_rng(0)
    level = f1(np.ones(right.shape[2]))
    best = laws(level, np.arange(len(seeds)))
    levels, resampled = [], []
    for _ in range(RESAMPLES):
        weights = np.bincount(chance.integers(0, right.shape[2], right.shape[2]), minlength=right.shape[2])
        drawn = chance.integers(0, len(seeds), len(seeds))
        again = f1(weights.astype(float))[drawn]
        levels.append(again.mean(axis=0))
        resampled.append(gains(laws(again, drawn)))
    spread = np.quantile(levels, [0.025, 0.975], axis=0)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    first = np.bincount(np.argmax(resampled, axis=1), minlength=len(keys)) / RESAMPLES
    return tuple(
        LabelCurve(
            key=key,
            points=tuple(
                Point(size, float(positives[:, s, n].mean()), float(level[:, s, n].mean()),
                      (float(spread[0, s, n]), float(spread[1, s, n])))
                for s, size in enumerate(sizes)
            ),
            positives=int(have[n]),
            needed=round(NEXT * len(train) / max(have[n], 1)),
            limit=best[n].limit,
            gain=gain,
            interval=(float(low[n]), float(high[n])),
            best=float(first[n]),
        )
        for n, (key, gain) in enumerate(zip(keys, gains(best), strict=True))
    )  # fmt: skip


@dataclass(frozen=True)
class PowerLaw:
    """F1 = limit - loss * (positives / scale) ** -rate, which never falls (Hestness et al. 2017)."""

    limit: float
    loss: float
    rate: float
    scale: float

    @classmethod
    def of(cls, positives: Array, f1: Array) -> PowerLaw:
        """The law with the least squares."""
        from scipy.optimize import least_squares

        known = np.maximum(positives, 1.0)
        scale = float(np.exp(np.log(known).mean()))

        def missed(parameters: Array) -> Array:
            limit, loss, rate = parameters
            return np.asarray(limit - loss * (known / scale) ** -rate - f1)

        start = (min(float(f1.max()) + 0.01, 0.99), 0.1, 0.5)
        found = least_squares(missed, start, bounds=([0.0, 0.0, 0.05], [1.0, 1.0, 2.0]))
        limit, loss, rate = map(float, found.x)
        return cls(limit, loss, rate, scale)

    def at(self, positives: float) -> float:
        return float(self.limit - self.loss * (max(positives, 1.0) / self.scale) ** -self.rate)


def as_json(found: Sequence[LabelCurve], setting: Mapping[str, Any]) -> str:
    return json.dumps({"setting": setting, "next": NEXT, "labels": [asdict(label) for label in found]}, indent=1) + "\n"


def as_page(found: Sequence[LabelCurve], setting: Mapping[str, Any]) -> str:
    """One self-contained HTML page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    return environment.from_string(_PAGE.read_text(encoding="utf-8")).render(
        rows=_rows(found), head=_HEAD, verdict=verdict(found), plot=plot(found), setting=setting
    )


def plot(found: Sequence[LabelCurve]) -> str:
    """F1 of each label against the training passages that have it, with intervals, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from training import plots

    wide = 4
    deep = -(-len(found) // wide)
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(10, 2.6 * deep), layout="constrained")
        for place, label in enumerate(found, 1):
            axes = figure.add_subplot(deep, wide, place)
            x, y = [p.positives for p in label.points], [p.f1 for p in label.points]
            low, high = np.array([p.interval for p in label.points]).T
            axes.errorbar(x, y, yerr=np.maximum([y - low, high - y], 0), color=plots.BLUE, marker="o", markersize=3)
            axes.axhline(label.limit, color=plots.GREY, linewidth=0.8, linestyle="--")
            axes.set(xscale="log", ylim=(0, 1), title=label.key)
        figure.supxlabel("training passages with the label")
        figure.supylabel("F1 on dev")
        return plots.svg(figure)


_HEAD = ("label", "has", "F1", "at the largest", "95%", "limit", f"next {NEXT}, points", "95%", "passages", "best")


def _rows(found: Sequence[LabelCurve]) -> list[list[str]]:
    rows = []
    for label in sorted(found, key=lambda label: -label.gain):
        last = label.points[-1]
        rows.append(
            [
                label.key, str(label.positives), " ".join(f"{point.f1:.2f}" for point in label.points),
                f"{last.f1:.3f}",
                f"{last.interval[0]:.2f}-{last.interval[1]:.2f}", f"{label.limit:.2f}", f"{100 * label.gain:+.2f}",
                f"{100 * label.interval[0]:+.2f} to {100 * label.interval[1]:+.2f}", str(label.needed),
                f"{label.best:.0%}",
            ]
        )  # fmt: skip
    return rows


def verdict(found: Sequence[LabelCurve]) -> str:
    """Which label to collect next, in a sentence."""
    first = max(found, key=lambda label: label.gain)
    low, high = (100 * value for value in first.interval)
    return (
        f"Collect {first.key} next: {NEXT} more passages with it, among about {first.needed}, are likely to add "
        f"{100 * first.gain:.2f} points to its F1 (95%: {low:.2f} to {high:.2f}); no other label gains more in "
        f"{first.best:.0%} of the resamples."
    )


def _print(found: Sequence[LabelCurve]) -> None:
    table = Table(*_HEAD, box=None, pad_edge=False)
    for row in _rows(found):
        table.add_row(*row)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 160  # a table in a file is not cut to a screen that is not there
    console.print(table)
    console.print(verdict(found))
