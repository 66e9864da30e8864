"""Signs that a model's gradients are masked: attacks fail, though images that fool it are near.

They are Athalye, Carlini and Wagner's (2018) and Carlini et al.'s (2019), each with one number to
tell it by. A model without any may still be weaker than it seems, by attacks that nobody has tried.
"""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = 1.0
"""Points of accuracy by which an attack has to beat another one; at least one image."""

REACHED = 1.0
"""Accuracy, in percent, that an attack without bounds has to come down to."""

VANISHED = 1.0
"""Share of images, in percent, whose gradient may be zero everywhere."""


@dataclass(frozen=True)
class Sign:
    """One sign, looked for.

    Attributes:
        name: What would be suspicious.
        found: Whether it was seen; None if it was not looked for.
        says: The numbers, in a sentence.
    """

    name: str
    found: bool | None
    says: str


@dataclass(frozen=True)
class Accuracies:
    """Accuracy of a model in percent, on the same images under several attacks of one size.

    Attributes:
        images: How many images.
        pgd: Under the attack whose number is in question.
        more_steps: Under the same with many more steps.
        restarts: Under the same from several starts.
        one_step: Under one step.
        black_box: Under an attack that asks for scores alone.
        unbounded: Under an attack that may change pixels to anything.
        zero_gradients: Not an accuracy: share of images whose gradient is zero everywhere.
        transfer: On images made against another model; None if there is none.
    """

    images: int
    pgd: float
    more_steps: float
    restarts: float
    one_step: float
    black_box: float
    unbounded: float
    zero_gradients: float
    transfer: float | None = None

    @property
    def white_box(self) -> float:
        """Under the strongest of the attacks that climb the model's own gradient for many steps."""
        return min(self.pgd, self.more_steps, self.restarts)

    @property
    def lowest(self) -> float:
        """Under the strongest of all attacks of the size in question."""
        known = [self.white_box, self.one_step, self.black_box]
        return min(known if self.transfer is None else [*known, self.transfer])


def signs(found: Accuracies) -> list[Sign]:
    """Looks for each sign."""
    tolerance = max(TOLERANCE, 100 / found.images)

    def beats(stronger: float, weaker: float) -> bool:
        return weaker - stronger > tolerance + 1e-6

    transfer = Sign("images made against another model do better", None, "there is no other model")
    if found.transfer is not None:
        transfer = Sign(
            transfer.name,
            beats(found.transfer, found.white_box),
            f"{found.transfer:.2f} % stay right, under the model's own gradient "
            f"{found.white_box:.2f} %",
        )
    return [
        Sign(
            "more steps do better",
            beats(found.more_steps, found.pgd),
            f"{found.more_steps:.2f} % stay right, with few steps {found.pgd:.2f} %",
        ),
        Sign(
            "more starts do better",
            beats(found.restarts, found.pgd),
            f"{found.restarts:.2f} % stay right, from one start {found.pgd:.2f} %",
        ),
        Sign(
            "one step does better than many",
            beats(found.one_step, found.pgd),
            f"{found.one_step:.2f} % stay right, with many steps {found.pgd:.2f} %",
        ),
        Sign(
            "an attack without gradients does better",
            beats(found.black_box, found.white_box),
            f"{found.black_box:.2f} % stay right, under the model's own gradient "
            f"{found.white_box:.2f} %",
        ),
        transfer,
        Sign(
            "an attack without bounds fails",
            found.unbounded > REACHED,
            f"{found.unbounded:.2f} % stay right, and it should be {REACHED:g} % at most",
        ),
        Sign(
            "gradients are zero",
            found.zero_gradients > VANISHED,
            f"of {found.zero_gradients:.2f} % of the images, and it should be {VANISHED:g} % at "
            "most",
        ),
    ]


def verdict(found: Accuracies, looked: list[Sign]) -> str:
    """What the signs come to, in a sentence."""
    seen = [sign.name for sign in looked if sign.found]
    if not seen:
        return f"no sign of masked gradients; accuracy under attack is {found.lowest:.2f} % at most"
    return (
        f"accuracy under PGD, {found.pgd:.2f} %, is not to be trusted: {'; '.join(seen)}. It is "
        f"{found.lowest:.2f} % at most"
    )
