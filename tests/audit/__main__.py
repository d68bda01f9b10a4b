"""Ask which dependencies have known vulnerabilities, and say of which nobody knows.

`make audit` asks about every package of every lock file: Python's by pip-audit at the
Open Source Vulnerabilities service (`OSV_URL` names another address), npm's by
`npm audit` at the registry that npm is set to. A service that does not answer, or that
does not know a vulnerability everybody knows, has audited nothing: then this fails, too.

Exit code 1: something is vulnerable. 2: something could not be audited.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PIP_AUDIT = ROOT / "var/audit/venv/bin/pip-audit"
PYTHON_LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "tests/witness/requirements.lock",
    "tests/audit/requirements.lock",
)
NPM_FOLDERS = (".", "tests/witness")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)
# Vulnerable for years: a service that says nothing of these says nothing of ours.
KNOWN_PYTHON = "flask==0.5\n"
KNOWN_NPM = ("minimist", "0.0.8")
PATIENCE_SECONDS = 600


@dataclass
class Audit:
    """What is known of the packages of one lock file."""

    what: str
    packages: int = 0
    vulnerable: list[str] = field(default_factory=list)
    not_audited: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        if not self.vulnerable and not self.not_audited:
            return [f"ok           {self.what}: {self.packages} packages, none known"]
        return [
            *(f"VULNERABLE   {self.what}: {one}" for one in self.vulnerable),
            *(f"NOT AUDITED  {self.what}: {one}" for one in self.not_audited),
        ]


@dataclass(frozen=True)
class Said:
    """What a tool wrote before it ended."""

    out: str
    errors: str


def of_pip_audit(what: str, lock: str, said: Said) -> Audit:
    """Read pip-audit's answer; whatever the lock names and it does not is missing."""
    wanted = {_normal(name): version for name, version in PINNED.findall(lock)}
    audit = Audit(what, packages=len(wanted))
    try:
        answered = json.loads(said.out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        audit.not_audited.append(_last_line(said))
        return audit
    for one in answered:
        name = _normal(one["name"])
        if "skip_reason" in one:
            audit.not_audited.append(f"{name}: {one['skip_reason']}")
            wanted.pop(name, None)
        elif wanted.pop(name, None) is None:
            continue
        for known in one.get("vulns", ()):
            fixed = ", ".join(known["fix_versions"]) or "no version"
            audit.vulnerable.append(
                f"{name} {one['version']}: {known['id']}, fixed in {fixed}"
            )
    audit.not_audited += [f"{name} {version}" for name, version in wanted.items()]
    return audit


def of_npm(what: str, lock: Mapping[str, Any], said: Said) -> Audit:
    """Read the answer of `npm audit`, and whether it counts every package."""
    packages = len(lock["packages"]) - 1
    audit = Audit(what, packages=packages)
    try:
        answer = json.loads(said.out)
        counted = answer["metadata"]["dependencies"]["total"]
        vulnerabilities = answer["vulnerabilities"]
    except (ValueError, KeyError, TypeError):
        audit.not_audited.append(_npm_error(said))
        return audit
    if counted != packages:
        audit.not_audited.append(f"{packages - counted} of {packages} packages")
    for name, one in sorted(vulnerabilities.items()):
        said_of = [via["url"] for via in one["via"] if isinstance(via, dict)]
        audit.vulnerable.append(
            f"{name} ({one['severity']}): {', '.join(said_of) or 'by a dependency'}"
        )
    return audit


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _last_line(said: Said) -> str:
    lines = [line for line in said.errors.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "the tool said nothing"


def _npm_error(said: Said) -> str:
    try:
        answer = json.loads(said.out)
    except ValueError:
        return _last_line(said)
    message = answer.get("message") or answer.get("error", {}).get("summary", "")
    return str(message) or _last_line(said)


# --- Asking --------------------------------------------------------------------------


def run(command: list[str], folder: Path) -> Said:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Said("", str(error))
    return Said(done.stdout, done.stderr)


def ask_pip_audit(lock: Path) -> Said:
    service = os.environ.get("OSV_URL", "https://api.osv.dev/v1/query")
    return run(
        [
            str(PIP_AUDIT),
            f"--requirement={lock}",
            "--disable-pip",
            "--no-deps",
            "--strict",
            "--format=json",
            "--progress-spinner=off",
            "--vulnerability-service=osv",
            f"--osv-url={service}",
        ],
        ROOT,
    )


def ask_npm(folder: Path) -> Said:
    npm = shutil.which("npm") or str(ROOT / ".venv/bin/npm")
    return run([npm, "audit", "--json", "--package-lock-only"], folder)


def python_audits() -> list[Audit]:
    with tempfile.TemporaryDirectory() as name:
        known = Path(name) / "known.txt"
        known.write_text(KNOWN_PYTHON)
        said = ask_pip_audit(known)
    witness = of_pip_audit("Python", KNOWN_PYTHON, said)
    if not witness.vulnerable:
        return [_in_vain("Python", witness, KNOWN_PYTHON.strip())]
    return [
        of_pip_audit(lock, (ROOT / lock).read_text(), ask_pip_audit(ROOT / lock))
        for lock in PYTHON_LOCKS
    ]


def npm_audits() -> list[Audit]:
    name, version = KNOWN_NPM
    root = {"name": "known", "version": "1.0.0", "dependencies": {name: version}}
    lock = {
        "name": "known",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "requires": True,
        "packages": {"": root, f"node_modules/{name}": {"version": version}},
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "package.json").write_text(json.dumps(root))
        (Path(folder) / "package-lock.json").write_text(json.dumps(lock))
        said = ask_npm(Path(folder))
    witness = of_npm("npm", lock, said)
    if not witness.vulnerable:
        return [_in_vain("npm", witness, f"{name} {version}")]
    audits = []
    for one in NPM_FOLDERS:
        path = ROOT / one / "package-lock.json"
        content = json.loads(path.read_text())
        audits.append(
            of_npm(str(path.relative_to(ROOT)), content, ask_npm(path.parent))
        )
    return audits


def _in_vain(what: str, witness: Audit, known: str) -> Audit:
    """No lock is asked about where the service does not know what everybody knows."""
    silent = f"the service does not know that {known} is vulnerable"
    return Audit(what, not_audited=witness.not_audited or [silent])


def verdict(audits: list[Audit]) -> tuple[str, int]:
    missing = [one.what for one in audits if one.not_audited]
    found = [one.what for one in audits if one.vulnerable]
    if missing:
        return (
            f"==> Could not be audited: {', '.join(missing)}. Nothing is known of these "
            "packages, good or bad: run this where the services can be reached",
            2,
        )
    if found:
        return f"==> Vulnerable: {', '.join(found)}", 1
    return "==> Everything was audited, and nothing is known to be vulnerable", 0


def main() -> int:
    audits = [*python_audits(), *npm_audits()]
    for audit in audits:
        print("\n".join(audit.lines()), flush=True)
    words, code = verdict(audits)
    print(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
