from django.apps import AppConfig


class ConnectorConfig(AppConfig):
    """The connector as an application of its own, where it is served alone."""

    name = "directory.connector"
    label = "connector"
    verbose_name = "Cloud Connector"

    def ready(self) -> None:
        from directory import clouds
        from directory.connector import configuration, keys

        # Said at the start, and not to the first person who comes.
        clouds.refuse_a_misplaced_sandbox()
        keys.signing_key("connector")
        configuration.consoles()
