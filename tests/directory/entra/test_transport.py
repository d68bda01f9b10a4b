import io
import logging
from datetime import timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
import requests
import responses

from directory.entra import PUBLIC, US_GOV_L4, TransferStats, errors
from directory.entra.transport import (
    ATTEMPTS,
    LONGEST_RETRY_AFTER,
    allowed_read,
    retry_after,
)
from tests.directory.entra.fakes import (
    CODE,
    CONFIGURATION_URL,
    GRAPH,
    LOGIN,
    NOW,
    SECRET,
    TENANT,
    TOKEN,
    TOKEN_URL,
    FakeTime,
    session_for,
)

USERS = f"{GRAPH}/users"


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", f"{LOGIN}/{TENANT}/v2.0/.well-known/openid-configuration"),
        ("GET", f"{LOGIN}/organizations/discovery/v2.0/keys"),
        ("POST", f"{LOGIN}/{TENANT}/oauth2/v2.0/token"),
        ("GET", f"{GRAPH}/organization?$select=id"),
        ("GET", f"{GRAPH}/users?$top=1"),
        ("GET", f"{GRAPH}/users/delta?$deltatoken=abc"),
        ("GET", f"{GRAPH}/users/{TENANT}"),
        ("GET", f"{GRAPH}/users/guest_example.com%23EXT%23@fernhill.example"),
        ("GET", f"{GRAPH}/users/{TENANT}/transitiveMemberOf"),
        ("POST", f"{GRAPH}/users/{TENANT}/getMemberGroups"),
        ("POST", f"{GRAPH}/users/{TENANT}/checkMemberGroups"),
        ("GET", f"{GRAPH}/groups"),
        ("GET", f"{GRAPH}/groups/delta"),
        ("GET", f"{GRAPH}/groups/{TENANT}"),
        ("GET", f"{GRAPH}/groups/{TENANT}/members"),
        ("GET", f"{GRAPH}/groups/{TENANT}/transitiveMembers"),
    ],
)
def test_the_reads_of_the_console_are_admitted(method: str, url: str) -> None:
    assert allowed_read(PUBLIC, method, url).method == method


@pytest.mark.parametrize(
    ("method", "url"),
    [
        pytest.param("POST", f"{GRAPH}/users", id="create a user"),
        pytest.param("PATCH", f"{GRAPH}/users/{TENANT}", id="change a user"),
        pytest.param("DELETE", f"{GRAPH}/users/{TENANT}", id="delete a user"),
        pytest.param("PUT", f"{GRAPH}/users/{TENANT}", id="replace a user"),
        pytest.param("POST", f"{GRAPH}/groups/{TENANT}/members/$ref", id="add member"),
        pytest.param("DELETE", f"{GRAPH}/groups/{TENANT}", id="delete a group"),
        pytest.param("POST", f"{GRAPH}/subscriptions", id="subscribe"),
        pytest.param("GET", f"{GRAPH}/users/{TENANT}/memberOf", id="memberOf"),
        pytest.param("GET", f"{GRAPH}/users/{TENANT}/messages", id="mail"),
        pytest.param("GET", f"{GRAPH}/users/$count", id="count"),
        pytest.param("GET", f"{GRAPH}/users/%24count", id="count, encoded"),
        pytest.param("GET", f"{GRAPH}/users//messages", id="an empty segment"),
        pytest.param("GET", f"{GRAPH}/users/a%2Fmessages", id="an encoded slash"),
        pytest.param("GET", f"{GRAPH}/users/a%5Cmessages", id="an encoded backslash"),
        pytest.param("GET", f"{GRAPH}/users/%2e%2e", id="encoded dots"),
        pytest.param("GET", f"{GRAPH}/users/a%0Ab", id="an encoded line end"),
        pytest.param("GET", "https://graph.microsoft.com/beta/users", id="beta"),
        pytest.param("HEAD", f"{GRAPH}/users", id="another method"),
        pytest.param("get", f"{GRAPH}/users", id="a method in lower case"),
        pytest.param("POST", f"{LOGIN}/{TENANT}/oauth2/v2.0/authorize", id="authorize"),
        pytest.param("GET", f"{LOGIN}/{TENANT}/oauth2/v2.0/token", id="token by GET"),
        pytest.param("GET", f"{LOGIN}/v1.0/users", id="Graph's path at the login host"),
        pytest.param("GET", "https://evil.example/v1.0/users", id="another host"),
        pytest.param(
            "GET", "https://graph.microsoft.com.evil.example/v1.0/users", id="suffix"
        ),
        pytest.param(
            "GET", "https://graph.microsoft.com@evil.example/v1.0/users", id="user part"
        ),
        pytest.param(
            "GET", "https://x@graph.microsoft.com/v1.0/users", id="a user name"
        ),
        pytest.param("GET", "http://graph.microsoft.com/v1.0/users", id="plain http"),
        pytest.param("GET", "http://graph.microsoft.com:443/v1.0/users", id="http 443"),
        pytest.param("GET", "https://graph.microsoft.com:8443/v1.0/users", id="port"),
        pytest.param("GET", "https://graph.microsoft.us/v1.0/users", id="other cloud"),
        pytest.param("GET", "https://graph.microsoft.com:x/v1.0/users", id="bad port"),
        pytest.param("GET", "/v1.0/users", id="no host"),
    ],
)
def test_a44_everything_else_is_stopped(method: str, url: str) -> None:
    with pytest.raises(errors.NotAllowed):
        allowed_read(PUBLIC, method, url)


def test_addresses_of_a_cloud_are_admitted_for_that_cloud_alone() -> None:
    url = "https://graph.microsoft.us/v1.0/users"

    assert allowed_read(US_GOV_L4, "GET", url).template == "/v1.0/users"
    with pytest.raises(errors.NotAllowed):
        allowed_read(US_GOV_L4, "GET", USERS)


def batch(*items: Any) -> bytes:
    return orjson.dumps({"requests": list(items)})


def test_a_batch_of_reads_is_admitted() -> None:
    body = batch(
        {"id": "1", "method": "GET", "url": f"/users/{TENANT}?$select=id"},
        {"id": "2", "method": "POST", "url": f"users/{TENANT}/checkMemberGroups"},
    )

    read = allowed_read(PUBLIC, "POST", f"{GRAPH}/$batch", body)

    assert read.template == "/v1.0/$batch"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            batch(
                {"id": "1", "method": "GET", "url": "/users"},
                {"id": "2", "method": "DELETE", "url": f"/users/{TENANT}"},
            ),
            id="a delete beside a read",
        ),
        pytest.param(
            batch({"id": "1", "method": "POST", "url": "/$batch"}), id="a nested batch"
        ),
        pytest.param(
            batch({"id": "1", "method": "GET", "url": "https://evil.example/users"}),
            id="an absolute address",
        ),
        pytest.param(
            batch({"id": "1", "method": "GET", "url": "//evil.example/users"}),
            id="a host without scheme",
        ),
        pytest.param(
            batch({"id": "1", "method": "GET", "url": "//[::1/users"}),
            id="half an address",
        ),
        pytest.param(
            batch(
                *({"id": str(n), "method": "GET", "url": "/users"} for n in range(21))
            ),
            id="21 items",
        ),
        pytest.param(batch({"id": "1", "method": "GET", "url": 7}), id="no text"),
        pytest.param(batch({"id": "1", "url": "/users"}), id="no method"),
        pytest.param(batch(), id="no item"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"no json", id="no JSON"),
        pytest.param(None, id="no body"),
    ],
)
def test_a_batch_with_anything_else_is_stopped(body: bytes | None) -> None:
    with pytest.raises(errors.NotAllowed):
        allowed_read(PUBLIC, "POST", f"{GRAPH}/$batch", body)


@responses.activate
@pytest.mark.parametrize("method", ["DELETE", "PATCH", "PUT", "POST"])
def test_a_write_never_leaves_the_process(method: str) -> None:
    responses.add(method, f"{GRAPH}/users/{TENANT}", status=204)

    with pytest.raises(errors.NotAllowed):
        session_for().request(method, f"{GRAPH}/users/{TENANT}", json={"a": 1})

    assert len(responses.calls) == 0


@responses.activate
def test_dots_in_a_path_are_judged_after_they_are_resolved() -> None:
    responses.get("https://graph.microsoft.com/beta/users", json={})

    with pytest.raises(errors.NotAllowed):
        session_for().get(f"{GRAPH}/users/../../beta/users")

    assert len(responses.calls) == 0


@responses.activate
def test_a_prepared_request_passes_the_same_gate() -> None:
    session = session_for()
    request = session.prepare_request(requests.Request("DELETE", USERS))

    with pytest.raises(errors.NotAllowed):
        session.send(request)


@responses.activate
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_not_followed(status: int) -> None:
    responses.get(USERS, status=status, headers={"Location": f"{GRAPH}/groups"})
    responses.get(f"{GRAPH}/groups", json={})

    with pytest.raises(errors.RedirectRefused):
        session_for().get(USERS, allow_redirects=True)

    assert len(responses.calls) == 1


@responses.activate
def test_f1_throttling_waits_exactly_the_seconds_that_are_asked_for() -> None:
    time = FakeTime()
    responses.get(USERS, status=429, headers={"Retry-After": "17"})
    responses.get(USERS, json={"value": []})

    answer = session_for(time=time).get(USERS)

    assert answer.status_code == 200
    assert time.slept == [17.0]


@responses.activate
def test_f2_throttling_waits_until_the_date_that_is_asked_for() -> None:
    time = FakeTime()
    date = format_datetime(NOW + timedelta(seconds=42), usegmt=True)
    responses.get(USERS, status=429, headers={"Retry-After": date})
    responses.get(USERS, json={"value": []})

    session_for(time=time).get(USERS)

    assert time.slept == [42.0]


@responses.activate
def test_f3_throttling_without_a_time_waits_ever_longer_with_jitter() -> None:
    time, asked = FakeTime(), []

    def jitter(low: float, high: float) -> float:
        asked.append((low, high))
        return (low + high) / 2

    for _ in range(3):
        responses.get(USERS, status=429)
    responses.get(USERS, json={"value": []})

    session_for(time=time, jitter=jitter).get(USERS)

    assert asked == [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0)]
    assert time.slept == [0.75, 1.5, 3.0]


@responses.activate
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(status: int) -> None:
    responses.get(USERS, status=status)
    responses.get(USERS, json={"value": []})

    assert session_for().get(USERS).json() == {"value": []}


@responses.activate
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_f5_a_lasting_failure_ends_after_a_bounded_number_of_attempts(
    status: int,
) -> None:
    responses.get(
        USERS, status=status, headers={"Retry-After": "1", "request-id": "abc-1"}
    )

    with pytest.raises(errors.GraphUnavailable) as caught:
        session_for().get(USERS)

    assert len(responses.calls) == ATTEMPTS
    assert caught.value.status == status
    assert caught.value.retry_after == 1.0
    assert caught.value.request_id == "abc-1"
    assert caught.value.retryable


@responses.activate
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 501])
def test_an_answer_that_waiting_does_not_change_is_returned_at_once(
    status: int,
) -> None:
    time = FakeTime()
    responses.get(USERS, status=status, json={})

    assert session_for(time=time).get(USERS).status_code == status
    assert len(responses.calls) == 1
    assert time.slept == []


@responses.activate
def test_f1_a_wait_beyond_the_limit_of_time_is_not_begun() -> None:
    time = FakeTime()
    responses.get(USERS, status=429, headers={"Retry-After": "300"})

    with pytest.raises(errors.GraphUnavailable) as caught:
        session_for(time=time, total_seconds=60).get(USERS)

    assert time.slept == []
    assert caught.value.retry_after == 300.0


@responses.activate
def test_calls_that_have_a_limit_together_wait_and_begin_within_it_alone() -> None:
    time = FakeTime()
    responses.get(USERS, json={"value": []})
    responses.get(USERS, status=429, headers={"Retry-After": "30"})
    session = session_for(time=time, conversation_seconds=60)
    assert session.get(USERS).status_code == 200
    time.elapsed += 40

    with pytest.raises(errors.GraphUnavailable):
        session.get(USERS)
    assert not session.pause(20, "Microsoft Graph asked the console to slow down.")
    assert time.slept == []

    time.elapsed += 20
    with pytest.raises(errors.Unreachable, match="did not answer in time"):
        session.get(USERS)
    assert len(responses.calls) == 2


@responses.activate
def test_a_broken_connection_is_tried_again() -> None:
    responses.get(USERS, body=requests.ConnectionError("reset"))
    responses.get(USERS, json={"value": []})

    assert session_for().get(USERS).status_code == 200


class Dripping(io.RawIOBase):
    """A body of which each read brings a byte and takes half a minute."""

    def __init__(self, time: FakeTime) -> None:
        self.time = time

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.time.elapsed += 30
        buffer[:1] = b" "
        return 1


@responses.activate
def test_f7_a_body_is_given_up_also_where_no_socket_of_ours_watches_the_time() -> None:
    """As inside a proxy's own TLS."""
    time = FakeTime()
    responses.get(USERS, body=io.BufferedReader(Dripping(time), buffer_size=1))

    with pytest.raises(errors.Unreachable, match="took too long"):
        session_for(time=time, total_seconds=120.0).get(USERS)

    assert time.elapsed <= 150


@responses.activate
@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (requests.ConnectionError("reset"), errors.Unreachable),
        (requests.ConnectTimeout("slow"), errors.Unreachable),
        (requests.ReadTimeout("slow"), errors.Unreachable),
        (requests.exceptions.ProxyError("proxy"), errors.Unreachable),
        (requests.exceptions.SSLError("tls"), errors.TlsRefused),
        (OSError("no such CA file"), errors.TlsRefused),
    ],
)
def test_each_way_of_getting_no_answer_has_its_error(
    failure: Exception, expected: type[errors.EntraError]
) -> None:
    responses.get(USERS, body=failure)

    with pytest.raises(expected) as caught:
        session_for().get(USERS)

    assert type(caught.value) is expected
    assert len(responses.calls) == (1 if expected is errors.TlsRefused else ATTEMPTS)


@responses.activate
@pytest.mark.parametrize(
    ("failure", "attempts"),
    [
        pytest.param({"body": requests.ConnectionError("reset")}, 1, id="reset"),
        pytest.param({"status": 500}, 1, id="500"),
        pytest.param({"status": 504}, 1, id="504"),
        pytest.param({"status": 429}, ATTEMPTS, id="429"),
        pytest.param({"status": 503}, ATTEMPTS, id="503"),
    ],
)
def test_a_code_is_sent_again_only_when_it_cannot_have_been_used(
    failure: dict[str, Any], attempts: int
) -> None:
    responses.post(TOKEN_URL, **failure)

    with pytest.raises((errors.Unreachable, errors.SignInUnavailable)):
        session_for().post(
            TOKEN_URL, data={"grant_type": "authorization_code", "code": CODE}
        )

    assert len(responses.calls) == attempts


@responses.activate
def test_the_sign_in_service_has_its_own_error_when_it_is_down() -> None:
    responses.get(CONFIGURATION_URL, status=503)

    with pytest.raises(errors.SignInUnavailable) as caught:
        session_for().get(CONFIGURATION_URL)

    assert isinstance(caught.value, errors.ServiceUnavailable)


@responses.activate
def test_every_attempt_has_its_own_client_request_id() -> None:
    stats = TransferStats()
    responses.get(USERS, status=503)
    responses.get(USERS, json={})

    session_for(observer=stats).get(USERS)

    ids = [call.request.headers["client-request-id"] for call in responses.calls]
    assert len({UUID(text) for text in ids}) == 2
    assert stats.last_client_request_id == ids[-1]


@responses.activate
def test_the_observer_sees_counts_waits_and_ids() -> None:
    waits: list[tuple[float, str]] = []
    stats = TransferStats(on_wait=lambda *wait: waits.append(wait))
    responses.get(USERS, status=429, headers={"Retry-After": "3"})
    responses.get(
        USERS,
        body=b'{"value":[]}',
        headers={
            "request-id": "9a6c1d2e-1111-4222-8333-444455556666",
            "x-ms-resource-unit": "2",
            "x-ms-throttle-limit-percentage": "0.9",
        },
    )

    session_for(observer=stats).get(USERS)

    assert stats.requests == 2
    assert stats.failures == 1
    assert stats.throttled == 1
    assert stats.bytes_received == 12
    assert stats.resource_units == 2
    assert stats.throttle_percentage == 0.9
    assert stats.waits == 1
    assert stats.waited_seconds == 3.0
    assert stats.last_request_id == "9a6c1d2e-1111-4222-8333-444455556666"
    assert waits == [(3.0, "Microsoft Graph asked the console to slow down.")]


@responses.activate
@pytest.mark.parametrize("units", ["many", "nan", "inf", "1e400", "-1", "", "9" * 400])
def test_headers_that_are_not_numbers_or_ids_are_ignored(units: str) -> None:
    stats = TransferStats()
    responses.get(
        USERS,
        json={},
        headers={"request-id": "<script>", "x-ms-resource-unit": units},
    )

    session_for(observer=stats).get(USERS)

    assert stats.last_request_id == ""
    assert stats.resource_units == 0


@responses.activate
def test_no_cookie_is_kept_between_requests() -> None:
    responses.get(CONFIGURATION_URL, json={}, headers={"Set-Cookie": "fpc=1; Path=/"})
    session = session_for()

    session.get(CONFIGURATION_URL)
    session.get(CONFIGURATION_URL)

    assert "Cookie" not in responses.calls[1].request.headers


@responses.activate
def test_credentials_in_netrc_do_not_replace_the_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine graph.microsoft.com login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    responses.get(USERS, json={})

    session_for().get(USERS, headers={"Authorization": f"Bearer {TOKEN}"})

    assert responses.calls[0].request.headers["Authorization"] == f"Bearer {TOKEN}"


@responses.activate
def test_neither_log_nor_exception_holds_a_query_body_or_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")
    responses.get(USERS, body=requests.ConnectionError(f"{USERS}?$filter=O'Brien"))
    responses.post(TOKEN_URL, body=requests.ConnectionError(SECRET))

    with pytest.raises(errors.Unreachable) as reading:
        session_for().get(
            f"{USERS}?$filter=O'Brien", headers={"Authorization": f"Bearer {TOKEN}"}
        )
    with pytest.raises(errors.Unreachable) as redeeming:
        session_for().post(TOKEN_URL, data={"client_secret": SECRET, "code": CODE})

    for caught in (reading, redeeming):
        assert caught.value.__suppress_context__
        for canary in (SECRET, CODE, TOKEN, "O'Brien", "filter"):
            assert canary not in caught.value.sentences()
            assert canary not in caplog.text
    assert "GET /v1.0/users no answer" in caplog.text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("2.128", 2.128),
        ("999999999999", LONGEST_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("Mon, 99 Mar 2026 09:00:10 GMT", None),
        ("1.", None),
        ("Mon, 02 Mar 2026 09:00:10 GMT", 10.0),
        ("Mon, 02 Mar 2026 09:00:10 -0000", 10.0),
        ("Mon, 02 Mar 2026 08:59:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}, NOW.timestamp()) == seconds
