from django.apps import AppConfig


class ScopingConfig(AppConfig):
    name = "scoping"
    verbose_name = "Scoping"

    def ready(self) -> None:
        from directory import dependents
        from scoping import changes, recompute
        from scoping.dependents import ScopingDependents
        from scoping.mapped_names import ScopingMappedNames

        dependents.register(ScopingDependents())
        dependents.register_mapped_names(ScopingMappedNames())
        changes.register(recompute.after_change)
