"""Which groups count for which through nesting: the closure, cycles included."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

_NOBODY: frozenset[int] = frozenset()


def closure(edges: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Return, for each parent of an edge, every other group below it.

    `edges` are (parent, child). The groups of a cycle are below each other; no group
    is below itself. Groups of one cycle share one result, and nothing here recurses,
    so that neither depth nor cycles cost more than their edges.
    """
    children: dict[int, list[int]] = defaultdict(list)
    for parent, child in edges:
        if parent != child:
            children[parent].append(child)
    below: dict[int, frozenset[int]] = {}
    for cycle in _components(children):
        # Tarjan's order: everything that a component points to is already done.
        reached: set[int] = set()
        for group in cycle:
            for child in children[group]:
                if child not in reached:
                    reached.add(child)
                    reached |= below.get(child, _NOBODY)
        everything = frozenset(reached)
        for group in cycle:
            below[group] = everything - {group} if group in everything else everything
    return below


def _components(children: Mapping[int, list[int]]) -> Iterable[list[int]]:
    """Yield strongly connected components, successors first (Tarjan, iterative).

    A group without children is no key of `children`, and in no component.

    https://en.wikipedia.org/wiki/Tarjan%27s_strongly_connected_components_algorithm
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    for root in children:
        if root in index:
            continue
        work = [(root, iter(children[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            for child in rest:
                if child not in children:
                    continue
                if child not in index:
                    index[child] = low[child] = len(index)
                    stack.append(child)
                    on_stack.add(child)
                    work.append((child, iter(children[child])))
                    break
                if child in on_stack:
                    low[node] = min(low[node], index[child])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    yield component
