"""Which worker runs which test, for `--dist loadgroup`.

pytest-xdist 3.8 passes groups on in an attribute of a test that pytest 9.2 no longer
has: with its own scheduler every test would stand alone, and every worker start the
consoles that the browser is shown.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

BROWSER = "tests/browser/"


class BrowserTogether(LoadScopeScheduling):
    """What drives the browser is one worker's; any other test is for whoever is free.

    The browser's tests come first: units are handed out by their size.
    """

    def _split_scope(self, nodeid: str) -> str:
        return BROWSER if nodeid.startswith(BROWSER) else nodeid

    def mark_test_complete(
        self, node: WorkerController, item_index: int, duration: float = 0
    ) -> None:
        # All units of a worker are looked through whenever one of its tests ends; with
        # a unit for each of thousands of tests, those that are done have to go.
        units = self.assigned_work[node]
        for scope in [scope for scope, unit in units.items() if all(unit.values())]:
            del units[scope]
        super().mark_test_complete(node, item_index, duration)
