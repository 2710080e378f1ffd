"""What each Xfrm counter of the kernel means (Linux Documentation/networking/xfrm_proc.rst)."""

#: ``meaning_of`` has a text for every name.
_MEANINGS = {
    "XfrmInError": "an error that has no counter of its own on input",
    "XfrmInBufferError": "no memory on input",
    "XfrmInHdrError": "a broken IPsec header",
    "XfrmInNoStates": "a protected packet came for which there is no SA",
    "XfrmInStateProtoError": "a packet could not be authenticated or decrypted",
    "XfrmInStateModeError": "an SA's mode does not fit what was inside, or it was decrypted badly",
    "XfrmInStateSeqError": "an old or repeated sequence number: the replay window refused it",
    "XfrmInStateExpired": "an SA's lifetime is over",
    "XfrmInStateMismatch": "the UDP encapsulation is not the SA's",
    "XfrmInStateInvalid": "an SA that is not valid",
    "XfrmInTmplMismatch": "the inbound policy wants other protection than the packet had",
    "XfrmInNoPols": "no inbound policy lets the packet in",
    "XfrmInPolBlock": "an inbound policy or def_policy discards it",
    "XfrmInPolError": "an inbound policy could not be applied",
    "XfrmOutError": "an error that has no counter of its own on output",
    "XfrmOutBundleGenError": "no bundle of SAs could be made of the policy",
    "XfrmOutBundleCheckError": "a bundle of SAs is no longer good",
    "XfrmOutNoStates": "the outbound policy insists on an SA that is not there",
    "XfrmOutStateProtoError": "a packet could not be encrypted",
    "XfrmOutStateModeError": "an SA's mode does not fit the packet",
    "XfrmOutStateSeqError": "an SA has no sequence numbers left",
    "XfrmOutStateExpired": "an SA's lifetime is over",
    "XfrmOutPolBlock": "an outbound policy or def_policy discards it",
    "XfrmOutPolDead": "an outbound policy is gone",
    "XfrmOutPolError": "an outbound policy could not be applied",
    "XfrmFwdHdrError": "a packet to be forwarded cannot be: its policy or its header",
    "XfrmOutStateInvalid": "an SA that is not valid",
    "XfrmAcquireError": "nobody listens for requests of new SAs",
}


def meaning_of(counter: str) -> str:
    """Return what it means that a counter rose."""
    return _MEANINGS.get(counter, "see the kernel's xfrm_proc.rst")
