"""Puts this folder on the import path, so that any test can `import tiny`."""

from hypothesis import settings

settings.register_profile("shared", deadline=None)  # a busy machine is no failure
settings.load_profile("shared")
