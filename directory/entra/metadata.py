"""OpenID configurations and signing keys of tenants, for as long as a process lives."""

from datetime import datetime
from threading import Lock

from directory.entra.clouds import Cloud
from directory.entra.id_token import Keys, SigningKeys
from directory.entra.kept import Kept
from directory.entra.sign_in import Discovery, discover
from directory.entra.transport import EntraSession


class SignInMetadata:
    """What Microsoft's sign-in service publishes, shared by everything in a process."""

    def __init__(self) -> None:
        self._configurations: dict[tuple[str, str, str], Kept[Discovery]] = {}
        self._keys: dict[str, Kept[Keys]] = {}
        self._lock = Lock()

    def discovery(
        self,
        cloud: Cloud,
        tenant: str,
        session: EntraSession,
        *,
        now: datetime,
        afresh: bool = False,
    ) -> Discovery:
        """Return a tenant's OpenID configuration, pinned to its issuer.

        Asked for anew when it is an hour old; without Microsoft it serves for a day.
        `afresh` asks in any case.

        Raises:
            TenantNotFound, WrongCloud, DiscoveryRefused and what the session raises.
        """
        key = (cloud.key, cloud.login_root, tenant.lower())
        with self._lock:
            kept = self._configurations.setdefault(key, Kept())
        return kept.get(
            lambda: discover(cloud, tenant, session), now=now, afresh=afresh
        )

    def signing_keys(self, discovery: Discovery, session: EntraSession) -> SigningKeys:
        """Return the keys that sign a tenant's ID tokens."""
        with self._lock:
            kept = self._keys.setdefault(discovery.jwks_uri, Kept())
        return SigningKeys(discovery, session, kept=kept)

    def forget(self) -> None:
        """Ask for everything anew; for tests that change what Microsoft publishes."""
        with self._lock:
            self._configurations.clear()
            self._keys.clear()
