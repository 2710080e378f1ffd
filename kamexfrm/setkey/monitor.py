"""setkey -x: the messages that a PF_KEY socket would receive, made from netlink events."""

import os
import select
import time
from typing import TextIO

from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.interface import Event, Kernel, received
from kamexfrm.pfkey import SadbMsg, SadbSatype, SadbType
from kamexfrm.setkey.arguments import Options
from kamexfrm.setkey.hexdump import format_hexdump
from kamexfrm.setkey.message_text import format_message
from kamexfrm.translate.event import broadcast
from kamexfrm.translate.xfrm.sidecars import Sidecars
from kamexfrm.xfrm import decode_event
from kamexfrm.xfrm.constants import EVENT_GROUPS

_LOST = "setkey: WARNING: messages were lost: the kernel had more to tell than could be printed\n"

#: What poll(2) reports of an output whose reader is gone.
_LEFT = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Monitor:
    """Prints messages to ``out`` as they come, and warnings to ``err``."""

    def __init__(self, kernel: Kernel, out: TextIO, err: TextIO, options: Options) -> None:
        self._out = out
        self._err = err
        self._options = options
        self._not_shown = 0
        self._events = kernel.subscribe(EVENT_GROUPS)
        # Subscribed first: a change in between is in the dump, among the events, or in both.
        self._sidecars = Sidecars(list(kernel.policies()))

    def close(self) -> None:
        """Stop listening."""
        self._events.close()

    def announce(self) -> None:
        """Print a time alone: events are received from now on.

        It stands for the reply to the X_PROMISC with which setkey makes a PF_KEY socket receive
        all messages; as JSON it is that message.
        """
        every = SadbMsg(SadbType.SADB_X_PROMISC, SadbSatype(1), pid=os.getpid())
        if self._options.json:
            self._show(every)
            return
        self._out.write(self._time())
        if self._options.hexdump:
            self._out.write(format_hexdump(every))
        self._out.flush()

    def run(self) -> None:
        """Print events until a signal; raises BrokenPipeError when ``out`` has no reader."""
        self.announce()
        poll = select.poll()
        poll.register(self._events.fileno(), select.POLLIN)
        output = self._out.fileno()
        poll.register(output, 0)
        while True:
            for descriptor, what in poll.poll():
                if descriptor == output and what & _LEFT:
                    raise BrokenPipeError
            self.print_events()

    def print_events(self) -> None:
        """Print the events that are waiting; raises KernelError if the socket fails."""
        events = received(self._events)
        if events is None:
            self._err.write(_LOST)
            self._err.flush()
            return
        for event in events:
            try:
                message = self._translate(event)
            except KamexfrmError as error:
                self._not_shown += 1
                self._err.write(
                    f"setkey: WARNING: event {event.type:#x} is not shown: {error}"
                    f" ({self._not_shown} so far)\n"
                )
                self._err.flush()
                continue
            if message is not None:
                self._show(message)

    def _translate(self, event: Event) -> SadbMsg | None:
        decoded = decode_event(event.type, event.payload)
        self._sidecars.apply_event(decoded)
        return broadcast(
            event.type,
            decoded,
            now=time.time(),
            sequence=event.sequence,
            pid=event.pid,
            sidecar_of=self._sidecars.of,
        )

    def _show(self, message: SadbMsg) -> None:
        if self._options.json:
            from kamexfrm.setkey.message_json import message_document

            self._out.write(message_document(message, time.time_ns() // 1000 / 1e6))
            self._out.flush()
            return
        text = self._time()
        if self._options.hexdump:
            text += format_hexdump(message)
        self._out.write(f"{text}{format_message(message)}\n")
        self._out.flush()

    def _time(self) -> str:
        now = time.time_ns() // 1000
        seconds, micros = divmod(now, 1_000_000)
        if self._options.unix_time:
            return f"{seconds}.{micros:06} \n"
        return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{micros:06} \n"


def run_monitor(kernel: Kernel, out: TextIO, err: TextIO, options: Options) -> None:
    """Monitor a kernel until a signal ends it; raises KernelError (EPERM) at once."""
    monitor = Monitor(kernel, out, err, options)
    try:
        monitor.run()
    finally:
        monitor.close()
