"""Which numbers are linked to which: compressed sparse rows, ascending in each row."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable


class Links:
    """Rows of numbers, one after the other; ``offsets`` tells where each begins."""

    def __init__(self, offsets: memoryview, targets: memoryview) -> None:
        self.offsets = offsets
        self.targets = targets

    @classmethod
    def of(cls, rows: Iterable[Iterable[int]]) -> "Links":
        offsets, targets = array("I", (0,)), array("I")
        for row in rows:
            targets.extend(row)
            offsets.append(len(targets))
        return cls(memoryview(offsets), memoryview(targets))

    def __len__(self) -> int:
        """Return how many links there are in all."""
        return len(self.targets)

    def size(self, row: int) -> int:
        return int(self.offsets[row + 1] - self.offsets[row])

    def row(self, row: int) -> memoryview:
        return self.targets[self.offsets[row] : self.offsets[row + 1]]

    def holds(self, row: int, target: int) -> bool:
        end = self.offsets[row + 1]
        at = bisect_left(self.targets, target, self.offsets[row], end)
        return at < end and self.targets[at] == target

    def reversed(self, count: int, first: int) -> "Links":
        """Turn the links around: ``count`` rows; the first row here is number ``first``."""
        offsets = array("I", bytes(4 * (count + 1)))
        for target in self.targets:
            offsets[target + 1] += 1
        total = 0
        for row in range(1, count + 1):
            total += offsets[row]
            offsets[row] = total
        place, sources = array("I", offsets), array("I", bytes(4 * total))
        for row in range(len(self.offsets) - 1):
            number = first + row
            for target in self.row(row):
                at = place[target]
                sources[at] = number
                place[target] = at + 1
        return Links(memoryview(offsets), memoryview(sources))
