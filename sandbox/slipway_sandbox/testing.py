"""The pytest plugin: the one door by which tests outside this package use the sandbox."""
