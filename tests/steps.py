"""Someone who is told steps, as the progress of a command is."""


class Told:
    """Keeps what it is told: steps done and in all."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def is_whole(self) -> bool:
        """Whether the steps went from the first to the last, of a total that never changed."""
        done, totals = [step for step, _ in self.steps], {total for _, total in self.steps}
        return done == sorted(done) and totals == {done[-1]} and len(set(done)) > 1
