"""``kamexfrm exec``: unmodified PF_KEY programs on a kernel without AF_KEY.

A seccomp filter sends the few system calls that matter to a supervisor beside the program, which
answers them: socket(AF_KEY) with one end of a pair whose other end is a client of the hub,
IP_IPSEC_POLICY with IP_XFRM_POLICY. The program itself is not changed: any executable will do.
"""
