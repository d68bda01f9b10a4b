"""Pages of what was read: people, groups, sync runs."""

from django.urls import URLPattern, URLResolver, path

from directory.views import (
    export,
    groups,
    held_changes,
    past,
    plans,
    schedule,
    sync_runs,
    users,
)

browsing_patterns: list[URLPattern | URLResolver] = [
    path("users/", users.user_list, name="user-list"),
    path("users/export/", export.export_users, name="user-export"),
    path("users/<int:pk>/", users.user_detail, name="user-detail"),
    path("users/<int:pk>/sync/", sync_runs.sync_user, name="user-sync-request"),
    path("groups/<int:pk>/sync/", sync_runs.sync_group, name="group-sync-request"),
    path("groups/", groups.group_list, name="group-list"),
    path("groups/export/", export.export_groups, name="group-export"),
    path("groups/<int:pk>/", groups.group_detail, name="group-detail"),
    path("groups/<int:pk>/on/", past.group_day, name="group-day"),
    path("groups/<int:pk>/on/export/", past.group_day_export, name="group-day-export"),
    path("groups/<int:pk>/earlier/", past.group_earlier, name="group-earlier"),
    path(
        "groups/<int:pk>/earlier/export/",
        past.group_earlier_export,
        name="group-earlier-export",
    ),
    path("users/<int:pk>/earlier/", past.user_earlier, name="user-earlier"),
    path(
        "users/<int:pk>/earlier/export/",
        past.user_earlier_export,
        name="user-earlier-export",
    ),
    path("directory/picker/groups/", groups.pick_groups, name="pick-groups"),
    path("directory/picker/users/", groups.pick_users, name="pick-users"),
    path(
        "activity/held-changes/", held_changes.held_change_list, name="heldchange-list"
    ),
    path(
        "activity/held-changes/<int:pk>/",
        held_changes.held_change_detail,
        name="heldchange-detail",
    ),
    path(
        "activity/held-changes/of/<int:pk>/review/",
        held_changes.held_change_review,
        name="heldchange-review",
    ),
    path(
        "settings/cloud-idps/<int:pk>/limits/",
        held_changes.guard_limits,
        name="cloud-idp-limits",
    ),
    path(
        "activity/held-changes/everything/",
        held_changes.hold_all,
        name="hold-everything",
    ),
    path(
        "activity/held-changes/everything/<int:pk>/release/",
        held_changes.release_all,
        name="hold-everything-release",
    ),
    path("activity/sync-runs/", sync_runs.sync_run_list, name="syncrun-list"),
    path(
        "activity/sync-runs/<int:pk>/",
        sync_runs.sync_run_detail,
        name="syncrun-detail",
    ),
    path(
        "activity/sync-runs/<int:pk>/cancel/",
        sync_runs.cancel_run,
        name="syncrun-cancel",
    ),
    path("activity/sync-runs/<int:pk>/plan/", plans.plan, name="syncrun-plan"),
    path(
        "activity/sync-runs/<int:pk>/plan/export/",
        plans.export_plan,
        name="syncrun-plan-export",
    ),
    path(
        "activity/sync-runs/<int:pk>/plan/consequences/<int:position>/",
        plans.consequence,
        name="syncrun-plan-consequence",
    ),
    path(
        "activity/sync-runs/<int:pk>/plan/<slug:section>/",
        plans.plan_differences,
        name="syncrun-plan-differences",
    ),
    path(
        "activity/sync-runs/<int:pk>/plan/<slug:section>/<int:number>/",
        plans.plan_difference,
        name="syncrun-plan-difference",
    ),
    path(
        "settings/cloud-idps/<int:pk>/sync/",
        sync_runs.cloud_idp_sync,
        name="cloud-idp-sync",
    ),
    path(
        "settings/cloud-idps/<int:pk>/sync/schedule/",
        schedule.cloud_idp_schedule,
        name="cloud-idp-schedule",
    ),
    path(
        "settings/cloud-idps/<int:pk>/sync/request/",
        sync_runs.request_run,
        name="cloud-idp-sync-request",
    ),
]
