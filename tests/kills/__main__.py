"""`python -m tests.kills`: see `killing`."""

import argparse
import os
import random
import sys

import django

import tests.environment  # noqa: F401 before Django reads its settings

os.environ["DJANGO_SETTINGS_MODULE"] = "jamfidp.settings"
# Hours pass for a run that is taken over again and again.
os.environ["SYNC_DEADLINE_MINUTES"] = "100000"
os.environ.setdefault("LOG_LEVEL", "ERROR")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make kill-test")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311
    given = parser.parse_args()
    django.setup()
    from tests.kills import killing

    return killing.main(given.runs, given.seed)


if __name__ == "__main__":
    sys.exit(main())
