"""What each Xfrm counter of the kernel means, and what to do about it.

The names are those of /proc/net/xfrm_stat (Linux Documentation/networking/xfrm_proc.rst); the
words are those in which BSD's ``netstat -s -p ipsec`` counts.
"""

from typing import NamedTuple


class Counter(NamedTuple):
    """A counter of the kernel: ``words`` follow its number, ``cure`` is what to look at."""

    name: str
    words: str
    meaning: str
    cure: str


_KEYS = "compare keys and algorithms of both ends: kamexfrm check FILE --peer FILE"
_BOTH = "compare the policies of both ends: kamexfrm explain in SRC DST"
_POLICY = "see which policy it is: kamexfrm explain SRC DST"
_MEMORY = "see the memory that is free"
_EXPIRED = "let IKE rekey earlier, or give the SA a longer lifetime: kamexfrm status"
_KERNEL = "see the kernel's messages: dmesg"
_PEER = "capture what arrives: tcpdump -n esp or ah or udp port 4500"

COUNTERS = (
    Counter(
        "XfrmInError",
        "inbound packets dropped for another error",
        "an error that has no counter of its own on input",
        _KERNEL,
    ),
    Counter(
        "XfrmInBufferError",
        "inbound packets dropped due to full socket buffers or no memory",
        "no memory on input",
        _MEMORY,
    ),
    Counter("XfrmInHdrError", "inbound packets with a bad header", "a broken IPsec header", _PEER),
    Counter(
        "XfrmInNoStates",
        "inbound packets with no SA available",
        "a protected packet came for which there is no SA",
        "add the SA, or let the peer stop using an old one: setkey -D shows the SPIs",
    ),
    Counter(
        "XfrmInStateProtoError",
        "inbound packets failed authentication or decryption",
        "a packet could not be authenticated or decrypted",
        _KEYS,
    ),
    Counter(
        "XfrmInStateModeError",
        "inbound packets of another mode than their SA",
        "an SA's mode does not fit what was inside, or it was decrypted badly",
        _KEYS,
    ),
    Counter(
        "XfrmInStateSeqError",
        "inbound packets failed on replay check",
        "an old or repeated sequence number: the replay window refused it",
        "add both ends' SAs anew together, or make the window larger: -r in setkey(8)",
    ),
    Counter(
        "XfrmInStateExpired",
        "inbound packets for an expired SA",
        "an SA's lifetime is over",
        _EXPIRED,
    ),
    Counter(
        "XfrmInStateMismatch",
        "inbound packets with other UDP encapsulation than their SA",
        "the UDP encapsulation is not the SA's",
        "use esp-udp at both ends or at neither: setkey -D",
    ),
    Counter(
        "XfrmInStateInvalid",
        "inbound packets for an SA that is not valid",
        "an SA that is not valid",
        "add the SA again: it is larval or dead",
    ),
    Counter(
        "XfrmInTmplMismatch",
        "inbound packets violated process security policy",
        "the inbound policy wants other protection than the packet had",
        _BOTH,
    ),
    Counter(
        "XfrmInNoPols",
        "inbound packets with no policy that lets them in",
        "no inbound policy lets the packet in",
        "add the inbound policy, or set def_policy to 1: kame-sysctl -a",
    ),
    Counter(
        "XfrmInPolBlock",
        "inbound packets discarded by policy",
        "an inbound policy or def_policy discards it",
        "see which policy it is: kamexfrm explain in SRC DST",
    ),
    Counter(
        "XfrmInPolError",
        "inbound packets whose policy could not be applied",
        "an inbound policy could not be applied",
        _KERNEL,
    ),
    Counter(
        "XfrmOutError",
        "outbound packets dropped for another error",
        "an error that has no counter of its own on output",
        _KERNEL,
    ),
    Counter(
        "XfrmOutBundleGenError",
        "outbound packets for which no bundle of SAs was made",
        "no bundle of SAs could be made of the policy",
        "see if the tunnel's far end has a route: ip route get ADDRESS",
    ),
    Counter(
        "XfrmOutBundleCheckError",
        "outbound packets whose bundle of SAs is no longer good",
        "a bundle of SAs is no longer good",
        "nothing, if it does not rise for long: routes or SAs have changed",
    ),
    Counter(
        "XfrmOutNoStates",
        "outbound packets with no SA available",
        "the outbound policy insists on an SA that is not there",
        "add the SA, or start the IKE daemon: kamexfrm explain SRC DST says which one",
    ),
    Counter(
        "XfrmOutStateProtoError",
        "outbound packets failed encryption or authentication",
        "a packet could not be encrypted",
        _KERNEL,
    ),
    Counter(
        "XfrmOutStateModeError",
        "outbound packets that do not fit their SA's mode",
        "an SA's mode does not fit the packet",
        "give policy and SA one mode: setkey -D and setkey -DP",
    ),
    Counter(
        "XfrmOutStateSeqError",
        "outbound packets failed for lack of sequence numbers",
        "an SA has no sequence numbers left",
        "add a new SA with a new key",
    ),
    Counter(
        "XfrmOutStateExpired",
        "outbound packets for an expired SA",
        "an SA's lifetime is over",
        _EXPIRED,
    ),
    Counter(
        "XfrmOutPolBlock",
        "outbound packets discarded by policy",
        "an outbound policy or def_policy discards it",
        _POLICY,
    ),
    Counter(
        "XfrmOutPolDead",
        "outbound packets whose policy is gone",
        "an outbound policy is gone",
        "nothing, if it does not rise for long: policies have changed",
    ),
    Counter(
        "XfrmOutPolError",
        "outbound packets whose policy could not be applied",
        "an outbound policy could not be applied",
        _KERNEL,
    ),
    Counter(
        "XfrmFwdHdrError",
        "forwarded packets that could not be forwarded",
        "a packet to be forwarded cannot be: its policy or its header",
        "see which policy it is: kamexfrm explain fwd SRC DST",
    ),
    Counter(
        "XfrmOutStateInvalid",
        "outbound packets for an SA that is not valid",
        "an SA that is not valid",
        "add the SA again: it is larval or dead",
    ),
    Counter(
        "XfrmAcquireError",
        "requests for new SAs that no program received",
        "no program listens for requests of new SAs",
        "start the IKE daemon, or add the SAs by hand",
    ),
    Counter(
        "XfrmOutStateDirError",
        "outbound packets for an inbound SA",
        "the SA is only for input",
        "add one SA for each direction",
    ),
    Counter(
        "XfrmInStateDirError",
        "inbound packets for an outbound SA",
        "the SA is only for output",
        "add one SA for each direction",
    ),
    Counter(
        "XfrmInIptfsError",
        "inbound packets with bad aggregation (IP-TFS)",
        "what was in an IP-TFS packet could not be put together again",
        _PEER,
    ),
    Counter(
        "XfrmOutNoQueueSpace",
        "outbound packets with no room in the queue (IP-TFS)",
        "an SA's queue of outgoing packets is full",
        "make the SA's queue longer",
    ),
)

_BY_NAME = {counter.name: counter for counter in COUNTERS}


def counter_of(name: str) -> Counter:
    """Return what is known of a counter by the kernel's name, newer ones included."""
    unknown = Counter(
        name, f"packets of {name}", "see the kernel's xfrm_proc.rst", "see the kernel's messages"
    )
    return _BY_NAME.get(name, unknown)


def meaning_of(name: str) -> str:
    """Return what it means that a counter rose."""
    return counter_of(name).meaning


def read_counters(text: str) -> dict[str, int]:
    """Return the counters of a text such as /proc/net/xfrm_stat, in its order.

    >>> read_counters("XfrmOutNoStates 7")
    {'XfrmOutNoStates': 7}
    """
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
