"""Reading a directory into rows: fetch, stage, plan, apply.

Only this package writes directory rows (users, groups, memberships).
"""

from directory.sync.request import request_sync

__all__ = ["request_sync"]
