"""Why a packet did not do what was expected."""
