from __future__ import annotations

from collections.abc import Iterator

import pytest

from xflowrl.measurement import device


@pytest.fixture(autouse=True)
def a_device_of_our_own(tmp_path_factory, monkeypatch) -> Iterator[None]:
    """Tests wait for no run of this machine, and no run waits for them."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("locks")))
    device._lock_at.cache_clear()
    yield
    device._lock_at.cache_clear()
