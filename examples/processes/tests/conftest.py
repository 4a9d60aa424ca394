"""One test for each offer of the plugin and each check of its kind."""

pytest_plugins = ["harness.testing.pytest_plugin"]
