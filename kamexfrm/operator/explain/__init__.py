"""``kamexfrm explain``: what KAME decides about a packet and why, and what Linux does.

``candidates`` keeps of the databases what matters to one packet, ``arrival`` reads how it came,
``explaining`` decides, ``report`` and ``tree`` are the document and the text.
"""
