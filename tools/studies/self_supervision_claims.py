"""Paper B's claims, and whether they hold in the study's numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lth_core.statistics import Interval, spread
from self_supervision_plan import (
    CLOCKS,
    DEPTHS,
    FINE_TUNED,
    LAYER_WISE,
    PRE_PRUNED,
    PRUNED_LATER,
    PRUNING,
    RANDOM,
    REWIND_AT,
    SELF_SUPERVISED,
    WINNING,
    Settings,
    up_to,
)
from study_claims import (
    NOT_IN_PAPER,
    Court,
    Numbers,
    Row,
    Verdict,
    at_least,
    at_least_within,
    greater,
    interval_text,
    paired,
    spread_text,
    within,
)
from study_plan import DENSE, NONE, REINIT

ON_LABELS, FEATURES, FINE_TUNING, ZEROS = "labels", "features", "other", "zeros"
"""Tasks of rows: masks trained on labels, frozen features, fine-tuned networks, exact zeros."""

MUCH, TOO_MUCH = 0.90, 0.95
"""Features hold up to 90 % pruned, and drop where under 5 % remain (paper B, Fig. 1)."""

PAPERS_ZEROS = 80.3
"""Per cent of a trained ResNet-18's weights that are zero on CIFAR-10 (paper B, Fig. 6)."""


def judge(rows: Sequence[Row], settings: Settings) -> list[Verdict]:
    """All claims, in the order of the report."""
    court = _Court(Numbers(rows, settings.amount), settings)
    return [
        *court.masks(),
        *court.fresh(),
        *court.few_labels(),
        *court.depth(),
        *court.features(),
        *court.fine_tuning(),
        *court.clocks(),
        *court.zeros(),
    ]


class _Court(Court):
    """Goes through the claims."""

    settings: Settings

    def masks(self) -> list[Verdict]:
        """Winning tickets: labels, self-supervision, random (Fig. 3)."""
        group = "masks with their early weights, trained on labels"
        found = [
            self._on_labels(
                group,
                f"Labels is better than {PRUNING[name].title}",
                "clearly better (Fig. 3)",
                ("labels", WINNING),
                (name, WINNING),
            )
            for name in SELF_SUPERVISED
        ]
        found += [
            self._on_labels(
                group,
                f"{PRUNING[name].title} is better than random masks",
                "well above random (Fig. 3)",
                (name, WINNING),
                (NONE, RANDOM),
            )
            for name in ("labels", *SELF_SUPERVISED)
        ]
        return found

    def fresh(self) -> list[Verdict]:
        """The same masks with fresh random weights (Fig. 3)."""
        group = "masks with fresh random weights, trained on labels"
        margin = self.numbers.spread(ON_LABELS, "labels", DENSE, 0).deviation
        found = [
            self._on_labels(
                group,
                f"{PRUNING[name].title} is as good as Labels, within one standard deviation of "
                f"dense ({margin:.2f})",
                "alike (Fig. 3)",
                (name, REINIT),
                ("labels", REINIT),
                lambda difference: within(difference, margin),
            )
            for name in SELF_SUPERVISED
        ]
        found += [
            self._on_labels(
                group,
                f"early weights are better than fresh ones: {PRUNING[name].title}",
                "better for Labels (Fig. 3)" if name == "labels" else NOT_IN_PAPER,
                (name, WINNING),
                (name, REINIT),
            )
            for name in ("labels", *SELF_SUPERVISED)
        ]
        return found

    def few_labels(self) -> list[Verdict]:
        """Few labels with and without self-supervision (Fig. 5)."""
        group = "pruning with a tenth of the labels"
        pairs = (("s4l", "few_labels"), ("few_labels", "rotnet"), ("labels", "s4l"))
        return [
            self._on_labels(
                group,
                f"{PRUNING[better].title} is better than {PRUNING[worse].title}",
                "better (Fig. 5)",
                (better, WINNING),
                (worse, WINNING),
            )
            for better, worse in pairs
        ]

    def depth(self) -> list[Verdict]:
        """Tickets pruned up to a part of the network (Figs. 4 and 9)."""
        level = self.settings.deep
        better, worse = LAYER_WISE

        def gap(mask: str) -> dict[int, float]:
            one, other = (self.numbers.at(ON_LABELS, name, mask, level) for name in LAYER_WISE)
            return {seed: one[seed] - other[seed] for seed in one}

        difference = paired({0: gap(WINNING)}, {0: gap(up_to(DEPTHS[0]))})
        gaps = ", ".join(
            f"{spread(list(gap(mask).values())).mean:+.1f} {where}"
            for where, mask in (*((d, up_to(d)) for d in DEPTHS), ("all", WINNING))
        )
        here = f"{interval_text(difference)} points; gaps up to: {gaps}".replace("-", "−")
        claim = (
            f"the gap between {PRUNING[better].title} and {PRUNING[worse].title} is larger where "
            f"all is pruned than where {DEPTHS[0]} alone is, at {self.percent(level)}"
        )
        return [
            Verdict("tickets layer by layer", claim, "grows (Fig. 4)", here, greater(difference))
        ]

    def features(self) -> list[Verdict]:
        """What frozen features of pruned networks are worth (Fig. 1)."""
        numbers, group = self.numbers, "frozen features of pruned networks"
        much = [k for k in self.chain_levels if numbers.sparsity(k) <= MUCH]
        too_much = [k for k in self.chain_levels if numbers.sparsity(k) > TOO_MUCH]
        found = []
        for name in SELF_SUPERVISED:
            title = PRUNING[name].title
            if much:
                found.append(
                    self._to_dense(
                        group,
                        f"{title}: at the last level up to 90 % pruned as good as dense",
                        "holds up (Fig. 1)",
                        name,
                        much[-1:],
                        at_least_within(numbers.spread(FEATURES, name, DENSE, 0).deviation),
                    )
                )
                if name in FINE_TUNED:
                    found.append(
                        self._to_dense(
                            group,
                            f"{title}: better than dense somewhere below 90 %, on average",
                            "slightly better (Fig. 1)",
                            name,
                            much,
                            greater,
                        )
                    )
            if too_much:
                found.append(
                    self._to_dense(
                        group,
                        f"{title}: worse than dense where less than 5 % remain",
                        "drops (Fig. 1)",
                        name,
                        too_much,
                        lambda difference: greater(_negative(difference)),
                    )
                )
        return found

    def fine_tuning(self) -> list[Verdict]:
        """Pruned in pre-training against pruned on the other task (Fig. 2)."""
        return [
            self.compare(
                "fine-tuning on another task",
                f"pruned in pre-training is better than pruned on the task: {PRUNING[name].title}",
                "better (Fig. 2)",
                FINE_TUNING,
                (name, PRE_PRUNED),
                (name, PRUNED_LATER),
                self.settings.variant_levels,
            )
            for name in FINE_TUNED
        ]

    def clocks(self) -> list[Verdict]:
        """Where to rewind with a tenth of the labels (Fig. 7)."""
        same = next(c for c, at in CLOCKS.items() if at == REWIND_AT["few_labels"])
        return [
            self._on_labels(
                "rewind points with a tenth of the labels",
                f"equal {same} is at least as good as equal {clock}",
                "samples chosen (Fig. 7)",
                ("few_labels", WINNING),
                (clock, WINNING),
                at_least,
            )
            for clock in CLOCKS
            if clock != same
        ]

    def zeros(self) -> list[Verdict]:
        """Weights that training itself has brought to zero (Fig. 6)."""
        found = self.numbers.spread(ZEROS, "labels", DENSE, 0)
        here = f"{spread_text(found)} % of the weights of the dense network trained on labels"
        return [
            Verdict(
                "natural sparsity",
                "most weights come to zero by themselves",
                f"{PAPERS_ZEROS} % on CIFAR-10 (Fig. 6)",
                here,
                "holds" if found.mean > 50 else "does not hold",
            )
        ]

    def _on_labels(
        self,
        group: str,
        claim: str,
        paper: str,
        better: tuple[str, str],
        worse: tuple[str, str],
        decide: Callable[[Interval], str] = greater,
    ) -> Verdict:
        levels = self.settings.levels
        return self.compare(group, claim, paper, ON_LABELS, better, worse, levels, decide)

    def _to_dense(
        self,
        group: str,
        claim: str,
        paper: str,
        name: str,
        levels: Sequence[int],
        decide: Callable[[Interval], str],
    ) -> Verdict:
        sides: Any = ((name, WINNING), (name, DENSE))
        return self.compare(group, claim, paper, FEATURES, *sides, levels, decide)


def _negative(found: Interval) -> Interval:
    return Interval(-found.mean, -found.high, -found.low, found.count)
