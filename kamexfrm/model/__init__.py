"""KAME's vocabulary, pure data and pure functions: policies, SAs, knobs, and what KAME decides.

``parse_policy`` reads the language of ipsec_set_policy(3), ``format_policy`` writes it. ``decide``
says what KAME does with a packet, and why; ``explain_text`` says it in words.

    >>> from kamexfrm.net import Address
    >>> here, there = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
    >>> written = parse_policy("out ipsec esp/transport//default")
    >>> between = Selector(here, 32, there, 32)
    >>> policy = SecurityPolicy(between, written.direction, PolicyType.IPSEC, written.requests)
    >>> packet = Packet(Path.OUT, here, there, upper=6, source_port=1024, destination_port=80)
    >>> decide(packet, Spd.of([policy])).verdict
    <Verdict.CLEAR: 'sent in clear'>
    >>> strict = Knobs(inet=FamilyKnobs(esp_trans_deflev=Level.REQUIRE))
    >>> decision = decide(packet, Spd.of([policy]), knobs=strict)
    >>> decision.verdict
    <Verdict.DROPPED: 'dropped'>
    >>> explain_text(decision)[2]
    'ACQUIRE is due: ESP transport SA from 192.0.2.1 to 192.0.2.2'

Read on in this order: ``policy``, ``association`` and ``knobs`` (the vocabulary), ``policy_text``,
``language`` and ``grammar`` (policies as text), ``packet``, ``decision`` and ``decider`` (what is
decided, and how), and at last ``explain``.
"""

from kamexfrm.lazy import exports

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from kamexfrm.model.association import (
        NO_FLAGS,
        Key,
        Lifetime,
        NatTraversal,
        SadEntry,
        SaFlag,
        SaId,
        SaState,
        SecurityAssociation,
    )
    from kamexfrm.model.decide_sad import sad_entry
    from kamexfrm.model.decide_spd import Spd
    from kamexfrm.model.decider import decide
    from kamexfrm.model.decision import (
        Decision,
        DefaultPolicy,
        EntryPolicy,
        ForwardDecision,
        Governing,
        InputDecision,
        Layer,
        Marks,
        NoPolicy,
        Outcome,
        OutputDecision,
        OwnPolicy,
        RequestResult,
        Rule,
        SaIndex,
        Verdict,
    )
    from kamexfrm.model.explain import explain_text
    from kamexfrm.model.knobs import (
        FURTHER_KNOBS,
        KNOBS,
        POLICY_KNOBS,
        FamilyKnobs,
        Knob,
        KnobError,
        Knobs,
        effective_level,
        knob,
    )
    from kamexfrm.model.language import parse_policy
    from kamexfrm.model.packet import (
        Packet,
        Path,
        Protection,
        SocketAction,
        SocketPolicies,
        SocketRule,
    )
    from kamexfrm.model.policy import (
        IPSEC_PROTOCOLS,
        MANUAL_REQID_MAX,
        PRIORITY_DEFAULT,
        PRIORITY_HIGH,
        PRIORITY_LOW,
        ULPROTO_ANY,
        Direction,
        IpsecProtocol,
        IpsecRequest,
        Level,
        Mode,
        Owner,
        PolicyType,
        SecurityContext,
        SecurityPolicy,
        Selector,
        SocketPolicy,
        SpdEntry,
    )
    from kamexfrm.model.policy_text import (
        PolicyError,
        PolicyText,
        format_level,
        format_policy,
        format_priority,
        format_request,
    )
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "association": (
                "NO_FLAGS Key Lifetime NatTraversal SaFlag SaId SaState SadEntry "
                "SecurityAssociation"
            ),
            "decide_sad": "sad_entry",
            "decide_spd": "Spd",
            "decider": "decide",
            "decision": (
                "Decision DefaultPolicy EntryPolicy ForwardDecision Governing InputDecision Layer "
                "Marks NoPolicy Outcome OutputDecision OwnPolicy RequestResult Rule SaIndex "
                "Verdict"
            ),
            "explain": "explain_text",
            "knobs": (
                "FURTHER_KNOBS KNOBS POLICY_KNOBS FamilyKnobs Knob KnobError Knobs "
                "effective_level knob"
            ),
            "language": "parse_policy",
            "packet": "Packet Path Protection SocketAction SocketPolicies SocketRule",
            "policy": (
                "IPSEC_PROTOCOLS MANUAL_REQID_MAX PRIORITY_DEFAULT PRIORITY_HIGH PRIORITY_LOW "
                "ULPROTO_ANY Direction IpsecProtocol IpsecRequest Level Mode Owner PolicyType "
                "SecurityContext SecurityPolicy Selector SocketPolicy SpdEntry"
            ),
            "policy_text": (
                "PolicyError PolicyText format_level format_policy format_priority format_request"
            ),
        },
    )

__all__ = [
    "FURTHER_KNOBS",
    "IPSEC_PROTOCOLS",
    "KNOBS",
    "MANUAL_REQID_MAX",
    "NO_FLAGS",
    "POLICY_KNOBS",
    "PRIORITY_DEFAULT",
    "PRIORITY_HIGH",
    "PRIORITY_LOW",
    "ULPROTO_ANY",
    "Decision",
    "DefaultPolicy",
    "Direction",
    "EntryPolicy",
    "FamilyKnobs",
    "ForwardDecision",
    "Governing",
    "InputDecision",
    "IpsecProtocol",
    "IpsecRequest",
    "Key",
    "Knob",
    "KnobError",
    "Knobs",
    "Layer",
    "Level",
    "Lifetime",
    "Marks",
    "Mode",
    "NatTraversal",
    "NoPolicy",
    "Outcome",
    "OutputDecision",
    "OwnPolicy",
    "Owner",
    "Packet",
    "Path",
    "PolicyError",
    "PolicyText",
    "PolicyType",
    "Protection",
    "RequestResult",
    "Rule",
    "SaFlag",
    "SaId",
    "SaIndex",
    "SaState",
    "SadEntry",
    "SecurityAssociation",
    "SecurityContext",
    "SecurityPolicy",
    "Selector",
    "SocketAction",
    "SocketPolicies",
    "SocketPolicy",
    "SocketRule",
    "Spd",
    "SpdEntry",
    "Verdict",
    "decide",
    "effective_level",
    "explain_text",
    "format_level",
    "format_policy",
    "format_priority",
    "format_request",
    "knob",
    "parse_policy",
    "sad_entry",
]
