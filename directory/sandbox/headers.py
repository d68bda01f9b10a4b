"""The headers of the sign-in service, as recorded answers have them."""

import uuid

JSON = "application/json; charset=utf-8"
_ALWAYS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "P3P": 'CP="DSP CUR OTPi IND OTRi ONL FIN"',
    "x-ms-ests-server": "sandbox",
}


def of_tokens() -> dict[str, str]:
    return _ALWAYS | {
        "Cache-Control": "no-store, no-cache",
        "Pragma": "no-cache",
        "Expires": "-1",
        "x-ms-request-id": str(uuid.uuid4()),
        "x-ms-clitelem": "1,0,0,,",
    }


def of_metadata(*, found: bool = True) -> dict[str, str]:
    """Return the headers of discovery and keys, which may be kept for a day."""
    return _ALWAYS | {
        "Cache-Control": "max-age=86400, private" if found else "private",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET, OPTIONS",
        "x-ms-request-id": str(uuid.uuid4()),
    }
