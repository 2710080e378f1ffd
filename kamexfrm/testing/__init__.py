"""For tests: a kernel in memory, and what every kernel must do."""
