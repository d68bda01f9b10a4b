from django.apps import AppConfig


class NoticesConfig(AppConfig):
    name = "jamfidp.notices"
    label = "notices"
