"""`python -m xflowrl` is `xflowrl`."""

from __future__ import annotations

from xflowrl.command import main

if __name__ == "__main__":
    main()
