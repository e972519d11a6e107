"""What a reader of pictures left out or took otherwise than a user may think."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..images.finding import LeftOut
from ..words import plural

#: Lines of a list that are told; the rest are counted.
TOLD = 20


@dataclass
class Notes:
    """Filled by a reader that is given one.

    Attributes:
        left_out: what a folder holds that is no picture, or is not read.
        lines: lines of a list that were left out, as ("FILE:LINE", reason).
        remarks: sentences about the rest, such as ids that were numbered.
    """

    left_out: LeftOut = field(default_factory=LeftOut)
    lines: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def told(self) -> list[str]:
        """All of it in words, a line each."""
        lines = [f"skipped {place}: {reason}" for place, reason in self.lines[:TOLD]]
        if len(self.lines) > TOLD:
            more = plural(len(self.lines) - TOLD, "more line")
            lines.append(f"skipped {more}: {plural(len(self.lines), 'line')} in all")
        return [*self.left_out.lines(), *lines, *self.remarks]

    def facts(self) -> dict[str, object]:
        """The same as plain values, for JSON."""
        listed = [{"line": place, "reason": reason} for place, reason in self.lines]
        return {**self.left_out.facts(), "lines": listed}
