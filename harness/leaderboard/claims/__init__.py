"""Results that commands of plugins leave in a folder: their pages, and one table of the claims that they bear on.

Files of one result each enter, and the kinds of results that plugins offer; a page for each kind leaves, and claims.md,
claims.csv and claims.html. `folder` finds, writes and checks them, `page` words them.
"""

from harness.leaderboard.claims.folder import Kept, check, find, is_kept, name_files, replace, write
from harness.leaderboard.claims.page import CLAIMS, PAGE, TABLE

__all__ = ["CLAIMS", "PAGE", "TABLE", "Kept", "check", "find", "is_kept", "name_files", "replace", "write"]
