from django.apps import AppConfig


class ScopingConfig(AppConfig):
    name = "scoping"
    verbose_name = "Scoping"

    def ready(self) -> None:
        from directory import dependents
        from scoping import changes, recompute
        from scoping.dependents import ScopingDependents

        dependents.register(ScopingDependents())
        changes.register(recompute.after_change)
