"""`python -m tests.scaled_out`: see `turmoil`."""

import argparse
import os
import random
import secrets
import sys

import django

os.environ["TEST_DATABASE"] = "postgres"
import tests.environment  # noqa: F401 before Django reads its settings

os.environ["DJANGO_SETTINGS_MODULE"] = "jamfidp.settings"
os.environ["LOG_LEVEL"] = "ERROR"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make scaled-out-test")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument(
        "--broker",
        default=os.environ.get("BROKER", "redis://127.0.0.1:6379/13"),
        help="its queues are emptied first",
    )
    given = parser.parse_args()
    os.environ["BROKER_URL"] = given.broker
    django.setup()
    from tests.scaled_out import turmoil

    return turmoil.main(
        rounds=given.rounds,
        connections=given.connections,
        workers=given.workers,
        chance=random.Random(given.seed),  # noqa: S311 not a secret
        seed=given.seed,
    )


if __name__ == "__main__":
    sys.exit(main())
