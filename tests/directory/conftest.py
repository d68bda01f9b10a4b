"""What tests of syncs begin with."""

from __future__ import annotations

import pytest

from directory.models import SyncRun
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected


@pytest.fixture
def story(db: None, sandbox: Sandbox) -> Story:
    """A connection to a tenant of the sandbox, not read yet."""
    return connected(sandbox)


@pytest.fixture
def known(story: Story) -> Story:
    """The same, read completely."""
    story.read(SyncRun.Kind.FULL)
    return story
