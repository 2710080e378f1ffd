"""Scenarios of the rig: read, set up, run, explained and reported."""
