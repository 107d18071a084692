"""A finding that was made on a sample of the requests, and says so wherever it says anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.report.section import Section

    from .finding import Finding, Series


NOTE = (
    "The recording is larger than what is held at once. The comparison, its timeline, the delays and the weighted means count every request; "
    "what says that it is on a share of the requests was worked out on those, each whole, drawn by a hash of its id: counts and sums "
    "in it are of the sample, and its intervals are those of so many requests."
)


@dataclass(frozen=True)
class Sampled:
    """What some requests show of a recording that was not held whole; which ones hangs on their ids alone.

    Args:
        of: the finding.
        share: of all requests, how many it was made on.
    """

    of: Finding
    share: float

    @property
    def doubts(self) -> tuple[str, ...]:
        """Those of the finding."""
        return tuple(f"{doubt} ({self._drawn})" for doubt in self.of.doubts)

    def to_dict(self) -> dict[str, Any]:
        """Its keys, with `sampled`, the share, in each of them, or in every entry of a list."""
        return {key: self._marked(value) for key, value in self.of.to_dict().items()}

    def draw(self) -> Section:
        """The same with the share in every sentence and caption."""
        part = self.of.draw()
        return replace(
            part,
            sentences=tuple(f"{sentence} ({self._drawn})" for sentence in part.sentences),
            tables=tuple(replace(table, caption=f"{table.caption} ({self._drawn})") for table in part.tables),
            figures=tuple(
                replace(figure, caption=f"{figure.caption.removesuffix('.')} ({self._drawn}).")
                for figure in part.figures
            ),
            notes=(*part.notes, NOTE),
        )

    def series(self) -> Series:
        """Those of the finding."""
        return self.of.series()

    @property
    def _drawn(self) -> str:
        return f"on {self.share:.2%} of the requests, drawn by id"

    def _marked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return value | {"sampled": self.share}
        return [self._marked(each) for each in value] if isinstance(value, list) else value


def sampled(findings: list[Finding], share: float) -> list[Finding]:
    """Findings that say of what share of the requests they were made, where that is not all of them."""
    return findings if share == 1.0 else [Sampled(each, share) for each in findings]
