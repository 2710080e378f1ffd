"""A stream of UDP requests in the background, each of which is answered or lost."""

import threading
import time

from kamexfrm.rig import traffic
from kamexfrm.rig.host import Host
from kamexfrm.rig.scenario.plan import Stream
from kamexfrm.rig.scenario.stage.wire import payload


class Streaming:
    """A stream that runs in a thread from the constructor to ``end``."""

    def __init__(self, stream: Stream, host: Host, server: Host | None) -> None:
        self.probe = probe = stream.probe
        self._stream = stream
        self._host = host
        self.sent = 0
        self.answered = 0
        self.trouble: list[str] = []
        self._echo: traffic.UdpEcho | None = None
        if server is not None:
            self._echo = server.call(traffic.UdpEcho, probe.destination, probe.port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name=f"stream {stream.name}")
        self._thread.start()

    def _send(self) -> None:
        probe = self._stream.probe
        begin = time.monotonic()
        while not self._stop.is_set():
            self.sent += 1
            try:
                self._host.call(
                    traffic.udp_exchange,
                    probe.destination,
                    probe.port,
                    payload(probe.size),
                    probe.timeout,
                    (probe.source, 0),
                )
                self.answered += 1
            except OSError as error:
                when = time.monotonic() - begin
                self.trouble.append(f"number {self.sent} after {when:.3f} s: {error}")
            self._stop.wait(self._stream.interval)

    def end(self) -> None:
        """End the stream after its last request is answered or lost; a second call does nothing."""
        self._stop.set()
        self._thread.join()
        if self._echo is not None:
            self._echo.close()
            self._echo = None
