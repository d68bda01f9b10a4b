"""The kinds of notices: what each is about, and which privilege lets one see it.

Data alone: the features above announce, and Settings > Notifications lists them.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    label: str
    about: str
    # Who holds it sees the notices of this kind; "" when each names its accounts.
    privilege: str = ""
    # Who has to hold this one as well to get mail: it asks for something to be done.
    mail_privilege: str = ""
    # Whether mail goes out until somebody says otherwise in the settings.
    by_mail: bool = True
    # About one's own account: nobody can be made to miss it.
    always_by_mail: bool = False


CONNECTION_STATUS = Kind(
    "connection-status",
    "Connection needs attention",
    "A cloud identity provider stopped working, or works again.",
    "directory.view_cloudidentityprovider",
)
CREDENTIAL_EXPIRY = Kind(
    "credential-expiry",
    "Credential expires or is refused",
    "A secret or certificate of an Entra ID application expires in 60, 30, 7 or 1 days, "
    "has expired, or is refused by Microsoft.",
    "directory.view_applicationregistration",
)
CONSENT_REQUEST = Kind(
    "consent-request",
    "Request for consent answered",
    "A Global Administrator consented, or did not, at the link of a request that was "
    "sent from this console.",
    "directory.add_cloudidentityprovider",
)
HELD_CHANGES = Kind(
    "held-changes",
    "Changes held",
    "A sync holds changes back until somebody approves them. Mail goes to those who may.",
    "directory.view_syncrun",
    mail_privilege="directory.decide_heldchange",
)
RENAMED_GROUPS = Kind(
    "renamed-groups",
    "Groups renamed",
    "A sync found groups under another name: some that scopes or privileges use, or "
    "many at once.",
    "directory.view_syncrun",
)
PRIVILEGES = Kind(
    "privileges",
    "Console privileges",
    "Who may do what in this console changed, or somebody may be trying to change it.",
    "accounts.view_accountgroup",
)
LOCAL_SIGN_IN = Kind(
    "local-sign-in",
    "Local Full Access sign-in",
    "Somebody signed in with a password to an account that has Full Access.",
    "accounts.view_user",
)
SIGN_IN_SWITCHES = Kind(
    "sign-in-switches",
    "Sign-in stopped or allowed",
    "Sign-in with Entra was stopped or allowed again, or a person was blocked.",
    "accounts.view_user",
)
OWN_ACCOUNT = Kind(
    "own-account",
    "Your own account",
    "How you sign in changed: a second factor, a recovery code, a block.",
    always_by_mail=True,
)
PUBLIC_ADDRESS = Kind(
    "public-address",
    "Address of the console",
    "Connections to the console's own address are not protected as they should be.",
    "jamfidp.view_system",
)
TEST_MAIL = Kind(
    "test-mail",
    "Test mail",
    "Sent by the button in Settings > Notifications.",
    always_by_mail=True,
)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        CONNECTION_STATUS,
        CREDENTIAL_EXPIRY,
        CONSENT_REQUEST,
        HELD_CHANGES,
        RENAMED_GROUPS,
        PRIVILEGES,
        LOCAL_SIGN_IN,
        SIGN_IN_SWITCHES,
        PUBLIC_ADDRESS,
        OWN_ACCOUNT,
        TEST_MAIL,
    )
}

# What Settings > Notifications decides about.
CONFIGURABLE = [kind for kind in KINDS.values() if not kind.always_by_mail]
