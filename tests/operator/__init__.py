"""Tests of what the operator's commands do."""
