import pytest

from directory.dependents import ObjectRef
from scoping.matching import (
    Candidate,
    CandidateIndex,
    MatchingConnection,
    count_matches,
    domain_of,
    fold,
    match_user_name,
)
from scoping.principal import (
    Ambiguous,
    NeverReported,
    Nobody,
    NotInDirectory,
    Person,
    Principal,
    Unconfirmed,
    Unresolved,
)
from tests.scoping.pretend import OTHER_TENANT, TENANT, ref

FERNHILL = MatchingConnection(tenant_id=TENANT, name="Fernhill Studio")
QUARREL = MatchingConnection(tenant_id=OTHER_TENANT, name="Quarrel & Sons")


def someone(
    name: str, user_name: str, tenant: str = TENANT, *, deleted: bool = False
) -> Candidate:
    return Candidate(
        ref=ref(name, tenant), name=name, user_name=user_name, deleted=deleted
    )


def match(
    reported: str | None,
    *people: Candidate,
    connections: tuple[MatchingConnection, ...] = (FERNHILL,),
    earlier: ObjectRef | None = None,
) -> Principal:
    return match_user_name(
        reported=reported,
        index=CandidateIndex(people),
        connections=connections,
        earlier=earlier,
    )


ANA = someone("Ana", "ana.ruiz@fernhill.example")


@pytest.mark.parametrize(
    ("reported", "stored"),
    [
        pytest.param("ana@x.example", "ana@x.example", id="the same name"),
        pytest.param("ANA@X.Example", "ana@x.example", id="without case"),
        pytest.param("  ana@x.example ", "ana@x.example", id="blanks around it"),
        pytest.param("zoe\u0301@x.example", "zo\u00e9@x.example", id="NFC"),
        pytest.param("ZOE\u0301@x.example", "zo\u00e9@x.example", id="NFC and case"),
    ],
)
def test_a_name_matches(reported: str, stored: str) -> None:
    found = match(reported, someone("Ana", stored))

    assert isinstance(found, Person)
    assert found.ref == ref("Ana")
    assert found.reported_user_name == reported


@pytest.mark.parametrize(
    "reported",
    [
        pytest.param("ana", id="the part before the @ is not the name"),
        pytest.param("ana.ruiz", id="a name without a domain"),
        pytest.param("ana.ruiz@fernhill", id="the beginning of the name"),
        pytest.param("FERNHILL\\ana.ruiz@fernhill.example", id="a prefix before it"),
        pytest.param("ana.ruiz@quarrel.example", id="another domain"),
    ],
)
def test_only_the_whole_name_matches(reported: str) -> None:
    assert isinstance(match(reported, ANA), NotInDirectory)


def test_several_people_with_the_name_are_ambiguous_and_named() -> None:
    found = match(
        "ana@x.example",
        someone("Ana", "ana@x.example"),
        someone("Other Ana", "ANA@x.example", OTHER_TENANT),
        connections=(FERNHILL, QUARREL),
    )

    assert isinstance(found, Ambiguous)
    assert [each.name for each in found.candidates] == ["Ana", "Other Ana"]


def test_people_of_a_disabled_connection_are_not_found() -> None:
    off = MatchingConnection(tenant_id=OTHER_TENANT, name="Quarrel", enabled=False)
    both = (someone("A", "a@x.example"), someone("B", "a@x.example", OTHER_TENANT))

    found = match("a@x.example", *both, connections=(FERNHILL, off))

    assert isinstance(found, Person)
    assert found.name == "A"


def test_a_connection_limited_to_domains_answers_for_them_alone() -> None:
    limited = MatchingConnection(
        tenant_id=TENANT, name="Fernhill", domains=frozenset({"Fernhill.Example"})
    )
    stray = someone("Stray", "ana@quarrel.example")

    assert isinstance(
        match("ana.ruiz@fernhill.example", ANA, connections=(limited,)), Person
    )
    assert isinstance(
        match("ana@quarrel.example", stray, connections=(limited,)), NotInDirectory
    )


def test_a_name_without_a_domain_matches_only_in_the_connection_chosen_for_it() -> None:
    chosen = MatchingConnection(
        tenant_id=TENANT, name="Fernhill", takes_bare_names=True
    )
    people = (someone("Ana", "aruiz"), someone("Other", "aruiz", OTHER_TENANT))

    found = match("ARUIZ", *people, connections=(chosen, QUARREL))

    assert isinstance(found, Person)
    assert found.ref.tenant_id == TENANT
    assert isinstance(match("aruiz", *people), NotInDirectory)


def test_nobody_found_is_unknown_while_a_connection_was_never_read_completely() -> None:
    unread = MatchingConnection(
        tenant_id=OTHER_TENANT, name="Quarrel", completely_read=False
    )

    found = match("new@x.example", ANA, connections=(FERNHILL, unread))

    assert isinstance(found, Unresolved)
    assert found.reason == "Quarrel was never read completely."


def test_an_unread_connection_of_other_domains_does_not_matter() -> None:
    unread = MatchingConnection(
        tenant_id=OTHER_TENANT,
        name="Quarrel",
        completely_read=False,
        domains=frozenset({"quarrel.example"}),
    )

    found = match("new@fernhill.example", connections=(FERNHILL, unread))

    assert isinstance(found, NotInDirectory)


def test_a_name_that_leads_to_somebody_else_waits_for_confirmation() -> None:
    found = match("ana.ruiz@fernhill.example", ANA, earlier=ref("Former Ana"))

    assert isinstance(found, Unconfirmed)
    assert found.found.ref == ref("Ana")
    assert found.earlier == ref("Former Ana")


def test_a_confirmed_person_is_that_person() -> None:
    found = match("ana.ruiz@fernhill.example", ANA, earlier=ref("Ana"))

    assert isinstance(found, Person)


def test_the_same_object_id_in_another_tenant_is_another_person() -> None:
    earlier = ref("Ana", OTHER_TENANT)

    found = match("ana.ruiz@fernhill.example", ANA, earlier=earlier)

    assert isinstance(found, Unconfirmed)


def test_a_person_renamed_in_entra_stays_the_person() -> None:
    renamed = someone("Ana", "ana.stone@fernhill.example")

    found = match("ana.ruiz@fernhill.example", renamed, earlier=ref("Ana"))

    assert isinstance(found, Person)
    assert found.ref == ref("Ana")


def test_a_person_of_a_connection_since_disabled_is_unknown() -> None:
    off = MatchingConnection(tenant_id=TENANT, name="Fernhill", enabled=False)

    found = match(
        "ana.ruiz@fernhill.example", ANA, connections=(off,), earlier=ref("Ana")
    )

    assert isinstance(found, Unresolved)
    assert found.reason == "The connection Fernhill is disabled."


def test_a_name_freed_by_a_deleted_person_leads_to_its_new_holder() -> None:
    gone = someone("Old", "ana@x.example", deleted=True)
    new = someone("New", "ana@x.example")

    found = match("ana@x.example", gone, new)
    alone = match("ana@x.example", gone)

    assert isinstance(found, Person)
    assert found.name == "New"
    assert isinstance(alone, Person)
    assert alone.deleted


def test_a_person_gone_for_good_is_not_a_directory_user() -> None:
    gone = match("ana@x.example", earlier=ref("Ana"))
    elsewhere = match("ana@x.example", earlier=ref("Ana", OTHER_TENANT))

    assert isinstance(gone, NotInDirectory)
    assert isinstance(elsewhere, NotInDirectory)


def test_never_reported_and_nobody_are_told_apart() -> None:
    assert match(None, ANA) == NeverReported()
    assert match("  ", ANA) == Nobody()


def test_domain_is_what_follows_the_last_at_sign() -> None:
    assert domain_of("odd@name@Fernhill.Example") == "fernhill.example"
    assert domain_of("aruiz") == ""
    assert fold("STRASSE") == fold("straße")


def test_every_kind_of_match_is_counted() -> None:
    twin = someone("Twin", "ana.ruiz@fernhill.example")
    name = "ana.ruiz@fernhill.example"
    unread = MatchingConnection(tenant_id=TENANT, name="F", completely_read=False)

    counts = count_matches(
        [
            match(name, ANA),
            match(name),
            match(name, ANA, twin),
            match(name, ANA, earlier=ref("X")),
            match(name, connections=(unread,)),
            match("", ANA),
            match(None, ANA),
            match(None, ANA),
        ]
    )

    assert (counts.matched, counts.unmatched, counts.ambiguous) == (1, 1, 1)
    assert (counts.unconfirmed, counts.unresolved) == (1, 1)
    assert (counts.nobody, counts.never_reported) == (1, 2)
