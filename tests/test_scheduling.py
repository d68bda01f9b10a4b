"""Browser tests share one worker, whatever pytest and pytest-xdist agree on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from xdist.remote import Producer

from tests.scheduling import BrowserTogether

OTHERS = [f"tests/directory/test_one.py::test_it[{n}]" for n in range(40)]
BROWSER = [f"tests/browser/test_two.py::test_page[{n}]" for n in range(6)]


class Worker:
    """Remembers what it was given, and ends its oldest test when it is told to."""

    gateway = SimpleNamespace(id="gw")
    shutting_down = False

    def __init__(self, scheduler: Any, collected: list[str]) -> None:
        self.given: list[str] = []
        self.ended = 0
        self._scheduler = scheduler
        self._collected = collected
        self._scheduler.add_node(self)
        self._scheduler.add_node_collection(self, collected)

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += [self._collected[index] for index in indices]

    def shutdown(self) -> None:
        self.shutting_down = True

    def end_one(self) -> bool:
        if self.ended == len(self.given):
            return False
        index = self._collected.index(self.given[self.ended])
        self.ended += 1
        self._scheduler.mark_test_complete(self, index)
        return True


def test_browser_tests_are_one_workers_and_begin_first() -> None:
    config: Any = SimpleNamespace(
        getvalue={"tx": ["3*popen"]}.get, option=SimpleNamespace(loadscopereorder=True)
    )
    scheduler = BrowserTogether(config, Producer("", enabled=False))
    collected = OTHERS[:20] + BROWSER + OTHERS[20:]
    workers = [Worker(scheduler, collected) for _ in range(3)]

    scheduler.schedule()
    at_first = [list(worker.given) for worker in workers]
    held = 0
    # One worker is slow, as browsers are.
    while any([workers[1].end_one(), workers[2].end_one()]):
        held = max(held, *map(len, scheduler.assigned_work.values()))

    assert at_first[0] == BROWSER
    assert [len(given) for given in at_first[1:]] == [2, 2], "one by one, not in heaps"
    assert workers[0].given == BROWSER
    assert sorted(workers[1].given + workers[2].given) == sorted(OTHERS)
    assert held <= 4, "units that are done are looked through for ever"
