"""Why a packet was not protected or answered as expected.

``diagnosis`` collects the causes from a ``snapshot`` of all hosts: routes (``journey``), the two
ends of an SA (``peer_comparison``), packets against the receiver's SAs (``received_packets``),
counters (``counters``). ``explaining`` asks the reference model.
"""
