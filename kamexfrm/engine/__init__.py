"""The engine: one door to the kernel's IPsec, with KAME's meaning and in batches.

Requests go in as typed objects (``requests``), refusals come out of a callback with the request
they belong to. ``door.Engine`` is the way in.
"""
