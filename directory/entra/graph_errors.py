"""Which error an answer of Microsoft Graph is, and which claims it asks for.

https://learn.microsoft.com/graph/errors
"""

import base64
import binascii
import re
from urllib.parse import parse_qsl, urlsplit

import orjson
import requests

from directory.entra import errors
from directory.entra.answers import foreign_answer, is_json, json_value
from directory.entra.objects import unreadable
from directory.entra.transport import request_id

_DELTA_GONE = frozenset({"syncstatenotfound", "resyncrequired"})
_PAGE_GONE = frozenset(
    {"directory_expiredpagetoken", "directorypagetokennotfoundexception"}
)


# Spaces around "=" are bad style that RFC 9110 asks recipients to bear with.
_INSUFFICIENT = re.compile(r'\berror\s*=\s*"insufficient_claims"')
_CLAIMS = re.compile(r'\bclaims\s*=\s*"([A-Za-z0-9+/=_-]+)"')
_URL_SAFE = str.maketrans("-_", "+/")


def claims_challenge(header: str) -> str | None:
    """Return the claims that `WWW-Authenticate` asks for, as JSON, or None.

    https://learn.microsoft.com/entra/identity-platform/claims-challenge
    """
    match = _CLAIMS.search(header)
    if match is None or not _INSUFFICIENT.search(header):
        return None
    text = match.group(1).rstrip("=").translate(_URL_SAFE)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        return raw.decode() if isinstance(orjson.loads(raw), dict) else None
    except (binascii.Error, UnicodeDecodeError, orjson.JSONDecodeError):
        return None


def error_code(answer: object) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(code, str) or not re.fullmatch(r"[A-Za-z0-9_.]{1,80}", code):
        return ""
    return code


def response_error(
    response: requests.Response,
    *,
    permission: str,
    delta_url: str | None,
    names_object: bool,
) -> errors.EntraError:
    # Whatever its status, an error that is not Graph's says nothing about Graph.
    gone = delta_url is not None and response.status_code == 410
    if not is_json(response) and not (gone and not response.content):
        return foreign_answer(response, "Microsoft Graph")
    return graph_error(
        response.status_code,
        error_code(json_value(response)),
        request_id(response),
        permission=permission,
        delta_url=delta_url,
        names_object=names_object,
    )


def graph_error(
    status: int,
    code: str,
    given_id: str,
    *,
    permission: str,
    delta_url: str | None = None,
    names_object: bool,
) -> errors.EntraError:
    """Choose the error by status and code; the message is for people and changes.

    https://learn.microsoft.com/graph/errors
    """
    reference = errors.Reference(status=status, code=code, request_id=given_id)
    if delta_url is not None and _delta_expired(status, code.lower(), delta_url):
        return errors.DeltaExpired(
            "Microsoft no longer knows where the last sync ended.", **reference
        )
    if code == "Authorization_IdentityNotFound":
        return errors.ApplicationRemoved(
            "The enterprise application is missing in the tenant.", **reference
        )
    if status == 401:
        return errors.TokenRefused(
            "Microsoft Graph does not accept the console's access token.", **reference
        )
    if not code:
        return unreadable(
            f"an error {status} without a code", status=status, request_id=given_id
        )
    if status == 403:
        reference["advice"] = (
            f"Ask a Global Administrator of the tenant to consent to {permission}."
        )
        return errors.PermissionMissing(
            f"Microsoft Graph does not let the console do this: {permission} is "
            "missing.",
            permission=permission,
            **reference,
        )
    if status == 404 and names_object:
        return errors.DirectoryObjectNotFound(
            "There is no such user or group in the tenant.", **reference
        )
    if code == "Directory_ResultSizeLimitExceeded":
        return errors.ResultTooLarge(
            "The answer is too large for one piece.", **reference
        )
    if code.lower() in _PAGE_GONE:
        return errors.PageExpired(
            "Microsoft no longer knows this page of a list.", **reference
        )
    if status in (400, 501):
        return errors.QueryRefused(
            "Microsoft Graph does not accept a request of the console.", **reference
        )
    reference["advice"] = "Nothing was changed. Try again later."
    return errors.GraphError(
        f"Microsoft Graph answered with the error {status}.", **reference
    )


def _delta_expired(status: int, code: str, url: str) -> bool:
    """Tell whether a delta answer asks to begin again, in any of its four shapes.

    https://learn.microsoft.com/graph/delta-query-overview#synchronization-reset
    """
    if status == 410:
        return True
    if not 400 <= status < 500:
        return False
    if code in _DELTA_GONE or code in _PAGE_GONE:
        return True
    # "DeltaLink older than 30 days is not supported." has a code that also means
    # other things, so it counts for a delta link alone.
    names = {name.lower() for name, _value in parse_qsl(urlsplit(url).query)}
    return code == "request_unsupportedquery" and bool(
        names & {"$deltatoken", "deltatoken"}
    )
