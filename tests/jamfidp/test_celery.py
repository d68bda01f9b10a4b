from threading import Thread

from celery import current_app
from django.conf import settings

from directory.tasks import clear_past, run_sync, tick


def test_pages_announce_work_to_the_broker_of_the_settings_from_every_thread() -> None:
    brokers: list[str] = []

    def look() -> None:
        brokers.append(current_app.conf.broker_url)
        brokers.append(run_sync.app.conf.broker_url)

    thread = Thread(target=look)
    thread.start()
    thread.join()

    assert brokers == [settings.CELERY_BROKER_URL] * 2


def test_people_wait_in_a_queue_of_their_own() -> None:
    router = current_app.amqp.router

    assert router.route({}, run_sync.name)["queue"].name == "people"
    assert router.route({}, tick.name)["queue"].name == "background"


def test_the_ticks_are_scheduled() -> None:
    scheduled = {entry["task"] for entry in current_app.conf.beat_schedule.values()}

    assert scheduled == {
        clear_past.name,
        tick.name,
        "scoping.tasks.tick",
        "jamfidp.notices.tasks.tick",
        "jamfidp.accounts.tasks.tick",
    }
