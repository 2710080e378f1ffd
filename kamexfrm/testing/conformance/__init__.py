"""What every kernel must do, as tests of pytest."""
