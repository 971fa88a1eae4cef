"""What the rounds of a comparison gave, and how it is told."""

import statistics
from dataclasses import dataclass

__all__ = ["Comparison", "Row"]

Row = dict[str, float]
"""The figures of one router in one round."""


@dataclass
class Comparison:
    """Routers that had their turns in the same rounds; the first one is what the others are compared with."""

    rows: dict[str, list[Row]]
    """A row a round, by router."""

    @property
    def figures(self) -> list[str]:
        return list(next(iter(self.rows.values()))[0])

    def median(self, router: str, figure: str) -> float:
        return statistics.median(row[figure] for row in self.rows[router])

    def ratio(self, router: str, other: str, figure: str) -> float | None:
        """The median of the ratios in each round, as the machine is not equally fast in all of them.

        Rounds in which the other has nothing to compare with are left out; None when all are.
        """
        pairs = zip(self.rows[router], self.rows[other], strict=True)
        ratios = [row[figure] / base[figure] for row, base in pairs if base[figure]]
        return statistics.median(ratios) if ratios else None

    def medians(self) -> dict[str, Row]:
        return {
            router: {figure: self.median(router, figure) for figure in self.figures} for router in self.rows
        }

    def ratios(self) -> dict[str, dict[str, float | None]]:
        """To the first router's, by router."""
        first, *others = self.rows
        return {
            router: {figure: self.ratio(router, first, figure) for figure in self.figures}
            for router in others
        }

    def table(self, way: str) -> str:
        """Markdown: a line for each figure, with its ratios to the first router's and to the floor's."""
        first, *others = self.rows
        heads = [way, first]
        for router in others:
            heads += [router, "ratio", *(["to floor"] if self._has_floor(router) else [])]
        lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
        for figure in self.figures:
            cells = [figure, _number(self.median(first, figure))]
            for router in others:
                cells += [_number(self.median(router, figure)), self._ratio(router, first, figure)]
                cells += [self._ratio(router, "floor", figure)] if self._has_floor(router) else []
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def _has_floor(self, router: str) -> bool:
        return "floor" in self.rows and router != "floor"

    def _ratio(self, router: str, other: str, figure: str) -> str:
        ratio = self.ratio(router, other, figure)
        return "" if ratio is None else f"{ratio:.2f}"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
