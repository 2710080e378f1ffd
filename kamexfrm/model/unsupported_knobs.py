"""KAME's sysctls that have no meaning on Linux, and why, and those that Linux has one value of.

Names are those of KAME, FreeBSD and NetBSD; where those differ, all are listed.
"""

_COUNTERS = "it is a structure, not a number; Linux counts in /proc/net/xfrm_stat"
_SILENT = "Linux's XFRM has no debugging messages to turn on"
_UNUSED = "KAME itself never looked at it"
_PADDING = "Linux pads ESP no more than it must"
_SPI_TRIES = "Linux tries as many SPIs as the range has"
_RANDOM = "Linux's random numbers need no such interval"
_ACQUIRE = "Linux asks for a missing SA once in net.key.larval_lifetime, for any number of packets"
_PROPOSALS = "Linux leaves it to key managers what to propose"

_DRIVERS = "Linux's crypto API chooses the driver by its priority: see /proc/crypto"
_CHECKSUMS = "Linux takes the checksum of what comes out of UDP encapsulation as right"
_USED = "setkey -D and -DP show whether there is an SA or a policy"
_SPD_CACHE = "Linux has no cache of policies"
_TESTS = "Linux's XFRM has no such tests"

#: What Linux always does, as the value that a variable of FreeBSD or NetBSD would have.
FIXED: dict[str, int] = {
    "net.inet.ipsec.enabled": 1,
    "net.inet6.ipsec6.enabled": 1,
    "net.inet.ipsec.filtertunnel": 1,
    "net.inet6.ipsec6.filtertunnel": 1,
    "net.inet.ipsec.check_policy_history": 1,
    "net.inet.esp.esp_enable": 1,
    "net.inet.ah.ah_enable": 1,
    "net.inet.ipcomp.ipcomp_enable": 1,
}

#: Why there is no such sysctl here, by its name, in one clause.
UNSUPPORTED: dict[str, str] = {
    "net.inet.ipsec.stats": _COUNTERS,
    "net.inet.ipsec.inbound_call_ike": _UNUSED,
    "net.inet.ipsec.ah_cleartos": "Linux's AH always counts the TOS field as zero",
    "net.inet.ipsec.ah_offsetmask": "Linux's AH always counts the fragment field as zero",
    "net.inet.ipsec.debug": _SILENT,
    "net.inet.ipsec.esp_randpad": _PADDING,
    "net.inet6.ipsec6.stats": _COUNTERS,
    "net.inet6.ipsec6.inbound_call_ike": _UNUSED,
    "net.inet6.ipsec6.debug": _SILENT,
    "net.inet6.ipsec6.esp_randpad": _PADDING,
    "net.key.debug": _SILENT,
    "net.key.spi_try": _SPI_TRIES,
    "net.key.spi_trycnt": _SPI_TRIES,
    "net.key.random_int": _RANDOM,
    "net.key.int_random": _RANDOM,
    "net.key.blockacq_count": _ACQUIRE,
    "net.key.blockacq_lifetime": _ACQUIRE,
    "net.key.esp_keymin": _PROPOSALS,
    "net.key.esp_auth": _PROPOSALS,
    "net.key.ah_keymin": _PROPOSALS,
    "net.inet.ipsec.used": _USED,
    "net.inet6.ipsec6.used": _USED,
    "net.inet.ipsec.crypto_support": _DRIVERS,
    "net.inet6.ipsec6.crypto_support": _DRIVERS,
    "net.inet.ipsec.async_crypto": _DRIVERS,
    "net.inet.ipsec.natt_cksum_policy": _CHECKSUMS,
    "net.inet.ipsec.random_id": "Linux numbers outer headers as it does others",
    "net.inet.ipsec.min_pmtu": "it is net.ipv4.route.min_pmtu on Linux",
    "net.inet.ipsec.test": _TESTS,
    "net.inet.ipsec.test_replay": _TESTS,
    "net.inet.ipsec.test_integrity": _TESTS,
    "net.inet.ipsec.ipsecstats": _COUNTERS,
    "net.inet6.ipsec6.ipsecstats": _COUNTERS,
    "net.inet.esp.stats": _COUNTERS,
    "net.inet.ah.stats": _COUNTERS,
    "net.inet.ah.ah_cleartos": "Linux's AH always counts the TOS field as zero",
    "net.inet.ipcomp.stats": _COUNTERS,
    "net.key.spdcache.maxentries": _SPD_CACHE,
    "net.key.spdcache.threshold": _SPD_CACHE,
    "net.key.allow_different_idents": "Linux's XFRM keeps no identities",
    "net.key.dumpsa": "it is a structure, not a number; setkey -D shows SAs",
    "net.key.dumpsp": "it is a structure, not a number; setkey -DP shows policies",
}
