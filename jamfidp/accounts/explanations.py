"""Why privileges are withheld, in words: what is the case, and what to do."""

from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone

from jamfidp.accounts.grants import Reason, Withheld


@dataclass(frozen=True, slots=True)
class Explanation:
    what: str
    advice: str


_SYNC = "An administrator of this console can start a sync of the connection."
_ENTRA = "Ask an administrator of the tenant; the next sync here sees the change."
_GROUP = (
    "Ask an administrator of this console which directory group gives the privileges."
)

_WORDS = {
    Reason.ACCOUNT_DISABLED: (
        "The account is disabled in this console.",
        "Ask another administrator to enable it.",
    ),
    Reason.BLOCKED: (
        "{Who} {is_are} blocked in this console.",
        "Ask another administrator to lift the block.",
    ),
    Reason.NO_CONNECTION: (
        "The connection to the tenant was deleted from this console.",
        "An administrator who signs in with a local account can connect it again.",
    ),
    Reason.CONNECTION_DISABLED: (
        "The connection {subject} is disabled, and a disabled connection grants "
        "nothing.",
        "An administrator who signs in with a local account can enable it.",
    ),
    Reason.NEVER_READ: (
        "The directory of {subject} has not been read completely yet. Until then the "
        "console does not know who belongs to which group.",
        "Wait for the first sync to finish, then sign in again.",
    ),
    Reason.STALE: (
        "The last good read of {subject} was on {at}, longer than {hours} hours ago. "
        "Privileges held through the directory are suspended until the next one.",
        _SYNC,
    ),
    Reason.RESTORED: (
        "The console was restored from a backup, and {subject} has not been read since. "
        "Privileges held through the directory are suspended until it is.",
        _SYNC,
    ),
    Reason.NOT_SEEN: (
        "The last read of {subject} did not contain {whom}. Somebody who was "
        "added to Entra since then becomes known with the next sync.",
        _SYNC,
    ),
    Reason.PERSON_DELETED: ("{Who} {was} deleted in Entra.", _ENTRA),
    Reason.PERSON_DISABLED: ("{Whose} account is disabled in Entra.", _ENTRA),
    Reason.ENABLED_UNKNOWN: (
        "Entra does not say whether {whose} account is enabled, and unknown counts "
        "as no.",
        _SYNC,
    ),
    Reason.GUEST: (
        "{Who} {is_are} a guest in {subject}. Guests get no privileges in this console, "
        "whatever groups they are in.",
        "Use an account that is a member of the tenant, or ask for a local account.",
    ),
    Reason.TYPE_UNKNOWN: (
        "Entra does not say whether {who} {is_are} a member or a guest, and unknown "
        "counts as no.",
        "Ask an administrator of the tenant to set the user type to Member.",
    ),
    Reason.GROUP_GONE: (
        "The directory group {subject} that was bound no longer exists. A group made "
        "again under the same name is another group.",
        "An administrator of this console can bind the account group to another "
        "directory group.",
    ),
    Reason.GROUP_HIDDEN: (
        "The members of {subject} are hidden, and unknown counts as no.",
        "Bind a group whose members can be read.",
    ),
    Reason.DIRECT_UNKNOWN: (
        "Microsoft says that the directory group {subject} holds {whom}. Only its "
        "direct members count here, and whether {who} {is_are} one becomes known with "
        "the next sync.",
        _SYNC,
    ),
    Reason.NOT_MEMBER: ("Not a member of the directory group {subject}.", _ENTRA),
    Reason.LEFT: (
        "Entra says that {who} {is_are} no longer a member of the directory group "
        "{subject}. The change is held for everything else; a loss of privileges never "
        "waits.",
        _ENTRA,
    ),
    Reason.NOT_AGREED: (
        "The directory group {subject} gives Full Access. Microsoft says that it holds "
        "{whom}, and an administrator of this console has to agree to it first.",
        "Ask an administrator to approve the change under Activity > Held changes, "
        "after the next sync.",
    ),
    Reason.NO_GROUP: ("No account group has this account as a member.", _GROUP),
}


# Reasons that are about one directory group, not about the person.
ABOUT_GROUPS = frozenset(
    {
        Reason.NOT_MEMBER,
        Reason.LEFT,
        Reason.NOT_AGREED,
        Reason.GROUP_GONE,
        Reason.GROUP_HIDDEN,
        Reason.DIRECT_UNKNOWN,
    }
)

_YOU = {
    "Who": "You",
    "who": "you",
    "whom": "you",
    "Whose": "Your",
    "whose": "your",
    "is_are": "are",
    "was": "were",
}
_THEY = {
    "Who": "The person",
    "who": "the person",
    "whom": "this person",
    "Whose": "The person's",
    "whose": "the person's",
    "is_are": "is",
    "was": "was",
}


def explain(withheld: Withheld, *, you: bool = False) -> Explanation:
    """Say it of the reader, or of somebody else."""
    what, advice = _WORDS[withheld.reason]
    at = timezone.localtime(withheld.at) if withheld.at else None
    return Explanation(
        what.format(
            subject=withheld.subject,
            at=f"{at:%-d %B, %H:%M}" if at else "",
            hours=settings.DIRECTORY_FRESHNESS_HOURS,
            **(_YOU if you else _THEY),
        ),
        advice,
    )
