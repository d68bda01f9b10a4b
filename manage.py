#!/usr/bin/env python
"""Django's command line for the console."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jamfidp.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as fault:
        # A setting, and not a defect: the sentence without a traceback.
        sys.exit(f"The console cannot start. {fault}")


if __name__ == "__main__":
    main()
