"""Keys of click's `context.meta` that commands read."""

ARGUMENTS = "harness.arguments"
"""Key of the whole command line, as given."""

OWNER = "harness.owner"
"""Key of the description of the plugin command that is called."""
