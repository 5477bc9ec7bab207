"""The fixture ``courier_published``: a recorder of what a test publishes. pytest finds it by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from courier_django.testing import Recorder


@pytest.fixture
def courier_published() -> Iterator[Recorder]:
    """What the test publishes; Redis gets nothing."""
    # Not above: a project without Django settings shall be able to run its tests as well.
    from courier_django.testing import record

    with record() as recorder:
        yield recorder
