"""docs/results.md, filled from the JSON of the stages; a stage that was not run says so."""

# ruff: noqa: E501  (the lines of a page)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common import CONTESTS, DECODER, SEVEN, STEPS, Work
from projection import BESIDE, DECODER_STRENGTH, ENTANGLED, LEAKS, ROWS

from hspace.atomic import writing
from hspace.benchmark import table
from hspace.faces import FACTORS
from hspace.plot import contest

HEAD = """# Results of supervised directions, projection and inversion

Everything here is written by one command, `python recipes/results --work results`; nothing is filled in by hand but the
notes. faces64 with its bundled scorer, {steps} steps of DDIM (eta 0), asymmetric injection, {dtype}, unless a section says
otherwise; strengths are standard deviations of h along the direction, changes of a factor are standard deviations of the
population of portraits. Fresh seeds are seeds that no direction was found with.
"""


def write(work: Work) -> None:
    parts = [HEAD.format(steps=STEPS, dtype=str(work.dtype).removeprefix("torch."))]
    sections = (
        *(_annotated, _projection, _projection_decoder, _contest, _swapped, _variants, _efficiency, _inversion, _anime),
    )
    for section in sections:
        try:
            parts.append(section(work))
        except (FileNotFoundError, KeyError):
            parts.append(f"## {(section.__doc__ or '').rstrip('.')}\n\nNot run, or not to its end.\n")
    notes = work.docs / "results-notes.md"
    if notes.exists():
        parts.append(notes.read_text())
    with writing(work.docs / "results.md") as partial:
        partial.write_text("\n".join(parts))


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _largest(change: Mapping[str, float], names: Sequence[str]) -> str:
    """The factor that changes most."""
    return max(names, key=lambda name: abs(change[name]))


def _annotated(work: Work) -> str:
    """Annotated directions."""
    response, labelled = work.read("response"), work.read("labelled")
    accuracy = work.read("annotated")["accuracy"]
    rows = []
    for name in SEVEN:
        change, error = response[name]["change"], response[name]["error"]
        other = _largest(change, [each for each in FACTORS if each != name])
        rows.append(
            [
                name,
                " ".join(f"{x:+.2f}" for x in response[name]["own"]),
                f"{response[name]['spearman']:.2f}",
                f"{change[name]:+.2f} ± {error[name]:.2f}",
                f"{other} {change[other]:+.2f}",
                f"{labelled['cosine'][name]:+.2f}",
                " / ".join(f"{max(accuracy[name][each]):.2f}" for each in ("mean", "svm", "logistic")),
            ]
        )
    monotone = sum(response[name]["spearman"] >= 0.95 for name in SEVEN)
    alike = sum(labelled["cosine"][name] >= 0.5 for name in SEVEN)
    head = ["factor", "own score at -3 .. 3", "Spearman", "change -3 to 3", "largest other", "cosine", "accuracy"]
    return f"""## Annotated directions

`hspace.Annotated` on 1,000 samples, 100 extremes at each end, all factors from one pass; then 64 fresh seeds at five
strengths. *Cosine* is that with the direction of `hspace.Labelled` from 20 + 20 rendered portraits, those with the most and
the least of the factor among 200, inverted by DDIM. *Accuracy* is the cross-validated balanced accuracy by which h at the
best timestep tells both ends apart: nearest mean / linear SVM / logistic regression.

{_table(head, rows)}
Spearman is at least 0.95 for {monotone} of {len(SEVEN)} (bar: five); the cosine is at least 0.5 for {alike} of {len(SEVEN)}.
"""


def _projection(work: Work) -> str:
    """Effect matrices before and after projection."""
    found = work.read("projection")
    table, figures = _matrix(found, ROWS)
    return f"""## Effect matrices before and after projection

### At the bottleneck

Each of five annotated directions without the other four and without hair_tone (`a.without(b, c, d, e, f)`, one projector
across all timesteps), brought back to the unit of strength. Change of every factor between -3 and 3, before → after, on 64
fresh seeds before ({found["seeds"]} for skin) and {found["seeds"]} after. The last column is the largest change of a factor
that is not among the rows.

{table}
{figures}
"""


def _projection_decoder(work: Work) -> str:
    """Effect matrices where the decoder draws the factors."""
    found = work.read("projection-decoder")
    names, damage = (*ENTANGLED, *BESIDE), found["damage"]
    table, figures = _matrix(found, ENTANGLED)
    beside, figures_beside = _matrix(found, names)
    without = "; ".join(f"{name} without {', '.join(others)}" for name, others in found["without"].items() if others)
    rows = [[name, f"{damage['before'][name]:.1f}", f"{damage['after'][name]:.1f}"] for name in names]
    return f"""### At {DECODER}, in the decoder

The same with h read and moved at {DECODER} (128 x 32 x 32): directions from the extremes of the same 1,000 scores, the means
alone. Change between -{DECODER_STRENGTH:g} and {DECODER_STRENGTH:g}, which keeps the ends near the population, on {found["seeds"]} fresh seeds before and
after. A direction is without those of the others that it changes by more than {LEAKS:g} of its own change: {without}. The others stay as they were.

{table}
{figures}

With {", ".join(BESIDE)} as a row more:

{beside}
{figures_beside}

Damage: Frechet distance of the twelve scores of the {2 * found["seeds"]} pictures at both ends of a row from those of 1,000 rendered
portraits; the change that is meant counts too. As many unedited samples: {damage["unedited"]:.1f}.

{_table(["edit", "before", "after"], rows)}
The projected directions up to 3, twice as far as in the tables:

![The projected directions at {DECODER}](projection-decoder.png)
"""


def _matrix(found: Mapping[str, Any], names: Sequence[str]) -> tuple[str, str]:
    """The table of changes, before and after, and what the bars ask of it."""
    rows, leaks, own_largest = [], {}, {}
    for label in ("before", "after"):
        change = {name: found[label][name]["change"] for name in names}
        leak = [
            sum(abs(change[name][o]) for o in names if o != name) / (len(names) - 1) / abs(change[name][name])
            for name in names
        ]
        leaks[label] = sum(leak) / len(names)
        own_largest[label] = sum(_largest(change[name], names) == name for name in names)
    for name in names:
        cells: list[Any] = [name]
        for other in names:
            before, after = (found[label][name]["change"][other] for label in ("before", "after"))
            cells.append(f"**{before:+.2f} → {after:+.2f}**" if other == name else f"{before:+.2f} → {after:+.2f}")
        after_all = found["after"][name]["change"]
        worst = _largest(after_all, [each for each in FACTORS if each not in names])
        cells.append(f"{worst} {after_all[worst]:+.2f}")
        rows.append(cells)
    errors = [max(found[label][name]["error"][o] for name in names for o in names) for label in ("before", "after")]
    ratio = leaks["after"] / leaks["before"]
    met = ratio <= 0.5 and own_largest["after"] == len(names)
    figures = f"""Own factor largest in {own_largest["before"]} of {len(names)} rows before and {own_largest["after"]} of {len(names)} after (bar: all). Mean leak,
|change of another| / |own change|: {leaks["before"]:.2f} before, {leaks["after"]:.2f} after, {ratio:.2f} of it (bar: 0.5). {"Both bars are met" if met else "A bar is missed"}.
Standard errors are at most {errors[0]:.2f} before and {errors[1]:.2f} after."""
    return _table(["edit", *names, "largest of the rest, after"], rows), figures


def _swapped(work: Work) -> str:
    """What comes with h."""
    found = work.read("swapped")
    rows = [
        [name, *(f"{found[mode][name][key]:+.2f}" for mode in found for key in ("donor", "receiver"))]
        for name in FACTORS
    ]
    return f"""## What comes with h

`hspace.swap`: h of 100 samples replaced by that of 100 others at all timesteps. Least squares, score(swapped) =
a score(donor) + b score(receiver) + c: *a* is what comes with h, *b* what stays with x_T and the skip connections.

{_table(["factor", "a, symmetric", "b, symmetric", "a, asymmetric", "b, asymmetric"], rows)}"""


def _variants(work: Work) -> str:
    """Why some factors hardly move."""
    found = work.read("variants")
    names = list(next(iter(found.values())))
    rows = [[label, *(f"{row[name]:+.2f}" for name in names)] for label, row in found.items()]
    return f"""## Why some factors hardly move

Change of the own factor between -3 and 3 (or as said) on 8 fresh seeds (64 in the first row), for directions found or used in other ways.

{_table(["variant", *names], rows)}"""


def _efficiency(work: Work) -> str:
    """How many labelled examples."""
    data = work.read("efficiency")
    rows = [
        [label, *(f"{x:+.2f} ± {e:.2f}" for x, e in zip(curve["change"], curve["error"], strict=True))]
        for label, curve in data["found"].items()
    ]
    return f"""## How many labelled examples

Change of {data["factor"]} on 16 fresh seeds along the mean difference of n + n samples, drawn at random from those of the
highest and of the lowest 30 percent, in h and in x_T (figure 8a of Haas et al.).

![Effect against the number of labelled examples](sample-efficiency.png)

{_table(["space, strengths", *map(str, data["sizes"])], rows)}"""


def _inversion(work: Work) -> str:
    """Inversion."""
    found = work.read("inversion")
    rows = [
        [name, f"{x['mean']:.1f} dB", f"{x['least']:.1f} dB", f"{x['batch_and_single_differ_by']:.1e}"]
        for name, x in found.items()
    ]
    head = ["method", "mean PSNR", "least", "x_T in a batch and alone differ by (2 pictures)"]
    return f"""## Inversion

32 held-out portraits, 50 steps, float32 (bars: 30 dB with refinement, 60 dB for edit-friendly inversion).

{_table(head, rows)}"""


def _anime(work: Work) -> str:
    """A model of others, real pictures."""
    inversion, labelled = work.read("anime-inversion"), work.read("anime-labelled")
    rows = [[name, f"{x['mean']:.1f} dB", f"{x['least']:.1f} dB"] for name, x in inversion.items()]
    by = [
        [name, *labelled["counts"][name], *(f"{mean:.2f} / {best:.2f}" for mean, best in accuracy.values())]
        for name, accuracy in labelled["accuracy"].items()
    ]
    head = ["column", "positives", "negatives", "mean", "svm", "logistic"]
    return f"""## A model of others, real pictures

The published anime model of [recipes/own_network.py](../recipes/own_network.py), bfloat16, 20 steps from t = 292. 32 of the
pictures that it was trained on, inverted:

{_table(["method", "mean PSNR", "least"], rows)}
`hspace.Labelled` on real pictures with labels that a detector measured: the 100 with the highest and the 100 with the lowest
value of each column, edit-friendly inversion, each picture inverted once. Cross-validated balanced accuracy of h, mean over t
/ at the best t:

{_table(head, by)}
![The directions on inverted pictures](anime-labelled-photos.png)

![The same on fresh samples](anime-labelled-samples.png)
"""


def _contest(work: Work) -> str:
    """Methods side by side."""
    first = work.read(f"benchmark-{CONTESTS[0]}")
    setting = first["setting"]
    parts = [
        f"""## Methods side by side

`hspace benchmark`: every method gets at most about {setting["calls"]:,} calls of the network to find {setting["directions"]} directions
(supervised ones: one for each of the {len(setting["factors"])} factors), on {len(setting["timesteps"])} steps of DDIM (eta 0, {setting["dtype"]}). Then
all of them go into the same {setting["samples"]} fresh samples at -{setting["strength"]:g} and {setting["strength"]:g}, with both injections. A
call is one pass of the network for one picture; backward passes and parts of the network count by their arithmetic.

*Recovered*: factors that are the largest change of some direction, by one standard deviation of the population and two
standard errors or more;
*pure*: those of them with a direction that moves them by at least half of the sum of its changes; *on target*:
supervised directions that move their own factor most, and upwards. Effect, selectivity, consistency (of what each direction
moves most), damage (Frechet distance of the twelve scores at both ends from those of the same samples unedited) and pixel
(root mean square change) are means over the directions. Damage counts what is meant to change, too: it says something
only between rows of equal effect. Methods in italics are controls: random directions as long as the principal components,
in all of h and within their span, random ones of x_T, and the annotated method with shuffled scores. The annotated method
learns from the same scorer that judges all, the labelled one from the true factors of rendered portraits; nothing has
seen the seeds that are edited.
"""
    ]
    for tap in CONTESTS:
        try:
            found = work.read(f"benchmark-{tap}")
        except FileNotFoundError:
            continue
        where = "the bottleneck" if tap == "mid_block" else "the first block of the decoder"
        picture = f"benchmark-{tap.replace('.', '')}.png"
        with writing(work.docs / picture) as partial:
            contest(found["rows"], len(found["setting"]["factors"])).savefig(partial, dpi=110)
        best = "; ".join(_best(row) for row in found["rows"] if row["recovered"] and not row["control"])
        parts.append(
            f"""### h at {tap}, {where}

    {found["command"]}

{table(found)}
![Factors recovered, purely and at all, and damage, by method, at {tap}]({picture})

What was recovered, with the largest change: {best}.
"""
        )
    return "\n".join(parts)


def _best(row: Mapping[str, Any]) -> str:
    kind = row["injection"] if row["space"] == "h" else "x_T"
    factors = ", ".join(f"{name} {value:.1f}" for name, value in sorted(row["best"].items(), key=lambda x: -x[1]))
    return f"**{row['method']}** ({kind}) {factors}"
