import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.cast import ANA, FERNHILL, MAC_ADMINS, TOMAS
from tests.conftest import ROOT, Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    app_token,
    consent,
    consent_url,
    running,
    secure_session,
    sign_in,
)

TENANT = f"tenants/{FERNHILL.tenant_id}"


def test_a_stop_ends_the_process_cleanly_and_removes_its_description(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as sandbox:
        assert (tmp_path / "sandbox.json").stat().st_mode & 0o077 == 0
        sandbox.process.terminate()
        code = sandbox.process.wait(timeout=10)

    assert code == 0
    assert not (tmp_path / "sandbox.json").exists()


def test_the_description_names_both_tenants_and_every_password(tmp_path: Path) -> None:
    with running(tmp_path):
        described = json.loads((tmp_path / "sandbox.json").read_text())

    domains = [tenant["domain"] for tenant in described["tenants"]]
    assert domains == ["fernhill.example", "quarrel.example"]
    for tenant in described["tenants"]:
        assert tenant["global_admin"]["password"]
        assert tenant["people"][0]["password"]
    assert described["application"]["client_secret"]
    assert "BEGIN CERTIFICATE" in Path(described["ca_file"]).read_text()


def test_a_restart_keeps_identity_and_what_was_changed(tmp_path: Path) -> None:
    users = "/users/delta?$select=department"
    groups = "/groups/delta?$select=members"
    with running(tmp_path, "--keep") as first:
        consent(first)
        graph = Graph(first, app_token(first))
        _items, old_link = graph.round(users)
        first.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "Legal"})
        first.control(
            "PUT", f"{TENANT}/groups/{MAC_ADMINS.object_id}/members/{TOMAS.upn}"
        )
        _items, groups_link = graph.round(groups)
        ca = Path(first.ca_file).read_bytes()

    port = f"--port={urlsplit(first.url).port}"
    with running(tmp_path, "--keep", port) as second:
        assert second.url == first.url
        assert Path(second.ca_file).read_bytes() == ca
        assert second.control_key == first.control_key
        assert second.application == first.application
        graph = Graph(second, app_token(second))
        changed, _link = graph.round(old_link)
        assert [item["department"] for item in changed] == ["Legal"]
        assert graph.round(groups_link)[0] == []
        members = graph.all(f"/groups/{MAC_ADMINS.object_id}/members?$select=id")
        assert TOMAS.object_id in {member["id"] for member in members}
        second.reset()

    with running(tmp_path, "--keep") as third:
        assert third.control("GET", TENANT)["consents"] == []
        assert third.control("GET", TENANT)["sequence"] == 0


def test_without_keep_a_restart_goes_back_to_the_seed(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        consent(first)
        _items, link = Graph(first, app_token(first)).round("/users/delta")
    with running(tmp_path, f"--port={urlsplit(first.url).port}") as second:
        assert second.control("GET", TENANT)["consents"] == []
        consent(second)
        graph = Graph(second, app_token(second))
        assert graph.error(link) == (400, "syncStateNotFound")


def test_another_size_starts_the_kept_changes_anew(tmp_path: Path) -> None:
    with running(tmp_path, "--keep") as first:
        first.control("DELETE", f"{TENANT}/users/{ANA.upn}")
    with running(tmp_path, "--keep", "--users=1500", "--seed=3") as second:
        assert second.control("GET", TENANT)["users"] == 1500
        assert second.control("GET", TENANT)["sequence"] == 0


def own_memory(sandbox: Sandbox) -> int:
    """Return the megabytes that are the process's own, without mapped files."""
    status = Path(f"/proc/{sandbox.process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells memory")
def test_a_hundred_thousand_people_are_not_held_as_objects(tmp_path: Path) -> None:
    with running(tmp_path) as small:
        least = own_memory(small)
    with running(
        tmp_path,
        "--users=100000",
        "--groups=2000",
        "--memberships=500000",
        "--switch=delta_page_size=2000",
        "--switch=member_slice=9000",
    ) as sandbox:
        found = sandbox.control("GET", TENANT)
        consent(sandbox)
        graph = Graph(sandbox, app_token(sandbox))
        for kind in ("users", "groups"):
            graph.round(f"/{kind}/delta")
        sandbox.reset()
        used = own_memory(sandbox) - least

    assert (found["users"], found["groups"]) == (100_000, 2_000)
    assert found["memberships"] == 500_000
    # As dictionaries they took 200 MB.
    assert used < 60


def test_speed_is_measured_against_a_static_server(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "manage.py",
            "entra_sandbox",
            "--measure",
            "--rounds=1",
            "--users=60",
            "--groups=50",
            "--memberships=300",
        ],
        cwd=ROOT,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ended.returncode == 0, ended.stderr
    assert "60 users, 50 groups, 300 memberships" in ended.stdout
    assert ended.stdout.count("static server") == 2
    assert "10 told in" in ended.stdout


def test_the_log_holds_paths_and_no_query(tmp_path: Path) -> None:
    with running(tmp_path) as sandbox:
        sign_in(Browser(sandbox.pages_url), consent_url(sandbox), ANA)
    text = (tmp_path / "sandbox.log").read_text()

    assert f"GET /{FERNHILL.tenant_id}/v2.0/adminconsent 200" in text
    assert "state-1" not in text
    assert "client_id" not in text
    assert "Sandbox-Tenant-1" not in text


def test_only_tls_1_2_and_newer_with_forward_secrecy_is_spoken(
    sandbox: Sandbox,
) -> None:
    address = ("127.0.0.1", urlsplit(sandbox.url).port or 0)
    trusted = ssl.create_default_context(cafile=sandbox.ca_file)
    trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(address, timeout=5) as raw,
        trusted.wrap_socket(raw, server_hostname="localhost") as secure,
    ):
        name, version, _bits = secure.cipher() or ("", "", 0)
    static = ssl.create_default_context(cafile=sandbox.ca_file)
    static.maximum_version = ssl.TLSVersion.TLSv1_2
    static.set_ciphers("AES256-GCM-SHA384")

    assert name.startswith("ECDHE-")
    assert version == "TLSv1.2"
    with (
        socket.create_connection(address, timeout=5) as raw,
        pytest.raises(ssl.SSLError),
    ):
        static.wrap_socket(raw, server_hostname="127.0.0.1")


def test_strangers_do_not_trust_its_certificate(sandbox: Sandbox) -> None:
    session = secure_session(sandbox)
    session.verify = True

    with pytest.raises(requests.exceptions.SSLError):
        session.get(f"{sandbox.url}/control/", timeout=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host=0.0.0.0"], "127.0.0.1 only"),
        (["--host=::"], "127.0.0.1 only"),
        (["--port=99999"], "no port"),
        (["--users=0"], "no positive number"),
        (["--nestings=4000"], "at most half as many nestings as groups"),
        (["--switch=page_size=0"], "'page_size' is 1 or more"),
        (["--switch=color=red"], "no switch 'color'"),
    ],
)
def test_it_refuses_to_start_elsewhere_or_with_nonsense(
    tmp_path: Path, options: list[str], message: str
) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "manage.py",
            "entra_sandbox",
            f"--state-dir={tmp_path}",
            *options,
        ],
        cwd=ROOT,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode != 0
    assert message in ended.stderr


def test_a_taken_port_is_said(tmp_path: Path, sandbox: Sandbox) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "manage.py",
            "entra_sandbox",
            f"--state-dir={tmp_path}",
            f"--port={urlsplit(sandbox.url).port}",
        ],
        cwd=ROOT,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode != 0
    assert "The sandbox cannot listen" in ended.stderr
    assert not (tmp_path / "sandbox.json").exists()


def test_a_scale_names_sizes_and_pages_and_both_outlive_a_reset(tmp_path: Path) -> None:
    options = (
        "--scale=s",
        "--users=12000",
        "--delay-ms=1",
        "--switch=throttling=false",
    )
    with running(tmp_path, *options) as sandbox:
        sandbox.reset()
        found = sandbox.control("GET", TENANT)
        switches = sandbox.control("GET", "behavior")

    assert (found["users"], found["groups"]) == (12_000, 1_000)
    assert found["memberships"] == 99_265
    assert switches["delta_page_size"] == 999
    assert switches["member_slice"] == 2_000
    assert switches["answer_delay"] == 1
    assert switches["throttling"] is False
