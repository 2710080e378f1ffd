"""What a case runs on: the kernel, hosts, links, captures and background traffic.

``kernels`` chooses the kernel and ``doctor`` reports on it; ``scene`` holds the hosts of a running
case, made by ``network``; ``stream`` sends in the background, ``wire`` classifies packets, ``pcap``
writes them.
"""
