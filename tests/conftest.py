"""What all tests share: the rig's fixtures, and the guest for tests that need ESP or AH."""

pytest_plugins = ["kamexfrm.rig.pytest_guest"]
