"""Build hook: the README as a package index shows it, where a relative link leads nowhere."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE_LINK = re.compile(r"\[([^]]+)]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")
_WHERE = "\nPaths on this page are those of the source archive.\n"


class ReadmeHook(MetadataHookInterface):
    """Give the README to the metadata with paths in place of relative links."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme`."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": _RELATIVE_LINK.sub(r"\1 (`\2`)", text) + _WHERE,
        }
