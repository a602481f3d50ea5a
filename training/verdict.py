"""The gate between a candidate and the champion: both on the same passages, and rules that must all be kept.

No label below its floor (training.gate). No label down by more than LOSS, unless that is noise: unless the paired
bootstrap's interval of the change reaches zero. Macro-F1 of an axis is not down beyond noise. Calibration, size and
what must not move a label are within their bounds, or no worse than the champion's; what must move one moves it as
often, beyond noise; and it is as quick.

Each candidate may lose a little that no test can tell from noise, and one by one those losses would add up. So, noise
or not, nothing may lie far below its mark, the best that any champion had on these passages: not further than two runs
of the recipe differ.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from jinja2 import Environment, StrictUndefined
from rich.console import Console
from scipy.stats import binomtest

from labels import dataset, splits, taxonomy
from labels.dataset import DatasetError, Example, RowError
from labels.files import replacing
from models import classifier, manifest, registry
from models import verdict as verdicts
from models.calibration import Array
from models.classifier import Classifier
from models.registry import Registry
from models.verdict import Comparison, Difference, Flip, Rule, Verdict
from training import behaviour, evaluate, gate
from training.behaviour import Direction
from training.console import StoreOption, console_script
from training.evaluate import Outcome

REFUSED = 3
# What of F1 a label may lose.
LOSS = 0.02
# How far below its mark the share of turns seen may lie; F1 of a label, and macro-F1: gate.margin.
TURNED = 0.10
# Of fewer passages with a label, its F1 has no mark: one lucky model would set it for good.
LEAST_DUE = 50
# How much greater a share of passages may have a label than the champion gives it to, where it is due nowhere, and
# beyond noise; and than it is due in, of a label that the champion does not have, and that is due in few.
MORE, MOST = 0.02, 0.10
CALIBRATION_ERROR, BYTES = 0.05, 26_000_000
# Seconds a passage, against the champion's.
SLOWER = 1.25
RESAMPLES = 10_000
# Of fewer documents, passages are drawn instead; of fewer passages, a bootstrap says nothing.
LEAST = 10
# Passages of one round of the clock, and rounds.
TIMED, ROUNDS = 100, 7
CORRECTIONS = "corrections"
_PAGE = Path(__file__).with_name("verdict.html.jinja")


def outcome_of(loaded: Classifier, examples: Sequence[Example], keys: Sequence[str]) -> Outcome:
    """What a model says of labelled passages, of the labels `keys` alone, all of which it has."""
    at = {output.key: n for n, output in enumerate(loaded.manifest.outputs)}
    columns = [at[key] for key in keys]
    outputs = tuple(loaded.manifest.outputs[n] for n in columns)
    due = [{*(f"theme/{name}" for name in e.themes), *(f"stance/{name}" for name in e.stances)} for e in examples]
    truth = np.array([[key in named for key in keys] for named in due], dtype=bool).reshape(len(examples), len(keys))
    scores = loaded.scores([e.text for e in examples])[:, columns]
    return Outcome(examples, outputs, truth, scores, tuple(dict.fromkeys(output.axis for output in outputs)))


def differences(before: Outcome, after: Outcome, seed: int = 1) -> tuple[Difference, ...]:
    """F1 of each label that is due somewhere, and macro-F1 of each axis, of two outcomes on the same passages.

    Intervals by paired bootstrap over documents (RESAMPLES draws): both models on the same drawn documents.
    """
    documents = [e.document for e in before.examples]
    unit = {document: n for n, document in enumerate(dict.fromkeys(documents))}
    rows = [unit[document] for document in documents] if len(unit) >= LEAST else list(range(len(documents)))
    units = max(rows) + 1
    due = np.flatnonzero(before.truth.any(axis=0)).tolist()
    counts = [_counts(found, due, rows, units) for found in (before, after)]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(units, np.full(units, 1 / units), RESAMPLES).astype(float)
    resampled = [_f1(drawn @ both, drawn @ either) for both, either in counts]
    whole = [_f1(both.sum(axis=0), either.sum(axis=0)) for both, either in counts]
    members = {f"f1/{before.outputs[column].key}": [n] for n, column in enumerate(due)}
    for axis in before.axes:
        if columns := [n for n, column in enumerate(due) if before.outputs[column].axis == axis]:
            members[f"macro_f1/{axis}"] = columns
    found = []
    for figure, columns in members.items():
        changes = (resampled[1] - resampled[0])[:, columns].mean(axis=1)
        low, high = np.quantile(changes, [0.025, 0.975])
        earlier, later = (float(f1[columns].mean()) for f1 in whole)
        found.append(Difference(figure=figure, before=earlier, after=later, interval=(float(low), float(high))))
    return tuple(found)


def _counts(found: Outcome, due: list[int], rows: Sequence[int], units: int) -> tuple[Array, Array]:
    """By what is drawn and by label, shape (units, labels): labels due and given; labels due plus labels given."""
    truth, flags = found.truth[:, due], found.flags[:, due]
    both, either = np.zeros((units, len(due))), np.zeros((units, len(due)))
    np.add.at(both, rows, truth & flags)
    np.add.at(either, rows, truth.astype(float) + flags)
    return both, either


def _f1(both: Array, either: Array) -> Array:
    return np.asarray(2 * both / np.maximum(either, 1))


def labels_rule(name: str, found: Sequence[Difference]) -> Rule:
    """No label lost more than LOSS, beyond noise."""
    lost = [
        f"{d.figure} {d.before:.3f} → {d.after:.3f} ({d.interval[0]:+.3f} to {d.interval[1]:+.3f})"
        for d in found
        if d.figure.startswith("f1/") and d.change < -LOSS and d.interval[1] < 0
    ]
    return Rule(name=f"labels/{name}", passed=not lost, detail="; ".join(lost) or f"none lost more than {LOSS}")


def macro_rule(name: str, found: Sequence[Difference]) -> Rule:
    """No macro-F1 is lower beyond noise."""
    macro = [d for d in found if d.figure.startswith("macro_f1/")]
    said = [f"{d.figure} {d.before:.3f} → {d.after:.3f}" + " lower beyond noise" * (d.interval[1] < 0) for d in macro]
    passed = all(d.interval[1] >= 0 for d in macro)
    return Rule(name=f"macro/{name}", passed=passed, detail="; ".join(said) or "no label is due")


def marks_rule(name: str, after: Mapping[str, float], marks: Mapping[str, float], margins: Mapping[str, float]) -> Rule:
    """No figure lies further below its mark than its margin says."""
    below = [
        f"{figure} {value:.3f}, with a mark of {marks[figure]:.3f}"
        for figure, value in after.items()
        if value < marks[figure] - margins[figure]
    ]
    return Rule(name=f"marks/{name}", passed=not below, detail="; ".join(below) or "none is far below the best before")


def marks(earlier: Verdict | None, digest: str, before: Mapping[str, float]) -> dict[str, float]:
    """The best of each figure by a digest: what the champion's own verdict kept if it passed, and its own."""
    held = earlier.best.get(digest, {}) if earlier and earlier.passed else {}
    return {figure: max(held.get(figure, 0.0), value) for figure, value in before.items()}


def digest_of(*parts: str) -> str:
    """What marks are kept by: the passages, and the labels over which macro-F1 is a mean."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def margins(outcome: Outcome) -> dict[str, float]:
    """How far below its mark each figure that has one may lie: F1 of labels with enough passages, and the macros."""
    due = {output.key: int(n) for output, n in zip(outcome.outputs, outcome.truth.sum(axis=0), strict=True)}
    few = {f"f1/{key}" for key, n in due.items() if n < LEAST_DUE}
    return {figure: margin for figure, margin in gate.margins(due).items() if figure not in few}


def bounded(name: str, before: float, after: float, bound: float) -> Rule:
    """A figure that should be low: within its bound, or no higher than the champion's."""
    return Rule(
        name=name, passed=after <= max(bound, before), detail=f"{before:.4g} → {after:.4g}, with a bound of {bound:.4g}"
    )


def turn_rule(before: Direction, after: Direction) -> Rule:
    """Turns of one kind are seen often enough, or missed no more often than before beyond noise (a sign test)."""
    broken, mended = set(after.failed) - set(before.failed), set(before.failed) - set(after.failed)
    return Rule(
        name=f"turns/{after.name}",
        passed=bool(after.turned >= behaviour.LEAST_TURNED or not beyond_noise(len(broken), len(mended))),
        detail=f"{before.turned:.1%} → {after.turned:.1%}; pairs mended {len(mended)}, broken {len(broken)}",
    )


def beyond_noise(worse: int, better: int) -> bool:
    """Whether more became worse than better, of what changed: a sign test at 2.5%."""
    changed = int(worse + better)
    return changed > 0 and bool(binomtest(int(worse), changed, alternative="greater").pvalue <= 0.025)


def speed_rule(ratios: Sequence[float]) -> Rule:
    """ratios: the candidate's time against the champion's, of rounds side by side. Refused where 3 in 4 agree."""
    middle, low = np.quantile(ratios, [0.5, 0.25])
    return Rule(
        name="speed",
        passed=bool(middle <= SLOWER or low <= 1),
        detail=f"{middle:.2f} times the champion's time ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"with a bound of {SLOWER}",
    )


def flips(name: str, before: Outcome, after: Outcome) -> list[Flip]:
    """The passages of a set that two models label differently, those with most labels broken first."""
    keys = [output.key for output in before.outputs]
    found = []
    for n in map(int, np.flatnonzero((before.flags != after.flags).any(axis=1))):
        truth, earlier, later = before.truth[n], before.flags[n], after.flags[n]
        found.append(
            Flip(
                set=name,
                passage=before.examples[n].id,
                text=before.examples[n].text,
                due=_named(keys, truth),
                before=_named(keys, earlier),
                after=_named(keys, later),
                mended=_named(keys, (earlier != truth) & (later == truth)),
                broken=_named(keys, (earlier == truth) & (later != truth)),
            )
        )
    return sorted(found, key=lambda flip: len(flip.mended) - len(flip.broken))


def _named(keys: Sequence[str], flags: Sequence[bool]) -> tuple[str, ...]:
    return tuple(key for key, flag in zip(keys, flags, strict=True) if flag)


def time_ratios(before: Classifier, after: Classifier, texts: Sequence[str]) -> list[float]:
    """The time of one model against that of another over the same texts, ROUNDS times side by side."""
    ratios = []
    for number in range(ROUNDS + 1):
        seconds = []
        for loaded in (before, after):
            started = time.perf_counter()
            loaded.scores(texts)
            seconds.append(time.perf_counter() - started)
        if number:  # the first round warms up
            ratios.append(seconds[1] / seconds[0])
    return ratios


def invariance_rules(before: Classifier, after: Classifier) -> list[Rule]:
    """What must not move a label."""
    cases = behaviour.bases()
    pairs = zip(behaviour.invariances(cases, before), behaviour.invariances(cases, after), strict=True)
    return [bounded(f"invariance/{old.name}", old.flipped, new.flipped, behaviour.MOST_FLIPPED) for old, new in pairs]


def turns(before: Classifier, after: Classifier) -> tuple[str, list[Direction], list[Direction]]:
    """What must move one, on the labels that both models have: a digest of the cases, and what each model saw."""
    keys = set(shared(before, after))
    cases = [turn for turn in behaviour.turns(taxonomy.load()) if {*turn.on, *turn.off} <= keys]
    digest = digest_of(*(case.model_dump_json() for case in cases))
    return digest, behaviour.directions(cases, before), behaviour.directions(cases, after)


def unseen_rules(name: str, before: Outcome | None, after: Outcome) -> list[Rule]:
    """Labels that F1 does not hold: those due nowhere among the passages, and those that the champion does not have.

    before: of the champion, None for labels that it does not have. A label due nowhere, or in too few passages to tell,
    is given to few; a new one that is due in more is better than if it were given to all of them.
    """
    rules = []
    for column, output in enumerate(after.outputs):
        due, given = after.truth[:, column].mean(), after.flags[:, column].mean()
        if before is None and after.truth[:, column].sum() >= LEAST:
            f1 = 2 * (after.truth[:, column] & after.flags[:, column]).mean() / (due + given)
            everywhere = 2 * due / (1 + due)
            detail = f"F1 {f1:.3f}; given to all passages it would be {everywhere:.3f}"
            rules.append(Rule(name=f"new/{name}/{output.key}", passed=bool(f1 > everywhere), detail=detail))
        elif before is None:
            detail = f"due in {due:.1%} of the passages, and given to {given:.1%}, with a bound of {due + MOST:.1%}"
            rules.append(Rule(name=f"new/{name}/{output.key}", passed=bool(given <= due + MOST), detail=detail))
        elif not due:
            earlier, later = before.flags[:, column], after.flags[:, column]
            more = beyond_noise((later & ~earlier).sum(), (earlier & ~later).sum())
            detail = f"due nowhere, and given to {earlier.mean():.1%} → {given:.1%} of the passages"
            passed = bool(given <= earlier.mean() + MORE) or not more
            rules.append(Rule(name=f"not due/{name}/{output.key}", passed=passed, detail=detail))
    return rules


def all_labels(loaded: Classifier) -> list[str]:
    """The labels that a model has."""
    return [output.key for output in loaded.manifest.outputs]


def shared(before: Classifier, after: Classifier) -> list[str]:
    """The labels that both models have, in the candidate's order."""
    held = set(all_labels(before))
    return [key for key in all_labels(after) if key in held]


def gone_rule(before: Classifier, after: Classifier) -> Rule:
    """No label of the champion is gone: who meant that promotes by hand."""
    gone = sorted(set(all_labels(before)) - set(all_labels(after)))
    return Rule(name="labels kept", passed=not gone, detail=f"gone: {', '.join(gone)}" if gone else "all")


def floor_rules(
    before: Classifier, after: Classifier, sets: Mapping[str, Sequence[Example]], held: gate.Floors
) -> list[Rule]:
    """No figure is below its floor, on each set of passages whose name has floors.

    Where the passages are others than the floors were measured on, a figure may be as low as the champion's, of the
    labels that both models have.
    """
    rules = []
    for name in [name for name in sets if name in held.sets]:
        examples, kept = sets[name], held.sets[name]
        floors, others = dict(kept.floors), dataset.digest(examples) != kept.data_sha256
        both = shared(before, after)
        # A label that is new to floors and champion is none that anybody looked for in these passages.
        keys = both if others else [key for key in all_labels(after) if key in both or f"f1/{key}" in floors]
        if others:
            reached = gate.figures(evaluate.report(outcome_of(before, examples, keys)))
            floors = {figure: min(floor, reached.get(figure, 0.0)) for figure, floor in floors.items()}
        below = gate.breaches(evaluate.report(outcome_of(after, examples, keys)), floors)
        detail = "; ".join(below) or "none is below" + " it and the champion's, on other passages" * others
        rules.append(Rule(name=f"floors/{name}", passed=not below, detail=detail))
    return rules or [Rule(name="floors", passed=True, detail="none are kept for these passages")]


def compare(
    before: Classifier,
    after: Classifier,
    root: Path,
    sets: Mapping[str, Sequence[Example]],
    corrections: Sequence[Example],
    floors: gate.Floors,
) -> Verdict:
    """The verdict on a candidate of the model store `root`.

    sets: the frozen test passages by name of their set, the fullest last. corrections: those held out, maybe none.
    """
    keys = shared(before, after)
    new = [key for key in all_labels(after) if key not in keys]
    earlier = verdicts.kept(root, before.version)
    best = dict(earlier.best) if earlier else {}
    rules = [gone_rule(before, after), *floor_rules(before, after, sets, floors)]
    comparisons: list[Comparison] = []
    flipped: list[Flip] = []
    held: list[tuple[str, dict[str, float], dict[str, float], dict[str, float]]] = []
    *_, fullest = sets
    for name, examples in {fullest: sets[fullest], CORRECTIONS: corrections}.items():
        if not examples:
            continue
        pair = outcome_of(before, examples, keys), outcome_of(after, examples, keys)
        found = differences(*pair)
        documents, digest = len({e.document for e in examples}), dataset.digest(examples)
        comparisons.append(
            Comparison(
                name=name, data_sha256=digest, passages=len(examples), documents=documents, differences=found
            )
        )  # fmt: skip
        flipped += flips(name, *pair)
        if len(examples) < LEAST:
            few = f"{len(examples)} passages alone, too few to tell"
            rules.append(Rule(name=f"labels/{name}", passed=name == CORRECTIONS, detail=few))
        else:
            rules += [labels_rule(name, found), macro_rule(name, found), *unseen_rules(name, *pair)]
        if name == fullest:
            allowed = margins(pair[0])
            kept = [d for d in found if d.figure in allowed]
            key = digest_of(digest, *sorted(d.figure for d in found))
            if new:
                rules += unseen_rules(name, None, outcome_of(after, examples, new))
            held.append((key, {d.figure: d.before for d in kept}, {d.figure: d.after for d in kept}, allowed))
            old_error, new_error = (evaluate.report(outcome).calibration_error for outcome in pair)
            rules.append(bounded("calibration error", old_error, new_error, CALIBRATION_ERROR))
    rules += invariance_rules(before, after)
    digest, *seen = turns(before, after)
    rules += [turn_rule(*both) for both in zip(*seen, strict=True)]
    old_turned, new_turned = ({f"turned/{turn.name}": turn.turned for turn in found} for found in seen)
    held.append((digest, old_turned, new_turned, dict.fromkeys(new_turned, TURNED)))
    old_bytes, new_bytes = ((root / loaded.version / manifest.MODEL).stat().st_size for loaded in (before, after))
    rules.append(bounded("bytes", old_bytes, new_bytes, BYTES))
    rules.append(speed_rule(time_ratios(before, after, [e.text for e in sets[fullest][:TIMED]])))
    for name, (digest, old, figures, allowed) in zip((fullest, "turns"), held, strict=True):
        best[digest] = marks(earlier, digest, old)
        rules.append(marks_rule(name, figures, best[digest], allowed))
    passed = all(rule.passed for rule in rules)
    if passed:
        for digest, _, figures, _ in held:
            best[digest] = {figure: max(mark, figures[figure]) for figure, mark in best[digest].items()}
    return Verdict(
        candidate=after.version, champion=before.version, created=datetime.now(UTC).replace(microsecond=0),
        passed=passed, rules=tuple(rules), comparisons=tuple(comparisons), new=new_labels(after, new, sets[fullest]),
        best=best, flips=tuple(flipped),
    )  # fmt: skip


def new_labels(after: Classifier, keys: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
    """F1 of the labels that the champion does not have."""
    if not keys:
        return {}
    report = evaluate.report(outcome_of(after, examples, all_labels(after)))
    return {label.key: label.f1 for label in report.labels if label.key in keys}


def page(found: Verdict) -> str:
    """One self-contained HTML page."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    return environment.from_string(_PAGE.read_text(encoding="utf-8")).render(verdict=found)


def main(
    candidate: Annotated[str, typer.Argument(help="Version or alias.")],
    against: Annotated[str, typer.Option(help="Version or alias that it would follow.")] = registry.CHAMPION,
    store: StoreOption = registry.PACKAGED,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled passages (JSONL), of which the test split counts; may be repeated. Default: ours."),
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="Corrections, from `candour labels pull`, of which the test split counts.")
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="A .json or .html file, with passages; may be repeated."),
    ] = None,
) -> None:
    """Hold a candidate against the champion, and keep the verdict in the store. Exits 3 where it is refused.

    Example: python -m training.verdict candidate -o verdict.html -o verdict.json
    """
    for path in output or []:
        if path.suffix.lower() not in (".json", ".html"):
            raise typer.BadParameter(f"{path}: the ending must be .json or .html", param_hint="--output")
    labelling = taxonomy.load()
    root = Registry(store)
    before, after = (classifier.load(root.resolve(name).name, store) for name in (against, candidate))
    sets = gate.held_out(labelling, data)
    if not all(sets.values()):
        raise DatasetError([RowError("data", 0, "no passage falls into the test split")])
    corrected = splits.divide(dataset.load([corrections], labelling))["test"] if corrections else []
    found = compare(before, after, store, sets, corrected, gate.read())
    for path in output or []:
        text = page(found) if path.suffix.lower() == ".html" else found.model_dump_json(indent=1) + "\n"
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    verdicts.keep(store, found)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for rule in found.rules:
        console.print(f"{'passed' if rule.passed else 'REFUSED'}  {rule.name}: {rule.detail}", markup=False)
    console.print(f"{found.candidate} {'passed' if found.passed else 'is refused'} against {found.champion}")
    raise typer.Exit(0 if found.passed else REFUSED)


if __name__ == "__main__":
    console_script(main)
