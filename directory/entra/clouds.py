"""The Microsoft clouds as data, and the one cloud that is not Microsoft's.

Clouds differ by addresses alone: nothing else in the library knows which one it
talks to. Source: https://learn.microsoft.com/graph/deployments
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from directory.entra.errors import InvalidCloudAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """How requests leave the machine. Nothing of it is read from the environment."""

    proxy_url: str = field(default="", repr=False)
    """http or https; may carry a user name and a password."""
    no_proxy: str = ""
    """Host names and domains that are reached without the proxy, with commas."""
    ca_file: str = ""
    """Certificate authorities in PEM, trusted besides the public ones."""

    def proxy_for(self, host: str) -> str:
        """Return the proxy to ask for a host, or an empty text."""
        names = (name.strip().lstrip(".").lower() for name in self.no_proxy.split(","))
        direct = any(
            name in ("*", host.lower()) or host.lower().endswith(f".{name}")
            for name in names
            if name
        )
        return "" if direct else self.proxy_url

    def proxy_shown(self, host: str) -> str:
        """Return the proxy for a host without user name and password, for people."""
        parts = urlsplit(self.proxy_for(host))
        return parts.netloc.rpartition("@")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """One Microsoft cloud.

    Roots are origins without a trailing slash; `login_aliases` are further hosts of
    the same sign-in service. `region_sub_scopes` are what a discovery document says
    in `tenant_region_sub_scope` for tenants of this cloud alone, which tells apart
    clouds that share a sign-in service. `ca_file` takes the place of the public
    certificate authorities (those of certifi). Only a `loopback` cloud may show its
    pages for people over plain http; it is reached without any proxy.
    """

    key: str
    name: str
    login_root: str
    graph_root: str
    scope: str
    portal_root: str
    login_aliases: tuple[str, ...] = ()
    region_sub_scopes: tuple[str, ...] = ()
    ca_file: str | None = None
    loopback: bool = False
    egress: Egress = Egress()


PUBLIC = Cloud(
    key="PUBLIC",
    name="Microsoft Entra ID",
    login_root="https://login.microsoftonline.com",
    graph_root="https://graph.microsoft.com",
    scope="https://graph.microsoft.com/.default",
    portal_root="https://portal.azure.com",
    login_aliases=("login.microsoft.com", "login.windows.net", "sts.windows.net"),
)
US_GOV_L4 = Cloud(
    key="GCC_HIGH",
    name="Microsoft Entra ID for US Government L4 (GCC High)",
    login_root="https://login.microsoftonline.us",
    graph_root="https://graph.microsoft.us",
    scope="https://graph.microsoft.us/.default",
    portal_root="https://portal.azure.us",
    login_aliases=("login.usgovcloudapi.net",),
    region_sub_scopes=("DODCON",),
)
US_GOV_L5 = Cloud(
    key="DOD",
    name="Microsoft Entra ID for US Government L5 (DoD)",
    login_root="https://login.microsoftonline.us",
    graph_root="https://dod-graph.microsoft.us",
    scope="https://dod-graph.microsoft.us/.default",
    portal_root="https://portal.azure.us",
    login_aliases=("login.usgovcloudapi.net",),
    region_sub_scopes=("DOD",),
)
CHINA = Cloud(
    key="CHINA",
    name="Microsoft Entra ID operated by 21Vianet",
    login_root="https://login.partner.microsoftonline.cn",
    graph_root="https://microsoftgraph.chinacloudapi.cn",
    scope="https://microsoftgraph.chinacloudapi.cn/.default",
    portal_root="https://portal.azure.cn",
    login_aliases=("login.chinacloudapi.cn",),
)

CLOUDS: Mapping[str, Cloud] = MappingProxyType(
    {cloud.key: cloud for cloud in (PUBLIC, US_GOV_L4, US_GOV_L5, CHINA)}
)
"""Microsoft's clouds by key. The sandbox is never in it."""

SANDBOX_KEY = "SANDBOX"


def home_cloud(document: Mapping[str, object]) -> Cloud | None:
    """Return the Microsoft cloud that a discovery document puts its tenant in.

    Microsoft's public sign-in service answers for tenants of other clouds too, with
    their addresses. None means that the document names no Microsoft cloud.
    """
    host = urlsplit(str(document.get("token_endpoint", ""))).hostname
    sharing = [
        cloud
        for cloud in CLOUDS.values()
        if host in (urlsplit(cloud.login_root).hostname, *cloud.login_aliases)
    ]
    sub_scope = document.get("tenant_region_sub_scope")
    told_apart = [cloud for cloud in sharing if sub_scope in cloud.region_sub_scopes]
    return next(iter((*told_apart, *sharing)), None)


def is_loopback_host(host: str | None) -> bool:
    """Tell whether a host name or address can only be this machine."""
    if not host:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # A name could resolve to anything, whatever it looks like.
        return False


def origin(url: str) -> str:
    """Return scheme, host and port of a URL in one comparable form.

    Raises:
        ValueError: the URL has no host, a bad port, or carries a user name.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ValueError("not an address with a plain host")
    default = {"https": 443, "http": 80}.get(parts.scheme)
    port = parts.port if parts.port is not None else default
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def sandbox_cloud(url: str, ca_file: str) -> Cloud:
    """Build the cloud of a sandbox tenant that runs on this machine.

    Raises:
        InvalidCloudAddress: the URL is not https, not loopback, or more than an
            origin.
    """
    try:
        parts, address = urlsplit(url), origin(url)
    except ValueError:
        raise InvalidCloudAddress(
            "The sandbox address cannot be read as a web address."
        ) from None
    if parts.scheme != "https":
        raise InvalidCloudAddress("The sandbox address does not begin with https.")
    if not is_loopback_host(parts.hostname):
        raise InvalidCloudAddress("The sandbox address is not on this machine.")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidCloudAddress("The sandbox address has a path after the port.")
    if not ca_file:
        raise InvalidCloudAddress(
            "The sandbox has no certificate authority file.",
            advice="Name the file that the sandbox writes.",
        )
    return Cloud(
        key=SANDBOX_KEY,
        name="Sandbox tenant on this machine",
        login_root=address,
        graph_root=address,
        # Microsoft's own name of the resource: the sandbox stands in for it.
        scope=PUBLIC.scope,
        portal_root=address,
        ca_file=ca_file,
        loopback=True,
    )
