from django.apps import AppConfig


class DirectoryConfig(AppConfig):
    name = "directory"
    verbose_name = "Cloud identity providers"

    def ready(self) -> None:
        from directory import checks, clouds, connect
        from directory.connector import configuration

        clouds.refuse_a_misplaced_sandbox()
        # The connector knows no consoles but those it is told of.
        configuration.provide(connect.served_consoles)
        del checks  # importing it registers the checks
