import pytest

from directory.entra import CLOUDS, PUBLIC, SANDBOX_KEY, sandbox_cloud
from directory.entra.clouds import home_cloud, is_loopback_host, origin
from directory.entra.errors import InvalidCloudAddress


@pytest.mark.parametrize("cloud", CLOUDS.values(), ids=lambda cloud: cloud.key)
def test_every_microsoft_cloud_has_plain_https_roots_and_its_own_scope(
    cloud: object,
) -> None:
    assert cloud in CLOUDS.values()
    for known in CLOUDS.values():
        for root in (known.login_root, known.graph_root, known.portal_root):
            assert root.startswith("https://")
            assert root.count("/") == 2
        assert known.scope == f"{known.graph_root}/.default"
        assert not known.loopback
        assert known.ca_file is None


# https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
# https://learn.microsoft.com/graph/deployments
@pytest.mark.parametrize(
    ("key", "login", "graph", "portal"),
    [
        (
            "PUBLIC",
            "login.microsoftonline.com",
            "graph.microsoft.com",
            "portal.azure.com",
        ),
        (
            "GCC_HIGH",
            "login.microsoftonline.us",
            "graph.microsoft.us",
            "portal.azure.us",
        ),
        (
            "DOD",
            "login.microsoftonline.us",
            "dod-graph.microsoft.us",
            "portal.azure.us",
        ),
        (
            "CHINA",
            "login.partner.microsoftonline.cn",
            "microsoftgraph.chinacloudapi.cn",
            "portal.azure.cn",
        ),
    ],
)
def test_the_four_clouds_have_microsofts_addresses(
    key: str, login: str, graph: str, portal: str
) -> None:
    cloud = CLOUDS[key]

    assert cloud.login_root == f"https://{login}"
    assert cloud.graph_root == f"https://{graph}"
    assert cloud.scope == f"https://{graph}/.default"
    assert cloud.portal_root == f"https://{portal}"


@pytest.mark.parametrize(
    ("host", "sub_scope", "key"),
    [
        ("login.microsoftonline.com", None, "PUBLIC"),
        ("login.microsoftonline.com", "GCC", "PUBLIC"),
        ("login.windows.net", None, "PUBLIC"),
        ("login.microsoftonline.us", "DODCON", "GCC_HIGH"),
        ("login.microsoftonline.us", None, "GCC_HIGH"),
        ("login.microsoftonline.us", "DOD", "DOD"),
        ("login.partner.microsoftonline.cn", None, "CHINA"),
        ("login.chinacloudapi.cn", None, "CHINA"),
        ("127.0.0.1:8443", None, None),
        ("login.microsoftonline.us.evil.example", "DOD", None),
    ],
)
def test_f43_a_discovery_document_tells_the_cloud_of_its_tenant(
    host: str, sub_scope: str | None, key: str | None
) -> None:
    document = {
        "token_endpoint": f"https://{host}/t/oauth2/v2.0/token",
        "tenant_region_sub_scope": sub_scope,
    }

    found = home_cloud(document)

    assert (found.key if found else None) == key
    assert home_cloud({}) is None


def test_the_sandbox_is_not_among_microsofts_clouds() -> None:
    assert SANDBOX_KEY not in CLOUDS


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1:8443", "https://localhost:8443/", "https://[::1]:8443"],
)
def test_a_sandbox_cloud_is_built_for_https_on_loopback(url: str) -> None:
    cloud = sandbox_cloud(url, "ca.pem")

    assert cloud.key == SANDBOX_KEY
    assert cloud.loopback
    assert cloud.login_root == cloud.graph_root == url.rstrip("/")
    assert cloud.ca_file == "ca.pem"
    assert cloud.scope == PUBLIC.scope


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:8443", id="plain http"),
        pytest.param("https://login.microsoftonline.com", id="a foreign host"),
        pytest.param("https://10.0.0.5:8443", id="a private address"),
        pytest.param("https://169.254.169.254", id="link-local metadata"),
        pytest.param("https://localhost.example:8443", id="looks like localhost"),
        pytest.param("https://127.0.0.1.example:8443", id="looks like an address"),
        pytest.param("https://127.0.0.1@evil.example", id="user name before the host"),
        pytest.param("https://evil.example@127.0.0.1:1", id="user name on loopback"),
        pytest.param("https://127.0.0.1:8443/path", id="a path"),
        pytest.param("https://127.0.0.1:8443?x=1", id="a query"),
        pytest.param("https://0.0.0.0:8443", id="all interfaces"),
        pytest.param("https://127.0.0.1:notaport", id="a bad port"),
        pytest.param("https://[::1", id="half an address"),
        pytest.param("https://", id="no host"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_sandbox_cloud_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(InvalidCloudAddress):
        sandbox_cloud(url, "ca.pem")


def test_a_sandbox_cloud_without_its_own_authority_is_refused() -> None:
    with pytest.raises(InvalidCloudAddress):
        sandbox_cloud("https://127.0.0.1:8443", "")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("https://a.example", "https://a.example:443/path", True),
        ("https://A.example", "https://a.example", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:8443", False),
        ("https://a.example", "https://b.example", False),
        ("https://[::1]:1", "https://[::1]:1/x", True),
    ],
)
def test_origins_compare_scheme_host_and_port(
    left: str, right: str, same: bool
) -> None:
    assert (origin(left) == origin(right)) is same


@pytest.mark.parametrize("host", [None, "", "example.com", "127.0.0.1.nip.io"])
def test_other_hosts_are_not_loopback(host: str | None) -> None:
    assert not is_loopback_host(host)
