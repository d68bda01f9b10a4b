import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoping.criteria import (
    FIELDS,
    OPERATORS,
    CircularGroups,
    Criteria,
    CriteriaError,
    Criterion,
    DeviceValues,
    Family,
    Inventory,
    PatternRefused,
    Unknown,
    Value,
    calculation_order,
    check_pattern,
    derive,
    evaluate,
    fields_for,
    parse,
    version_key,
)
from scoping.principal import Broken, NeverReported, Nobody, Principal
from scoping.verdict import Verdict, nodes, smallest_change
from tests.scoping.pretend import ANA, BO, PretendDirectory, ref

IN, OUT, UNKNOWN = Verdict.IN, Verdict.OUT, Verdict.UNKNOWN
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
COMPUTERS = Inventory.COMPUTERS
DIRECTORY = PretendDirectory(
    members={"Frontend": {"Ana"}},
    inside={"Engineering": {"Frontend"}},
    broken={"Lost": Broken.FILTERED},
)


def computer(
    assigned: Principal = ANA,
    groups: dict[str, Verdict] | None = None,
    **values: Value,
) -> DeviceValues:
    by_name = {name.replace("_", " "): value for name, value in values.items()}
    return DeviceValues(
        name="mac-07", values=by_name, groups=groups or {}, assigned=assigned, as_of=NOW
    )


def judge(criteria: Criteria, device: DeviceValues) -> Verdict:
    """The verdict, having seen that the derivation says the same."""
    verdict = evaluate(criteria, device, DIRECTORY, now=NOW)
    assert derive(criteria, device, DIRECTORY, now=NOW).verdict is verdict
    return verdict


def one(name: str, search_type: str, value: str) -> Criteria:
    criterion = Criterion(name=name, search_type=search_type, value=value)
    return parse([criterion], inventory=COMPUTERS)


@pytest.mark.parametrize(
    ("search_type", "value", "model", "expected"),
    [
        pytest.param("is", "macbook pro", "MacBook Pro", IN, id="is, without case"),
        pytest.param("is", "MacBook", "MacBook Pro", OUT, id="is means the whole"),
        pytest.param("is", "", "", IN, id="is empty"),
        pytest.param("is", "", None, IN, id="known to be empty is empty"),
        pytest.param("is", "x", None, OUT, id="known to be empty is nothing else"),
        pytest.param("is not", "x", None, IN, id="known to be empty is not x"),
        pytest.param("is not", "x", "X", OUT, id="is not, without case"),
        pytest.param("is", "Zo\u00e9", "Zoe\u0301", IN, id="NFC"),
        pytest.param("like", "book", "MacBook", IN, id="like is a part"),
        pytest.param("like", "iMac", "MacBook", OUT, id="like something else"),
        pytest.param("not like", "iMac", "MacBook", IN, id="not like"),
        pytest.param("not like", "iMac", None, IN, id="empty is not like it"),
        pytest.param("matches regex", "^mac.*[0-9]$", "MacBook 7", IN, id="regex"),
        pytest.param("matches regex", "^Book", "MacBook", OUT, id="regex anchored"),
        pytest.param("does not match regex", "^Book", "MacBook", IN, id="not regex"),
        pytest.param("matches regex", "a", "a" * 300, UNKNOWN, id="too long to try"),
    ],
)
def test_text(search_type: str, value: str, model: Value, expected: Verdict) -> None:
    assert judge(one("Model", search_type, value), computer(Model=model)) is expected


@pytest.mark.parametrize("search_type", OPERATORS[Family.TEXT])
@pytest.mark.parametrize(
    "device",
    [
        pytest.param(computer(), id="never reported"),
        pytest.param(computer(Model=Unknown(reason="Not read.")), id="not read"),
    ],
)
def test_what_is_not_known_is_neither_equal_nor_different(
    search_type: str, device: DeviceValues
) -> None:
    assert judge(one("Model", search_type, "x"), device) is UNKNOWN


@pytest.mark.parametrize(
    ("search_type", "value", "version", "expected"),
    [
        pytest.param("greater than", "14.9", "14.10", IN, id="by number, not by text"),
        pytest.param("greater than", "14.6", "14.6", OUT, id="not greater than itself"),
        pytest.param(
            "greater than or equal", "14", "14.0.0", IN, id="equal with zeros"
        ),
        pytest.param("less than", "15", "14.6.1", IN, id="less"),
        pytest.param("less than or equal", "14.6", "14.6.1", OUT, id="a patch more"),
        pytest.param("more than", "9", "10.15", IN, id="more than is greater than"),
        pytest.param("is", "14.0", "14", IN, id="equal versions"),
        pytest.param("is not", "14.0", "14", OUT, id="equal versions, denied"),
        pytest.param("like", "14.", "14.6", IN, id="like stays text"),
        pytest.param("greater than", "14", "14.6 (23G93)", IN, id="build left out"),
        pytest.param("greater than", "14", "beta", UNKNOWN, id="no version"),
        pytest.param("greater than", "14", None, OUT, id="empty is not greater"),
        pytest.param("is", "beta", "Beta", IN, id="what is no version is text"),
    ],
)
def test_versions(
    search_type: str, value: str, version: Value, expected: Verdict
) -> None:
    criteria = one("Operating System Version", search_type, value)

    assert judge(criteria, computer(Operating_System_Version=version)) is expected


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("search_type", "value", "updated", "expected"),
    [
        pytest.param(
            "before (yyyy-mm-dd)", "2026-11-23", NOW, OUT, id="not before today"
        ),
        pytest.param("before (yyyy-mm-dd)", "2026-11-24", NOW, IN, id="before"),
        pytest.param(
            "after (yyyy-mm-dd)", "2026-11-23", NOW, OUT, id="not after today"
        ),
        pytest.param("after (yyyy-mm-dd)", "2026-11-22", NOW, IN, id="after"),
        pytest.param("more than x days ago", "7", NOW - 8 * DAY, IN, id="longer ago"),
        pytest.param("more than x days ago", "7", NOW - 7 * DAY, OUT, id="just then"),
        pytest.param("less than x days ago", "7", NOW - 6 * DAY, IN, id="lately"),
        pytest.param("less than x days ago", "7", NOW - 8 * DAY, OUT, id="not lately"),
        pytest.param("more than x days ago", "7", None, OUT, id="never happened"),
        pytest.param("before (yyyy-mm-dd)", "2026-11-24", "x", UNKNOWN, id="no date"),
    ],
)
def test_dates(search_type: str, value: str, updated: Value, expected: Verdict) -> None:
    criteria = one("Last Inventory Update", search_type, value)

    assert judge(criteria, computer(Last_Inventory_Update=updated)) is expected


@pytest.mark.parametrize(
    ("value", "managed", "expected"),
    [
        pytest.param("Managed", True, IN, id="managed"),
        pytest.param("Unmanaged", True, OUT, id="not unmanaged"),
        pytest.param("false", False, IN, id="unmanaged"),
        pytest.param("Managed", None, UNKNOWN, id="a yes or no is never empty"),
    ],
)
def test_managed(value: str, managed: Value, expected: Verdict) -> None:
    assert judge(one("Managed", "is", value), computer(Managed=managed)) is expected


def test_addresses_compare_by_value() -> None:
    device = computer(Last_Reported_IP_Address="2001:db8:0::1")

    assert judge(one("Last Reported IP Address", "is", "2001:DB8::1"), device) is IN


@pytest.mark.parametrize(
    ("managed", "expected"),
    [
        pytest.param(True, IN, id="managed"),
        pytest.param(False, OUT, id="not managed"),
        pytest.param(Unknown(reason="?"), UNKNOWN, id="not known"),
    ],
)
def test_no_criteria_are_all_managed_devices(managed: Value, expected: Verdict) -> None:
    criteria = parse([], inventory=COMPUTERS)

    assert judge(criteria, computer(Managed=managed)) is expected


def member(search_type: str, key: str) -> Criteria:
    criterion = Criterion(
        name="Computer Group", search_type=search_type, value="Labs", device_group=key
    )
    return parse([criterion], inventory=COMPUTERS)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param("smart-1", IN, id="member"),
        pytest.param("smart-2", OUT, id="no member"),
        pytest.param("smart-3", UNKNOWN, id="not known"),
        pytest.param("smart-4", UNKNOWN, id="never calculated"),
    ],
)
def test_groups(key: str, expected: Verdict) -> None:
    device = computer(groups={"smart-1": IN, "smart-2": OUT, "smart-3": UNKNOWN})

    assert judge(member("member of", key), device) is expected
    assert judge(member("not member of", key), device) is ~expected
    assert member("member of", key).device_groups == {key}


def directory_group(
    name: str, search_type: str = "member of", *, nested: bool = True
) -> Criteria:
    criterion = Criterion(
        name="Directory group",
        search_type=search_type,
        value=name,
        ref=ref(name),
        nested=nested,
    )
    return parse([criterion], inventory=COMPUTERS)


@pytest.mark.parametrize(
    ("criteria", "assigned", "expected"),
    [
        pytest.param(directory_group("Engineering"), ANA, IN, id="nested member"),
        pytest.param(
            directory_group("Engineering", nested=False), ANA, OUT, id="direct only"
        ),
        pytest.param(directory_group("Frontend"), BO, OUT, id="no member"),
        pytest.param(directory_group("Frontend"), Nobody(), OUT, id="nobody assigned"),
        pytest.param(
            directory_group("Frontend"), NeverReported(), UNKNOWN, id="never reported"
        ),
        pytest.param(directory_group("Lost"), ANA, UNKNOWN, id="broken"),
        pytest.param(
            directory_group("Lost", "not member of"), ANA, UNKNOWN, id="broken, denied"
        ),
        pytest.param(
            directory_group("Frontend", "not member of"), ANA, OUT, id="member, denied"
        ),
        pytest.param(
            directory_group("Frontend", "not member of"), BO, IN, id="no member, denied"
        ),
    ],
)
def test_directory_groups(
    criteria: Criteria, assigned: Principal, expected: Verdict
) -> None:
    assert judge(criteria, computer(assigned)) is expected


def test_a_directory_group_is_bound_by_its_id_and_explained() -> None:
    criteria = directory_group("Engineering")

    derivation = derive(criteria, computer(), DIRECTORY, now=NOW)

    assert criteria.directory_refs == {ref("Engineering")}
    assert criteria.device_groups == frozenset()
    leaf = derivation.children[0]
    assert leaf.claim == "Directory group member of Engineering (nested): true"
    assert leaf.fact.startswith(
        "Ana is in Engineering through Frontend. Ana is assigned"
    )


def line(letters: str) -> list[Criterion]:
    """Criteria from 'a or ( b and c )': each letter is a room number to be true."""
    criteria: list[Criterion] = []
    word, opening = "and", False
    for token in letters.split():
        if token in {"and", "or"}:
            word = token
        elif token == "(":
            opening = True
        elif token == ")":
            last = criteria.pop()
            criteria.append(
                Criterion(
                    name=last.name,
                    search_type=last.search_type,
                    value=last.value,
                    priority=last.priority,
                    and_or=last.and_or,
                    opening_paren=last.opening_paren,
                    closing_paren=True,
                )
            )
        else:
            criteria.append(
                Criterion(
                    name="Room",
                    search_type="like",
                    value=token,
                    priority=len(criteria),
                    and_or=word,
                    opening_paren=opening,
                )
            )
            opening = False
    return criteria


@pytest.mark.parametrize(
    ("text", "python"),
    [
        pytest.param("a", lambda a, b, c, d: a, id="one"),
        pytest.param("a and b", lambda a, b, c, d: a & b, id="and"),
        pytest.param(
            "a or b and c",
            lambda a, b, c, d: (a | b) & c,
            id="and does not bind closer",
        ),
        pytest.param("a and b or c", lambda a, b, c, d: (a & b) | c, id="or after and"),
        pytest.param(
            "a or ( b and c )", lambda a, b, c, d: a | (b & c), id="parentheses group"
        ),
        pytest.param(
            "( a or b ) and ( c or d )",
            lambda a, b, c, d: (a | b) & (c | d),
            id="two groups",
        ),
        pytest.param(
            "a and ( b or ( c and d ) or a )",
            lambda a, b, c, d: a & (b | (c & d) | a),
            id="a group in a group",
        ),
        pytest.param("( a ) or b", lambda a, b, c, d: a | b, id="a group of one"),
        pytest.param(
            "a or b or c and d",
            lambda a, b, c, d: ((a | b) | c) & d,
            id="a long run",
        ),
    ],
)
def test_reading_order(
    text: str, python: Callable[[Verdict, Verdict, Verdict, Verdict], Verdict]
) -> None:
    criteria = parse(line(text), inventory=COMPUTERS)

    for bits in range(16):
        truths = [Verdict.of(bool(bits >> place & 1)) for place in range(4)]
        room = "".join(
            name for name, truth in zip("abcd", truths, strict=True) if truth is IN
        )
        assert judge(criteria, computer(Room=room)) is python(*truths)


def test_order_follows_the_priority_and_not_the_list() -> None:
    criteria = parse(reversed(line("a or b and c")), inventory=COMPUTERS)

    assert judge(criteria, computer(Room="a")) is OUT
    assert judge(criteria, computer(Room="ac")) is IN


def problem(criteria: list[Criterion], inventory: Inventory = COMPUTERS) -> str:
    with pytest.raises(CriteriaError) as caught:
        parse(criteria, inventory=inventory)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0].message


def room(priority: int = 0, **more: bool) -> Criterion:
    return Criterion(
        name="Room",
        search_type="is",
        value="1",
        priority=priority,
        opening_paren=more.get("opening", False),
        closing_paren=more.get("closing", False),
    )


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        pytest.param(
            [room(0), room(2)],
            "Criterion 2 (Room) has the priority 2; it must be 1, because priorities"
            " count from 0 without gaps.",
            id="a gap in the priorities",
        ),
        pytest.param(
            [room(0), room(0)],
            "Criterion 2 (Room) has the priority 0; it must be 1, because priorities"
            " count from 0 without gaps.",
            id="a priority twice",
        ),
        pytest.param(
            [room(0, opening=True), room(1)],
            "Criterion 1 (Room) opens a parenthesis that is not closed.",
            id="not closed",
        ),
        pytest.param(
            [room(0), room(1, closing=True)],
            "Criterion 2 (Room) closes a parenthesis that was not opened.",
            id="not opened",
        ),
        pytest.param(
            [Criterion(name="Shoe Size", search_type="is")],
            "Criterion 1 (Shoe Size) is not a criterion of this console.",
            id="no such criterion",
        ),
        pytest.param(
            [Criterion(name="Display Name", search_type="is")],
            "Criterion 1 (Display Name) does not apply to computers.",
            id="of the other inventory",
        ),
        pytest.param(
            [Criterion(name="Managed", search_type="like", value="x")],
            "Criterion 1 (Managed) cannot use 'like'; it takes: is.",
            id="operator of another family",
        ),
        pytest.param(
            [Criterion(name="Managed", search_type="resembles", value="x")],
            "Criterion 1 (Managed) cannot use 'resembles'; it takes: is.",
            id="no such operator",
        ),
        pytest.param(
            [Criterion(name="Managed", search_type="is", value="perhaps")],
            "Criterion 1 (Managed): the value must be Managed or Unmanaged.",
            id="neither yes nor no",
        ),
        pytest.param(
            [Criterion(name="Room", search_type="is", and_or="xor")],
            "Criterion 1 (Room) is joined with 'xor'; use 'and' or 'or'.",
            id="no such word",
        ),
        pytest.param(
            [Criterion(name="Room", search_type="is", value="x" * 256)],
            "Criterion 1 (Room) has a value of 256 characters; at most 255 are"
            " allowed.",
            id="too long",
        ),
        pytest.param(
            [
                Criterion(
                    name="Operating System Version",
                    search_type="greater than",
                    value="new",
                )
            ],
            "Criterion 1 (Operating System Version): 'new' is not a version, such as"
            " 14.6.1.",
            id="no version",
        ),
        pytest.param(
            [
                Criterion(
                    name="Last Inventory Update",
                    search_type="before (yyyy-mm-dd)",
                    value="2026-02-30",
                )
            ],
            "Criterion 1 (Last Inventory Update): '2026-02-30' is not a date, such as"
            " 2026-11-23.",
            id="no date",
        ),
        pytest.param(
            [
                Criterion(
                    name="Last Inventory Update",
                    search_type="more than x days ago",
                    value="-1",
                )
            ],
            "Criterion 1 (Last Inventory Update): '-1' is not a number of days from 0"
            " to 36500.",
            id="no number of days",
        ),
        pytest.param(
            [Criterion(name="Directory group", search_type="member of", value="X")],
            "Criterion 1 (Directory group): choose a directory group.",
            id="a directory group by name alone",
        ),
        pytest.param(
            [Criterion(name="Computer Group", search_type="member of", value="X")],
            "Criterion 1 (Computer Group): choose a group.",
            id="a group by name alone",
        ),
        pytest.param(
            [Criterion(name="Room", search_type="matches regex", value="(a+)+")],
            "Criterion 1 (Room): a repeat around another repeat or an alternative is"
            " not allowed.",
            id="a dangerous pattern",
        ),
    ],
)
def test_what_is_wrong_is_said_of_the_criterion(
    criteria: list[Criterion], message: str
) -> None:
    assert problem(criteria) == message


def test_every_problem_is_told_at_once() -> None:
    criteria = [
        Criterion(name="Nothing", search_type="is"),
        Criterion(name="Managed", search_type="is", value="?", priority=1),
    ]

    with pytest.raises(CriteriaError) as caught:
        parse(criteria, inventory=COMPUTERS)

    places = [(each.position, each.part) for each in caught.value.problems]
    assert places == [(0, "name"), (1, "value")]


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("(a+)+$", id="a repeat in a repeat"),
        pytest.param("(a*){2,}", id="a repeat in a counted repeat"),
        pytest.param("(a|aa)+$", id="an alternative in a repeat"),
        pytest.param("((a?){1,9})*", id="an option in a repeat"),
        pytest.param("a?" * 25 + "a" * 25, id="many options"),
        pytest.param(".*.*.*.*x", id="many repeats"),
        pytest.param("(a|a)(a|a)" * 15, id="many alternatives"),
        pytest.param("(a|b){40}", id="a counted alternative"),
        pytest.param("(a)\\1", id="a back-reference"),
        pytest.param("(?=a)b", id="look-ahead"),
        pytest.param("(?i)a", id="an inline flag"),
        pytest.param("(?P<n>a)(?P=n)", id="a named reference"),
        pytest.param("(", id="not closed"),
        pytest.param("a)", id="not opened"),
        pytest.param("[a", id="set not closed"),
        pytest.param("a\\", id="a lone backslash"),
        pytest.param("a{300}", id="a large count"),
        pytest.param("[[:alpha:]]", id="a set Python would read otherwise"),
        pytest.param("[a--b]", id="a set difference"),
        pytest.param("(" * 25 + ")" * 25, id="deep nesting"),
        pytest.param("a" * 256, id="too long"),
        pytest.param("*a", id="nothing to repeat"),
    ],
)
def test_a_pattern_that_is_wrong_or_may_take_long_is_refused(pattern: str) -> None:
    with pytest.raises(PatternRefused):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        pytest.param("^fern-[0-9]{3}$", "FERN-042", id="a counted set"),
        pytest.param("(lab|studio) mac", "Studio Mac 3", id="alternatives"),
        pytest.param("^1[0-2]\\.\\d+(?:\\.\\d+)?$", "12.6.1", id="a version"),
        pytest.param("[]x^-]+\\]", "a]x]", id="brackets in a set"),
        pytest.param("[^a\\]]b", "cb", id="an escaped bracket in a set"),
        pytest.param("a{2,3}?b", "aab", id="a lazy repeat"),
        pytest.param("(ab){2}", "xABab", id="a counted group"),
        pytest.param("\\0?x", "x", id="octal zero is no reference"),
        pytest.param("a{,2}b", "b", id="a repeat without a lower bound"),
        pytest.param("{x}", "{x}", id="braces that repeat nothing"),
    ],
)
def test_an_ordinary_pattern_is_allowed(pattern: str, text: str) -> None:
    assert check_pattern(pattern).search(text)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("^.*.*.*x$", id="three repeats"),
        pytest.param(".*.*aaaaaaax", id="two repeats anywhere"),
        pytest.param("^" + "a?" * 6 + ".*.*x", id="options and repeats"),
        pytest.param("^" + "a?" * 18 + "a" * 18 + "b", id="eighteen options"),
    ],
)
def test_the_worst_allowed_pattern_ends_soon(pattern: str) -> None:
    compiled = check_pattern(pattern)

    start = time.perf_counter()
    compiled.search("a" * 255)

    # No measure of speed: a pattern that backtracks without bound would take years.
    assert time.perf_counter() - start < 60


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("14.6.1", (14, 6, 1), id="plain"),
        pytest.param("14.0", (14,), id="zeros at the end do not count"),
        pytest.param("0", (0,), id="zero"),
        pytest.param("", None, id="empty"),
        pytest.param("14.x", None, id="letters"),
    ],
)
def test_versions_as_numbers(text: str, key: tuple[int, ...] | None) -> None:
    assert version_key(text) == key


def test_every_criterion_can_be_chosen_where_it_applies() -> None:
    computers = {each.name for each in fields_for(Inventory.COMPUTERS)}
    mobile = {each.name for each in fields_for(Inventory.MOBILE_DEVICES)}

    assert {"Computer Name", "Computer Group"} <= computers - mobile
    assert {"Display Name", "Mobile Device Group"} <= mobile - computers
    assert computers | mobile == {each.name for each in FIELDS}
    (directory,) = [each for each in FIELDS if each.name == "Directory group"]
    assert "assigned user" in directory.help


def test_groups_are_calculated_after_those_they_rely_on() -> None:
    order = calculation_order({"c": ["b"], "b": ["a"], "a": []})

    assert order == ("a", "b", "c")


def test_groups_that_rely_on_one_another_are_refused() -> None:
    with pytest.raises(CircularGroups) as caught:
        calculation_order({"a": ["b"], "b": ["a"]})

    assert set(caught.value.circle) == {"a", "b"}


def test_the_smallest_change_of_a_directory_group_is_named() -> None:
    criteria = directory_group("Frontend")

    derivation = derive(criteria, computer(BO), DIRECTORY, now=NOW)

    assert smallest_change(derivation) == ("Add Bo to Frontend in Entra",)
    assert all(node.claim for node in nodes(derivation))


lines = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(["and", "or"]),
        st.sampled_from(["like", "not like", "is", "matches regex"]),
        st.sampled_from(["Room", "Model", "Site"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@given(
    lines,
    st.dictionaries(st.sampled_from(["Room", "Model", "Site"]), st.text("abcd")),
    st.sets(st.sampled_from(["Room", "Model", "Site"])),
)
def test_knowing_less_never_turns_in_into_out(
    drawn: list[tuple[str, str, str, str, bool]],
    values: dict[str, str],
    forgotten: set[str],
) -> None:
    criteria = parse(
        [
            Criterion(
                name=name,
                search_type=operator,
                value=value,
                priority=place,
                and_or=word,
                opening_paren=grouped,
                closing_paren=grouped,
            )
            for place, (value, word, operator, name, grouped) in enumerate(drawn)
        ],
        inventory=COMPUTERS,
    )
    whole = DeviceValues(name="m", values=values)
    less = DeviceValues(
        name="m", values={k: v for k, v in values.items() if k not in forgotten}
    )

    assert judge(criteria, less) in {judge(criteria, whole), UNKNOWN}
