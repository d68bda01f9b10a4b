"""The environment the suite runs in, set before Django reads its settings.

Loaded as a pytest plugin (`-p tests.environment`), so that a .env file of the
checkout never changes what is tested.
"""

import os
import tempfile

KEY = "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk="

os.environ.update(
    {
        "ENV_FILE": os.devnull,
        "SECRET_KEY": "for-tests-only-" + "0123456789abcdef" * 4,
        "ENCRYPTION_KEYS": f"tests:{KEY}",
        "CONSOLE_URL": "http://localhost:8000",
        "ALLOWED_HOSTS": "localhost,testserver",
        "COMPONENT_GALLERY": "1",
        "DEBUG": "0",
        "EMAIL_URL": "memorymail://",
    }
)
os.environ.setdefault(
    "VAR_DIR", tempfile.mkdtemp(prefix="console-tests-", dir=os.environ.get("TMPDIR"))
)
for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "OUTGOING_CA_FILE"):
    os.environ.pop(name, None)
    os.environ.pop(name.lower(), None)

if os.environ.get("TEST_DATABASE") == "postgres":
    # The named database is never opened; Django creates test_<name> beside it. One
    # name a process, so that several runs can share a server.
    server = os.environ.get(
        "TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres"
    )
    os.environ["DATABASE_URL"] = f"{server.rpartition('/')[0]}/console_{os.getpid()}"
else:
    os.environ.pop("DATABASE_URL", None)
