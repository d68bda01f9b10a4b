"""Reading a directory into rows: fetch, stage, plan, apply.

Only this package writes directory rows (users, groups, memberships).
"""

from directory.sync.request import cancel_sync, request_object, request_sync

__all__ = ["cancel_sync", "request_object", "request_sync"]
