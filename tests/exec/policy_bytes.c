/*
 * Sets a socket's IPsec policy from structs of the system's own headers and reads it back, as
 * programs written for KAME do.  Prints a line for each policy: "same", or what was wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/ipsec.h>
#include <linux/pfkeyv2.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct tunnel {
	struct sadb_x_ipsecrequest request;
	struct sockaddr_in source, destination;
};

static unsigned char wanted[512], seen[512];

static void *append(const void *what, size_t size)
{
	struct sadb_x_policy *policy = (void *)wanted;
	unsigned char *at = wanted + policy->sadb_x_policy_len * 8;

	policy->sadb_x_policy_len += size / 8;
	return memcpy(at, what, size);
}

static void begin(int type, int direction)
{
	struct sadb_x_policy *policy = (void *)wanted;

	memset(wanted, 0, sizeof(wanted));
	policy->sadb_x_policy_len = sizeof(*policy) / 8;
	policy->sadb_x_policy_exttype = SADB_X_EXT_POLICY;
	policy->sadb_x_policy_type = type;
	policy->sadb_x_policy_dir = direction;
}

static void transport(int protocol, int level, unsigned reqid)
{
	struct sadb_x_ipsecrequest request = {
		.sadb_x_ipsecrequest_len = sizeof(request),
		.sadb_x_ipsecrequest_proto = protocol,
		.sadb_x_ipsecrequest_mode = IPSEC_MODE_TRANSPORT,
		.sadb_x_ipsecrequest_level = level,
		.sadb_x_ipsecrequest_reqid = reqid,
	};

	append(&request, sizeof(request));
}

static void tunnel(int protocol, int level, const char *source, const char *destination)
{
	struct tunnel both = {
		.request = {
			.sadb_x_ipsecrequest_len = sizeof(both),
			.sadb_x_ipsecrequest_proto = protocol,
			.sadb_x_ipsecrequest_mode = IPSEC_MODE_TUNNEL,
			.sadb_x_ipsecrequest_level = level,
		},
		.source = { .sin_family = AF_INET },
		.destination = { .sin_family = AF_INET },
	};

	inet_pton(AF_INET, source, &both.source.sin_addr);
	inet_pton(AF_INET, destination, &both.destination.sin_addr);
	append(&both, sizeof(both));
}

static void round_trip(int socket, int family)
{
	struct sadb_x_policy *policy = (void *)wanted;
	int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
	int option = family == AF_INET ? 16 : 34; /* IP_IPSEC_POLICY, IPV6_IPSEC_POLICY */
	socklen_t size = policy->sadb_x_policy_len * 8, got = sizeof(seen);

	if (setsockopt(socket, level, option, wanted, size)) {
		printf("set: %s\n", strerror(errno));
		return;
	}
	memset(seen, 0, sizeof(seen));
	memcpy(seen, wanted, sizeof(*policy)); /* its direction is asked for */
	if (getsockopt(socket, level, option, seen, &got))
		printf("get: %s\n", strerror(errno));
	else if (got != size || memcmp(wanted, seen, size))
		printf("another one of %u octets\n", (unsigned)got);
	else
		puts("same");
}

int main(void)
{
	for (int six = 0; six < 2; six++) {
		int family = six ? AF_INET6 : AF_INET;
		int s = socket(family, SOCK_DGRAM, 0);

		begin(IPSEC_POLICY_BYPASS, IPSEC_DIR_INBOUND);
		round_trip(s, family);
		begin(IPSEC_POLICY_ENTRUST, IPSEC_DIR_OUTBOUND);
		round_trip(s, family);
		begin(IPSEC_POLICY_IPSEC, IPSEC_DIR_OUTBOUND);
		transport(IPPROTO_ESP, IPSEC_LEVEL_REQUIRE, 0);
		round_trip(s, family);
		begin(IPSEC_POLICY_IPSEC, IPSEC_DIR_INBOUND);
		transport(IPPROTO_ESP, IPSEC_LEVEL_USE, 0);
		transport(IPPROTO_AH, IPSEC_LEVEL_DEFAULT, 0);
		round_trip(s, family);
		begin(IPSEC_POLICY_IPSEC, IPSEC_DIR_OUTBOUND);
		transport(IPPROTO_AH, IPSEC_LEVEL_UNIQUE, 12);
		round_trip(s, family);
		begin(IPSEC_POLICY_IPSEC, IPSEC_DIR_OUTBOUND);
		tunnel(IPPROTO_ESP, IPSEC_LEVEL_REQUIRE, "192.0.2.1", "192.0.2.2");
		round_trip(s, family);
	}
	return 0;
}
