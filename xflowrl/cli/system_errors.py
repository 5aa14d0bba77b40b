"""What the operating system refused, in one line that names the file and a remedy."""

from __future__ import annotations

import errno
import os

_REMEDIES = {
    errno.EACCES: "allow it, or give another place",
    errno.EPERM: "allow it, or give another place",
    errno.EROFS: "give another place",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space"),
    errno.ENOENT: "give one that exists",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "give a folder",
    errno.ENAMETOOLONG: "give a shorter one",
    errno.ELOOP: "give the file that is meant",
}


def system_error(error: OSError) -> str:
    """`"a.onnx": Permission denied; allow it, or give another place`."""
    if error.errno not in _REMEDIES:
        return str(error)
    file = error.filename  # none, where a file that was open is written
    named = f'"{os.fsdecode(file)}": ' if isinstance(file, str | bytes) else ""
    return f"{named}{error.strerror}; {_REMEDIES[error.errno]}"
