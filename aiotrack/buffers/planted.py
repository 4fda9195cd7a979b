"""Files that somebody else has put where ours would be, in a folder that others may write to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["refuse_planted"]

BESIDE = ("", "-wal", "-shm", "-journal")  # what SQLite reads together with a file


def refuse_planted(path: Path) -> None:
    """Raise PermissionError if a file, or one that SQLite reads with it, was put there by somebody else.

    Only in a folder that everybody may write to, such as /tmp: elsewhere, whoever may write to it is trusted. What we
    wrote to such a file its owner could read, and what it links to we would overwrite.
    """
    if not hasattr(os, "geteuid"):  # on Windows, where folders are not everybody's
        return
    try:
        anybody = os.stat(path.parent).st_mode & stat.S_IWOTH
    except FileNotFoundError:
        return
    for beside in BESIDE if anybody else ():
        one = path.with_name(path.name + beside)
        try:
            found = os.lstat(one)
        except FileNotFoundError:
            continue
        if found.st_uid != os.geteuid():
            what = "link" if stat.S_ISLNK(found.st_mode) else "file"
            raise PermissionError(errno.EPERM, f"this {what} is another user's (uid {found.st_uid})", str(one))
