"""The second factor of local accounts: demanded, enrolled, asked for, taken away."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from lxml import html

from jamfidp import crypto
from jamfidp.accounts import authenticator_app, passkeys, second_factor, throttle
from jamfidp.accounts.models import (
    AccountSession,
    AuthenticatorApp,
    FailedSignIn,
    Passkey,
    RecoveryCode,
    User,
)
from jamfidp.history.models import ObjectHistory
from jamfidp.notices.models import Notice
from tests import factories
from tests.accounts.passkey_device import PasskeyDevice

pytestmark = pytest.mark.django_db

STEP = "/login/second-factor/"
ADD = "/account/sign-in/add/"


@pytest.fixture
def browser() -> Client:
    return Client(SERVER_NAME="localhost")


def password(client: Client, username: str = "admin", next_path: str = "") -> Any:
    return client.post(
        "/login/",
        {"username": username, "password": factories.PASSWORD, "next": next_path},
    )


def signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def with_app(account: User) -> pyotp.TOTP:
    """An authenticator app that the account has used before."""
    app = authenticator_app.begin(account, now=timezone.now())
    AuthenticatorApp.objects.filter(pk=app.pk).update(confirmed_at=timezone.now())
    return pyotp.TOTP(authenticator_app.secret_of(app))


def with_passkey(account: User) -> PasskeyDevice:
    device = PasskeyDevice()
    questions, challenge = passkeys.questions_to_create(account)
    passkeys.register(
        account,
        name="Key",
        answer=device.create(json.loads(questions)),
        challenge=challenge,
        now=timezone.now(),
    )
    return device


def page(response: Any) -> Any:
    return html.fromstring(response.content)


# --- It is demanded ----------------------------------------------------------------


def test_full_access_without_a_second_factor_gets_no_session_before_it_has_one(
    browser: Client, administrator: User
) -> None:
    response = password(browser)

    assert (response.status_code, response["Location"]) == (303, ADD)
    assert not signed_in(browser)
    for path in ("/", "/settings/", "/account/sign-in/", "/login/enrolled/"):
        answer = browser.post(path) if "enrolled" in path else browser.get(path)
        assert answer.status_code in {302, 303}
        assert answer["Location"].startswith("/login/")
    assert not ObjectHistory.objects.filter(action="signed in").exists()


@pytest.mark.parametrize(
    ("level", "through_group", "needed"),
    [("FULL", False, True), ("GROUP", True, True), ("GROUP", False, False)],
)
def test_what_counts_is_full_access_whichever_way(
    browser: Client, level: str, through_group: bool, needed: bool
) -> None:
    account = factories.local_account(
        "lena",
        access_level=level,
        privilege_set="AUDITOR" if level == "FULL" else "CUSTOM",
    )
    if through_group:
        factories.account_group("Admins", account)

    password(browser, "lena")

    assert signed_in(browser) is not needed


def test_site_access_may_go_without(browser: Client) -> None:
    factories.custom_account(
        "berlin", "Read Policies", access_level="SITE", site=factories.site()
    )

    password(browser, "berlin")

    assert signed_in(browser)


def test_the_demand_is_lifted_on_this_computer_alone(settings: Any) -> None:
    settings.SECOND_FACTOR_REQUIRED = False
    assert not [one for one in run_checks() if one.id == "accounts.E001"]

    settings.CONSOLE_URL = "https://console.example.com"

    assert [one.id for one in run_checks() if one.id == "accounts.E001"]


# --- Enrolling -----------------------------------------------------------------------


def begin_app(client: Client) -> pyotp.TOTP:
    """Press 'Authenticator app'; return what the app makes of the picture."""
    assert client.post(f"{ADD}app/begin/")["Location"] == f"{ADD}app/"
    shown = page(client.get(f"{ADD}app/"))
    (secret,) = shown.cssselect(".secret-text")
    assert shown.cssselect("svg.qr path")
    return pyotp.TOTP(str(secret.text).replace(" ", ""))


def test_an_app_is_enrolled_at_the_sign_in_and_leads_to_the_place_wanted(
    browser: Client, administrator: User
) -> None:
    password(browser, next_path="/settings/system/")
    totp = begin_app(browser)

    codes = browser.post(f"{ADD}app/", {"code": totp.now()})
    assert len(page(codes).cssselect(".codes code")) == 10
    assert not signed_in(browser), "the recovery codes come first"
    response = browser.post("/login/enrolled/")

    assert (response.status_code, response["Location"]) == (303, "/settings/system/")
    assert signed_in(browser)
    assert AccountSession.objects.get().how == "Password and authenticator app"
    note = ObjectHistory.objects.get(action="signed in").note
    assert note == "Signed in with a password and authenticator app from 127.0.0.1."


def test_a_wrong_first_code_enrolls_nothing(
    browser: Client, administrator: User
) -> None:
    password(browser)
    totp = begin_app(browser)
    wrong = f"{(int(totp.now()) + 1) % 10**6:06}"

    response = browser.post(f"{ADD}app/", {"code": wrong})

    assert response.status_code == 422
    assert "The code is wrong" in response.content.decode()
    assert not second_factor.of(administrator).any
    assert browser.post("/login/enrolled/")["Location"] == "/login/"


def test_beginning_again_voids_the_secret_of_before(
    browser: Client, administrator: User
) -> None:
    password(browser)
    first, second = begin_app(browser), begin_app(browser)

    assert browser.post(f"{ADD}app/", {"code": first.now()}).status_code == 422
    assert browser.post(f"{ADD}app/", {"code": second.now()}).status_code == 200


def test_the_picture_names_the_console_and_the_account(administrator: User) -> None:
    app = authenticator_app.begin(administrator, now=timezone.now())

    address = urlsplit(authenticator_app.address_for(app))

    assert (address.scheme, address.netloc) == ("otpauth", "totp")
    assert parse_qs(address.query)["issuer"] == ["Device console localhost"]
    assert address.path.endswith(":admin")
    assert "style" not in authenticator_app.picture_of(address.geturl())


def test_a_passkey_is_enrolled_at_the_sign_in(
    browser: Client, administrator: User
) -> None:
    password(browser)
    device = PasskeyDevice()
    questions = browser.post(f"{ADD}passkey/questions/").json()

    codes = browser.post(
        f"{ADD}passkey/", {"name": "Blue key", "answer": device.create(questions)}
    )
    browser.post("/login/enrolled/")

    assert codes.status_code == 200
    assert signed_in(browser)
    assert str(Passkey.objects.get()) == "Blue key"
    assert AccountSession.objects.get().how == "Password and passkey"


def test_an_account_that_has_a_factor_adds_none_by_its_password_alone(
    browser: Client, administrator: User
) -> None:
    with_app(administrator)
    password(browser)

    for path in (ADD, f"{ADD}app/", f"{ADD}passkey/"):
        assert browser.get(path)["Location"] == STEP
    assert browser.post(f"{ADD}app/begin/")["Location"] == STEP
    assert browser.post(f"{ADD}passkey/questions/").status_code == 403
    assert AuthenticatorApp.objects.filter(confirmed_at=None).count() == 0


def test_without_an_encryption_key_a_passkey_can_still_be_enrolled(
    browser: Client, administrator: User, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = []
    password(browser)

    response = browser.post(f"{ADD}app/begin/")

    assert response.status_code == 422
    assert "ENCRYPTION_KEYS" in response.content.decode()
    assert browser.get(f"{ADD}passkey/").status_code == 200


@pytest.mark.parametrize(
    "path", [ADD, f"{ADD}app/", f"{ADD}passkey/", STEP, "/account/prove/"]
)
def test_whoever_has_shown_nothing_sees_none_of_these_pages(
    browser: Client, administrator: User, path: str
) -> None:
    assert browser.get(path)["Location"].startswith("/login/")


# --- It is asked for -----------------------------------------------------------------


@pytest.fixture
def totp(administrator: User) -> pyotp.TOTP:
    return with_app(administrator)


def test_the_password_alone_opens_nothing(browser: Client, totp: pyotp.TOTP) -> None:
    assert password(browser)["Location"] == STEP

    assert not signed_in(browser)
    assert browser.get("/settings/")["Location"].startswith("/login/")


def test_a_code_signs_in_once(browser: Client, totp: pyotp.TOTP) -> None:
    code = totp.now()
    password(browser)
    response = browser.post(STEP, {"code": f"{code[:3]} {code[3:]}"})
    assert response["Location"] == "/"
    assert signed_in(browser)

    thief = Client(SERVER_NAME="localhost")
    password(thief)
    replayed = thief.post(STEP, {"code": code})

    assert replayed.status_code == 422
    assert "it was used already" in replayed.content.decode()
    assert not signed_in(thief)


@pytest.mark.parametrize(
    ("steps", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_a_clock_may_be_off_by_half_a_minute(
    administrator: User, totp: pyotp.TOTP, steps: int, taken: bool
) -> None:
    now = timezone.now()
    app = authenticator_app.confirmed(administrator)
    assert app

    code = totp.at(now + timedelta(seconds=30 * steps))

    assert authenticator_app.take(app, code, now=now) is taken


def test_a_code_before_the_last_one_is_refused(
    administrator: User, totp: pyotp.TOTP
) -> None:
    now = timezone.now()
    app = authenticator_app.confirmed(administrator)
    assert app
    assert authenticator_app.take(app, totp.at(now), now=now)

    earlier = totp.at(now - timedelta(seconds=30))

    assert not authenticator_app.take(app, earlier, now=now)


@pytest.mark.parametrize(
    "code", ["", "12345", "1234567", "１２３４５６", "abcdef", "-12345"]
)
def test_what_is_no_code_is_refused_in_words(
    browser: Client, totp: pyotp.TOTP, code: str
) -> None:
    password(browser)

    assert browser.post(STEP, {"code": code}).status_code == 422
    assert not signed_in(browser)


def test_the_second_step_leads_to_the_place_wanted(
    browser: Client, totp: pyotp.TOTP
) -> None:
    password(browser, next_path="/settings/system/")

    assert browser.post(STEP, {"code": totp.now()})["Location"] == "/settings/system/"


def test_half_a_sign_in_lasts_ten_minutes(
    browser: Client, totp: pyotp.TOTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    password(browser)
    later = timezone.now() + timedelta(minutes=10, seconds=1)
    monkeypatch.setattr("jamfidp.accounts.views.entering.timezone.now", lambda: later)

    assert browser.get(STEP)["Location"] == "/login/"


@pytest.mark.parametrize("change", ["password", "disabled"])
def test_half_a_sign_in_ends_with_the_password_and_the_account(
    browser: Client, administrator: User, totp: pyotp.TOTP, change: str
) -> None:
    password(browser)
    if change == "password":
        administrator.set_password("another password of some length")
    else:
        administrator.is_active = False
    administrator.save()

    assert browser.post(STEP, {"code": totp.now()})["Location"] == "/login/"
    assert not signed_in(browser)


def test_a53_whoever_set_the_key_before_the_password_has_nothing_after(
    administrator: User,
) -> None:
    """Else they could enroll a factor of their own, with the password of another."""
    victim, attacker = Client(SERVER_NAME="localhost"), Client(SERVER_NAME="localhost")
    session = attacker.session
    session["anything"] = 1
    session.save()
    victim.cookies["sessionid"] = attacker.cookies["sessionid"].value

    assert password(victim)["Location"] == ADD

    assert victim.get(ADD).status_code == 200
    assert attacker.get(ADD)["Location"].startswith("/login/")


def test_a53_the_key_of_half_a_sign_in_opens_no_session(
    browser: Client, totp: pyotp.TOTP
) -> None:
    password(browser)
    half = browser.cookies["sessionid"].value

    browser.post(STEP, {"code": totp.now()})

    thief = Client(SERVER_NAME="localhost")
    thief.cookies["sessionid"] = half
    assert not signed_in(thief)
    assert browser.cookies["sessionid"].value != half


# --- Guessing ------------------------------------------------------------------------


def test_a54_guessing_codes_is_slowed_and_the_owner_is_told(
    browser: Client, administrator: User, totp: pyotp.TOTP
) -> None:
    password(browser)
    wrong = f"{(int(totp.now()) + 1) % 10**6:06}"
    for _ in range(throttle.FREE_PER_ACCOUNT):
        assert browser.post(STEP, {"code": wrong}).status_code == 422

    response = browser.post(STEP, {"code": totp.now()})

    assert response.status_code == 429
    assert "Too many sign-ins failed" in response.content.decode()
    assert not signed_in(browser)
    (notice,) = Notice.objects.filter(kind="own-account")
    assert notice.title == (
        "Somebody who knows the password of admin has no second factor"
    )
    assert list(notice.accounts.all()) == [administrator]
    refusals = ObjectHistory.objects.filter(action="refused")
    assert refusals.count() == throttle.FREE_PER_ACCOUNT


def test_a54_after_many_guesses_a_code_waits_a_quarter_of_an_hour(
    administrator: User, totp: pyotp.TOTP
) -> None:
    now = timezone.now()
    for _ in range(30):
        FailedSignIn.objects.create(
            at=now,
            username_key=throttle.username_key(f"second factor of\n{administrator.pk}"),
        )

    with pytest.raises(throttle.TooManyFailures) as refused:
        second_factor.check_code(
            administrator,
            totp.at(now),
            browser=throttle.Browser(),
            address="10.0.0.1",
            now=now,
        )

    assert refused.value.seconds == 15 * 60


def test_a54_the_owner_in_a_known_browser_does_not_wait_for_strangers(
    browser: Client, totp: pyotp.TOTP
) -> None:
    password(browser)
    browser.post(STEP, {"code": totp.at(timezone.now() - timedelta(seconds=30))})
    browser.post("/logout/")
    stranger = Client(SERVER_NAME="localhost", REMOTE_ADDR="10.6.6.6")
    password(stranger)
    for _ in range(throttle.FREE_PER_ACCOUNT + 1):
        stranger.post(STEP, {"code": "000000"})

    password(browser)

    assert browser.post(STEP, {"code": totp.now()})["Location"] == "/"


def test_a_right_code_leaves_no_trace_of_failure(
    browser: Client, totp: pyotp.TOTP
) -> None:
    password(browser)
    browser.post(STEP, {"code": totp.now()})

    assert not FailedSignIn.objects.exists()


# --- Passkeys ------------------------------------------------------------------------


def questions(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.post(f"{STEP}questions/").json()
    return found


def test_a_passkey_signs_in(browser: Client, administrator: User) -> None:
    device = with_passkey(administrator)
    password(browser)

    asked = questions(browser)
    response = browser.post(f"{STEP}passkey/", {"answer": device.sign(asked)})

    assert response["Location"] == "/"
    assert signed_in(browser)
    assert Passkey.objects.get().last_used_at is not None


def test_an_answer_of_a_passkey_works_once(
    browser: Client, administrator: User
) -> None:
    device = with_passkey(administrator)
    password(browser)
    answer = device.sign(questions(browser))
    browser.post(f"{STEP}passkey/", {"answer": answer})

    thief = Client(SERVER_NAME="localhost")
    password(thief)
    questions(thief)

    assert thief.post(f"{STEP}passkey/", {"answer": answer}).status_code == 422
    assert not signed_in(thief)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"origin": "https://console.evil.example"}, id="another origin"),
        pytest.param({"challenge": "AAAAAAAAAAAAAAAAAAAAAA"}, id="another challenge"),
        pytest.param({"type": "webauthn.create"}, id="another kind"),
    ],
)
def test_a_passkey_that_signed_something_else_is_refused(
    browser: Client, administrator: User, changed: dict[str, str]
) -> None:
    device = with_passkey(administrator)
    password(browser)

    answer = device.sign(questions(browser), **changed)
    response = browser.post(f"{STEP}passkey/", {"answer": answer})

    assert response.status_code == 422
    assert "The passkey was not accepted" in response.content.decode()
    assert not signed_in(browser)


def test_another_key_under_the_same_name_is_refused(
    browser: Client, administrator: User
) -> None:
    device = with_passkey(administrator)
    forger = PasskeyDevice(credential_id=device.credential_id)
    password(browser)

    answer = forger.sign(questions(browser))

    assert browser.post(f"{STEP}passkey/", {"answer": answer}).status_code == 422


def test_the_passkey_of_another_account_is_refused(
    browser: Client, administrator: User
) -> None:
    with_passkey(administrator)
    others = with_passkey(factories.administrator("other"))
    password(browser)

    answer = others.sign(questions(browser))

    assert browser.post(f"{STEP}passkey/", {"answer": answer}).status_code == 422


def test_a_copied_passkey_is_noticed_by_its_counter(
    browser: Client, administrator: User
) -> None:
    device = with_passkey(administrator)
    Passkey.objects.update(sign_count=7)
    password(browser)

    answer = device.sign(questions(browser))

    assert browser.post(f"{STEP}passkey/", {"answer": answer}).status_code == 422


@pytest.mark.parametrize(
    "answer", ["", "{", "[]", "{}", "[" * 9000, "x" * 30_000, '{"id": 1}']
)
def test_what_is_no_answer_of_a_passkey_is_refused(
    browser: Client, administrator: User, answer: str
) -> None:
    with_passkey(administrator)
    password(browser)
    questions(browser)

    assert browser.post(f"{STEP}passkey/", {"answer": answer}).status_code == 422


@pytest.mark.parametrize("answer", ["{", "[]", "{}", "[" * 9000, "x" * 30_000])
def test_what_is_no_new_passkey_is_refused(
    browser: Client, administrator: User, answer: str
) -> None:
    password(browser)
    browser.post(f"{ADD}passkey/questions/")

    response = browser.post(f"{ADD}passkey/", {"name": "x", "answer": answer})

    assert response.status_code == 422
    assert not Passkey.objects.exists()


def test_a_passkey_whose_key_lacks_a_part_is_refused(
    browser: Client, administrator: User
) -> None:
    password(browser)
    asked = browser.post(f"{ADD}passkey/questions/").json()
    device = PasskeyDevice(left_out=-1)

    response = browser.post(
        f"{ADD}passkey/", {"name": "x", "answer": device.create(asked)}
    )

    assert response.status_code == 422
    assert not Passkey.objects.exists()


def test_a_passkey_of_another_console_is_not_kept(
    browser: Client, administrator: User
) -> None:
    password(browser)
    asked = browser.post(f"{ADD}passkey/questions/").json()
    device = PasskeyDevice(origin="https://console.evil.example")

    response = browser.post(
        f"{ADD}passkey/", {"name": "x", "answer": device.create(asked)}
    )

    assert response.status_code == 422
    assert not Passkey.objects.exists()


def test_the_same_passkey_is_kept_once(browser: Client, administrator: User) -> None:
    device = with_passkey(administrator)
    other = factories.administrator("other")
    client = Client(SERVER_NAME="localhost")
    password(client, other.username)
    asked = client.post(f"{ADD}passkey/questions/").json()

    response = client.post(
        f"{ADD}passkey/", {"name": "x", "answer": device.create(asked)}
    )

    assert response.status_code == 422
    assert Passkey.objects.count() == 1


# --- Recovery codes ------------------------------------------------------------------


def codes_of(account: User) -> list[str]:
    return second_factor.new_recovery_codes(account, now=timezone.now())


def test_a_recovery_code_signs_in_once_and_its_account_is_told(
    browser: Client, administrator: User, totp: pyotp.TOTP
) -> None:
    code = codes_of(administrator)[3]
    Notice.objects.all().delete()
    password(browser)
    assert "Use a recovery code" in browser.get(STEP).content.decode()

    browser.post(STEP, {"code": code.lower().replace("-", " "), "recovery": "1"})

    assert signed_in(browser)
    notice = Notice.objects.get(kind="own-account")
    assert notice.title == "A recovery code of admin was used"
    assert "9 are left" in notice.body
    thief = Client(SERVER_NAME="localhost")
    password(thief)
    again = thief.post(STEP, {"code": code, "recovery": "1"})
    assert again.status_code == 422
    assert not signed_in(thief)


def test_new_recovery_codes_void_the_old_ones(
    browser: Client, administrator: User, totp: pyotp.TOTP
) -> None:
    old, new = codes_of(administrator)[0], codes_of(administrator)[0]
    password(browser)

    assert browser.post(STEP, {"code": old, "recovery": "1"}).status_code == 422
    assert browser.post(STEP, {"code": new, "recovery": "1"}).status_code == 303


def test_a46_secrets_and_codes_stand_in_no_table_and_no_log(
    browser: Client, administrator: User, caplog: pytest.LogCaptureFixture
) -> None:
    password(browser)
    totp = begin_app(browser)
    shown = browser.post(f"{ADD}app/", {"code": totp.now()})
    codes = [one.text for one in page(shown).cssselect(".codes code")]
    browser.post("/login/enrolled/")

    kept = "".join(
        str(list(model._default_manager.values_list())) for model in apps.get_models()
    )

    for secret in (totp.secret, *codes, *(str(one).replace("-", "") for one in codes)):
        assert str(secret) not in kept
        assert str(secret) not in caplog.text


def test_a48_the_secret_of_one_app_does_not_decrypt_in_another(
    administrator: User,
) -> None:
    with_app(administrator)
    with_app(factories.administrator("other"))
    first, second = AuthenticatorApp.objects.order_by("created_at")
    first.secret_sealed = second.secret_sealed

    with pytest.raises(crypto.DecryptionFailed):
        authenticator_app.secret_of(first)


def test_a48_the_secret_of_an_app_moves_to_the_newest_key(
    administrator: User, totp: pyotp.TOTP, settings: Any
) -> None:
    old = settings.ENCRYPTION_KEYS
    new = ["new:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="]
    settings.ENCRYPTION_KEYS = [*new, *old]
    printed = StringIO()

    call_command("reencrypt", stdout=printed)

    settings.ENCRYPTION_KEYS = new
    assert "1 sealed anew, 0 were new already" in printed.getvalue()
    assert authenticator_app.secret_of(AuthenticatorApp.objects.get()) == totp.secret
    call_command("reencrypt", stdout=printed)
    assert "0 sealed anew, 1 were new already" in printed.getvalue()


def test_a48_a_secret_that_cannot_be_read_is_kept_and_reported(
    administrator: User, totp: pyotp.TOTP, settings: Any
) -> None:
    before = AuthenticatorApp.objects.get().secret_sealed
    settings.ENCRYPTION_KEYS = ["new:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="]

    with pytest.raises(CommandError, match="1 could not be read"):
        call_command("reencrypt", stdout=StringIO())

    assert AuthenticatorApp.objects.get().secret_sealed == before


def test_a_lost_encryption_key_is_told_and_a_recovery_code_helps(
    browser: Client, administrator: User, totp: pyotp.TOTP, settings: Any
) -> None:
    code = codes_of(administrator)[0]
    settings.ENCRYPTION_KEYS = []
    password(browser)

    response = browser.post(STEP, {"code": totp.now()})

    assert response.status_code == 422
    assert "its encryption key is missing" in response.content.decode()
    browser.post(STEP, {"code": code, "recovery": "1"})
    assert signed_in(browser)


# --- Changing it ---------------------------------------------------------------------


@pytest.fixture
def inside(browser: Client, totp: pyotp.TOTP) -> Client:
    """Signed in a while ago: who it is has to be proved again."""
    password(browser)
    browser.post(STEP, {"code": totp.at(timezone.now() - timedelta(seconds=30))})
    session = browser.session
    session["proved_at"] = (timezone.now() - timedelta(minutes=11)).isoformat()
    session.save()
    return browser


CHANGES = [
    ("GET", ADD),
    ("POST", f"{ADD}app/begin/"),
    ("GET", f"{ADD}passkey/"),
    ("POST", "/account/sign-in/app/remove/"),
    ("POST", "/account/sign-in/recovery-codes/new/"),
    ("GET", "/account/sign-in/password/"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_changes_ask_again_who_it_is(inside: Client, method: str, path: str) -> None:
    response = inside.generic(method, path)

    assert response.status_code == 303
    assert response["Location"].startswith("/account/prove/?next=")
    assert AuthenticatorApp.objects.filter(confirmed_at__isnull=False).exists()
    assert not RecoveryCode.objects.exists()


def test_proving_it_takes_the_password_and_the_second_factor(
    inside: Client, totp: pyotp.TOTP
) -> None:
    wrong = inside.post("/account/prove/", {"password": "wrong", "next": ADD})
    assert wrong.status_code == 422

    half = inside.post("/account/prove/", {"password": factories.PASSWORD, "next": ADD})
    assert half["Location"] == STEP
    assert inside.get(ADD)["Location"].startswith("/account/prove/")

    done = inside.post(STEP, {"code": totp.now()})
    assert done["Location"] == ADD
    assert inside.get(ADD).status_code == 200


def test_a_proof_for_one_account_does_not_serve_another(
    inside: Client, totp: pyotp.TOTP
) -> None:
    inside.post("/account/prove/", {"password": factories.PASSWORD, "next": ADD})
    other = factories.administrator("other")
    session = inside.session
    session["half_signed_in"] |= {
        "account": other.pk,
        "hash": other.get_session_auth_hash(),
    }
    session.save()

    assert inside.get(STEP)["Location"] == "/login/"


@pytest.fixture
def proved(inside: Client) -> Client:
    session = inside.session
    session["proved_at"] = timezone.now().isoformat()
    session.save()
    return inside


def test_the_last_factor_of_full_access_is_not_removed(
    proved: Client, administrator: User
) -> None:
    response = proved.post("/account/sign-in/app/remove/", follow=True)

    assert "needs a second factor" in response.content.decode()
    assert second_factor.of(administrator).any


def test_one_of_two_factors_is_removed(proved: Client, administrator: User) -> None:
    with_passkey(administrator)

    proved.post("/account/sign-in/app/remove/")

    assert second_factor.of(administrator).app is None
    assert "Removed the authenticator app." in list(
        ObjectHistory.objects.values_list("note", flat=True)
    )
    assert Notice.objects.filter(title="How admin signs in was changed").exists()


def test_the_last_factor_of_an_account_that_needs_none_goes_with_its_codes(
    browser: Client,
) -> None:
    lena = factories.custom_account(
        "lena", "Read Policies", access_level="SITE", site=factories.site()
    )
    with_passkey(lena)
    codes_of(lena)
    browser.force_login(lena)
    session = browser.session
    session["proved_at"] = timezone.now().isoformat()
    session.save()

    browser.post(f"/account/sign-in/passkeys/{Passkey.objects.get().pk}/remove/")

    assert not second_factor.of(lena).any
    assert not RecoveryCode.objects.exists()


def test_nobody_removes_the_passkey_of_another(
    proved: Client, administrator: User
) -> None:
    with_passkey(factories.administrator("other"))
    theirs = Passkey.objects.get()

    assert (
        proved.post(f"/account/sign-in/passkeys/{theirs.pk}/remove/").status_code == 404
    )
    assert Passkey.objects.exists()


def test_a_new_app_replaces_the_old_one(
    proved: Client, administrator: User, totp: pyotp.TOTP
) -> None:
    codes_of(administrator)
    new = begin_app(proved)

    response = proved.post(f"{ADD}app/", {"code": new.now()})

    assert response["Location"] == "/account/sign-in/"
    app = AuthenticatorApp.objects.get()
    assert authenticator_app.secret_of(app) == new.secret != totp.secret


def test_ones_own_password_is_changed_and_ends_the_other_sessions(
    proved: Client, administrator: User, totp: pyotp.TOTP
) -> None:
    new = "a new password of good length"
    elsewhere = Client(SERVER_NAME="localhost")
    elsewhere.force_login(administrator)

    response = proved.post(
        "/account/sign-in/password/", {"password": new, "password_again": new}
    )

    assert response["Location"] == "/account/sign-in/"
    administrator.refresh_from_db()
    assert administrator.check_password(new)
    assert proved.get("/settings/").status_code == 200
    assert elsewhere.get("/settings/").status_code == 302
    assert Notice.objects.filter(title="The password of admin was changed").exists()


def test_somebody_of_entra_is_told_that_microsoft_asks(browser: Client) -> None:
    ana = factories.directory_user("Ana", factories.cloud_idp())
    account = factories.entra_account(ana)
    factories.account_group("Admins", account)
    browser.force_login(account)

    shown = browser.get("/account/sign-in/").content.decode()

    assert "Microsoft asks for your password" in shown
    for path in (ADD, "/account/sign-in/password/", "/account/prove/"):
        assert browser.get(path)["Location"] == "/account/sign-in/"


# --- Others take it away ---------------------------------------------------------------


def test_an_administrator_removes_the_factors_of_somebody_who_lost_them(
    proved: Client,
) -> None:
    lena = factories.administrator("lena")
    with_passkey(lena)
    path = f"/settings/accounts/{lena.pk}/second-factor/remove/"
    assert proved.post(path, {"confirm": "wrong"}).status_code == 422

    proved.post(path, {"confirm": "lena"})

    assert not Passkey.objects.exists()
    notice = Notice.objects.get(kind="own-account")
    assert "Removed all second factors by Local Administrator" in notice.body
    assert list(notice.accounts.all()) == [lena]


def test_a35_nobody_removes_the_factors_of_who_holds_more(
    browser: Client, administrator: User, totp: pyotp.TOTP
) -> None:
    mara = factories.custom_account("mara", "Read Accounts", "Update Accounts")
    browser.force_login(mara)
    session = browser.session
    session["proved_at"] = timezone.now().isoformat()
    session.save()

    response = browser.post(
        f"/settings/accounts/{administrator.pk}/second-factor/remove/",
        {"confirm": "admin"},
    )

    assert response.status_code == 422
    assert second_factor.of(administrator).any


# --- On the server ---------------------------------------------------------------------


def unlock(*arguments: str) -> str:
    out = StringIO()
    call_command("unlock_account", *arguments, stdout=out)
    return out.getvalue()


def test_the_server_unlocks_an_account_that_has_to_wait(
    browser: Client, administrator: User, totp: pyotp.TOTP
) -> None:
    password(browser)
    for _ in range(throttle.FREE_PER_ACCOUNT):
        browser.post(STEP, {"code": "000000"})
    assert browser.post(STEP, {"code": totp.now()}).status_code == 429

    said = unlock("ADMIN")

    assert "5 refused second factors" in said
    assert browser.post(STEP, {"code": totp.now()}).status_code == 303


def test_the_server_forgets_a_lost_second_factor(
    browser: Client, administrator: User, totp: pyotp.TOTP
) -> None:
    assert "second factor stays" in unlock("admin")
    assert second_factor.of(administrator).any

    said = unlock("admin", "--forget-second-factor")

    assert "Removed all second factors" in said
    assert password(browser)["Location"] == ADD
    entry = ObjectHistory.objects.get(note="Removed all second factors.")
    assert entry.actor is None


def test_the_server_says_so_when_there_is_no_such_account() -> None:
    with pytest.raises(CommandError, match="No local account has the user name nobody"):
        unlock("nobody")


# --- It is announced -------------------------------------------------------------------


def test_each_local_full_access_sign_in_is_announced(
    browser: Client, administrator: User, totp: pyotp.TOTP
) -> None:
    password(browser)
    assert not Notice.objects.filter(kind="local-sign-in").exists()
    browser.post(STEP, {"code": totp.now()})

    notice = Notice.objects.get(kind="local-sign-in")

    assert notice.title == "admin signed in with a password"
    assert "Password and authenticator app from 127.0.0.1" in notice.body


def test_a_sign_in_without_full_access_is_not_announced(browser: Client) -> None:
    factories.local_account("lena")

    password(browser, "lena")

    assert signed_in(browser)
    assert not Notice.objects.filter(kind="local-sign-in").exists()


def test_pages_of_the_second_step_carry_the_address_of_no_secret(
    browser: Client, totp: pyotp.TOTP
) -> None:
    password(browser)

    shown = browser.get(STEP).content.decode()

    assert totp.secret not in shown
    assert not re.search(r"sealed|eyJ", shown)
