"""Every buffer is held against the same contract; and what is special about each."""

import pytest

from aiotrack import FileBuffer, MemoryBuffer
from aiotrack.errors import ConfigError
from aiotrack.testing import BufferContract


class TestMemoryBuffer(BufferContract):
    def make(self, folder):
        return MemoryBuffer(self.max_bytes)


class TestFileBuffer(BufferContract):
    def make(self, folder):
        return FileBuffer(folder, self.max_bytes, sync="normal")


@pytest.mark.parametrize("size", [0, -1, 1.5, "1", True, None])
def test_a_wrong_size_is_refused(size, tmp_path):
    with pytest.raises(ConfigError, match="max_bytes: expected an integer >= 1"):
        MemoryBuffer(size)
    with pytest.raises(ConfigError, match="max_bytes: expected an integer >= 1"):
        FileBuffer(tmp_path, size)


def test_a_wrong_path_or_sync_level_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="path: expected the path of a folder, got int 5"):
        FileBuffer(5)
    with pytest.raises(ConfigError, match="sync: expected 'full' or 'normal', got 'off'"):
        FileBuffer(tmp_path, sync="off")
