"""What a kernel has for those who write to it."""

from kamexfrm.kernel.interface import Kernel
from kamexfrm.testing.conformance.samples import heard, must, new, policy
from kamexfrm.xfrm import XFRMNLGRP_POLICY


class WriterConformance:
    """Locks, ports and settings; the fixture ``kernel`` gives an empty one."""

    def test_a_free_lock_has_no_holder(self, kernel: Kernel) -> None:
        for _ in range(2):
            with kernel.lock() as lock:
                assert not lock.is_taken

    def test_an_event_names_the_port_of_its_writer(self, kernel: Kernel) -> None:
        events = kernel.subscribe([XFRMNLGRP_POLICY])
        must(kernel, new(policy()))
        assert [event.pid for event in heard(events, 1)] == [kernel.port]
        events.close()

    def test_the_larval_lifetime_is_what_was_written(self, kernel: Kernel) -> None:
        seconds = kernel.larval_lifetime() + 17
        kernel.set_larval_lifetime(seconds)
        assert kernel.larval_lifetime() == seconds
