from django.apps import AppConfig


class HistoryConfig(AppConfig):
    name = "jamfidp.history"
    label = "history"
