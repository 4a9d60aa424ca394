"""The interface of the harness: what flows between its rooms and what a plugin offers.

Data types, specs, protocols, events, hooks and errors enter every other room; nothing of another room enters here."""
