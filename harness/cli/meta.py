"""Keys of click's `context.meta` that commands read."""

ARGUMENTS = "harness.arguments"
"""Key of the whole command line, as it was given."""

OWNER = "harness.owner"
"""Key of the words for the plugin command that is called."""
