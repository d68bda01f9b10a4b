from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoping.verdict import (
    Derivation,
    Joined,
    Verdict,
    all_of,
    any_of,
    conjunction,
    disjunction,
    mark_decisive,
    nodes,
    none_of,
    oldest_decisive_fact,
    smallest_change,
)

IN, OUT, UNKNOWN = Verdict.IN, Verdict.OUT, Verdict.UNKNOWN
verdicts = st.sampled_from(Verdict)


def leaf(verdict: Verdict, name: str = "x", *, day: int = 1) -> Derivation:
    return Derivation(
        claim=name,
        verdict=verdict,
        as_of=datetime(2026, 11, day, tzinfo=UTC),
        turn_in=f"{name} in",
        turn_out=f"{name} out",
        settle=f"{name} settled" if verdict is UNKNOWN else "",
    )


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [
        pytest.param(IN, IN, IN, IN, id="in and in"),
        pytest.param(IN, OUT, OUT, IN, id="in and out"),
        pytest.param(IN, UNKNOWN, UNKNOWN, IN, id="in decides an or"),
        pytest.param(OUT, OUT, OUT, OUT, id="out and out"),
        pytest.param(OUT, UNKNOWN, OUT, UNKNOWN, id="out decides an and"),
        pytest.param(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, id="unknown stays unknown"),
    ],
)
def test_connectives_are_kleenes(
    left: Verdict, right: Verdict, both: Verdict, either: Verdict
) -> None:
    assert (left & right, right & left) == (both, both)
    assert (left | right, right | left) == (either, either)


def test_negation_keeps_unknown() -> None:
    assert [~IN, ~OUT, ~UNKNOWN] == [OUT, IN, UNKNOWN]


@given(verdicts, verdicts, verdicts)
def test_kleenes_laws_hold(a: Verdict, b: Verdict, c: Verdict) -> None:
    assert (a & b) & c == a & (b & c)
    assert (a | b) | c == a | (b | c)
    assert a & (b | c) == (a & b) | (a & c)
    assert a | (b & c) == (a | b) & (a | c)
    assert ~(a & b) == ~a | ~b
    assert ~~a == a
    assert a & (a | b) == a


def test_nothing_to_meet_is_met_and_nothing_to_match_is_not_matched() -> None:
    assert conjunction([]) is IN
    assert disjunction([]) is OUT


def trees() -> st.SearchStrategy[Derivation]:
    return st.recursive(
        st.builds(leaf, verdicts, st.sampled_from("abcdef")),
        lambda inner: st.builds(
            lambda make, children: make("claim", children),
            st.sampled_from([all_of, any_of, none_of]),
            st.lists(inner, max_size=4),
        ),
        max_leaves=12,
    )


@given(trees())
def test_the_deciding_path_alone_gives_the_same_verdict(tree: Derivation) -> None:
    marked = mark_decisive(tree)

    def only_decisive(node: Derivation) -> Verdict:
        kept = [only_decisive(child) for child in node.children if child.decisive]
        match node.joined:
            case Joined.FACT:
                return node.verdict
            case Joined.ALL:
                return conjunction(kept)
            case Joined.ANY:
                return disjunction(kept)
            case Joined.NOT:
                return ~disjunction(kept)

    assert marked.decisive
    assert only_decisive(marked) is tree.verdict


def turned(node: Derivation, changes: tuple[str, ...]) -> Verdict:
    """The verdict after every named change was made."""
    match node.joined:
        case Joined.FACT:
            made = {
                f"{node.claim} in": IN,
                f"{node.claim} out": OUT,
            }
            chosen = [made[each] for each in changes if each in made]
            return chosen[0] if chosen else node.verdict
        case Joined.ALL:
            return conjunction(turned(child, changes) for child in node.children)
        case Joined.ANY:
            return disjunction(turned(child, changes) for child in node.children)
        case Joined.NOT:
            return ~disjunction(turned(child, changes) for child in node.children)


def numbered(node: Derivation, path: str = "n") -> Derivation:
    """Known leaves with names of their own, so that each can be changed alone."""
    if node.joined is Joined.FACT:
        return leaf(IN if node.verdict is UNKNOWN else node.verdict, path)
    children = [
        numbered(child, f"{path}{place}") for place, child in enumerate(node.children)
    ]
    make = {Joined.ALL: all_of, Joined.ANY: any_of, Joined.NOT: none_of}[node.joined]
    return make(node.claim, children)


@given(trees())
def test_the_smallest_change_turns_the_verdict(tree: Derivation) -> None:
    tree = numbered(tree)
    changes = smallest_change(tree)

    if changes:
        assert turned(tree, changes) is ~tree.verdict
        for left_out in range(len(changes)):
            fewer = changes[:left_out] + changes[left_out + 1 :]
            assert turned(tree, fewer) is tree.verdict


def test_both_causes_have_to_go_when_either_is_enough() -> None:
    tree = any_of("either", [leaf(IN, "a"), leaf(IN, "b"), leaf(OUT, "c")])

    assert smallest_change(tree) == ("a out", "b out")


def test_one_sentence_at_a_node_beats_two_below_it() -> None:
    tree = all_of("both", [leaf(OUT, "a"), leaf(OUT, "b")], turn_in="add it")

    assert smallest_change(tree) == ("add it",)


def test_unknown_names_everything_that_has_to_be_settled_and_nothing_known() -> None:
    either = any_of("either", [leaf(UNKNOWN, "b"), leaf(OUT, "c")])
    tree = all_of("both", [leaf(IN, "a"), either, leaf(UNKNOWN, "d")])

    assert smallest_change(tree) == ("b settled", "d settled")


def test_nothing_is_proposed_where_nothing_helps() -> None:
    assert smallest_change(Derivation(claim="fixed", verdict=OUT)) == ()


def test_a_verdict_is_as_old_as_its_oldest_deciding_fact() -> None:
    tree = any_of("either", [leaf(OUT, day=2), leaf(IN, day=9), leaf(IN, day=5)])

    age = oldest_decisive_fact(mark_decisive(tree))

    assert age == datetime(2026, 11, 5, tzinfo=UTC)
    assert len(list(nodes(tree))) == 4
