"""Signing in with a password, guessing, and the set-up."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jamfidp.accounts import first_administrator, throttle
from jamfidp.accounts.models import FailedSignIn, SetupCode, User
from jamfidp.history.models import ObjectHistory
from tests import factories

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("without_second_factor"),
]

LOGIN = "/login/"


@pytest.fixture
def browser() -> Client:
    return Client(SERVER_NAME="localhost")


def post(
    client: Client,
    password: str = factories.PASSWORD,
    username: str = "admin",
    **extra: Any,
) -> Any:
    next_path = extra.pop("next_path", "")
    return client.post(
        LOGIN,
        {"username": username, "password": password, "next": next_path},
        **extra,
    )


def signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_a_local_administrator_signs_in_and_the_history_says_so(
    browser: Client, administrator: User
) -> None:
    response = post(browser)

    assert (response.status_code, response["Location"]) == (303, "/")
    assert signed_in(browser)
    entry = ObjectHistory.objects.get(action="signed in")
    assert entry.actor == administrator
    assert not FailedSignIn.objects.exists()


def test_the_user_name_is_accepted_in_any_case(
    browser: Client, administrator: User
) -> None:
    post(browser, username="Admin")

    assert signed_in(browser)


@pytest.mark.parametrize(
    ("username", "password"),
    [
        pytest.param("admin", "wrong", id="wrong password"),
        pytest.param("nobody", factories.PASSWORD, id="unknown user name"),
        pytest.param("disabled", factories.PASSWORD, id="disabled account"),
        pytest.param("ana@fernhill.example", "", id="account of Entra, no password"),
        pytest.param("ana@fernhill.example", "!", id="account of Entra"),
    ],
)
def test_a54_every_refusal_reads_the_same(
    browser: Client, administrator: User, username: str, password: str
) -> None:
    factories.administrator("disabled", is_active=False)
    factories.entra_account(
        factories.directory_user(
            "Ana", factories.cloud_idp(), user_principal_name="ana@fernhill.example"
        )
    )

    response = post(browser, username=username, password=password or " ")

    assert response.status_code == 422
    assert "The user name or the password is wrong" in response.content.decode()
    assert not signed_in(browser)
    assert FailedSignIn.objects.count() == 1


def test_a54_an_unknown_name_costs_as_much_hashing_as_a_wrong_password(
    browser: Client, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    work: list[int] = []
    encode = PBKDF2PasswordHasher.encode

    def counted(self: Any, password: str, salt: str, iterations: Any = None) -> str:
        work.append(iterations or self.iterations)
        return encode(self, password, salt, iterations)

    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", counted)
    post(browser, "wrong")
    known = sum(work)
    work.clear()
    post(browser, "wrong", username="nobody")

    assert sum(work) == known > 0


def test_an_account_of_entra_never_signs_in_with_a_password(
    browser: Client, administrator: User
) -> None:
    ana = factories.entra_account(
        factories.directory_user("Ana", factories.cloud_idp())
    )
    ana.set_password(factories.PASSWORD)
    ana.save()

    assert post(browser, username=ana.username).status_code == 422


def test_a_refusal_stands_in_the_history_without_what_was_typed(
    browser: Client, administrator: User
) -> None:
    post(browser, "wrong")
    post(browser, "x", username="my-secret-password")

    notes = list(
        ObjectHistory.objects.filter(action="refused").values_list(
            "object_label", "note"
        )
    )
    assert {label for label, _ in notes} == {"accounts.user", "accounts.failedsignin"}
    assert "my-secret-password" not in str(notes)
    assert "my-secret-password" not in str(list(FailedSignIn.objects.values()))


def test_guessing_is_slowed_after_five_failures_and_the_right_password_waits_too(
    browser: Client, administrator: User
) -> None:
    for _ in range(throttle.FREE_PER_ACCOUNT):
        assert post(browser, "wrong").status_code == 422

    response = post(browser)

    assert response.status_code == 429
    assert "Wait 1 second" in response.content.decode()
    assert not signed_in(browser)


def test_a_guess_from_another_address_waits_as_well(
    browser: Client, administrator: User
) -> None:
    for number in range(throttle.FREE_PER_ACCOUNT):
        post(browser, "wrong", REMOTE_ADDR=f"192.0.2.{number}")

    assert post(browser, "wrong", REMOTE_ADDR="198.51.100.1").status_code == 429


def test_a_known_browser_does_not_wait_for_the_failures_of_strangers(
    browser: Client, administrator: User
) -> None:
    post(browser)
    browser.post("/logout/")
    stranger = Client(SERVER_NAME="localhost")
    for _ in range(30):
        post(stranger, "wrong")
    assert post(stranger).status_code == 429

    post(browser)

    assert signed_in(browser)


def test_a_known_browser_that_guesses_waits_for_its_own_failures(
    browser: Client, administrator: User
) -> None:
    post(browser)
    browser.post("/logout/")
    for _ in range(throttle.FREE_PER_ACCOUNT):
        post(browser, "wrong")

    assert post(browser).status_code == 429


def test_a_browser_known_to_one_account_is_a_stranger_to_another(
    browser: Client, administrator: User
) -> None:
    factories.local_account("lena")
    post(browser, username="lena")
    browser.post("/logout/")
    stranger = Client(SERVER_NAME="localhost")
    for _ in range(throttle.FREE_PER_ACCOUNT):
        post(stranger, "wrong")

    assert post(browser).status_code == 429


def test_many_names_from_one_address_are_slowed(
    browser: Client, administrator: User
) -> None:
    for number in range(throttle.FREE_PER_ADDRESS):
        post(browser, "wrong", username=f"user{number}")

    assert post(browser, "wrong", username="another").status_code == 429
    elsewhere = post(browser, username="admin", REMOTE_ADDR="198.51.100.1")
    assert elsewhere.status_code == 303


def test_the_delay_doubles_up_to_its_limit_and_never_locks() -> None:
    def delay(failures: int) -> float:
        return throttle.delay(
            failures, free=5, longest=throttle.LONGEST_PER_ACCOUNT
        ).total_seconds()

    assert [delay(n) for n in (4, 5, 6, 7, 10, 11, 5000)] == [0, 1, 2, 4, 32, 60, 60]


def test_an_attempt_is_free_again_when_the_delay_is_over(administrator: User) -> None:
    now = timezone.now()

    def attempt(at: Any) -> None:
        throttle.begin_attempt(
            username="admin",
            account_id=administrator.pk,
            browser=throttle.Browser(),
            address="192.0.2.1",
            now=at,
        )

    for _ in range(5):
        attempt(now)
    with pytest.raises(throttle.TooManyFailures):
        attempt(now + timedelta(seconds=0.9))
    attempt(now + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("nonsense", None),
        (None, None),
    ],
)
def test_an_address_counts_as_its_network(
    address: str | None, counts_as: str | None
) -> None:
    assert throttle.address_key(address) == counts_as


def test_a54_a_forwarded_address_is_not_believed_from_a_stranger(
    browser: Client, administrator: User
) -> None:
    for number in range(throttle.FREE_PER_ADDRESS):
        post(
            browser,
            "wrong",
            username=f"user{number}",
            HTTP_X_FORWARDED_FOR=f"203.0.113.{number}",
        )

    response = post(browser, "wrong", HTTP_X_FORWARDED_FOR="203.0.113.99")

    assert response.status_code == 429


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example/",
        "https://evil.example/",
        "javascript:alert(1)",
        "\\\\evil.example",
        "/\\evil.example",
        "/%0d//evil.example\r\n",
        "///evil.example",
        "http:evil.example",
        " //evil.example",
    ],
)
def test_a40_only_a_local_path_is_gone_to(
    browser: Client, administrator: User, target: str
) -> None:
    response = post(browser, next_path=target)

    location = response["Location"]
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))
    assert location == "/" or "evil" not in location.partition("?")[0].split("/")[0]


def test_a40_a_local_path_is_gone_to(browser: Client, administrator: User) -> None:
    assert post(browser, next_path="/users/?q=a")["Location"] == "/users/?q=a"


def test_a53_the_session_key_changes_with_the_sign_in(
    browser: Client, administrator: User
) -> None:
    session = browser.session
    session["planted"] = True
    session.save()
    before = session.session_key
    browser.cookies["sessionid"] = before or ""

    post(browser)

    assert browser.session.session_key != before


def test_a53_cookies_are_out_of_reach_of_scripts_and_other_sites(
    browser: Client, administrator: User
) -> None:
    response = post(browser)

    for name in ("sessionid", "known_browser"):
        assert response.cookies[name]["httponly"]
        assert response.cookies[name]["samesite"] == "Lax"


def test_a57_signing_out_needs_a_post(console: Client) -> None:
    assert console.get("/logout/").status_code == 405
    assert signed_in(console)

    response = console.post("/logout/")

    assert response["Location"] == "/login/?signed-out=1"
    assert not signed_in(console)
    assert "You are signed out" in console.get(response["Location"]).content.decode()


def test_disabling_an_account_ends_its_session(
    console: Client, administrator: User
) -> None:
    assert console.get("/account/privileges/").status_code == 200

    User.objects.update(is_active=False)

    assert console.get("/account/privileges/").status_code == 302


def test_a_new_password_ends_other_sessions(
    console: Client, administrator: User
) -> None:
    administrator.set_password("another long password")
    administrator.save()

    assert console.get("/account/privileges/").status_code == 302


def test_a_person_who_is_signed_in_is_not_asked_again(console: Client) -> None:
    assert console.get(f"{LOGIN}?next=/users/")["Location"] == "/users/"


def test_without_privileges_every_page_says_why(browser: Client) -> None:
    browser.force_login(factories.local_account("lena"))

    response = browser.get("/")

    assert response.status_code == 403
    page = response.content.decode()
    assert "You hold no privileges" in page
    assert "No account group has this account as a member" in page
    assert browser.post("/logout/").status_code == 303


# --- Set-up ----------------------------------------------------------------------


def setup_form(code: str, **values: str) -> dict[str, str]:
    return {
        "code": code,
        "username": "root",
        "full_name": "",
        "password": "a long first password",
        "password_again": "a long first password",
    } | values


def test_a_console_without_accounts_leads_to_the_set_up(browser: Client) -> None:
    assert browser.get("/")["Location"].startswith(LOGIN)
    assert browser.get(LOGIN)["Location"] == reverse("accounts:setup")
    assert browser.get("/setup/").status_code == 200


def test_the_set_up_code_makes_one_administrator(browser: Client) -> None:
    code = first_administrator.new_code(now=timezone.now())

    response = browser.post("/setup/", setup_form(code.lower().replace("-", " ")))

    assert response.status_code == 303
    account = User.objects.get()
    assert account.has_perm("accounts.change_user")
    assert signed_in(browser)
    assert not SetupCode.objects.exists()
    assert browser.get("/setup/").status_code == 302
    again = Client(SERVER_NAME="localhost")
    assert again.post("/setup/", setup_form(code))["Location"] == LOGIN
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"code": "AAAAA"}, "not the set-up code", id="wrong code"),
        pytest.param(
            {"password_again": "other"}, "passwords are different", id="typing error"
        ),
        pytest.param(
            {"password": "short", "password_again": "short"}, "too short", id="short"
        ),
        pytest.param(
            {
                "username": "administrator-of-all",
                "password": "administrator-of-all",
                "password_again": "administrator-of-all",
            },
            "too similar to the username",
            id="like the user name",
        ),
    ],
)
def test_a_refused_set_up_changes_nothing_and_keeps_what_was_typed(
    browser: Client, change: dict[str, str], message: str
) -> None:
    code = first_administrator.new_code(now=timezone.now())

    response = browser.post("/setup/", setup_form(code, full_name="Rosa Root") | change)

    page = response.content.decode()
    assert response.status_code == 422
    assert message in page
    assert "Rosa Root" in page
    assert factories.PASSWORD not in page
    assert not User.objects.exists()
    assert SetupCode.objects.exists()


def test_a_set_up_code_expires_after_a_day(browser: Client) -> None:
    code = first_administrator.new_code(now=timezone.now() - timedelta(hours=24.1))

    assert browser.post("/setup/", setup_form(code)).status_code == 422
    assert not User.objects.exists()


def test_a_new_set_up_code_voids_the_old_one(browser: Client) -> None:
    old = first_administrator.new_code(now=timezone.now())
    first_administrator.new_code(now=timezone.now())

    assert browser.post("/setup/", setup_form(old)).status_code == 422


def test_a_console_that_has_accounts_cannot_be_set_up_again(
    administrator: User,
) -> None:
    with pytest.raises(first_administrator.AlreadySetUp):
        first_administrator.set_up(
            code="AAAAA",
            username="root",
            full_name="",
            password="a long first password",
            address=None,
            now=timezone.now(),
        )


def test_guessing_the_set_up_code_is_slowed(browser: Client) -> None:
    first_administrator.new_code(now=timezone.now())
    for _ in range(throttle.FREE_PER_ACCOUNT):
        browser.post("/setup/", setup_form("AAAAA"))

    assert browser.post("/setup/", setup_form("AAAAA")).status_code == 429


def test_the_commands_print_a_code_an_administrator_and_a_way_back(
    capsys: pytest.CaptureFixture[str], browser: Client
) -> None:
    call_command("setup_code")
    assert "http://localhost:8000/setup/" in capsys.readouterr().out

    call_command("create_administrator", "root")
    password = capsys.readouterr().out.split("Password: ")[1].strip()
    assert post(browser, password, username="root").status_code == 303

    User.objects.update(is_active=False, access_level="GROUP")
    call_command("create_administrator", "root", "--rescue")
    password = capsys.readouterr().out.split("Password: ")[1].strip()
    again = Client(SERVER_NAME="localhost")
    assert post(again, password, username="root").status_code == 303
    assert User.objects.get().has_perm("accounts.change_user")

    with pytest.raises(CommandError, match="set up"):
        call_command("setup_code")
    with pytest.raises(CommandError, match="Another account has this username"):
        call_command("create_administrator", "ROOT")
    with pytest.raises(CommandError, match="No local account"):
        call_command("create_administrator", "nobody", "--rescue")
