"""The packages, units and roles: what is checked here, and the scripts of ``make deb-test``."""
