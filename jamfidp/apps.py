from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "jamfidp"

    def ready(self) -> None:
        from jamfidp import in_transit

        in_transit.refuse_unprotected()
        # Without it a page would announce work to Celery's default broker.
        from jamfidp import celery  # noqa: F401
