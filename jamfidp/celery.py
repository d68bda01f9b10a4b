"""The task engine's wiring.

A task is only a hint to look at rows (`SyncRun` and the like): losing or repeating
one loses and repeats nothing. Beat enqueues a tick that finds what is due.
"""

import os
from pathlib import Path

from celery import Celery
from celery.schedules import schedule
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from jamfidp import filesystem_broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jamfidp.settings")

filesystem_broker.install()
app = Celery("jamfidp")
# For every thread: gunicorn serves from threads that did not import this module.
app.set_default()
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["jamfidp.notices", "jamfidp.accounts", "directory", "scoping"])
app.conf.beat_schedule_filename = str(Path(settings.VAR_DIR) / "celerybeat-schedule")
app.conf.task_routes = {
    "directory.tasks.run_sync": {"queue": "people"},
    "directory.tasks.work_out_mappings": {"queue": "people"},
}
app.conf.beat_schedule = {
    "tick": {"task": "directory.tasks.tick", "schedule": schedule(run_every=5)},
    "past": {
        "task": "directory.tasks.clear_past",
        "schedule": schedule(run_every=3600),
    },
    "mail": {"task": "jamfidp.notices.tasks.tick", "schedule": schedule(run_every=15)},
    "sessions": {
        "task": "jamfidp.accounts.tasks.tick",
        "schedule": schedule(run_every=3600),
    },
    "scopes": {"task": "scoping.tasks.tick", "schedule": schedule(run_every=300)},
}

for option in ("data_folder_in", "data_folder_out", "control_folder"):
    folder = getattr(settings, "CELERY_BROKER_TRANSPORT_OPTIONS", {}).get(option)
    if folder:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImproperlyConfigured(
                f"It cannot write to {settings.VAR_DIR} ({error.strerror}). Make the "
                "folder writable for the user that the console runs as, or name "
                "another one in VAR_DIR."
            ) from error
