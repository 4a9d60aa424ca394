"""Suites, task files and board files in YAML.

Files enter; validated, frozen suites and task specs leave, or one sentence with the line of the fault."""
